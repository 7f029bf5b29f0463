//! What a replay would do, before it asks.

use std::collections::BTreeMap;

use super::letter::DeadLetter;
use super::route::{NoRoute, Route, Router};
use super::running;
use super::selection::Selection;
use super::walk::Walk;
use crate::cli::Failure;
use crate::config::SinkPlan;
use crate::source::{Mailbox, header};

/// What would be moved where.
#[derive(Debug, Default)]
pub(super) struct Survey {
    routes: BTreeMap<Route, u64>,
    /// Letters that go to every sink although one lane, at least, has had them.
    repeated: u64,
    /// Letters that no sink has had, and that go to one alone.
    withheld: u64,
    stuck: BTreeMap<NoRoute, u64>,
}

impl Survey {
    /// Looks at every letter that matches.
    pub(super) async fn of(mailbox: &dyn Mailbox, selection: &Selection, router: &Router<'_>) -> Result<Self, Failure> {
        let mut survey = Self::default();
        let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
        loop {
            let letters = walk.next().await.map_err(running)?;
            if letters.is_empty() {
                break;
            }
            letters.iter().for_each(|letter| survey.add(letter, router.route(letter)));
        }
        walk.end().await.map_err(running)?;
        Ok(survey)
    }

    fn add(&mut self, letter: &DeadLetter, route: Result<Route, NoRoute>) {
        let in_a_lane = letter.lane().is_some();
        // What says no lane, and says everything else, was refused before the fan-out.
        let before_all = !in_a_lane && letter.header(header::LETTER).is_some();
        match route {
            Ok(route) => {
                self.repeated += u64::from(route == Route::Whole && in_a_lane);
                self.withheld += u64::from(route != Route::Whole && before_all);
                *self.routes.entry(route).or_default() += 1;
            }
            Err(why) => *self.stuck.entry(why).or_default() += 1,
        }
    }

    /// How many letters would be replayed.
    pub(super) fn total(&self) -> u64 {
        self.routes.values().sum()
    }

    /// Half a replay helps nobody.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.stuck.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = self.stuck.iter().map(|(why, count)| format!("  {count} letter(s): {why}\n")).collect();
        Err(Failure::Running(format!("nothing was replayed, because not every letter has a way back:\n{}", lines.concat())))
    }

    /// Which queues they would be moved to, and what that means.
    pub(super) fn describe(&self, source: &str) -> String {
        let mut text = String::new();
        for (route, count) in &self.routes {
            let queue = route.queue(source);
            text.push_str(&match route {
                Route::Whole => format!(
                    "{count} letter(s) go to {queue}: all steps run again, and every sink gets what passes. A row that is there already \
                     (same message id) is not stored twice; a broadcast is repeated.\n"
                ),
                Route::Lane(sink) => format!(
                    "{count} letter(s) go to {queue}: all steps before sinks.{sink} run again, and no other sink gets what passes.\n"
                ),
            });
        }
        text + &self.warn()
    }

    /// Which sinks they would be given to by this process, and what that means.
    pub(super) fn describe_here(&self, sinks: &[SinkPlan]) -> String {
        let mut text = String::new();
        for (route, count) in &self.routes {
            let sinks: Vec<&str> =
                sinks.iter().map(|sink| &*sink.name).filter(|sink| route.lane().is_none_or(|lane| lane == *sink)).collect();
            let alone = if route.lane().is_some() { " alone" } else { "" };
            text.push_str(&format!(
                "{count} letter(s) go through the steps here, in this process, and to {}{alone}. A row that is there already (same \
                 message id) is not stored twice; a broadcast is repeated.\n",
                sinks.join(", ")
            ));
        }
        text + &self.warn()
    }

    /// Who hears what again, and who never hears it.
    fn warn(&self) -> String {
        let mut text = String::new();
        if self.repeated > 0 {
            text.push_str(&format!("{} of them were refused in one lane: the other sinks get them AGAIN.\n", self.repeated));
        }
        if self.withheld > 0 {
            text.push_str(&format!(
                "{} of them were refused before the fan-out, so that no sink has them: those that are not named do NOT get them.\n",
                self.withheld
            ));
        }
        text
    }

    /// Whether a letter would go to this sink.
    pub(super) fn reaches(&self, sink: &str) -> bool {
        self.routes.keys().any(|route| route.lane().is_none_or(|lane| lane == sink))
    }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::super::route::tests::plan;
    use super::*;

    fn survey() -> Survey {
        let mut survey = Survey::default();
        survey.add(&letter("", &[(header::STAGE, "steps.validate")]), Ok(Route::Whole));
        survey.add(&letter("", &[(header::STAGE, "sinks.history")]), Ok(Route::Whole));
        survey.add(&letter("", &[(header::STAGE, "sinks.history")]), Ok(Route::Lane("history".into())));
        let before_all = [(header::STAGE, "steps.validate"), (header::LETTER, "00")];
        survey.add(&letter("", &before_all), Ok(Route::Lane("history".into())));
        survey
    }

    #[test]
    fn the_survey_says_where_letters_go_and_who_hears_what_again() {
        insta::assert_snapshot!(survey().describe("q"), @r"
        2 letter(s) go to q: all steps run again, and every sink gets what passes. A row that is there already (same message id) is not stored twice; a broadcast is repeated.
        2 letter(s) go to q.parked.history: all steps before sinks.history run again, and no other sink gets what passes.
        1 of them were refused in one lane: the other sinks get them AGAIN.
        1 of them were refused before the fan-out, so that no sink has them: those that are not named do NOT get them.
        ");
        assert!(survey().check().is_ok());
    }

    #[test]
    fn the_survey_names_the_sinks_that_this_process_opens() {
        insta::assert_snapshot!(survey().describe_here(&plan().sinks), @r"
        2 letter(s) go through the steps here, in this process, and to history, other, block. A row that is there already (same message id) is not stored twice; a broadcast is repeated.
        2 letter(s) go through the steps here, in this process, and to history alone. A row that is there already (same message id) is not stored twice; a broadcast is repeated.
        1 of them were refused in one lane: the other sinks get them AGAIN.
        1 of them were refused before the fan-out, so that no sink has them: those that are not named do NOT get them.
        ");
        let lane = Survey { routes: [(Route::Lane("history".into()), 1)].into(), ..Survey::default() };
        assert!(survey().reaches("block") && lane.reaches("history") && !lane.reaches("block"));
    }
}
