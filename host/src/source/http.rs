//! HTTP as a source: what is posted is answered once it lies durably in the journal.
//!
//! Two halves share the journal: the post takes in, the feed hands on. Whatever happens to either, what was answered with 202 is in
//! the file until it is settled.

mod condition;
mod feed;
mod forms;
mod post;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tracing::{info, warn};

use self::condition::{Condition, Part};
use self::feed::Feed;
use super::journal::Journal;
use super::{Intake, Source};
use crate::lifecycle::{Stop, Tasks};
use crate::listener::{self, Door};
use crate::telemetry::Counter;

/// Longest wait after the stop for requests that are being answered.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Settings of `[source.http]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address to listen on. On a loopback address only local programs are answered, and no web page of another origin;
    /// on another one whoever reaches it is, since there is no password. Default: `127.0.0.1:9610`.
    pub listen: SocketAddr,
    /// Folder of the SQLite journal, made when missing. Default: `data`, beside pipeline.toml.
    pub journal: PathBuf,
    /// Name of the journal's queue, which names its side queues too. Default: `message_broadcast_queue`.
    pub queue: String,
    /// Most messages that are taken and not acknowledged yet. Default: 2048.
    pub prefetch: u16,
    /// Most bytes of bodies that are taken and not acknowledged yet; one message at least. Default: 256 MiB.
    pub max_in_flight_bytes: usize,
    /// Longest body of one message, in bytes. Default: 16 MiB.
    pub max_body_bytes: usize,
    /// Most messages that wait in the journal; above it a POST is answered 503. Default: 1000000.
    pub max_waiting: u64,
}

/// Takes messages over HTTP.
#[derive(Debug)]
pub struct HttpSource {
    settings: Settings,
    journal: Journal,
    stage: String,
    door: watch::Sender<Door>,
}

impl HttpSource {
    /// A source that listens once it runs. `journal` is the open journal of `settings`; `stage` is its name in health and metrics,
    /// e.g. `source.http`.
    #[must_use]
    pub fn new(settings: Settings, journal: Journal, stage: &str) -> Self {
        Self { settings, journal, stage: stage.to_owned(), door: watch::Sender::new(Door::Starting) }
    }

    /// Tells whether, and where, it listens.
    #[must_use]
    pub fn door(&self) -> watch::Receiver<Door> {
        self.door.subscribe()
    }

    /// Starts to listen, in a task of its own.
    fn listen(&self, condition: &Arc<Condition>, intake: &Intake, stop: &Stop) -> Tasks {
        let post = post::Post::new(&self.settings, self.journal.clone(), &self.stage, Arc::clone(condition), stop.clone());
        let (condition, door, telemetry) = (Arc::clone(condition), self.door.clone(), intake.telemetry.clone());
        let (address, stage, stop) = (self.settings.listen, self.stage.clone(), stop.clone());
        let mut tasks = Tasks::default();
        tasks.spawn("listener", async move {
            let tell = |now: Door| {
                match &now {
                    Door::Open(_) => {
                        telemetry.count(Counter::StageConnects, &[("stage", &stage)], 1);
                        condition.works(Part::Listening);
                    }
                    Door::Shut(reason) => drop(condition.fails(Part::Listening, reason)),
                    Door::Starting => {}
                }
                door.send_replace(now);
            };
            listener::serve(address, &stage, post::router(post), tell, stop).await;
        });
        tasks
    }

    /// Ends the listener, once what it has taken is answered.
    async fn close(&self, doors: &Stop, listener: &mut Tasks) {
        doors.cancel();
        if tokio::time::timeout(LAST_ANSWERS, listener.join()).await.is_err() {
            warn!(stage = self.stage, "some requests were not answered to the end");
            listener.abort();
        }
    }
}

#[async_trait]
impl Source for HttpSource {
    async fn run(self: Box<Self>, intake: Intake, stop: Stop) -> u64 {
        let condition = Arc::new(Condition::new(&self.stage, intake.telemetry.clone()));
        // The listener also ends when the pipeline does: nothing is taken that nobody carries.
        let doors = stop.child_token();
        let mut listener = self.listen(&condition, &intake, &doors);
        let leaving = intake.leaving.clone();
        let mut feed = Feed::new(&self.settings, self.journal.clone(), &self.stage, condition, intake);
        tokio::select! {
            biased;
            () = feed.feed(&stop) => {}
            () = leaving.cancelled() => {
                // No more is posted: what the journal has now is all that it will get.
                self.close(&doors, &mut listener).await;
                feed.empty(&stop).await;
            }
        }
        let unsettled = feed.drain().await;
        self.close(&doors, &mut listener).await;
        let waiting = self.journal.waiting();
        info!(stage = self.stage, unsettled, waiting, "stopped; what waits stays in the journal");
        if leaving.is_cancelled() { waiting } else { unsettled }
    }
}
