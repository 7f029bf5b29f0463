//! One run: faults by the script, healing, counting.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use serde_json::Value;
use tidegate_harness::deadline::{Deadline, wait_for};
use tidegate_harness::failure::While;
use tidegate_harness::host::Host;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};
use tokio::runtime::Runtime;

use crate::count::{Count, bad, good};
use crate::ends::{self, Kind};
use crate::publisher::{Published, Publisher};
use crate::report::{Happened, Report};
use crate::script::{Script, Step};
use crate::world::{Parts, World};

/// Longest wait for everything to arrive, once all is healed.
const HEALING: Duration = Duration::from_secs(300);

/// Arguments of the program.
#[derive(Debug, Parser)]
pub(crate) struct Settings {
    /// The host program.
    #[arg(long)]
    host: PathBuf,
    /// Folder of the components.
    #[arg(long)]
    plugins: PathBuf,
    /// Folder for what is kept of a run that failed.
    #[arg(long)]
    keep: PathBuf,
    /// The script: the same seed, the same faults. Default: another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// How long faults go on.
    #[arg(long, default_value_t = 3.0, conflicts_with = "faults")]
    minutes: f64,
    /// How many steps of the script, instead of a time.
    #[arg(long)]
    faults: Option<usize>,
    /// Messages a second.
    #[arg(long, default_value_t = 200)]
    rate: u64,
    /// Kind of the queue.
    #[arg(long, value_enum, default_value = "classic")]
    queue: Kind,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it; says whether everything arrived as promised.
pub(crate) fn run(settings: &Settings) -> Result<bool> {
    let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let runtime = Runtime::new().doing("starting the async runtime")?;
    let parts = Parts { host: settings.host.clone(), plugins: settings.plugins.clone() };
    let mut world = World::start(parts, |url| runtime.block_on(ends::declare(url, settings.queue)))?;
    say(&format!("seed {seed}, {:?} queue, {} messages a second", settings.queue, settings.rate));
    let publisher = Publisher::start(world.rabbitmq.url(), crate::world::QUEUE.to_owned(), settings.rate);
    let done = rage(&mut world, settings, seed, &publisher);
    let published = publisher.stop()?;
    let report = done.and_then(|happened| conclude(&mut world, &runtime, published, happened));
    let log = world.host.log();
    let kept = |report: Result<Report>| {
        fs::create_dir_all(&settings.keep).doing("making a folder")?;
        let file = settings.keep.join(format!("{seed}.log"));
        fs::write(&file, &log).doing("keeping the log")?;
        say(&format!("the log of the host is kept in {}", file.display()));
        report
    };
    let report = match report {
        Ok(report) if report.is_as_promised() => Ok(report),
        report => kept(report),
    }?;
    say(&if settings.json { report.json(seed) } else { report.text() });
    Ok(report.is_as_promised())
}

/// Goes through the script.
fn rage(world: &mut World, settings: &Settings, seed: u64, publisher: &Publisher) -> Result<Vec<Happened>> {
    let (clock, mut happened) = (Deadline::after(Duration::from_secs_f64(settings.minutes * 60.0)), Vec::new());
    for (number, step) in Script::new(seed).enumerate() {
        if settings.faults.map_or_else(|| clock.is_over(), |faults| number >= faults) {
            break;
        }
        happened.extend(go_through(world, &step, &clock, publisher)?);
    }
    Ok(happened)
}

fn go_through(world: &mut World, step: &Step, clock: &Deadline, publisher: &Publisher) -> Result<Vec<Happened>> {
    // The script says when; nothing is waited for here.
    sleep(step.after);
    let at = clock.elapsed();
    let names: Vec<String> = step.faults.iter().map(ToString::to_string).collect();
    say(&format!("{:>7.1}s  {} for {:.1}s", at.as_secs_f64(), names.join(", and "), step.lasts.as_secs_f64()));
    let sent = publisher.confirmed();
    for fault in &step.faults {
        world.begin(*fault)?;
    }
    sleep(step.lasts);
    for fault in &step.faults {
        world.end(*fault)?;
    }
    Ok(step.faults.iter().map(|fault| Happened { fault: *fault, sent }).collect())
}

/// Waits until everything has arrived, and counts.
fn conclude(world: &mut World, runtime: &Runtime, published: Published, happened: Vec<Happened>) -> Result<Report> {
    world.host.wait_ready()?;
    let url = world.rabbitmq.url();
    let healed = Deadline::after(HEALING);
    let expected = good(published.messages).count();
    let arrived = wait_for("everything to arrive", HEALING, || {
        let idle = in_flight(&world.host)? == Some(0) && runtime.block_on(ends::waiting(&url))? == 0;
        let rows = || runtime.block_on(ends::rows(&world.postgres.url()));
        // What is parked and just being stored lies on no queue that one can see.
        Ok((idle && rows()?.0.len() >= expected).then_some(()))
    });
    // What has not arrived is counted as missing.
    let recovery = arrived.map_or(HEALING, |()| healed.elapsed());
    let (rows, contents) = runtime.block_on(ends::rows(&world.postgres.url()))?;
    let broadcast = runtime.block_on(ends::broadcast(&world.redis.url()))?;
    let opened = opened(world, &contents)?;
    let balanced = world.host.status()?.pointer("/ledger/balanced").and_then(Value::as_bool) == Some(true);
    let ended = world.host.terminate()?;
    let log = world.host.log();
    Ok(Report {
        recovery,
        rows: Count::of(&rows, good(published.messages)),
        broadcast: Count::of(&broadcast, good(published.messages)),
        dead: Count::of(&runtime.block_on(ends::dead(&url))?, bad(published.messages)),
        sealed: contents.len() - opened,
        unbalanced: log.matches("the ledger does not balance").count() + usize::from(!balanced) + usize::from(!ended.success()),
        happened,
        published,
    })
}

fn in_flight(host: &Host) -> Result<Option<u64>> {
    Ok(host.status()?.pointer("/ledger/in_flight").and_then(Value::as_u64))
}

/// How many contents open.
fn opened(world: &World, contents: &[String]) -> Result<usize> {
    let output = world.command(&["open", "--json"], contents.join("\n").as_bytes())?;
    let text = String::from_utf8(output.stdout).map_err(|_| Failure::new("`tidegate open` printed no text"))?;
    Ok(text.lines().filter(|line| line.starts_with('"')).count())
}
