//! The host held against a hand-written native pipeline, side by side, on the same servers and the same messages.

/// The whole comparison: rounds, clocks, medians.
mod compare;

/// Filling a queue.
mod load;

/// CPU and memory of another process.
mod meter;

/// The pipeline as one would write it by hand.
mod native;

/// What an outage of the database costs.
mod outage;

/// What bad rows cost.
mod poison;

/// What swaps cost.
mod swap;

/// The far ends of one leg: queue, key, table.
mod ends;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_harness::programs::say;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs both in turns and prints medians.
    Compare(compare::Settings),
    /// Runs the host with and without swaps in turns.
    Swap(compare::Settings),
    /// Runs the host at a fixed rate with and without an outage of PostgreSQL.
    Outage(outage::Settings),
    /// Runs the host with and without rows that the database refuses.
    Poison(compare::Settings),
    /// Runs the native pipeline until it is ended.
    Native(native::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Compare(settings) => compare::run(settings).await,
        Command::Swap(settings) => swap::run(settings).await,
        Command::Outage(settings) => outage::run(settings).await,
        Command::Poison(settings) => poison::run(settings).await,
        Command::Native(settings) => native::run(settings).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("tidegate-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}
