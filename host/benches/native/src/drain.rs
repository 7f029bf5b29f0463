//! Draining a full queue: the four pipelines in turns, from a classic and from a quorum queue.

use clap::Args;
use tidegate_harness::Result;
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;

use crate::bench::{Bench, table};
use crate::case::{Case, Runner};
use crate::chart;
use crate::load::QueueType;

/// Rounds where nothing else is said.
const ROUNDS: usize = 5;
/// What goes one by one gets so much less, and takes as long.
const FEWER: usize = 20;

/// Which of them.
#[derive(Args, Clone, Default)]
#[group(skip)]
pub(crate) struct Settings {
    /// Of the drain: one queue type alone.
    #[arg(long, value_enum)]
    queue: Option<QueueType>,
    /// Of the drain: these pipelines alone, e.g. `native,host`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "native,host,native-again,host-without-steps,original")]
    pipelines: Vec<Runner>,
}

/// Runs everything, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    let (messages, rounds) = (bench.settings.messages, bench.settings.rounds(ROUNDS));
    let mut all = Vec::new();
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        if settings.queue.is_some_and(|only| only != queue_type) {
            continue;
        }
        let case = |runner: &Runner| {
            let messages = if *runner == Runner::Original { (messages / FEWER).max(1) } else { messages };
            (queue_type.name().to_owned(), Case::new(*runner, queue_type, messages))
        };
        let cases: Vec<_> = settings.pipelines.iter().map(case).collect();
        let rows = bench.turns(&cases, rounds).await?;
        say(&format!("\ndrain of a {} queue, medians of {rounds} rounds:\n\n{}\n", queue_type.name(), table("queue", &rows)));
        all.extend(rows);
    }
    if let Some(file) = &bench.settings.svg {
        std::fs::write(file, chart::drain(&all)).doing(format!("writing {}", file.display()))?;
    }
    bench.keep("drain", &all)
}
