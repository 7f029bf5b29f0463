//! A component that was loaded: what it is, what it wants, and how it becomes a step.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use wasmtime::component::Linker;

use super::engine::{MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};
use super::fault::chain;
use super::guest_log::GuestLog;
use super::inspect::{Shape, shape};
use super::instance::{Instance, StartError};
use super::load_error::LoadError;
use super::manifest::{Described, Manifest, SettingsProblem};
use super::pool::{MakeError, Recipe};
use super::state::{Access, State};
use super::step::Step;
use super::v0_1::{self, Pre};
use super::{Grants, Kind, Limits, Setup};

/// What a component may use while it is asked what it is: the limits of its step are not known yet.
const TRIAL: Limits = Limits {
    memory_bytes: 512 << 20,
    table_elements: MAX_TABLE_ELEMENTS,
    timeout: Duration::from_secs(5),
    max_calls: u64::MAX,
    recycle_bytes: u64::MAX,
};

/// A component that was loaded. Cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Loaded>);

pub(super) struct Loaded {
    engine: wasmtime::Engine,
    pre: Pre,
    digest: String,
    shape: Shape,
    described: Described,
}

impl Loaded {
    /// Checks what compiled code is, links it, and asks it to describe itself.
    pub(super) fn new<'a>(
        code: &wasmtime::component::Component,
        digest: &str,
        linker: impl FnOnce(Kind) -> &'a Linker<State>,
    ) -> Result<Self, LoadError> {
        let engine = code.engine().clone();
        let shape = shape(&engine, code)?;
        let pre = Pre::new(linker(shape.kind), code, shape.kind).map_err(|error| LoadError::ImportType(chain(&error)))?;
        let log = Arc::new(GuestLog::new("(loading)".into()));
        let mut trial = Instance::start(&engine, &pre, &TRIAL, Access::Trial, log)?;
        let described = Described::new(trial.describe().map_err(LoadError::Describe)?).map_err(LoadError::Manifest)?;
        Ok(Self { engine, pre, digest: format!("sha256:{digest}"), shape, described })
    }
}

impl From<Arc<Loaded>> for Component {
    fn from(loaded: Arc<Loaded>) -> Self {
        Self(loaded)
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("digest", &self.digest()).field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Component {
    /// What its bytes are, as `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.shape.kind
    }

    /// The line of the interface that it was built for, e.g. `0.1`.
    #[must_use]
    pub fn line(&self) -> &str {
        v0_1::LINE
    }

    /// What it can call, by interface, e.g. `tidegate:plugin/log`; sorted. Nothing else is reachable for it.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.0.shape.imports
    }

    /// What it says of itself.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.0.described.manifest
    }

    /// Holds settings against its schema.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn check_settings(&self, settings: &Value) -> Result<(), Vec<SettingsProblem>> {
        self.0.described.check(settings)
    }

    /// Makes a step of it: checks limits, grants and settings, then makes and configures its instances. Blocks.
    ///
    /// # Errors
    /// Says what the step needs or refuses, or how it failed.
    pub fn prepare(&self, setup: Setup) -> Result<Step, LoadError> {
        check_limits(&setup)?;
        self.check_grants(&setup)?;
        self.check_settings(&setup.settings).map_err(LoadError::Settings)?;
        let recipe = Recipe {
            engine: self.0.engine.clone(),
            pre: self.0.pre.clone(),
            kind: self.kind(),
            settings: setup.settings.to_string(),
            log: Arc::new(GuestLog::new(Arc::clone(&setup.step))),
            setup,
            parameters: OnceLock::new(),
        };
        Ok(Step::ready(recipe, self.manifest())?)
    }

    fn check_grants(&self, setup: &Setup) -> Result<(), LoadError> {
        let needed = missing_grants(self.imports(), setup.grants);
        match needed.is_empty() {
            true => Ok(()),
            false => Err(LoadError::NotGranted { step: Arc::clone(&setup.step), needed }),
        }
    }
}

/// What is imported and must be granted, and is not.
fn missing_grants(imports: &[String], grants: Grants) -> Vec<String> {
    let Grants { clock, random, expose_key: _ } = grants;
    let wants = |name: &str| imports.iter().any(|import| import.strip_prefix("tidegate:plugin/") == Some(name));
    let missing = [("clock", clock), ("random", random)].into_iter().filter(|(name, granted)| !granted && wants(name));
    missing.map(|(name, _)| name.to_owned()).collect()
}

fn check_limits(setup: &Setup) -> Result<(), LoadError> {
    let limits = &setup.limits;
    let table = (u64::from(limits.table_elements), u64::from(MAX_TABLE_ELEMENTS));
    for (setting, (value, max)) in [("limits.memory", (limits.memory_bytes, MAX_MEMORY_BYTES)), ("limits.table_elements", table)]
    {
        if value > max {
            return Err(LoadError::Limit { step: Arc::clone(&setup.step), setting, value, max });
        }
    }
    Ok(())
}

impl From<StartError> for LoadError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Fault(fault) => Self::Start(fault),
            StartError::Exports(problem) => Self::ExportType { problem },
        }
    }
}

impl From<MakeError> for LoadError {
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Start(error) => error.into(),
            MakeError::Configure(fault) => Self::ConfigureFault(fault),
            MakeError::Refused(reason) => Self::Configure(reason),
            MakeError::Parameters(problem) => Self::Parameters(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_imported_must_be_granted() {
        let imports = ["clock", "log", "random"].map(|name| format!("tidegate:plugin/{name}"));
        assert_eq!(missing_grants(&imports, Grants::default()), ["clock", "random"]);
        assert_eq!(missing_grants(&imports, Grants { clock: true, ..Grants::default() }), ["random"]);
        assert_eq!(missing_grants(&imports[1..2], Grants::default()), Vec::<String>::new());
    }
}
