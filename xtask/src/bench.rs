//! `cargo xtask bench`: the host against hand-written pipelines, and its steps against native code, part by part or all parts that are compared.

use std::process::Command;

use tidegate_harness::Result;

use crate::workspace;

/// The parts that can be run alone.
const PARTS: [&str; 8] = ["drain", "live", "start", "shapes", "growth", "swap", "outage", "poison"];

/// One part, or all that are compared.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == "steps" => steps(rest),
        Some((first, rest)) if PARTS.contains(&first.as_str()) => pipelines(first, rest),
        _ => {
            pipelines("all", arguments)?;
            steps(&[])
        }
    }
}

/// Builds the host and what measures it in the release profile. Always all of it: by itself each would be built with other features of its dependencies,
/// and they and the host once more.
fn build() -> Result<()> {
    let packages = ["--package", "tidegate", "--package", "tidegate-bench", "--package", "tidegate-bench-steps"];
    workspace::cargo(&[&["build", "--release"], packages.as_slice()].concat())
}

/// Runs the bench program, which owns the servers, the load and the clock.
fn pipelines(part: &str, arguments: &[String]) -> Result<()> {
    let plugins = workspace::build_plugins()?;
    build()?;
    let release = workspace::target().join("release");
    let mut command = Command::new(release.join("tidegate-bench"));
    command.arg(part).arg("--host").arg(release.join("tidegate"));
    command.arg("--workspace").arg(workspace::root()).arg("--plugins").arg(plugins);
    for (flag, file) in [("--json", "bench.json"), ("--svg", "bench.svg")] {
        let given = |argument: &String| argument == flag || argument.starts_with(&format!("{flag}="));
        if !arguments.iter().any(given) {
            command.arg(flag).arg(workspace::target().join(file));
        }
    }
    workspace::run(command.args(arguments))
}

/// Runs the program that measures steps, which needs no server.
fn steps(arguments: &[String]) -> Result<()> {
    let plugins = workspace::build_plugins()?;
    build()?;
    let mut command = Command::new(workspace::target().join("release/tidegate-bench-steps"));
    command.arg("compare").arg("--plugins").arg(plugins).args(arguments);
    workspace::run(&mut command)
}
