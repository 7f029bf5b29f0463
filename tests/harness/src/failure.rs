//! What went wrong, in words for a person.

use std::fmt;

/// A failure of the surroundings: a program that is missing, a server that does not come up, an answer that does not come.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

/// What everything here gives.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure that says this.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tests `expect` these: the text must stay readable.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Says what was being done when an error came.
pub trait While<T> {
    /// # Errors
    /// Fails with what failed, `doing` before it.
    fn doing(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> While<T> for std::result::Result<T, E> {
    fn doing(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{doing}: {error}")))
    }
}
