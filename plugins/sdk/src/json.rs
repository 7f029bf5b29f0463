//! Strict JSON without a tree: a scanner that checks a document (RFC 8259) as it walks it, allocates nothing, and hands out what the step
//! asks for.
//!
//! Strict means: UTF-8, no trailing garbage, no comments, no lone surrogates, no control characters in strings, nesting up to a limit that
//! holds in what is skipped too. A UTF-8 byte order mark before the document is accepted.
//!
//! ```
//! use tidegate_plugin::json::{Problem, Scanner};
//!
//! fn name_length(body: &[u8]) -> Result<usize, Problem> {
//!     let mut scanner = Scanner::new(body, 32)?;
//!     let mut length = 0;
//!     scanner.object(|scanner, key| {
//!         if key.is("name") { scanner.string().map(|name| length = name.chars()) } else { scanner.pass() }
//!     })?;
//!     scanner.end()?;
//!     Ok(length)
//! }
//! assert_eq!(name_length(br#"{"age": 7, "name": "J\u00f6rg"}"#), Ok(4));
//! assert!(name_length(br#"{"name": "Ada",}"#).is_err());
//! ```

mod text;
mod window;

pub use text::Text;

use std::fmt;

use window::Window;

use crate::reason::Reason;

/// What a value is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// Why a document is refused. Says where, never what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not JSON.
    NotJson {
        /// How many bytes before the place are fine.
        at: usize,
        /// What should stand there, or what is wrong.
        cause: &'static str,
    },
    /// It nests deeper than allowed.
    TooDeep {
        /// The deepest nesting that is allowed; the outermost array or object counts as 1.
        limit: u32,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { at, cause } => write!(f, "not JSON at byte {at}: {cause}"),
            Self::TooDeep { limit } => write!(f, "arrays and objects nest deeper than {limit}"),
        }
    }
}

impl From<Problem> for Reason {
    fn from(problem: Problem) -> Self {
        let code = match problem {
            Problem::NotJson { .. } => "not_json",
            Problem::TooDeep { .. } => "too_deep",
        };
        Self::new(code, problem.to_string())
    }
}

/// Walks one document from front to back.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    /// UTF-8.
    document: &'a [u8],
    at: usize,
    window: Window,
    mark: usize,
    depth: u32,
    limit: u32,
}

impl<'a> Scanner<'a> {
    /// A scanner before the document's value. `limit` is the deepest nesting that is allowed.
    ///
    /// # Errors
    /// The body is not UTF-8.
    #[inline]
    pub fn new(body: &'a [u8], limit: u32) -> Result<Self, Problem> {
        if !window::is_ascii(body) {
            std::str::from_utf8(body).map_err(|error| Problem::NotJson { at: error.valid_up_to(), cause: "not UTF-8" })?;
        }
        let document = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        Ok(Self { document, at: 0, window: Window::default(), mark: body.len() - document.len(), depth: 0, limit })
    }

    /// What the next value is.
    ///
    /// # Errors
    /// No value begins here.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, Problem> {
        match self.peek() {
            b'"' => Ok(Kind::String),
            b'{' => Ok(Kind::Object),
            other => self.rarer_kind(other),
        }
    }

    /// Not inlined: two comparisons cost less than a jump by a table, and most values are strings or objects.
    #[inline(never)]
    fn rarer_kind(&self, byte: u8) -> Result<Kind, Problem> {
        match byte {
            b'[' => Ok(Kind::Array),
            b'-' | b'0'..=b'9' => Ok(Kind::Number),
            b't' | b'f' => Ok(Kind::Bool),
            b'n' => Ok(Kind::Null),
            _ if self.at < self.document.len() => self.fail("expected a value"),
            _ => self.fail("the document ends where a value is expected"),
        }
    }

    /// Takes a string.
    ///
    /// # Errors
    /// There is none, or it is not well-formed.
    #[inline(always)]
    pub fn string(&mut self) -> Result<Text<'a>, Problem> {
        if self.peek() == b'"' { self.quoted() } else { self.fail("expected a string") }
    }

    /// Takes the next value if it is a string, and nothing if it is something else.
    ///
    /// # Errors
    /// It is a string that is not well-formed.
    #[inline(always)]
    pub fn string_if_any(&mut self) -> Result<Option<Text<'a>>, Problem> {
        if self.peek() == b'"' { self.quoted().map(Some) } else { Ok(None) }
    }

    /// Takes a string whose quote the scanner stands on. Inlined wherever it is called: what it gives would go through memory.
    #[inline(always)]
    fn quoted(&mut self) -> Result<Text<'a>, Problem> {
        let start = self.at + 1;
        let special = self.window.special(self.document, start);
        let end = if self.document.get(special) == Some(&b'"') { special } else { self.end_of_string(special)? };
        self.at = end + 1;
        match self.document.get(start..end) {
            Some(raw) => Ok(Text::new(raw, special - start)),
            None => self.fail("a string does not end"),
        }
    }

    /// Not inlined: most strings end where they have their first special byte.
    #[inline(never)]
    fn end_of_string(&mut self, special: usize) -> Result<usize, Problem> {
        text::end(self.document, &mut self.window, special).map_err(|(at, cause)| self.problem_at(at, cause))
    }

    /// Takes an object and calls `member` for each key, in order, duplicates included. `member` takes the value: exactly one, with
    /// [`Scanner::skip`] if it has no use for it.
    ///
    /// # Errors
    /// There is none, it is not well-formed, it is too deep, or `member` says so.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), Problem>) -> Result<(), Problem> {
        self.enter(b'{', "expected an object")?;
        if self.peek() != b'}' {
            loop {
                let key = self.string()?;
                self.expect(b':', "expected `:`")?;
                member(self, key)?;
                match self.peek() {
                    b',' => self.at += 1,
                    b'}' => break,
                    _ => return self.fail("expected `,` or `}`"),
                }
            }
        }
        self.leave();
        Ok(())
    }

    /// Takes an array and calls `item` for each item, in order. `item` takes the value: exactly one.
    ///
    /// # Errors
    /// There is none, it is not well-formed, it is too deep, or `item` says so.
    #[inline]
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Problem>) -> Result<(), Problem> {
        self.enter(b'[', "expected an array")?;
        if self.peek() != b']' {
            loop {
                item(self)?;
                match self.peek() {
                    b',' => self.at += 1,
                    b']' => break,
                    _ => return self.fail("expected `,` or `]`"),
                }
            }
        }
        self.leave();
        Ok(())
    }

    /// Takes any value, checks all of it, and gives its text as it stands.
    ///
    /// # Errors
    /// There is none, or it is not well-formed, or too deep.
    pub fn skip(&mut self) -> Result<&'a str, Problem> {
        self.skip_bytes().map(str_of)
    }

    /// The same, as bytes of UTF-8, which is cheaper.
    ///
    /// # Errors
    /// There is none, or it is not well-formed, or too deep.
    #[inline]
    pub fn skip_bytes(&mut self) -> Result<&'a [u8], Problem> {
        self.peek();
        let start = self.at;
        self.pass()?;
        Ok(self.document.get(start..self.at).unwrap_or_default())
    }

    /// Takes any value and checks all of it.
    ///
    /// # Errors
    /// There is none, or it is not well-formed, or too deep.
    pub fn pass(&mut self) -> Result<(), Problem> {
        match self.kind()? {
            Kind::String => self.quoted().map(drop),
            Kind::Object => self.object(|scanner, _| scanner.pass()),
            Kind::Array => self.array(Self::pass),
            Kind::Number => self.number(),
            Kind::Null | Kind::Bool => self.word(),
        }
    }

    /// Makes sure that nothing but white space is left.
    ///
    /// # Errors
    /// There is more.
    pub fn end(&mut self) -> Result<(), Problem> {
        self.peek();
        if self.at < self.document.len() { self.fail("nothing may follow the document") } else { Ok(()) }
    }

    /// How many bytes are behind, a byte order mark not counted. Before a value it may stand on white space.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.document.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not white space, or what [`Scanner::byte`] gives; the scanner stands on it then.
    #[inline]
    fn peek(&mut self) -> u8 {
        // Most documents have no white space, and nothing but white space is less than it.
        match self.byte() {
            byte if byte > b' ' => byte,
            _ => self.peek_behind_space(),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> u8 {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// The byte that the scanner stands on. Behind the end it is U+0000, which no token begins with.
    #[inline]
    fn byte(&self) -> u8 {
        self.document.get(self.at).copied().unwrap_or_default()
    }

    #[inline]
    fn expect(&mut self, byte: u8, cause: &'static str) -> Result<(), Problem> {
        if self.peek() != byte {
            return self.fail(cause);
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn enter(&mut self, bracket: u8, cause: &'static str) -> Result<(), Problem> {
        self.expect(bracket, cause)?;
        if self.depth == self.limit {
            return Err(Problem::TooDeep { limit: self.limit });
        }
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn word(&mut self) -> Result<(), Problem> {
        let rest = self.rest();
        match ["null", "true", "false"].into_iter().find(|word| rest.starts_with(word.as_bytes())) {
            Some(word) => self.at += word.len(),
            None => return self.fail("expected a value"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Problem> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        match self.byte() {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if let b'e' | b'E' = self.byte() {
            self.at += 1;
            if let b'+' | b'-' = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Problem> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return self.fail("expected a digit");
        }
        self.at += count;
        Ok(())
    }

    #[cold]
    fn fail<T>(&self, cause: &'static str) -> Result<T, Problem> {
        Err(self.problem_at(self.at, cause))
    }

    fn problem_at(&self, at: usize, cause: &'static str) -> Problem {
        Problem::NotJson { at: at + self.mark, cause }
    }
}

/// A part of a document whose UTF-8 was checked as a whole, cut beside ASCII.
fn str_of(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

#[cfg(test)]
mod tests;
