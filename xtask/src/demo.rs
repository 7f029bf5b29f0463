//! `cargo xtask demo`: the shipped pipeline on this machine alone, shown at work and held to what it promises.

mod samples;
mod sealed;

use std::fs;
use std::io::{IsTerminal, stdin, stdout};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tidegate_harness::failure::While;
use tidegate_harness::host::{self, Arguments, Host};
use tidegate_harness::pipeline::{Ports, embedded};
use tidegate_harness::programs::say;
use tidegate_harness::service::free_port;
use tidegate_harness::{Failure, Result, http};

use crate::interrupt::Interrupt;
use crate::{refuse, workspace};
use samples::Sample;

/// Longest wait for what the host has to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the demo has started.
struct Demo {
    program: PathBuf,
    folder: PathBuf,
    ports: Ports,
    host: Host,
}

/// Shows and checks everything; stays up until Ctrl-C on a terminal.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let once = arguments.iter().any(|argument| argument == "--once");
    refuse(&arguments.iter().filter(|argument| *argument != "--once").cloned().collect::<Vec<_>>())?;
    let stays = !once && stdin().is_terminal() && stdout().is_terminal();
    let interrupt = Interrupt::watch()?;
    let mut demo = Demo::start()?;
    demo.show()?;
    if stays {
        demo.say_where();
        interrupt.wait(|| demo.host.is_running())?;
    }
    demo.stop()
}

impl Demo {
    fn start() -> Result<Self> {
        let components = workspace::build_plugins()?;
        let program = workspace::build_host()?;
        let ports = Ports { admin: port(9600)?, http: port(9610)?, live: port(9620)? };
        let folder = workspace::target().join("demo");
        // What an earlier demo left would be counted with what this one sends.
        if folder.exists() {
            fs::remove_dir_all(&folder).doing(format!("emptying {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).doing(format!("making {}", folder.display()))?;
        let file = folder.join("pipeline.toml");
        let shipped = fs::read_to_string(workspace::root().join("pipeline.toml")).doing("reading pipeline.toml")?;
        fs::write(&file, embedded(&shipped, &components, ports)?).doing(format!("writing {}", file.display()))?;
        say("\n1. starting the shipped pipeline with its profile `embedded`");
        let host = Host::start(Arguments {
            program: program.clone(),
            arguments: ["run", "--profile", "embedded"].map(str::to_owned).into(),
            folder: folder.clone(),
            variables: Vec::new(),
            admin_port: ports.admin,
        })?;
        say(&format!("   ready; its files are in {}", folder.display()));
        Ok(Self { program, folder, ports, host })
    }

    fn show(&mut self) -> Result<()> {
        self.send()?;
        self.show_broadcast()?;
        self.show_rows()?;
        self.show_ledger()
    }

    fn send(&mut self) -> Result<()> {
        say(&format!("\n2. posting messages to http://127.0.0.1:{}/messages", self.ports.http));
        for sample in samples::ALL {
            let answer = http::post(local(self.ports.http), "/messages", &[("message-id", sample.id)], sample.body.as_bytes())?;
            say(&format!("   {} {}   {}", answer.status, sample.what, shortened(sample.body)));
            expect(answer.status == 202, &format!("{} was answered {}: {}", sample.what, answer.status, answer.text()))?;
        }
        let count = samples::ALL.len() as u64;
        self.host.wait_until("all messages to be settled", PATIENCE, |host| {
            Ok((host.status()?.pointer("/ledger/acked").and_then(Value::as_u64) >= Some(count)).then_some(()))
        })
    }

    fn show_broadcast(&self) -> Result<()> {
        say(&format!("\n3. broadcast, as everybody sees it live at http://127.0.0.1:{}/", self.ports.live));
        let recent = http::get(local(self.ports.live), "/recent")?.json()?;
        let bodies: Vec<&str> = recent.as_array().into_iter().flatten().filter_map(|line| line.get("body")?.as_str()).collect();
        bodies.iter().for_each(|body| say(&format!("   {}", shortened(body))));
        let expected: Vec<&str> = samples::delivered().map(|sample| sample.body).collect();
        expect(bodies == expected, &format!("the live view shows {bodies:?} and not {expected:?}, in this order, byte for byte"))
    }

    /// The content must be in the database's files sealed and nowhere in clear, and open to what was sent.
    fn show_rows(&self) -> Result<()> {
        say("\n4. stored in data/messages.db, the content sealed; what `tidegate open` makes of it with the key ring");
        let files = sealed::database(&self.folder.join("data"))?;
        let opened = self.open(sealed::candidates(&files))?;
        for Sample { content, .. } in samples::delivered() {
            expect(!sealed::holds(&files, content), &format!("\"{content}\" lies in the database in clear"))?;
            let found = opened.iter().find(|(_, plain)| plain == content);
            let (value, _) = found.ok_or_else(|| Failure::new(format!("no stored value opens to \"{content}\"")))?;
            say(&format!("   {}\n      opens to: {content}", shortened(value)));
        }
        Ok(())
    }

    /// Those of the values that open, with their plaintext.
    fn open(&self, values: Vec<String>) -> Result<Vec<(String, String)>> {
        let arguments = ["open", "--json", "--profile", "embedded"];
        let output = host::run(&self.program, &self.folder, &arguments, &[], values.join("\n").as_bytes())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let plain = text.lines().map(|line| serde_json::from_str::<Option<String>>(line).ok().flatten());
        Ok(values.into_iter().zip(plain).filter_map(|(value, plain)| Some((value, plain?))).collect())
    }

    fn show_ledger(&self) -> Result<()> {
        say("\n5. the ledger: what became of every message");
        let ledger = self.host.status()?.get_mut("ledger").map(Value::take).unwrap_or_default();
        let number = |pointer: &str| ledger.pointer(pointer).and_then(Value::as_u64);
        let (sent, delivered) = (samples::ALL.len() as u64, samples::delivered().count() as u64);
        for lane in ["broadcast", "history"] {
            let (there, dead) = (number(&format!("/lanes/{lane}/delivered")), number(&format!("/lanes/{lane}/dead_lettered")));
            say(&format!("   {lane}: {} delivered, {} dead-lettered", shown(there), shown(dead)));
            expect(
                there == Some(delivered) && dead == Some(sent - delivered),
                &format!("the ledger is not as it should be: {ledger:#}"),
            )?;
        }
        say(&format!(
            "   received {}, acknowledged {}, in flight {}",
            shown(number("/received")),
            shown(number("/acked")),
            shown(number("/in_flight"))
        ));
        let balanced = ledger.get("balanced").and_then(Value::as_bool) == Some(true);
        expect(
            balanced && number("/received") == Some(sent) && number("/acked") == Some(sent),
            &format!("it does not balance: {ledger:#}"),
        )?;
        say("   it balances");
        Ok(())
    }

    fn say_where(&self) {
        let Ports { admin, http, live } = self.ports;
        say(&format!(
            "\nUp until Ctrl-C. Look at\n   http://127.0.0.1:{live}/          the live view\n   http://127.0.0.1:{admin}/status    ledger, plugins, stages\n   \
             http://127.0.0.1:{admin}/metrics   for Prometheus\nand send more:\n   curl -d '{{\"id\":\"me\",\"sub_id\":\"here\",\"message\":{{\"content\":\"Hi!\"}}}}' \
             http://127.0.0.1:{http}/messages"
        ));
    }

    fn stop(mut self) -> Result<()> {
        say("\n6. stopping (SIGTERM)");
        let status = self.host.terminate()?;
        expect(status.success(), &format!("the host ended with {status}\n{}", self.host.log()))?;
        say("   it ended with 0\n\nall as it should be");
        Ok(())
    }
}

/// The default port, or a free one where somebody has it.
fn port(default: u16) -> Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, default)).is_ok() { Ok(default) } else { free_port() }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Failure::new(otherwise)) }
}

fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}
