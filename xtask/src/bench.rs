//! `cargo xtask bench`: the host against a hand-written native pipeline, side by side.

use std::process::Command;

use tidegate_harness::Result;

use crate::{plugins, workspace};

/// Builds both in the release profile and runs the bench program, which owns the servers, the load and the clock.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    plugins::build(&workspace::root())?;
    workspace::cargo(&["build", "--release", "--package", "tidegate", "--package", "tidegate-bench"])?;
    let release = workspace::target().join("release");
    let mut command = Command::new(release.join("tidegate-bench"));
    command.arg("compare").arg("--host").arg(release.join("tidegate")).arg("--workspace").arg(workspace::root()).args(arguments);
    workspace::run(&mut command)
}
