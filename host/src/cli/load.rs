//! Files to plans, and plans to generations, with every problem pointed at in its file.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::progress::Progress;
use super::{Failure, complain};
use crate::config::{self, Code, Loaded, Look, Options, Plan, Problem, Problems};
use crate::pipeline::{BuildError, BuildProblem, Generation, build, run_cases};
use crate::plugin::{Engine, EngineSettings};
use crate::telemetry::Telemetry;

/// Which files a command works on.
#[derive(Clone, Debug, Args)]
pub(super) struct Files {
    /// Pipeline files.
    #[arg(default_value = "pipeline.toml", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Overlays `[profile.NAME]` of each file.
    #[arg(long, env = "TIDEGATE_PROFILE", value_name = "NAME")]
    pub(super) profile: Option<String>,
}

/// A pipeline that can start.
pub(super) struct Ready {
    pub(super) plan: Plan,
    pub(super) generation: Generation,
    pub(super) telemetry: Telemetry,
}

impl Files {
    /// Loads every file; the first that is wrong ends it. Warnings go to standard error.
    pub(super) fn load(&self) -> Result<Vec<Loaded>, Failure> {
        let load = |file| self.load_one(file).inspect(warn).map_err(|problems| refuse(&problems));
        let loaded: Vec<Loaded> = self.files.iter().map(|file| load(file)).collect::<Result<_, _>>()?;
        let mut names = BTreeSet::new();
        match loaded.iter().find(|loaded| !names.insert(Arc::clone(&loaded.plan.name))) {
            None => Ok(loaded),
            Some(Loaded { plan, .. }) => {
                let (file, name) = (plan.file.display(), &plan.name);
                Err(Failure::Config(format!(
                    "{file}: another file's pipeline is called `{name}` too; give each its own `pipeline.name`"
                )))
            }
        }
    }

    /// Loads one file.
    pub(super) fn load_one(&self, file: &std::path::Path) -> Result<Loaded, Problems> {
        config::load(file, &Options { profile: self.profile.clone(), ..Options::default() })
    }
}

fn warn(loaded: &Loaded) {
    let warnings = Problems::new(Arc::clone(&loaded.text), loaded.warnings.clone());
    if !loaded.warnings.is_empty() {
        complain(&warnings.render(look()));
    }
}

/// A report as a failure of the file.
pub(super) fn refuse(problems: &Problems) -> Failure {
    Failure::Config(problems.render(look()))
}

/// How reports look on this process's standard error.
pub(super) fn look() -> Look {
    if std::io::stderr().is_terminal() { Look::Terminal } else { Look::default() }
}

/// The plugin engine of a process that runs these pipelines.
pub(super) fn engine(loaded: &[Loaded]) -> Result<Engine, Failure> {
    let instances: usize = loaded.iter().map(|loaded| (loaded.plan.workers + 1) * (loaded.plan.steps.len() + 1)).sum();
    let settings = EngineSettings {
        cache: loaded.iter().find_map(|loaded| loaded.plan.plugins.cache.clone()),
        // Old and new stand side by side during a swap, and a bisected batch takes fresh ones.
        instances: u32::try_from(instances * 4 + 32).unwrap_or(u32::MAX),
    };
    Engine::new(&settings).map_err(|error| Failure::Running(error.to_string()))
}

/// Builds a generation and runs the file's own cases through it. Blocking.
pub(super) fn ready(loaded: &Loaded, engine: &Engine, telemetry: &Telemetry) -> Result<(Generation, Telemetry), Problems> {
    let telemetry = telemetry.of_pipeline(&loaded.plan.name);
    // A plugin that is not in the cache is compiled first, which may take seconds.
    let progress = Progress::start(format!("loading the plugins of {}", loaded.plan.file.display()));
    let generation = built(loaded, engine, &telemetry)?;
    progress.tell(format!("running {} test(s) of {}", loaded.plan.tests.len(), loaded.plan.file.display()));
    let failed = run_cases(&loaded.plan.tests, &generation);
    if failed.is_empty() {
        return Ok((generation, telemetry));
    }
    let problem = |case: crate::pipeline::CaseFailure| {
        Problem::new(Code::FailedTest, format!("the test \"{}\" failed: {}", case.name, case.difference)).at(case.span)
    };
    Err(Problems::new(Arc::clone(&loaded.text), failed.into_iter().map(problem).collect()))
}

/// Builds a generation without running the file's cases. Blocking.
pub(super) fn built(loaded: &Loaded, engine: &Engine, telemetry: &Telemetry) -> Result<Generation, Problems> {
    let report = |errors: Vec<BuildError>| {
        let list = errors.iter().map(|error| point_at(error, &loaded.plan)).collect();
        Problems::new(Arc::clone(&loaded.text), list)
    };
    build(&loaded.plan, 1, engine, telemetry).map_err(report)
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
        BuildProblem::NotTold | BuildProblem::NoCipher(_) | BuildProblem::NotOriginal => Problem::new(Code::WrongKind, message),
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

/// Builds every pipeline. Blocking.
pub(super) fn ready_all(loaded: Vec<Loaded>, engine: &Engine, telemetry: &Telemetry) -> Result<Vec<Ready>, Failure> {
    let one = |loaded: Loaded| {
        let (generation, telemetry) = ready(&loaded, engine, telemetry).map_err(|problems| refuse(&problems))?;
        Ok(Ready { plan: loaded.plan, generation, telemetry })
    };
    loaded.into_iter().map(one).collect()
}
