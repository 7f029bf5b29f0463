//! The pipeline's own `[[test]]` cases, run through the real components of a generation.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::chain::{Chain, Progress};
use super::generation::Generation;
use super::step::Fall;
use crate::config::{Expect, Expected, TestCase};
use crate::message::{Fields, Message, MessageId, NoProperties, Pointer};
use crate::plugin::Turn;

/// A case that did not come out as expected.
#[derive(Clone, Debug)]
pub(super) struct CaseFailure {
    /// Name of the case.
    pub name: String,
    /// Where it stands in its file.
    pub span: (usize, usize),
    /// What was expected and what happened.
    pub difference: String,
}

/// What became of a message in a chain.
pub(super) enum Fate {
    Passed(Vec<Message>),
    Fell(Fall),
    Held,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(messages) => write!(f, "it went on as {} message(s)", messages.len()),
            Self::Fell(Fall::Dropped) => f.write_str("it was dropped"),
            Self::Held => f.write_str("a step asked to retry it later"),
            Self::Fell(Fall::Refused(refusal) | Fall::Halted(refusal)) => {
                let reason = &refusal.reason;
                write!(f, "{} refused it with code `{}`", refusal.stage, reason.code)?;
                if let Some(pointer) = &reason.pointer {
                    write!(f, " at `{pointer}`")?;
                }
                write!(f, ": {}", reason.message)
            }
        }
    }
}

/// Runs every case; gives those that failed, in file order. Blocking.
#[must_use]
pub(super) fn run_cases(cases: &[TestCase], generation: &Generation) -> Vec<CaseFailure> {
    let generation = generation.quiet();
    let failed = |case: &TestCase| {
        let difference = run_case(case, &generation).err()?;
        Some(CaseFailure { name: case.name.clone(), span: case.span, difference })
    };
    cases.iter().filter_map(failed).collect()
}

fn run_case(case: &TestCase, generation: &Generation) -> Result<(), String> {
    let id = case.message_id.as_deref().and_then(MessageId::new);
    let message = Message::new(id, Bytes::from(case.input.clone()), Arc::new(NoProperties));
    let fate = send(&generation.through, vec![message]);
    match &case.expect {
        Expect::Drop => {
            matches!(fate, Fate::Fell(Fall::Dropped)).then_some(()).ok_or_else(|| format!("expected a drop, but {fate}"))
        }
        Expect::DeadLetter { step, code, pointer } => {
            let wanted = Wanted { stage: format!("steps.{step}"), code: code.as_deref(), pointer: pointer.as_ref() };
            wanted.compare(in_lanes(fate, generation))
        }
        Expect::Deliver(sinks) => {
            let Fate::Passed(messages) = fate else { return Err(format!("expected to be delivered, but {fate}")) };
            sinks.iter().try_for_each(|(sink, expected)| deliver(sink, expected, messages.clone(), generation))
        }
    }
}

/// Sends messages through a chain, and does nothing with what comes out.
pub(super) fn send(chain: &Chain, messages: Vec<Message>) -> Fate {
    let Progress::Done(outcome) = chain.advance(chain.enter(messages), Turn::Whole) else { return Fate::Held };
    match outcome.fallen.into_iter().next() {
        Some((_, fall)) => Fate::Fell(fall),
        None if outcome.passed.is_empty() => Fate::Fell(Fall::Dropped),
        None => Fate::Passed(outcome.passed),
    }
}

/// What passes the pipeline's own steps may still fall in a sink's: the first lane in which it falls counts.
fn in_lanes(fate: Fate, generation: &Generation) -> Fate {
    let Fate::Passed(messages) = fate else { return fate };
    let falls = |chain: &Chain| match send(chain, messages.clone()) {
        Fate::Passed(_) => None,
        fate => Some(fate),
    };
    generation.lanes.values().find_map(falls).unwrap_or(Fate::Passed(messages))
}

struct Wanted<'a> {
    stage: String,
    code: Option<&'a str>,
    pointer: Option<&'a Pointer>,
}

impl Wanted<'_> {
    fn compare(&self, fate: Fate) -> Result<(), String> {
        if let Fate::Fell(Fall::Refused(refusal) | Fall::Halted(refusal)) = &fate {
            let reason = &refusal.reason;
            let pointer = self.pointer.map(ToString::to_string);
            if *refusal.stage == *self.stage
                && self.code.is_none_or(|code| code == reason.code)
                && (pointer.is_none() || pointer == reason.pointer)
            {
                return Ok(());
            }
        }
        let code = self.code.map_or_else(String::new, |code| format!(" with code `{code}`"));
        let pointer = self.pointer.map_or_else(String::new, |pointer| format!(" at `{pointer}`"));
        Err(format!("expected a dead letter from {}{code}{pointer}, but {fate}", self.stage))
    }
}

fn deliver(
    sink: &Arc<str>,
    expected: &[(Pointer, Expected)],
    messages: Vec<Message>,
    generation: &Generation,
) -> Result<(), String> {
    let fate = send(&generation.lane(sink), messages);
    let Fate::Passed(messages) = fate else { return Err(format!("expected to reach sinks.{sink}, but {fate}")) };
    let message = messages.first().ok_or_else(|| format!("nothing reached sinks.{sink}"))?;
    expected.iter().try_for_each(|(pointer, expected)| compare(sink, pointer, expected, message))
}

fn compare(sink: &str, pointer: &Pointer, expected: &Expected, message: &Message) -> Result<(), String> {
    let found = Fields::new([pointer]).find(&message.body).map_err(|_| format!("sinks.{sink}: the body is no JSON"))?;
    let found = found.into_iter().next().flatten();
    let value = found.and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
    let sealed = message.sealed.iter().any(|field| field.pointer == *pointer);
    let holds = match expected {
        Expected::Value(expected) => value.as_ref() == Some(expected),
        Expected::Missing => value.is_none(),
        Expected::Sealed => sealed,
    };
    let wanted = match expected {
        Expected::Value(expected) => expected.to_string(),
        Expected::Missing => "nothing".to_owned(),
        Expected::Sealed => "a sealed field".to_owned(),
    };
    holds
        .then_some(())
        .ok_or_else(|| format!("sinks.{sink}: expected {wanted} at `{pointer}`, but found {}", found.unwrap_or("nothing")))
}
