//! The tasks of one run, and what is changed on them while they run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::carry::{Carrier, Inlet};
use super::change::{Change, Underway};
use super::circuit::Circuit;
use super::control::Control;
use super::dead_letter::{Desk, Office};
use super::depot::Depot;
use super::fallback::Fallback;
use super::halt::Halt;
use super::lane::{Lane, LaneSettings, Opened};
use super::parking::Parking;
use super::postbox::Postbox;
use super::reload::{StageAction, StageChange};
use super::stages::{self, SourceStage};
use super::track::{Doorway, Track, WINDOW};
use super::writer::Writer;
use super::{Ended, Pipeline};
use crate::config::{Plan, SinkPlan};
use crate::delivery::Delivery;
use crate::lifecycle::{Stop, Tasks};
use crate::source::journal::Journal;
use crate::source::{Intake, Pace, Takeovers};
use crate::telemetry::Health;

/// Stepped batches that wait for a lane's writer.
const WRITER_BATCHES: usize = 2;
/// Parked messages that are stored together.
const RECOVERY_MESSAGES: usize = 1000;
/// Longest wait for tasks after the drain; they hold nothing that is not with the broker.
const ABORT_AFTER: Duration = Duration::from_secs(5);

/// The tasks of one run.
pub(super) struct Works {
    pipeline: Pipeline,
    halt: Halt,
    /// Ends what is still waiting after the drain.
    abort: Stop,
    /// Ends the source.
    intake_stop: Stop,
    postbox: Postbox,
    takeovers: Takeovers,
    desk: Desk,
    tracks: watch::Sender<Arc<Track>>,
    pace: watch::Sender<Pace>,
    /// The way in, for the next source.
    batches: mpsc::Sender<Vec<Delivery>>,
    lanes: Vec<Control>,
    /// Lanes that still write their last shares.
    retired: Vec<Retired>,
    source: Intaking,
    tasks: Tasks,
}

struct Retired {
    control: Control,
    since: Instant,
    deadline: Instant,
    tell: Option<oneshot::Sender<StageChange>>,
}

/// The source that runs, and the one that comes after it.
struct Intaking {
    stage: &'static str,
    /// The journal of the one that runs.
    journal: Option<Journal>,
    /// Tells it that it is left for another one.
    leaving: Stop,
    /// Sources that were stopped to make way for others, and whose tasks have not ended yet.
    making_way: usize,
    stop: Stop,
    left: oneshot::Receiver<u64>,
    next: Option<Next>,
}

struct Next {
    stage: SourceStage,
    name: &'static str,
    since: Instant,
    tell: oneshot::Sender<StageChange>,
}

impl Works {
    /// Starts every task.
    pub(super) fn start(pipeline: Pipeline, stage: SourceStage, intake_stop: Stop) -> Self {
        let running = pipeline.running();
        let plan = &running.loaded.plan;
        let abort = Stop::new();
        pipeline.recent.resize(plan.reload.preflight_messages);
        let mut tasks = Tasks::default();
        let postbox = Postbox::new(Arc::clone(&stage.mailbox));
        let office = Office { pipeline: Arc::clone(&plan.name), postbox: postbox.clone() };
        let (desk, refused) = mpsc::channel(WINDOW);
        tasks.spawn("dead-letters", office.work(refused, abort.clone()));
        let (batches, incoming) = mpsc::channel(plan.workers);
        let (_, left) = oneshot::channel();
        let track = Track { generation: Arc::clone(&running.generation), lanes: Vec::new() };
        let mut works = Self {
            halt: Halt::new(intake_stop.clone(), pipeline.telemetry.clone()),
            pipeline,
            abort,
            intake_stop,
            postbox,
            takeovers: Takeovers::default(),
            desk,
            tracks: watch::Sender::new(Arc::new(track)),
            pace: watch::Sender::new(pace_of(plan)),
            batches,
            lanes: Vec::new(),
            retired: Vec::new(),
            source: Intaking {
                stage: "",
                journal: None,
                leaving: Stop::new(),
                making_way: 0,
                stop: Stop::new(),
                left,
                next: None,
            },
            tasks,
        };
        let lanes = plan.sinks.iter().map(|sink| works.start_lane(sink)).collect();
        works.tracks.send_replace(Arc::new(Track { generation: Arc::clone(&running.generation), lanes }));
        let carrying = works.carrier(works.abort.clone()).carry_all(incoming, Arc::clone(&works.pipeline.recent));
        works.tasks.spawn("steps", carrying);
        works.start_source(stage, stages::source_name(&plan.source));
        works
    }

    fn carrier(&self, stop: Stop) -> Carrier {
        Carrier {
            desk: self.desk.clone(),
            halt: self.halt.clone(),
            tracks: self.tracks.subscribe(),
            pace: self.pace.subscribe(),
            stop,
        }
    }

    fn start_source(&mut self, stage: SourceStage, name: &'static str) {
        let leaving = Stop::new();
        let intake = Intake {
            batches: self.batches.clone(),
            ledger: Arc::clone(&self.pipeline.ledger),
            telemetry: self.pipeline.telemetry.clone(),
            pace: self.pace.subscribe(),
            leaving: leaving.clone(),
            ending: self.intake_stop.clone(),
            takeovers: self.takeovers.clone(),
        };
        let (tell, left) = oneshot::channel();
        let stop = self.intake_stop.child_token();
        let (source, stopping) = (stage.source, stop.clone());
        self.tasks.spawn("source", async move {
            let left = source.run(intake, stopping).await;
            if tell.send(left).is_err() {
                warn!(left, "the source ended after its pipeline");
            }
        });
        self.source =
            Intaking { stage: name, journal: stage.journal, leaving, making_way: self.source.making_way, stop, left, next: None };
    }

    fn start_lane(&mut self, sink: &SinkPlan) -> Doorway {
        let telemetry = &self.pipeline.telemetry;
        self.pipeline.ledger.open_lane(&sink.name);
        let stage = format!("sinks.{}", sink.name);
        telemetry.set_health(&stage, Health::Starting);
        let (settings, watched) = watch::channel(LaneSettings { sink: sink.clone(), number: 0 });
        let (tell_opened, opened) = watch::channel(Opened::default());
        let stop = self.abort.child_token();
        let office = Office { pipeline: Arc::clone(&self.pipeline.name), postbox: self.postbox.clone() };
        let depot = Depot::new(Arc::clone(&sink.name), office);
        let lane = Lane {
            writer: Writer {
                stage: stage.as_str().into(),
                sink: stages::make_sink(sink, telemetry),
                telemetry: telemetry.clone(),
                up: false,
                circuit: Circuit::default(),
            },
            settings: watched,
            opened: tell_opened,
            parking: Parking::new(
                depot.clone(),
                self.takeovers.clone(),
                self.tracks.subscribe(),
                RECOVERY_MESSAGES,
                stop.clone(),
            ),
            fallback: Fallback::new(&stage, depot, self.pace.subscribe(), telemetry, &stop),
            desk: self.desk.clone(),
            stop: stop.clone(),
        };
        let (writer, stepped) = mpsc::channel(WRITER_BATCHES);
        let (shares, inlet) = mpsc::channel(WINDOW);
        let carrying = self.carrier(stop.clone()).carry_lane(Arc::clone(&sink.name), Inlet::new(inlet), writer);
        self.tasks.spawn(&format!("{stage}.steps"), carrying);
        self.tasks.spawn(&stage, lane.run(stepped));
        self.lanes.push(Control { name: Arc::clone(&sink.name), settings, opened, stop });
        Doorway { name: Arc::clone(&sink.name), shares }
    }

    /// Waits for the source to end, which it does last of all in a clean stop; any other task that ends before the stop is a failure.
    pub(super) async fn supervise(mut self, mut changes: mpsc::Receiver<Change>) -> Ended {
        let mut failed = false;
        let left = loop {
            let overdue = self.retired.iter().map(|retired| retired.deadline).min();
            tokio::select! {
                biased;
                left = &mut self.source.left => match self.source.next.take() {
                    Some(next) if !self.intake_stop.is_cancelled() => self.follow(next, left.unwrap_or_default()),
                    _ => break left,
                },
                Some(task) = self.tasks.next() => failed |= self.note_ended(&task),
                Some(change) = changes.recv(), if !self.intake_stop.is_cancelled() => self.apply(change),
                () = sleep_until(overdue.unwrap_or_else(Instant::now)), if overdue.is_some() => self.give_up_retired(),
            }
        };
        self.end().await;
        match (self.halt.reason(), left) {
            (Some(reason), _) => Ended::Halted(reason.to_owned()),
            (None, Ok(left)) if !failed && self.intake_stop.is_cancelled() => Ended::Stopped { left },
            (None, _) => Ended::Failed,
        }
    }

    /// Ends what is left; nobody holds anything by then that is not with the broker.
    async fn end(&mut self) {
        self.abort.cancel();
        let generation = Arc::clone(&self.tracks.borrow().generation);
        // The ways into the lanes, into the steps and to the dead letters close: who reads them ends when nobody can write any more.
        self.tracks.send_replace(Arc::new(Track { generation, lanes: Vec::new() }));
        self.batches = mpsc::channel(1).0;
        self.desk = mpsc::channel(1).0;
        if timeout(ABORT_AFTER, self.tasks.join()).await.is_err() {
            warn!("some tasks did not end in time; they are cut off");
            self.tasks.abort();
        }
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

    /// Whether the end of a task is a failure.
    fn note_ended(&mut self, task: &str) -> bool {
        let lane = task.strip_prefix("sinks.").map(|lane| lane.strip_suffix(".steps").unwrap_or(lane));
        if let Some(index) = self.retired.iter().position(|retired| Some(&*retired.control.name) == lane) {
            if !task.ends_with(".steps") {
                let retired = self.retired.swap_remove(index);
                self.note_retired(retired);
            }
            return false;
        }
        if task == "source" && self.source.making_way > 0 {
            self.source.making_way -= 1;
            return false;
        }
        if self.intake_stop.is_cancelled() {
            return false;
        }
        error!(%task, "a task ended although nobody asked it to; the pipeline stops, and what it holds stays with the broker");
        self.intake_stop.cancel();
        true
    }

    fn note_retired(&mut self, retired: Retired) {
        let stage = format!("sinks.{}", retired.control.name);
        if !self.lanes.iter().any(|lane| lane.name == retired.control.name) {
            self.pipeline.telemetry.forget_stage(&stage);
        }
        info!(sink = %stage, "the sink is closed; what it was given is settled");
        let change = StageChange { stage, action: StageAction::Closed, millis: millis(retired.since), left: 0 };
        // Whoever asked for it may have gone.
        drop(retired.tell.map(|tell| tell.send(change)));
    }

    /// A lane that cannot write its last shares lets them go: the broker delivers them again, to the lanes that there are.
    fn give_up_retired(&mut self) {
        let now = Instant::now();
        for retired in self.retired.iter_mut().filter(|retired| retired.deadline <= now) {
            warn!(sink = %retired.control.name, "the removed sink did not take its last messages in time; the broker delivers them again");
            retired.control.stop.cancel();
            retired.deadline = now + Duration::from_secs(3600);
        }
    }

    /// Puts a change in place: from here on new batches begin on it.
    fn apply(&mut self, change: Change) {
        let plan = &change.loaded.plan;
        let mut underway = Vec::new();
        let present = Arc::clone(&self.tracks.borrow());
        let mut lanes = Vec::with_capacity(plan.sinks.len());
        for sink in &plan.sinks {
            let doorway = present.lanes.iter().find(|lane| lane.name == sink.name);
            let control = self.lanes.iter().find(|lane| lane.name == sink.name);
            lanes.push(match (doorway, control) {
                (Some(doorway), Some(control)) => {
                    underway.extend(control.change(sink, change.reopened.contains(&sink.name)));
                    doorway.clone()
                }
                _ => {
                    let stage = format!("sinks.{}", sink.name);
                    underway.push(Underway::Done(StageChange { stage, action: StageAction::Opened, millis: 0.0, left: 0 }));
                    self.start_lane(sink)
                }
            });
        }
        self.pipeline.ledger.open_generation(change.generation.number, plan.sinks.iter().map(|sink| &sink.name));
        self.pace.send_replace(pace_of(plan));
        self.pipeline.recent.resize(plan.reload.preflight_messages);
        self.tracks.send_replace(Arc::new(Track { generation: Arc::clone(&change.generation), lanes }));
        underway.extend(self.retire_lanes(plan));
        underway.extend(change.source.map(|stage| self.replace_source(stage, plan)));
        self.pipeline.set_running(change.loaded, change.generation);
        drop(change.reply.send(underway));
    }

    /// The lanes that the plan has no more end once what they were given is written.
    fn retire_lanes(&mut self, plan: &Plan) -> Vec<Underway> {
        let since = Instant::now();
        let (kept, gone) = std::mem::take(&mut self.lanes)
            .into_iter()
            .partition(|lane: &Control| plan.sinks.iter().any(|sink| sink.name == lane.name));
        self.lanes = kept;
        let mut underway = Vec::new();
        for control in gone {
            let (tell, told) = oneshot::channel();
            self.retired.push(Retired { control, since, deadline: since + plan.drain_timeout, tell: Some(tell) });
            underway.push(Underway::Told(told));
        }
        underway
    }

    /// The present source drains and ends; the next one starts then.
    fn replace_source(&mut self, stage: SourceStage, plan: &Plan) -> Underway {
        let (tell, told) = oneshot::channel();
        let journal = self.source.journal.as_ref();
        let is_left = journal.is_some_and(|journal| !stage.journal.as_ref().is_some_and(|next| next.is_same_as(journal)));
        // What lies in a journal that nobody reads from then on is handed on first.
        if is_left {
            self.source.leaving.cancel()
        } else {
            self.source.stop.cancel()
        }
        self.source.next = Some(Next { stage, name: stages::source_name(&plan.source), since: Instant::now(), tell });
        self.source.making_way += 1;
        Underway::Told(told)
    }

    /// The source before has ended; the next one starts.
    fn follow(&mut self, next: Next, left: u64) {
        let Next { stage, name, since, tell } = next;
        if left > 0 {
            warn!(source = self.source.stage, left, "the source was left with messages that did not settle in time");
        }
        if self.source.stage != name {
            self.pipeline.telemetry.forget_stage(self.source.stage);
        }
        self.pipeline.telemetry.set_health(name, Health::Starting);
        self.postbox.replace(Arc::clone(&stage.mailbox));
        for lane in &self.lanes {
            // Each looks into the new mailbox.
            lane.settings.send_modify(|_| {});
        }
        self.start_source(stage, name);
        drop(tell.send(StageChange { stage: name.to_owned(), action: StageAction::Reopened, millis: millis(since), left }));
    }
}

fn pace_of(plan: &Plan) -> Pace {
    Pace { max_messages: plan.batch.max_messages, linger: plan.batch.linger, drain_timeout: plan.drain_timeout }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
