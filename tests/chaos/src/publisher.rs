//! Publishes numbered messages in order, each with an id of its own, and again from the first on that the broker has not confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use tidegate_harness::deadline::Deadline;
use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};
use tokio::time::{sleep, timeout};

/// Messages that are published, and confirmed, together.
const WINDOW: u64 = 20;
/// One message of so many is refused by the validator.
const REFUSED: u64 = 97;
/// Longest wait for a broker that is down or does not answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the publishers and the counts agree on.
pub(crate) fn is_refused(number: u64) -> bool {
    number % REFUSED == REFUSED - 1
}

/// The id of a message.
pub(crate) fn message_id(number: u64) -> String {
    format!("id-{number}")
}

/// The content of a message, which is sealed on its way into a row.
pub(crate) fn content(number: u64) -> String {
    format!("message {number}")
}

/// The body of a message.
pub(crate) fn body(number: u64) -> String {
    let session = if is_refused(number) { "" } else { r#""sub_id":"s","# };
    format!(r#"{{"id":"user_{number}",{session}"message":{{"content":"{}"}}}}"#, content(number))
}

/// The number of a body.
pub(crate) fn number(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    text.split_once("\"user_")?.1.split_once('"')?.0.parse().ok()
}

/// The publishing thread.
pub(crate) struct Publisher {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Published>,
}

/// What it has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// Messages, numbered from 0, that the broker has confirmed.
    pub(crate) messages: u64,
    /// Messages that were published again because their confirmation did not come, and how often: so many copies the broker may have beyond
    /// the first.
    pub(crate) again: BTreeMap<u64, u64>,
    /// When each window of them was sent for the first time.
    sent: Vec<Duration>,
}

impl Published {
    /// Before this moment nobody had a message.
    pub(crate) fn not_before(&self, number: u64) -> Duration {
        let window = usize::try_from(number / WINDOW).unwrap_or(usize::MAX);
        self.sent.get(window).copied().unwrap_or_default()
    }

    /// For tests: the first messages, all sent at this moment, and some again.
    #[cfg(test)]
    pub(crate) fn of(sent: Duration, again: &[(u64, u64)]) -> Self {
        Self { messages: WINDOW, again: again.iter().copied().collect(), sent: vec![sent] }
    }
}

impl Publisher {
    /// Starts to publish at a rate, in messages a second. Times are those of `clock`.
    pub(crate) fn start(url: String, queue: String, rate: u64, clock: Deadline) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime
                .map_or_else(|_| Published::default(), |runtime| runtime.block_on(publish(&url, &queue, rate, &clock, &stopped)))
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub(crate) fn stop(self) -> Result<Published> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the publisher panicked"))
    }
}

async fn publish(url: &str, queue: &str, rate: u64, clock: &Deadline, stop: &AtomicBool) -> Published {
    let mut published = Published::default();
    let begun = clock.elapsed();
    let mut line: Option<(Connection, Channel)> = None;
    while !stop.load(Ordering::Relaxed) {
        let due = Duration::from_millis(published.messages * 1000 / rate.max(1));
        // After an outage it makes up for the time.
        sleep((begun + due).saturating_sub(clock.elapsed()).min(Duration::from_secs(1))).await;
        let window = published.messages..published.messages + WINDOW;
        if published.not_before(window.start).is_zero() {
            published.sent.push(clock.elapsed());
        }
        let sent = timeout(PATIENCE, async {
            if line.is_none() {
                line = Some(connect(url).await?);
            }
            let Some((_, channel)) = &line else { return Ok(()) };
            send(channel, queue, window).await
        });
        if matches!(sent.await, Ok(Ok(()))) {
            published.messages += WINDOW;
        } else {
            // Without a connection nothing was sent.
            if line.take().is_some() {
                for number in published.messages..published.messages + WINDOW {
                    *published.again.entry(number).or_default() += 1;
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
    published
}

async fn connect(url: &str) -> Result<(Connection, Channel)> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.doing("connecting the publisher")?;
    let channel = connection.create_channel().await.doing("opening a channel")?;
    channel.confirm_select(ConfirmSelectOptions::default()).await.doing("asking for confirmations")?;
    Ok((connection, channel))
}

async fn send(channel: &Channel, queue: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut confirmations = Vec::new();
    for number in numbers {
        let properties = BasicProperties::default().with_delivery_mode(2).with_message_id(message_id(number).into());
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let sent = channel.basic_publish("".into(), queue.into(), options, body(number).as_bytes(), properties).await;
        confirmations.push(sent.doing("publishing")?);
    }
    for confirmation in confirmations {
        if !matches!(confirmation.await.doing("waiting for a confirmation")?, Confirmation::Ack(None)) {
            return Err(Failure::new("the broker did not take a message"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_body_tells_its_number() {
        for wanted in [0, 5, REFUSED - 1, 12_345] {
            assert_eq!(number(body(wanted).as_bytes()), Some(wanted));
        }
        assert!(is_refused(REFUSED - 1) && !is_refused(REFUSED));
        assert!(!body(REFUSED - 1).contains("sub_id"));
    }
}
