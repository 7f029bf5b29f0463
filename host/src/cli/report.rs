//! What came of a reload, as a person reads it, and what it means for the exit code.

use std::collections::BTreeMap;

use super::layout::{Table, clean, hang, time};
use super::{Failure, say};
use crate::admin::Answered;
use crate::config::{Change, Class};
use crate::pipeline::reload::{Event, GateResult, Outcome, StageAction, Swap, Trigger, Verdict};

/// Details of one gate that are shown.
const MAX_DETAILS: usize = 20;

/// Prints events, then judges them.
pub(super) fn tell(answered: &Answered, json: bool) -> Result<(), Failure> {
    if json {
        say(&format!("{}\n", serde_json::json!(answered)));
    } else {
        let texts: Vec<String> = answered.events.iter().map(event).collect();
        say(&texts.join("\n"));
    }
    judge(answered)
}

/// What events mean for the exit code: a pipeline that did not answer comes first, then one that refused.
fn judge(answered: &Answered) -> Result<(), Failure> {
    match &answered.error {
        Some(error) => Err(Failure::Running(clean(error))),
        None if answered.events.iter().any(Event::is_refused) => Err(Failure::Refused),
        None if answered.events.iter().any(|event| event.outcome == Outcome::Planned) => Err(Failure::Changes),
        None => Ok(()),
    }
}

/// An event, a fact a line.
pub(super) fn event(event: &Event) -> String {
    let Event { pipeline, trigger, from, to, millis, at, .. } = event;
    let head = match event.outcome {
        Outcome::Swapped => format!("swapped, generation {from} → {to}"),
        Outcome::RolledBack => format!("rolled back, generation {from} → {to}"),
        Outcome::Unchanged => format!("nothing differs from what runs, generation {from}"),
        Outcome::Refused if *trigger == Trigger::Plan => format!("it would be refused; generation {from} runs"),
        Outcome::Refused => format!("refused; generation {from} runs on as it was"),
        Outcome::Planned => format!("it would be swapped; generation {from} runs"),
    };
    let mut text = hang("", &clean(&format!("{pipeline}: {head}")));
    text.push_str(&hang("  ", &clean(&format!("{}, took {}, ended {at}", asked_by(*trigger), time(*millis)))));
    if let Some(reason) = &event.reason {
        text.push_str(&hang("  reason: ", &clean(reason)));
    }
    text.push_str(&changes(&event.changes));
    text.push_str(&gates(&event.gates));
    text.push_str(&event.swap.as_ref().map(swap).unwrap_or_default());
    text
}

fn asked_by(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::File => "a file changed",
        Trigger::Signal => "asked for by SIGHUP",
        Trigger::Reload => "asked for by `tidegate reload`",
        Trigger::Rollback => "asked for by `tidegate rollback`",
        Trigger::Probation => "the probation ended it",
        Trigger::Plan => "asked for by `tidegate plan`",
    }
}

/// What differs, by what it does.
fn changes(all: &[Change]) -> String {
    let mut groups: BTreeMap<(Class, String), Vec<&Change>> = BTreeMap::new();
    for change in all {
        groups.entry((change.class, effect(change))).or_default().push(change);
    }
    let mut text = String::new();
    for ((class, effect), group) in groups {
        text.push_str(&hang("\n  ", &clean(&format!("{}: {effect}", class.name()))));
        let mut table = Table::new(&[]);
        for Change { key, from, to, .. } in group {
            table.row([key.clone(), difference(from.as_deref(), to.as_deref())]);
        }
        text.push_str(&table.render(4));
    }
    text
}

/// What a change does to what runs.
fn effect(change: &Change) -> String {
    match change.class {
        Class::Live => "at once; nothing is built or opened anew".to_owned(),
        Class::StepSwap => "the next batch runs on the new steps; nothing is reconnected".to_owned(),
        Class::Reconnect => reconnect(change),
        Class::Restart => "not while the host runs; stop it and start it again".to_owned(),
    }
}

fn reconnect(change: &Change) -> String {
    let mut parts = change.key.split(['.', '[']);
    let (kind, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is_whole = parts.next().is_none();
    let (stage, others) = (format!("{kind}.{name}"), if kind == "sinks" { "the other lanes go on" } else { "the sinks go on" });
    match (is_whole, &change.from, &change.to) {
        (true, None, _) => format!("{stage} is opened; {others}"),
        (true, _, None) => format!("{stage} is drained and closed; {others}"),
        _ => format!("{stage} is drained and opened anew; {others}"),
    }
}

fn difference(from: Option<&str>, to: Option<&str>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (None, Some(to)) => format!("new: {to}"),
        (Some(from), None) => format!("gone: {from}"),
        (None, None) => String::new(),
    }
}

fn gates(results: &[GateResult]) -> String {
    if results.is_empty() {
        return String::new();
    }
    let mut text = "\n  gates\n".to_owned();
    for GateResult { gate, verdict, millis, details } in results {
        let took = if *verdict == Verdict::Skipped { String::new() } else { format!("  {:>7}", time(*millis)) };
        let verdict = match verdict {
            Verdict::Passed => "passed",
            Verdict::Skipped => "skipped",
            Verdict::Refused => "REFUSED",
            Verdict::Forced => "FORCED",
        };
        text.push_str(&format!("    {:<12}  {verdict:<7}{took}\n", gate.name()));
        details.iter().take(MAX_DETAILS).for_each(|detail| text.push_str(&hang("      ", &clean(detail))));
        if let Some(more @ 1..) = details.len().checked_sub(MAX_DETAILS) {
            text.push_str(&format!("      and {more} more; `--json` has them all\n"));
        }
    }
    text
}

fn swap(swap: &Swap) -> String {
    let pause = swap.pause.map_or_else(
        || "none: the pipeline was idle".to_owned(),
        |pause| {
            let [p50, p99, max] =
                [pause.p50_micros, pause.p99_micros, pause.max_micros].map(|micros| time(micros as f64 / 1000.0));
            format!("p50 {p50}, p99 {p99}, max {max}, over {} worker(s)", pause.workers)
        },
    );
    let mut table = Table::new(&[]);
    let mut fact = |name: &str, value: String| table.row([name.to_owned(), value]);
    fact("pause", pause);
    fact("in flight at the swap", swap.in_flight.to_string());
    fact("finished on old", swap.finished_on_old.to_string());
    fact("redelivered", swap.redelivered.to_string());
    fact("ledger", if swap.balanced { "balances" } else { "DOES NOT BALANCE" }.to_owned());
    for change in &swap.stages {
        let action = match change.action {
            StageAction::Opened => "opened",
            StageAction::Closed => "closed",
            StageAction::Reopened => "opened anew",
        };
        let left = if change.left == 0 { String::new() } else { format!("; {} left to the broker", change.left) };
        fact(&change.stage, format!("{action}, took nothing for {}{left}", time(change.millis)));
    }
    format!("\n  swap\n{}", table.render(4))
}

#[cfg(test)]
mod tests;
