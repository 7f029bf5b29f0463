//! `cargo xtask chaos`: faults by a seed against servers of its own, and a count of what arrived.

use std::process::Command;

use tidegate_harness::Result;

use crate::workspace;

/// Builds the host and the program that plagues it, and runs it.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let plugins = workspace::build_plugins()?;
    let host = workspace::build_host()?;
    workspace::cargo(&["build", "--package", "tidegate-chaos"])?;
    let target = workspace::target();
    let mut command = Command::new(target.join("debug/tidegate-chaos"));
    command.arg("--host").arg(host).arg("--plugins").arg(plugins).arg("--keep").arg(target.join("chaos")).args(arguments);
    workspace::run(&mut command)
}
