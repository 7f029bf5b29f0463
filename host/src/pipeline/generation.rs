//! One loaded state of the pipeline: its steps, made ready, with a number.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::aboard::Meter;
use super::chain::Chain;
use super::opening::Opener;
use super::seal::Sealer;
use super::seals;
use crate::config::Locked;
use crate::plugin::Kind;

/// What messages pass through, between the source and each sink. Batches keep the generation that they began on.
pub struct Generation {
    /// Counts successful changes, from 1.
    pub number: u64,
    /// The steps before the fan-out.
    pub(super) through: Chain,
    /// Batches that are in the steps at one time; its instances are made for so many.
    pub(super) workers: usize,
    /// Who is on it.
    pub(super) meter: Arc<Meter>,
    /// Each sink's own steps, by name of the sink.
    pub(super) lanes: BTreeMap<Arc<str>, Chain>,
    /// What is loaded, for `/status`.
    pub plugins: Vec<PluginReport>,
    /// Opens what its ciphers sealed.
    pub opener: Opener,
    /// What its ciphers seal with, by stage; of steps that nothing goes through too.
    pub(super) sealers: Vec<(Arc<str>, Arc<Sealer>)>,
}

impl Generation {
    /// The same steps for messages that are only tried: nothing of it is counted or logged.
    #[must_use]
    pub(super) fn quiet(&self) -> Self {
        let lanes = self.lanes.iter().map(|(name, chain)| (Arc::clone(name), chain.quiet())).collect();
        Self { through: self.through.quiet(), lanes, ..self.renumbered(self.number) }
    }

    /// The same steps without those that come before one: before the fan-out, or on the way to the sink in whose lane it stands.
    #[must_use]
    pub fn beginning_at(&self, step: &str, lane: Option<&str>) -> Self {
        let stage = format!("steps.{step}");
        let cut = |(name, chain): (&Arc<str>, &Chain)| {
            let is_cut = lane == Some(&**name);
            (Arc::clone(name), if is_cut { chain.beginning_at(&stage) } else { chain.clone() })
        };
        let lanes = self.lanes.iter().map(cut).collect();
        // Where the step is not among those before the fan-out, none of them is left.
        Self { through: self.through.beginning_at(&stage), lanes, ..self.renumbered(self.number) }
    }

    /// What another generation seals and this one cannot open: rows that nobody could read. Blocking.
    #[must_use]
    pub fn cannot_open(&self, other: &Self) -> Vec<String> {
        seals::check_before(other, self)
    }

    /// The same steps under another number, with books of their own.
    #[must_use]
    pub(super) fn renumbered(&self, number: u64) -> Self {
        let meter = Arc::new(Meter::default());
        Self {
            number,
            through: self.through.clone().measured(Arc::clone(&meter)),
            workers: self.workers,
            meter,
            lanes: self.lanes.clone(),
            plugins: self.plugins.clone(),
            opener: self.opener.clone(),
            sealers: self.sealers.clone(),
        }
    }

    /// Whether both have the very same instances.
    #[must_use]
    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        self.through.is_same_as(&other.through) && self.lanes.iter().all(|(name, chain)| chain.is_same_as(&other.lane(name)))
    }

    /// The steps of a sink.
    #[must_use]
    pub(super) fn lane(&self, name: &str) -> Chain {
        self.lanes.get(name).cloned().unwrap_or_default()
    }
}

/// One step's plugin, for `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PluginReport {
    /// Name of the step.
    pub step: String,
    /// File of the component.
    pub plugin: String,
    /// Name that the plugin gives itself.
    pub name: String,
    /// Version that the plugin gives itself.
    pub version: String,
    /// Validator, transformer or cipher.
    pub kind: Kind,
    /// WIT line.
    pub line: String,
    /// `sha256:…` of the component.
    pub digest: String,
    /// The imports that it was granted.
    pub imports: Vec<String>,
}

impl PluginReport {
    /// What a lock says of it.
    #[must_use]
    pub fn locked(&self) -> Locked {
        Locked {
            sha256: self.digest.trim_start_matches("sha256:").to_owned(),
            wit: self.line.clone(),
            kind: self.kind.to_string(),
            name: self.name.clone(),
            version: self.version.clone(),
            imports: self.imports.clone(),
        }
    }
}
