//! A message as a step sees it, and the batch it comes in.

use crate::packed::Packed;

/// One metadata key, for every message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The key, one of those that `READS` asked for.
    pub key: String,
    /// Item `i` belongs to message `i`. A message without the key has an empty item.
    pub values: Packed,
}

/// The messages of one call, in the order in which the source gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The bodies. Nothing about them has been checked.
    pub bodies: Packed,
    /// One column for each key of `READS`, in that order.
    pub metadata: Vec<Column>,
}

impl Batch {
    /// The messages in order.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        self.bodies.iter().enumerate().map(|(index, body)| Message { body, metadata: &self.metadata, index })
    }
}

/// One message. Nothing about its body has been checked: it may be empty, huge, or not text at all.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The body as the source, or the step before, gave it.
    pub body: &'a [u8],
    metadata: &'a [Column],
    index: usize,
}

impl<'a> Message<'a> {
    /// A metadata value, e.g. of `message-id` or `header:tenant`. None where the message does not carry it, where it is empty, and where
    /// the step's `READS` does not list the key.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&'a [u8]> {
        let column = self.metadata.iter().find(|column| column.key == key)?;
        column.values.get(self.index).filter(|value| !value.is_empty())
    }

    /// The same value as text; none where it is not UTF-8.
    #[must_use]
    pub fn metadata_text(&self, key: &str) -> Option<&'a str> {
        std::str::from_utf8(self.metadata(key)?).ok()
    }
}
