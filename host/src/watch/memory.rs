//! What files held when they were read last, so that a poll reads only those that somebody has touched since.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;
/// A stamp that is not older may be that of a later change too: clocks of file systems tick coarsely, some once in two seconds.
const YOUNG: Duration = Duration::from_secs(3);
/// One poll in so many reads everything: what a change leaves behind is up to the file system.
const THOROUGH: u32 = 12;

/// Digests, each with what the system said of the file just before it was read.
#[derive(Debug, Default)]
pub(super) struct Memory {
    polls: u32,
    known: BTreeMap<PathBuf, (Stamp, [u8; 32])>,
}

/// What the system says of a file. Nobody can set the time of its last change (`ctime`) back, as time and size of a restored copy are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Memory {
    /// Notes that nothing but time has passed.
    pub(super) fn poll(&mut self) {
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(THOROUGH) {
            self.forget();
        }
    }

    /// Notes that everything is to be read.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// What a file holds. Blocking.
    ///
    /// # Errors
    /// It cannot be read, or is no file.
    pub(super) fn digest(&mut self, path: &Path) -> io::Result<[u8; 32]> {
        let metadata = path.metadata()?;
        // Before it is opened: opening a pipe would wait for whoever writes to it.
        if !metadata.is_file() {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let stamp = Stamp::of(&metadata);
        if let Some((_, digest)) = self.known.get(path).filter(|(known, _)| *known == stamp) {
            return Ok(*digest);
        }
        let digest = read(path)?;
        if stamp.is_old(SystemTime::now()) {
            self.known.insert(path.to_owned(), (stamp, digest));
        }
        Ok(digest)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_old(&self, now: SystemTime) -> bool {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(self.changed.0.try_into().unwrap_or(0));
        now.duration_since(changed).is_ok_and(|age| age > YOUNG)
    }
}

fn read(path: &Path) -> io::Result<[u8; 32]> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finalize().into()),
            length => hasher.update(piece.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A memory of a file that was last changed long ago, with a digest that is not its own, so that reading shows.
    fn remembered(path: &Path) -> Memory {
        let stamp = Stamp::of(&path.metadata().unwrap());
        Memory { polls: 0, known: BTreeMap::from([(path.to_owned(), (stamp, [7; 32]))]) }
    }

    #[test]
    fn what_nobody_has_touched_is_not_read_again_until_a_thorough_poll() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "one").unwrap();
        let mut memory = remembered(&path);
        for _ in 1..THOROUGH {
            memory.poll();
            assert_eq!(memory.digest(&path).unwrap(), [7; 32]);
        }
        memory.poll();
        assert_eq!(memory.digest(&path).unwrap(), read(&path).unwrap());
    }

    #[test]
    fn a_copy_with_the_size_and_the_time_of_old_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "one").unwrap();
        let modified = path.metadata().unwrap().modified().unwrap();
        let mut memory = remembered(&path);
        // The clock that stamps files has to tick in between.
        while Stamp::of(&path.metadata().unwrap()).changed == memory.known[&path].0.changed {
            fs::write(&path, "two").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!(memory.digest(&path).unwrap(), read(&path).unwrap());
    }

    #[test]
    fn a_file_that_was_changed_just_now_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        fs::write(&path, "one").unwrap();
        let mut memory = Memory::default();
        memory.digest(&path).unwrap();
        assert!(memory.known.is_empty(), "another change could come with the same stamp");
        // Older than the test that was built from it.
        memory.digest(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))).unwrap();
        assert_eq!(memory.known.len(), 1);
        let stamp = Stamp::of(&path.metadata().unwrap());
        assert!(!stamp.is_old(SystemTime::now()));
        assert!(stamp.is_old(SystemTime::now() + YOUNG * 2));
    }
}
