//! A pipeline's status as a person reads it: all of it, or in a line.

use crate::admin::Status;
use crate::cli::layout::{Table, clean, hang};
use crate::ledger::{Balance, Outcome};
use crate::pipeline::PluginReport;
use crate::pipeline::reload::Event;
use crate::telemetry::Health;

/// Reloads that are shown.
const RELOADS: usize = 10;
/// Digits of a digest that are shown.
const DIGITS: usize = 12;

/// All of it.
pub(super) fn whole(status: &Status, rate: Option<f64>) -> String {
    let head = format!("{}: generation {}, tidegate {}", status.pipeline, status.generation, status.version);
    let mut text = hang("", &clean(&head));
    let standing = &status.standing;
    if standing.on_probation {
        text.push_str("  on probation: it is rolled back by itself where it refuses too much\n");
    }
    match standing.rollback_to {
        Some(number) => text.push_str(&format!("  `tidegate rollback` would go back to generation {number}\n")),
        None => text.push_str("  there is nothing to roll back to\n"),
    }
    text.push_str(&plugins(&status.plugins));
    let mut stages = Table::new(&["stage", "health"]);
    status.stages.iter().for_each(|(stage, health)| stages.row([stage.clone(), health_words(health)]));
    text.push_str(&format!("\n{}", stages.render(2)));
    text.push_str(&ledger(&status.ledger, rate));
    text.push_str(&reloads(&status.reloads));
    text
}

/// A line, equal to the one before when nothing has happened.
pub(super) fn line(status: &Status, rate: Option<f64>) -> String {
    let Status { pipeline, generation, ledger, .. } = status;
    let Balance { received, acked, in_flight, .. } = ledger;
    let not_up = status.stages.iter().filter(|(_, health)| **health != Health::Up);
    let not_up: Vec<String> = not_up.map(|(stage, health)| format!("{stage} {}", health_words(health))).collect();
    let stages = if not_up.is_empty() { "all stages up".to_owned() } else { not_up.join("; ") };
    let last = status.reloads.last();
    let last = last.map_or_else(String::new, |last| format!("; last reload {} at {}", last.outcome.name(), last.at));
    // An idle pipeline says the same again and again, also after the first look, which knows no rate.
    let (rate, balance) = (rate_words(rate.filter(|rate| *rate > 0.0)), balance_words(ledger));
    clean(&format!(
        "{pipeline}: generation {generation}; received {received}{rate}, acked {acked}, in flight {in_flight}, {balance}; {stages}{last}"
    ))
}

fn plugins(plugins: &[PluginReport]) -> String {
    if plugins.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["step", "plugin", "kind", "sha256", "imports"]);
    for plugin in plugins {
        let digest = plugin.digest.trim_start_matches("sha256:").chars().take(DIGITS).collect();
        let imports = if plugin.imports.is_empty() { "nothing".to_owned() } else { plugin.imports.join(", ") };
        table.row([plugin.step.clone(), format!("{} {}", plugin.name, plugin.version), plugin.kind.to_string(), digest, imports]);
    }
    format!("\n{}", table.render(2))
}

fn health_words(health: &Health) -> String {
    match health {
        Health::Starting => "starting".to_owned(),
        Health::Up => "up".to_owned(),
        Health::Down(reason) => format!("DOWN: {reason}"),
    }
}

fn rate_words(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!(" ({rate:.0}/s)"))
}

fn balance_words(ledger: &Balance) -> &'static str {
    if ledger.balanced { "the ledger balances" } else { "THE LEDGER DOES NOT BALANCE" }
}

fn ledger(ledger: &Balance, rate: Option<f64>) -> String {
    let Balance { received, acked, returned, in_flight, redelivered, .. } = ledger;
    let (rate, balance) = (rate_words(rate), balance_words(ledger));
    let received = format!("  received {received}{rate}, {redelivered} of them redelivered\n");
    let answered = format!("  acked {acked}, returned {returned}, in flight {in_flight}; {balance}\n");
    let names: Vec<String> = Outcome::ALL.iter().map(|outcome| outcome.name().replace('_', "-")).collect();
    let headings: Vec<&str> = ["lane"].into_iter().chain(names.iter().map(String::as_str)).chain(["split", "absent"]).collect();
    let mut table = Table::new(&headings);
    for (lane, column) in &ledger.lanes {
        let outcomes =
            Outcome::ALL.iter().map(|outcome| column.outcomes.get(outcome.name()).copied().unwrap_or_default().to_string());
        let further = [column.split.to_string(), column.absent.to_string()];
        table.row([lane.clone()].into_iter().chain(outcomes).chain(further));
    }
    format!("\n{}{received}{answered}", table.render(2))
}

fn reloads(events: &[Event]) -> String {
    if events.is_empty() {
        return "\n  no reload yet\n".to_owned();
    }
    let mut table = Table::new(&["reload", "by", "outcome", "generation", "reason"]);
    for event in events.iter().rev().take(RELOADS) {
        let generation = if event.from == event.to { event.to.to_string() } else { format!("{} → {}", event.from, event.to) };
        let reason = event.reason.clone().unwrap_or_default();
        table.row([
            event.at.clone(),
            event.trigger.name().to_owned(),
            event.outcome.name().replace('_', " "),
            generation,
            reason,
        ]);
    }
    format!("\n{}", table.render(2))
}
