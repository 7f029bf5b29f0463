//! Each way in which a file changes, really done to files, by events and by polling alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);
/// With events the poll comes too late to be what told.
const EVENTS: Timing = Timing { settle: Duration::from_millis(40), poll: Duration::from_secs(3600) };
const POLL: Timing = Timing { settle: Duration::from_millis(40), poll: Duration::from_millis(20) };
/// Long enough for whatever could be told by mistake.
const QUIET: Duration = Duration::from_millis(400);

struct Trial {
    folder: TempDir,
    watch: Watching,
}

impl Trial {
    /// A watch over `a.toml` in a folder, for each of both mechanisms.
    async fn both(prepare: impl Fn(&Path)) -> Vec<Self> {
        let one = |polls: bool| {
            let folder = tempfile::tempdir().unwrap();
            prepare(folder.path());
            let files = BTreeSet::from([folder.path().join("a.toml")]);
            let (timing, hints) = if polls { (POLL, None) } else { (EVENTS, Some(Hints::new(&files))) };
            let watch = Watching::new(files, timing, hints);
            Self { folder, watch }
        };
        let mut both = vec![one(false), one(true)];
        for trial in &mut both {
            // What they hold at first.
            trial.is_told().await;
        }
        both
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    async fn is_told(&mut self) {
        timeout(DEADLINE, self.watch.changed()).await.expect("the change is told");
        let now = Contents::read(&self.watch.files, &mut Memory::default());
        assert_eq!(self.watch.known, now, "what was told is what the files hold");
    }

    async fn is_quiet(&mut self) {
        assert!(timeout(QUIET, self.watch.changed()).await.is_err(), "nothing has changed");
    }
}

fn plain(folder: &Path) {
    fs::write(folder.join("a.toml"), "one").unwrap();
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_told() {
    for mut trial in Trial::both(plain).await {
        trial.is_quiet().await;
        trial.write("a.toml", "two");
        trial.is_told().await;
        trial.is_quiet().await;
    }
}

#[tokio::test]
async fn a_file_that_is_renamed_over_is_told_each_time() {
    for mut trial in Trial::both(plain).await {
        for content in ["two", "three", "four"] {
            trial.write("a.toml.new", content);
            fs::rename(trial.path("a.toml.new"), trial.path("a.toml")).unwrap();
            trial.is_told().await;
        }
    }
}

#[tokio::test]
async fn the_same_content_again_is_no_change() {
    for mut trial in Trial::both(plain).await {
        trial.write("a.toml", "one");
        trial.write("b.toml", "one");
        fs::rename(trial.path("b.toml"), trial.path("a.toml")).unwrap();
        trial.is_quiet().await;
        // Gone and back before it came to rest.
        fs::remove_file(trial.path("a.toml")).unwrap();
        trial.write("a.toml", "one");
        trial.is_quiet().await;
    }
}

#[tokio::test]
async fn a_deleted_file_is_told_and_so_is_its_return() {
    for mut trial in Trial::both(plain).await {
        fs::remove_file(trial.path("a.toml")).unwrap();
        trial.is_told().await;
        trial.write("a.toml", "one");
        trial.is_told().await;
        fs::remove_file(trial.path("a.toml")).unwrap();
        fs::create_dir(trial.path("a.toml")).unwrap();
        trial.is_told().await;
    }
}

#[tokio::test]
async fn a_file_that_is_written_in_pieces_is_told_whole() {
    for mut trial in Trial::both(plain).await {
        let path = trial.path("a.toml");
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            for length in 1..=20 {
                fs::write(&path, "x".repeat(length)).unwrap();
                sleep(Duration::from_millis(10)).await;
            }
        });
        trial.is_told().await;
        let told = trial.watch.known.clone();
        writing.join_next().await;
        // On a machine that stalls the writer for longer than `settle` a piece may be told; the whole is told all the same.
        if told != Contents::read(&trial.watch.files, &mut Memory::default()) {
            trial.is_told().await;
        }
        assert_eq!(trial.watch.known, Contents::read(&trial.watch.files, &mut Memory::default()));
    }
}

#[tokio::test]
async fn a_burst_of_saves_is_told_with_its_last_content() {
    for mut trial in Trial::both(plain).await {
        for save in 0..100 {
            trial.write("a.toml", &format!("save {save}"));
        }
        trial.is_told().await;
        trial.is_quiet().await;
    }
}

#[tokio::test]
async fn a_file_that_never_rests_is_told_all_the_same() {
    for mut trial in Trial::both(plain).await {
        let path = trial.path("a.toml");
        let mut writing = tokio::task::JoinSet::new();
        writing.spawn(async move {
            for count in 0_u64.. {
                fs::write(&path, count.to_string()).unwrap();
                sleep(Duration::from_millis(5)).await;
            }
        });
        timeout(DEADLINE, trial.watch.changed()).await.expect("it is told although it changes on");
        writing.abort_all();
    }
}

/// As Kubernetes mounts a config map.
fn mounted(folder: &Path) {
    fs::create_dir(folder.join("..2024_1")).unwrap();
    fs::write(folder.join("..2024_1/a.toml"), "one").unwrap();
    symlink("..2024_1", folder.join("..data")).unwrap();
    symlink("..data/a.toml", folder.join("a.toml")).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_swapped_under_a_link_is_told() {
    for mut trial in Trial::both(mounted).await {
        for version in 2..4 {
            let folder = trial.path(&format!("..2024_{version}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("a.toml"), version.to_string()).unwrap();
            symlink(format!("..2024_{version}"), trial.path("..data_tmp")).unwrap();
            fs::rename(trial.path("..data_tmp"), trial.path("..data")).unwrap();
            fs::remove_dir_all(trial.path(&format!("..2024_{}", version - 1))).unwrap();
            trial.is_told().await;
        }
        trial.is_quiet().await;
    }
}

#[tokio::test]
async fn a_link_whose_target_changes_is_told() {
    for mut trial in Trial::both(|folder| {
        fs::create_dir(folder.join("elsewhere")).unwrap();
        fs::write(folder.join("elsewhere/real.toml"), "one").unwrap();
        symlink("elsewhere/real.toml", folder.join("a.toml")).unwrap();
    })
    .await
    {
        trial.write("elsewhere/real.toml", "two");
        trial.is_told().await;
    }
}

#[tokio::test]
async fn a_link_that_is_there_before_its_target_is_told_once_the_target_comes() {
    for mut trial in Trial::both(|folder| symlink("later.toml", folder.join("a.toml")).unwrap()).await {
        trial.is_quiet().await;
        trial.write("later.toml", "one");
        trial.is_told().await;
    }
}

#[tokio::test]
async fn a_folder_that_comes_later_is_found_by_the_poll() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later/a.toml");
    let mut watch = Watch::new(BTreeSet::from([file.clone()]), POLL);
    watch.changed().await;
    fs::create_dir(folder.path().join("later")).unwrap();
    fs::write(&file, "one").unwrap();
    timeout(DEADLINE, watch.changed()).await.expect("the file is found");
}

#[tokio::test]
async fn other_files_are_followed_and_a_change_that_was_not_told_is_told_still() {
    for mut trial in Trial::both(plain).await {
        trial.write("b.toml", "b");
        trial.write("a.toml", "two");
        let files = BTreeSet::from([trial.path("a.toml"), trial.path("b.toml")]);
        let timing = trial.watch.timing;
        trial.watch.follow(Following { files, timing, round: 0 });
        trial.is_told().await;
        trial.is_quiet().await;
        trial.write("b.toml", "c");
        trial.is_told().await;
    }
}
