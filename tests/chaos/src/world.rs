//! The servers, the wires to them, the host, and what is done to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::Duration;

use tidegate_harness::failure::While;
use tidegate_harness::host::run;
use tidegate_harness::pipeline::{Ends, Pipeline};
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::rabbitmq::RabbitMq;
use tidegate_harness::redis::Redis;
use tidegate_harness::scratch::Scratch;
use tidegate_harness::service::Service;
use tidegate_harness::wire::Wire;
use tidegate_harness::{Failure, Result};

use crate::hosts::{ADMIN_PORT, Hosts};
use crate::script::{Fault, Server};

/// The queue, which belongs to this broker's only user.
pub(crate) const QUEUE: &str = "chaos";
/// The key of the broadcast.
pub(crate) const KEY: &str = "chaos";
/// How much longer everything takes on a slow wire.
const SLOW: Duration = Duration::from_millis(50);
/// Taken up soon, and left alone afterwards: every swap here is meant.
const RELOAD: &str = "\n[reload]\nsettle = \"50ms\"\npoll = \"500ms\"\nprobation = \"0s\"\n";

/// Programs and files that it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The host program.
    pub(crate) host: PathBuf,
    /// Folder of the components.
    pub(crate) plugins: PathBuf,
    /// How many hosts there are.
    pub(crate) hosts: usize,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) rabbitmq: RabbitMq,
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
    pub(crate) hosts: Hosts,
    wires: [Wire; 3],
    pipeline: Pipeline,
    folder: Scratch,
    parts: Parts,
    /// How often something was swapped.
    swaps: u32,
}

impl World {
    /// Starts the servers, and makes the folder of the hosts. The queue must be there before a host starts.
    pub(crate) fn start(parts: Parts, declare: impl FnOnce(&str) -> Result<()>) -> Result<Self> {
        let servers = thread::scope(|scope| {
            let (rabbitmq, redis) = (scope.spawn(RabbitMq::start), scope.spawn(Redis::start_durable));
            let postgres = Postgres::start(Durability::Fsync);
            let panicked = |_| Failure::new("starting a server panicked");
            Ok::<_, Failure>((rabbitmq.join().map_err(panicked)??, redis.join().map_err(panicked)??, postgres?))
        });
        let (rabbitmq, redis, postgres) = servers?;
        declare(&rabbitmq.url())?;
        let wires = [Wire::to(&rabbitmq.url())?, Wire::to(&redis.url())?, Wire::to(&postgres.url())?];
        let folder = Scratch::new("chaos")?;
        let components = copy_components(&parts.plugins, folder.path())?;
        let [to_rabbitmq, to_redis, to_postgres] = &wires;
        let ends = Ends {
            amqp_url: to_rabbitmq.url(),
            queue: QUEUE,
            redis_url: to_redis.url(),
            key: KEY,
            database_url: to_postgres.url(),
        };
        let mut pipeline = Pipeline::shipped(ends, &components, &folder.path().join("cache"))?;
        pipeline.sinks += RELOAD;
        save(&folder.path().join("pipeline.toml"), text(&pipeline).as_bytes())?;
        migrate(&parts, folder.path(), &postgres.url())?;
        let hosts = Hosts::start(&parts.host, folder.path(), parts.hosts)?;
        Ok(Self { rabbitmq, redis, postgres, hosts, wires, pipeline, folder, parts, swaps: 0 })
    }

    /// Runs a command of the host in its folder.
    pub(crate) fn command(&self, arguments: &[&str], input: &[u8]) -> Result<Output> {
        run(&self.parts.host, self.folder.path(), arguments, &[], input)
    }

    /// Begins a fault.
    pub(crate) fn begin(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(server) => self.service(server).kill().map(drop),
            Fault::Stop(server) => self.service(server).stop().map(drop),
            Fault::Pause(server) => self.service(server).pause(),
            Fault::Cut(server) => {
                self.wire(server).cut();
                Ok(())
            }
            Fault::Silence(server) => {
                self.wire(server).fall_silent();
                Ok(())
            }
            Fault::Slow(server) => {
                self.wire(server).slow_down(SLOW);
                Ok(())
            }
            Fault::KillHost => self.hosts.failing()?.kill().map(drop),
            Fault::StopHost => self.hosts.stop(),
            Fault::PauseHost => self.hosts.failing()?.pause(),
            Fault::SwapValidator => self.swap("validate-message"),
            Fault::SwapCipher => self.swap("aes-256-gcm"),
            Fault::ChangeSetting => self.change_setting(),
        }
    }

    /// Ends a fault.
    pub(crate) fn end(&mut self, fault: Fault) -> Result<()> {
        match fault {
            Fault::Kill(server) | Fault::Stop(server) => self.service(server).start(),
            Fault::Pause(server) => self.service(server).resume(),
            Fault::Silence(server) | Fault::Slow(server) => {
                self.wire(server).speak();
                Ok(())
            }
            Fault::KillHost | Fault::StopHost => {
                self.hosts.failing()?.launch_again()?;
                self.hosts.next();
                Ok(())
            }
            Fault::PauseHost => {
                self.hosts.failing()?.resume()?;
                self.hosts.next();
                Ok(())
            }
            Fault::Cut(_) | Fault::SwapValidator | Fault::SwapCipher | Fault::ChangeSetting => Ok(()),
        }
    }

    fn service(&mut self, server: Server) -> &mut Service {
        match server {
            Server::RabbitMq => &mut self.rabbitmq.service,
            Server::Redis => &mut self.redis.service,
            Server::Postgres => &mut self.postgres.service,
        }
    }

    fn wire(&self, server: Server) -> &Wire {
        let [rabbitmq, redis, postgres] = &self.wires;
        match server {
            Server::RabbitMq => rabbitmq,
            Server::Redis => redis,
            Server::Postgres => postgres,
        }
    }

    /// Saves a component that does the same and has another digest.
    fn swap(&mut self, component: &str) -> Result<()> {
        self.swaps += 1;
        let name = format!("{component}.wasm");
        let original = fs::read(self.parts.plugins.join(&name)).doing("reading a component")?;
        let mark = format!("swap {}", self.swaps);
        let length = u8::try_from(mark.len()).unwrap_or(u8::MAX);
        // A custom section of WebAssembly: its id, its length, and its name.
        let marked = [&original, &[0, length + 1, length][..], mark.as_bytes()].concat();
        save(&self.folder.path().join("components").join(name), &marked)
    }

    fn change_setting(&mut self) -> Result<()> {
        self.swaps += 1;
        let line = format!("batch.max_messages = {}\n", 64 + self.swaps % 64);
        let mut pipeline = self.pipeline.clone();
        pipeline.head += &line;
        save(&self.folder.path().join("pipeline.toml"), text(&pipeline).as_bytes())
    }
}

/// The text of the file, by which each host listens for its operator at a port of its own.
fn text(pipeline: &Pipeline) -> String {
    let address = |port: &str| format!("listen = \"127.0.0.1:{port}\"");
    let port = pipeline.admin_port.to_string();
    pipeline.text().replace(&address(&port), &address(&format!("${{{ADMIN_PORT}:-{port}}}")))
}

/// Replaces a file as an editor does.
fn save(file: &Path, content: &[u8]) -> Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, content).doing("writing a file")?;
    fs::rename(&beside, file).doing("renaming a file")
}

fn copy_components(from: &Path, folder: &Path) -> Result<PathBuf> {
    let components = folder.join("components");
    fs::create_dir(&components).doing("making a folder")?;
    for name in ["validate-message", "reshape", "aes-256-gcm"] {
        let file = format!("{name}.wasm");
        fs::copy(from.join(&file), components.join(&file)).doing(format!("copying {file}"))?;
    }
    Ok(components)
}

fn migrate(parts: &Parts, folder: &Path, database: &str) -> Result<()> {
    let output = run(&parts.host, folder, &["migrate", "--database", database], &[], b"")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`tidegate migrate` failed: {}", String::from_utf8_lossy(&output.stderr))))
}
