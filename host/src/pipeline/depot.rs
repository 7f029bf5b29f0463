//! The way onto a lane's parking queue.
//!
//! What is parked is the original, so that a later generation's steps apply, and a dead letter still has the original bytes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::batch::Batch;
use super::carry::Stepped;
use super::dead_letter::Office;
use crate::delivery::{Delivery, Duty, settle};
use crate::ledger::Outcome;
use crate::message::Reason;
use crate::source::{Letter, SideQueue, StageError, header};

/// Where what a sink cannot take is put.
#[derive(Clone)]
pub(super) struct Depot {
    /// Name of the sink.
    pub(super) sink: Arc<str>,
    /// Its parking queue.
    pub(super) queue: SideQueue,
    /// Who knows the mailbox.
    pub(super) office: Office,
}

/// Why deliveries are parked.
#[derive(Clone, Copy)]
pub(super) struct Cause<'a> {
    /// A short stable name, as in metrics.
    pub(super) code: &'a str,
    /// What happened, for people.
    pub(super) message: &'a str,
    /// The attempt that goes on meanwhile: its letters are marked with it.
    pub(super) attempt: Option<&'a str>,
}

impl Depot {
    /// The depot of a sink.
    #[must_use]
    pub(super) fn new(sink: Arc<str>, office: Office) -> Self {
        Self { queue: SideQueue::Parked(Arc::clone(&sink)), sink, office }
    }

    /// Parks a batch: settled once the broker has confirmed all of it.
    ///
    /// # Errors
    /// Gives it back with what happened; some of it may be parked all the same.
    pub(super) async fn park(&self, batch: Batch, cause: Cause<'_>) -> Result<(), (Batch, StageError)> {
        let generation = batch.generation;
        let deliveries = batch.into_deliveries();
        let letters = self.letters(&deliveries, generation, cause);
        match self.office.postbox.mailbox().put(&self.queue, &letters).await {
            Ok(()) => {
                settle(deliveries, Outcome::Parked);
                Ok(())
            }
            Err(failure) => Err((Stepped { deliveries, generation }.into(), failure)),
        }
    }

    /// One letter an upstream message: the parts of a split are made anew from the original.
    fn letters(&self, deliveries: &[Delivery], generation: u64, cause: Cause<'_>) -> Vec<Letter> {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let headers = vec![
            (header::PIPELINE, self.office.pipeline.to_string()),
            (header::STAGE, format!("sinks.{}", self.sink)),
            (header::CODE, cause.code.to_owned()),
            (header::REASON, cause.message.to_owned()),
            (header::GENERATION, generation.to_string()),
            (header::TIME, time),
        ];
        let letter = |(number, parts): (usize, &[Delivery])| {
            let mut headers = headers.clone();
            headers.extend(cause.attempt.map(|attempt| (header::ATTEMPT, mark(attempt, number))));
            parts.first().map(|part| Letter { message: part.message.clone(), headers })
        };
        deliveries.chunk_by(Delivery::is_part_of_same).enumerate().filter_map(letter).collect()
    }
}

/// What the letter of an upstream message is marked with: the attempt, and its place in it.
fn mark(attempt: &str, place: usize) -> String {
    format!("{attempt}-{place}")
}

/// How many duties each letter stands for.
pub(super) fn parts(duties: &[Duty]) -> Vec<usize> {
    duties.chunk_by(Duty::is_part_of_same).map(<[Duty]>::len).collect()
}

/// The marks of an attempt's letters, but for those with a part that the sink has refused.
pub(super) fn taken(attempt: &str, parts: &[usize], refused: &[(usize, Reason)]) -> HashSet<String> {
    let mut from = 0;
    let mut marks = HashSet::with_capacity(parts.len());
    for (place, parts) in parts.iter().enumerate() {
        let until = from + parts;
        if !refused.iter().any(|(index, _)| (from..until).contains(index)) {
            marks.insert(mark(attempt, place));
        }
        from = until;
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_counts_as_taken_when_every_part_of_it_is() {
        let reason = || Reason { code: "c".into(), message: String::new(), pointer: None };
        let marks = |refused: &[usize]| {
            let refused: Vec<_> = refused.iter().map(|index| (*index, reason())).collect();
            let mut marks: Vec<String> = taken("a", &[1, 3, 1], &refused).into_iter().collect();
            marks.sort();
            marks
        };
        assert_eq!(marks(&[]), ["a-0", "a-1", "a-2"]);
        assert_eq!(marks(&[0, 4]), ["a-1"]);
        assert_eq!(marks(&[3]), ["a-0", "a-2"]);
        assert!(marks(&[0, 1, 4]).is_empty());
    }
}
