//! Files to plans, and plans to generations, with every problem pointed at in its file.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::progress::Progress;
use super::{Failure, complain};
use crate::config::{self, Admin, Loaded, Look, Options, Problems};
use crate::pipeline::reload::{Gate, Gates};
use crate::pipeline::{Generation, Making, Origin, Pipeline, prepare};
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
    /// Plugins must be what the lock says: set by the commands that know `--locked`.
    #[arg(skip)]
    pub(super) locked: bool,
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
        config::load(file, &self.options())
    }

    /// `[admin]` of the first file. A file that cannot be read whole may still say where its host is.
    pub(super) fn admin(&self) -> Result<Admin, Failure> {
        let Some(first) = self.files.first() else { return Err(Failure::Running("no pipeline file is named".to_owned())) };
        config::load_admin(first, &self.options()).map_err(|problems| refuse(&problems))
    }

    /// How the files are read.
    fn options(&self) -> Options {
        Options { profile: self.profile.clone(), locked: self.locked, ..Options::default() }
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

/// Builds a generation and sends it through the gates. Blocking.
pub(super) fn ready(loaded: &Loaded, engine: &Engine, telemetry: &Telemetry) -> Result<(Generation, Telemetry), Problems> {
    let telemetry = telemetry.of_pipeline(&loaded.plan.name);
    // A plugin that is not in the cache is compiled first, which may take seconds.
    let file = loaded.plan.file.display();
    let progress = Progress::start(format!("loading the plugins of {file}"));
    let tell = |gate: Gate| {
        if gate == Gate::Tests {
            progress.tell(format!("running {} test(s) of {file}", loaded.plan.tests.len()));
        }
    };
    let making = Making { number: 1, engine, telemetry: &telemetry, before: None, force: false, progress: &tell };
    let generation = prepare(loaded, &making, &mut Gates::default())?;
    Ok((generation, telemetry))
}

/// Builds every pipeline. Blocking.
pub(super) fn ready_all(files: &Files, telemetry: &Telemetry) -> Result<Vec<Pipeline>, Failure> {
    let loaded = files.load()?;
    let engine = engine(&loaded)?;
    let one = |mut loaded: Loaded| {
        let (generation, telemetry) = ready(&loaded, &engine, telemetry).map_err(|problems| refuse(&problems))?;
        loaded.settings.look_again();
        let origin = Origin { engine: engine.clone(), options: files.options() };
        Ok(Pipeline::new(loaded, generation, telemetry, origin))
    };
    loaded.into_iter().map(one).collect()
}
