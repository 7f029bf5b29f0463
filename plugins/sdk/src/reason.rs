//! Why something is refused.

/// Why something is refused. It ends up in logs, headers of dead letters and metrics: never put content into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A short stable name to count and filter by: lower case, digits and `_`, 64 characters at most, e.g. `too_long`.
    pub code: String,
    /// One sentence for a person: what was wrong and what was expected. At most 512 bytes are kept.
    pub message: String,
    /// Where in the body, as a JSON pointer (RFC 6901), e.g. `/message/content`. None when it is the body as a whole.
    pub pointer: Option<String>,
}

impl Reason {
    /// A reason about the body, or the settings, as a whole.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), pointer: None }
    }

    /// The same reason, about the value that this JSON pointer names.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

/// A message that will never pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which message, counted from 0 in the order of the batch.
    pub index: u32,
    /// Why.
    pub reason: Reason,
}
