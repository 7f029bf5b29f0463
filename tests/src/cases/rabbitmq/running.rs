//! A source that runs, with what it hands its batches to.

use std::sync::Arc;
use std::time::Duration;

use tidegate::delivery::{Delivery, settle};
use tidegate::ledger::{Ledger, Outcome};
use tidegate::lifecycle::{Stop, Tasks};
use tidegate::source::rabbitmq::{Settings, Source};
use tidegate::source::{Intake, Pace, Source as _, Takeovers};
use tidegate::telemetry::{Health, Telemetry};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::broker::eventually;
use crate::servers::amqp_url;

pub(super) const MAX_MESSAGES: usize = 128;
/// How these sources take.
pub(super) const PACE: Pace = Pace { max_messages: MAX_MESSAGES, linger: Duration::ZERO, drain_timeout: Duration::from_secs(10) };
const STAGE: &str = "source.rabbitmq";
/// Longest wait for a batch.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn settings(queue: &str) -> Settings {
    Settings {
        uri: amqp_url().as_str().into(),
        ca_file: None,
        queue: queue.to_owned(),
        prefetch: 2048,
        max_in_flight_bytes: 1 << 40,
        heartbeat: Duration::from_secs(10),
        timeout: Duration::from_secs(10),
        max_backoff: Duration::from_millis(500),
    }
}

pub(super) struct Running {
    pub(super) ledger: Arc<Ledger>,
    pub(super) telemetry: Telemetry,
    batches: mpsc::Receiver<Vec<Delivery>>,
    stop: Stop,
    left: oneshot::Receiver<u64>,
    _tasks: Tasks,
}

impl Running {
    pub(super) fn start(settings: Settings) -> Self {
        Self::start_with(settings, PACE)
    }

    pub(super) fn start_with(settings: Settings, pace: Pace) -> Self {
        let (batches, receiver) = mpsc::channel(1);
        let (ledger, telemetry, stop) = (Arc::new(Ledger::default()), Telemetry::default(), Stop::new());
        ledger.open_lane("history");
        let intake = Intake {
            batches,
            ledger: Arc::clone(&ledger),
            telemetry: telemetry.clone(),
            pace: watch::channel(pace).1,
            leaving: Stop::new(),
            ending: stop.clone(),
            takeovers: Takeovers::default(),
        };
        let (report, left) = oneshot::channel();
        let mut tasks = Tasks::default();
        let running = Box::new(Source::new(settings, STAGE)).run(intake, stop.clone());
        tasks.spawn("source", async move { report.send(running.await).unwrap_or_default() });
        Self { ledger, telemetry, batches: receiver, stop, left, _tasks: tasks }
    }

    /// The next batch.
    pub(super) async fn batch(&mut self) -> Vec<Delivery> {
        timeout(PATIENCE, self.batches.recv()).await.expect("a batch arrives in time").expect("the source runs")
    }

    /// So many deliveries, from as many batches as it takes.
    pub(super) async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.batch().await);
        }
        assert_eq!(taken.len(), count);
        taken
    }

    /// The bodies of so many messages, which are settled.
    pub(super) async fn bodies(&mut self, count: usize) -> Vec<String> {
        let taken = self.take(count).await;
        let bodies = taken.iter().map(|delivery| String::from_utf8(delivery.message.body.to_vec()).unwrap()).collect();
        settle(taken, Outcome::Delivered);
        bodies
    }

    /// Whether no batch comes for so long.
    pub(super) async fn nothing_for(&mut self, longest: Duration) -> bool {
        timeout(longest, self.batches.recv()).await.is_err()
    }

    /// Whether the source has let go of the intake.
    pub(super) fn is_closed(&self) -> bool {
        self.batches.is_closed()
    }

    fn health(&self) -> Option<Health> {
        self.telemetry.stages().get(STAGE).cloned()
    }

    pub(super) async fn is_up(&self) {
        eventually("the source to be up", async || self.health() == Some(Health::Up)).await;
    }

    pub(super) async fn is_down(&self) -> String {
        let down = async || matches!(self.health(), Some(Health::Down(_)));
        eventually("the source to be down", down).await;
        match self.health() {
            Some(Health::Down(reason)) => reason,
            other => format!("{other:?}"),
        }
    }

    pub(super) async fn acked(&self, messages: u64) {
        eventually("the acknowledgements", async || self.ledger.balance().acked >= messages).await;
        assert_eq!(self.ledger.balance().acked, messages);
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the source and gives what it says it has left.
    pub(super) async fn stop(self) -> u64 {
        self.stop.cancel();
        timeout(PATIENCE, self.left).await.expect("the source stops in time").unwrap()
    }

    /// The same, settling what still comes.
    pub(super) async fn stop_and_settle(mut self) -> (u64, Arc<Ledger>) {
        self.stop.cancel();
        while let Some(batch) = self.batches.recv().await {
            settle(batch, Outcome::Delivered);
        }
        let ledger = Arc::clone(&self.ledger);
        (self.stop().await, ledger)
    }
}
