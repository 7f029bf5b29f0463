//! Instructions of native work, counted by valgrind: the same number however busy the machine is.

use std::path::Path;
use std::process::Command;

use clap::Args;
use tidegate_harness::failure::While;
use tidegate_harness::programs::on_path;
use tidegate_harness::{Failure, Result};

use crate::case::Case;
use crate::{native, samples};

/// Passes of the two runs. What both do once, such as starting, is not in their difference.
const PASSES: [u64; 2] = [2, 6];

/// What a process does that is counted.
#[derive(Args)]
pub(crate) struct Settings {
    /// The call.
    #[arg(long, value_enum)]
    case: Case,
    /// Messages of a batch.
    #[arg(long)]
    batch: usize,
    /// How often every sample is given.
    #[arg(long)]
    passes: u64,
}

/// Does the native work so many times.
pub(crate) fn pass(settings: &Settings) -> Result<()> {
    let mut pass = native::pass(settings.case, settings.batch)?;
    (0..settings.passes).for_each(|_| pass());
    Ok(())
}

/// Whether this machine can count.
pub(crate) fn is_here() -> bool {
    on_path("valgrind")
}

/// Instructions of one message, native.
pub(crate) fn count(case: Case, batch: usize) -> Result<u64> {
    let program = std::env::current_exe().doing("finding this program")?;
    let [few, many] = PASSES;
    let (first, second) = (collected(&program, case, batch, few)?, collected(&program, case, batch, many)?);
    let messages = (samples::COUNT.div_ceil(batch) * batch) as u64;
    Ok(second.saturating_sub(first) / ((many - few) * messages))
}

fn collected(program: &Path, case: Case, batch: usize, passes: u64) -> Result<u64> {
    let name = clap::ValueEnum::to_possible_value(&case).map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).arg("pass");
    command.args(["--case", &name, "--batch", &batch.to_string(), "--passes", &passes.to_string()]);
    let output = command.output().doing("starting valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    count.filter(|_| output.status.success()).ok_or_else(|| Failure::new(format!("valgrind counted nothing: {text}")))
}
