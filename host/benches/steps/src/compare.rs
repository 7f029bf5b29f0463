//! The whole comparison: native and sandbox in turns, medians, and instructions that do not depend on the machine's mood.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate::plugin::measure::{Spread, Tally, nanoseconds};
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};

use crate::case::Case;
use crate::report::{Report, Row};
use crate::sandbox::Engines;
use crate::{callgrind, native, samples};

/// What is compared, and how long.
#[derive(Args)]
pub(crate) struct Settings {
    /// The folder of the components.
    #[arg(long)]
    plugins: PathBuf,
    /// Rounds, each native once and sandbox once.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each side of a round takes at least, in seconds.
    #[arg(long, default_value_t = 0.1)]
    seconds: f64,
    /// Messages of a batch.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128, 1024], value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Vec<u32>,
    /// Counts the instructions of the native side too, with valgrind: takes minutes.
    #[arg(long)]
    instructions: bool,
    /// Writes everything into this file as JSON too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let counts = settings.instructions && callgrind::is_here();
    if settings.instructions && !counts {
        say("note: valgrind is not installed, so that native instructions are not counted");
    }
    let engines = Engines::new()?;
    let mut rows = Vec::new();
    for case in Case::value_variants() {
        for batch in &settings.batch {
            say(&format!("{} at batches of {batch}", case.title()));
            rows.push(row(settings, &engines, *case, *batch as usize, counts)?);
        }
    }
    let report = Report { rounds: settings.rounds, rows };
    print(&report.to_string());
    match &settings.json {
        Some(file) => std::fs::write(file, format!("{:#}\n", report.to_json())).doing(format_args!("writing {}", file.display())),
        None => Ok(()),
    }
}

fn row(settings: &Settings, engines: &Engines, case: Case, batch: usize, counts: bool) -> Result<Row> {
    let round = Duration::try_from_secs_f64(settings.seconds).doing("reading --seconds")?;
    let counting = engines.counting(&settings.plugins, case, batch)?;
    let tally: Tally = counting.outcomes().into_iter().collect();
    if tally.iter().count() != 1 || tally.faulted() > 0 {
        return Err(Failure::new(format!("{}: the samples do not all meet the same end: {tally}", case.title())));
    }
    let gauge = counting.gauge();
    let sandbox = engines.timed(&settings.plugins, case, batch)?;
    let mut native = native::pass(case, batch)?;
    let (mut natives, mut sandboxes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn warms both and does not count.
    for turn in 0..=settings.rounds {
        let (a, b) = (nanoseconds(sandbox.messages(), round, &mut native), sandbox.time(round));
        if turn > 0 {
            natives.push(a);
            sandboxes.push(b);
            ratios.push(b / a.max(f64::MIN_POSITIVE));
        }
    }
    let native_instructions = if counts { Some(callgrind::count(case, batch)?) } else { None };
    Ok(Row {
        case,
        batch,
        outcome: tally.iter().map(|(outcome, _)| outcome.to_string()).collect(),
        native: Spread::of(natives),
        sandbox: Spread::of(sandboxes),
        ratio: Spread::of(ratios).median,
        messages: sandbox.messages().max(samples::COUNT),
        gauge,
        native_instructions,
    })
}

#[expect(clippy::print_stdout, reason = "the table is what the program is run for")]
fn print(text: &str) {
    print!("{text}");
}
