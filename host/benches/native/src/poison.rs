//! What bad rows cost: a queue with one row in each batch that the database refuses, and the same without.

use std::fs;

use tidegate_harness::failure::While;
use tidegate_harness::host::Host;
use tidegate_harness::postgres::Durability;
use tidegate_harness::programs::say;
use tidegate_harness::scratch::Scratch;
use tidegate_harness::servers::Servers;
use tidegate_harness::{Failure, Result};

use crate::compare::{Figures, Runner, Settings, arguments, measure};
use crate::ends::Ends;
use crate::load::{BATCH, QueueType, fill_with, refused_body};

/// Runs both and prints them.
pub(crate) async fn run(settings: Settings) -> Result<()> {
    let servers = Servers::start(Durability::Fsync)?;
    let mut ends = Ends::open(&servers, &settings.host, &settings.workspace).await?;
    let bad = settings.messages / BATCH;
    say(&format!("{} messages, and with one bad row in {BATCH}: {bad} of them are refused by the database\n", settings.messages));
    for round in 1..=settings.rounds {
        let good = leg(&settings, &mut ends, 0).await?;
        let poisoned = leg(&settings, &mut ends, bad).await?;
        let ratio = poisoned.messages_per_second / good.messages_per_second;
        say(&format!("round {round}: without {good}; with {poisoned}; throughput with ÷ without {ratio:.2}"));
    }
    ends.clear().await
}

async fn leg(settings: &Settings, ends: &mut Ends, bad: usize) -> Result<Figures> {
    ends.clear().await?;
    let body = |index| if bad > 0 && index % BATCH == BATCH / 2 { refused_body(index) } else { crate::load::body(index) };
    fill_with(&ends.channel, &ends.settings.queue, QueueType::Classic, settings.messages, body).await?;
    let scratch = Scratch::new("bench")?;
    let arguments = arguments(settings, ends, Runner::Host, scratch.path())?;
    // The validator would refuse them before the database can.
    let file = scratch.path().join("pipeline.toml");
    let text = fs::read_to_string(&file).doing("reading the pipeline")?.replace("through = [\"validate\"]", "through = []");
    fs::write(&file, text).doing("writing the pipeline")?;
    let mut host = Host::launch(arguments)?;
    let (rows, broadcast) = (settings.messages - bad, settings.messages);
    let figures = measure(ends, host.pid()?, settings.messages).await?;
    host.wait_until("the dead letters", std::time::Duration::from_secs(120), |host| {
        let ledger = host.status()?;
        let acked = ledger.pointer("/ledger/acked").and_then(serde_json::Value::as_u64);
        Ok((acked >= Some(broadcast as u64)).then_some(()))
    })?;
    host.terminate()?;
    let found = (ends.rows().await?, ends.broadcast().await?, ends.waiting(".dead").await?);
    if found == (rows, broadcast, bad) {
        return Ok(figures);
    }
    Err(Failure::new(format!("rows, broadcast and dead letters are {found:?}, and should be {:?}", (rows, broadcast, bad))))
}
