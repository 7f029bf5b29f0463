//! Messages at a fixed rate: how long each takes to a subscriber and to its committed row.

use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tidegate_harness::Result;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::programs::say;

use crate::bench::Bench;
use crate::case::{Case, Runner};
use crate::figures::{Figures, head, median, middle};
use crate::leg::Leg;
use crate::load::QueueType;
use crate::traffic::{self, Plan, Times};

/// Rounds where nothing else is said.
const ROUNDS: usize = 5;
/// What takes turns.
const TURNS: [Runner; 3] = [Runner::Native, Runner::Host, Runner::NativeAgain];

/// At which rates, and how long.
#[derive(Args, Clone)]
#[group(skip)]
pub(crate) struct Settings {
    /// Messages a second; with commas between them, several rates.
    #[arg(long, value_delimiter = ',', default_value = "500,5000")]
    rates: Vec<usize>,
    /// Seconds of a leg that are counted.
    #[arg(long, default_value_t = 15)]
    seconds: usize,
}

/// What one pipeline showed at one rate.
#[derive(Serialize)]
struct Row {
    rate: usize,
    pipeline: &'static str,
    broadcast: Latency,
    stored: Latency,
    figures: Figures,
    rounds: Vec<Round>,
}

/// What one leg showed.
#[derive(Serialize)]
struct Round {
    broadcast: Latency,
    stored: Latency,
    figures: Figures,
    #[serde(skip)]
    times: Times,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
    /// The middle one of the rounds' own: one second in which the disk stood still spoils one round, and not the middle.
    median_p99: f64,
}

/// Runs everything, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    let rounds = bench.settings.rounds(ROUNDS);
    let mut all = Vec::new();
    for rate in settings.rates.iter().copied() {
        let mut legs = TURNS.map(|runner| (runner, Vec::with_capacity(rounds)));
        let mut turns: Vec<_> = legs.iter_mut().collect();
        for round in 1..=rounds {
            for (runner, legs) in &mut turns {
                let leg = leg(bench, *runner, rate, settings.seconds).await?;
                say(&format!(
                    "round {round}, {rate}/s, {}: to the subscriber {}; to the committed row {}",
                    runner.name(),
                    leg.broadcast.words(),
                    leg.stored.words(),
                ));
                legs.push(leg);
            }
            turns.rotate_left(1);
        }
        let rows: Vec<Row> = legs.into_iter().map(|(runner, legs)| merged(rate, runner, legs)).collect::<Result<_>>()?;
        say(&format!(
            "\n{rate} messages a second, classic queue, {rounds} rounds:\n\n{}\n\n{}\n",
            latencies(&rows),
            costs(&rows)
        ));
        all.extend(rows);
    }
    bench.keep("live", &all)
}

async fn leg(bench: &mut Bench, runner: Runner, rate: usize, seconds: usize) -> Result<Round> {
    let (ends, case) = (&mut bench.ends, Case::new(runner, QueueType::Classic, Plan::messages(rate, seconds)));
    ends.prepare(&case).await?;
    let mut leg = Leg::start(&bench.settings, ends, &case).await?;
    leg.consuming(ends).await?;
    let clock = Deadline::after(std::time::Duration::MAX);
    let first = leg.look(ends, 0, clock)?;
    let times = traffic::run(Plan::begin(rate, seconds), &ends.of(&case, 0))
        .await
        .map_err(|failure| leg.failure(&failure.to_string()))?;
    let last = leg.look(ends, case.messages, clock)?;
    let figures = leg.between(&[(first, last)])?;
    leg.finish_taken(ends, case.messages).await?;
    let (broadcast, stored) = (Latency::of(&times.broadcast), Latency::of(&times.stored));
    Ok(Round { broadcast, stored, figures, times })
}

/// All rounds of a pipeline together.
fn merged(rate: usize, runner: Runner, rounds: Vec<Round>) -> Result<Row> {
    let all = |of: fn(&Times) -> &Histogram<u64>| -> Result<Latency> {
        let mut all = traffic::histogram()?;
        for round in &rounds {
            all.add(of(&round.times)).doing("adding histograms")?;
        }
        Ok(Latency { median_p99: middle(rounds.iter().map(|round| Latency::of(of(&round.times)).p99)), ..Latency::of(&all) })
    };
    let figures = median(&rounds.iter().map(|round| round.figures).collect::<Vec<_>>());
    let (broadcast, stored) = (all(|times| &times.broadcast)?, all(|times| &times.stored)?);
    Ok(Row { rate, pipeline: runner.name(), broadcast, stored, figures, rounds })
}

impl Latency {
    fn of(micros: &Histogram<u64>) -> Self {
        let at = |quantile: f64| micros.value_at_quantile(quantile) as f64 / 1000.0;
        Self { p50: at(0.5), p99: at(0.99), p99_9: at(0.999), max: micros.max() as f64 / 1000.0, median_p99: at(0.99) }
    }

    fn columns(&self) -> [f64; 5] {
        [self.p50, self.p99, self.p99_9, self.max, self.median_p99]
    }

    fn words(&self) -> String {
        format!("p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms", self.p50, self.p99, self.p99_9, self.max)
    }
}

fn latencies(rows: &[Row]) -> String {
    let mut lines = vec![
        "| end | pipeline | p50 ms | p99 ms | p99.9 ms | max ms | median of the rounds' p99 ms |".to_owned(),
        "| --- | --- | --- | --- | --- | --- | --- |".to_owned(),
    ];
    for end in ["subscriber", "committed row"] {
        let of = |row: &Row| if end == "subscriber" { row.broadcast } else { row.stored };
        for row in rows {
            let columns = of(row).columns().map(|value| format!("{value:.2}"));
            lines.push(format!("| {end} | {} | {} |", row.pipeline, columns.join(" | ")));
            let first = rows.first().filter(|first| first.pipeline != row.pipeline);
            if let Some(first) = first {
                let more =
                    of(row).columns().into_iter().zip(of(first).columns()).map(|(this, that)| format!("{:+.2}", this - that));
                let more = more.collect::<Vec<_>>().join(" | ");
                lines.push(format!("| {end} | {} - {} | {more} |", row.pipeline, first.pipeline));
            }
        }
    }
    lines.join("\n")
}

fn costs(rows: &[Row]) -> String {
    let rows = rows.iter().map(|row| format!("| {} | {} |", row.pipeline, row.figures));
    std::iter::once(head(&["pipeline"])).chain(rows).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Cpu;

    #[test]
    fn rounds_are_merged_and_one_bad_round_leaves_the_median_of_their_p99_alone() {
        let figures = Figures {
            messages_per_second: 500.0,
            cpu: Cpu { pipeline: 1.0, rabbitmq: None, redis: None, postgres: None },
            peak_megabytes: 1.0,
        };
        let round = |slowest: u64| {
            let mut broadcast = traffic::histogram().unwrap();
            broadcast.record_n(1000, 90).unwrap();
            broadcast.record_n(slowest, 10).unwrap();
            let times = Times { stored: broadcast.clone(), broadcast };
            Round { broadcast: Latency::of(&times.broadcast), stored: Latency::of(&times.stored), figures, times }
        };
        let row = merged(500, Runner::Host, vec![round(2000), round(900_000), round(2000)]).unwrap();
        assert!((row.broadcast.p50 - 1.0).abs() < 0.01, "{:?}", row.broadcast);
        assert!(row.broadcast.p99 > 899.0 && row.broadcast.max > 899.0, "{:?}", row.broadcast);
        assert!((row.broadcast.median_p99 - 2.0).abs() < 0.01, "{:?}", row.broadcast);
    }
}
