//! `tidegate status`: what a running host does, once or again and again.

mod show;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ask::{Host, Question};
use super::{Failure, say};
use crate::admin::Status;

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Arguments of `tidegate status`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    question: Question,
    /// Looks again every second, until Ctrl-C. Where the output is no terminal, prints a line whenever something has changed.
    #[arg(long)]
    watch: bool,
}

/// A look at the pipelines of a host.
struct Look {
    at: Instant,
    pipelines: Vec<Status>,
}

/// Prints what the host does.
pub(super) async fn status(arguments: Arguments) -> Result<(), Failure> {
    let question = arguments.question;
    let host = question.target.host()?;
    if arguments.watch {
        return watch(&host, &question).await;
    }
    let look = look(&host, question.pipeline.as_deref()).await?;
    say(&if question.json { json(&look) } else { whole(&look, None) });
    Ok(())
}

/// Looks again and again. A host that does not answer may be starting again: that is told, and it is asked on.
async fn watch(host: &Host, question: &Question) -> Result<(), Failure> {
    let redraws = std::io::stdout().is_terminal() && !question.json;
    let (mut before, mut told): (Option<Look>, Vec<String>) = (None, Vec::new());
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let seen = look(host, question.pipeline.as_deref()).await;
        let (text, now) = match seen {
            Err(failure) if redraws => (redraw(&format!("{failure}\n")), None),
            Err(failure) => (news(vec![failure.to_string()], &mut told), None),
            Ok(look) if question.json => (json(&look), Some(look)),
            Ok(look) if redraws => (redraw(&whole(&look, before.as_ref())), Some(look)),
            Ok(look) => (news(lines(&look, before.as_ref()), &mut told), Some(look)),
        };
        say(&text);
        before = now;
    }
}

async fn look(host: &Host, name: Option<&str>) -> Result<Look, Failure> {
    let (status, answer) = host.get("/status").await?;
    if !status.is_success() {
        return Err(host.refusal(status, &answer));
    }
    Ok(Look { at: Instant::now(), pipelines: meant(pipelines(host, &answer)?, name)? })
}

/// A host of one pipeline answers with that alone.
fn pipelines(host: &Host, answer: &[u8]) -> Result<Vec<Status>, Failure> {
    let value: serde_json::Value = host.read(answer)?;
    let list = value.get("pipelines").cloned().unwrap_or_else(|| serde_json::json!([value]));
    host.read(list.to_string().as_bytes())
}

fn meant(all: Vec<Status>, name: Option<&str>) -> Result<Vec<Status>, Failure> {
    let Some(name) = name else { return Ok(all) };
    let names: Vec<String> = all.iter().map(|status| format!("`{}`", status.pipeline)).collect();
    let meant: Vec<Status> = all.into_iter().filter(|status| status.pipeline == name).collect();
    if meant.is_empty() {
        let problem = format!("no pipeline is called `{}`; there are: {}", name.escape_debug(), names.join(", "));
        return Err(Failure::Running(problem));
    }
    Ok(meant)
}

/// Messages a second since the look before; none at the first one.
fn rate(status: &Status, look: &Look, before: Option<&Look>) -> Option<f64> {
    let before = before?;
    let earlier = before.pipelines.iter().find(|earlier| earlier.pipeline == status.pipeline)?;
    // A host that was started again counts from zero.
    let messages = status.ledger.received.checked_sub(earlier.ledger.received)?;
    let seconds = look.at.duration_since(before.at).as_secs_f64();
    (seconds > 0.0).then_some(messages as f64 / seconds)
}

fn json(look: &Look) -> String {
    format!("{}\n", serde_json::json!({ "pipelines": look.pipelines }))
}

fn whole(look: &Look, before: Option<&Look>) -> String {
    let texts: Vec<String> = look.pipelines.iter().map(|status| show::whole(status, rate(status, look, before))).collect();
    texts.join("\n")
}

fn lines(look: &Look, before: Option<&Look>) -> Vec<String> {
    look.pipelines.iter().map(|status| show::line(status, rate(status, look, before))).collect()
}

/// Those of the lines that were not told the last time.
fn news(lines: Vec<String>, told: &mut Vec<String>) -> String {
    let fresh: Vec<String> = lines.iter().filter(|line| !told.contains(line)).map(|line| format!("{line}\n")).collect();
    *told = lines;
    fresh.concat()
}

/// Draws over what stands on the terminal, line by line: clearing it first would flicker.
fn redraw(text: &str) -> String {
    format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n"))
}

#[cfg(test)]
mod tests;
