//! One instance of a component: one store, one life. Every call re-arms the deadline, and a call that fails ends the instance.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Engine, Store};

use super::answers::{Opening, Rejection, Transformed};
use super::batch::Batch;
use super::deadline::ticks;
use super::fault::{Fault, FaultKind, root};
use super::guest_log::GuestLog;
use super::manifest::RawManifest;
use super::measure::Gauge;
use super::packed::{Malformed, Packed};
use super::state::{Access, State};
use super::v0_1::{Guest, Pre};
use super::{Limits, Parameters};
use crate::message::Reason;
use crate::secret::Secret;

/// Least that a guest may give to the host in one call, in bytes.
const MIN_ANSWER_BYTES: u64 = 1 << 20;

/// A running component.
pub(super) struct Instance {
    store: Store<State>,
    guest: Guest,
    timeout: Duration,
    batches: u64,
    leaked_keys: bool,
}

/// Why an instance did not come to be.
#[derive(Debug)]
pub(super) enum StartError {
    /// It broke off, or there was no room for it.
    Fault(Fault),
    /// Its exports have other types than the host calls.
    Exports(String),
}

impl Instance {
    pub(super) fn start(
        engine: &Engine,
        pre: &Pre,
        limits: &Limits,
        access: Access,
        log: Arc<GuestLog>,
    ) -> Result<Self, StartError> {
        let mut store = Store::new(engine, State::new(limits, access, log));
        store.limiter(|state| &mut state.limiter);
        // What a guest gives is held in the host's memory: at most twice what the guest itself may hold.
        let answer_bytes = limits.memory_bytes.saturating_mul(2).max(MIN_ANSWER_BYTES);
        store.set_hostcall_fuel(usize::try_from(answer_bytes).unwrap_or(usize::MAX));
        // Only an engine that counts takes fuel, and there it is to be counted, not to run out.
        drop(store.set_fuel(u64::MAX));
        store.set_epoch_deadline(ticks(limits.timeout));
        let started =
            pre.start(&mut store).map_err(|error| StartError::Fault(Fault::of(&error, "start", store.data(), limits.timeout)))?;
        let guest = pre.exports(&mut store, &started).map_err(|error| StartError::Exports(root(&error)))?;
        Ok(Self { store, guest, timeout: limits.timeout, batches: 0, leaked_keys: false })
    }

    /// How many batches it was given.
    pub(super) fn batches(&self) -> u64 {
        self.batches
    }

    /// What it holds, in bytes; never less than before.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.memory_bytes()
    }

    /// What it has cost since it was made.
    pub(super) fn gauge(&self) -> Gauge {
        Gauge {
            calls: self.batches,
            instructions: self.store.get_fuel().ok().map(|left| u64::MAX - left),
            traffic: self.store.data().traffic,
            memory_bytes: self.memory_bytes(),
        }
    }

    /// Whether it kept keys beyond the call that lent them. They are wiped, but its table of names grows with each.
    pub(super) fn has_leaked_keys(&self) -> bool {
        self.leaked_keys
    }

    /// Changes how long each call may take from now on.
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    pub(super) fn describe(&mut self) -> Result<RawManifest, Fault> {
        self.call("describe", Guest::describe)
    }

    pub(super) fn configure(&mut self, settings: &str) -> Result<Result<(), Reason>, Fault> {
        self.call("configure", |guest, store| guest.configure(store, settings))
    }

    pub(super) fn parameters(&mut self) -> Result<Parameters, Fault> {
        self.call("parameters", Guest::parameters)
    }

    pub(super) fn validate(&mut self, batch: &Batch) -> Result<Vec<Rejection>, Fault> {
        self.batches += 1;
        self.call("validate", |guest, store| guest.validate(store, batch))
    }

    pub(super) fn transform(&mut self, batch: &Batch) -> Result<Transformed, Fault> {
        self.batches += 1;
        self.call("transform", |guest, store| guest.transform(store, batch))
    }

    pub(super) fn seal(&mut self, key: &Secret, lists: [&Packed; 3]) -> Result<Result<Result<Packed, Malformed>, Reason>, Fault> {
        self.lend("seal", key, |guest, store, key| guest.seal(store, key, lists))
    }

    pub(super) fn open(&mut self, key: &Secret, lists: [&Packed; 3]) -> Result<Result<Opening, Reason>, Fault> {
        self.lend("open", key, |guest, store, key| guest.open(store, key, lists))
    }

    /// A call that may use a key while it lasts.
    fn lend<A>(
        &mut self,
        during: &str,
        key: &Secret,
        work: impl FnOnce(&Guest, &mut Store<State>, u32) -> wasmtime::Result<A>,
    ) -> Result<A, Fault> {
        self.batches += 1;
        let name = self.store.data_mut().keys.open(key.clone());
        let name = name.ok_or_else(|| Fault::new(FaultKind::Unavailable, "the instance has used up its names for keys"))?;
        let answer = self.call(during, |guest, store| work(guest, store, name));
        let keys = &mut self.store.data_mut().keys;
        keys.close(name);
        self.leaked_keys |= keys.close_all() > 0;
        answer
    }

    fn call<A>(&mut self, during: &str, work: impl FnOnce(&Guest, &mut Store<State>) -> wasmtime::Result<A>) -> Result<A, Fault> {
        self.store.data_mut().limiter.forget();
        self.store.set_epoch_deadline(ticks(self.timeout));
        let answer = work(&self.guest, &mut self.store);
        answer.map_err(|error| Fault::of(&error, during, self.store.data(), self.timeout))
    }
}
