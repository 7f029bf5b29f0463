//! Carrying: source → steps → every sink, and an acknowledgement once all have answered.
//!
//! ```text
//!  source ─▶ batches ─▶ Carrier (steps, in parallel, in order) ─┬─▶ Carrier (a lane's own steps) ─▶ Lane ─▶ sink
//!     ▲                          │ refused                      └─▶ …
//!     │                          ▼
//!     └── window ◀─── settled ── Office (dead letters)
//! ```

mod aboard;
mod batch;
mod build;
mod carry;
mod chain;
mod change;
mod circuit;
mod control;
mod courier;
mod dead_letter;
mod depot;
mod effort;
mod fallback;
mod gate;
mod generation;
mod halt;
mod lane;
mod opening;
mod parking;
mod passing;
mod postbox;
mod preflight;
mod prepare;
mod recent;
/// Reloading: what somebody asks for, and what came of it.
pub mod reload;
mod seal;
mod seals;
mod stages;
mod step;
mod track;
mod trial;
mod works;
mod writer;

pub use courier::{Courier, Undelivered};
pub use generation::{Generation, PluginReport};
pub use opening::{OpenError, Opener};
pub use prepare::{Making, prepare};
pub use trial::{Trial, try_message};

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use self::recent::Recent;
use self::reload::{History, Reconciler, Reloader, Request, Standing};
use self::works::Works;
use crate::config::{Loaded, Options, Plan};
use crate::ledger::Ledger;
use crate::lifecycle::{Stop, Tasks};
use crate::plugin::Engine;
use crate::source::StageError;
use crate::telemetry::{Health, Telemetry};

/// One running pipeline, for whoever looks at it.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name, which does not change.
    pub name: Arc<str>,
    /// What became of its messages.
    pub ledger: Arc<Ledger>,
    /// Its counters, and how its stages are.
    pub telemetry: Telemetry,
    /// The way to ask for a reload.
    pub reloader: Reloader,
    /// What came of the last reloads.
    pub history: History,
    current: watch::Sender<Arc<Running>>,
    standing: watch::Sender<Standing>,
    recent: Arc<Recent>,
    /// Where reloads are asked for, until it runs.
    requests: Arc<Mutex<Option<mpsc::Receiver<Request>>>>,
    origin: Origin,
}

/// What a pipeline is made anew with when its files change.
#[derive(Clone)]
pub struct Origin {
    /// Loads the plugins.
    pub engine: Engine,
    /// How the file is read.
    pub options: Options,
}

/// What runs.
pub struct Running {
    /// The file, as it was taken.
    pub loaded: Arc<Loaded>,
    /// Its steps.
    pub generation: Arc<Generation>,
}

/// How a pipeline ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By the stop: this many messages were left to the broker.
    Stopped {
        /// Taken and not acknowledged.
        left: u64,
    },
    /// By a step with `on_error = "halt"`.
    Halted(String),
    /// One of its tasks ended although nobody asked it to.
    Failed,
}

impl Pipeline {
    /// A pipeline that is ready to run.
    #[must_use]
    pub fn new(loaded: Loaded, generation: Generation, telemetry: Telemetry, origin: Origin) -> Self {
        let plan = &loaded.plan;
        let ledger = Arc::new(Ledger::default());
        plan.sinks.iter().for_each(|sink| ledger.open_lane(&sink.name));
        ledger.open_generation(generation.number, plan.sinks.iter().map(|sink| &sink.name));
        // Before anybody can ask: a pipeline whose stages are not known yet must not look ready.
        telemetry.set_health(stages::source_name(&plan.source), Health::Starting);
        for sink in &plan.sinks {
            telemetry.set_health(&format!("sinks.{}", sink.name), Health::Starting);
        }
        telemetry.set_generation(generation.number);
        let (reloader, requests) = Reloader::new();
        Self {
            name: Arc::clone(&plan.name),
            ledger,
            history: History::new(telemetry.clone()),
            telemetry,
            reloader,
            current: watch::Sender::new(Arc::new(Running { loaded: Arc::new(loaded), generation: Arc::new(generation) })),
            standing: watch::Sender::default(),
            recent: Arc::default(),
            requests: Arc::new(Mutex::new(Some(requests))),
            origin,
        }
    }

    /// What runs now.
    #[must_use]
    pub fn running(&self) -> Arc<Running> {
        Arc::clone(&self.current.borrow())
    }

    /// What can be gone back to, and whether what runs is on probation.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Where reloads are asked for; none when somebody answers them already.
    pub(crate) fn take_requests(&self) -> Option<mpsc::Receiver<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set_running(&self, loaded: Arc<Loaded>, generation: Arc<Generation>) {
        self.telemetry.set_generation(generation.number);
        self.current.send_replace(Arc::new(Running { loaded, generation }));
    }

    /// Runs until the stop, then settles what it holds within `drain_timeout` and leaves the rest to the broker. Meanwhile its files may
    /// change.
    ///
    /// # Errors
    /// Fails when the source's journal cannot be opened.
    pub async fn run(&self, stop: Stop) -> Result<Ended, StageError> {
        let stage = stages::open_source(&self.running().loaded.plan.source, None).await?;
        let journal = stage.journal.clone();
        let intake_stop = stop.child_token();
        let works = Works::start(self.clone(), stage, intake_stop.clone());
        let (changes, arriving) = mpsc::channel(1);
        let mut tasks = Tasks::default();
        if let Some(requests) = self.take_requests() {
            let reconciler = Reconciler::new(self.clone(), changes, requests, journal);
            tasks.spawn("reload", reconciler.run(intake_stop));
        }
        let ended = works.supervise(arriving).await;
        tasks.abort();
        tasks.join().await;
        Ok(ended)
    }
}

impl Running {
    /// What it was planned as.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.loaded.plan
    }
}
