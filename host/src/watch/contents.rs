//! What files hold, by digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;

/// What each file holds; none for one that cannot be read: it is gone, a folder, or not for this process.
///
/// Neither time nor size decide: a file that is restored from a copy has both of old, and an editor may write the same bytes again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Contents(BTreeMap<PathBuf, Option<[u8; 32]>>);

impl Contents {
    /// Reads files. Blocking.
    #[must_use]
    pub(super) fn read(files: &BTreeSet<PathBuf>) -> Self {
        Self(files.iter().map(|file| (file.clone(), digest(file).ok())).collect())
    }

    /// The same, of these files only.
    pub(super) fn restricted(&self, files: &BTreeSet<PathBuf>) -> Self {
        let kept = self.0.iter().filter(|(file, _)| files.contains(*file));
        Self(kept.map(|(file, digest)| (file.clone(), *digest)).collect())
    }
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    if !path.metadata()?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}
