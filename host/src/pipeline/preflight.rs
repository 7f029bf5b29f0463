//! The preflight: the last real messages go through the old steps and the new, and nothing of it leaves the host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::gate::{Fate, send};
use super::generation::Generation;
use super::reload::now;
use super::step::Fall;
use crate::message::Message;

/// Longest time that it takes.
const LONGEST: Duration = Duration::from_secs(5);
/// Lines that are told.
const MAX_LINES: usize = 20;
/// Places in a message that are named as different.
const MAX_POINTERS: usize = 5;

/// How old and new steps differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Messages that went through both.
    pub(super) compared: usize,
    /// Messages that the old steps let pass, and the new ones do not.
    pub(super) newly_refused: u64,
    /// How often each difference came up. Codes and pointers, never content.
    differences: BTreeMap<String, usize>,
}

/// What became of a message: before the fan-out, or in each lane.
enum Journey {
    Ended(Fate),
    Lanes(BTreeMap<Arc<str>, Fate>),
}

impl Comparison {
    /// What was found, a line each.
    #[must_use]
    pub(super) fn lines(&self) -> Vec<String> {
        let of = self.compared;
        let line = |(what, count): (&String, &usize)| format!("{count} of {of} messages: {what}");
        let mut lines: Vec<String> = self.differences.iter().take(MAX_LINES).map(line).collect();
        if lines.is_empty() {
            lines.push(format!("{of} messages: no difference"));
        }
        lines
    }

    fn note(&mut self, what: String) {
        *self.differences.entry(what).or_default() += 1;
    }

    /// Compares one message's fates in one place.
    fn compare(&mut self, place: &str, old: &Fate, new: &Fate) -> bool {
        match (old, new) {
            (Fate::Passed(old), Fate::Passed(new)) => return self.compare_bodies(place, old, new),
            (Fate::Passed(_), new) => {
                self.note(format!("newly {}{place}", words(new)));
                return true;
            }
            (old, Fate::Passed(_)) => self.note(format!("let pass{place}, so far {}", words(old))),
            (old, new) if words(old) != words(new) => self.note(format!("{}{place}, so far {}", words(new), words(old))),
            _ => {}
        }
        false
    }

    fn compare_bodies(&mut self, place: &str, old: &[Message], new: &[Message]) -> bool {
        if old.len() != new.len() {
            self.note(format!("split into {} instead of {}{place}", new.len(), old.len()));
            return false;
        }
        let mut unsealed = false;
        for (old, new) in old.iter().zip(new) {
            for field in old.sealed.iter().filter(|field| !new.sealed.iter().any(|other| other.pointer == field.pointer)) {
                self.note(format!("not sealed any more at `{}`{place}", field.pointer));
                unsealed = true;
            }
            let pointers = differing(old, new);
            if !pointers.is_empty() {
                self.note(format!("another body at {}{place}", pointers.join(", ")));
            }
        }
        unsealed
    }
}

/// Sends messages through both. Blocking.
#[must_use]
pub(super) fn compare(old: &Generation, new: &Generation, messages: &[Message]) -> Comparison {
    let (old, new) = (old.quiet(), new.quiet());
    let mut comparison = Comparison::default();
    let begun = now();
    for message in messages {
        if begun.elapsed() > LONGEST {
            break;
        }
        comparison.compared += 1;
        let (before, after) = (journey(&old, message), journey(&new, message));
        comparison.newly_refused += u64::from(comparison.compare_journeys(&before, &after));
    }
    comparison
}

impl Comparison {
    fn compare_journeys(&mut self, old: &Journey, new: &Journey) -> bool {
        match (old, new) {
            (Journey::Ended(old), Journey::Ended(new)) => self.compare("", old, new),
            (Journey::Lanes(_), Journey::Ended(new)) => self.compare("", &Fate::Passed(Vec::new()), new),
            (Journey::Ended(old), Journey::Lanes(_)) => self.compare("", old, &Fate::Passed(Vec::new())),
            (Journey::Lanes(old), Journey::Lanes(new)) => {
                let both = old.iter().filter_map(|(lane, old)| Some((lane, old, new.get(lane)?)));
                let mut refused = false;
                for (lane, old, new) in both {
                    refused |= self.compare(&format!(" for sinks.{lane}"), old, new);
                }
                refused
            }
        }
    }
}

fn journey(generation: &Generation, message: &Message) -> Journey {
    match send(&generation.through, vec![message.clone()]) {
        Fate::Passed(messages) => {
            let lane = |(name, chain): (&Arc<str>, &_)| (Arc::clone(name), send(chain, messages.clone()));
            Journey::Lanes(generation.lanes.iter().map(lane).collect())
        }
        fate => Journey::Ended(fate),
    }
}

/// What became of a message, by stage, code and pointer.
fn words(fate: &Fate) -> String {
    match fate {
        Fate::Passed(_) => "let pass".to_owned(),
        Fate::Held => "held for a retry".to_owned(),
        Fate::Fell(Fall::Dropped) => "dropped".to_owned(),
        Fate::Fell(Fall::Refused(refusal) | Fall::Halted(refusal)) => {
            let pointer = refusal.reason.pointer.as_ref().map_or_else(String::new, |pointer| format!(" at `{pointer}`"));
            format!("refused by {} with code `{}`{pointer}", refusal.stage, refusal.reason.code)
        }
    }
}

/// Where two bodies differ, what is sealed in both left out.
fn differing(old: &Message, new: &Message) -> Vec<String> {
    if old.body == new.body {
        return Vec::new();
    }
    let parsed = |message: &Message| serde_json::from_slice::<Value>(&message.body).ok();
    let (Some(before), Some(after)) = (parsed(old), parsed(new)) else { return vec!["the whole".to_owned()] };
    let mut pointers = Vec::new();
    walk(&before, &after, String::new(), &mut pointers);
    let is_sealed = |pointer: &String| new.sealed.iter().any(|field| field.pointer.to_string() == *pointer);
    pointers.retain(|pointer| !is_sealed(pointer));
    pointers.truncate(MAX_POINTERS);
    pointers.iter().map(|pointer| format!("`{pointer}`")).collect()
}

fn walk(old: &Value, new: &Value, at: String, pointers: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for name in names {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                walk(old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), at, pointers);
            }
        }
        (old, new) if old != new => pointers.push(at),
        _ => {}
    }
}
