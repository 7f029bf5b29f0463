//! The mailbox of whichever source the pipeline has now.

use std::sync::{Arc, PoisonError, RwLock};

use crate::source::Mailbox;

/// Shared by all who put letters into side queues, and by those who empty them.
#[derive(Clone)]
pub(super) struct Postbox {
    current: Arc<RwLock<Current>>,
}

struct Current {
    mailbox: Arc<dyn Mailbox>,
    number: u64,
}

impl Postbox {
    #[must_use]
    pub(super) fn new(mailbox: Arc<dyn Mailbox>) -> Self {
        Self { current: Arc::new(RwLock::new(Current { mailbox, number: 0 })) }
    }

    /// The mailbox.
    #[must_use]
    pub(super) fn mailbox(&self) -> Arc<dyn Mailbox> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).mailbox)
    }

    /// Which mailbox it is: another number with each that was put in place.
    #[must_use]
    pub(super) fn number(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Puts another mailbox in place.
    pub(super) fn replace(&self, mailbox: Arc<dyn Mailbox>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Current { mailbox, number: current.number + 1 };
    }
}
