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
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Reason> {
        let mut scanner = Scanner::new(body, MAX_DEPTH)?;
        let mut document = Self::default();
        let kind = scanner.kind()?;
        if kind == Kind::Object {
            scanner.object(|scanner, key| document.member(scanner, key))?;
        } else {
            scanner.skip()?;
        }
        scanner.end()?;
        if kind == Kind::Object { Ok(document) } else { Err(wrong_type(kind, "an object")) }
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, key: Text<'a>) -> Result<(), Problem> {
        match &*key.decoded() {
            "id" => self.id = Field::take(scanner)?,
            "sub_id" => self.sub_id = Field::take(scanner)?,
            "message" => self.message = Envelope::take(scanner)?,
            "publisher_information" => {
                self.publisher = Some(scanner.kind()?);
                scanner.skip()?;
            }
            _ => drop(scanner.skip()?),
        }
        Ok(())
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
    fn take(scanner: &mut Scanner<'a>) -> Result<Self, Problem> {
        let kind = scanner.kind()?;
        if kind != Kind::Object {
            scanner.skip()?;
            return Ok(Self::Other(kind));
        }
        let mut parts = Parts::default();
        scanner.object(|scanner, key| {
            match &*key.decoded() {
                "content" => parts.content = Field::take(scanner)?,
                "server_name" => parts.server_name = Field::take(scanner)?,
                "command" => parts.command = Field::take(scanner)?,
                _ => drop(scanner.skip()?),
            }
            Ok(())
        })?;
        Ok(Self::Object(parts))
    }

    pub(crate) fn object(&self, pointer: &str) -> Result<&Parts<'a>, Reason> {
        match self {
            Self::Object(parts) => Ok(parts),
            Self::Other(kind) => Err(wrong_type(*kind, "an object").at(pointer)),
            Self::Missing => Err(missing("an object").at(pointer)),
        }
    }
}

impl<'a> Field<'a> {
    fn take(scanner: &mut Scanner<'a>) -> Result<Self, Problem> {
        match scanner.kind()? {
            Kind::String => scanner.string().map(Self::Text),
            kind => scanner.skip().map(|_| Self::Other(kind)),
        }
    }

    pub(crate) fn required(&self, pointer: &str) -> Result<Text<'a>, Reason> {
        self.optional(pointer)?.ok_or_else(|| missing("a string").at(pointer))
    }

    pub(crate) fn optional(&self, pointer: &str) -> Result<Option<Text<'a>>, Reason> {
        match self {
            Self::Text(text) => Ok(Some(*text)),
            Self::Missing => Ok(None),
            Self::Other(kind) => Err(wrong_type(*kind, "a string").at(pointer)),
        }
    }
}

fn missing(expected: &str) -> Reason {
    Reason::new("missing", format!("is missing, expected {expected}"))
}

fn wrong_type(found: Kind, expected: &str) -> Reason {
    Reason::new("wrong_type", format!("is {found}, expected {expected}"))
}
