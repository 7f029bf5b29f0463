//! `cargo xtask`: what a person who works on Tidegate runs.

mod bench;
mod chaos;
mod ci;
mod demo;
mod interrupt;
mod plugins;
mod testing;
mod up;
mod workspace;

use std::process::ExitCode;

use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};

const HELP: &str = "\
usage: cargo xtask <command>

  demo [--once]      shows the embedded pipeline at work: HTTP in, validated, sealed, stored, seen live
                     (--once, or no terminal: ends after its checks)
  test [filter …]    builds the plugins and the host, and runs every test against real servers
  ci                 formatting, lints, tests, dependency and spelling checks
  bench [part] [--messages N] [--rounds N] [--scratch disk|memory] [--json FILE] [--svg FILE]
                     the host against hand-written pipelines, side by side. Without a part drain, live, start, shapes, growth, swap
                     and steps, one after the other. Parts: drain; live [--rates N,…] [--seconds N]; start;
                     shapes [--only sizes|steps|sinks|replicas]; growth [--only messages|pipelines|letters] [--most N] [--letters N]; swap;
                     outage [--minutes M] [--rate N]; poison
  bench steps [--rounds N] [--seconds S] [--batch N,…] [--instructions] [--json FILE]
                     each first-party step in the sandbox against the same code native
  chaos [--seed N] [--minutes M | --faults N] [--queue classic|quorum] [--standby] [--rate N] [--json] [--list]
                     servers, wires and the host fail by a seeded script; then what arrived is counted (--list: prints the script
                     and ends)
  plugins            builds the WebAssembly components into target/plugins
  servers            starts RabbitMQ, Redis and PostgreSQL, says where they are, and ends them on Ctrl-C

Servers named by AMQP_URL, REDIS_URL and DATABASE_URL are used as they are; others are started in a scratch folder, and
installed before that where they are missing and this is root on a Debian system.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let (command, rest) = arguments.split_first().map_or(("help", arguments), |(command, rest)| (command.as_str(), rest));
    match command {
        "demo" => demo::run(rest),
        "test" => testing::run(rest),
        "ci" => ci::run(rest),
        "bench" => bench::run(rest),
        "chaos" => chaos::run(rest),
        "plugins" => workspace::build_plugins().map(|folder| say(&format!("the components are in {}", folder.display()))),
        "servers" => up::run(rest),
        "help" | "--help" | "-h" => {
            say(HELP);
            Ok(())
        }
        unknown => Err(Failure::new(format!("there is no command `{unknown}`\n\n{HELP}"))),
    }
}

/// Refuses arguments that a command does not know.
fn refuse(arguments: &[String]) -> Result<()> {
    match arguments.first() {
        None => Ok(()),
        Some(unknown) => Err(Failure::new(format!("there is no argument `{unknown}`\n\n{HELP}"))),
    }
}
