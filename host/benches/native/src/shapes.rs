//! Other shapes of the same work: sizes of messages, steps, sinks and replicas.

use clap::{Args, ValueEnum};
use tidegate_harness::Result;
use tidegate_harness::programs::say;

use crate::bench::{Bench, Row, table};
use crate::case::{Case, Runner};
use crate::load::{BODY_BYTES, QueueType};

/// Rounds where nothing else is said.
const ROUNDS: usize = 5;
/// Sizes of bodies.
const SIZES: [usize; 8] = [64, BODY_BYTES, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Most bytes of all bodies of a leg: of large ones there are fewer.
const LEG_BYTES: usize = 512 << 20;
/// Steps before the fan-out.
const STEPS: [usize; 4] = [1, 2, 4, 8];
/// Sinks: the table, and lists for the rest.
const SINKS: [usize; 4] = [1, 2, 4, 8];
/// Processes on one queue.
const REPLICAS: [usize; 3] = [1, 2, 3];
/// What takes turns where the host is held against the native pipeline.
const BOTH: [Runner; 2] = [Runner::Native, Runner::Host];

/// Which of them.
#[derive(Args, Clone, Default)]
#[group(skip)]
pub(crate) struct Settings {
    /// One of them alone.
    #[arg(long, value_enum)]
    only: Option<Shape>,
}

/// What differs from the usual work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Bytes of a message.
    Sizes,
    /// Steps before the fan-out.
    Steps,
    /// Sinks.
    Sinks,
    /// Processes on one queue.
    Replicas,
}

/// Runs everything, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    let (messages, rounds) = ((bench.settings.messages / 4).max(1), bench.settings.rounds(ROUNDS));
    for shape in [Shape::Sizes, Shape::Steps, Shape::Sinks, Shape::Replicas] {
        if settings.only.is_some_and(|only| only != shape) {
            continue;
        }
        let (key, name) = shape.names();
        let rows = bench.turns(&shape.cases(messages), rounds).await?;
        say(&format!("\n{name}, classic queue, medians of {rounds} rounds:\n\n{}\n", table(name, &rows)));
        if shape == Shape::Steps {
            say_added(&rows);
        }
        bench.keep(key, &rows)?;
    }
    Ok(())
}

impl Shape {
    /// Its names in the report and in tables.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Sizes => ("sizes", "size"),
            Self::Steps => ("steps_before_the_fan_out", "steps before the fan-out"),
            Self::Sinks => ("sinks", "sinks"),
            Self::Replicas => ("replicas", "replicas"),
        }
    }

    fn cases(self, messages: usize) -> Vec<(String, Case)> {
        let common = |runner| Case::new(runner, QueueType::Classic, messages);
        match self {
            Self::Sizes => cases(&SIZES, &BOTH, |bytes, runner| {
                let messages = messages.min(LEG_BYTES / bytes);
                (size_name(bytes), Case { messages, body_bytes: bytes, whole: true, ..common(runner) })
            }),
            Self::Steps => cases(&STEPS, &[Runner::Host], |steps, runner| (steps.to_string(), Case { steps, ..common(runner) })),
            Self::Sinks => cases(&SINKS, &BOTH, |sinks, runner| (sinks.to_string(), Case { lists: sinks - 1, ..common(runner) })),
            Self::Replicas => cases(&REPLICAS, &BOTH, |replicas, runner| {
                (replicas.to_string(), Case { replicas, warm: true, ..common(runner) })
            }),
        }
    }
}

/// What each step more costs.
fn say_added(rows: &[Row]) {
    if let [one, .., most] = rows {
        let added = most.median.cpu.pipeline - one.median.cpu.pipeline;
        say(&format!("each added step: {:+.2} µs of CPU a message\n", added / (STEPS[3] - STEPS[0]) as f64));
    }
}

fn cases(values: &[usize], runners: &[Runner], case: impl Fn(usize, Runner) -> (String, Case)) -> Vec<(String, Case)> {
    values.iter().flat_map(|value| runners.iter().map(|runner| case(*value, *runner))).collect()
}

fn size_name(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named_in_whole_units() {
        assert_eq!(SIZES.map(size_name), ["64 B", "290 B", "1 KiB", "4 KiB", "16 KiB", "64 KiB", "256 KiB", "1 MiB"]);
    }
}
