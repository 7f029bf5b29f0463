//! A string of a document, measured as it is scanned, decoded only when asked for.

use std::borrow::Cow;

/// A string of a document. Knows its decoded length without decoding.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a str,
    escapes: Escapes,
}

/// What the escapes of a string come to.
#[derive(Clone, Copy, Debug, Default)]
struct Escapes {
    /// Bytes that they take in the document.
    raw_bytes: usize,
    /// Bytes of UTF-8 that they stand for.
    bytes: usize,
    /// Characters that they stand for.
    chars: usize,
    /// Whether one stands for U+0000.
    nul: bool,
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = ONES << 7;

impl<'a> Text<'a> {
    /// Scans a string from behind its opening quote; the text begins there and need not end with the string. Errors give the
    /// offset and the cause.
    pub(super) fn scan(text: &'a str) -> Result<Self, (usize, &'static str)> {
        let mut at = 0;
        let mut escapes = Escapes::default();
        loop {
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            at += plain(rest);
            match text.as_bytes().get(at) {
                Some(b'"') => return Ok(Self { raw: text.get(..at).unwrap_or_default(), escapes }),
                Some(b'\\') => {
                    let (length, char) = escape(text.as_bytes().get(at..).unwrap_or_default()).map_err(|cause| (at, cause))?;
                    escapes.add(length, char);
                    at += length;
                }
                Some(_) => return Err((at, "a control character stands in a string")),
                None => return Err((at, "a string does not end")),
            }
        }
    }

    /// The text between the quotes as it stands in the document, escapes and all.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// What the string means.
    #[must_use]
    pub fn decoded(&self) -> Cow<'a, str> {
        if self.escapes.raw_bytes == 0 { Cow::Borrowed(self.raw) } else { Cow::Owned(self.unescape()) }
    }

    /// Length of what it means, in bytes of UTF-8.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.raw.len() - self.escapes.raw_bytes + self.escapes.bytes
    }

    /// Length of what it means, in characters (Unicode scalar values).
    #[must_use]
    pub fn chars(&self) -> usize {
        self.raw.chars().count() - self.escapes.raw_bytes + self.escapes.chars
    }

    /// Whether it holds U+0000, which no database stores as text.
    #[must_use]
    pub fn has_nul(&self) -> bool {
        self.escapes.nul
    }

    fn unescape(&self) -> String {
        let mut decoded = String::with_capacity(self.bytes());
        let mut rest = self.raw;
        while let Some(at) = rest.find('\\') {
            let (plain, escaped) = rest.split_at(at);
            let (length, char) = escape(escaped.as_bytes()).expect("the string was scanned");
            decoded.push_str(plain);
            decoded.push(char);
            rest = escaped.get(length..).unwrap_or_default();
        }
        decoded.push_str(rest);
        decoded
    }
}

impl Escapes {
    fn add(&mut self, length: usize, char: char) {
        self.raw_bytes += length;
        self.bytes += char.len_utf8();
        self.chars += 1;
        self.nul |= char == '\0';
    }
}

/// How many bytes come before the next quote, backslash or control character. Eight at a time: strings are most of a document.
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
fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
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
