//! The work in the sandbox: on the engine of the running host, or on one that counts.

use std::path::Path;
use std::time::Duration;

use tidegate::plugin::measure::Work;
use tidegate::plugin::{Component, Engine, EngineSettings, Grants, Limits, Setup};
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};

use crate::case::Case;

/// Both engines: the one that is timed is the running host's.
pub(crate) struct Engines {
    timed: Engine,
    counting: Engine,
}

impl Engines {
    /// Sets both up.
    pub(crate) fn new() -> Result<Self> {
        let settings = EngineSettings::default();
        Ok(Self {
            timed: Engine::new(&settings).doing("setting the sandbox up")?,
            counting: Engine::counting(&settings).doing("setting the sandbox up")?,
        })
    }

    /// The case as the running host has it.
    pub(crate) fn timed(&self, plugins: &Path, case: Case, batch: usize) -> Result<Work> {
        work(&self.timed, plugins, case, batch, Limits::default())
    }

    /// The case on an instance that counts, and is not replaced meanwhile.
    pub(crate) fn counting(&self, plugins: &Path, case: Case, batch: usize) -> Result<Work> {
        let limits =
            Limits { timeout: Duration::from_secs(60), max_calls: u64::MAX, recycle_bytes: u64::MAX, ..Limits::default() };
        work(&self.counting, plugins, case, batch, limits)
    }
}

fn work(engine: &Engine, plugins: &Path, case: Case, batch: usize, limits: Limits) -> Result<Work> {
    let file = plugins.join(case.plugin()).with_extension("wasm");
    let component: Component = engine.load_file(&file).doing(format_args!("loading {}", file.display()))?;
    let setup = Setup { step: case.plugin().into(), settings: case.settings(), limits, grants: Grants::default(), instances: 1 };
    let step = component.prepare(setup).doing(format_args!("making {} ready", case.plugin()))?;
    let works = Work::of(&step, &case.bodies(), batch).doing(format_args!("giving samples to {}", case.plugin()))?;
    let work = works.into_iter().find(|work| work.call() == case.call());
    work.ok_or_else(|| Failure::new(format!("{} has no call `{}`", case.plugin(), case.call())))
}
