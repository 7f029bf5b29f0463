//! Whether a message costs the same however many there are: messages, pipelines in a process, dead letters beside the queue.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate_harness::Result;
use tidegate_harness::deadline::Deadline;
use tidegate_harness::programs::say;

use crate::bench::{Bench, Row, row, table};
use crate::case::{Case, Runner};
use crate::figures::Figures;
use crate::leg::{self, Leg};
use crate::load::{self, QueueType, Trouble};

/// Rounds where nothing else is said; of the longest legs there is one.
const ROUNDS: usize = 5;
/// Fewer messages than this are over before they can be measured: they are drained again and again.
const FEW: usize = 100_000;
/// How many messages are drained by then, however few it is at a time.
const REPEATED: usize = 20_000;
/// From so many on, one round has to be enough, and the native pipeline is not held beside more.
const MANY: usize = 1_000_000;
/// Pipelines in a process.
const PIPELINES: [usize; 5] = [1, 5, 10, 25, 50];
/// Messages of each of them, at least: with fewer a fifth of them would be less than a window, and the rest not enough to measure.
const EACH: usize = 10_000;
/// One message in so many is refused, where dead letters are made.
const REFUSED: usize = 100;
/// How often a small drain is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Longest wait for a small drain.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far it goes.
#[derive(Args, Clone)]
#[group(skip)]
pub(crate) struct Settings {
    /// One of its tables alone.
    #[arg(long, value_enum)]
    only: Option<Growing>,
    /// Most messages of a drain.
    #[arg(long, default_value_t = 1_000_000)]
    most: usize,
    /// Dead letters that lie beside the queue.
    #[arg(long, default_value_t = 1_000_000)]
    letters: usize,
}

/// What there is more and more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Growing {
    /// Messages of a drain.
    Messages,
    /// Pipelines in a process.
    Pipelines,
    /// Dead letters beside the queue.
    Letters,
}

/// Runs what is wanted, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench, settings: &Settings) -> Result<()> {
    for growing in [Growing::Messages, Growing::Pipelines, Growing::Letters] {
        if settings.only.is_some_and(|only| only != growing) {
            continue;
        }
        match growing {
            Growing::Messages => counts(bench, settings.most).await?,
            Growing::Pipelines => pipelines(bench).await?,
            Growing::Letters => beside_letters(bench, settings.letters).await?,
        }
    }
    Ok(())
}

/// From a thousand messages on, ten times more each time.
async fn counts(bench: &mut Bench, most: usize) -> Result<()> {
    let mut all = Vec::new();
    for count in (3..).map(|power| 10_usize.pow(power)).take_while(|count| *count <= most) {
        let rounds = if count >= MANY { 1 } else { bench.settings.rounds(ROUNDS) };
        let runners = if count > MANY { &[Runner::Host][..] } else { &[Runner::Native, Runner::Host] };
        let cases: Vec<Case> = runners.iter().map(|runner| Case::new(*runner, QueueType::Classic, count)).collect();
        let mut legs = vec![Vec::new(); cases.len()];
        let mut turns: Vec<_> = cases.iter().zip(&mut legs).collect();
        for round in 1..=rounds {
            for (case, legs) in &mut turns {
                let figures = if count < FEW {
                    again_and_again(bench, case).await?
                } else {
                    leg::run(&bench.settings, &mut bench.ends, case).await?
                };
                say(&format!("round {round}, {count} messages, {}: {figures}", case.runner.name()));
                legs.push(figures);
            }
            turns.rotate_left(1);
        }
        all.extend(cases.iter().zip(legs).map(|(case, legs)| row(&count.to_string(), case, legs)));
    }
    say(&format!("\nmessages, classic queue:\n\n{}\n{}\n", table("messages", &all), flatness(&all)));
    bench.keep("growth_messages", &all)
}

/// One process, which stands still while its queue is filled and is let go then, until enough messages went through it.
async fn again_and_again(bench: &mut Bench, case: &Case) -> Result<Figures> {
    let (ends, times) = (&mut bench.ends, (REPEATED / case.messages).max(1));
    let all = Case { messages: case.messages * times, ..*case };
    ends.prepare(&all).await?;
    let mut leg = Leg::start(&bench.settings, ends, &all).await?;
    leg.consuming(ends).await?;
    let (queue, mut looks) = (ends.of(&all, 0).queue, Vec::with_capacity(times));
    for from in (0..all.messages).step_by(case.messages) {
        let until = from + case.messages;
        leg.first()?.pause()?;
        load::fill(&ends.channel, &queue, &all, from..until).await?;
        let clock = Deadline::after(PATIENCE);
        let first = leg.look(ends, from, clock)?;
        leg.first()?.resume()?;
        // To send the signal takes longer than to carry a few hundred messages.
        let first = first.later(clock);
        let last = leg.until(ends, until, clock, LOOK).await?;
        looks.push((first, last));
    }
    let figures = leg.between(&looks)?;
    leg.finish(ends).await?;
    Ok(figures)
}

/// So many messages, and so many of them for each of the pipelines of one process.
async fn pipelines(bench: &mut Bench) -> Result<()> {
    let rounds = bench.settings.rounds(ROUNDS);
    let case = |pipelines: usize| {
        let messages = bench.settings.messages.max(pipelines * EACH);
        (pipelines.to_string(), Case { pipelines, warm: true, ..Case::new(Runner::Host, QueueType::Classic, messages) })
    };
    let rows = bench.turns(&PIPELINES.map(case), rounds).await?;
    say(&format!("\npipelines in one process, classic queues:\n\n{}\n{}\n", table("pipelines", &rows), flatness(&rows)));
    bench.keep("growth_pipelines", &rows)
}

/// One message in a hundred becomes a dead letter, beside none and beside many.
async fn beside_letters(bench: &mut Bench, letters: usize) -> Result<()> {
    let (messages, rounds) = (bench.settings.messages, bench.settings.rounds(ROUNDS));
    let beside_none =
        Case { trouble: Trouble::Missing { every: REFUSED }, ..Case::new(Runner::Host, QueueType::Classic, messages) };
    let beside_many = Case { beside_letters: true, ..beside_none };
    bench.ends.forget_letters().await?;
    let made = Case { trouble: Trouble::Missing { every: 1 }, messages: letters, ..beside_many };
    bench.ends.fill(&made).await?;
    let clock = Deadline::after(Duration::MAX);
    Leg::start(&bench.settings, &bench.ends, &made).await?.finish(&mut bench.ends).await?;
    say(&format!("{letters} dead letters were made in {:.0} s", clock.elapsed().as_secs_f64()));
    let cases = [("0".to_owned(), beside_none), (letters.to_string(), beside_many)];
    let rows = bench.turns(&cases, rounds).await;
    bench.ends.clear().await?;
    bench.ends.forget_letters().await?;
    let rows = rows?;
    let name = "dead letters beside it";
    say(&format!("\n1 % of the messages refused, classic queue:\n\n{}\n{}\n", table(name, &rows), flatness(&rows)));
    bench.keep("growth_letters", &rows)
}

/// What a message costs the host at the end of the table, held against its beginning.
fn flatness(rows: &[Row]) -> String {
    let mut host = rows.iter().filter(|row| row.pipeline == Runner::Host.name());
    let (first, last) = (host.next(), host.next_back());
    first.zip(last).map_or_else(String::new, |(first, last)| {
        let ratio = last.median.cpu.pipeline / first.median.cpu.pipeline;
        format!("\nCPU of the host a message, {} ÷ {}: {ratio:.2}", last.of, first.of)
    })
}
