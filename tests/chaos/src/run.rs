//! One run: faults by the script, healing, counting.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};
use tokio::runtime::Runtime;

use crate::arrivals::{Arrivals, Watcher};
use crate::copies::{Copies, Happened};
use crate::count::{Count, bad, good};
use crate::ends::{self, Kind};
use crate::keepsake;
use crate::publisher::{Published, Publisher, content};
use crate::report::Report;
use crate::script::{self, Extent, Script, Step};
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
    /// A second host waits for its turn on the queue, and the faults of a host strike one after the other.
    #[arg(long)]
    standby: bool,
    /// Prints the result as JSON.
    #[arg(long)]
    json: bool,
    /// Prints the script, and does nothing of it.
    #[arg(long, requires = "seed")]
    list: bool,
}

impl Settings {
    fn extent(&self) -> Extent {
        self.faults.map_or_else(|| Extent::Time(Duration::from_secs_f64(self.minutes * 60.0)), Extent::Steps)
    }
}

/// Does what is asked for; says whether everything went as promised.
pub(crate) fn perform(settings: &Settings) -> Result<bool> {
    match settings.seed {
        Some(seed) if settings.list => list(seed, settings.extent()).map(|()| true),
        _ => run(settings),
    }
}

fn list(seed: u64, extent: Extent) -> Result<()> {
    let mut out = std::io::stdout().lock();
    script::lines(seed, extent).iter().try_for_each(|line| writeln!(out, "{line}")).doing("printing the script")
}

/// Runs it; says whether everything arrived as promised.
fn run(settings: &Settings) -> Result<bool> {
    let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let runtime = Runtime::new().doing("starting the async runtime")?;
    let hosts = if settings.standby { 2 } else { 1 };
    let parts = Parts { host: settings.host.clone(), plugins: settings.plugins.clone(), hosts };
    let mut world = World::start(parts, |url| runtime.block_on(ends::declare(url, settings.queue)))?;
    say(&format!("seed {seed}, {:?} queue, {} messages a second", settings.queue, settings.rate));
    let clock = Deadline::after(Duration::MAX);
    let watcher = Watcher::start(world.redis.url(), clock);
    let publisher = Publisher::start(world.rabbitmq.url(), crate::world::QUEUE.to_owned(), settings.rate, clock);
    let done = rage(&mut world, settings, seed, &clock);
    let healed = Deadline::after(HEALING);
    let published = publisher.stop()?;
    let arrived = done.and_then(|happened| {
        let recovery = recovered(&mut world, &runtime, &published, &healed)?;
        Arrived::look(&world, &runtime).map(|arrived| (happened, recovery, arrived))
    });
    let arrivals = watcher.stop()?;
    let report = arrived.and_then(|(happened, recovery, arrived)| {
        let report = conclude(&mut world, published, recovery, &arrived, Copied { arrivals, happened })?;
        Ok((report, arrived))
    });
    if !report.as_ref().is_ok_and(|(report, _)| report.is_as_promised()) {
        let run = format!("{seed}-{}", format!("{:?}", settings.queue).to_lowercase());
        let folder = keepsake::logs(&world, &settings.keep, &run)?;
        if let Ok((_, arrived)) = &report {
            arrived.keep(&folder)?;
        }
        say(&format!("logs, and what arrived, are kept in {}", folder.display()));
    }
    let (report, _) = report?;
    print(&report, settings.json.then_some(seed))?;
    Ok(report.is_as_promised())
}

/// For people where everything else is said, for programs where nothing else is.
fn print(report: &Report, as_json: Option<u64>) -> Result<()> {
    match as_json {
        Some(seed) => writeln!(std::io::stdout(), "{}", report.json(seed)).doing("printing the result"),
        None => {
            say(&report.text());
            Ok(())
        }
    }
}

/// Goes through the script.
fn rage(world: &mut World, settings: &Settings, seed: u64, clock: &Deadline) -> Result<Vec<Happened>> {
    let (extent, mut happened) = (settings.extent(), Vec::new());
    for (number, step) in Script::new(seed).enumerate() {
        if extent.is_over(number, clock.elapsed()) {
            break;
        }
        happened.extend(go_through(world, &step, clock)?);
    }
    Ok(happened)
}

fn go_through(world: &mut World, step: &Step, clock: &Deadline) -> Result<Vec<Happened>> {
    // The script says when; nothing is waited for here.
    sleep(step.after);
    world.hosts.are_running()?;
    say(&script::line(clock.elapsed(), step));
    let mut happened = Vec::new();
    for fault in &step.faults {
        let from = clock.elapsed();
        world.begin(*fault)?;
        happened.push(Happened { fault: *fault, from, until: clock.elapsed() });
    }
    sleep(step.lasts);
    for happened in &mut happened {
        world.end(happened.fault)?;
        if happened.fault.lasts() {
            happened.until = clock.elapsed();
        }
    }
    Ok(happened)
}

/// Waits until everything has arrived; says how long that took. What has not arrived by then is counted as missing.
fn recovered(world: &mut World, runtime: &Runtime, published: &Published, healed: &Deadline) -> Result<Option<Duration>> {
    world.hosts.wait_ready()?;
    let url = world.rabbitmq.url();
    let expected = good(published.messages).count();
    let arrived = world.hosts.wait_until("everything to arrive", HEALING, |hosts| {
        let idle = hosts.in_flight()? == 0 && runtime.block_on(ends::waiting(&url))? == 0;
        // What is parked and out with the host lies on no queue that one can see.
        let stored = || Ok(runtime.block_on(ends::rows(&world.postgres.url()))?.0.len() >= expected);
        let heard = || Ok(distinct(&runtime.block_on(ends::broadcast(&world.redis.url()))?) >= expected);
        Ok((idle && stored()? && heard()?).then_some(()))
    });
    match arrived {
        Ok(()) => Ok(Some(healed.elapsed())),
        Err(failure) => {
            say(&failure.to_string());
            Ok(None)
        }
    }
}

/// How many there are, each counted once.
fn distinct(numbers: &[u64]) -> usize {
    numbers.iter().collect::<HashSet<_>>().len()
}

/// What arrived, in the order in which it did.
struct Arrived {
    rows: Vec<u64>,
    contents: Vec<String>,
    broadcast: Vec<u64>,
    dead: Vec<u64>,
}

impl Arrived {
    fn look(world: &World, runtime: &Runtime) -> Result<Self> {
        let (rows, contents) = runtime.block_on(ends::rows(&world.postgres.url()))?;
        let broadcast = runtime.block_on(ends::broadcast(&world.redis.url()))?;
        let dead = runtime.block_on(ends::dead(&world.rabbitmq.url()))?;
        Ok(Self { rows, contents, broadcast, dead })
    }

    fn keep(&self, folder: &Path) -> Result<()> {
        keepsake::numbers(folder, "rows", &self.rows)?;
        keepsake::numbers(folder, "broadcast", &self.broadcast)?;
        keepsake::numbers(folder, "dead", &self.dead)
    }
}

/// What copies of the broadcast are explained by.
struct Copied {
    arrivals: Arrivals,
    happened: Vec<Happened>,
}

/// Stops the hosts, and holds what arrived against what was published.
fn conclude(
    world: &mut World,
    published: Published,
    recovery: Option<Duration>,
    arrived: &Arrived,
    copied: Copied,
) -> Result<Report> {
    let messages = published.messages;
    let opened = opened(world, arrived)?;
    let unbalanced = world.hosts.unbalanced()? + world.hosts.stop_all()?;
    Ok(Report {
        recovery,
        rows: Count::of(&arrived.rows, good(messages)),
        broadcast: Count::of(&arrived.broadcast, good(messages)),
        copies: Copies::of(&arrived.broadcast, &published, &copied.arrivals, &copied.happened),
        dead: Count::of(&arrived.dead, bad(messages)),
        sealed: arrived.rows.len() - opened,
        unbalanced,
        unclean: world.hosts.unclean,
        faults: copied.happened.len(),
        published,
    })
}

/// How many rows open to what was published.
fn opened(world: &World, arrived: &Arrived) -> Result<usize> {
    let output = world.command(&["open", "--json"], arrived.contents.join("\n").as_bytes())?;
    let text = String::from_utf8(output.stdout).map_err(|_| Failure::new("`tidegate open` printed no text"))?;
    let plain = text.lines().map(|line| serde_json::from_str::<Option<String>>(line).unwrap_or_default());
    Ok(arrived.rows.iter().zip(plain).filter(|(number, plain)| plain.as_ref() == Some(&content(**number))).count())
}
