//! Which fields of a body are sealed.

use std::ops::Deref;
use std::sync::Arc;

use super::Pointer;

/// A field that the host itself saw sealed. What a message says of itself is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedField {
    /// Where in the body.
    pub pointer: Pointer,
    /// The key that sealed it.
    pub key_id: Arc<str>,
}

/// The sealed fields of a body, in the order in which they were sealed. Shared: messages that are sealed together have the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seals(Option<Arc<[SealedField]>>);

impl Seals {
    /// Adds a field.
    pub fn push(&mut self, field: SealedField) {
        self.0 = Some(self.iter().cloned().chain([field]).collect());
    }

    /// Whether both are one list, or none.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.0.as_ref().map(Arc::as_ptr) == other.0.as_ref().map(Arc::as_ptr)
    }
}

impl Deref for Seals {
    type Target = [SealedField];

    fn deref(&self) -> &[SealedField] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_more_makes_a_list_of_its_own() {
        let field = |pointer: &str| SealedField { pointer: pointer.parse().expect("a pointer"), key_id: "k1".into() };
        let none = Seals::default();
        assert!(none.is_empty() && none.is_same_as(&Seals::default()));
        let mut one = none.clone();
        one.push(field("/a"));
        let mut two = one.clone();
        assert!(two.is_same_as(&one) && !two.is_same_as(&none));
        two.push(field("/b"));
        assert_eq!((&one[..], &two[..]), (&[field("/a")][..], &[field("/a"), field("/b")][..]));
        assert!(!two.is_same_as(&one));
    }
}
