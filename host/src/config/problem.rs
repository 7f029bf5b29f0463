//! One thing that is wrong with a pipeline.toml, or deserves a second look.

use std::fmt;

use serde::Serialize;

use super::text::Span;

/// What kind of problem it is. The names (`unknown_key`, …) are stable: scripts may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The file that was named is not there.
    NoSuchFile,
    /// A file is there and cannot be read: a folder, too big, not UTF-8, or not permitted.
    UnreadableFile,
    /// The text is no TOML.
    SyntaxError,
    /// A key or a table stands in the file twice.
    DuplicateKey,
    /// A key that means nothing here.
    UnknownKey,
    /// A value of another type than the key takes.
    WrongType,
    /// A key that must be there is not.
    MissingKey,
    /// A number, duration or size beyond its bounds, or a text that is too long.
    OutOfRange,
    /// A word that is none of those the key takes.
    UnknownValue,
    /// A text that is no duration, such as `250ms`, `10s` or `1h 30m`.
    BadDuration,
    /// A text that is no size, such as `512KiB` or `64MiB`.
    BadSize,
    /// A text that is no socket address, such as `127.0.0.1:9600`.
    BadAddress,
    /// A text that is no address of a server of the right kind.
    BadUri,
    /// A text that is no JSON pointer, such as `/message/content`.
    BadPointer,
    /// A name that does not follow the grammar of names.
    BadName,
    /// A text that is no SHA-256 digest.
    BadDigest,
    /// A text that is no base64 of the right length.
    BadBase64,
    /// A value that is of the right type and makes no sense.
    BadValue,
    /// Keys that exclude each other.
    ConflictingKeys,
    /// `${…}` that is not well formed.
    BadInterpolation,
    /// `${VAR}` where the environment has no such variable.
    UnsetVariable,
    /// A profile that the file does not have.
    UnknownProfile,
    /// No source is named.
    NoSource,
    /// More than one source, or more than one kind for a sink.
    SeveralKinds,
    /// A sink without a kind.
    NoKind,
    /// No sink is named.
    NoSink,
    /// A step that the file does not declare.
    UnknownStep,
    /// A sink that the file does not declare.
    UnknownSink,
    /// A key ring that the file does not declare.
    UnknownKeyRing,
    /// A key that its ring does not hold.
    UnknownKeyId,
    /// A step that a message would go through twice.
    DuplicateStep,
    /// Two listeners on one address.
    DuplicateAddress,
    /// The source may hold fewer messages than a batch takes.
    PrefetchBelowBatch,
    /// A key that stands in the file itself.
    KeyInClear,
    /// A plugin that is not where the step says.
    MissingPlugin,
    /// A sink of rows without columns.
    NoColumns,
    /// A column that is not among the sink's columns.
    UnmappedColumn,
    /// A column that must be sealed, and that nothing seals.
    NeverSealed,
    /// A test case that expects nothing.
    EmptyExpectation,
    /// A plugin that cannot be loaded, or whose interface this host does not offer. Found by the loader.
    BadPlugin,
    /// A plugin whose digest is not the one that `sha256` pins. Found by the loader.
    WrongDigest,
    /// A plugin of a kind that does not fit the step's keys, such as `field` beside a validator. Found by the loader.
    WrongKind,
    /// A setting that the plugin's own schema, or its `configure`, refuses. Found by the loader.
    BadSetting,
    /// A plugin that asks for more than the step grants. Found by the loader.
    DeniedImport,
    /// A `[[test]]` whose message fared otherwise. Found by the gate.
    FailedTest,
    /// Warning: a step that no message goes through.
    UnusedStep,
    /// Warning: a key ring that no step uses.
    UnusedKeyRing,
    /// Warning: a cipher step that lets content through in clear when it fails.
    StoresInClear,
    /// Warning: what is sealed is not authenticated.
    NotAuthenticated,
    /// Warning: a listener without access control that others than this machine can reach.
    ExposedListener,
    /// Warning: the default credentials of a broker that is not on this machine.
    DefaultCredentials,
    /// Warning: a redelivered message may be stored a second time.
    AtLeastOnce,
    /// Warning: while one sink is down, the others stop as well.
    BlocksOthers,
}

impl fmt::Display for Code {
    /// The stable name, the same as in JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, character) in format!("{self:?}").char_indices() {
            if character.is_ascii_uppercase() && index > 0 {
                f.write_str("_")?;
            }
            write!(f, "{}", character.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

/// Whether a problem stops the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken; somebody should look.
    Warning,
}

/// One problem. Neither its message nor its help ever holds the value of a variable or a file that was interpolated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem.
    pub code: Code,
    /// Whether it stops the pipeline.
    pub severity: Severity,
    /// What is wrong: a lower-case fragment without a period.
    pub message: String,
    /// The key, e.g. `steps.validate.plugin`.
    pub path: Option<Box<str>>,
    /// Where in the text.
    pub span: Option<Span>,
    /// An earlier place that belongs to it, and why.
    pub earlier: Option<Box<(Span, &'static str)>>,
    /// The name that was probably meant.
    pub suggestion: Option<Box<str>>,
    /// What to do about it, beside the suggestion.
    pub help: Option<Box<str>>,
}

impl Problem {
    /// An error about the file as a whole; add a place with [`Self::at`].
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let (message, severity) = (message.into(), Severity::Error);
        Self { code, severity, message, path: None, span: None, earlier: None, suggestion: None, help: None }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::new(code, message) }
    }

    /// Says where in the text: a [`Span`], a range, or an `(offset, length)` of a step's spans.
    #[must_use]
    pub fn at(mut self, span: impl Into<Span>) -> Self {
        self.span = Some(span.into());
        self
    }

    /// Says which key.
    #[must_use]
    pub fn path(mut self, path: impl fmt::Display) -> Self {
        self.path = Some(path.to_string().into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// Names what was probably meant.
    #[must_use]
    pub fn suggest(mut self, name: Option<impl Into<String>>) -> Self {
        self.suggestion = name.map(|name| name.into().into());
        self
    }

    /// Points at an earlier place as well.
    #[must_use]
    pub(super) fn earlier(mut self, span: Option<Span>, why: &'static str) -> Self {
        self.earlier = span.map(|span| Box::new((span, why)));
        self
    }

    /// Suggestion and help as one text for a person.
    pub(super) fn advice(&self) -> Option<String> {
        let suggestion = self.suggestion.as_ref().map(|name| format!("did you mean `{name}`?"));
        match (suggestion, self.help.as_ref()) {
            (Some(suggestion), Some(help)) => Some(format!("{suggestion} {help}")),
            (suggestion, help) => suggestion.or_else(|| help.map(ToString::to_string)),
        }
    }
}

/// The known name that is nearest to what was written, where one is near enough.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let near = |name: &&str| {
        let allowed = (name.len().max(written.len()) / 3).max(1);
        let distance = strsim::damerau_levenshtein(&written, &name.to_lowercase());
        (distance <= allowed || (written.len() > 2 && name.starts_with(&written))).then_some(distance)
    };
    known.into_iter().filter_map(|name| near(&name).map(|distance| (distance, name))).min().map(|(_, name)| name)
}

/// Names for a sentence: `a`, `b` and `c`.
pub(super) fn enumerate<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What exists, for the end of a help text: "this file has `a` and `b`".
pub(super) fn known<'a>(noun: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter().peekable();
    if names.peek().is_none() {
        format!("this file has no {noun}s")
    } else {
        format!("{noun}s of this file: {}", enumerate(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_printed_as_json_has_it() {
        for code in [Code::UnknownKey, Code::BadBase64, Code::BlocksOthers] {
            assert_eq!(serde_json::to_value(code).unwrap(), serde_json::Value::String(code.to_string()));
        }
        assert_eq!(Code::UnknownKeyRing.to_string(), "unknown_key_ring");
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(nearest("prefetchh", ["queue", "prefetch"]), Some("prefetch"));
        assert_eq!(nearest("msk", ["mask", "seal"]), Some("mask"));
        assert_eq!(nearest("valid", ["validate", "seal"]), Some("validate"));
        assert_eq!(nearest("xyz", ["mask", "seal"]), None);
    }
}
