//! Where strings end: the quotes, backslashes and control characters of a document, found 64 bytes at a time.

/// Bytes that one look takes in.
const WIDTH: usize = u64::BITS as usize;

/// What stands in 64 bytes of a document, from one look at them. A fresh one has seen nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    start: usize,
    /// Bit `i` is set where byte `start + i` is a quote, a backslash or a control character.
    special: u64,
}

impl Window {
    /// Where the first such byte stands, from `at` on; the document's end where there is none.
    #[inline]
    pub(super) fn special(&mut self, document: &[u8], at: usize) -> usize {
        self.within(at).unwrap_or_else(|| self.beyond(document, at))
    }

    #[inline]
    fn within(self, at: usize) -> Option<usize> {
        let passed = at.wrapping_sub(self.start);
        if passed >= WIDTH {
            return None;
        }
        let special = self.special >> passed;
        (special != 0).then(|| at + special.trailing_zeros() as usize)
    }

    /// Moves on. Not inlined: a short string seldom needs it.
    #[inline(never)]
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn beyond(&mut self, document: &[u8], mut at: usize) -> usize {
        while at < document.len() {
            *self = Self::over(document, at);
            match self.within(at) {
                Some(place) => return place,
                None => at = self.start + WIDTH,
            }
        }
        document.len()
    }

    /// A window with `at` in it. Near the document's end it begins before `at`, so that all of it is document.
    #[cfg_attr(target_arch = "wasm32", target_feature(enable = "simd128"))]
    fn over(document: &[u8], at: usize) -> Self {
        if let Some(block) = document.get(at..).and_then(<[u8]>::first_chunk) {
            return Self { start: at, special: lanes::special(block) };
        }
        match document.last_chunk() {
            Some(block) => Self { start: document.len() - WIDTH, special: lanes::special(block) },
            None => Self { start: 0, special: lanes::special(&padded(document)) },
        }
    }
}

/// A document that is shorter than a window, with spaces behind it.
fn padded(document: &[u8]) -> [u8; WIDTH] {
    let mut block = [b' '; WIDTH];
    block.iter_mut().zip(document).for_each(|(to, from)| *to = *from);
    block
}

/// Whether all of it is ASCII.
pub(super) fn is_ascii(document: &[u8]) -> bool {
    match document.last_chunk() {
        Some(last) => lanes::is_ascii(document.as_chunks().0, last),
        None => document.is_ascii(),
    }
}

/// Sixteen bytes an instruction. Every host has these instructions: they are part of WebAssembly.
#[cfg(target_arch = "wasm32")]
mod lanes {
    use std::arch::wasm32::{i8x16_lt, i8x16_splat, u8x16_bitmask, u8x16_eq, u8x16_splat, u64x2, v128, v128_or, v128_xor};

    use super::WIDTH;

    /// One bit a byte: whether it is a quote, a backslash or a control character.
    #[target_feature(enable = "simd128")]
    pub(super) fn special(block: &[u8; WIDTH]) -> u64 {
        // With bits 1 and 7 turned over, the quote and the control characters are the least of all, compared with their sign, which is one
        // instruction of most machines where a comparison without it is three.
        let (turn, limit, backslash) = (u8x16_splat(0x82), i8x16_splat(-0x5f), u8x16_splat(b'\\'));
        block.as_chunks().0.iter().rev().fold(0, |bits, bytes| {
            let bytes = vector(bytes);
            let special = v128_or(i8x16_lt(v128_xor(bytes, turn), limit), u8x16_eq(bytes, backslash));
            bits << 16 | u64::from(u8x16_bitmask(special))
        })
    }

    /// Whether blocks, and one more that may overlap them, are ASCII.
    #[target_feature(enable = "simd128")]
    pub(super) fn is_ascii(blocks: &[[u8; WIDTH]], last: &[u8; WIDTH]) -> bool {
        let all = blocks.iter().fold(any(last), |all, block| v128_or(all, any(block)));
        u8x16_bitmask(all) == 0
    }

    #[target_feature(enable = "simd128")]
    fn any(block: &[u8; WIDTH]) -> v128 {
        block.as_chunks().0.iter().fold(u8x16_splat(0), |all, bytes| v128_or(all, vector(bytes)))
    }

    /// Compiles to one load.
    #[target_feature(enable = "simd128")]
    fn vector(bytes: &[u8; 16]) -> v128 {
        let bits = u128::from_le_bytes(*bytes);
        u64x2(bits as u64, (bits >> 64) as u64)
    }
}

/// Eight bytes at a time, for the unit tests of plugins and whoever else runs them outside a component.
#[cfg(not(target_arch = "wasm32"))]
mod lanes {
    use super::WIDTH;

    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;

    /// One bit a byte: whether it is a quote, a backslash or a control character.
    pub(super) fn special(block: &[u8; WIDTH]) -> u64 {
        let words = block.as_chunks().0;
        words.iter().rev().fold(0, |bits, word| bits << 8 | gathered(special_highs(u64::from_le_bytes(*word))))
    }

    /// Whether blocks, and one more that may overlap them, are ASCII.
    pub(super) fn is_ascii(blocks: &[[u8; WIDTH]], last: &[u8; WIDTH]) -> bool {
        blocks.as_flattened().is_ascii() && last.is_ascii()
    }

    /// The high bit of each byte that is special.
    fn special_highs(word: u64) -> u64 {
        // With bit 1 turned over, the quote and the control characters are what is below 0x21; the space and the `!` change places with others.
        let quote_or_control = at_least(word ^ (ONES * 2), 0x21);
        let backslash = at_least(word ^ (ONES * b'\\' as u64), 1);
        !(quote_or_control & backslash) & HIGHS
    }

    /// The high bit of each byte that is so much or more. Nothing carries from byte to byte.
    fn at_least(word: u64, limit: u64) -> u64 {
        ((word & !HIGHS) + ONES * (0x80 - limit)) | word
    }

    /// The high bits of the bytes, side by side.
    fn gathered(highs: u64) -> u64 {
        (highs >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

#[cfg(test)]
mod tests {
    use super::{Window, is_ascii};

    #[test]
    fn a_window_finds_what_a_loop_finds() {
        // Every byte, at every place of a word and of a window, next to every kind of neighbour that borrows or carries could disturb.
        let bytes: Vec<u8> = (0..4000_u32).map(|index| (index * index % 251 + index / 256) as u8).collect();
        for document in bytes.windows(67).chain(bytes.windows(9)) {
            let mut window = Window::default();
            for at in 0..=document.len() {
                let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
                let expected = at + document[at..].iter().take_while(|byte| !special(byte)).count();
                assert_eq!(window.special(document, at), expected, "{at} of {document:?}");
            }
        }
    }

    #[test]
    fn ascii_is_told_from_the_rest_wherever_that_stands() {
        for length in 0..200 {
            let mut document = vec![b'x'; length];
            assert!(is_ascii(&document));
            for at in 0..length {
                document[at] = 0x80;
                assert!(!is_ascii(&document), "{at} of {length}");
                document[at] = b'x';
            }
        }
    }
}
