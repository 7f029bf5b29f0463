//! What an outage of PostgreSQL costs: messages at a fixed rate, with and without one, the broadcast timed from when each message was due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use redis::AsyncCommands;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;
use tidegate_harness::servers::{Either, Servers};
use tidegate_harness::{Failure, Result};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::case::{Case, Runner};
use crate::ends::NAME;
use crate::leg::Leg;
use crate::load::{self, BODY_BYTES, QueueType, body};
use crate::{meter, native};

/// Before the outage.
const BEFORE: Duration = Duration::from_secs(10);
/// Messages that are published together.
const TOGETHER: usize = 10;
/// Longest wait for what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is measured, and how long.
#[derive(Args, Clone)]
#[group(skip)]
pub(crate) struct Settings {
    /// How long PostgreSQL is down.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Messages a second.
    #[arg(long, default_value_t = 2000)]
    rate: usize,
}

/// What one run showed.
struct Shown {
    sent: usize,
    /// Sorted.
    latencies: Vec<Duration>,
    /// From the start of PostgreSQL until every row was stored.
    recovery: Duration,
    parked: usize,
    memory_before: u64,
    memory_after: u64,
}

/// Runs both and prints them.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    let length = Duration::from_secs_f64(settings.minutes * 60.0);
    say(&format!("{} messages a second; PostgreSQL is down for {length:?}, after {BEFORE:?}\n", settings.rate));
    for down in [None, Some(length)] {
        // Without an outage a minute is enough to compare with.
        let length = down.unwrap_or(length.min(Duration::from_secs(60)));
        let shown = one(bench, settings, length, down.is_some()).await?;
        say(&shown.text(if down.is_some() { "with the outage" } else { "without" }));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "publishing and listening go on while a server is stopped, which blocks")]
async fn one(bench: &mut Bench, settings: &Settings, length: Duration, down: bool) -> Result<Shown> {
    let (ends, servers) = (&mut bench.ends, &mut bench.servers);
    let case = Case::new(Runner::Host, QueueType::Classic, 0);
    ends.prepare(&case).await?;
    let mut leg = Leg::start(&bench.settings, ends, &case).await?;
    leg.consuming(ends).await?;
    let pid = leg.first()?.pid()?;
    let clock = Deadline::after(Duration::MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let line = load::channel(&ends.settings.amqp_url).await?;
    line.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirms")?;
    let publishing = tokio::spawn(publish(line, ends.settings.queue.clone(), settings.rate, clock, Arc::clone(&stop)));
    let listening = tokio::spawn(listen(servers.redis_url(), NAME.to_owned(), settings.rate, clock, Arc::clone(&stop)));
    sleep(BEFORE).await;
    let memory_before = meter::resident_memory(pid)?;
    if down {
        own(servers)?.service.stop()?;
    }
    sleep(length).await;
    let parked = ends.waiting(&case, ".parked.history").await?;
    let memory_after = meter::resident_memory(pid)?;
    if down {
        own(servers)?.service.start()?;
    }
    let returned = Deadline::after(PATIENCE);
    stop.store(true, Ordering::Relaxed);
    let sent = publishing.await.doing("publishing")??;
    let latencies = listening.await.doing("listening")??;
    ends.reconnect(servers).await?;
    while ends.rows().await? < sent {
        if returned.is_over() {
            return Err(leg.failure(&format!("{} of {sent} rows after {PATIENCE:?}", ends.rows().await?)));
        }
        sleep(Duration::from_millis(100)).await;
    }
    let recovery = returned.elapsed();
    ends.see_order(sent).await?;
    if latencies.len() != sent {
        return Err(Failure::new(format!("{} of {sent} messages were broadcast", latencies.len())));
    }
    Ok(Shown { sent, latencies, recovery, parked, memory_before, memory_after })
}

fn own(servers: &mut Servers) -> Result<&mut tidegate_harness::postgres::Postgres> {
    match &mut servers.postgres {
        Either::Own(server) => Ok(server),
        Either::Given(_) => Err(Failure::new("DATABASE_URL names somebody else's server, which is not stopped: unset it")),
    }
}

/// Publishes at the rate, whatever happens, until the stop; says how many.
async fn publish(channel: Channel, queue: String, rate: usize, clock: Deadline, stop: Arc<AtomicBool>) -> Result<usize> {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        sleep(due(sent, rate).saturating_sub(clock.elapsed())).await;
        let mut confirms = Vec::with_capacity(TOGETHER);
        for number in sent..sent + TOGETHER {
            confirms.push(load::publish(&channel, &queue, number, &body(number, BODY_BYTES)).await?);
        }
        for confirm in confirms {
            load::confirmed(confirm).await?;
        }
        sent += TOGETHER;
    }
    Ok(sent)
}

/// When a message is due. Measured from there, a wait behind others counts too.
fn due(number: usize, rate: usize) -> Duration {
    Duration::from_secs_f64(number as f64 / rate as f64)
}

/// Takes what is broadcast off the list; gives the sorted times since each was due.
async fn listen(url: String, key: String, rate: usize, clock: Deadline, stop: Arc<AtomicBool>) -> Result<Vec<Duration>> {
    let mut connection = native::connect_redis(&url).await?;
    let (mut latencies, mut quiet) = (Vec::new(), 0);
    // What is still on its way when the publishing ends comes within a second.
    while quiet < 1000 {
        let found: Option<Vec<Vec<u8>>> =
            connection.lpop(&key, std::num::NonZeroUsize::new(1000)).await.doing("taking from the list")?;
        let now = clock.elapsed();
        for body in found.iter().flatten() {
            let number = load::number(body).ok_or_else(|| Failure::new("a body without its number"))?;
            if number != latencies.len() {
                return Err(Failure::new(format!("message {number} was broadcast as the {}th", latencies.len())));
            }
            latencies.push(now.saturating_sub(due(number, rate)));
        }
        quiet = if stop.load(Ordering::Relaxed) && found.is_none() { quiet + 1 } else { 0 };
        sleep(Duration::from_millis(1)).await;
    }
    latencies.sort_unstable();
    Ok(latencies)
}

impl Shown {
    fn text(&self, name: &str) -> String {
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or_default().as_secs_f64()
                * 1000.0
        };
        format!(
            "{name}: {} messages, all broadcast in order and stored once, in order; broadcast p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms; \
             {} parked at the end of it, all stored {:.1} s after; memory {:.0} MB before, {:.0} MB after",
            self.sent,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0),
            self.parked,
            self.recovery.as_secs_f64(),
            self.memory_before as f64 / 1e6,
            self.memory_after as f64 / 1e6,
        )
    }
}
