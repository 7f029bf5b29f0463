//! `tidegate bench`: what a plugin costs in the sandbox, for samples of its author. Never shows what a sample holds.

mod report;
mod samples;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::Value;

use self::report::{Figure, Report};
use self::samples::Sample;
use super::progress::Progress;
use super::{Failure, load, say};
use crate::config::{self, Options};
use crate::plugin::measure::{Outcome, Spread, Tally, Work};
use crate::plugin::{Component, Engine, EngineSettings, Grants, Limits, LoadError, Setup, Step};

/// Measurements of one figure: enough for a median.
const ROUNDS: u32 = 5;
/// Code that counts is slower, and must not meet the deadline for it.
const COUNTING_SLOWDOWN: u32 = 20;

/// Arguments of `tidegate bench`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The component, a `.wasm` file.
    plugin: PathBuf,
    /// Samples, one a line: each line is the body of a message as it stands, for a cipher a plain text. Blank lines are skipped.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Settings of the step, a JSON object.
    #[arg(long, value_name = "JSON", conflicts_with = "pipeline")]
    settings: Option<String>,
    /// What the step may ask for; again for more.
    #[arg(long, value_name = "IMPORT", value_enum, conflicts_with = "pipeline")]
    grant: Vec<Grant>,
    /// Takes settings, limits and grants from a step of this pipeline file.
    #[arg(long, value_name = "FILE", requires = "step")]
    pipeline: Option<PathBuf>,
    /// The step of that file.
    #[arg(long, value_name = "NAME", requires = "pipeline")]
    step: Option<String>,
    /// Overlays `[profile.NAME]` of that file.
    #[arg(long, env = "TIDEGATE_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// Messages of one call; several, with commas, for several rows.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 16, 128, 1024], value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: Vec<u32>,
    /// How long each row is measured, in seconds.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Prints everything as JSON.
    #[arg(long)]
    json: bool,
}

/// What a step may ask of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Grant {
    /// The time.
    Clock,
    /// Random bytes.
    Random,
    /// The key itself, for a cipher that brings its own algorithm.
    ExposeKey,
}

/// Measures the plugin and prints what it costs.
pub(super) fn bench(arguments: &Arguments) -> Result<(), Failure> {
    let samples = samples::read(&arguments.input)?;
    let bodies: Vec<Bytes> = samples.iter().map(|sample| sample.body.clone()).collect();
    let setup = setup(arguments)?;
    let progress = Progress::start(format!("compiling {}", arguments.plugin.display()));
    let settings = EngineSettings { cache: None, instances: 4 };
    let component = component(arguments, Engine::new(&settings))?;
    let step = prepare(arguments, &component, setup.clone())?;
    let counting = prepare(arguments, &self::component(arguments, Engine::counting(&settings))?, unworn(setup))?;
    let outcomes = tallies(&step, &bodies, &samples)?;
    let mut figures = Vec::new();
    for batch in &arguments.batch {
        progress.tell(format!("measuring batches of {batch}"));
        let batch = *batch as usize;
        let counted = Work::of(&counting, &bodies, batch).map_err(|fault| Failure::Running(fault.to_string()))?;
        let timed = Work::of(&step, &bodies, batch).map_err(|fault| Failure::Running(fault.to_string()))?;
        for (timed, counted) in timed.iter().zip(&counted) {
            let rounds = (0..ROUNDS).map(|_| timed.time(arguments.seconds / ROUNDS)).collect();
            figures.push(Figure::new(timed.call(), batch, Spread::of(rounds), counted));
        }
    }
    drop(progress);
    let report = Report::new(&component, &bodies, outcomes, figures);
    say(&if arguments.json { format!("{:#}\n", report.to_json()) } else { report.to_string() });
    Ok(())
}

/// What the step is made ready with.
fn setup(arguments: &Arguments) -> Result<Setup, Failure> {
    let setup = Setup {
        step: "bench".into(),
        settings: settings(arguments.settings.as_deref())?,
        limits: Limits::default(),
        grants: Grants {
            clock: arguments.grant.contains(&Grant::Clock),
            random: arguments.grant.contains(&Grant::Random),
            expose_key: arguments.grant.contains(&Grant::ExposeKey),
        },
        instances: 1,
    };
    let (Some(file), Some(name)) = (&arguments.pipeline, &arguments.step) else { return Ok(setup) };
    let options = Options { profile: arguments.profile.clone(), ..Options::default() };
    let loaded = config::load(file, &options).map_err(|problems| load::refuse(&problems))?;
    match loaded.plan.steps.get(name.as_str()) {
        Some(step) => Ok(Setup {
            step: Arc::clone(&step.name),
            settings: step.settings.clone(),
            limits: step.limits.clone(),
            grants: step.grants,
            ..setup
        }),
        None => Err(Failure::Config(format!("{}: there is no step `{name}`", file.display()))),
    }
}

fn settings(json: Option<&str>) -> Result<Value, Failure> {
    match serde_json::from_str(json.unwrap_or("{}")) {
        Ok(settings @ Value::Object(_)) => Ok(settings),
        Ok(_) => Err(Failure::Config("--settings: expected a JSON object".to_owned())),
        Err(error) => Err(Failure::Config(format!("--settings: this is no JSON: {error}"))),
    }
}

/// The same, for an instance that is counted: it is not replaced while that lasts.
fn unworn(setup: Setup) -> Setup {
    let timeout = setup.limits.timeout.saturating_mul(COUNTING_SLOWDOWN);
    let limits = Limits { timeout, max_calls: u64::MAX, recycle_bytes: u64::MAX, ..setup.limits };
    Setup { limits, ..setup }
}

fn component(arguments: &Arguments, engine: Result<Engine, LoadError>) -> Result<Component, Failure> {
    let engine = engine.map_err(|error| Failure::Running(error.to_string()))?;
    engine.load_file(&arguments.plugin).map_err(|error| refuse(arguments, &error))
}

fn prepare(arguments: &Arguments, component: &Component, setup: Setup) -> Result<Step, Failure> {
    component.prepare(setup).map_err(|error| refuse(arguments, &error))
}

/// The plugin, or what it is to be made ready with, is wrong.
fn refuse(arguments: &Arguments, error: &LoadError) -> Failure {
    let file = arguments.plugin.display();
    Failure::Config(match error {
        LoadError::Unreadable { .. } | LoadError::NoFile { .. } => error.to_string(),
        LoadError::NotGranted { needed, .. } if arguments.pipeline.is_none() => {
            format!("{file}: the component needs more than is granted: --grant {}", needed.join(" --grant "))
        }
        _ => format!("{file}: {error}"),
    })
}

/// What becomes of the samples, by call. Where the step fails at one there is nothing to measure.
fn tallies(step: &Step, bodies: &[Bytes], samples: &[Sample]) -> Result<Vec<(&'static str, Tally)>, Failure> {
    let works = Work::of(step, bodies, 1).map_err(|fault| Failure::Running(fault.to_string()))?;
    let mut tallies = Vec::new();
    for work in works {
        let outcomes = work.outcomes();
        let first = outcomes.iter().zip(samples).find(|(outcome, _)| matches!(outcome, Outcome::Faulted(_)));
        let line = first.map(|(_, sample)| sample.line);
        let tally: Tally = outcomes.into_iter().collect();
        if let Some(line) = line {
            let (call, failed) = (work.call(), tally.faulted());
            return Err(Failure::Running(format!(
                "`{call}` fails at {failed} of {} samples, first at that of line {line}: {tally}; nothing is measured",
                samples.len()
            )));
        }
        tallies.push((work.call().name(), tally));
    }
    Ok(tallies)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let most = 3600.0;
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= most => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, more than 0 and at most {most}")),
    }
}
