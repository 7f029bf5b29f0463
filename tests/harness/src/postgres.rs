//! A PostgreSQL of one's own: a fresh cluster in a scratch folder, on a free port of the loopback interface, under a user of its own
//! where this process is root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::While;
use crate::programs::{Server, ensure, is_root, unprivileged};
use crate::scratch::Scratch;
use crate::service::{Recipe, Service, free_port};
use crate::{Failure, Result};

const USER: &str = "tidegate";
const PASSWORD: &str = "tidegate";

/// Whether what is committed survives the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// As in production: for benchmarks.
    Fsync,
    /// It survives the death of the server, not of the machine: enough for tests, and much faster.
    NoFsync,
}

/// The server. Dropping it ends it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    /// Its process: stop it, kill it, pause it.
    pub service: Service,
    port: u16,
}

impl Postgres {
    /// Starts one.
    ///
    /// # Errors
    /// Fails when PostgreSQL is not installed, or does not come up.
    pub fn start(durability: Durability) -> Result<Self> {
        ensure(&[Server::Postgres])?;
        let (programs, scratch, port) = (Server::Postgres.folder()?, Scratch::new("postgres")?, free_port()?);
        let data = scratch.path().join("data");
        make_cluster(&programs, scratch.path(), &data)?;
        let (program, ready) = (programs.join("postgres"), programs.join("pg_isready"));
        let command = move || {
            let mut command = Command::new(&program);
            command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-c", "unix_socket_directories="]);
            command.args([
                "-c",
                "max_connections=200",
                "-c",
                if durability == Durability::Fsync { "fsync=on" } else { "fsync=off" },
            ]);
            as_nobody_special(&mut command);
            command
        };
        let is_ready = move || {
            let mut command = Command::new(&ready);
            command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string(), "-d", "postgres", "-U", USER]).stdout(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        // SIGINT is PostgreSQL's fast stop: it ends sessions instead of waiting for them.
        let recipe = Recipe { name: "postgres", command: Box::new(command), stop_signal: "INT", is_ready: Box::new(is_ready) };
        let mut service = Service::new(scratch, recipe);
        service.start()?;
        Ok(Self { service, port })
    }

    /// The address of its maintenance database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/postgres", self.port)
    }
}

fn make_cluster(programs: &Path, scratch: &Path, data: &Path) -> Result<()> {
    let password = scratch.join("password");
    fs::write(&password, PASSWORD).doing("writing a password file")?;
    fs::create_dir(data).doing("making a folder")?;
    if is_root() {
        let (user, group) = unprivileged()?;
        chown(data, Some(user), Some(group)).doing("giving a folder away")?;
        chown(&password, Some(user), Some(group)).doing("giving a file away")?;
    }
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).doing("closing a folder")?;
    let mut command = Command::new(programs.join("initdb"));
    command.arg("-D").arg(data).arg("--pwfile").arg(&password).args(["-U", USER, "-A", "scram-sha-256"]);
    command.args(["-E", "UTF8", "--no-locale", "--no-sync"]).current_dir(scratch);
    as_nobody_special(&mut command);
    let output = command.output().doing("starting initdb")?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("initdb ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr))))
}

/// PostgreSQL refuses to run as root.
fn as_nobody_special(command: &mut Command) {
    if is_root()
        && let Ok((user, group)) = unprivileged()
    {
        command.uid(user).gid(group);
    }
}
