//! Finding the servers' programs, and installing them where that is possible.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::While;
use crate::{Failure, Result};

/// A server that tests need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// RabbitMQ.
    RabbitMq,
    /// Redis.
    Redis,
    /// PostgreSQL.
    Postgres,
}

impl Server {
    /// The variable that names a running one.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::RabbitMq => "AMQP_URL",
            Self::Redis => "REDIS_URL",
            Self::Postgres => "DATABASE_URL",
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq-server",
            Self::Redis => "redis-server",
            Self::Postgres => "postgresql",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::RabbitMq => "rabbitmq-server",
            Self::Redis => "redis-server",
            Self::Postgres => "initdb",
        }
    }

    /// The folder of its programs.
    ///
    /// # Errors
    /// Fails, saying what to do, when it is not installed.
    pub fn folder(self) -> Result<PathBuf> {
        self.find().ok_or_else(|| {
            let (package, variable) = (self.package(), self.variable());
            Failure::new(format!(
                "`{}` is not installed: install {package}, or name a running server in {variable}",
                self.program()
            ))
        })
    }

    fn find(self) -> Option<PathBuf> {
        let mut folders = match self {
            // Debian's own wrapper on PATH changes the user and the folder; the script behind it does not.
            Self::RabbitMq => vec![PathBuf::from("/usr/lib/rabbitmq/bin")],
            Self::Redis => Vec::new(),
            Self::Postgres => debian_clusters(),
        };
        folders.extend(env::var_os("PATH").iter().flat_map(env::split_paths));
        folders.into_iter().find(|folder| folder.join(self.program()).is_file())
    }
}

/// Debian keeps PostgreSQL's server programs off PATH, in a folder a version: newest first.
fn debian_clusters() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut folders: Vec<PathBuf> = versions.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    folders.into_iter().map(|folder| folder.join("bin")).collect()
}

/// Installs what is missing, where this user may and `apt-get` exists.
///
/// # Errors
/// Fails, saying what to install or which variable to set, when something is missing and cannot be installed.
pub fn ensure(servers: &[Server]) -> Result<()> {
    let missing: Vec<Server> = servers.iter().copied().filter(|server| server.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|server| server.package()).collect();
    if is_root() && on_path("apt-get") {
        say(&format!("installing {} (apt-get)", packages.join(", ")));
        apt_get(&["update"])?;
        apt_get(&[&["install", "-y", "--no-install-recommends"], packages.as_slice()].concat())?;
    }
    missing.into_iter().try_for_each(|server| server.folder().map(drop))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Runlevel 1 keeps the packages from starting their own services.
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .doing("running apt-get")?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("apt-get {} ended with {status}", arguments.join(" ")))) }
}

/// Whether a program of this name is on PATH.
#[must_use]
pub fn on_path(program: &str) -> bool {
    env::var_os("PATH").iter().flat_map(env::split_paths).any(|folder| folder.join(program).is_file())
}

/// Whether this process runs as root.
#[must_use]
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// User and group that a server runs as which refuses to run as root: `postgres`, else `nobody`.
pub(crate) fn unprivileged() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").doing("reading /etc/passwd")?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).ok_or_else(|| Failure::new("there is neither a user `postgres` nor `nobody`"))
}

/// Says something to the person who waits.
pub fn say(text: &str) {
    // Nobody to read it is no failure.
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}
