//! The steps that letters are taken through in this process: the file's, with other components in their place, from a step on.

use std::path::PathBuf;
use std::sync::Arc;

use super::letter::DeadLetter;
use super::route::{NoRoute, Route, Router};
use super::start::Start;
use crate::cli::{Failure, load};
use crate::config::{Loaded, Plan};
use crate::lifecycle::blocking;
use crate::pipeline::{Generation, Trial, try_message};
use crate::telemetry::Telemetry;

/// A generation of this process alone.
pub(super) struct Steps(Arc<Generation>);

/// A letter and its way; or why it has none.
type Routed = (DeadLetter, Result<Route, NoRoute>);

/// A letter and what became of it in the steps; or why it did not get there.
pub(super) type Tried = (DeadLetter, Result<Trial, NoRoute>);

impl Steps {
    /// Makes them ready.
    pub(super) async fn ready(loaded: Loaded, with: &[(String, PathBuf)], start: Option<&Start>) -> Result<Self, Failure> {
        let mut changed = loaded.clone();
        let seals = put_in_place(&mut changed.plan, with)?;
        let generation = blocking(move || {
            let generation = build(changed)?;
            if seals {
                check_seals(&generation, loaded)?;
            }
            Ok(generation)
        });
        let generation: Generation = generation.await.map_err(panicked)??;
        let generation = match start {
            Some(start) => generation.beginning_at(&start.step, start.lane.as_deref()),
            None => generation,
        };
        Ok(Self(Arc::new(generation)))
    }

    /// Takes letters through the steps, each alone, in order.
    pub(super) async fn try_all(&self, letters: Vec<Routed>) -> Result<Vec<Tried>, Failure> {
        let generation = Arc::clone(&self.0);
        let one = move |(letter, route): Routed| {
            let trial = route.map(|route| try_message(&generation, letter.again(), route.lane()));
            (letter, trial)
        };
        blocking(move || letters.into_iter().map(one).collect()).await.map_err(panicked)
    }
}

/// Letters with their ways.
pub(super) fn routed(letters: Vec<DeadLetter>, router: &Router<'_>) -> Vec<Routed> {
    let routed = |letter: DeadLetter| {
        let route = router.route(&letter);
        (letter, route)
    };
    letters.into_iter().map(routed).collect()
}

/// Puts components in their places in a plan. Says whether one of them seals.
fn put_in_place(plan: &mut Plan, with: &[(String, PathBuf)]) -> Result<bool, Failure> {
    let mut seals = false;
    for (step, file) in with {
        let known = plan.steps.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let unknown = || Failure::Usage(format!("--with: there is no step `{step}`; there are {known}"));
        let plan = plan.steps.get_mut(step.as_str()).ok_or_else(unknown)?;
        plan.plugin.clone_from(file);
        plan.sha256 = None;
        seals |= plan.seal.is_some();
    }
    Ok(seals)
}

/// A file's generation. Its test cases are not run: who tries out a component wants to see what it does.
fn build(mut loaded: Loaded) -> Result<Generation, Failure> {
    loaded.plan.tests.clear();
    let engine = load::engine(std::slice::from_ref(&loaded))?;
    let ready = load::ready(&loaded, &engine, &Telemetry::default());
    ready.map(|(generation, _)| generation).map_err(|problems| load::refuse(&problems))
}

/// What another cipher seals, the file's own steps must open: nobody who reads the rows knows of the other one.
fn check_seals(changed: &Generation, loaded: Loaded) -> Result<(), Failure> {
    let file = loaded.plan.file.display().to_string();
    let problems = build(loaded)?.cannot_open(changed);
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure::Config(format!("{file} would not open what the component of --with seals:\n{}", problems.join("\n"))))
}

fn panicked(failure: impl std::fmt::Display) -> Failure {
    Failure::Running(format!("a step's call panicked in this process: {failure}"))
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::plan;
    use super::*;

    #[test]
    fn another_component_takes_the_place_of_a_step_and_of_its_digest() {
        let mut plan = plan();
        plan.steps.get_mut("check").unwrap().sha256 = Some("00".to_owned());
        assert!(!put_in_place(&mut plan, &[("check".to_owned(), "new.wasm".into())]).unwrap());
        assert_eq!((&*plan.steps["check"].plugin, plan.steps["check"].sha256.as_ref()), ("new.wasm".as_ref(), None));
        let unknown = put_in_place(&mut plan, &[("gone".to_owned(), "new.wasm".into())]).unwrap_err();
        assert_eq!(unknown.to_string(), "--with: there is no step `gone`; there are both, check, shape");
    }
}
