//! What an outage of PostgreSQL costs: messages at a fixed rate, with and without one, the broadcast timed from when each message was due.

use std::time::Duration;

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;
use tidegate_harness::servers::{Either, Servers};
use tidegate_harness::{Failure, Result};
use tokio::time::sleep;

use crate::bench::Bench;
use crate::case::{Case, Runner};
use crate::leg::Leg;
use crate::load::QueueType;
use crate::meter;
use crate::traffic::{self, Plan};

/// Before the outage.
const BEFORE: Duration = Duration::from_secs(10);
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
    /// PostgreSQL hangs instead (SIGSTOP): connections stay open, and nobody answers.
    #[arg(long)]
    hang: bool,
}

/// What one run showed.
#[derive(Serialize)]
struct Shown {
    outage: bool,
    sent: usize,
    /// Milliseconds from when a message was due until a subscriber had it: 50, 99 and 99.9 per cent, and the slowest.
    broadcast: [f64; 4],
    /// The second, from the beginning, in which the slowest of them was due.
    slowest: usize,
    /// Seconds from the start of PostgreSQL until every row was stored.
    recovery: f64,
    /// Messages that were parked at the end of the outage.
    parked: usize,
    megabytes_before: f64,
    megabytes_after: f64,
}

/// Runs both and prints them.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    let length = Duration::from_secs_f64(settings.minutes * 60.0);
    let how = if settings.hang { "hangs" } else { "is down" };
    say(&format!("{} messages a second; PostgreSQL {how} for {length:?}, after {BEFORE:?}\n", settings.rate));
    let mut all = Vec::new();
    for down in [None, Some(length)] {
        // Without an outage a minute is enough to compare with.
        let length = down.unwrap_or(length.min(Duration::from_secs(60)));
        let shown = one(bench, settings, length, down.is_some()).await?;
        say(&shown.text());
        all.push(shown);
    }
    bench.keep("outage", &all)
}

#[expect(clippy::disallowed_methods, reason = "listening goes on while a server is stopped, which blocks")]
async fn one(bench: &mut Bench, settings: &Settings, length: Duration, outage: bool) -> Result<Shown> {
    let (ends, servers) = (&mut bench.ends, &mut bench.servers);
    let plan = |seconds: Duration| Plan::begin(settings.rate, seconds.as_secs_f64().ceil() as usize);
    let case = Case::new(Runner::Host, QueueType::Classic, 0);
    ends.prepare(&case).await?;
    let mut leg = Leg::start(&bench.settings, ends, &case).await?;
    leg.consuming(ends).await?;
    let (pid, plan, to) = (leg.first()?.pid()?, plan(BEFORE + length), ends.of(&case, 0));
    let publisher = traffic::publisher(plan, &to).await?;
    let listening = tokio::spawn(async move { traffic::listen(&to, plan).await });
    sleep(BEFORE).await;
    let megabytes_before = meter::resident_memory(pid)? as f64 / 1e6;
    if outage {
        let service = &mut own(servers)?.service;
        if settings.hang { service.pause() } else { service.stop().map(drop) }?;
    }
    sleep(length).await;
    let parked = ends.waiting(&case, ".parked.history").await?;
    let megabytes_after = meter::resident_memory(pid)? as f64 / 1e6;
    if outage {
        let service = &mut own(servers)?.service;
        if settings.hang { service.resume() } else { service.start() }?;
    }
    let returned = Deadline::after(PATIENCE);
    ends.reconnect(servers).await?;
    let (sent, mut recovery) = (plan.messages, None);
    while recovery.is_none() {
        if returned.is_over() {
            return Err(leg.failure(&format!("{} of {sent} rows after {PATIENCE:?}", ends.rows().await?)));
        }
        sleep(Duration::from_millis(100)).await;
        recovery = (ends.rows().await? >= sent).then(|| returned.elapsed().as_secs_f64());
    }
    traffic::published(publisher)?;
    let heard = listening.await.doing("listening")??;
    ends.see_order(sent).await?;
    let (broadcast, recovery) = (quantiles(&heard.times), recovery.unwrap_or_default());
    let slowest = heard.slowest.into_iter().enumerate().max_by_key(|(_, took)| *took).map_or(0, |(second, _)| second);
    Ok(Shown { outage, sent, broadcast, slowest, recovery, parked, megabytes_before, megabytes_after })
}

fn quantiles(micros: &Histogram<u64>) -> [f64; 4] {
    [0.5, 0.99, 0.999, 1.0].map(|quantile| micros.value_at_quantile(quantile) as f64 / 1000.0)
}

fn own(servers: &mut Servers) -> Result<&mut tidegate_harness::postgres::Postgres> {
    match &mut servers.postgres {
        Either::Own(server) => Ok(server),
        Either::Given(_) => Err(Failure::new("DATABASE_URL names somebody else's server, which is not stopped: unset it")),
    }
}

impl Shown {
    fn text(&self) -> String {
        let [p50, p99, p99_9, max] = self.broadcast;
        format!(
            "{}: {} messages, all broadcast in order and stored once, in order; broadcast p50 {p50:.1} ms, p99 {p99:.1} ms, p99.9 {p99_9:.1} ms, \
             max {max:.1} ms (due in second {}); {} parked at the end of it, all stored {:.1} s after; memory {:.0} MB before, {:.0} MB after",
            if self.outage { "with the outage" } else { "without" },
            self.sent,
            self.slowest,
            self.parked,
            self.recovery,
            self.megabytes_before,
            self.megabytes_after,
        )
    }
}
