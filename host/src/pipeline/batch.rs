//! Messages that a sink must answer for.

use std::time::Duration;

use tokio::time::sleep;

use super::carry::Stepped;
use crate::delivery::{Delivery, Duty};
use crate::message::Message;

/// How often one that waits looks at how full the window is.
const PRESSING: Duration = Duration::from_millis(50);

/// Messages in order, as a sink takes them, and apart from them the duty to answer for each.
pub(super) struct Batch {
    /// What is written.
    pub(super) messages: Vec<Message>,
    /// One for each message.
    pub(super) duties: Vec<Duty>,
    /// The generation that they were stepped by.
    pub(super) generation: u64,
}

impl From<Stepped> for Batch {
    fn from(Stepped { deliveries, generation }: Stepped) -> Self {
        let (messages, duties) = deliveries.into_iter().map(Delivery::into_parts).unzip();
        Self { messages, duties, generation }
    }
}

impl Batch {
    /// Its messages and duties together again.
    pub(super) fn into_deliveries(self) -> Vec<Delivery> {
        self.messages.into_iter().zip(self.duties).map(|(message, duty)| Delivery::from_parts(message, duty)).collect()
    }
}

/// Whether the window has little room left.
pub(super) fn is_pressing(duties: &[Duty]) -> bool {
    duties.first().is_some_and(Duty::is_pressing)
}

/// Waits until it has.
pub(super) async fn pressing(duties: &[Duty]) {
    while !is_pressing(duties) {
        sleep(PRESSING).await;
    }
}
