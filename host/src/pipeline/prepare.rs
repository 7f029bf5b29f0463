//! A file to a generation that may run: the gates that need nobody who runs already, at the start as at every change.

use std::path::Path;
use std::sync::Arc;

use super::build::{BuildError, BuildProblem, build};
use super::gate::{CaseFailure, run_cases};
use super::generation::{Generation, PluginReport};
use super::reload::{Gate, Gates, Verdict};
use super::seals;
use crate::config::{Code, Loaded, Plan, Problem, Problems};
use crate::plugin::Engine;
use crate::telemetry::Telemetry;

/// What a generation is made with.
pub struct Making<'a> {
    /// Its number.
    pub number: u64,
    /// Loads the plugins.
    pub engine: &'a Engine,
    /// Where its steps count.
    pub telemetry: &'a Telemetry,
    /// What runs until then; none at the start.
    pub before: Option<&'a Generation>,
    /// Go on where a gate may be overruled.
    pub force: bool,
    /// Told which gate comes next.
    pub progress: &'a (dyn Fn(Gate) + Sync),
}

/// Builds a generation and sends it through the gates `compile` to `tests`. Blocking.
///
/// # Errors
/// Everything that is wrong, pointed at in its file.
pub fn prepare(loaded: &Loaded, making: &Making<'_>, gates: &mut Gates) -> Result<Generation, Problems> {
    let refuse = |list| Problems::new(Arc::clone(&loaded.text), list);
    (making.progress)(Gate::Compile);
    let generation = match build(&loaded.plan, making, gates) {
        Ok(generation) => generation,
        Err(errors) => {
            note_errors(&errors, gates);
            return Err(refuse(errors.iter().map(|error| point_at(error, &loaded.plan)).collect()));
        }
    };
    check_lock(&generation, loaded, gates).map_err(refuse)?;
    check_seals(&generation, making, gates).map_err(refuse)?;
    (making.progress)(Gate::Tests);
    check_cases(&generation, loaded, gates).map_err(refuse)?;
    Ok(generation)
}

/// The gates that building goes through, in order.
const BUILDING: [Gate; 4] = [Gate::Compile, Gate::Link, Gate::Capabilities, Gate::Settings];

/// All problems are told at once, but the first gate that says no is the one that counts.
fn note_errors(errors: &[BuildError], gates: &mut Gates) {
    let Some(first) = errors.iter().map(|error| error.problem.gate()).min() else { return };
    for gate in BUILDING.into_iter().take_while(|gate| *gate < first) {
        gates.pass(gate);
    }
    let at_gate = errors.iter().filter(|error| error.problem.gate() == first);
    gates.note(first, Verdict::Refused, at_gate.map(told).collect());
}

/// With `--locked`, a plugin is what the lock says, and nothing else.
fn check_lock(generation: &Generation, loaded: &Loaded, gates: &mut Gates) -> Result<(), Vec<Problem>> {
    let difference = |plugin: &PluginReport| {
        let lock = loaded.lock.as_ref()?;
        let problem = lock.difference(Path::new(&plugin.plugin), loaded.text.folder(), &plugin.locked())?;
        Some((plugin.step.clone(), problem))
    };
    let differences: Vec<(String, String)> = generation.plugins.iter().filter_map(difference).collect();
    if differences.is_empty() {
        BUILDING.into_iter().for_each(|gate| gates.pass(gate));
        return Ok(());
    }
    gates.pass(Gate::Compile);
    gates.note(
        Gate::Link,
        Verdict::Refused,
        differences.iter().map(|(step, problem)| format!("steps.{step}: {problem}")).collect(),
    );
    let problem = |(step, problem): (String, String)| {
        let told = Problem::new(Code::WrongDigest, problem).path(format!("steps.{step}.plugin"));
        let told = told.help("`tidegate lock` writes the lock anew, once you have looked at the plugin");
        match loaded.plan.steps.get(step.as_str()) {
            Some(step) => told.at(step.spans.plugin),
            None => told,
        }
    };
    Err(differences.into_iter().map(problem).collect())
}

fn told(error: &BuildError) -> String {
    let Some(step) = &error.step else { return error.problem.to_string() };
    let place = match &error.problem {
        BuildProblem::Setting { pointer, .. } => format!(".settings{}", pointer.replace('/', ".")),
        _ => String::new(),
    };
    format!("steps.{step}{place}: {}", error.problem)
}

fn check_seals(generation: &Generation, making: &Making<'_>, gates: &mut Gates) -> Result<(), Vec<Problem>> {
    let own = gates.time(Gate::Seal, || seals::check_own(generation));
    if !own.is_empty() {
        gates.note(Gate::Seal, Verdict::Refused, own.clone());
        return Err(own.into_iter().map(|problem| Problem::new(Code::BadPlugin, problem)).collect());
    }
    let before = making.before.map(|before| gates.time(Gate::Seal, || seals::check_before(before, generation)));
    let looked = before.or_else(|| (!generation.sealers.is_empty()).then(Vec::new));
    let problems = looked.clone().unwrap_or_default();
    match gates.decide(Gate::Seal, looked, making.force) {
        true => Ok(()),
        false => Err(problems.into_iter().map(|problem| Problem::new(Code::BadPlugin, problem)).collect()),
    }
}

pub(super) fn check_cases(generation: &Generation, loaded: &Loaded, gates: &mut Gates) -> Result<(), Vec<Problem>> {
    let cases = &loaded.plan.tests;
    if cases.is_empty() {
        gates.note(Gate::Tests, Verdict::Skipped, Vec::new());
        return Ok(());
    }
    let failed = gates.time(Gate::Tests, || run_cases(cases, generation));
    if failed.is_empty() {
        gates.note(Gate::Tests, Verdict::Passed, vec![format!("{} passed", cases.len())]);
        return Ok(());
    }
    let told = |case: &CaseFailure| format!("the test \"{}\" failed: {}", case.name, case.difference);
    gates.note(Gate::Tests, Verdict::Refused, failed.iter().map(told).collect());
    Err(failed.iter().map(|case| Problem::new(Code::FailedTest, told(case)).at(case.span)).collect())
}

/// A build error as a problem at its place in the file.
fn point_at(error: &BuildError, plan: &Plan) -> Problem {
    let message = error.problem.to_string();
    let problem = match &error.problem {
        BuildProblem::Plugin(cause) => Problem::new(code_of(cause.code()), message),
        BuildProblem::Digest { .. } => {
            Problem::new(Code::WrongDigest, message).help("if the new file is the one you mean, change `sha256`")
        }
        BuildProblem::Setting { pointer, .. } => {
            let key = pointer.replace('/', ".");
            Problem::new(Code::BadSetting, format!("the plugin refuses its setting: {message}")).path(format!("settings{key}"))
        }
        BuildProblem::NotTold | BuildProblem::NoCipher(_) | BuildProblem::NotOriginal | BuildProblem::NotAuthenticated => {
            Problem::new(Code::WrongKind, message)
        }
        BuildProblem::Keys(_) => Problem::new(Code::BadValue, message),
    };
    let Some(step) = error.step.as_ref().and_then(|step| plan.steps.get(step)) else { return problem };
    let spans = &step.spans;
    let (key, span) = match &error.problem {
        BuildProblem::Setting { pointer, .. } => {
            let span = spans.settings.get(pointer).or_else(|| spans.settings.get("")).unwrap_or(&spans.step);
            (format!("settings{}", pointer.replace('/', ".")), span)
        }
        BuildProblem::Plugin(_) | BuildProblem::Digest { .. } => ("plugin".to_owned(), &spans.plugin),
        _ => (String::new(), &spans.step),
    };
    let path = format!("steps.{}.{key}", step.name);
    problem.at(*span).path(path.trim_end_matches('.'))
}

/// The loader's own codes, as far as a file's author tells them apart.
fn code_of(code: &str) -> Code {
    match code {
        "plugin_not_granted" => Code::DeniedImport,
        "plugin_settings" | "plugin_configure" => Code::BadSetting,
        _ => Code::BadPlugin,
    }
}
