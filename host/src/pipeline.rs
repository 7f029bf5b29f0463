//! Carrying: source → steps → every sink, and an acknowledgement once all have answered.
//!
//! ```text
//!  source ─▶ batches ─▶ Carrier (steps, in parallel, in order) ─┬─▶ Carrier (a lane's own steps) ─▶ Lane ─▶ sink
//!     ▲                          │ refused                      └─▶ …
//!     │                          ▼
//!     └── window ◀─── settled ── Office (dead letters)
//! ```

mod build;
mod carry;
mod chain;
mod dead_letter;
mod gate;
mod generation;
mod halt;
mod lane;
mod opening;
mod parking;
mod passing;
/// Reloading: what somebody asks for, and what came of it.
pub mod reload;
mod seal;
mod stages;
mod step;
mod trial;

pub use build::{BuildError, BuildProblem, build};
pub use gate::{CaseFailure, run_cases};
pub use generation::{Generation, PluginReport};
pub use opening::{OpenError, Opener};
pub use trial::{Trial, try_message};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use self::carry::{Carrier, Onward};
use self::dead_letter::Office;
use self::halt::Halt;
use self::lane::{Lane, Writer};
use self::parking::Parking;
use self::stages::SourceStage;
use crate::config::{OnFailure, Plan, SinkPlan};
use crate::ledger::Ledger;
use crate::lifecycle::{Stop, Tasks};
use crate::source::{Intake, StageError};
use crate::telemetry::{Health, Telemetry};

/// Stepped batches that wait for a lane's writer.
const WRITER_BATCHES: usize = 2;
/// Parked messages that are stored together.
const RECOVERY_MESSAGES: usize = 1000;
/// Longest wait for tasks after the drain; they hold nothing that is not with the broker.
const ABORT_AFTER: Duration = Duration::from_secs(5);

/// One running pipeline, for whoever looks at it.
#[derive(Clone)]
pub struct Pipeline {
    /// What it was planned as.
    pub plan: Arc<Plan>,
    /// What became of its messages.
    pub ledger: Arc<Ledger>,
    /// Its counters, and how its stages are.
    pub telemetry: Telemetry,
    current: watch::Sender<Arc<Generation>>,
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
    pub fn new(plan: Plan, generation: Generation, telemetry: Telemetry) -> Self {
        let ledger = Arc::new(Ledger::default());
        plan.sinks.iter().for_each(|sink| ledger.open_lane(&sink.name));
        // Before anybody can ask: a pipeline whose stages are not known yet must not look ready.
        telemetry.set_health(stages::source_name(&plan.source), Health::Starting);
        for sink in &plan.sinks {
            telemetry.set_health(&format!("sinks.{}", sink.name), Health::Starting);
        }
        Self { plan: Arc::new(plan), ledger, telemetry, current: watch::Sender::new(Arc::new(generation)) }
    }

    /// The generation that new batches begin on.
    #[must_use]
    pub fn generation(&self) -> Arc<Generation> {
        Arc::clone(&self.current.borrow())
    }

    /// Runs until the stop, then settles what it holds within `drain_timeout` and leaves the rest to the broker.
    ///
    /// # Errors
    /// Fails when the source's journal cannot be opened.
    pub async fn run(&self, stop: Stop) -> Result<Ended, StageError> {
        let stage = stages::open_source(&self.plan.source).await?;
        let intake_stop = stop.child_token();
        let works = Works { pipeline: self, halt: Halt::new(intake_stop.clone(), self.telemetry.clone()), abort: Stop::new() };
        let mut tasks = Tasks::default();
        let left = works.start(stage, &intake_stop, &mut tasks);
        Ok(works.supervise(left, &intake_stop, tasks).await)
    }
}

/// What the tasks of one run share.
struct Works<'a> {
    pipeline: &'a Pipeline,
    halt: Halt,
    /// Ends what is still waiting after the drain.
    abort: Stop,
}

impl Works<'_> {
    /// Starts every task; what the source left to the broker comes through the receiver.
    fn start(&self, stage: SourceStage, intake_stop: &Stop, tasks: &mut Tasks) -> oneshot::Receiver<u64> {
        let plan = &self.pipeline.plan;
        let office = Office { pipeline: Arc::clone(&plan.name), mailbox: Arc::clone(&stage.mailbox) };
        let (desk, refused) = mpsc::channel(stage.prefetch);
        tasks.spawn("dead-letters", office.clone().work(refused, self.abort.clone()));
        let carrier = Carrier {
            current: self.pipeline.current.subscribe(),
            lane: None,
            desk,
            halt: self.halt.clone(),
            workers: plan.workers,
            max_messages: plan.batch.max_messages,
            stop: self.abort.clone(),
        };
        let lanes = plan.sinks.iter().map(|sink| {
            // The channel holds a whole window: a sink that is down must not hold the others up.
            let (lane, batches) = mpsc::channel(stage.prefetch);
            self.start_lane(sink, &carrier, &office, batches, tasks);
            (Arc::clone(&sink.name), lane)
        });
        let onward = Onward::Lanes(lanes.collect());
        let (batches, incoming) = mpsc::channel(plan.workers);
        tasks.spawn("steps", carrier.carry(incoming, onward));
        self.start_source(stage, batches, intake_stop.clone(), tasks)
    }

    fn start_source(
        &self,
        stage: SourceStage,
        batches: mpsc::Sender<Vec<crate::delivery::Delivery>>,
        stop: Stop,
        tasks: &mut Tasks,
    ) -> oneshot::Receiver<u64> {
        let plan = &self.pipeline.plan;
        let intake = Intake {
            batches,
            ledger: Arc::clone(&self.pipeline.ledger),
            telemetry: self.pipeline.telemetry.clone(),
            max_messages: plan.batch.max_messages,
            linger: plan.batch.linger,
            drain_timeout: plan.drain_timeout,
        };
        let (tell, left) = oneshot::channel();
        let source = stage.source;
        tasks.spawn("source", async move {
            let left = source.run(intake, stop).await;
            if tell.send(left).is_err() {
                warn!(left, "the source ended after its pipeline");
            }
        });
        left
    }

    fn start_lane(
        &self,
        sink: &SinkPlan,
        carrier: &Carrier,
        office: &Office,
        batches: mpsc::Receiver<Vec<crate::delivery::Delivery>>,
        tasks: &mut Tasks,
    ) {
        let (pipeline, stage) = (self.pipeline, format!("sinks.{}", sink.name));
        let parking = || Parking::new(Arc::clone(&sink.name), office.clone(), pipeline.current.subscribe(), RECOVERY_MESSAGES);
        let lane = Lane {
            writer: Writer {
                stage: stage.as_str().into(),
                sink: stages::make_sink(sink, &pipeline.telemetry),
                telemetry: pipeline.telemetry.clone(),
                up: false,
            },
            on_failure: sink.on_failure,
            parking: matches!(sink.on_failure, OnFailure::Park(_)).then(parking),
            max_messages: pipeline.plan.batch.max_messages,
            desk: carrier.desk.clone(),
            stop: self.abort.clone(),
        };
        let (writer, stepped) = mpsc::channel(WRITER_BATCHES);
        let steps = Carrier { lane: Some(Arc::clone(&sink.name)), ..carrier.clone() };
        tasks.spawn(&format!("{stage}.steps"), steps.carry(batches, Onward::Writer(writer)));
        tasks.spawn(&stage, lane.run(stepped));
    }

    /// Waits for the source to end, which it does last of all in a clean stop; any other task that ends before the stop is a failure.
    async fn supervise(&self, mut left: oneshot::Receiver<u64>, intake_stop: &Stop, mut tasks: Tasks) -> Ended {
        let mut failed = false;
        let left = loop {
            tokio::select! {
                biased;
                left = &mut left => break left,
                Some(task) = tasks.next() => if !intake_stop.is_cancelled() {
                    error!(%task, "a task ended although nobody asked it to; the pipeline stops, and what it holds stays with the broker");
                    failed = true;
                    intake_stop.cancel();
                },
            }
        };
        self.abort.cancel();
        if timeout(ABORT_AFTER, tasks.join()).await.is_err() {
            warn!("some tasks did not end in time; they are cut off");
            tasks.abort();
        }
        self.tell();
        match (self.halt.reason(), left) {
            (Some(reason), _) => Ended::Halted(reason.to_owned()),
            (None, Ok(left)) if !failed && intake_stop.is_cancelled() => Ended::Stopped { left },
            (None, _) => Ended::Failed,
        }
    }

    fn tell(&self) {
        let balance = self.pipeline.ledger.balance();
        if balance.is_closed() {
            info!(
                received = balance.received,
                acked = balance.acked,
                returned = balance.returned,
                "stopped; the ledger balances"
            );
        } else {
            error!(?balance, "the ledger does not balance");
        }
    }
}
