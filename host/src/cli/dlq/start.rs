//! Where a replay begins that does not begin at the beginning.

use std::sync::Arc;

use super::route::{NoRoute, of_step};
use crate::config::Plan;

/// A step that letters begin at. What comes before it is skipped: the operator says so, for instance to go past a validator that was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// The step.
    pub(super) step: Arc<str>,
    /// The sink in whose lane it stands; none where it stands before the fan-out.
    pub(super) lane: Option<Arc<str>>,
    /// The steps before it, in order.
    pub(super) skipped: Vec<Arc<str>>,
}

impl Start {
    /// Finds a step: before the fan-out, or in a lane; in that of `sink`, where it stands in several.
    pub(super) fn find(plan: &Plan, step: &str, sink: Option<&str>) -> Result<Self, NoRoute> {
        let step = step.strip_prefix("steps.").unwrap_or(step);
        let route = of_step(plan, step, sink)?;
        let lane = plan.sinks.iter().find(|sink| route.lane() == Some(&*sink.name));
        let way = plan.through.iter().chain(lane.into_iter().flat_map(|lane| &lane.through));
        let skipped = way.take_while(|name| ***name != *step).cloned().collect();
        Ok(Self { step: step.into(), lane: lane.map(|lane| Arc::clone(&lane.name)), skipped })
    }

    /// What the operator must know before a letter is sent.
    pub(super) fn describe(&self) -> String {
        if self.skipped.is_empty() {
            return format!("steps.{} is the first step: none is skipped.\n", self.step);
        }
        let skipped: Vec<String> = self.skipped.iter().map(|step| format!("steps.{step}")).collect();
        format!(
            "SKIPPED: {}. What lies here is the original: what they would refuse is not refused, and what they would change is not changed.\n",
            skipped.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::tests::plan;
    use super::*;

    fn found(step: &str, sink: Option<&str>) -> Result<(Option<Arc<str>>, String), String> {
        let start = Start::find(&plan(), step, sink).map_err(|why| why.to_string())?;
        Ok((start.lane, start.skipped.join(" ")))
    }

    #[test]
    fn what_is_skipped_is_the_whole_way_before_the_step() {
        assert_eq!(found("steps.check", None), Ok((None, String::new())));
        assert_eq!(found("check", Some("history")), Ok((None, String::new())));
        assert_eq!(found("shape", None), Ok((Some("history".into()), "check".to_owned())));
        assert_eq!(found("both", Some("history")), Ok((Some("history".into()), "check shape".to_owned())));
        assert_eq!(found("both", Some("other")), Ok((Some("other".into()), "check".to_owned())));
    }

    #[test]
    fn a_step_that_is_not_there_or_stands_in_several_lanes_is_not_guessed() {
        assert!(found("gone", None).unwrap_err().contains("there are both, check, shape"));
        assert!(found("both", None).unwrap_err().contains("history, other"));
        assert!(found("shape", Some("other")).unwrap_err().contains("on the way to `other`"));
    }

    #[test]
    fn the_survey_names_what_is_skipped() {
        let plan = plan();
        let said = |step| Start::find(&plan, step, Some("history")).unwrap().describe();
        insta::assert_snapshot!(said("both") + &said("check"), @r"
        SKIPPED: steps.check, steps.shape. What lies here is the original: what they would refuse is not refused, and what they would change is not changed.
        steps.check is the first step: none is skipped.
        ");
    }
}
