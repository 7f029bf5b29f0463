//! The servers, the wires to them, the host, and what is done to them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::thread;
use std::time::Duration;

use tidegate_harness::failure::While;
use tidegate_harness::host::{Arguments, Host, run};
use tidegate_harness::pipeline::{Ends, Pipeline};
use tidegate_harness::postgres::{Durability, Postgres};
use tidegate_harness::programs::say;
use tidegate_harness::rabbitmq::RabbitMq;
use tidegate_harness::redis::Redis;
use tidegate_harness::scratch::Scratch;
use tidegate_harness::service::Service;
use tidegate_harness::wire::Wire;
use tidegate_harness::{Failure, Result};

use crate::script::{Fault, Server};

/// The queue, which belongs to this broker's only user.
pub(crate) const QUEUE: &str = "chaos";
/// The key of the broadcast.
pub(crate) const KEY: &str = "chaos";
/// How much longer everything takes on a slow wire.
const SLOW: Duration = Duration::from_millis(50);
/// Its number, the same on every Unix.
const SIGTERM: i32 = 15;
/// Taken up soon, and left alone afterwards: every swap here is meant.
const RELOAD: &str = "\n[reload]\nsettle = \"50ms\"\npoll = \"500ms\"\nprobation = \"0s\"\n";

/// Programs and files that it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// The host program.
    pub(crate) host: PathBuf,
    /// Folder of the components.
    pub(crate) plugins: PathBuf,
}

/// Everything that runs.
pub(crate) struct World {
    pub(crate) rabbitmq: RabbitMq,
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
    pub(crate) host: Host,
    wires: [Wire; 3],
    pipeline: Pipeline,
    folder: Scratch,
    parts: Parts,
    /// How often something was swapped.
    swaps: u32,
    /// How often the host answered a SIGTERM by another exit code than 0.
    pub(crate) unclean: usize,
}

impl World {
    /// Starts the servers, and makes the folder of the host. The queue must be there before the host starts.
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
        pipeline.write(folder.path())?;
        migrate(&parts, folder.path(), &postgres.url())?;
        let host = Host::start(Arguments {
            program: parts.host.clone(),
            arguments: vec!["run".to_owned()],
            folder: folder.path().to_owned(),
            variables: Vec::new(),
            admin_port: pipeline.admin_port,
        })?;
        Ok(Self { rabbitmq, redis, postgres, host, wires, pipeline, folder, parts, swaps: 0, unclean: 0 })
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
            Fault::KillHost => self.host.kill().map(drop),
            Fault::StopHost => self.stop_host(),
            Fault::PauseHost => self.host.pause(),
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
            Fault::KillHost | Fault::StopHost => self.host.launch_again(),
            Fault::PauseHost => self.host.resume(),
            Fault::Cut(_) | Fault::SwapValidator | Fault::SwapCipher | Fault::ChangeSetting => Ok(()),
        }
    }

    /// SIGTERM, and a look at how it ends.
    pub(crate) fn stop_host(&mut self) -> Result<()> {
        let status = self.host.terminate()?;
        // A host that has not begun to listen to signals yet ends by this one, as any process does.
        if !status.success() && status.signal() != Some(SIGTERM) {
            say(&format!("the host was asked to stop, and ended with {status}"));
            self.unclean += 1;
        }
        Ok(())
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
        save(&self.folder.path().join("pipeline.toml"), pipeline.text().as_bytes())
    }
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
