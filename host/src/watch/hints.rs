//! The system's events, as hints that it is time to look.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tracing::{debug, warn};

/// Longest chain of links that is followed.
const MAX_LINKS: usize = 40;

/// Watches the folders in which files, and the links that lead to them, lie.
pub(super) struct Hints {
    /// None where the system has no events; the poll goes on without.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    nudge: Arc<Notify>,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Hints {
    #[must_use]
    pub(super) fn new(files: &BTreeSet<PathBuf>) -> Self {
        let nudge = Arc::new(Notify::new());
        let nudged = Arc::clone(&nudge);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may mean that events were lost: a reason to look as well. Reading files is no change of them.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                nudged.notify_one();
            }
        });
        let watcher = watcher.inspect_err(|error| warn!(%error, "saved files are noticed by polling alone")).ok();
        let mut hints = Self { watcher, folders: BTreeSet::new(), nudge };
        hints.follow(files);
        hints
    }

    /// Waits for a hint. One that came since the last is not lost.
    pub(super) async fn next(&self) {
        self.nudge.notified().await;
    }

    /// Watches the folders of these files, wherever links lead by now.
    pub(super) fn follow(&mut self, files: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let folders: BTreeSet<PathBuf> =
            files.iter().flat_map(|file| folders_of(file)).filter(|folder| folder.is_dir()).collect();
        for folder in self.folders.difference(&folders) {
            // A folder that is gone is not watched any more already.
            drop(watcher.unwatch(folder));
        }
        let mut watched = BTreeSet::new();
        for folder in folders {
            if self.folders.contains(&folder) {
                watched.insert(folder);
            } else {
                match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    Ok(()) => drop(watched.insert(folder)),
                    Err(error) => debug!(folder = %folder.display(), %error, "the folder is looked at by polling alone"),
                }
            }
        }
        self.folders = watched;
    }
}

/// The folder of a file, and of everything that links lead over: `pipeline.toml -> ..data/pipeline.toml`, `..data -> ..2024_1`.
fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut waiting = vec![file.to_owned()];
    let mut links = 0;
    while let Some(path) = waiting.pop() {
        // Any part of the path may be a link.
        for part in path.ancestors().filter(|part| part.parent().is_some()) {
            let Ok(target) = std::fs::read_link(part) else { continue };
            links += 1;
            if links > MAX_LINKS {
                return folders;
            }
            let folder = part.parent().unwrap_or(Path::new("/"));
            folders.insert(folder_of(part));
            let rest = path.strip_prefix(part).unwrap_or(Path::new(""));
            waiting.push(if rest.as_os_str().is_empty() { folder.join(target) } else { folder.join(target).join(rest) });
        }
        folders.insert(folder_of(&path));
    }
    folders
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
