//! What files hold, by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::memory::Memory;

/// What each file holds; none for one that cannot be read: it is gone, a folder, or not for this process.
///
/// Neither time nor size decide what is a change: a file that is restored from a copy has both of old, and an editor may write the same bytes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Contents {
    /// Reads files, but for what is remembered of them. Blocking.
    #[must_use]
    pub(super) fn read(files: &BTreeSet<PathBuf>, memory: &mut Memory) -> Self {
        Self(files.iter().map(|file| (file.clone(), memory.digest(file).ok())).collect())
    }

    /// The same, of these files only.
    pub(super) fn restricted(&self, files: &BTreeSet<PathBuf>) -> Self {
        let kept = self.0.iter().filter(|(file, _)| files.contains(*file));
        Self(kept.map(|(file, digest)| (file.clone(), *digest)).collect())
    }
}
