//! Many byte strings in one buffer: how items cross the boundary.

/// Many byte strings in one buffer, because copies decide the cost of a sandboxed step.
///
/// Item `i` is `bytes[ends[i - 1]..ends[i]]`. Build it with [`Packed::push`] or from an iterator and the rules of the boundary hold by
/// themselves; the fields are public so that whoever must can take it apart without copying.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The items, one after the other, nothing between them.
    pub bytes: Vec<u8>,
    /// Where each item ends, in bytes from the start of `bytes`.
    pub ends: Vec<u32>,
}

impl Packed {
    /// No items, and room for `items` of them with `bytes` bytes together.
    #[must_use]
    pub fn with_capacity(items: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(items) }
    }

    /// How many items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Appends an item.
    pub fn push(&mut self, item: &[u8]) {
        self.push_with(|bytes| bytes.extend_from_slice(item));
    }

    /// Appends an item that is written in place. `write` may only append.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(u32::try_from(self.bytes.len()).expect("a component has at most 4 GiB of memory"));
    }

    /// Item `index`, if there are so many.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => 0,
        };
        self.bytes.get(start..end)
    }

    /// The items in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + DoubleEndedIterator {
        // The host checks what it gives: an item outside the buffer does not occur.
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Packed {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut packed = Self::default();
        items.into_iter().for_each(|item| packed.push(item.as_ref()));
        packed
    }
}

#[cfg(test)]
mod tests {
    use super::Packed;

    #[test]
    fn what_is_packed_is_found_again() {
        let items: [&[u8]; 4] = [b"", b"one", b"", b"three"];
        let packed: Packed = items.iter().collect();
        assert_eq!(packed.ends, [0, 3, 3, 8]);
        assert!(packed.iter().eq(items));
        assert_eq!(packed.get(4), None);
    }

    #[test]
    fn a_broken_one_gives_empty_items_instead_of_a_panic() {
        let packed = Packed { bytes: vec![1, 2], ends: vec![2, 1, 9] };
        assert!(packed.iter().eq([&[1u8, 2][..], &[], &[]]));
    }
}
