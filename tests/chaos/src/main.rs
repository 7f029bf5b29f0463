//! Chaos: numbered messages are published while servers, wires and the host itself fail by a seeded script; then everything is healed, and what
//! arrived is counted.

/// When the list of the broadcast grew.
mod arrivals;

/// Further copies of the broadcast, and what explains each.
mod copies;

/// What arrived, held against what was sent.
mod count;

/// The far ends, looked at directly.
mod ends;

/// Publishing.
mod publisher;

/// One host, or two.
mod hosts;

/// What is left of a run that failed.
mod keepsake;

/// What came of a run.
mod report;

/// One run.
mod run;

/// What is done to whom, and when.
mod script;

/// The servers, the wires and the host.
mod world;

use std::process::ExitCode;

use clap::Parser;
use tidegate_harness::programs::say;

fn main() -> ExitCode {
    let settings = run::Settings::parse();
    match run::perform(&settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            say(&format!("tidegate-chaos: {failure}"));
            ExitCode::FAILURE
        }
    }
}
