//! Files that hold keys: who may read them, and how they come to be.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::KeyProblem;
use super::random;

/// Most bytes of a key file: thousands of keys.
const LIMIT: u64 = 1 << 20;

const ROOT: u32 = 0;

/// Reads a file that nobody else may use. Links are followed and what they lead to is checked, because that is how secrets are
/// mounted into containers.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, KeyProblem> {
    // Before it is opened: opening a pipe would wait for a writer.
    check_kind(&fs::metadata(path).map_err(|error| not_found(path, error))?)?;
    let file = File::open(path).map_err(|error| not_found(path, error))?;
    // What was opened counts, whatever the path leads to by now.
    let metadata = file.metadata().map_err(KeyProblem::Unreadable)?;
    check_kind(&metadata)?;
    check_access(&metadata, running_user(), path)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(LIMIT)).unwrap_or_default() + 1));
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(KeyProblem::Unreadable)?;
    if bytes.len() as u64 > LIMIT {
        return Err(KeyProblem::TooLarge { limit: LIMIT });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyProblem::NotText)?;
    match text.trim() {
        "" => Err(KeyProblem::Empty),
        _ => Ok(Zeroizing::new(text.to_owned())),
    }
}

fn not_found(path: &Path, error: io::Error) -> KeyProblem {
    match error.kind() {
        ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => KeyProblem::DanglingLink,
        ErrorKind::NotFound => KeyProblem::Missing,
        _ => KeyProblem::Unreadable(error),
    }
}

fn check_kind(metadata: &Metadata) -> Result<(), KeyProblem> {
    if metadata.is_file() { Ok(()) } else { Err(KeyProblem::NotAFile) }
}

fn check_access(metadata: &Metadata, user: Option<u32>, path: &Path) -> Result<(), KeyProblem> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    match user {
        Some(user) if owner != user && owner != ROOT => Err(KeyProblem::Owner { owner, user, path: path.to_owned() }),
        _ if mode & open_to_others(owner, user) != 0 => Err(KeyProblem::Mode { mode, path: path.to_owned() }),
        _ => Ok(()),
    }
}

/// The permission bits that must not be set. A user other than root can read a file of root's by its group alone, which is how Kubernetes
/// hands secrets over (`fsGroup`, mode 0440); PostgreSQL has the same rule for its TLS keys.
fn open_to_others(owner: u32, user: Option<u32>) -> u32 {
    let by_group = owner == ROOT && user.is_some_and(|user| user != ROOT);
    if by_group { 0o037 } else { 0o077 }
}

/// The effective user of this process; none where there is no `/proc` to tell. There, a file that was opened and has mode 0600 belongs to
/// the running user anyway, unless that is root.
fn running_user() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Makes the file with mode 0600, and its folder where that is missing; false where it is there already. It appears whole or not at all,
/// and what is there is never replaced.
pub(super) fn create(path: &Path, text: &str) -> Result<bool, KeyProblem> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(KeyProblem::Create)?;
    let draft = Draft(draft_path(folder, path)?);
    write_new(&draft.0, text).map_err(KeyProblem::Create)?;
    // A link fails where the name is taken, so of two starts at once one wins; a rename would replace the other's key.
    match fs::hard_link(&draft.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(KeyProblem::Create(error)),
    }
    // The name must last as long as what is sealed under the key.
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(KeyProblem::Create)?;
    Ok(true)
}

fn draft_path(folder: &Path, path: &Path) -> Result<PathBuf, KeyProblem> {
    let mut random = [0; 8];
    random::fill(&mut random)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(folder.join(format!(".{name}.{:016x}.tmp", u64::from_ne_bytes(random))))
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// A file with a name of its own, gone when dropped.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "a draft of a key file could not be removed; delete it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn file(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_of_mode_0600_or_stricter_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o400] {
            assert_eq!(read(&file(folder.path(), &format!("{mode:o}"), "x", mode)).unwrap().as_str(), "x");
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o620, 0o640, 0o602, 0o777, 0o601] {
            let path = file(folder.path(), &format!("{mode:o}"), "x", mode);
            let problem = read(&path).unwrap_err().to_string();
            assert!(problem.contains(&format!("chmod 600 {}", path.display())), "{problem}");
            assert!(problem.contains(&format!("{mode:04o}")), "{problem}");
        }
    }

    #[test]
    fn a_secret_of_root_may_be_read_by_its_group_alone_where_the_user_is_not_root() {
        assert_eq!(open_to_others(0, Some(65534)) & 0o440, 0);
        assert_ne!(open_to_others(0, Some(65534)) & 0o444, 0);
        assert_ne!(open_to_others(0, Some(65534)) & 0o660, 0);
        assert_ne!(open_to_others(65534, Some(65534)) & 0o440, 0);
        assert_ne!(open_to_others(0, Some(0)) & 0o440, 0);
        assert_ne!(open_to_others(0, None) & 0o440, 0);
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "keys.toml", "x", 0o600);
        let metadata = fs::metadata(&path).unwrap();
        let someone = metadata.uid() + 1;
        let checked = check_access(&metadata, Some(someone), &path);
        match metadata.uid() {
            ROOT => assert!(checked.is_ok()),
            _ => assert!(matches!(checked, Err(KeyProblem::Owner { user, .. }) if user == someone)),
        }
        assert_eq!(running_user(), Some(metadata.uid()));
    }

    #[test]
    fn links_are_followed_and_their_target_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        file(folder.path(), "target", "x", 0o400);
        symlink("target", folder.path().join("..data")).unwrap();
        symlink("..data", &path).unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "x");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read(&path), Err(KeyProblem::Mode { mode: 0o644, .. })));
    }

    #[test]
    fn what_is_no_key_file_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(KeyProblem::NotAFile)));
        assert!(matches!(read(&folder.path().join("none")), Err(KeyProblem::Missing)));
        assert!(matches!(read(&folder.path().join("none/none")), Err(KeyProblem::Missing)));
        assert!(matches!(read(&file(folder.path(), "empty", " \n", 0o600)), Err(KeyProblem::Empty)));
        assert!(matches!(read(&folder.path().join("empty/none")), Err(KeyProblem::Unreadable(_))));
        let large = file(folder.path(), "large", &"x".repeat((1 << 20) + 1), 0o600);
        assert!(matches!(read(&large), Err(KeyProblem::TooLarge { .. })));
        fs::write(&large, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&large), Err(KeyProblem::NotText)));
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(read(&socket), Err(KeyProblem::NotAFile)));
    }

    #[test]
    fn a_file_is_made_with_its_folder_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/keys.toml");
        assert!(create(&path, "first").unwrap());
        assert!(!create(&path, "second").unwrap());
        assert_eq!(read(&path).unwrap().as_str(), "first");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().mode() & 0o077, 0);
        assert_eq!(fs::read_dir(folder.path().join("a/b")).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "file", "x", 0o600).join("keys.toml");
        assert!(matches!(create(&path, "x"), Err(KeyProblem::Create(_))));
    }

    #[test]
    fn of_many_that_create_at_once_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let wins: Vec<_> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|text| {
                    scope.spawn({
                        let path = &path;
                        move || (create(path, &text.to_string()).unwrap(), read(path).unwrap())
                    })
                })
                .collect();
            tries.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(wins.iter().filter(|(won, _)| *won).count(), 1);
        assert!(wins.iter().all(|(_, text)| *text == wins[0].1));
    }
}
