//! The whole comparison: native and host in turns, from a classic and from a quorum queue, counted at the destinations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::host::{Arguments, Host};
use tidegate_harness::pipeline::{self, Pipeline};
use tidegate_harness::postgres::Durability;
use tidegate_harness::programs::say;
use tidegate_harness::scratch::Scratch;
use tidegate_harness::servers::Servers;
use tidegate_harness::{Failure, Result};

use crate::ends::Ends;
use crate::load::{BODY_BYTES, QueueType, fill};
use crate::meter;
use crate::swap::Swapper;

/// Longest wait for a leg.
const PATIENCE: Duration = Duration::from_secs(300);
/// The component that is swapped.
const SWAPPED: &str = "validate-message.wasm";
/// How often the destinations are looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What is compared, and how long.
#[derive(Args)]
pub(crate) struct Settings {
    /// The host program, built with the release profile.
    #[arg(long)]
    pub(crate) host: PathBuf,
    /// The folder of the workspace.
    #[arg(long)]
    pub(crate) workspace: PathBuf,
    /// The folder of the components.
    #[arg(long)]
    plugins: PathBuf,
    /// Messages a leg.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) messages: usize,
    /// Rounds, each of one leg native and one leg host.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
}

/// What drains the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// The pipeline written by hand.
    Native,
    /// The host.
    Host,
    /// The host, while a component of it is swapped again and again.
    Swapping,
}

/// What one leg showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    pub(crate) messages_per_second: f64,
    cpu_micros_per_message: f64,
    peak_megabytes: f64,
}

/// Runs everything and prints it.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let servers = Servers::start(Durability::Fsync)?;
    let mut ends = Ends::open(&servers, &settings.host, &settings.workspace).await?;
    say(&format!("{} messages of {BODY_BYTES} bytes a leg, {} rounds\n", settings.messages, settings.rounds));
    let mut table =
        vec!["| queue | pipeline | msg/s | CPU µs/message | peak MB |".to_owned(), "| --- | --- | --- | --- | --- |".to_owned()];
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        let (mut native, mut host) = (Vec::new(), Vec::new());
        for round in 1..=settings.rounds {
            for (runner, figures) in [(Runner::Native, &mut native), (Runner::Host, &mut host)] {
                let (leg, _) = leg(&settings, &mut ends, queue_type, runner).await?;
                say(&format!("{} round {round} {runner:?}: {leg}", queue_type.name()));
                figures.push(leg);
            }
        }
        let (native, host) = (median(&native), median(&host));
        table.push(format!("| {} | native | {native} |", queue_type.name()));
        table.push(format!("| {} | host | {host} |", queue_type.name()));
        table.push(format!("| {} | host ÷ native | {} |", queue_type.name(), host.over(&native)));
    }
    ends.clear().await?;
    say(&format!("\nmedians:\n\n{}", table.join("\n")));
    Ok(())
}

/// One queue, filled and drained; with the events of the swaps that were made meanwhile.
pub(crate) async fn leg(
    settings: &Settings,
    ends: &mut Ends,
    queue_type: QueueType,
    runner: Runner,
) -> Result<(Figures, Vec<Value>)> {
    ends.clear().await?;
    fill(&ends.channel, &ends.settings.queue, queue_type, settings.messages).await?;
    let scratch = Scratch::new("bench")?;
    let mut process = Host::launch(arguments(settings, ends, runner, scratch.path())?)?;
    let swapper = (runner == Runner::Swapping).then(|| Swapper::start(process.admin(), scratch.path().join(SWAPPED)));
    let measured = measure(ends, process.pid()?, settings.messages).await;
    let events = swapper.map_or_else(|| Ok(Vec::new()), Swapper::stop);
    let figures = match measured {
        Ok(figures) => figures,
        Err(failure) => return Err(Failure::new(format!("{failure}\n{}", process.log()))),
    };
    // What is at both ends is acknowledged a moment later.
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.terminate()?;
    let (broadcast, rows, left) = (ends.broadcast().await?, ends.rows().await?, ends.left().await?);
    if (broadcast, rows, left) == (settings.messages, settings.messages, 0) {
        return Ok((figures, events?));
    }
    Err(Failure::new(format!("{runner:?}: {broadcast} broadcast, {rows} rows, {left} left, of {}", settings.messages)))
}

/// From the first look that sees messages at both ends to the one that sees them all.
pub(crate) async fn measure(ends: &mut Ends, pid: u32, messages: usize) -> Result<Figures> {
    let deadline = Deadline::after(PATIENCE);
    let mut first: Option<(usize, Duration, Duration)> = None;
    loop {
        let arrived = ends.broadcast().await?.min(ends.numbered().await?);
        let now = (arrived, deadline.elapsed(), meter::cpu(pid)?);
        if arrived >= messages {
            let (from, since, cpu) = first.ok_or_else(|| Failure::new("all was there at the first look: take more messages"))?;
            let (took, count) = ((now.1 - since).as_secs_f64(), (messages - from) as f64);
            return Ok(Figures {
                messages_per_second: count / took,
                cpu_micros_per_message: (now.2 - cpu).as_secs_f64() * 1e6 / count,
                peak_megabytes: meter::peak_memory(pid)? as f64 / 1e6,
            });
        }
        if arrived > 0 && first.is_none() {
            first = Some(now);
        }
        if deadline.is_over() {
            return Err(Failure::new(format!("{arrived} of {messages} messages after {PATIENCE:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(crate) fn arguments(settings: &Settings, ends: &Ends, runner: Runner, folder: &Path) -> Result<Arguments> {
    let to = &ends.settings;
    let owned = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect();
    if runner == Runner::Native {
        let program = std::env::current_exe().doing("finding this program")?;
        let arguments = owned(&[
            "native",
            "--amqp-url",
            &to.amqp_url,
            "--queue",
            &to.queue,
            "--redis-url",
            &to.redis_url,
            "--key",
            &to.key,
            "--database-url",
            &to.database_url,
        ]);
        return Ok(Arguments { program, arguments, folder: folder.to_owned(), variables: Vec::new(), admin_port: 0 });
    }
    let to = pipeline::Ends {
        amqp_url: &to.amqp_url,
        queue: &to.queue,
        redis_url: &to.redis_url,
        key: &to.key,
        database_url: &to.database_url,
    };
    let cache = settings.plugins.with_file_name("tidegate-bench-cache");
    let mut pipeline = Pipeline::shipped(to, &settings.plugins, &cache)?;
    if runner == Runner::Swapping {
        let component = settings.plugins.join(SWAPPED);
        std::fs::copy(&component, folder.join(SWAPPED)).doing("copying the component")?;
        pipeline.steps = pipeline.steps.replace(&component.display().to_string(), SWAPPED);
        pipeline.sinks += "\n[reload]\nsettle = \"10ms\"\n";
    }
    let file = pipeline.write(folder)?;
    let arguments = owned(&["run", &file.display().to_string()]);
    Ok(Arguments {
        program: settings.host.clone(),
        arguments,
        folder: folder.to_owned(),
        variables: Vec::new(),
        admin_port: pipeline.admin_port,
    })
}

/// The medians of several legs.
pub(crate) fn median(legs: &[Figures]) -> Figures {
    let middle = |figure: fn(&Figures) -> f64| {
        let mut figures: Vec<f64> = legs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        f64::midpoint(at(figures.len().saturating_sub(1) / 2), at(figures.len() / 2))
    };
    Figures {
        messages_per_second: middle(|leg| leg.messages_per_second),
        cpu_micros_per_message: middle(|leg| leg.cpu_micros_per_message),
        peak_megabytes: middle(|leg| leg.peak_megabytes),
    }
}

impl Figures {
    fn over(&self, other: &Self) -> String {
        let more = self.cpu_micros_per_message - other.cpu_micros_per_message;
        format!(
            "{:.2} | {more:+.1} | {:.2}",
            self.messages_per_second / other.messages_per_second,
            self.peak_megabytes / other.peak_megabytes
        )
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} | {:.1} | {:.0}", self.messages_per_second, self.cpu_micros_per_message, self.peak_megabytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        let legs: Vec<Figures> = [9.0, 1.0, 2.0, 4.0]
            .map(|value| Figures { messages_per_second: value, cpu_micros_per_message: 0.0, peak_megabytes: 0.0 })
            .into();
        assert_eq!(median(&legs).messages_per_second.to_string(), "3");
        assert_eq!(median(&legs[..3]).messages_per_second.to_string(), "2");
    }
}
