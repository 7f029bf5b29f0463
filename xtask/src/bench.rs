//! `cargo xtask bench`: the host against a hand-written native pipeline, side by side; `cargo xtask bench swap`: the host with and without
//! swaps.

use std::process::Command;

use tidegate_harness::Result;

use crate::workspace;

/// Builds both in the release profile and runs the bench program, which owns the servers, the load and the clock.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (command_name, arguments) = match arguments.split_first() {
        Some((first, rest)) if first == "swap" => ("swap", rest),
        _ => ("compare", arguments),
    };
    let plugins = workspace::build_plugins()?;
    workspace::cargo(&["build", "--release", "--package", "tidegate", "--package", "tidegate-bench"])?;
    let release = workspace::target().join("release");
    let mut command = Command::new(release.join("tidegate-bench"));
    command
        .arg(command_name)
        .arg("--host")
        .arg(release.join("tidegate"))
        .arg("--workspace")
        .arg(workspace::root())
        .arg("--plugins")
        .arg(plugins)
        .args(arguments);
    workspace::run(&mut command)
}
