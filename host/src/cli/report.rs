//! What came of a reload, as a person reads it.

use super::{Failure, say};
use crate::admin::Answered;
use crate::config::{Change, Class};
use crate::pipeline::reload::{Event, GateResult, Outcome, StageAction, Swap, Verdict};

/// Details of one gate that are shown.
const MAX_DETAILS: usize = 20;

/// Prints events; fails when one was refused.
pub(super) fn tell(answered: &Answered, json: bool) -> Result<(), Failure> {
    if json {
        say(&format!("{}\n", serde_json::json!({ "events": answered.events })));
    } else {
        let texts: Vec<String> = answered.events.iter().map(event).collect();
        say(&texts.join("\n"));
    }
    if answered.events.iter().any(Event::is_refused) { Err(Failure::Refused) } else { Ok(()) }
}

/// An event, a fact a line.
pub(super) fn event(event: &Event) -> String {
    let Event { pipeline, outcome, from, to, millis, .. } = event;
    let head = match outcome {
        Outcome::Swapped => format!("swapped, generation {from} → {to}"),
        Outcome::RolledBack => format!("rolled back, generation {from} → {to}"),
        Outcome::Unchanged => format!("nothing differs from generation {from}"),
        Outcome::Refused => format!("refused; generation {from} runs on as it was"),
        Outcome::Planned => format!("generation {from} would be swapped"),
    };
    let mut text = format!("{pipeline}: {head} ({millis:.1} ms)\n");
    if let Some(reason) = &event.reason {
        text.push_str(&format!("  reason: {reason}\n"));
    }
    for class in [Class::Live, Class::StepSwap, Class::Reconnect, Class::Restart] {
        text.push_str(&changes(class, &event.changes));
    }
    if !event.gates.is_empty() {
        text.push_str("  gates\n");
        event.gates.iter().for_each(|result| text.push_str(&gate(result)));
    }
    if let Some(swap) = &event.swap {
        text.push_str(&self::swap(swap));
    }
    text
}

fn changes(class: Class, all: &[Change]) -> String {
    let of_class: Vec<&Change> = all.iter().filter(|change| change.class == class).collect();
    if of_class.is_empty() {
        return String::new();
    }
    let mut text = format!("  {}: {}\n", class.name(), effect(class));
    let nothing = "(nothing)";
    for Change { key, from, to, .. } in of_class {
        let (from, to) = (from.as_deref().unwrap_or(nothing), to.as_deref().unwrap_or(nothing));
        text.push_str(&format!("    {key}: {from} → {to}\n"));
    }
    text
}

/// What a class does, for whoever decides.
fn effect(class: Class) -> &'static str {
    match class {
        Class::Live => "at once, nothing is built or opened anew",
        Class::StepSwap => "the next batch runs on the new steps, no connection is touched",
        Class::Reconnect => "this stage alone is drained and opened anew, the others go on",
        Class::Restart => "only when the host is started again",
    }
}

fn gate(result: &GateResult) -> String {
    let verdict = match result.verdict {
        Verdict::Passed => "passed",
        Verdict::Skipped => "skipped",
        Verdict::Refused => "REFUSED",
        Verdict::Forced => "FORCED",
    };
    let mut text = format!("    {:<13} {verdict:<8} {:>9.1} ms\n", result.gate.name(), result.millis);
    for detail in result.details.iter().take(MAX_DETAILS) {
        text.push_str(&format!("      {detail}\n"));
    }
    if let Some(more) = result.details.len().checked_sub(MAX_DETAILS).filter(|more| *more > 0) {
        text.push_str(&format!("      and {more} more\n"));
    }
    text
}

fn swap(swap: &Swap) -> String {
    let pause = match swap.pause {
        None => "none, the pipeline was idle".to_owned(),
        Some(pause) => format!(
            "p50 {} µs, p99 {} µs, max {} µs over {} worker(s)",
            pause.p50_micros, pause.p99_micros, pause.max_micros, pause.workers
        ),
    };
    let ledger = if swap.balanced { "balances" } else { "DOES NOT BALANCE" };
    let mut text = format!("  pause         {pause}\n");
    text.push_str(&format!(
        "  in flight     {} at the swap, {} finished on the old generation, {} redelivered\n",
        swap.in_flight, swap.finished_on_old, swap.redelivered
    ));
    text.push_str(&format!("  ledger        {ledger}\n"));
    for change in &swap.stages {
        let action = match change.action {
            StageAction::Opened => "opened",
            StageAction::Closed => "closed",
            StageAction::Reopened => "reopened",
        };
        let left = if change.left == 0 { String::new() } else { format!(", {} left to the broker", change.left) };
        text.push_str(&format!("  {:<13} {action} in {:.1} ms{left}\n", change.stage, change.millis));
    }
    text
}
