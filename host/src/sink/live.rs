//! A live view as a sink: server-sent events for whoever looks.
//!
//! Delivered means: shown to those who look now, and kept among the newest for those who come later. Nothing of it outlives the
//! process, and nobody who looks can hold the pipeline up.

mod page;
mod ring;
mod server;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::timeout;

use self::ring::Ring;
use super::report::Report;
use super::{Sink, StageError, Written};
use crate::lifecycle::{Stop, Tasks};
use crate::listener::{self, Door};
use crate::message::Message;
use crate::telemetry::{Counter, Health, Telemetry};

/// Longest wait of a write for the listener's first attempt.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);

/// Longest wait for viewers to be told that the view ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Settings of `[sinks.NAME.live]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Address to listen on. On a loopback address only browsers of this machine are answered; on
    /// another one whoever reaches it sees every message, since there is no password. Default: `127.0.0.1:9620`.
    pub listen: SocketAddr,
    /// How many of the newest messages a viewer who comes late still sees, 0 to 100000. Default: 100.
    pub replay: usize,
}

/// Shows messages to whoever looks.
#[derive(Debug)]
pub struct LiveSink {
    settings: Settings,
    stage: String,
    telemetry: Telemetry,
    report: Report,
    ring: Arc<Ring>,
    door: watch::Sender<Door>,
    stop: Stop,
    listener: Option<Tasks>,
}

impl LiveSink {
    /// A view that listens from now on, or from the first write where there is no runtime yet. `stage` is its name in health and
    /// metrics, e.g. `sinks.screen`.
    #[must_use]
    pub fn new(settings: Settings, stage: &str, telemetry: Telemetry) -> Self {
        let mut sink = Self {
            ring: Arc::new(Ring::new(settings.replay)),
            settings,
            stage: stage.to_owned(),
            report: Report::new(stage, telemetry.clone()),
            telemetry,
            door: watch::Sender::new(Door::Starting),
            stop: Stop::new(),
            listener: None,
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            sink.listen();
        }
        sink
    }

    /// Tells whether, and where, it listens.
    #[must_use]
    pub fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    fn listen(&mut self) {
        if self.listener.is_some() {
            return;
        }
        let router = server::router(Arc::clone(&self.ring), self.stop.clone());
        let (door, stop, telemetry) = (self.door.clone(), self.stop.clone(), self.telemetry.clone());
        let (address, stage) = (self.settings.listen, self.stage.clone());
        let mut tasks = Tasks::default();
        tasks.spawn("live view", async move {
            let tell = |now: Door| {
                match &now {
                    Door::Open(_) => {
                        telemetry.count(Counter::StageConnects, &[("stage", &stage)], 1);
                        telemetry.set_health(&stage, Health::Up);
                    }
                    Door::Shut(reason) => drop(telemetry.set_health(&stage, Health::Down(reason.clone()))),
                    Door::Starting => {}
                }
                door.send_replace(now);
            };
            listener::serve(address, &stage, router, tell, stop).await;
        });
        self.listener = Some(tasks);
    }

    async fn deliver(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        self.listen();
        let mut door = self.door.subscribe();
        let tried = timeout(FIRST_ATTEMPT, door.wait_for(|door| *door != Door::Starting)).await;
        match tried.as_ref().map(|door| door.as_deref()) {
            Ok(Ok(Door::Open(_))) => {
                let unheard = if self.ring.push(batch) { 0 } else { batch.len() as u64 };
                Ok(Written { unheard, ..Written::default() })
            }
            Ok(Ok(Door::Shut(reason))) => Err(not_listening(reason.clone())),
            _ => Err(not_listening(format!("the listener on {} has not answered yet", self.settings.listen))),
        }
    }
}

fn not_listening(message: String) -> StageError {
    StageError { code: "not_listening".into(), message, needs_operator: true }
}

impl Drop for LiveSink {
    /// Ends the listener, and the connections that it has: they would otherwise live on their own.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[async_trait]
impl Sink for LiveSink {
    async fn write(&mut self, batch: &[Message]) -> Result<Written, StageError> {
        let outcome = self.deliver(batch).await;
        self.report.tell(&outcome);
        outcome
    }

    async fn close(mut self: Box<Self>) {
        self.stop.cancel();
        if let Some(mut listener) = self.listener.take()
            && timeout(LAST_WORDS, listener.join()).await.is_err()
        {
            listener.abort();
        }
    }
}
