//! What swaps cost: drains with and without them in turns, counted at the destinations.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_harness::deadline::wait_for;
use tidegate_harness::failure::While;
use tidegate_harness::http;
use tidegate_harness::programs::say;
use tidegate_harness::{Failure, Result};

use crate::bench::{Bench, Row, row, table};
use crate::case::{Case, Runner};
use crate::figures::Figures;
use crate::leg::Leg;
use crate::load::QueueType;
use crate::runner::SWAPPED;

/// Rounds where nothing else is said.
const ROUNDS: usize = 5;
/// Between the end of a swap and the next save.
const BETWEEN: Duration = Duration::from_millis(100);
/// Longest wait for a swap.
const PATIENCE: Duration = Duration::from_secs(30);

/// Swaps a component of a running host, again and again.
pub(crate) struct Swapper {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Vec<Value>>>,
}

impl Swapper {
    /// Starts. `component` is the file that the host watches.
    pub(crate) fn start(admin: SocketAddr, component: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        Self { stop, thread: thread::spawn(move || swap_on(admin, &component, &stopped)) }
    }

    /// Ends, and gives the events of all swaps.
    pub(crate) fn stop(self) -> Result<Vec<Value>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the swapping panicked"))?
    }
}

fn swap_on(admin: SocketAddr, component: &Path, stopped: &AtomicBool) -> Result<Vec<Value>> {
    let original = fs::read(component).doing("reading the component")?;
    let mut events = Vec::new();
    wait_for("the host to be ready", PATIENCE, || {
        Ok(http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200).then_some(()))
    })?;
    while !stopped.load(Ordering::Relaxed) {
        save(component, &original, events.len())?;
        events.push(event_after(admin, events.last())?);
        thread::sleep(BETWEEN);
    }
    Ok(events)
}

/// The same component with a custom section of another name: the same code, another digest.
fn save(component: &Path, original: &[u8], number: usize) -> Result<()> {
    let name = format!("{number:08}");
    let section = [&[0, 9, 8][..], name.as_bytes()].concat();
    let beside = component.with_extension("new");
    fs::write(&beside, [original, &section].concat()).doing("saving the component")?;
    fs::rename(&beside, component).doing("saving the component")
}

fn event_after(admin: SocketAddr, before: Option<&Value>) -> Result<Value> {
    wait_for("a swap", PATIENCE, || {
        // It starts to watch a moment after it started, and to answer too.
        let Ok(answer) = http::get(admin, "/status") else { return Ok(None) };
        let status = answer.json()?;
        let newest = status.get("reloads").and_then(Value::as_array).and_then(|events| events.last().cloned());
        Ok(newest.filter(|event| event.get("at") != before.and_then(|before| before.get("at"))))
    })
}

/// Runs everything, prints it and keeps it.
pub(crate) async fn run(bench: &mut Bench) -> Result<()> {
    let (messages, rounds) = (bench.settings.messages, bench.settings.rounds(ROUNDS));
    let mut all = Vec::new();
    for queue_type in [QueueType::Classic, QueueType::Quorum] {
        let cases = [Runner::Host, Runner::Swapping].map(|runner| Case::new(runner, queue_type, messages));
        let (mut still, mut swapping, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut turns: Vec<_> = cases.iter().zip([&mut still, &mut swapping]).collect();
        for round in 1..=rounds {
            for (case, legs) in &mut turns {
                let (figures, swapped) = leg(bench, case).await?;
                say(&format!("{} round {round}, {}: {figures} ({} swaps)", queue_type.name(), case.runner.name(), swapped.len()));
                legs.push(figures);
                events.extend(swapped);
            }
            turns.rotate_left(1);
        }
        let rows: Vec<Row> = cases.iter().zip([still, swapping]).map(|(case, legs)| row(queue_type.name(), case, legs)).collect();
        say(&format!("\n{}\n\n{}\n", table("queue", &rows), summary(queue_type, &events)));
        all.push(json!({ "rows": rows, "swaps": events }));
    }
    bench.keep("swap", &all)
}

/// One leg, with the events of the swaps that were made meanwhile.
async fn leg(bench: &mut Bench, case: &Case) -> Result<(Figures, Vec<Value>)> {
    bench.ends.fill(case).await?;
    let mut leg = Leg::start(&bench.settings, &bench.ends, case).await?;
    let swapping = case.runner == Runner::Swapping;
    let admin = leg.admin()?;
    let swapper = swapping.then(|| Swapper::start(admin, leg.folder().join(SWAPPED)));
    let measured = leg.measure(&mut bench.ends).await;
    let events = swapper.map_or_else(|| Ok(Vec::new()), Swapper::stop);
    let figures = measured?;
    leg.finish(&mut bench.ends).await?;
    Ok((figures, events?))
}

fn summary(queue_type: QueueType, events: &[Value]) -> String {
    let number = |event: &Value, at: &str| event.pointer(at).and_then(Value::as_u64);
    let of_swap = |at: &str| events.iter().filter_map(|event| number(event, at)).sum::<u64>();
    let mut pauses: Vec<u64> = events.iter().filter_map(|event| number(event, "/swap/pause/max_micros")).collect();
    pauses.sort_unstable();
    let at = |percent: usize| pauses.get((pauses.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or_default();
    let swapped = events.iter().filter(|event| event.get("outcome").is_some_and(|outcome| outcome == "swapped")).count();
    format!(
        "{}: {swapped} of {} saves swapped; longest wait of a worker a swap: p50 {} µs, p99 {} µs, max {} µs; \
         finished on the old generation {}, redelivered {}, lost 0, stored twice 0",
        queue_type.name(),
        events.len(),
        at(50),
        at(99),
        at(100),
        of_swap("/swap/finished_on_old"),
        of_swap("/swap/redelivered"),
    )
}
