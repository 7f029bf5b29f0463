//! `cargo xtask bench`: the host against hand-written pipelines, side by side, part by part or all parts that are compared.

use std::process::Command;

use tidegate_harness::Result;

use crate::workspace;

/// The parts that can be run alone.
const PARTS: [&str; 8] = ["drain", "live", "start", "shapes", "growth", "swap", "outage", "poison"];

/// Builds both in the release profile and runs the bench program, which owns the servers, the load and the clock.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (part, arguments) = match arguments.split_first() {
        Some((first, rest)) if PARTS.contains(&first.as_str()) => (first.as_str(), rest),
        _ => ("all", arguments),
    };
    let plugins = workspace::build_plugins()?;
    workspace::cargo(&["build", "--release", "--package", "tidegate", "--package", "tidegate-bench"])?;
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
