//! A string of a document: checked when it is scanned, measured and decoded only when asked for.

use std::borrow::Cow;

use super::str_of;
use super::window::Window;

/// A string of a document. Small, and decoded only when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// UTF-8, because the whole document is.
    raw: &'a [u8],
    /// How many bytes come before the first escape: all of them where there is none.
    plain: usize,
}

impl<'a> Text<'a> {
    /// A string with these bytes between its quotes, so many of them before the first escape.
    #[inline]
    pub(super) fn new(raw: &'a [u8], plain: usize) -> Self {
        Self { raw, plain }
    }

    /// The text between the quotes as it stands in the document, escapes and all.
    #[must_use]
    #[inline]
    pub fn raw(&self) -> &'a str {
        str_of(self.raw)
    }

    /// The same as bytes, which costs nothing.
    #[must_use]
    #[inline]
    pub fn raw_bytes(&self) -> &'a [u8] {
        self.raw
    }

    /// What it means, where nothing of it is escaped.
    #[must_use]
    #[inline]
    pub fn plain(&self) -> Option<&'a [u8]> {
        if self.is_escaped() { None } else { Some(self.raw) }
    }

    /// Whether it means this text. Decodes only what has escapes, and is cheapest where the text is a constant.
    #[must_use]
    #[inline]
    pub fn is(&self, text: &str) -> bool {
        if self.is_escaped() { decodes_to(self.raw, text) } else { self.raw == text.as_bytes() }
    }

    /// What the string means.
    #[must_use]
    #[inline]
    pub fn decoded(&self) -> Cow<'a, str> {
        if self.is_escaped() {
            Cow::Owned(self.pieces().fold(String::with_capacity(self.raw.len()), Piece::append))
        } else {
            Cow::Borrowed(self.raw())
        }
    }

    /// Length of what it means, in bytes of UTF-8. Does not decode.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        if self.is_escaped() { self.decoded_bytes() } else { self.raw.len() }
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
        self.is_escaped() && self.has_escaped_nul()
    }

    #[inline(never)]
    fn decoded_bytes(&self) -> usize {
        self.pieces().map(|piece| piece.bytes()).sum()
    }

    #[inline(never)]
    fn has_escaped_nul(&self) -> bool {
        self.pieces().any(|piece| matches!(piece, Piece::Escape('\0')))
    }

    #[inline]
    fn is_escaped(&self) -> bool {
        self.plain < self.raw.len()
    }

    fn pieces(&self) -> Pieces<'a> {
        Pieces(self.raw())
    }
}

/// Where a string ends that has something special at byte `at` of the document, as `window` has found it. Errors give the place and the cause.
pub(super) fn end(document: &[u8], window: &mut Window, mut at: usize) -> Result<usize, (usize, &'static str)> {
    loop {
        match document.get(at) {
            Some(b'"') => return Ok(at),
            Some(b'\\') => at += escape(document.get(at..).unwrap_or_default()).map_err(|cause| (at, cause))?.0,
            Some(_) => return Err((at, "a control character stands in a string")),
            None => return Err((at, "a string does not end")),
        }
        at = window.special(document, at);
    }
}

/// Not inlined: hardly any key is escaped, and every comparison would carry a decoder.
#[inline(never)]
fn decodes_to(raw: &[u8], text: &str) -> bool {
    *Text { raw, plain: 0 }.decoded() == *text
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
