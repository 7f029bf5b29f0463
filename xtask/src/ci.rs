//! `cargo xtask ci`: what must be green before a change goes in, the cheapest first.

use std::process::Command;

use tidegate_harness::Result;
use tidegate_harness::programs::{on_path, say};

use crate::{chaos, refuse, testing, workspace};

/// Runs every check.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    refuse(arguments)?;
    workspace::cargo(&["fmt", "--all", "--check"])?;
    workspace::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    testing::run(&[])?;
    chaos::run(&["--seed", "1", "--faults", "12"].map(str::to_owned))?;
    chaos::run(&["--seed", "236", "--faults", "12", "--queue", "quorum"].map(str::to_owned))?;
    chaos::run(&["--seed", "5", "--faults", "12", "--queue", "quorum", "--standby"].map(str::to_owned))?;
    let skipped: Vec<&str> = [optional("cargo-deny", &["check"])?, optional("typos", &[])?].into_iter().flatten().collect();
    if skipped.is_empty() {
        say("\nall checks passed");
    } else {
        say(&format!("\nall checks passed; NOT RUN, because it is not installed: {}", skipped.join(", ")));
    }
    Ok(())
}

/// Runs a checker that is not part of Rust where it is installed: building one takes longer than all tests together.
fn optional(program: &'static str, arguments: &[&str]) -> Result<Option<&'static str>> {
    if !on_path(program) {
        say(&format!("{program} is not installed: skipped (cargo install --locked {})", package(program)));
        return Ok(Some(program));
    }
    workspace::run(Command::new(program).args(arguments)).map(|()| None)
}

fn package(program: &str) -> &str {
    if program == "typos" { "typos-cli" } else { program }
}
