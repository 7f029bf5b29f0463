//! A string of a document: checked when it is scanned, measured and decoded only when asked for.

use std::borrow::Cow;

/// A string of a document. Small, and decoded only when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

impl<'a> Text<'a> {
    /// Scans a string that begins at byte `start` of the document, behind its opening quote. Errors give the place and the cause.
    #[inline]
    pub(super) fn scan(document: &'a str, start: usize) -> Result<Self, (usize, &'static str)> {
        let bytes = document.as_bytes();
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain(bytes.get(at..).unwrap_or_default());
            match bytes.get(at) {
                Some(b'"') => return Ok(Self { raw: document.get(start..at).unwrap_or_default(), escaped }),
                Some(b'\\') => {
                    escaped = true;
                    at += escape(bytes.get(at..).unwrap_or_default()).map_err(|cause| (at, cause))?.0;
                }
                Some(_) => return Err((at, "a control character stands in a string")),
                None => return Err((at, "a string does not end")),
            }
        }
    }

    /// The text between the quotes as it stands in the document, escapes and all.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// What the string means.
    #[must_use]
    #[inline]
    pub fn decoded(&self) -> Cow<'a, str> {
        if self.escaped {
            Cow::Owned(self.pieces().fold(String::with_capacity(self.raw.len()), Piece::append))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// Length of what it means, in bytes of UTF-8. Does not decode.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        if self.escaped { self.pieces().map(|piece| piece.bytes()).sum() } else { self.raw.len() }
    }

    /// Length of what it means, in characters (Unicode scalar values). Does not decode.
    #[must_use]
    pub fn chars(&self) -> usize {
        self.pieces().map(|piece| piece.chars()).sum()
    }

    /// Whether it holds U+0000, which no database stores as text.
    #[must_use]
    #[inline]
    pub fn has_nul(&self) -> bool {
        // A bare U+0000 is a control character, and no string holds one of those: only an escape can stand for it.
        self.escaped && self.pieces().any(|piece| matches!(piece, Piece::Escape('\0')))
    }

    fn pieces(&self) -> Pieces<'a> {
        Pieces(self.raw)
    }
}

/// A part of a string: text as it stands, or one escape.
enum Piece<'a> {
    Plain(&'a str),
    Escape(char),
}

impl Piece<'_> {
    fn bytes(&self) -> usize {
        match self {
            Piece::Plain(text) => text.len(),
            Piece::Escape(char) => char.len_utf8(),
        }
    }

    fn chars(&self) -> usize {
        match self {
            Piece::Plain(text) => text.chars().count(),
            Piece::Escape(_) => 1,
        }
    }

    fn append(mut decoded: String, piece: Self) -> String {
        match piece {
            Piece::Plain(text) => decoded.push_str(text),
            Piece::Escape(char) => decoded.push(char),
        }
        decoded
    }
}

/// The parts of a string that was scanned.
struct Pieces<'a>(&'a str);

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let (piece, length) = match self.0.find('\\') {
            None if self.0.is_empty() => return None,
            None => (Piece::Plain(self.0), self.0.len()),
            Some(0) => {
                let (length, char) = escape(self.0.as_bytes()).expect("the string was scanned");
                (Piece::Escape(char), length)
            }
            Some(at) => (Piece::Plain(self.0.get(..at).unwrap_or_default()), at),
        };
        self.0 = self.0.get(length..).unwrap_or_default();
        Some(piece)
    }
}

/// How many bytes come before the next quote, backslash or control character. Eight at a time: strings are most of a document.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let special = special(u64::from_le_bytes(*word));
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = behind;
    }
    let tail = rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
    bytes.len() - rest.len() + tail
}

/// The high bit of each byte that is special; exact up to and including the lowest one.
#[inline]
fn special(word: u64) -> u64 {
    // What is below 0x21 then are the control characters and, with bit 1 turned over, the quote; the space and the `!` change places with others.
    let turned = word ^ (ONES * 2);
    let quote_or_control = turned.wrapping_sub(ONES * 0x21) & !turned;
    let slashed = word ^ (ONES * b'\\' as u64);
    let backslash = slashed.wrapping_sub(ONES) & !slashed;
    (quote_or_control | backslash) & HIGHS
}

/// The escape that these bytes begin with: how long it is, and the character it stands for.
fn escape(bytes: &[u8]) -> Result<(usize, char), &'static str> {
    let char = match bytes.get(1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode(bytes),
        _ => return Err("an escape that JSON does not know"),
    };
    Ok((2, char))
}

fn unicode(bytes: &[u8]) -> Result<(usize, char), &'static str> {
    const LONE: &str = "a lone surrogate";
    let high = hex(bytes.get(2..6)).ok_or("`\\u` wants four hexadecimal digits")?;
    if let Some(char) = char::from_u32(high) {
        return Ok((6, char));
    }
    let low = match bytes.get(6..8) {
        Some(b"\\u") => hex(bytes.get(8..12)).ok_or("`\\u` wants four hexadecimal digits")?,
        _ => return Err(LONE),
    };
    if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
        return Err(LONE);
    }
    let char = char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(LONE)?;
    Ok((12, char))
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    digits?.iter().try_fold(0, |value, &digit| Some(value * 16 + char::from(digit).to_digit(16)?))
}
