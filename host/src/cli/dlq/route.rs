//! Where a letter goes when it is sent again.
//!
//! Before the fan-out no sink has seen the message: it goes to the pipeline's own queue. In a sink's lane the other sinks have had it: it
//! goes to that sink's parking queue, which its lane empties before anything newer, so that nobody gets it twice.

use std::fmt;
use std::sync::Arc;

use super::letter::DeadLetter;
use crate::cli::Failure;
use crate::config::{Plan, SinkPlan};
use crate::source::{Destination, SideQueue, header};

/// A way back into the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    /// Through everything, to every sink.
    Whole,
    /// To one sink alone.
    Lane(Arc<str>),
}

impl Route {
    /// The queue that it leads by.
    pub(super) fn destination(&self) -> Destination {
        match self {
            Self::Whole => Destination::Source,
            Self::Lane(sink) => Destination::Side(SideQueue::Parked(Arc::clone(sink))),
        }
    }

    /// The sink that it leads to; none where it leads to every one.
    pub(super) fn lane(&self) -> Option<&str> {
        match self {
            Self::Whole => None,
            Self::Lane(sink) => Some(sink),
        }
    }

    /// Name of the queue that it leads by.
    pub(super) fn queue(&self, source: &str) -> String {
        match self {
            Self::Whole => source.to_owned(),
            Self::Lane(sink) => format!("{source}.parked.{sink}"),
        }
    }
}

/// What an operator has chosen.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// What is right for each letter.
    ByLetter,
    /// To this sink alone.
    Lane(String),
    /// Through everything.
    AllLanes,
}

/// Finds the route of each letter.
pub(super) struct Router<'a> {
    plan: &'a Plan,
    fixed: Option<Route>,
}

/// Why a letter has no route, in words that fit every letter of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NoRoute(String);

impl NoRoute {
    /// As a failure of who chose it.
    pub(super) fn in_file(self, plan: &Plan) -> Failure {
        Failure::Usage(format!("{}: {self}", plan.file.display()))
    }
}

impl fmt::Display for NoRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> Router<'a> {
    /// A router for a plan.
    pub(super) fn new(plan: &'a Plan, choice: &Choice) -> Result<Self, Failure> {
        let fixed = match choice {
            Choice::ByLetter => Ok(None),
            Choice::AllLanes => Ok(Some(Route::Whole)),
            Choice::Lane(sink) => lane(plan, sink).map(Some),
        };
        let fixed = fixed.map_err(|why| why.in_file(plan))?;
        Ok(Self { plan, fixed })
    }

    /// The route of a letter.
    pub(super) fn route(&self, letter: &DeadLetter) -> Result<Route, NoRoute> {
        if let Some(route) = &self.fixed {
            return Ok(route.clone());
        }
        if let Some(sink) = letter.header(header::LANE) {
            return lane(self.plan, &sink);
        }
        let stage = letter.header(header::STAGE).unwrap_or_default();
        match stage.split_once('.') {
            Some(("sinks", sink)) => lane(self.plan, sink),
            // What says no lane, and says everything else, was refused before the fan-out.
            _ if letter.header(header::LETTER).is_some() => Ok(Route::Whole),
            Some(("steps", step)) => of_step(self.plan, step, None),
            _ => Err(NoRoute("it does not say which step or sink refused it; choose with --lane or --all-lanes".to_owned())),
        }
    }
}

/// To one sink: its lane empties its parking queue, whatever its `on_failure` is.
fn lane(plan: &Plan, name: &str) -> Result<Route, NoRoute> {
    let sink = plan.sinks.iter().find(|sink| *sink.name == *name);
    sink.map(|sink| Route::Lane(Arc::clone(&sink.name))).ok_or_else(|| {
        let sinks = names(plan.sinks.iter().map(|sink| &sink.name));
        NoRoute(format!("there is no sink `{name}`; there are {sinks}"))
    })
}

/// By the queue that leads to a step; in the lane of `sink`, where it stands in several.
pub(super) fn of_step(plan: &Plan, step: &str, sink: Option<&str>) -> Result<Route, NoRoute> {
    let goes = |through: &[Arc<str>]| through.iter().any(|name| **name == *step);
    if goes(&plan.through) {
        return Ok(Route::Whole);
    }
    let is_meant = |lane: &&SinkPlan| sink.is_none_or(|sink| *lane.name == *sink) && goes(&lane.through);
    let lanes: Vec<&SinkPlan> = plan.sinks.iter().filter(is_meant).collect();
    match lanes.as_slice() {
        [] => {
            let all = plan.through.iter().chain(plan.sinks.iter().flat_map(|sink| &sink.through));
            let way = sink.map(|sink| format!(" on the way to `{sink}`")).unwrap_or_default();
            Err(NoRoute(format!("nothing goes through a step `{step}`{way}; there are {}", names(all))))
        }
        [only] => lane(plan, &only.name),
        several => {
            let sinks = names(several.iter().map(|sink| &sink.name));
            Err(NoRoute(format!("the step `{step}` stands in the lanes of {sinks}: choose one with --lane")))
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> String {
    let names: std::collections::BTreeSet<&str> = names.map(|name| &**name).collect();
    if names.is_empty() { "none".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::letter::tests::letter;
    use super::*;
    use crate::config::{self, Options};

    /// `check` before the fan-out, `shape` in the lane of `history`, `both` in two, and a sink that does not park.
    pub(crate) fn plan() -> Plan {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pipeline.toml");
        std::fs::write(folder.path().join("p.wasm"), b"").unwrap();
        let redis = "redis.key = \"k\"\nredis.mode = \"list\"\n";
        let text = format!(
            "[pipeline]\nthrough = [\"check\"]\n[source.rabbitmq]\nuri = \"amqp://localhost\"\n\
             [steps]\ncheck.plugin = \"p.wasm\"\nshape.plugin = \"p.wasm\"\nboth.plugin = \"p.wasm\"\n\
             [sinks.history]\non_failure = \"park\"\nthrough = [\"shape\", \"both\"]\n{redis}\
             [sinks.other]\non_failure = \"park\"\nthrough = [\"both\"]\n{redis}[sinks.block]\n{redis}"
        );
        std::fs::write(&file, text).unwrap();
        config::load(&file, &Options::default()).map_err(|problems| problems.render(config::Look::default())).unwrap().plan
    }

    fn by_letter(headers: &[(&str, &str)]) -> Result<Route, NoRoute> {
        let plan = plan();
        Router::new(&plan, &Choice::ByLetter).unwrap().route(&letter("", headers))
    }

    fn fixed(choice: &Choice) -> Result<Route, String> {
        let plan = plan();
        let router = Router::new(&plan, choice).map_err(|failure| failure.to_string())?;
        router.route(&letter("", &[])).map_err(|why| why.to_string())
    }

    fn history() -> Route {
        Route::Lane("history".into())
    }

    #[test]
    fn what_was_refused_before_the_fan_out_goes_through_everything() {
        let new = [(header::STAGE, "steps.check"), (header::LETTER, "00")];
        assert_eq!(by_letter(&new), Ok(Route::Whole));
        assert_eq!(by_letter(&[(header::STAGE, "steps.gone"), (header::LETTER, "00")]), Ok(Route::Whole));
        assert_eq!(by_letter(&[(header::STAGE, "steps.check")]), Ok(Route::Whole));
    }

    #[test]
    fn what_was_refused_in_a_lane_goes_to_that_sink_alone() {
        assert_eq!(by_letter(&[(header::STAGE, "sinks.history")]), Ok(history()));
        assert_eq!(by_letter(&[(header::STAGE, "sinks.block")]), Ok(Route::Lane("block".into())));
        assert_eq!(by_letter(&[(header::STAGE, "steps.shape")]), Ok(history()));
        // The lane counts, and not the step: a parked message goes through the steps before the fan-out again.
        let parked = [(header::STAGE, "steps.check"), (header::LANE, "history"), (header::LETTER, "00")];
        assert_eq!(by_letter(&parked), Ok(history()));
        assert_eq!(by_letter(&[(header::STAGE, "steps.both"), (header::LANE, "other")]), Ok(Route::Lane("other".into())));
    }

    #[test]
    fn what_cannot_be_told_is_not_guessed() {
        for headers in [
            vec![],
            vec![(header::STAGE, "steps.both")],
            vec![(header::STAGE, "steps.gone")],
            vec![(header::LANE, "gone"), (header::LETTER, "00")],
        ] {
            assert!(by_letter(&headers).is_err(), "{headers:?}");
        }
    }

    #[test]
    fn a_choice_counts_for_every_letter() {
        assert_eq!(fixed(&Choice::AllLanes), Ok(Route::Whole));
        assert_eq!(fixed(&Choice::Lane("history".to_owned())), Ok(history()));
    }

    #[test]
    fn a_choice_that_leads_nowhere_says_what_there_is() {
        assert!(fixed(&Choice::Lane("gone".to_owned())).unwrap_err().contains("block, history, other"));
    }
}
