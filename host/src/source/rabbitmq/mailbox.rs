//! The side queues: dead letters and parked messages, durable once the broker has confirmed them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::time::timeout;

use super::declare::Forms;
use super::link::Link;
use super::taking::Shelf;
use super::{Settings, fault, letter};
use crate::source::{Letter, SideQueue, StageError, Taking};

/// Most letters that wait for their confirmations together.
const WINDOW: usize = 1000;

/// The side queues of a RabbitMQ source. Connects when it is first needed, and again after a failure.
pub struct Mailbox {
    settings: Arc<Settings>,
    stage: Arc<str>,
    forms: Forms,
    /// The connection that everybody publishes on. Nothing is consumed on it: the broker stops reading from connections that publish
    /// when it runs out of memory or disk, and acknowledgements must still get through then.
    link: tokio::sync::Mutex<Option<Arc<Link>>>,
    outlets: Mutex<HashMap<SideQueue, Slot>>,
}

/// The way to one queue. Whoever puts holds it, because the client library does not say whose message it is that the broker returns.
type Slot = Arc<tokio::sync::Mutex<Option<Outlet>>>;

struct Outlet {
    link: Arc<Link>,
    channel: Channel,
}

impl Mailbox {
    /// Side queues beside `settings.queue`. `stage` is their name in errors and logs.
    #[must_use]
    pub fn new(settings: Settings, stage: &str) -> Self {
        let link = tokio::sync::Mutex::new(None);
        Self { settings: Arc::new(settings), stage: stage.into(), forms: Forms::default(), link, outlets: Mutex::default() }
    }

    /// The queue's name at the broker: `<queue>.dead` or `<queue>.parked.<sink>`.
    ///
    /// # Errors
    /// Fails when it would be longer than a name may be.
    pub fn name(&self, queue: &SideQueue) -> Result<String, StageError> {
        let name = match queue {
            SideQueue::Dead => format!("{}.dead", self.settings.queue),
            SideQueue::Parked(sink) => format!("{}.parked.{sink}", self.settings.queue),
        };
        if name.len() > Settings::MAX_QUEUE_BYTES {
            let message = format!("the queue's name would have {} bytes, and may have {}", name.len(), Settings::MAX_QUEUE_BYTES);
            return Err(fault::for_the_operator("queue_name", message));
        }
        Ok(name)
    }

    fn slot(&self, queue: &SideQueue) -> Slot {
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(outlets.entry(queue.clone()).or_default())
    }

    /// The connection, made anew when it is lost.
    async fn link(&self) -> Result<Arc<Link>, StageError> {
        let mut link = timeout(self.settings.timeout, self.link.lock()).await.map_err(|_| self.busy())?;
        if let Some(link) = link.as_ref().filter(|link| link.is_up()) {
            // The broker still reads nothing from it: another letter would only wait behind those that were given up.
            return if link.is_blocked() { Err(blocked()) } else { Ok(Arc::clone(link)) };
        }
        *link = None;
        let opened = Arc::new(Link::open(&self.settings, "tidegate side queues").await?);
        *link = Some(Arc::clone(&opened));
        Ok(opened)
    }

    async fn outlet(&self, queue: &SideQueue, name: &str) -> Result<Outlet, StageError> {
        let link = self.link().await?;
        self.forms.side_queue(&link, queue, name).await?;
        let channel = link.channel().await?;
        link.answer("asking for confirmations", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Outlet { link, channel })
    }

    fn busy(&self) -> StageError {
        fault::silent(&format!("waiting for other letters of {}", self.stage), self.settings.timeout)
    }
}

impl Outlet {
    fn is_usable(&self) -> bool {
        self.link.is_up() && !self.link.is_blocked() && self.channel.status().connected()
    }

    /// Publishes letters in order and waits until each is confirmed.
    async fn publish(&self, name: &str, letters: &[Letter], settings: &Settings) -> Result<(), StageError> {
        let name = ShortString::from(name);
        for window in letters.chunks(WINDOW) {
            // They are sent in order, because each is sent when it is first asked, and they are asked in order.
            let confirmed = join_all(window.iter().map(|letter| self.publish_one(name.clone(), letter)));
            match timeout(settings.timeout, confirmed).await {
                Ok(confirmed) => confirmed.into_iter().collect::<Result<(), _>>()?,
                Err(_) if self.link.is_blocked() => return Err(blocked()),
                Err(_) => {
                    // What was not sent yet must not be sent after somebody has tried again.
                    self.link.cut();
                    return Err(fault::silent("waiting for confirmations", settings.timeout));
                }
            }
        }
        Ok(())
    }

    async fn publish_one(&self, name: ShortString, letter: &Letter) -> Result<(), StageError> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let body = &letter.message.original;
        let of = |error: lapin::Error| fault::of("publishing a letter", &error);
        let sent = self.channel.basic_publish("".into(), name, options, body, letter::properties(letter)).await.map_err(of)?;
        match sent.await.map_err(of)? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(fault::new("returned", "publishing a letter: the broker has no such queue any more"))
            }
            Confirmation::Nack(None) => Err(fault::new("nacked", "publishing a letter: the broker could not store it")),
            Confirmation::NotRequested => Err(fault::new("client", "publishing a letter: the broker does not confirm")),
        }
    }
}

fn blocked() -> StageError {
    fault::new("blocked", "the broker takes no letters: its memory or its disk runs out")
}

#[async_trait]
impl crate::source::Mailbox for Mailbox {
    async fn put(&self, queue: &SideQueue, letters: &[Letter]) -> Result<(), StageError> {
        if letters.is_empty() {
            return Ok(());
        }
        let name = self.name(queue)?;
        let slot = self.slot(queue);
        let mut slot = timeout(self.settings.timeout, slot.lock()).await.map_err(|_| self.busy())?;
        // Taken out, and put back only after a success: what a failure or a cancelled call leaves on the channel goes with it.
        let outlet = match slot.take().filter(Outlet::is_usable) {
            Some(outlet) => outlet,
            None => self.outlet(queue, &name).await?,
        };
        outlet.publish(&name, letters, &self.settings).await?;
        *slot = Some(outlet);
        Ok(())
    }

    async fn open(&self, queue: &SideQueue) -> Result<Box<dyn Taking>, StageError> {
        let link = Link::open(&self.settings, "tidegate side queues").await?;
        Ok(Box::new(Shelf::new(link, queue.clone(), self.name(queue)?)))
    }
}
