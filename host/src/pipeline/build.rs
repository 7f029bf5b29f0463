//! Plan to generation: the one path that builds, at the start as at every change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aboard::Meter;
use super::chain::Chain;
use super::generation::{Generation, PluginReport};
use super::opening::Opener;
use super::prepare::Making;
use super::reload::{Gate, Gates};
use super::seal::Sealer;
use super::step::{Books, Step, Work};
use crate::config::{Plan, SealFormat, SealPlan, StepPlan};
use crate::keys::{KeyError, KeyRing};
use crate::plugin::{self, Cipher, Component, LoadError, Setup};

/// Why a plan cannot become a generation.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct BuildError {
    /// The step that is wrong; none where it is a key ring.
    pub step: Option<Arc<str>>,
    /// What is wrong.
    pub problem: BuildProblem,
}

/// What is wrong with a step or a ring.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildProblem {
    /// The plugin cannot be loaded, linked, configured or warmed.
    #[error("{0}")]
    Plugin(LoadError),
    /// The file is not the one that `sha256` pins.
    #[error("the file has sha256 {found}, but `sha256` pins {pinned}")]
    Digest {
        /// What the file has.
        found: String,
        /// What the plan says.
        pinned: String,
    },
    /// A setting does not fit the plugin's schema.
    #[error("{message}")]
    Setting {
        /// Where in `settings`, as a JSON pointer.
        pointer: String,
        /// What was expected.
        message: String,
    },
    /// A cipher without `field` and `key_ring`.
    #[error("the plugin is a cipher: it needs `field` (a JSON pointer) and `key_ring`")]
    NotTold,
    /// `field`, `key_ring` or `format` for a step that is no cipher.
    #[error("`field`, `key_ring` and `format` are for ciphers, but the plugin is a {0}")]
    NoCipher(&'static str),
    /// The ring cannot be loaded, or does not fit the cipher.
    #[error("{0}")]
    Keys(KeyError),
    /// `format = "original"` with a cipher that does not write it.
    #[error(
        "`format = \"original\"` is AES-256-CBC without authentication: it takes the plugin aes-256-cbc with `settings = {{ authenticate = false }}`, and a key with an `iv`"
    )]
    NotOriginal,
    /// A cipher without authentication under another format than the original's.
    #[error(
        "the cipher does not authenticate, which only `format = \"original\"` may do: write that, or take `authenticate = false` away"
    )]
    NotAuthenticated,
}

impl BuildProblem {
    /// The gate that says no.
    pub(super) fn gate(&self) -> Gate {
        match self {
            Self::Plugin(error) => gate_of(error),
            Self::Digest { .. } | Self::NotTold | Self::NoCipher(_) => Gate::Link,
            Self::Setting { .. } | Self::Keys(_) | Self::NotOriginal | Self::NotAuthenticated => Gate::Settings,
        }
    }
}

fn gate_of(error: &LoadError) -> Gate {
    match error {
        LoadError::Engine(_)
        | LoadError::Unreadable { .. }
        | LoadError::NoFile { .. }
        | LoadError::Empty
        | LoadError::TooLarge { .. }
        | LoadError::NotWasm { .. }
        | LoadError::CoreModule
        | LoadError::Invalid(_) => Gate::Compile,
        LoadError::NotGranted { .. } => Gate::Capabilities,
        LoadError::Limit { .. }
        | LoadError::Settings(_)
        | LoadError::Configure(_)
        | LoadError::ConfigureFault(_)
        | LoadError::Parameters(_) => Gate::Settings,
        _ => Gate::Link,
    }
}

/// What the plugin aes-256-cbc calls itself with `authenticate = false`.
const ORIGINAL_CIPHER: &str = "aes-256-cbc-bare";

/// Components that are loaded already, by file.
type Shelf = BTreeMap<PathBuf, Component>;

/// Builds a generation. Blocking: it compiles, links, configures and warms.
///
/// # Errors
/// Everything that is wrong, in the order of the plan.
pub(super) fn build(plan: &Plan, making: &Making<'_>, gates: &mut Gates) -> Result<Generation, Vec<BuildError>> {
    let mut errors = Vec::new();
    let rings = gates.time(Gate::Settings, || load_rings(plan, &mut errors));
    let meter = Arc::new(Meter::default());
    let mut builder = Builder {
        plan,
        making,
        gates,
        rings,
        meter: Arc::clone(&meter),
        shelf: Shelf::new(),
        reports: Vec::new(),
        ciphers: BTreeMap::new(),
        sealers: Vec::new(),
    };
    let used: BTreeSet<&Arc<str>> = plan.through.iter().chain(plan.sinks.iter().flat_map(|sink| &sink.through)).collect();
    let mut steps = BTreeMap::new();
    for step in plan.steps.values() {
        match builder.step(step, used.contains(&step.name)) {
            Ok(ready) => drop(steps.insert(Arc::clone(&step.name), ready)),
            Err(problems) => {
                errors.extend(problems.into_iter().map(|problem| BuildError { step: Some(Arc::clone(&step.name)), problem }))
            }
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let chain = |names: &[Arc<str>]| names.iter().filter_map(|name| steps.get(name)).cloned().collect();
    let lane = |sink: &crate::config::SinkPlan| (Arc::clone(&sink.name), Chain::new(chain(&sink.through), None));
    Ok(Generation {
        number: making.number,
        through: Chain::new(chain(&plan.through), plan.message_id.as_ref()).measured(Arc::clone(&meter)),
        workers: plan.workers,
        meter,
        lanes: plan.sinks.iter().map(lane).collect(),
        plugins: builder.reports,
        sealers: builder.sealers,
        opener: Opener {
            ciphers: builder.ciphers,
            rings: builder.rings.into_values().collect(),
            fields: plan.steps.values().filter_map(|step| Some(step.seal.as_ref()?.field.clone())).collect(),
        },
    })
}

fn load_rings(plan: &Plan, errors: &mut Vec<BuildError>) -> BTreeMap<Arc<str>, Arc<KeyRing>> {
    let mut rings = BTreeMap::new();
    for (name, ring) in &plan.key_rings {
        match KeyRing::load(name, ring) {
            Ok(ring) => drop(rings.insert(Arc::clone(name), Arc::new(ring))),
            Err(error) => errors.push(BuildError { step: None, problem: BuildProblem::Keys(error) }),
        }
    }
    rings
}

struct Builder<'a> {
    plan: &'a Plan,
    making: &'a Making<'a>,
    gates: &'a mut Gates,
    rings: BTreeMap<Arc<str>, Arc<KeyRing>>,
    meter: Arc<Meter>,
    shelf: Shelf,
    reports: Vec<PluginReport>,
    ciphers: BTreeMap<String, Cipher>,
    sealers: Vec<(Arc<str>, Arc<Sealer>)>,
}

impl Builder<'_> {
    fn step(&mut self, step: &StepPlan, used: bool) -> Result<Step, Vec<BuildProblem>> {
        let component = self.load(&step.plugin).map_err(|error| vec![BuildProblem::Plugin(error)])?;
        check_digest(&component, step.sha256.as_deref()).map_err(|problem| vec![problem])?;
        component.check_settings(&step.settings).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| BuildProblem::Setting { pointer: problem.pointer, message: problem.message })
                .collect::<Vec<_>>()
        })?;
        let setup = Setup {
            step: Arc::clone(&step.name),
            settings: step.settings.clone(),
            limits: step.limits.clone(),
            grants: step.grants,
            // A step that nothing goes through is only proven to work.
            instances: if used { self.plan.workers } else { 1 },
        };
        let ready =
            self.gates.time(Gate::Settings, || component.prepare(setup)).map_err(|error| vec![BuildProblem::Plugin(error)])?;
        if step.seal.as_ref().is_some_and(|seal| !self.rings.contains_key(&seal.key_ring)) {
            // A ring that did not load has its own error already; the plan names no unknown ring.
            return Err(Vec::new());
        }
        let work = self.work(ready, step).map_err(|problem| vec![problem])?;
        self.reports.push(report(step, &component));
        Ok(Step {
            stage: format!("steps.{}", step.name).into(),
            digest: component.digest().into(),
            on_error: step.on_error,
            work,
            books: Some(Books { telemetry: self.making.telemetry.clone(), meter: Arc::clone(&self.meter) }),
        })
    }

    fn load(&mut self, file: &Path) -> Result<Component, LoadError> {
        if let Some(component) = self.shelf.get(file) {
            return Ok(component.clone());
        }
        let component = self.gates.time(Gate::Compile, || self.making.engine.load_file(file))?;
        self.shelf.insert(file.to_owned(), component.clone());
        Ok(component)
    }

    fn work(&mut self, ready: plugin::Step, step: &StepPlan) -> Result<Work, BuildProblem> {
        match (ready, &step.seal) {
            (plugin::Step::Validator(validator), None) => Ok(Work::Validate(validator)),
            (plugin::Step::Transformer(transformer), None) => Ok(Work::Transform(transformer)),
            (plugin::Step::Cipher(cipher), Some(seal)) => self.sealer(format!("steps.{}", step.name).into(), cipher, seal),
            (plugin::Step::Cipher(_), None) => Err(BuildProblem::NotTold),
            (plugin::Step::Validator(_), Some(_)) => Err(BuildProblem::NoCipher("validator")),
            (plugin::Step::Transformer(_), Some(_)) => Err(BuildProblem::NoCipher("transformer")),
        }
    }

    fn sealer(&mut self, stage: Arc<str>, cipher: Cipher, seal: &SealPlan) -> Result<Work, BuildProblem> {
        let ring = self.rings.get(&seal.key_ring).ok_or(BuildProblem::NotTold)?;
        ring.check_length(cipher.parameters().key_bytes).map_err(BuildProblem::Keys)?;
        // The one cipher whose items carry no tag, and the one form that has no room for one: neither goes with anything else.
        let bare = cipher.parameters().cipher == ORIGINAL_CIPHER;
        match seal.format {
            SealFormat::Tg1 if bare => return Err(BuildProblem::NotAuthenticated),
            SealFormat::Original if !bare || ring.active().iv.is_none() => return Err(BuildProblem::NotOriginal),
            SealFormat::Tg1 | SealFormat::Original => {}
        }
        if !bare {
            self.ciphers.insert(cipher.parameters().cipher.clone(), cipher.clone());
        }
        let sealer = Arc::new(Sealer::new(cipher, Arc::clone(ring), seal, &self.plan.pointers().collect()));
        self.sealers.push((stage, Arc::clone(&sealer)));
        Ok(Work::Seal(sealer))
    }
}

fn check_digest(component: &Component, pinned: Option<&str>) -> Result<(), BuildProblem> {
    let found = component.digest().trim_start_matches("sha256:");
    match pinned {
        Some(pinned) if !pinned.eq_ignore_ascii_case(found) => {
            Err(BuildProblem::Digest { found: found.to_owned(), pinned: pinned.to_owned() })
        }
        _ => Ok(()),
    }
}

fn report(step: &StepPlan, component: &Component) -> PluginReport {
    let manifest = component.manifest();
    PluginReport {
        step: step.name.to_string(),
        plugin: step.plugin.display().to_string(),
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        kind: component.kind(),
        line: component.line().to_owned(),
        digest: component.digest().to_owned(),
        imports: component.imports().to_vec(),
    }
}
