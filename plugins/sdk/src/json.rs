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
//!     scanner.object(|scanner, key| match &*key.decoded() {
//!         "name" => scanner.string().map(|name| length = name.chars()),
//!         _ => scanner.skip().map(drop),
//!     })?;
//!     scanner.end()?;
//!     Ok(length)
//! }
//! assert_eq!(name_length(br#"{"age": 7, "name": "J\u00f6rg"}"#), Ok(4));
//! assert!(name_length(br#"{"name": "Ada",}"#).is_err());
//! ```

mod text;

pub use text::Text;

use std::fmt;

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
    text: &'a str,
    at: usize,
    mark: usize,
    depth: u32,
    limit: u32,
}

impl<'a> Scanner<'a> {
    /// A scanner before the document's value. `limit` is the deepest nesting that is allowed.
    ///
    /// # Errors
    /// The body is not UTF-8.
    pub fn new(body: &'a [u8], limit: u32) -> Result<Self, Problem> {
        let text = std::str::from_utf8(body).map_err(|error| Problem::NotJson { at: error.valid_up_to(), cause: "not UTF-8" })?;
        let document = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok(Self { text: document, at: 0, mark: text.len() - document.len(), depth: 0, limit })
    }

    /// What the next value is.
    ///
    /// # Errors
    /// No value begins here.
    #[inline]
    pub fn kind(&mut self) -> Result<Kind, Problem> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => self.fail("expected a value"),
            None => self.fail("the document ends where a value is expected"),
        }
    }

    /// Takes a string.
    ///
    /// # Errors
    /// There is none, or it is not well-formed.
    #[inline]
    pub fn string(&mut self) -> Result<Text<'a>, Problem> {
        if self.peek() != Some(b'"') {
            return self.fail("expected a string");
        }
        self.at += 1;
        let text = Text::scan(self.text, self.at).map_err(|(at, cause)| self.problem_at(at, cause))?;
        self.at += text.raw().len() + 1;
        Ok(text)
    }

    /// Takes an object and calls `member` for each key, in order, duplicates included. `member` takes the value: exactly one, with
    /// [`Scanner::skip`] if it has no use for it.
    ///
    /// # Errors
    /// There is none, it is not well-formed, it is too deep, or `member` says so.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Text<'a>) -> Result<(), Problem>) -> Result<(), Problem> {
        self.enter(b'{', "expected an object")?;
        if self.peek() != Some(b'}') {
            loop {
                let key = self.string()?;
                self.expect(b':', "expected `:`")?;
                member(self, key)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
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
        if self.peek() != Some(b']') {
            loop {
                item(self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b']') => break,
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
        let kind = self.kind()?;
        let start = self.at;
        match kind {
            Kind::String => self.string().map(drop)?,
            Kind::Object => self.object(|scanner, _| scanner.skip().map(drop))?,
            Kind::Array => self.array(|scanner| scanner.skip().map(drop))?,
            Kind::Number => self.number()?,
            Kind::Null | Kind::Bool => self.word()?,
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Makes sure that nothing but white space is left.
    ///
    /// # Errors
    /// There is more.
    pub fn end(&mut self) -> Result<(), Problem> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.fail("nothing may follow the document"),
        }
    }

    /// How many bytes are behind, a byte order mark not counted. Before a value it may stand on white space.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is not white space; the scanner stands on it then.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                other => return Some(other),
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn expect(&mut self, byte: u8, cause: &'static str) -> Result<(), Problem> {
        if self.peek() != Some(byte) {
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
        match ["null", "true", "false"].into_iter().find(|word| rest.starts_with(word)) {
            Some(word) => self.at += word.len(),
            None => return self.fail("expected a value"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Problem> {
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Problem> {
        let count = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return self.fail("expected a digit");
        }
        self.at += count;
        Ok(())
    }

    fn fail<T>(&self, cause: &'static str) -> Result<T, Problem> {
        Err(self.problem_at(self.at, cause))
    }

    fn problem_at(&self, at: usize, cause: &'static str) -> Problem {
        Problem::NotJson { at: at + self.mark, cause }
    }
}

#[cfg(test)]
mod tests;
