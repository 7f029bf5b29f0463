//! The instances of one step, and what a call that fails costs: its instance, and exactly the messages that make it fail.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use wasmtime::Engine;

use super::batch::cut;
use super::fault::{Fault, FaultKind};
use super::guest_log::GuestLog;
use super::instance::{Instance, StartError};
use super::measure::Gauge;
use super::state::Access;
use super::turn::{SHORT, Turn};
use super::v0_1::Pre;
use super::{Kind, Parameters, Setup};
use crate::message::Reason;

/// A batch that failed is tried in parts. Parts of several messages get this fraction of the time, so that one message that never
/// ends is found in a few timeouts; the verdict on a single message always had the whole time.
const PART_TIMEOUT: u32 = 4;
/// A batch may take up this fraction of an instance's memory: the guest needs the rest for its own work and its answer.
const BATCH_MEMORY: u64 = 4;

/// How instances of one step are made.
pub(super) struct Recipe {
    pub(super) engine: Engine,
    pub(super) pre: Pre,
    pub(super) kind: Kind,
    pub(super) setup: Setup,
    /// The settings as `configure` takes them.
    pub(super) settings: String,
    pub(super) log: Arc<GuestLog>,
    /// What the first instance of a cipher said; every later one must say the same.
    pub(super) parameters: OnceLock<Parameters>,
}

/// Why an instance could not be made ready.
#[derive(Debug)]
pub(super) enum MakeError {
    /// It did not start.
    Start(StartError),
    /// `configure` broke off.
    Configure(Fault),
    /// `configure` refused the settings.
    Refused(Reason),
    /// `parameters` broke off, or gave what no cipher can have.
    Parameters(String),
}

impl Recipe {
    fn make(&self) -> Result<Instance, MakeError> {
        let access = Access::Granted(self.setup.grants);
        let mut instance = Instance::start(&self.engine, &self.pre, &self.setup.limits, access, Arc::clone(&self.log))
            .map_err(MakeError::Start)?;
        instance.configure(&self.settings).map_err(MakeError::Configure)?.map_err(MakeError::Refused)?;
        if self.kind == Kind::Cipher {
            self.check_parameters(&mut instance)?;
        }
        Ok(instance)
    }

    fn check_parameters(&self, instance: &mut Instance) -> Result<(), MakeError> {
        let given = instance.parameters().map_err(|fault| MakeError::Parameters(fault.message))?;
        given.check().map_err(MakeError::Parameters)?;
        match *self.parameters.get_or_init(|| given.clone()) == given {
            true => Ok(()),
            false => Err(MakeError::Parameters("`parameters` gives another answer than before".to_owned())),
        }
    }
}

impl From<MakeError> for Fault {
    /// While messages wait: what went well for the first instances of the step fails now.
    fn from(error: MakeError) -> Self {
        match error {
            MakeError::Start(StartError::Fault(fault)) if fault.kind == FaultKind::Unavailable => fault,
            MakeError::Start(StartError::Fault(fault)) | MakeError::Configure(fault) => Self::unavailable(fault),
            MakeError::Start(StartError::Exports(problem)) | MakeError::Parameters(problem) => Self::unavailable(problem),
            MakeError::Refused(reason) => Self::unavailable(format_args!("`configure` refuses the settings: {}", reason.message)),
        }
    }
}

/// The instances of one step. One is taken for the length of one batch.
pub(super) struct Pool {
    recipe: Recipe,
    idle: Mutex<Vec<Instance>>,
    keep: usize,
    recycle_bytes: u64,
}

impl Pool {
    /// Makes `setup.instances` instances, and one at least: settings that the component refuses show here.
    pub(super) fn warm(recipe: Recipe) -> Result<Self, MakeError> {
        let keep = recipe.setup.instances.max(1);
        let idle = (0..keep).map(|_| recipe.make()).collect::<Result<Vec<_>, _>>()?;
        // Some start with more memory than `recycle_bytes`: they would be replaced after every call.
        let first_bytes = idle.iter().map(Instance::memory_bytes).max().unwrap_or_default();
        let recycle_bytes = recipe.setup.limits.recycle_bytes.max(first_bytes.saturating_mul(2));
        Ok(Self { recipe, idle: Mutex::new(idle), keep, recycle_bytes })
    }

    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What the instance that would be taken next has cost since it was made.
    pub(super) fn gauge(&self) -> Gauge {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.last().map(Instance::gauge).unwrap_or_default()
    }

    /// One answer for each item, in order. `sizes` are the items' sizes in bytes; `call` answers for a run of items; `blame` is the
    /// answer for an item at which the step fails.
    pub(super) fn answers<A>(
        &self,
        turn: Turn,
        sizes: impl Iterator<Item = usize>,
        call: impl Fn(&mut Instance, Range<usize>) -> Result<Vec<A>, Fault>,
        blame: impl Fn(Fault) -> A,
    ) -> Vec<A> {
        let mut hunt = Hunt { pool: self, call, blame, answers: Vec::new() };
        for run in cut(sizes, self.max_batch_bytes()) {
            match turn {
                Turn::Short => hunt.run_at_once(run),
                Turn::Whole => hunt.run(run),
            }
        }
        hunt.answers
    }

    fn max_batch_bytes(&self) -> usize {
        let bytes = (self.recipe.setup.limits.memory_bytes / BATCH_MEMORY).min(u32::MAX.into());
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    fn take(&self) -> Result<Instance, Fault> {
        self.take_idle().map_or_else(|| self.make(), Ok)
    }

    fn take_idle(&self) -> Option<Instance> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn make(&self) -> Result<Instance, Fault> {
        self.recipe.make().map_err(Fault::from)
    }

    /// Keeps an instance for the next batch, unless it is worn out or one too many.
    fn put_back(&self, mut instance: Instance) {
        if self.is_worn_out(&instance) {
            return;
        }
        instance.set_timeout(self.recipe.setup.limits.timeout);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.keep {
            idle.push(instance);
        }
    }

    fn is_worn_out(&self, instance: &Instance) -> bool {
        let limits = &self.recipe.setup.limits;
        instance.batches() >= limits.max_calls || instance.memory_bytes() >= self.recycle_bytes || instance.has_leaked_keys()
    }
}

/// The way to the messages that make a step fail.
struct Hunt<'a, C, B, A> {
    pool: &'a Pool,
    call: C,
    blame: B,
    answers: Vec<A>,
}

impl<A, C, B> Hunt<'_, C, B, A>
where
    C: Fn(&mut Instance, Range<usize>) -> Result<Vec<A>, Fault>,
    B: Fn(Fault) -> A,
{
    fn run(&mut self, run: Range<usize>) {
        let instance = self.pool.take();
        // A used instance may fail for what earlier messages left in it: only a fresh one proves a message guilty.
        let fresh = instance.as_ref().is_ok_and(|instance| instance.batches() == 0);
        match self.attempt(instance, run.clone()) {
            Ok(()) => {}
            Err(fault) if fault.kind == FaultKind::Unavailable => self.fail(run, &fault),
            Err(fault) if fresh && run.len() == 1 => self.fail(run, &fault),
            Err(_) if run.len() == 1 => self.isolate(run),
            Err(_) => self.halve(run),
        }
    }

    /// For a short turn: tries once, and blames nobody for what goes wrong.
    fn run_at_once(&mut self, run: Range<usize>) {
        let instance = self.pool.take_idle().map(|mut instance| {
            instance.set_timeout(self.pool.recipe.setup.limits.timeout.min(SHORT));
            instance
        });
        let instance = instance.ok_or_else(|| Fault::new(FaultKind::Unavailable, "no instance is ready"));
        if let Err(fault) = self.attempt(instance, run.clone()) {
            self.fail(run, &Fault::new(FaultKind::Unavailable, format!("a short turn does not suffice: {fault}")));
        }
    }

    fn halve(&mut self, run: Range<usize>) {
        let middle = run.start + run.len() / 2;
        self.isolate(run.start..middle);
        self.isolate(middle..run.end);
    }

    fn isolate(&mut self, run: Range<usize>) {
        let instance = self.pool.make().map(|mut instance| {
            instance.set_timeout(self.timeout(run.len()));
            instance
        });
        match self.attempt(instance, run.clone()) {
            Ok(()) => {}
            Err(fault) if run.len() == 1 || fault.kind == FaultKind::Unavailable => self.fail(run, &fault),
            Err(_) => self.halve(run),
        }
    }

    /// Calls the step for a run. An instance whose call failed is dropped here: it is poisoned.
    fn attempt(&mut self, instance: Result<Instance, Fault>, run: Range<usize>) -> Result<(), Fault> {
        let mut instance = instance?;
        let answers = (self.call)(&mut instance, run)?;
        // Nearly always the batch is one run.
        if self.answers.is_empty() {
            self.answers = answers;
        } else {
            self.answers.extend(answers);
        }
        self.pool.put_back(instance);
        Ok(())
    }

    fn fail(&mut self, run: Range<usize>, fault: &Fault) {
        for _ in run {
            self.answers.push((self.blame)(fault.clone()));
        }
    }

    fn timeout(&self, items: usize) -> Duration {
        let timeout = self.pool.recipe.setup.limits.timeout;
        match items {
            1 => timeout,
            _ => timeout / PART_TIMEOUT,
        }
    }
}
