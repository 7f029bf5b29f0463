//! A folder and the processes that live in it; both are gone when their owner is.
//!
//! A small shell in a process group of its own waits for the end of its input. That end comes when the owner is dropped, and just as
//! well when it is interrupted, panics or is killed: whatever happens, no server and no file is left behind.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::failure::While;
use crate::{Failure, Result};

/// `$1` is the folder; `groups/<process group>` holds the signal that ends it gently.
const REAPER: &str = r#"
while read -r _; do :; done
cd "$1/groups" || exit 1
alive() { for g in *; do [ "$g" = '*' ] || { kill -s 0 -- "-$g" 2>/dev/null && return 0; }; done; return 1; }
for g in *; do [ "$g" = '*' ] || { kill -s CONT -- "-$g"; kill -s "$(cat "$g")" -- "-$g"; } 2>/dev/null; done
n=0; while [ $n -lt 50 ] && alive; do sleep 0.1; n=$((n + 1)); done
for g in *; do [ "$g" = '*' ] || kill -s KILL -- "-$g" 2>/dev/null; done
cd / && rm -rf -- "$1"
"#;

/// Where this process makes its folders, when it has said so.
static PARENT: OnceLock<PathBuf> = OnceLock::new();

/// From now on this process makes its scratch folders here, and not where the system keeps temporary files.
///
/// # Errors
/// Fails when it has said so before, or there is no such folder.
pub fn make_in(parent: &Path) -> Result<()> {
    if !parent.is_dir() {
        return Err(Failure::new(format!("there is no folder {}", parent.display())));
    }
    PARENT.set(parent.to_owned()).map_err(|_| Failure::new("the scratch folders have their place already"))
}

/// The folder. Dropping it ends what runs in it and removes it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    reaper: Child,
}

impl Scratch {
    /// A fresh folder under the system's folder for temporary files, or where [`make_in`] said.
    ///
    /// # Errors
    /// Fails when the folder cannot be made, or `sh` is missing.
    pub fn new(name: &str) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let unique = format!("tidegate-{name}-{}-{now:x}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = PARENT.get().map_or_else(std::env::temp_dir, PathBuf::clone).join(unique);
        fs::create_dir(&path).and_then(|()| fs::create_dir(path.join("groups"))).doing(format!("making {}", path.display()))?;
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "tidegate-reaper"])
            .arg(&path)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .doing("starting `sh`")?;
        Ok(Self { path, reaper })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a process group that must not outlive the folder, and the signal that ends it.
    ///
    /// # Errors
    /// Fails when the folder cannot be written to.
    pub(crate) fn adopt(&self, group: u32, signal: &str) -> Result<()> {
        fs::write(self.note(group), signal).doing("noting a process")
    }

    /// Forgets a process group that has ended: its number may soon be somebody else's.
    pub(crate) fn release(&self, group: u32) {
        // A note that is gone already is as good as one that goes now.
        fs::remove_file(self.note(group)).unwrap_or_default();
    }

    fn note(&self, group: u32) -> PathBuf {
        self.path.join("groups").join(group.to_string())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        // The wait is for order's sake: the reaper does its work either way.
        self.reaper.wait().map(drop).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_scratch_leaves_neither_folder_nor_process() {
        let scratch = Scratch::new("test").unwrap();
        let path = scratch.path().to_owned();
        let mut sleeper = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        scratch.adopt(sleeper.id(), "TERM").unwrap();
        // The reaper waits for the group to end: somebody must take the exit status, as a parent that dies lets init do.
        let waiter = std::thread::spawn(move || sleeper.wait().unwrap().success());
        drop(scratch);
        assert!(!path.exists());
        assert!(!waiter.join().unwrap());
    }
}
