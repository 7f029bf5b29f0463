//! A ring: keys in order, exactly one of which seals.

use std::path::Path;
use std::sync::Arc;

use tracing::info;

use super::error::{KeyError, KeyProblem};
use super::id::KeyId;
use super::key::Key;
use super::{InlineKey, KeyRingPlan, file, generate, text};

/// Keys in order, the active one first. Made only where everything about them is right.
#[derive(Clone, Debug)]
pub struct KeyRing {
    name: Arc<str>,
    /// `[key_rings.NAME]`'s file, for errors; none for an inline ring.
    place: Option<String>,
    active: Key,
    /// In the order of the file.
    others: Vec<Key>,
}

impl KeyRing {
    /// Reads the ring's keys. Blocks on files: call it off the async threads.
    ///
    /// # Errors
    /// Fails when a file is missing (and not to be created), may be used by others, or is broken, and when a key is none. An empty key is an
    /// error and never means "do not seal".
    pub fn load(name: &str, plan: &KeyRingPlan) -> Result<Self, KeyError> {
        match plan {
            KeyRingPlan::File { path, create } => Self::from_file(name, path, *create),
            KeyRingPlan::Inline { active, keys } => Self::from_inline(active, keys)
                .and_then(|(active, others)| Self::assemble(name, None, &active, others))
                .map_err(|problem| problem.in_ring(name, None)),
        }
    }

    fn from_file(name: &str, path: &Path, create: bool) -> Result<Self, KeyError> {
        let place = path.display().to_string();
        let text = match file::read(path) {
            Err(KeyProblem::Missing) if create => create_and_read(name, path),
            read => read,
        };
        let text = text.map_err(|problem| problem.in_ring(name, Some(place.clone())))?;
        let parsed = text::parse(&text).map_err(|(line, problem)| {
            let place = line.map_or_else(|| place.clone(), |line| format!("{place} line {line}"));
            problem.in_ring(name, Some(place))
        })?;
        Self::assemble(name, Some(place.clone()), &parsed.active, parsed.keys)
            .map_err(|problem| problem.in_ring(name, Some(place)))
    }

    fn from_inline(active: &str, keys: &[InlineKey]) -> Result<(String, Vec<Key>), KeyProblem> {
        let read = |key: &InlineKey| {
            Key::read(KeyId::new(&key.id)?, key.key.expose(), key.iv.as_ref().map(crate::secret::Secret::expose))
        };
        Ok((active.to_owned(), keys.iter().map(read).collect::<Result<_, _>>()?))
    }

    fn assemble(name: &str, place: Option<String>, active: &str, mut keys: Vec<Key>) -> Result<Self, KeyProblem> {
        if keys.is_empty() {
            return Err(KeyProblem::NoKeys);
        }
        let twice = keys.iter().enumerate().find(|(index, key)| keys.iter().take(*index).any(|earlier| earlier.id == key.id));
        if let Some((_, key)) = twice {
            return Err(KeyProblem::Duplicate(key.id.to_string()));
        }
        let Some(index) = keys.iter().position(|key| key.id.as_str() == active) else {
            return Err(KeyProblem::ActiveUnknown { known: keys.iter().map(|key| key.id.to_string()).collect() });
        };
        let active = keys.remove(index);
        Ok(Self { name: name.into(), place, active, others: keys })
    }

    /// The ring's name in pipeline.toml.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that seals.
    #[must_use]
    pub fn active(&self) -> &Key {
        &self.active
    }

    /// The key of this id (a [`KeyId`] or text); none where the ring does not have it.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<&Key> {
        self.iter().find(|key| key.id.as_str() == id)
    }

    /// Every key, the active one first, then the others in the order in which they are written down.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.active).chain(&self.others)
    }

    /// Checks every key's length against what a cipher takes (`key-bytes` of its parameters, 32 for most).
    ///
    /// # Errors
    /// Names ring, key, and the length found and expected.
    pub fn check_length(&self, expected_bytes: usize) -> Result<(), KeyError> {
        let Some(key) = self.iter().find(|key| key.material.expose().len() != expected_bytes) else {
            return Ok(());
        };
        let found = key.material.expose().len();
        let problem = KeyProblem::Length {
            key: key.id.to_string(),
            found,
            expected: format!("{expected_bytes}, which is what the cipher takes"),
        };
        Err(problem.in_ring(&self.name, self.place.clone()))
    }
}

/// Makes the file with a fresh key. Where two do so at once, one wins and both read what it made.
fn create_and_read(ring: &str, path: &Path) -> Result<zeroize::Zeroizing<String>, KeyProblem> {
    let fresh = generate::generate()?;
    if file::create(path, &fresh.created_text())? {
        info!(ring, key.id = %fresh.id, file = %path.display(), "made a key ring with a fresh key; keep a backup of it: what it seals cannot be read without it");
    }
    file::read(path)
}

#[cfg(test)]
mod tests;
