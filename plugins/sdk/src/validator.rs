//! A step that says yes or no.

use crate::manifest::Manifest;
use crate::message::{Batch, Message};
use crate::reason::{Reason, Rejection};
use crate::settings::{self, Settings};

/// A step that says yes or no. It cannot change a message.
///
/// Export it with [`validator!`](crate::validator!).
pub trait Validator: Sized + 'static {
    /// Its name: lower case, digits and `-`, e.g. `validate-message`.
    const NAME: &'static str;
    /// Its version, by Semantic Versioning: `env!("CARGO_PKG_VERSION")`.
    const VERSION: &'static str;
    /// One sentence on what it does.
    const DESCRIPTION: &'static str;
    /// The metadata keys it wants to see, e.g. `&["message-id", "header:tenant"]`. What is not listed is not copied. Default: none.
    const READS: &'static [&'static str] = &[];

    /// Its settings; [`NoSettings`](crate::NoSettings) where it has none.
    type Settings: Settings;

    /// Makes it ready. Called once on each instance, before the first message. Several instances exist at a time and each may be
    /// replaced at any moment: keep nothing in memory that has to outlive a call.
    ///
    /// # Errors
    /// Settings that do not go together. The pipeline's start, or the swap, is refused with this reason.
    fn configure(settings: Self::Settings) -> Result<Self, Reason>;

    /// Says whether a message may pass.
    ///
    /// # Errors
    /// Why it must not. The host dead-letters it with this reason, whose text must not hold content.
    fn validate(&self, message: &Message<'_>) -> Result<(), Reason>;

    /// Decides on a batch: names the messages that must not pass, by ascending index. Only worth overriding where messages are
    /// cheaper to look at together.
    fn validate_batch(&self, batch: &Batch) -> Vec<Rejection> {
        (0..)
            .zip(batch.messages())
            .filter_map(|(index, message)| Some(Rejection { index, reason: self.validate(&message).err()? }))
            .collect()
    }

    /// What the host is told. Not to be overridden.
    fn manifest() -> Manifest {
        Manifest::of::<Self::Settings>(Self::NAME, Self::VERSION, Self::DESCRIPTION, Self::READS)
    }

    /// Makes it ready from the JSON text that the host gives. Not to be overridden.
    ///
    /// # Errors
    /// The setting that is wrong, by its pointer, or what [`Validator::configure`] says.
    fn from_settings(json: &str) -> Result<Self, Reason> {
        Self::configure(settings::read(json)?)
    }
}
