//! Why a key ring cannot be used. Never holds key material.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::id::KeyIdError;
use super::random::RandomError;

/// A ring that cannot be used: which, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("key ring `{ring}`{place}: {problem}", place = At(place.as_deref()))]
pub struct KeyError {
    /// Name of the ring.
    pub ring: Arc<str>,
    /// The file, with the line where one is to blame; none for an inline ring.
    pub place: Option<String>,
    /// What is wrong. Part of the text, and so not a source besides.
    pub problem: KeyProblem,
}

struct At<'a>(Option<&'a str>);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |place| write!(f, " ({})", place.escape_debug()))
    }
}

/// What is wrong with a ring.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// The file is not there.
    #[error("the file is missing; `tidegate keys generate` prints one, and `create = true` makes it by itself")]
    Missing,
    /// The file is a link to nothing. It is never made through a link.
    #[error("the file is a link to a file that does not exist")]
    DanglingLink,
    /// The operating system refuses.
    #[error("the file cannot be read: {0}")]
    Unreadable(io::Error),
    /// A folder, a device, a pipe.
    #[error("this is not a file")]
    NotAFile,
    /// Nothing in it.
    #[error("the file is empty; `tidegate keys generate` prints what belongs into it")]
    Empty,
    /// More than any ring needs.
    #[error("the file is larger than {limit} bytes, which no key ring is")]
    TooLarge {
        /// Most bytes that are read.
        limit: u64,
    },
    /// Others may read the keys, or write them.
    #[error("others may use the file (mode {mode:04o}); run `chmod 600 {}` (as a mounted secret: `defaultMode: 0400`, or 0440 owned by root)", path.display())]
    Mode {
        /// The permission bits found.
        mode: u32,
        /// The file.
        path: PathBuf,
    },
    /// Someone else may change the keys.
    #[error("the file belongs to user {owner}, and neither to user {user}, who runs this, nor to root; run `chown {user} {}`", path.display())]
    Owner {
        /// Number of the owner.
        owner: u32,
        /// Number of the running user.
        user: u32,
        /// The file.
        path: PathBuf,
    },
    /// The file could not be made.
    #[error("the file cannot be created: {0}")]
    Create(io::Error),
    /// No TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// No text.
    #[error("the file is not UTF-8 text")]
    NotText,
    /// A name that means nothing.
    #[error("unknown key {name}; expected {expected}")]
    Unknown {
        /// The name, quoted, or a word for it where it may not be shown.
        name: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// A value of another type.
    #[error("{name} must be {expected}")]
    Type {
        /// What has the value.
        name: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A ring without keys.
    #[error("there are no keys; expected at least one [keys.ID] with `key = \"…\"`")]
    NoKeys,
    /// Nothing says which key seals.
    #[error("`active = \"…\"` is missing: it names the key that seals")]
    NoActive,
    /// `active` names no key of the ring.
    #[error("`active` names no key of the ring; there is {}", known.join(", "))]
    ActiveUnknown {
        /// The ids there are.
        known: Vec<String>,
    },
    /// Two keys of one id.
    #[error("key `{0}` is there twice")]
    Duplicate(String),
    /// An id that breaks the grammar.
    #[error("a key has a wrong id: {0}")]
    Id(#[from] KeyIdError),
    /// A key without `key`.
    #[error("key `{0}` has no `key = \"…\"`")]
    NoMaterial(String),
    /// An empty key.
    #[error("key `{0}` is empty; an empty key never switches sealing off")]
    EmptyKey(String),
    /// Something that is no base64.
    #[error("{part} of key `{key}` is not base64 (A-Z, a-z, 0-9, `+`, `/`, with or without `=`)")]
    Base64 {
        /// Id of the key.
        key: String,
        /// `key` or `iv`.
        part: &'static str,
    },
    /// A length that the cipher, or any cipher, does not take.
    #[error("key `{key}` has {found} bytes; expected {expected}")]
    Length {
        /// Id of the key.
        key: String,
        /// How long it is.
        found: usize,
        /// How long it must be.
        expected: String,
    },
    /// An initialization vector of another length.
    #[error("`iv` of key `{key}` has {found} bytes; expected 16")]
    IvLength {
        /// Id of the key.
        key: String,
        /// How long it is.
        found: usize,
    },
    /// A key of zeros, which is a placeholder and no key.
    #[error("key `{0}` is all zeros, which is a placeholder; `tidegate keys generate` makes a real one")]
    ZeroKey(String),
    /// A time that is none.
    #[error("`created` of key `{0}` is no RFC 3339 time like 2025-01-31T12:00:00Z")]
    Created(String),
    /// The operating system gave no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl KeyProblem {
    /// The problem, in its ring and at its place.
    pub(super) fn in_ring(self, ring: &str, place: Option<String>) -> KeyError {
        KeyError { ring: ring.into(), place, problem: self }
    }
}
