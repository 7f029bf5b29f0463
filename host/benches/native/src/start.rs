//! From the start of a process to its first message at a destination, with a warm compile cache and a queue that has messages.

use std::time::Duration;

use serde::Serialize;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::case::{Case, Runner};
use crate::figures::middle;
use crate::leg::Leg;
use crate::load::QueueType;

/// Rounds where nothing else is said.
const ROUNDS: usize = 7;
/// What lies in the queue: a window.
const MESSAGES: usize = 2048;
/// How often the destinations are looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Longest wait for a first message: the first start compiles.
const PATIENCE: Duration = Duration::from_secs(120);

/// All starts of a pipeline.
#[derive(Serialize)]
struct Row {
    pipeline: &'static str,
    starts: Vec<Started>,
}

/// Milliseconds of one start.
#[derive(Clone, Copy, Debug, Serialize)]
struct Started {
    broadcast_milliseconds: f64,
    stored_milliseconds: f64,
}

/// Runs both in turns, prints them and keeps them.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let rounds = bench.settings.rounds(ROUNDS);
    let mut rows = [Runner::Native, Runner::Host].map(|runner| (runner, Vec::with_capacity(rounds)));
    // Whatever is compiled and cached is so after the first.
    started(bench, Runner::Host).await?;
    let mut turns: Vec<_> = rows.iter_mut().collect();
    for _ in 0..rounds {
        for (runner, starts) in &mut turns {
            starts.push(started(bench, *runner).await?);
        }
        turns.rotate_left(1);
    }
    let rows = rows.map(|(runner, starts)| Row { pipeline: runner.name(), starts });
    say(&format!("\nstart to first message, {rounds} starts each:\n\n{}\n", table(&rows)));
    bench.keep("start", &rows)
}

async fn started(bench: &mut Bench, runner: Runner) -> Result<Started> {
    let (ends, case) = (&mut bench.ends, Case::new(runner, QueueType::Classic, MESSAGES));
    ends.fill(&case).await?;
    let clock = Deadline::after(PATIENCE);
    let mut leg = Leg::start(&bench.settings, ends, &case).await?;
    let (mut broadcast, mut stored) = (None, None);
    while broadcast.is_none() || stored.is_none() {
        if broadcast.is_none() && ends.broadcast(&case).await? > 0 {
            broadcast = Some(clock.elapsed());
        }
        if stored.is_none() && ends.rows().await? > 0 {
            stored = Some(clock.elapsed());
        }
        if clock.is_over() {
            return Err(leg.failure("no message came"));
        }
        sleep(LOOK).await;
    }
    leg.until(ends, MESSAGES, clock, LOOK).await?;
    leg.finish(ends).await?;
    let milliseconds =
        |at: Option<Duration>| at.map(|at| at.as_secs_f64() * 1e3).ok_or_else(|| Failure::new("both ends were seen"));
    Ok(Started { broadcast_milliseconds: milliseconds(broadcast)?, stored_milliseconds: milliseconds(stored)? })
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        "| pipeline | first broadcast ms: median | max | first row ms: median | max |".to_owned(),
        "| --- | --- | --- | --- | --- |".to_owned(),
    ];
    for row in rows {
        let of = |of: fn(&Started) -> f64| {
            let longest = row.starts.iter().map(of).fold(0.0, f64::max);
            format!("{:.0} | {longest:.0}", middle(row.starts.iter().map(of)))
        };
        let (broadcast, stored) = (of(|start| start.broadcast_milliseconds), of(|start| start.stored_milliseconds));
        lines.push(format!("| {} | {broadcast} | {stored} |", row.pipeline));
    }
    lines.join("\n")
}
