//! The one who reloads: what is asked for, and what the files say, one after the other.

use std::future::pending;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::making::{Attempt, Made, Order, make};
use super::probation::Probation;
use super::swapping::swap;
use super::{Event, Gate, Gates, Outcome, Request, Standing, Swap, Trigger, Verdict, staging};
use crate::config::{self, Change as Changed, Class, Loaded, Plan};
use crate::lifecycle::{Stop, blocking};
use crate::pipeline::change::Change;
use crate::pipeline::{Pipeline, Running};
use crate::source::journal::Journal;
use crate::watch::{Timing, Watch};

/// Reloads one pipeline.
pub(in crate::pipeline) struct Reconciler {
    pipeline: Pipeline,
    works: mpsc::Sender<Change>,
    requests: mpsc::Receiver<Request>,
    watch: Watch,
    journal: Option<Journal>,
    /// What ran before, ready to be gone back to.
    previous: Option<Kept>,
    probation: Option<Probation>,
    /// Number of the newest generation.
    number: u64,
    /// What the files said when they were last tried.
    attempt: Attempt,
}

struct Kept {
    running: Arc<Running>,
    until: Instant,
}

/// What wakes the reconciler.
enum Wake {
    Stop,
    Asked(Request),
    Saved,
    Look,
    Expired,
}

/// What came of a reload, before it is told.
struct Came {
    outcome: Outcome,
    reason: Option<String>,
    changes: Vec<Changed>,
    gates: Gates,
    swap: Option<Swap>,
}

impl Came {
    fn refused(changes: Vec<Changed>, gates: Gates) -> Self {
        Self { outcome: Outcome::Refused, reason: gates.reason(), changes, gates, swap: None }
    }

    fn told(outcome: Outcome, reason: Option<String>) -> Self {
        Self { outcome, reason, changes: Vec::new(), gates: Gates::default(), swap: None }
    }
}

impl Reconciler {
    pub(in crate::pipeline) fn new(
        pipeline: Pipeline,
        works: mpsc::Sender<Change>,
        requests: mpsc::Receiver<Request>,
        journal: Option<Journal>,
    ) -> Self {
        let running = pipeline.running();
        let watch = Watch::new(files_of(&running.loaded), timing_of(running.plan()));
        let number = running.generation.number;
        let attempt = Attempt::Read(Arc::clone(&running.loaded));
        Self { pipeline, works, requests, watch, journal, previous: None, probation: None, number, attempt }
    }

    /// Reloads whenever a file changes or somebody asks, until the stop.
    pub(in crate::pipeline) async fn run(mut self, stop: Stop) {
        loop {
            match self.wake(&stop).await {
                Wake::Stop => return,
                Wake::Asked(Request { trigger, force, reply }) => {
                    let event = self.answer(trigger, force).await;
                    // Whoever asked may have gone.
                    drop(reply.send(event));
                }
                Wake::Saved => drop(self.answer(Trigger::File, false).await),
                Wake::Look => self.look().await,
                Wake::Expired => {
                    self.previous = None;
                    self.stand();
                }
            }
        }
    }

    async fn wake(&mut self, stop: &Stop) -> Wake {
        let watches = self.pipeline.running().plan().reload.watch;
        let expires = self.previous.as_ref().map(|kept| kept.until);
        let look = self.probation.as_ref().map(Probation::next_look);
        let saved = async {
            match watches {
                true => self.watch.changed().await,
                false => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            request = self.requests.recv() => request.map_or(Wake::Stop, Wake::Asked),
            () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => Wake::Look,
            () = sleep_until(expires.unwrap_or_else(Instant::now)), if expires.is_some() => Wake::Expired,
            () = saved => Wake::Saved,
        }
    }

    /// Does what is asked for, and tells everybody what came of it.
    async fn answer(&mut self, trigger: Trigger, force: bool) -> Event {
        let (begun, from) = (Instant::now(), self.pipeline.running().generation.number);
        let came = match trigger {
            Trigger::Rollback => self.roll_back(None).await,
            Trigger::Plan | Trigger::File | Trigger::Signal | Trigger::Reload | Trigger::Probation => {
                self.reload(trigger, force).await
            }
        };
        self.tell(came, trigger, from, begun)
    }

    fn tell(&self, came: Came, trigger: Trigger, from: u64, begun: Instant) -> Event {
        let event = Event {
            pipeline: self.pipeline.name.to_string(),
            at: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            trigger,
            outcome: came.outcome,
            from,
            to: self.pipeline.running().generation.number,
            reason: came.reason,
            changes: came.changes,
            gates: came.gates.into_results(),
            swap: came.swap,
            millis: begun.elapsed().as_secs_f64() * 1000.0,
        };
        log(&event);
        // A plan changes nothing, and a file that was saved as it was is no event.
        match (event.outcome, event.trigger) {
            (_, Trigger::Plan) => {}
            (Outcome::Unchanged, Trigger::File) => self.pipeline.history.count(&event),
            _ => self.pipeline.history.push(event.clone()),
        }
        event
    }

    async fn reload(&mut self, trigger: Trigger, force: bool) -> Came {
        let unless = (trigger == Trigger::File).then(|| self.attempt.clone());
        let order = Order { number: self.number + 1, force, unless };
        let pipeline = self.pipeline.clone();
        let made = match blocking(move || make(&pipeline, &order)).await {
            Ok(made) => made,
            Err(failure) => return Came::told(Outcome::Refused, Some(format!("the reload panicked: {failure}"))),
        };
        let Made { changes, candidate, mut gates, attempt } = made;
        self.follow(&attempt);
        match trigger {
            // What it saw counts for nobody else.
            Trigger::Plan => {}
            Trigger::File => self.attempt = attempt,
            _ => {
                self.attempt = attempt;
                // It may have read what the watch has not told yet, or something in between.
                self.watch.look_again();
            }
        }
        let Some(next) = candidate else {
            let unchanged = changes.is_empty() && gates.reason().is_none();
            return if unchanged { Came::told(Outcome::Unchanged, None) } else { Came::refused(changes, gates) };
        };
        let staged = staging::check(&self.pipeline, next.plan(), &changes).await;
        if !gates.decide(Gate::Stages, staged, force) {
            return Came::refused(changes, gates);
        }
        if trigger == Trigger::Plan {
            return Came { outcome: Outcome::Planned, reason: None, changes, gates, swap: None };
        }
        let generation = Arc::clone(&next.generation);
        let came = self.put_in_place(next, Outcome::Swapped, changes, gates).await;
        if came.outcome == Outcome::Swapped {
            self.number = generation.number;
        }
        came
    }

    /// Swaps, and keeps what ran before.
    async fn put_in_place(&mut self, next: Running, outcome: Outcome, changes: Vec<Changed>, mut gates: Gates) -> Came {
        let old = self.pipeline.running();
        let swapped = swap(&self.pipeline, &self.works, next, &changes, &mut self.journal).await;
        match swapped {
            Ok(Some(swap)) => {
                if outcome == Outcome::Swapped {
                    self.keep(old, &changes);
                }
                self.stand();
                Came { outcome, reason: None, changes, gates, swap: Some(swap) }
            }
            Ok(None) => Came::told(Outcome::Refused, Some("the pipeline is stopping".to_owned())),
            Err(failure) => {
                gates.note(Gate::Stages, Verdict::Refused, vec![failure.to_string()]);
                Came::refused(changes, gates)
            }
        }
    }

    /// Keeps what ran before ready, and watches what runs now.
    fn keep(&mut self, old: Arc<Running>, changes: &[Changed]) {
        let now = self.pipeline.running();
        let reload = &now.plan().reload;
        let before = old.generation.meter.tally();
        let steps_changed = changes.iter().any(|change| change.class == Class::StepSwap);
        self.probation = (steps_changed && !reload.probation.is_zero())
            .then(|| Probation::new(Arc::clone(&now.generation), before, reload.max_error_percent, reload.probation));
        let window = reload.rollback_window;
        self.previous = (!window.is_zero()).then(|| Kept { running: old, until: Instant::now() + window });
    }

    /// Looks at the generation that is on probation.
    async fn look(&mut self) {
        let Some(probation) = &mut self.probation else { return };
        if let Some(reason) = probation.failure() {
            let (begun, from) = (Instant::now(), self.pipeline.running().generation.number);
            let came = self.roll_back(Some(reason)).await;
            drop(self.tell(came, Trigger::Probation, from, begun));
            self.probation = None;
            self.stand();
        } else if probation.is_over() {
            self.probation = None;
            self.stand();
        }
    }

    /// Goes back to the generation before: the same change, flipped.
    async fn roll_back(&mut self, reason: Option<String>) -> Came {
        let Some(kept) = self.previous.take() else {
            let why = "there is nothing to go back to: no change was made, or its `reload.rollback_window` is over";
            return Came::told(Outcome::Refused, Some(why.to_owned()));
        };
        let running = self.pipeline.running();
        let changes = config::diff(&running.loaded, &kept.running.loaded).unwrap_or_default();
        let next = Running { loaded: Arc::clone(&kept.running.loaded), generation: Arc::clone(&kept.running.generation) };
        self.probation = None;
        let came = self.put_in_place(next, Outcome::RolledBack, changes, Gates::default()).await;
        Came { reason: reason.or(came.reason), ..came }
    }

    /// Watches what the files named now as well as what runs names: a refused file is mended in either.
    fn follow(&mut self, attempt: &Attempt) {
        let running = self.pipeline.running();
        let (named, timing) = match attempt {
            Attempt::Read(loaded) => (files_of(loaded), timing_of(&loaded.plan)),
            // Nothing new is known of it: what was watched before is watched still.
            Attempt::Broken(_) => return,
        };
        self.watch.follow(named.into_iter().chain(files_of(&running.loaded)).collect(), timing);
    }

    fn stand(&self) {
        let rollback_to = self.previous.as_ref().map(|kept| kept.running.generation.number);
        self.pipeline.standing.send_replace(Standing { rollback_to, on_probation: self.probation.is_some() });
    }
}

fn files_of(loaded: &Loaded) -> std::collections::BTreeSet<std::path::PathBuf> {
    loaded.files.iter().cloned().collect()
}

fn timing_of(plan: &Plan) -> Timing {
    Timing { settle: plan.reload.settle, poll: plan.reload.poll }
}

/// One line for the one who must act.
fn log(event: &Event) {
    let (pipeline, trigger, outcome) = (&event.pipeline, event.trigger.name(), event.outcome.name());
    let reason = event.reason.as_deref().unwrap_or("");
    let changed: Vec<&str> = event.changes.iter().map(|change| change.key.as_str()).collect();
    let changed = changed.join(", ");
    match event.outcome {
        Outcome::Swapped => {
            let swap = event.swap.clone().unwrap_or_default();
            let pause_micros = swap.pause.map_or(0, |pause| pause.max_micros);
            info!(%pipeline, trigger, from = event.from, to = event.to, changed, pause_micros, in_flight = swap.in_flight, finished_on_old = swap.finished_on_old, redelivered = swap.redelivered, "swapped");
        }
        Outcome::RolledBack if event.trigger == Trigger::Probation => {
            error!(%pipeline, from = event.from, to = event.to, reason, "rolled back by itself; the files still say otherwise");
        }
        Outcome::RolledBack => warn!(%pipeline, from = event.from, to = event.to, "rolled back; the files still say otherwise"),
        // Whoever asked is told; nothing was to change.
        Outcome::Refused if event.trigger == Trigger::Plan => info!(%pipeline, changed, reason, "it would be refused"),
        Outcome::Refused => error!(%pipeline, trigger, changed, reason, "the change was refused; what ran runs on as it was"),
        // What a file holds at first is looked at too.
        Outcome::Unchanged if event.trigger == Trigger::File => debug!(%pipeline, "the files say what runs"),
        Outcome::Unchanged | Outcome::Planned => info!(%pipeline, trigger, changed, outcome, "nothing was changed"),
    }
}
