//! `cargo xtask bench`: the host against a hand-written native pipeline, side by side; with `swap`, `outage` or `poison` the host with
//! and without swaps, an outage of PostgreSQL, or rows that the database refuses; with `steps` each step in the sandbox against the same code native.

use std::process::Command;

use tidegate_harness::Result;

use crate::workspace;

/// Builds both in the release profile and runs the bench program, which owns the servers, the load and the clock.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some((first, rest)) = arguments.split_first()
        && first == "steps"
    {
        return steps(rest);
    }
    let (command_name, arguments) = match arguments.split_first() {
        Some((first, rest)) if ["swap", "outage", "poison"].contains(&first.as_str()) => (first.as_str(), rest),
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

/// Builds the program that measures steps, which needs no server, and runs it.
fn steps(arguments: &[String]) -> Result<()> {
    let plugins = workspace::build_plugins()?;
    workspace::cargo(&["build", "--release", "--package", "tidegate-bench-steps"])?;
    let mut command = Command::new(workspace::target().join("release/tidegate-bench-steps"));
    command.arg("compare").arg("--plugins").arg(plugins).args(arguments);
    workspace::run(&mut command)
}
