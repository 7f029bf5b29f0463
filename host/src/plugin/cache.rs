//! Compiled code on disk, because compiling takes from a tenth of a second to ten. Losing the cache costs that time and nothing else.

use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tracing::{debug, warn};
use wasmtime::Engine;
use wasmtime::component::Component;

use super::hex;

/// Most files; the ones that were not used for longest go first.
const MAX_FILES: usize = 128;
/// A temporary file this old belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(3600);
/// What a file starts with: the form of what follows.
const MAGIC: &[u8; 8] = b"tgcwasm1";
const CHECKSUM_BYTES: usize = 32;

/// A folder of compiled code that nobody else may write.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    owner: u32,
    compatibility: String,
}

/// Makes names of temporary files differ within the process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

impl Cache {
    /// Opens the folder, and makes it where it is missing. A folder that cannot be trusted is not used: compiled code runs unchecked, so
    /// who may write it may run what they like in this process.
    pub(super) fn open(folder: &Path, engine: &Engine) -> Option<Self> {
        match prepare(folder) {
            Ok((folder, owner)) => Some(Self { folder, owner, compatibility: compatibility(engine) }),
            Err(problem) => {
                warn!(folder = %folder.display(), problem, "compiled plugins are not cached");
                None
            }
        }
    }

    /// The compiled form of the component with this digest (64 hexadecimal digits), if it is here and whole.
    pub(super) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let path = self.path(digest);
        let code = match self.read(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(problem) => {
                warn!(file = %path.display(), %problem, "a cached plugin is not used and is compiled again");
                return None;
            }
        };
        match deserialize(engine, &code) {
            Ok(component) => Some(component),
            Err(problem) => {
                warn!(file = %path.display(), %problem, "a cached plugin is not used and is compiled again");
                None
            }
        }
    }

    /// Keeps compiled code. A failure costs the next start some time, and is logged.
    pub(super) fn store(&self, digest: &str, code: &[u8]) {
        let path = self.path(digest);
        match self.write(&path, code) {
            Ok(()) => debug!(file = %path.display(), bytes = code.len(), "kept a compiled plugin"),
            Err(problem) => warn!(file = %path.display(), %problem, "a compiled plugin could not be kept"),
        }
        self.prune();
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.cwasm", self.compatibility))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.uid() != self.owner || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is no file of this user alone"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let code = checked(&bytes).ok_or_else(|| io::Error::other("it is damaged"))?.to_vec();
        // Best effort: the time of last use decides what is pruned.
        drop(file.set_modified(SystemTime::now()));
        Ok(code)
    }

    /// Writes beside the file and renames, so that no reader ever sees half of it.
    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
        let written = write_new(&temporary, code).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            // What cannot be removed now is removed by a later prune.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// Removes what was not used for longest, and what a killed process left half written.
    fn prune(&self) {
        let mut kept: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("cwasm") => kept.push((modified, path)),
                Some("tmp") if modified.elapsed().is_ok_and(|age| age > ABANDONED) => drop(fs::remove_file(path)),
                _ => {}
            }
        }
        kept.sort_unstable();
        let excess = kept.len().saturating_sub(MAX_FILES);
        kept.iter().take(excess).for_each(|(_, path)| drop(fs::remove_file(path)));
    }
}

/// The folder by its real name, and its owner.
fn prepare(folder: &Path) -> Result<(PathBuf, u32), String> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| format!("it cannot be made: {error}"))?;
    let folder = fs::canonicalize(folder).map_err(|error| error.to_string())?;
    let metadata = fs::metadata(&folder).map_err(|error| error.to_string())?;
    if metadata.mode() & 0o022 != 0 {
        return Err(format!("others may write it: its mode is {:03o}, and must be 700 or 755", metadata.mode() & 0o777));
    }
    if let Some(parent) = folder.ancestors().skip(1).find(|parent| anyone_may_rename_in(parent)) {
        return Err(format!("everybody may write {}, and so replace it", parent.display()));
    }
    // The standard library does not say who this process is; a file that it makes does.
    let probe = folder.join(format!("probe-{}-{}.tmp", std::process::id(), TEMPORARY.fetch_add(1, Ordering::Relaxed)));
    let made = write_new(&probe, b"").and_then(|()| fs::metadata(&probe));
    drop(fs::remove_file(&probe));
    match made.map_err(|error| format!("it cannot be written: {error}"))?.uid() == metadata.uid() {
        true => Ok((folder, metadata.uid())),
        false => Err("it belongs to another user".to_owned()),
    }
}

/// Writable by everybody without the sticky bit that keeps them from each other's files.
fn anyone_may_rename_in(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0)
}

fn write_new(path: &Path, code: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)
}

/// The code in a file's bytes, if they are what was written.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (checksum, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(CHECKSUM_BYTES)?;
    (Sha256::digest(code).as_slice() == checksum).then_some(code)
}

/// Loads code that this host compiled.
#[expect(
    unsafe_code,
    reason = "the bytes are what `serialize` gave to this program for an engine of the same version, settings and processor (the file's name carries \
              wasmtime's compatibility hash, and wasmtime compares it again), whole (checksum), from a file and a folder that only this user may write"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: as the reason above says; `Cache::read` and `prepare` hold the file and the folder against it.
    unsafe { Component::deserialize(engine, code) }
}

/// The engine's compatibility hash as text.
fn compatibility(engine: &Engine) -> String {
    let mut hasher = Hashed(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hex(hasher.0.finalize().iter().take(8))
}

/// Feeds a digest: the standard hasher may change between releases of Rust.
struct Hashed(Sha256);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Not used: the digest itself is.
    fn finish(&self) -> u64 {
        0
    }
}
