//! Many byte strings in one buffer: what crosses into a sandbox and back, because copies decide the cost of a step.

use bytes::Bytes;

/// Room in front of a long list that is copied into a sandbox: half a page.
///
/// Allocators have long lists begin where a page does, the host's as the guest's, give or take a few bytes. On AMD's Zen 4 older glibc (2.36 was
/// measured) copies them with an instruction that takes up to 16 times as long where the copy lies 1 to 15 bytes further into its page than the original
/// (<https://sourceware.org/bugzilla/show_bug.cgi?id=30994>).
const LEAD: usize = 2048;

/// Many byte strings in one buffer. Item `i` is `bytes[ends[i - 1]..ends[i]]`, as the WIT says.
#[derive(Clone, Default)]
pub struct Packed {
    buffer: Vec<u8>,
    /// Where the bytes begin in the buffer.
    lead: usize,
    ends: Vec<u32>,
}

/// The items do not fit: together they are longer than 4 GiB - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the items are longer than 4 GiB together")]
pub struct TooLong;

/// How parts break the rules of a packed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An end lies before the one in front of it.
    #[error("`ends` decreases at item {0}")]
    Decreasing(usize),
    /// The last end is not where the bytes end.
    #[error("the last of `ends` is {last}, and there are {bytes} bytes")]
    Length {
        /// The last end, 0 where there is none.
        last: usize,
        /// How many bytes there are.
        bytes: usize,
    },
}

impl Packed {
    /// An empty list with room for that many items and bytes.
    #[must_use]
    pub fn with_capacity(items: usize, bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(bytes), lead: 0, ends: Vec::with_capacity(items) }
    }

    /// Packs items, to be copied into a sandbox.
    ///
    /// # Errors
    /// Fails when they are longer than 4 GiB together.
    pub fn collect<'a>(items: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>) -> Result<Self, TooLong> {
        let items = items.into_iter();
        let bytes: usize = items.clone().map(<[u8]>::len).sum();
        let lead = if bytes < LEAD { 0 } else { LEAD };
        let mut packed = Self { lead, ..Self::with_capacity(items.clone().count(), lead + bytes) };
        packed.buffer.resize(lead, 0);
        for item in items {
            packed.push(item)?;
        }
        Ok(packed)
    }

    /// Takes over what a guest gave, once it keeps the rules.
    ///
    /// # Errors
    /// Says which rule is broken.
    pub fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Result<Self, Malformed> {
        let mut last = 0;
        for (index, &end) in ends.iter().enumerate() {
            if end < last {
                return Err(Malformed::Decreasing(index));
            }
            last = end;
        }
        match last as usize == bytes.len() {
            true => Ok(Self { buffer: bytes, lead: 0, ends }),
            false => Err(Malformed::Length { last: last as usize, bytes: bytes.len() }),
        }
    }

    /// The bytes and the ends.
    #[must_use]
    pub fn into_parts(mut self) -> (Vec<u8>, Vec<u32>) {
        self.buffer.drain(..self.lead);
        (self.buffer, self.ends)
    }

    /// All items, one behind the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.lead..).unwrap_or_default()
    }

    /// Where each item ends.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Adds one item.
    ///
    /// # Errors
    /// Fails, and adds nothing, when all items would be longer than 4 GiB together.
    pub fn push(&mut self, item: &[u8]) -> Result<(), TooLong> {
        self.push_with(|bytes| bytes.extend_from_slice(item))
    }

    /// Adds one item that `write` appends to the buffer; `write` must not shorten it.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLong> {
        let start = self.buffer.len();
        write(&mut self.buffer);
        match u32::try_from(self.byte_len()) {
            Ok(end) => self.ends.push(end),
            Err(_) => {
                self.buffer.truncate(start);
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How long all items are together, in bytes.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes().len()
    }

    /// One item.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let (start, end) = self.bounds(index)?;
        self.bytes().get(start..end)
    }

    /// Every item, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// Every item, as slices of the one buffer: nothing is copied.
    pub fn into_items(self) -> impl ExactSizeIterator<Item = Bytes> {
        let Self { buffer, lead, ends } = self;
        let bytes = Bytes::from(buffer).slice(lead..);
        let mut start = 0;
        ends.into_iter().map(move |end| {
            let item = bytes.slice(start..end as usize);
            start = end as usize;
            item
        })
    }

    /// A copy of some items; those that there are not are left out.
    pub(super) fn slice(&self, run: &std::ops::Range<usize>) -> Self {
        let start = run.start.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let ends: Vec<u32> = self.ends.get(run.clone()).unwrap_or_default().iter().map(|end| end - start).collect();
        let length = ends.last().copied().unwrap_or_default() as usize;
        let start = start as usize;
        Self { buffer: self.bytes().get(start..start + length).unwrap_or_default().to_vec(), lead: 0, ends }
    }

    fn bounds(&self, index: usize) -> Option<(usize, usize)> {
        let end = *self.ends.get(index)? as usize;
        let start = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |&start| start as usize);
        Some((start, end))
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        (self.bytes(), &self.ends) == (other.bytes(), &other.ends)
    }
}

impl Eq for Packed {}

impl std::fmt::Debug for Packed {
    /// Sizes alone: what is packed may be content.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("items", &self.len()).field("bytes", &self.byte_len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_they_went_in() {
        let packed = Packed::collect([b"ab".as_slice(), b"", b"cde"]).unwrap();
        assert_eq!((packed.len(), packed.byte_len()), (3, 5));
        assert_eq!(packed.iter().collect::<Vec<_>>(), [b"ab".as_slice(), b"", b"cde"]);
        assert_eq!((packed.get(2), packed.get(3)), (Some(b"cde".as_slice()), None));
        assert_eq!(packed.into_items().collect::<Vec<_>>(), [&b"ab"[..], b"", b"cde"]);
    }

    #[test]
    fn a_slice_is_a_list_of_its_own() {
        let packed = Packed::collect([b"ab".as_slice(), b"", b"cde", b"f"]).unwrap();
        assert_eq!(packed.slice(&(2..4)), Packed::collect([b"cde".as_slice(), b"f"]).unwrap());
        assert_eq!(packed.slice(&(0..4)), packed);
        assert!(packed.slice(&(1..1)).is_empty());
        assert!(packed.slice(&(3..9)).is_empty());
    }

    #[test]
    fn parts_that_break_the_rules_are_refused() {
        assert_eq!(Packed::from_parts(vec![1, 2, 3], vec![2, 1]), Err(Malformed::Decreasing(1)));
        assert_eq!(Packed::from_parts(vec![1, 2, 3], vec![2]), Err(Malformed::Length { last: 2, bytes: 3 }));
        assert_eq!(Packed::from_parts(vec![1], vec![]), Err(Malformed::Length { last: 0, bytes: 1 }));
        assert_eq!(Packed::from_parts(vec![], vec![9]), Err(Malformed::Length { last: 9, bytes: 0 }));
        assert!(Packed::from_parts(vec![], vec![]).unwrap().is_empty());
    }

    #[test]
    fn a_long_list_has_room_in_front_that_nobody_sees() {
        let (long, short) = (vec![b'x'; LEAD], b"ab".as_slice());
        let packed = Packed::collect([&long[..], short]).unwrap();
        assert_eq!((packed.lead, packed.byte_len(), packed.ends()), (LEAD, LEAD + 2, &[2048, 2050][..]));
        assert_eq!((packed.get(0), packed.get(1)), (Some(&long[..]), Some(short)));
        assert_eq!(packed.slice(&(1..2)), Packed::collect([short]).unwrap());
        let (bytes, ends) = packed.clone().into_parts();
        assert_eq!(bytes, [&long[..], short].concat());
        assert_eq!(Packed::from_parts(bytes, ends).unwrap(), packed);
        assert_eq!(packed.into_items().collect::<Vec<_>>(), [&long[..], short]);
    }

    #[test]
    fn what_is_packed_is_never_printed() {
        assert_eq!(format!("{:?}", Packed::collect([b"secret".as_slice()]).unwrap()), "Packed { items: 1, bytes: 6 }");
    }
}
