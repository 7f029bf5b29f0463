//! The part of a reload that blocks: the files are read, compared with what runs, and made into a generation that has passed its gates.

use std::sync::Arc;

use super::{Gate, Gates, Verdict};
use crate::config::{self, Change, Class, Loaded};
use crate::keys::KeyRingPlan;
use crate::pipeline::generation::Generation;
use crate::pipeline::preflight::compare;
use crate::pipeline::prepare::{Making, check_cases, prepare};
use crate::pipeline::{Pipeline, Running};

/// How often the files are read again because they changed while they were made into a generation.
const TRIES: usize = 3;

/// What became of the files.
pub(super) struct Made {
    /// What differs from what runs.
    pub(super) changes: Vec<Change>,
    /// What can be swapped in; none where nothing differs, or a gate refused.
    pub(super) candidate: Option<Running>,
    /// Every gate so far.
    pub(super) gates: Gates,
    /// What the files said.
    pub(super) attempt: Attempt,
}

/// What was made of the files the last time.
#[derive(Clone)]
pub(super) enum Attempt {
    /// They could be read, whatever the gates said then.
    Read(Arc<Loaded>),
    /// They could not, for these reasons.
    Broken(Vec<String>),
}

/// How to make it.
#[derive(Clone)]
pub(super) struct Order {
    /// Number of the generation.
    pub(super) number: u64,
    /// Go on where a gate may be overruled.
    pub(super) force: bool,
    /// Nothing is made of files that say what they said then: what was refused is not tried again before they change, and what was rolled
    /// back does not come back by itself.
    pub(super) unless: Option<Attempt>,
}

/// Makes what the files say now. Blocking.
pub(super) fn make(pipeline: &Pipeline, order: &Order) -> Made {
    let running = pipeline.running();
    let mut tries = 0;
    loop {
        tries += 1;
        let made = attempt(pipeline, &running, order);
        let Attempt::Read(loaded) = &made.attempt else { return made };
        // Saved again meanwhile: the latest wins, and a plugin is never taken together with the settings of another.
        if tries == TRIES || !has_changed(pipeline, loaded) {
            return made;
        }
    }
}

fn has_changed(pipeline: &Pipeline, loaded: &Loaded) -> bool {
    let now = config::load(&loaded.plan.file, &pipeline.origin.options);
    now.is_ok_and(|now| config::diff(loaded, &now).is_ok_and(|changes| !changes.is_empty()))
}

fn attempt(pipeline: &Pipeline, running: &Running, order: &Order) -> Made {
    let mut gates = Gates::default();
    let parsed = gates.time(Gate::Parse, || parse(pipeline, running));
    let (mut loaded, changes) = match parsed {
        Ok(parsed) => parsed,
        Err(reasons) => {
            if !matches!(&order.unless, Some(Attempt::Broken(before)) if *before == reasons) {
                gates.note(Gate::Parse, Verdict::Refused, reasons.clone());
            }
            return Made { changes: Vec::new(), candidate: None, gates, attempt: Attempt::Broken(reasons) };
        }
    };
    let refused = |gates, changes, loaded| Made { changes, candidate: None, gates, attempt: Attempt::Read(Arc::new(loaded)) };
    let is_known = matches!(&order.unless, Some(Attempt::Read(before)) if config::diff(before, &loaded).is_ok_and(|changes| changes.is_empty()));
    if is_known {
        return refused(gates, Vec::new(), loaded);
    }
    if changes.is_empty() {
        gates.pass(Gate::Parse);
        return refused(gates, changes, loaded);
    }
    if let Err(reasons) = may_change(&changes, running, &loaded) {
        gates.note(Gate::Parse, Verdict::Refused, reasons);
        return refused(gates, changes, loaded);
    }
    gates.pass(Gate::Parse);
    let generation = generation(pipeline, running, (&loaded, &changes), order, &mut gates);
    let generation = generation.filter(|generation| is_fit(pipeline, running, generation, order.force, &mut gates));
    loaded.settings.look_again();
    let loaded = Arc::new(loaded);
    let candidate = generation.map(|generation| Running { loaded: Arc::clone(&loaded), generation: Arc::new(generation) });
    Made { changes, candidate, gates, attempt: Attempt::Read(loaded) }
}

/// The file and what differs, or every reason why it means nothing that can run.
fn parse(pipeline: &Pipeline, running: &Running) -> Result<(Loaded, Vec<Change>), Vec<String>> {
    let loaded = config::load(&running.plan().file, &pipeline.origin.options).map_err(|problems| problems.lines())?;
    let changes = config::diff(&running.loaded, &loaded)?;
    Ok((loaded, changes))
}

/// What no reload can do.
fn may_change(changes: &[Change], running: &Running, loaded: &Loaded) -> Result<(), Vec<String>> {
    let restart = changes.iter().filter(|change| change.class == Class::Restart);
    let mut reasons: Vec<String> =
        restart.map(|change| format!("`{}` changes only when the host is started again", change.key)).collect();
    reasons.extend(vanished_keys(running, loaded));
    if reasons.is_empty() { Ok(()) } else { Err(reasons) }
}

/// `create = true` makes the first key of a ring. That it should make another one while rows are sealed under the first is an accident.
fn vanished_keys(running: &Running, loaded: &Loaded) -> Vec<String> {
    let rings = loaded.plan.key_rings.iter();
    let gone = rings.filter(|(name, ring)| {
        matches!(ring, KeyRingPlan::File { path, .. } if !path.exists()) && running.plan().key_rings.get(*name) == Some(*ring)
    });
    gone.map(|(name, _)| format!("the file of `key_rings.{name}` is gone; put it back: a fresh key opens nothing that is stored"))
        .collect()
}

/// The generation; the same steps under another number where no step changes.
fn generation(
    pipeline: &Pipeline,
    running: &Running,
    (loaded, changes): (&Loaded, &[Change]),
    order: &Order,
    gates: &mut Gates,
) -> Option<Generation> {
    let is_new_lane = |change: &Change| change.key.starts_with("sinks.") && change.from.is_none();
    if changes.iter().any(|change| change.class == Class::StepSwap || is_new_lane(change)) {
        let making = Making {
            number: order.number,
            engine: &pipeline.origin.engine,
            telemetry: &pipeline.telemetry,
            before: Some(&running.generation),
            force: order.force,
            progress: &|_| {},
        };
        return prepare(loaded, &making, gates).ok();
    }
    let generation = running.generation.renumbered(order.number);
    for gate in [Gate::Compile, Gate::Link, Gate::Capabilities, Gate::Settings, Gate::Seal] {
        gates.note(gate, Verdict::Skipped, Vec::new());
    }
    check_cases(&generation, loaded, gates).ok().map(|()| generation)
}

/// The preflight: the last real messages through old and new.
fn is_fit(pipeline: &Pipeline, running: &Running, generation: &Generation, force: bool, gates: &mut Gates) -> bool {
    let messages = pipeline.recent.messages();
    if messages.is_empty() || generation.is_same_as(&running.generation) {
        gates.note(Gate::Preflight, Verdict::Skipped, Vec::new());
        return true;
    }
    let comparison = gates.time(Gate::Preflight, || compare(&running.generation, generation, &messages));
    // What runs decides: a change must not loosen the gate that it has to pass.
    let max = running.plan().reload.max_new_rejects;
    let verdict = match (comparison.newly_refused > max, force) {
        (false, _) => Verdict::Passed,
        (true, true) => Verdict::Forced,
        (true, false) => Verdict::Refused,
    };
    gates.note(Gate::Preflight, verdict, comparison.lines());
    verdict != Verdict::Refused
}
