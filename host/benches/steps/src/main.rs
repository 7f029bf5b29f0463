//! Each first-party step in the sandbox against the same code native: time in turns, and instructions that are counted.

/// Instructions of a process, by valgrind.
mod callgrind;

/// What is measured: a step, one of its calls, its settings.
mod case;

/// The whole comparison: rounds, medians, goals.
mod compare;

/// The same work without a sandbox.
mod native;

/// What is printed, for a person and for a program.
mod report;

/// The messages.
mod samples;

/// The work in the sandbox.
mod sandbox;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_harness::programs::say;

// As the host has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures every step at every batch size and prints a table.
    Compare(compare::Settings),
    /// Does one thing so many times, for an instrument that counts.
    #[command(hide = true)]
    Pass(callgrind::Settings),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Compare(settings) => compare::run(&settings),
        Command::Pass(settings) => callgrind::pass(&settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("tidegate-bench-steps: {failure}"));
            ExitCode::FAILURE
        }
    }
}
