//! `cargo xtask servers`: the servers, for as long as a person wants them.

use tidegate_harness::Result;
use tidegate_harness::postgres::Durability;
use tidegate_harness::programs::say;
use tidegate_harness::servers::Servers;

use crate::interrupt::Interrupt;
use crate::refuse;

/// Starts the servers, prints their addresses for a shell, and ends them on Ctrl-C.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    refuse(arguments)?;
    let interrupt = Interrupt::watch()?;
    let servers = Servers::start(Durability::Fsync)?;
    for (name, value) in servers.variables() {
        say(&format!("export {name}='{value}'"));
    }
    say("up until Ctrl-C");
    interrupt.wait(|| Ok(()))?;
    drop(servers);
    Ok(())
}
