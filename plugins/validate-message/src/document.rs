//! The fields of a body that have rules, found in one pass. A duplicate key's last value counts.

use tidegate_plugin::Reason;
use tidegate_plugin::json::{Kind, Problem, Scanner, Text};

/// Deepest nesting that is allowed, the document itself counted as 1.
const MAX_DEPTH: u32 = 32;

/// What a body holds.
#[derive(Debug, Default)]
pub(crate) struct Document<'a> {
    pub(crate) id: Field<'a>,
    pub(crate) sub_id: Field<'a>,
    pub(crate) message: Envelope<'a>,
    publisher: Option<Kind>,
}

/// What stands at `message`.
#[derive(Debug, Default)]
pub(crate) enum Envelope<'a> {
    #[default]
    Missing,
    Other(Kind),
    Object(Parts<'a>),
}

/// The fields of `message`.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) content: Field<'a>,
    pub(crate) server_name: Field<'a>,
    pub(crate) command: Field<'a>,
}

/// A field that should be a string.
#[derive(Debug, Default)]
pub(crate) enum Field<'a> {
    #[default]
    Missing,
    Other(Kind),
    Text(Text<'a>),
}

impl<'a> Document<'a> {
    /// Reads a body into a document that holds nothing yet.
    #[inline]
    pub(crate) fn read(&mut self, body: &'a [u8]) -> Result<(), Reason> {
        let mut scanner = Scanner::new(body, MAX_DEPTH)?;
        let kind = scanner.kind()?;
        if kind == Kind::Object {
            scanner.object(|scanner, key| self.member(scanner, key))?;
        } else {
            scanner.pass()?;
        }
        scanner.end()?;
        if kind == Kind::Object { Ok(()) } else { Err(wrong_type(kind, "an object")) }
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, key: Text<'a>) -> Result<(), Problem> {
        if key.is("id") {
            self.id.read(scanner)
        } else if key.is("sub_id") {
            self.sub_id.read(scanner)
        } else if key.is("message") {
            self.message.read(scanner)
        } else if key.is("publisher_information") {
            self.publisher = Some(scanner.kind()?);
            scanner.pass()
        } else {
            scanner.pass()
        }
    }

    /// Whether `publisher_information` is an object, where it is there.
    pub(crate) fn publisher(&self) -> Result<(), Reason> {
        match self.publisher {
            None | Some(Kind::Object) => Ok(()),
            Some(kind) => Err(wrong_type(kind, "an object, or no such field").at("/publisher_information")),
        }
    }
}

impl<'a> Envelope<'a> {
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Problem> {
        let kind = scanner.kind()?;
        if kind != Kind::Object {
            scanner.pass()?;
            *self = Self::Other(kind);
            return Ok(());
        }
        *self = Self::Object(Parts::default());
        let Self::Object(parts) = self else { return Ok(()) };
        scanner.object(|scanner, key| parts.member(scanner, key))
    }

    pub(crate) fn object(&self, pointer: &str) -> Result<&Parts<'a>, Reason> {
        match self {
            Self::Object(parts) => Ok(parts),
            Self::Other(kind) => Err(wrong_type(*kind, "an object").at(pointer)),
            Self::Missing => Err(missing("an object").at(pointer)),
        }
    }
}

impl<'a> Parts<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: Text<'a>) -> Result<(), Problem> {
        if key.is("content") {
            self.content.read(scanner)
        } else if key.is("server_name") {
            self.server_name.read(scanner)
        } else if key.is("command") {
            self.command.read(scanner)
        } else {
            scanner.pass()
        }
    }
}

impl<'a> Field<'a> {
    /// Not by value: it would be put together in one place and copied to another, and a processor waits for what it has just written in parts.
    fn read(&mut self, scanner: &mut Scanner<'a>) -> Result<(), Problem> {
        *self = match scanner.string_if_any()? {
            Some(text) => Self::Text(text),
            None => {
                let kind = scanner.kind()?;
                scanner.pass()?;
                Self::Other(kind)
            }
        };
        Ok(())
    }

    #[inline]
    pub(crate) fn required(&self, pointer: &str) -> Result<&Text<'a>, Reason> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Missing => Err(missing("a string").at(pointer)),
            Self::Other(kind) => Err(wrong_type(*kind, "a string").at(pointer)),
        }
    }

    #[inline]
    pub(crate) fn optional(&self, pointer: &str) -> Result<Option<&Text<'a>>, Reason> {
        match self {
            Self::Missing => Ok(None),
            _ => self.required(pointer).map(Some),
        }
    }
}

#[cold]
fn missing(expected: &str) -> Reason {
    Reason::new("missing", format!("is missing, expected {expected}"))
}

#[cold]
fn wrong_type(found: Kind, expected: &str) -> Reason {
    Reason::new("wrong_type", format!("is {found}, expected {expected}"))
}
