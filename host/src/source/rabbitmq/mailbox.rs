//! The side queues: dead letters and parked messages, durable once the broker has confirmed them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation};
use tokio::time::timeout;

use super::declare::{self, Forms};
use super::link::Link;
use super::sifting::Sieve;
use super::taking::Shelf;
use super::{Settings, fault, letter};
use crate::source::{Destination, Letter, SideQueue, Sifting, StageError, Taking};

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
    outlets: Mutex<HashMap<Destination, Slot>>,
}

/// The way to one queue. Whoever puts holds it, because the client library does not say whose message it is that the broker returns.
type Slot = Arc<tokio::sync::Mutex<Option<Outlet>>>;

struct Outlet {
    link: Arc<Link>,
    channel: Channel,
    /// The queue's name at the broker.
    name: ShortString,
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

    fn slot(&self, to: &Destination) -> Slot {
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(outlets.entry(to.clone()).or_default())
    }

    /// Puts letters on a queue, in order; they are durable when this returns.
    pub(super) async fn post(&self, to: &Destination, letters: &[Letter]) -> Result<(), StageError> {
        if letters.is_empty() {
            return Ok(());
        }
        let slot = self.slot(to);
        let mut slot = timeout(self.settings.timeout, slot.lock()).await.map_err(|_| self.busy())?;
        // Taken out, and put back only after a success: what a failure or a cancelled call leaves on the channel goes with it.
        let outlet = match slot.take().filter(Outlet::is_usable) {
            Some(outlet) => outlet,
            None => self.outlet(to).await?,
        };
        outlet.publish(to, letters, &self.settings).await?;
        *slot = Some(outlet);
        Ok(())
    }

    /// A connection of its own, to take letters on.
    pub(super) async fn taking_link(&self) -> Result<Link, StageError> {
        Link::open(&self.settings, "tidegate side queues").await
    }

    /// The forms in which side queues are declared.
    pub(super) fn forms(&self) -> &Forms {
        &self.forms
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

    async fn outlet(&self, to: &Destination) -> Result<Outlet, StageError> {
        let link = self.link().await?;
        let name = match to {
            Destination::Source => self.settings.queue.clone(),
            Destination::Side(queue) => {
                let name = self.name(queue)?;
                self.forms.side_queue(&link, queue, &name).await?;
                name
            }
        };
        let channel = link.channel().await?;
        link.answer("asking for confirmations", channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Outlet { link, channel, name: name.into() })
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
    async fn publish(&self, to: &Destination, letters: &[Letter], settings: &Settings) -> Result<(), StageError> {
        for window in letters.chunks(WINDOW) {
            // They are sent in order, because each is sent when it is first asked, and they are asked in order.
            let confirmed = join_all(window.iter().map(|letter| self.publish_one(to, letter)));
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

    async fn publish_one(&self, to: &Destination, letter: &Letter) -> Result<(), StageError> {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let body = &letter.message.original;
        let of = |error: lapin::Error| fault::of("publishing a letter", &error);
        let properties = letter::properties_for(to, letter);
        let sent = self.channel.basic_publish("".into(), self.name.clone(), options, body, properties).await.map_err(of)?;
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
        self.post(&Destination::Side(queue.clone()), letters).await
    }

    async fn open(&self, queue: &SideQueue) -> Result<Box<dyn Taking>, StageError> {
        Ok(Box::new(Shelf::new(self.taking_link().await?, queue.clone(), self.name(queue)?)))
    }

    async fn has_waiting(&self, queue: &SideQueue) -> Result<bool, StageError> {
        let found = declare::find(&*self.link().await?, &self.name(queue)?).await?;
        Ok(found.is_some_and(|queue| queue.message_count() > 0 && queue.consumer_count() == 0))
    }

    async fn sift(&self, queue: &SideQueue) -> Result<Box<dyn Sifting + '_>, StageError> {
        Ok(Box::new(Sieve::open(self, queue.clone()).await?))
    }
}
