//! What bad rows cost: a queue with one row in each batch that the database refuses, and the same without.

use tidegate_harness::Result;
use tidegate_harness::programs::say;

use crate::bench::{Bench, table};
use crate::case::{Case, Runner};
use crate::load::{BATCH, QueueType, Trouble};

/// Rounds where nothing else is said.
const ROUNDS: usize = 5;

/// Runs both in turns, prints them and keeps them.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let (messages, rounds) = (bench.settings.messages, bench.settings.rounds(ROUNDS));
    let bad = Case { trouble: Trouble::Row { every: BATCH }, ..Case::new(Runner::Host, QueueType::Classic, messages) };
    // The validator would refuse the bad ones before the database can: both go without it.
    let good = Case { trouble: Trouble::None, steps: 0, ..bad };
    let cases = [("no bad rows".to_owned(), good), (format!("one in {BATCH}, {} in all", bad.letters()), bad)];
    let rows = bench.turns(&cases, rounds).await?;
    say(&format!("\nclassic queue, medians of {rounds} rounds:\n\n{}\n", table("rows that the database refuses", &rows)));
    if let [good, bad] = rows.as_slice() {
        say(&format!("throughput with ÷ without {:.2}", bad.median.messages_per_second / good.median.messages_per_second));
    }
    bench.keep("poison", &rows)
}
