//! `pipeline.lock`: what each plugin was when somebody last looked: its digest, its WIT line, and what it imports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::problem::{Code, Problem};

/// The only form there is.
const VERSION: u32 = 1;
const HEAD: &str =
    "# Written by `tidegate lock`; `tidegate run --locked` and `check --locked` take no plugin that differs from it.\n\n";

/// What the plugins of a pipeline file were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By path, relative to the folder of the pipeline file.
    #[serde(default)]
    plugins: BTreeMap<String, Locked>,
}

/// What one plugin was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// WIT line that it was built for.
    pub wit: String,
    /// Validator, transformer or cipher.
    pub kind: String,
    /// Name that it gives itself.
    pub name: String,
    /// Version that it gives itself.
    pub version: String,
    /// The imports that it is granted.
    pub imports: Vec<String>,
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, plugins: BTreeMap::new() }
    }
}

impl Lock {
    /// The lock of a pipeline file: `pipeline.lock` beside `pipeline.toml`.
    #[must_use]
    pub fn path(file: &Path) -> PathBuf {
        file.with_extension("lock")
    }

    /// Reads the lock of a pipeline file.
    ///
    /// # Errors
    /// Says why it cannot be read, and what to do.
    pub fn read(file: &Path) -> Result<Self, Problem> {
        let path = Self::path(file);
        let problem = |message: String| Problem::new(Code::UnreadableFile, message).help("`tidegate lock` writes it");
        let text =
            std::fs::read_to_string(&path).map_err(|error| problem(format!("cannot read `{}`: {error}", path.display())))?;
        let lock: Self = toml::from_str(&text).map_err(|error| problem(format!("`{}`: {}", path.display(), error.message())))?;
        match lock.version {
            VERSION => Ok(lock),
            other => Err(problem(format!("`{}` has version {other}, and this host knows {VERSION}", path.display()))),
        }
    }

    /// Writes the lock of a pipeline file, all or nothing.
    ///
    /// # Errors
    /// Fails when the folder cannot be written to.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let (path, text) = (Self::path(file), self.text());
        let beside = path.with_extension("lock.new");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, &path)
    }

    fn text(&self) -> String {
        let table = toml::to_string(self).expect("a lock is made of strings alone");
        format!("{HEAD}{table}")
    }

    /// Notes what a plugin is.
    pub fn note(&mut self, plugin: &Path, folder: &Path, locked: Locked) {
        self.plugins.insert(relative(plugin, folder), locked);
    }

    /// What differs from the lock, in words; none where the plugin is what it was.
    #[must_use]
    pub fn difference(&self, plugin: &Path, folder: &Path, now: &Locked) -> Option<String> {
        let path = relative(plugin, folder);
        let Some(locked) = self.plugins.get(&path) else { return Some(format!("`{path}` is not in the lock")) };
        let wider: Vec<&str> = now.imports.iter().filter(|import| !locked.imports.contains(import)).map(String::as_str).collect();
        if !wider.is_empty() {
            return Some(format!("`{path}` imports {} beyond what is in the lock", wider.join(", ")));
        }
        (now.sha256 != locked.sha256).then(|| {
            let (was, is) = (short(&locked.sha256), short(&now.sha256));
            format!(
                "`{path}` ({} {}) has sha256 {is}…, and the lock has {was}… ({} {})",
                now.name, now.version, locked.name, locked.version
            )
        })
    }
}

fn relative(plugin: &Path, folder: &Path) -> String {
    plugin.strip_prefix(folder).unwrap_or(plugin).display().to_string()
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locked(sha256: &str, imports: &[&str]) -> Locked {
        Locked {
            sha256: sha256.to_owned(),
            wit: "0.1".to_owned(),
            kind: "validator".to_owned(),
            name: "v".to_owned(),
            version: "1.0.0".to_owned(),
            imports: imports.iter().map(|import| (*import).to_owned()).collect(),
        }
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_and_says_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let (file, plugin) = (folder.path().join("a.toml"), folder.path().join("p/v.wasm"));
        let mut lock = Lock::default();
        lock.note(&plugin, folder.path(), locked("aa", &["log"]));
        lock.write(&file).unwrap();
        assert_eq!(Lock::path(&file), folder.path().join("a.lock"));
        let lock = Lock::read(&file).unwrap();
        let difference = |plugin: &Path, now| lock.difference(plugin, folder.path(), &now).unwrap_or_default();
        assert_eq!(difference(&plugin, locked("aa", &["log"])), "");
        assert_eq!(difference(&plugin, locked("aa", &[])), "");
        assert!(difference(&plugin, locked("bb", &["log"])).contains("has sha256 bb"));
        assert!(difference(&plugin, locked("bb", &["clock", "log"])).contains("imports clock beyond"));
        assert!(difference(Path::new("/other.wasm"), locked("aa", &[])).contains("is not in the lock"));
    }

    #[test]
    fn a_lock_that_is_missing_broken_or_of_the_future_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        for (text, words) in [
            (None, "cannot read"),
            (Some("version = 2\n"), "has version 2"),
            (Some("version = "), "a.lock"),
            (Some("version = 1\nmore = 1\n"), "unknown field"),
        ] {
            if let Some(text) = text {
                std::fs::write(Lock::path(&file), text).unwrap();
            }
            let problem = Lock::read(&file).unwrap_err();
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }
}
