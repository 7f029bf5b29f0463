//! The name of a key within its ring, which every sealed value carries.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Id of a key: 1 to 32 characters of `a-z`, `A-Z`, `0-9`, `-` and `_`, so that it can stand between the dots of a sealed value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// A text is no key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key id has 1 to 32 characters of a-z, A-Z, 0-9, `-` and `_`")]
pub struct KeyIdError;

impl KeyId {
    /// Longest id, in bytes.
    pub const MAX_BYTES: usize = 32;

    /// An id.
    ///
    /// # Errors
    /// Fails when the text breaks the grammar.
    pub fn new(text: &str) -> Result<Self, KeyIdError> {
        if Self::fits(text) { Ok(Self(text.into())) } else { Err(KeyIdError) }
    }

    /// Whether the text could be an id.
    #[must_use]
    pub fn fits(text: &str) -> bool {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed)
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a shared text, as [`crate::message::SealedField`] holds it. Copies nothing.
    #[must_use]
    pub fn to_shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl Deref for KeyId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for KeyId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_stand_between_dots_is_an_id() {
        let longest = "a".repeat(32);
        for good in ["k", "2025-01_A", "-", longest.as_str()] {
            assert_eq!(KeyId::new(good).map(|id| id.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(33);
        for bad in ["", "a.b", "a b", "schlüssel", "k\n", "k/", too_long.as_str()] {
            assert_eq!(KeyId::new(bad), Err(KeyIdError), "{bad:?}");
        }
    }
}
