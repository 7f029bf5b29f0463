//! How the source is as a whole: its parts fail and recover on their own.

use std::sync::{Mutex, PoisonError};

use tracing::{error, info, warn};

use crate::source::StageError;
use crate::telemetry::{Counter, Health, Telemetry};

/// A part of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It listens.
    Listening,
    /// The journal can be written.
    Storing,
    /// The journal can be read.
    Reading,
}

/// The parts' troubles.
#[derive(Debug)]
pub(super) struct Condition {
    stage: String,
    telemetry: Telemetry,
    troubles: Mutex<Troubles>,
}

#[derive(Debug, Default)]
struct Troubles {
    listens: bool,
    /// The part that failed, and why; the newest last.
    failing: Vec<(Part, String)>,
}

impl Condition {
    pub(super) fn new(stage: &str, telemetry: Telemetry) -> Self {
        telemetry.set_health(stage, Health::Starting);
        Self { stage: stage.to_owned(), telemetry, troubles: Mutex::default() }
    }

    /// The part works.
    pub(super) fn works(&self, part: Part) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        let before = troubles.failing.len();
        troubles.failing.retain(|(failing, _)| *failing != part);
        let first = part == Part::Listening && !troubles.listens;
        troubles.listens |= first;
        if first || troubles.failing.len() < before {
            self.publish(&troubles);
        }
    }

    /// The part does not work, and why.
    pub(super) fn fails(&self, part: Part, reason: &str) -> bool {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        if troubles.failing.iter().any(|(failing, known)| *failing == part && known == reason) {
            return false;
        }
        troubles.failing.retain(|(failing, _)| *failing != part);
        troubles.failing.push((part, reason.to_owned()));
        self.publish(&troubles);
        true
    }

    /// The journal failed in this part: counted, and logged when it is news.
    pub(super) fn journal_fails(&self, part: Part, failure: &StageError) {
        self.telemetry.count(Counter::StageFailures, &[("stage", &self.stage), ("code", &failure.code)], 1);
        if !self.fails(part, &failure.message) {
            return;
        }
        if failure.needs_operator {
            error!(stage = self.stage, code = failure.code, "{failure}; trying again");
        } else {
            warn!(stage = self.stage, code = failure.code, "{failure}; trying again");
        }
    }

    fn publish(&self, troubles: &Troubles) {
        let health = match troubles.failing.last() {
            Some((_, reason)) => Health::Down(reason.clone()),
            None if troubles.listens => Health::Up,
            None => Health::Starting,
        };
        let up = health == Health::Up;
        if self.telemetry.set_health(&self.stage, health) && up {
            info!(stage = self.stage, "up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_up_when_it_listens_and_no_part_fails() {
        let telemetry = Telemetry::default();
        let condition = Condition::new("source.http", telemetry.clone());
        let health = || telemetry.stages().remove("source.http").unwrap();
        condition.works(Part::Reading);
        assert_eq!(health(), Health::Starting);
        condition.works(Part::Listening);
        assert_eq!(health(), Health::Up);
        condition.fails(Part::Storing, "full");
        condition.works(Part::Reading);
        assert_eq!(health(), Health::Down("full".into()));
        condition.works(Part::Storing);
        assert_eq!(health(), Health::Up);
    }
}
