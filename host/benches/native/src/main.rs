//! The host held against a hand-written native pipeline, side by side, on the same servers and the same messages.

/// What every part is told.
mod settings;

/// What one leg drains, by what, and into what.
mod case;

/// Filling a queue.
mod load;

/// The pipeline as one would write it by hand.
mod native;

/// One message at a time, as the original does it.
mod original;

/// The far ends of one leg: queues, lists, table.
mod ends;

/// How each pipeline is started.
mod runner;

/// CPU and memory of other processes.
mod meter;

/// One leg: processes, looked at from outside, and counted.
mod leg;

/// What a leg shows, and medians of it.
mod figures;

/// What all parts share.
mod bench;

/// Draining a full queue.
mod drain;

/// Messages at a fixed rate, and when they arrive.
mod traffic;

/// Latencies at a fixed rate.
mod live;

/// From the start of a process to its first message.
mod start;

/// Sizes, steps, sinks, replicas.
mod shapes;

/// Whether a message costs the same however many there are.
mod growth;

/// What swaps cost.
mod swap;

/// What an outage of the database costs.
mod outage;

/// What bad rows cost.
mod poison;

/// Everything as JSON.
mod report;

/// A chart of the drain.
mod chart;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidegate_harness::Result;
use tidegate_harness::programs::say;

use crate::bench::Bench;
use crate::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything but outage and poison, one after the other.
    All {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        drain: drain::Settings,
        #[command(flatten)]
        live: live::Settings,
        #[command(flatten)]
        growth: growth::Settings,
    },
    /// Drains full queues by the four pipelines in turns.
    Drain {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        drain: drain::Settings,
    },
    /// Times messages at a fixed rate.
    Live {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        live: live::Settings,
    },
    /// Times the way from the start of a process to its first message.
    Start(Settings),
    /// Drains with other sizes of messages, and more steps, sinks and replicas.
    Shapes {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        shapes: shapes::Settings,
    },
    /// Drains more and more messages, by more and more pipelines, beside many dead letters.
    Growth {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        growth: growth::Settings,
    },
    /// Drains with and without swaps in turns.
    Swap(Settings),
    /// Runs the host at a fixed rate with and without an outage of PostgreSQL.
    Outage {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        outage: outage::Settings,
    },
    /// Drains with and without rows that the database refuses in turns.
    Poison(Settings),
    /// Runs the native pipeline until it is ended.
    Native(native::Settings),
    /// Runs the pipeline that goes one by one until it is ended.
    Original(native::Settings),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("tidegate-bench: {failure}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::All { settings, drain, live, growth } => {
            let all = async |bench: &mut Bench| {
                drain::run(bench, &drain).await?;
                live::run(bench, &live).await?;
                start::run(bench).await?;
                shapes::run(bench, &shapes::Settings::default()).await?;
                growth::run(bench, &growth).await?;
                swap::run(bench).await
            };
            with(settings, all).await
        }
        Command::Drain { settings, drain } => with(settings, async |bench: &mut Bench| drain::run(bench, &drain).await).await,
        Command::Live { settings, live } => with(settings, async |bench: &mut Bench| live::run(bench, &live).await).await,
        Command::Start(settings) => with(settings, start::run).await,
        Command::Shapes { settings, shapes } => with(settings, async |bench: &mut Bench| shapes::run(bench, &shapes).await).await,
        Command::Growth { settings, growth } => with(settings, async |bench: &mut Bench| growth::run(bench, &growth).await).await,
        Command::Swap(settings) => with(settings, swap::run).await,
        Command::Outage { settings, outage } => with(settings, async |bench: &mut Bench| outage::run(bench, &outage).await).await,
        Command::Poison(settings) => with(settings, poison::run).await,
        Command::Native(settings) => native::run(settings).await,
        Command::Original(settings) => original::run(settings).await,
    }
}

/// Runs a part on servers, and leaves nothing on them.
async fn with(settings: Settings, part: impl AsyncFnOnce(&mut Bench) -> Result<()>) -> Result<()> {
    let mut bench = Bench::open(settings).await?;
    part(&mut bench).await?;
    bench.close().await
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_argument_of_any_part_is_in_the_way_of_another() {
        Arguments::command().debug_assert();
    }
}
