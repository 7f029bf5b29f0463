//! `tidegate status`: what a running host does, once or again and again.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use super::ask::{Host, Target};
use super::{Failure, say};
use crate::admin::Status;
use crate::telemetry::Health;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Reloads that are shown.
const RELOADS: usize = 10;
/// Clears a terminal and starts at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Arguments of `tidegate status`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Looks again every second, until Ctrl-C.
    #[arg(long)]
    watch: bool,
}

/// A look at every pipeline of a host.
struct Look {
    at: Instant,
    pipelines: Vec<Status>,
}

/// Prints what the host does.
pub(super) async fn status(arguments: Arguments) -> Result<(), Failure> {
    let host = arguments.target.host()?;
    let clears = arguments.watch && std::io::stdout().is_terminal();
    let mut before: Option<Look> = None;
    loop {
        let look = look(&host, &arguments.target).await?;
        if arguments.target.json {
            say(&format!("{}\n", serde_json::json!({ "pipelines": look.pipelines })));
        } else {
            let texts: Vec<String> = look.pipelines.iter().map(|status| show(status, rate(status, before.as_ref()))).collect();
            say(&format!("{}{}", if clears { CLEAR } else { "" }, texts.join("\n")));
        }
        if !arguments.watch {
            return Ok(());
        }
        before = Some(look);
        sleep(EVERY).await;
    }
}

async fn look(host: &Host, target: &Target) -> Result<Look, Failure> {
    let (status, answer) = host.get("/status").await?;
    if !status.is_success() {
        return Err(host.refused(status, &answer));
    }
    let value: serde_json::Value = host.read(&answer)?;
    let list = value.get("pipelines").cloned().unwrap_or_else(|| serde_json::json!([value]));
    let mut pipelines: Vec<Status> = host.read(list.to_string().as_bytes())?;
    let names: Vec<String> = pipelines.iter().map(|status| status.pipeline.clone()).collect();
    pipelines.retain(|status| target.pipeline.as_ref().is_none_or(|name| *name == status.pipeline));
    match (&target.pipeline, pipelines.is_empty()) {
        (Some(name), true) => {
            Err(Failure::Running(format!("no pipeline is called `{}`; there are: {}", name.escape_debug(), names.join(", "))))
        }
        _ => Ok(Look { at: Instant::now(), pipelines }),
    }
}

/// Messages a second since the look before.
fn rate(status: &Status, before: Option<&Look>) -> Option<f64> {
    let before = before?;
    let earlier = before.pipelines.iter().find(|earlier| earlier.pipeline == status.pipeline)?;
    let messages = status.ledger.received.saturating_sub(earlier.ledger.received);
    Some(messages as f64 / before.at.elapsed().as_secs_f64())
}

fn show(status: &Status, rate: Option<f64>) -> String {
    let mut text = format!("{}  generation {}  tidegate {}\n", status.pipeline, status.generation, status.version);
    let standing = &status.standing;
    if let Some(number) = standing.rollback_to {
        text.push_str(&format!("  rollback would go back to generation {number}\n"));
    }
    if standing.on_probation {
        text.push_str("  the generation is on probation\n");
    }
    for (stage, health) in &status.stages {
        let health = match health {
            Health::Starting => "starting".to_owned(),
            Health::Up => "up".to_owned(),
            Health::Down(reason) => format!("DOWN: {reason}"),
        };
        text.push_str(&format!("  {stage:<22} {health}\n"));
    }
    for plugin in &status.plugins {
        let digest = plugin.digest.trim_start_matches("sha256:").get(..12).unwrap_or_default();
        let imports = if plugin.imports.is_empty() { "nothing".to_owned() } else { plugin.imports.join(", ") };
        let name = format!("steps.{}", plugin.step);
        text.push_str(&format!(
            "  {name:<22} {} {} ({}, {digest}) imports {imports}\n",
            plugin.name, plugin.version, plugin.kind
        ));
    }
    text.push_str(&ledger(status, rate));
    text.push_str(&reloads(status));
    text
}

fn ledger(status: &Status, rate: Option<f64>) -> String {
    let ledger = &status.ledger;
    let rate = rate.map_or_else(String::new, |rate| format!(", {rate:.0}/s"));
    let balance = if ledger.balanced { "balances" } else { "DOES NOT BALANCE" };
    let mut text = format!(
        "  ledger {balance}: received {}{rate}, acked {}, returned {}, in flight {}, redelivered {}\n",
        ledger.received, ledger.acked, ledger.returned, ledger.in_flight, ledger.redelivered
    );
    for (lane, column) in &ledger.lanes {
        let outcomes: Vec<String> = column.outcomes.iter().map(|(name, count)| format!("{name} {count}")).collect();
        text.push_str(&format!("    {lane:<20} {}, split {}, absent {}\n", outcomes.join(", "), column.split, column.absent));
    }
    text
}

fn reloads(status: &Status) -> String {
    let mut text = String::new();
    for event in status.reloads.iter().rev().take(RELOADS) {
        let reason = event.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        text.push_str(&format!(
            "  {} {} by {}, generation {} → {}{reason}\n",
            event.at,
            event.outcome.name(),
            event.trigger.name(),
            event.from,
            event.to
        ));
    }
    if text.is_empty() { text } else { format!("  last reloads, newest first\n{text}") }
}
