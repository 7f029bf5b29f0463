//! What the export macros expand to, kept out of them. Not part of the SDK's promise.

use std::cell::RefCell;
use std::sync::Once;

use crate::reason::Reason;

/// Where the one step of an instance lives between calls.
#[derive(Debug)]
pub struct Slot<T>(RefCell<Option<T>>);

impl<T> Slot<T> {
    /// Nothing configured yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a thread-local needs it const, which Default is not")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Keeps the step, if there is one.
    ///
    /// # Errors
    /// What `step` says.
    pub fn configure(&self, step: Result<T, Reason>) -> Result<(), Reason> {
        self.0.replace(Some(step?));
        Ok(())
    }

    /// Calls the step.
    pub fn with<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        call(self.0.borrow().as_ref().expect("the host configures an instance before it calls it"))
    }
}

/// Lets a panic say where it happened before it traps.
///
/// Its text is kept only where it is a literal of the program: a formatted one may hold content of a message.
pub fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            let text =
                panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("its text may hold content and is withheld");
            match panic.location() {
                Some(place) => crate::log::error(&format!("panicked at {place}: {text}")),
                None => crate::log::error(&format!("panicked: {text}")),
            }
        }));
    });
}
