//! `${VAR}`, `${VAR:-default}`, `${file:path}` and `$${`, inside string values and after parsing, so that a value can never change
//! the structure of the file. No error here ever holds a value.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::problem::{Code, Problem, nearest};
use super::text::read_capped;

/// Where variables come from.
#[derive(Clone)]
pub struct Environment {
    lookup: Arc<Lookup>,
    names: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
}

type Lookup = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

impl Default for Environment {
    /// The environment of this process.
    fn default() -> Self {
        let names = || std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        Self { lookup: Arc::new(|name| std::env::var_os(name)), names: Arc::new(names) }
    }
}

impl Environment {
    /// An environment of these variables alone.
    #[must_use]
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let names: Vec<String> = variables.iter().map(|(name, _)| name.clone()).collect();
        let lookup = move |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.into());
        Self { lookup: Arc::new(lookup), names: Arc::new(move || names.clone()) }
    }

    /// A variable's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<OsString> {
        (self.lookup)(name)
    }
}

/// Largest file that `${file:…}` reads, in bytes.
pub(super) const MAX_FILE_BYTES: u64 = 64 << 10;

/// A piece of a string value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it stands.
    Literal(&'a str),
    /// `${name}` or `${name:-default}`.
    Variable { name: &'a str, default: Option<&'a str> },
    /// `${file:path}`.
    File(&'a str),
}

/// Cuts a string value into its pieces.
///
/// # Errors
/// Fails on `${` that does not end or does not name a variable or a file.
pub(super) fn pieces(raw: &str) -> Result<Vec<Piece<'_>>, Problem> {
    let mut pieces = Vec::new();
    let mut rest = raw;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(escaped) = before.strip_suffix('$') {
            pieces.extend([Piece::Literal(escaped), Piece::Literal("${")]);
            rest = from.strip_prefix("${").unwrap_or_default();
            continue;
        }
        pieces.push(Piece::Literal(before));
        let inner = from.strip_prefix("${").unwrap_or_default();
        let Some((inner, after)) = inner.split_once('}') else { return Err(bad("`${` is not closed by `}`")) };
        pieces.push(reference(inner)?);
        rest = after;
    }
    pieces.push(Piece::Literal(rest));
    pieces.retain(|piece| *piece != Piece::Literal(""));
    Ok(pieces)
}

fn reference(inner: &str) -> Result<Piece<'_>, Problem> {
    if let Some(path) = inner.strip_prefix("file:") {
        return if path.is_empty() { Err(bad("`${file:}` names no file")) } else { Ok(Piece::File(path)) };
    }
    let (name, default) = inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
    if default.is_some_and(|default| default.contains("${")) {
        return Err(bad("a default cannot hold another `${…}`"));
    }
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(Piece::Variable { name, default });
    }
    Err(bad(format!("`{}` is no name of a variable", name.escape_debug())))
}

fn bad(message: impl Into<String>) -> Problem {
    let forms = "`${VAR}`, `${VAR:-default}` and `${file:path}` are replaced; for the characters `${` themselves write `$${`";
    Problem::new(Code::BadInterpolation, message).help(forms)
}

/// What interpolation needs to know.
pub(super) struct Sources<'a> {
    pub(super) environment: &'a Environment,
    /// The folder of the file, to which `${file:…}` is relative.
    pub(super) folder: &'a Path,
}

impl Sources<'_> {
    /// Replaces what is to be replaced; `read` is told of each file.
    ///
    /// # Errors
    /// Fails when a variable is not set or not UTF-8, or a file cannot be read.
    pub(super) fn fill(&self, pieces: &[Piece<'_>], read: &mut impl FnMut(PathBuf)) -> Result<String, Problem> {
        let mut value = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(text) => value.push_str(text),
                Piece::Variable { name, default } => value.push_str(&self.variable(name, *default)?),
                Piece::File(path) => {
                    let path = self.folder.join(path);
                    value.push_str(&file(&path)?);
                    read(path);
                }
            }
        }
        Ok(value)
    }

    fn variable(&self, name: &str, default: Option<&str>) -> Result<String, Problem> {
        match (self.environment.get(name), default) {
            (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
            (Some(value), _) => value
                .into_string()
                .map_err(|_| Problem::new(Code::UnsetVariable, format!("the environment variable `{name}` is not UTF-8"))),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(self.unset(name)),
        }
    }

    fn unset(&self, name: &str) -> Problem {
        let names = (self.environment.names)();
        // Only what differs by a letter or by case: any other variable's name is none of the reader's business.
        let near =
            nearest(name, names.iter().map(String::as_str)).filter(|near| strsim::levenshtein(&near.to_uppercase(), name) <= 1);
        Problem::new(Code::UnsetVariable, format!("the environment variable `{name}` is not set"))
            .suggest(near)
            .help(format!("set it, or give a default: `${{{name}:-default}}`"))
    }
}

fn file(path: &Path) -> Result<String, Problem> {
    let unreadable = |cause: &dyn fmt::Display| {
        Problem::new(Code::UnreadableFile, format!("`{}` cannot be read: {cause}", path.display()))
            .help("the path in `${file:…}` is relative to the folder of this file")
    };
    let bytes = read_capped(path, MAX_FILE_BYTES).map_err(|cause| unreadable(&cause))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"it is not UTF-8"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(raw: &str, variables: &[(&str, &str)], folder: &Path) -> Result<String, Problem> {
        let environment = Environment::of(variables);
        Sources { environment: &environment, folder }.fill(&pieces(raw)?, &mut |_| ())
    }

    #[test]
    fn variables_defaults_and_the_escape_are_replaced() {
        let variables = [("A", "1"), ("EMPTY", ""), ("TRICK", "${A}\"]\n[x]")];
        for (raw, value) in [
            ("plain $ and $5 {}", "plain $ and $5 {}"),
            ("${A}-${A}", "1-1"),
            ("${B:-x:y}", "x:y"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${B:-}", ""),
            ("$${A} ${A}", "${A} 1"),
            ("$$${A}", "$${A}"),
            ("${TRICK}", "${A}\"]\n[x]"),
        ] {
            assert_eq!(fill(raw, &variables, Path::new("")), Ok(value.to_owned()), "{raw}");
        }
    }

    #[test]
    fn what_is_not_well_formed_or_not_set_is_an_error() {
        for (raw, code) in [
            ("${A", Code::BadInterpolation),
            ("${}", Code::BadInterpolation),
            ("${A B}", Code::BadInterpolation),
            ("${1}", Code::BadInterpolation),
            ("${file:}", Code::BadInterpolation),
            ("${A:-${B}}", Code::BadInterpolation),
            ("${A}", Code::UnsetVariable),
            ("${file:none}", Code::UnreadableFile),
            ("${file:.}", Code::UnreadableFile),
        ] {
            assert_eq!(fill(raw, &[], Path::new("")).unwrap_err().code, code, "{raw}");
        }
    }

    #[test]
    fn a_file_gives_its_text_without_the_last_newline_and_is_capped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cret\n").unwrap();
        std::fs::write(folder.path().join("huge"), "x".repeat(1 << 20)).unwrap();
        assert_eq!(fill("a${file:secret}b", &[], folder.path()), Ok("as3cretb".to_owned()));
        let problem = fill("${file:huge}", &[], folder.path()).unwrap_err();
        assert!(problem.message.contains("more than 65536 bytes"), "{}", problem.message);
    }
}
