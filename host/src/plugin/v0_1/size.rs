//! How many bytes a value of line 0.1 copies over the boundary: contents and lengths of lists, not what points to them.

use super::bindings::exports::tidegate::plugin::{sealing, transformation};
use super::bindings::tidegate::plugin::{crypto, types};

/// Bytes of a number that stands in a list.
const NUMBER: usize = size_of::<u32>();

/// What crosses the boundary.
pub(super) trait Size {
    /// In bytes.
    fn size(&self) -> usize;
}

impl Size for types::PackedParam<'_> {
    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * NUMBER
    }
}

impl Size for types::PackedResult {
    fn size(&self) -> usize {
        self.bytes.len() + self.ends.len() * NUMBER
    }
}

impl Size for types::Batch<'_> {
    fn size(&self) -> usize {
        self.bodies.size() + self.metadata.iter().map(|column| column.key.len() + column.values.size()).sum::<usize>()
    }
}

impl Size for types::Reason {
    fn size(&self) -> usize {
        self.code.len() + self.message.len() + self.pointer.as_ref().map_or(0, String::len)
    }
}

impl Size for types::Rejection {
    fn size(&self) -> usize {
        NUMBER + self.reason.size()
    }
}

impl Size for transformation::Verdict {
    fn size(&self) -> usize {
        let fate = match &self.fate {
            transformation::Fate::Reject(reason) => reason.size(),
            transformation::Fate::RetryAfter(_) => NUMBER,
            transformation::Fate::Drop => 0,
        };
        NUMBER + fate
    }
}

impl Size for transformation::Answer {
    fn size(&self) -> usize {
        self.replaced.len() * NUMBER + self.bodies.size() + self.verdicts.size()
    }
}

impl Size for sealing::Opening {
    fn size(&self) -> usize {
        self.plain.size() + self.rejected.size()
    }
}

impl Size for crypto::Opened {
    fn size(&self) -> usize {
        self.items.size() + self.failed.len() * NUMBER
    }
}

impl<T: Size> Size for Vec<T> {
    fn size(&self) -> usize {
        self.iter().map(Size::size).sum()
    }
}

impl<T: Size, E> Size for Result<T, E> {
    /// A call that is refused as a whole copies a few bytes, which are not counted.
    fn size(&self) -> usize {
        self.as_ref().map_or(0, Size::size)
    }
}

impl<T: Size, const N: usize> Size for [T; N] {
    fn size(&self) -> usize {
        self.iter().map(Size::size).sum()
    }
}
