//! Draining a full queue: the four pipelines in turns, from a classic and from a quorum queue.

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

/// Runs everything, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let (messages, rounds) = (bench.settings.messages, bench.settings.rounds(ROUNDS));
    let mut all = Vec::new();
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        let order = [Runner::Native, Runner::Host, Runner::NativeAgain, Runner::HostWithoutSteps, Runner::Original];
        let cases = order.map(|runner| {
            let messages = if runner == Runner::Original { (messages / FEWER).max(1) } else { messages };
            (queue_type.name().to_owned(), Case::new(runner, queue_type, messages))
        });
        let rows = bench.turns(&cases, rounds).await?;
        say(&format!("\ndrain of a {} queue, medians of {rounds} rounds:\n\n{}\n", queue_type.name(), table("queue", &rows)));
        all.extend(rows);
    }
    if let Some(file) = &bench.settings.svg {
        std::fs::write(file, chart::drain(&all)).doing(format!("writing {}", file.display()))?;
    }
    bench.keep("drain", &all)
}
