//! The text of a file, and where in it something stands.

use std::path::{Path, PathBuf};

use super::mask::mask;
use super::problem::{Code, Problem};

/// A piece of a text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Where it begins, from the start of the text.
    pub offset: usize,
    /// How long it is; 0 marks a place.
    pub length: usize,
}

impl Span {
    /// Where the piece ends.
    #[must_use]
    pub fn end(self) -> usize {
        self.offset.saturating_add(self.length)
    }
}

impl From<std::ops::Range<usize>> for Span {
    fn from(range: std::ops::Range<usize>) -> Self {
        Self { offset: range.start, length: range.end.saturating_sub(range.start) }
    }
}

impl From<(usize, usize)> for Span {
    fn from((offset, length): (usize, usize)) -> Self {
        Self { offset, length }
    }
}

impl From<Span> for (usize, usize) {
    fn from(span: Span) -> Self {
        (span.offset, span.length)
    }
}

/// A pipeline.toml as it was read.
#[derive(Clone)]
pub struct Text {
    file: PathBuf,
    content: String,
    /// The content with its passwords and keys starred out, byte for byte as long: all that is ever shown.
    shown: String,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text").field("file", &self.file).field("bytes", &self.content.len()).finish()
    }
}

impl Text {
    /// Largest file that is read, in bytes.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// A text that is already there; `file` names it in reports, and what it names is relative to the folder of `file`.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        let content = content.into();
        Self { file: file.into(), shown: mask(&content), content }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Fails when there is no such file, or it is a folder, too big, unreadable, or not UTF-8.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let bytes = read_capped(file, Self::MAX_BYTES).map_err(|cause| unreadable(file, &cause))?;
        match String::from_utf8(bytes) {
            Ok(content) => Ok(Self::new(file, content)),
            Err(failure) => Err(not_utf8(file, failure.as_bytes(), failure.utf8_error().valid_up_to())),
        }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The folder to which the paths in the text are relative.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new(""))
    }

    /// The text itself. It may hold secrets: never print it.
    #[must_use]
    pub fn content(&self) -> &str {
        &self.content
    }

    /// The text as it may be shown: passwords and keys are starred out, every offset is the same.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Line and column of an offset, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        position(self.content.as_bytes(), offset)
    }

    /// The same span, cut to what lies in the text.
    pub(super) fn clamp(&self, span: Span) -> Span {
        let offset = span.offset.min(self.content.len());
        Span { offset, length: span.length.min(self.content.len() - offset) }
    }
}

fn position(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = bytes.get(..offset.min(bytes.len())).unwrap_or_default();
    let line = before.split(|byte| *byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(before.get(start..).unwrap_or_default()).chars().count();
    (line, column + 1)
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("it is a folder")]
    Folder,
    #[error("it is no ordinary file")]
    Special,
    #[error("it has more than {0} bytes")]
    TooBig(u64),
    #[error("{0}")]
    Io(std::io::Error),
}

/// Reads an ordinary file of at most `max` bytes: a device or a pipe would never end.
pub(super) fn read_capped(file: &Path, max: u64) -> Result<Vec<u8>, ReadError> {
    use std::io::Read as _;
    let kind = std::fs::metadata(file).map_err(ReadError::Io)?;
    if kind.is_dir() {
        return Err(ReadError::Folder);
    }
    if !kind.is_file() {
        return Err(ReadError::Special);
    }
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(ReadError::Io)?;
    open.take(max + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > max { Err(ReadError::TooBig(max)) } else { Ok(bytes) }
}

fn unreadable(file: &Path, cause: &ReadError) -> Problem {
    match cause {
        ReadError::Io(failure) if failure.kind() == std::io::ErrorKind::NotFound => {
            Problem::new(Code::NoSuchFile, format!("there is no `{}`", file.display()))
                .help("name the pipeline's file: `tidegate run FILE`")
        }
        ReadError::Folder => Problem::new(Code::UnreadableFile, format!("`{}` is a folder", file.display()))
            .help(format!("name the file in it: `{}`", file.join("pipeline.toml").display())),
        cause => Problem::new(Code::UnreadableFile, format!("`{}` cannot be read: {cause}", file.display())),
    }
}

fn not_utf8(file: &Path, bytes: &[u8], valid: usize) -> Problem {
    let (line, column) = position(bytes, valid);
    Problem::new(Code::UnreadableFile, format!("`{}` is not UTF-8 at line {line}, column {column}", file.display()))
        .help("save the file as UTF-8")
}
