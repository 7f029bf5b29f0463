//! Messages on their way into a sandbox: packed once a call, cut where they would not fit.

use std::borrow::Borrow;
use std::ops::Range;

use super::packed::{Packed, TooLong};
use crate::message::Message;

/// What one call gets.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bodies: Packed,
    /// One column for each key that the step reads, in the order of its manifest.
    pub(super) metadata: Vec<(String, Packed)>,
}

impl Batch {
    /// Packs the messages and the metadata that the step reads.
    pub(super) fn pack<M: Borrow<Message>>(messages: &[M], reads: &[String]) -> Result<Self, TooLong> {
        let bodies = Packed::collect(messages.iter().map(|message| &*message.borrow().body))?;
        let metadata = reads.iter().map(|key| Ok((key.clone(), column(messages, key)?))).collect::<Result<_, TooLong>>()?;
        Ok(Self { bodies, metadata })
    }
}

/// One key of every message. The id that the pipeline settled on stands in for a `message-id` that the source did not give.
fn column<M: Borrow<Message>>(messages: &[M], key: &str) -> Result<Packed, TooLong> {
    let mut values = Packed::with_capacity(messages.len(), 0);
    for message in messages.iter().map(Borrow::borrow) {
        match (message.properties.get(key), &message.id) {
            (Some(value), _) => values.push(value.as_bytes())?,
            (None, Some(id)) if key == "message-id" => values.push(id.as_str().as_bytes())?,
            (None, _) => values.push(b"")?,
        }
    }
    Ok(values)
}

/// Cuts items into runs of at most `max_bytes`, each of at least one item: a batch that cannot fit is not tried.
pub(super) fn cut(sizes: impl Iterator<Item = usize>, max_bytes: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0_usize;
    for (index, size) in sizes.enumerate() {
        bytes = bytes.saturating_add(size);
        match runs.last_mut() {
            Some(run) if bytes <= max_bytes => run.end = index + 1,
            _ => {
                runs.push(index..index + 1);
                bytes = size;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::*;
    use crate::message::{MessageId, NoProperties, Properties};

    #[derive(Debug)]
    struct Tenant;

    impl Properties for Tenant {
        fn get(&self, key: &str) -> Option<Cow<'_, str>> {
            (key == "header:tenant").then_some(Cow::Borrowed("blue"))
        }
    }

    #[test]
    fn a_batch_is_cut_where_it_would_not_fit() {
        assert_eq!(cut([4, 4, 4, 20, 1].into_iter(), 10), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(cut([1, 1, 11].into_iter(), 10), [0..2, 2..3]);
        assert_eq!(cut([usize::MAX, usize::MAX].into_iter(), 10), [0..1, 1..2]);
        assert!(cut([].into_iter(), 10).is_empty());
    }

    #[test]
    fn only_the_metadata_that_is_read_is_packed() {
        let id = MessageId::new("m-1");
        let messages =
            [Message::new(id, "one".into(), Arc::new(NoProperties)), Message::new(None, "two".into(), Arc::new(Tenant))];
        let batch = Batch::pack(&messages, &["message-id".to_owned(), "header:tenant".to_owned()]).unwrap();
        assert_eq!(batch.bodies.iter().collect::<Vec<_>>(), [b"one", b"two"]);
        let columns: Vec<_> =
            batch.metadata.iter().map(|(key, values)| (key.as_str(), values.iter().collect::<Vec<_>>())).collect();
        assert_eq!(columns, [("message-id", vec![b"m-1".as_slice(), b""]), ("header:tenant", vec![b"".as_slice(), b"blue"])]);
    }
}
