//! A process that can be stopped, killed and paused, and that ends with its scratch folder.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::deadline::wait_for;
use crate::failure::While;
use crate::scratch::Scratch;
use crate::{Failure, Result};

/// Longest wait for a process to come up, and to end when asked.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where free ports are looked for: below those that systems give to whoever connects (from 32768 on Linux), because one of those may be gone
/// before a server has it, and each time that the server is down.
const PORTS: Range<u16> = 12_000..32_000;

/// A port of the loopback interface that was free a moment ago.
///
/// # Errors
/// Fails when there is none.
pub fn free_port() -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    // Each process begins somewhere else.
    let (start, count) = (RandomState::new().hash_one(()), u64::from(PORTS.end - PORTS.start));
    let port =
        (0..count).filter_map(|step| u16::try_from(u64::from(PORTS.start) + start.wrapping_add(step) % count).ok()).find(is_free);
    port.ok_or_else(|| Failure::new(format!("none of the ports {PORTS:?} is free")))
}

/// How a service is run.
pub(crate) struct Recipe {
    /// For errors.
    pub(crate) name: &'static str,
    /// The program, its arguments and environment. It must stay in the foreground.
    pub(crate) command: Box<dyn Fn() -> Command + Send + Sync>,
    /// The signal for a clean stop.
    pub(crate) stop_signal: &'static str,
    /// Whether it serves.
    pub(crate) is_ready: Box<dyn Fn() -> bool + Send + Sync>,
}

/// The process, running or not. Its data stay in the scratch folder over stops and starts.
pub struct Service {
    recipe: Recipe,
    log: PathBuf,
    process: Option<Child>,
    scratch: Scratch,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("name", &self.recipe.name).field("process", &self.process).finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new(scratch: Scratch, recipe: Recipe) -> Self {
        Self { recipe, log: scratch.path().join("log"), process: None, scratch }
    }

    /// Starts it, and waits until it serves. Nothing happens when it runs.
    ///
    /// # Errors
    /// Fails when it ends instead, or takes too long; the error holds the end of its log.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let ready = wait_for(&format!("{} to serve", self.recipe.name), PATIENCE, || {
            if let Some(status) = self.exited()? {
                return Err(Failure::new(format!("{} ended with {status}", self.recipe.name)));
            }
            Ok((self.recipe.is_ready)().then_some(()))
        });
        ready.map_err(|failure| Failure::new(format!("{failure}\n{}", self.log_tail())))
    }

    /// Starts it without waiting. Nothing happens when it runs.
    pub(crate) fn launch(&mut self) -> Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let log = open_log(&self.log)?;
        let errors = log.try_clone().doing("sharing a log file")?;
        let mut command = (self.recipe.command)();
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().doing(format!("starting {:?}", command.get_program()))?;
        self.scratch.adopt(child.id(), self.recipe.stop_signal)?;
        self.process = Some(child);
        Ok(())
    }

    /// Stops it as an operator would, and waits until it has ended.
    ///
    /// # Errors
    /// Fails when it does not run, or does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        send(self.recipe.stop_signal, &[i64::from(self.pid()?)])?;
        self.ended(PATIENCE)
    }

    /// Kills it (SIGKILL), and all that it started, and waits until it is gone.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        send("KILL", &self.everybody()?)?;
        self.ended(PATIENCE)
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open, and nobody answers.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn pause(&self) -> Result<()> {
        send("STOP", &self.everybody()?)
    }

    /// Lets it go on after a pause.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn resume(&self) -> Result<()> {
        send("CONT", &self.everybody()?)
    }

    /// Asks it to stop, without waiting.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn ask_to_stop(&self) -> Result<()> {
        send(self.recipe.stop_signal, &[i64::from(self.pid()?)])
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// Fails after `longest`, or when it does not run.
    pub fn ended(&mut self, longest: Duration) -> Result<ExitStatus> {
        let pid = self.pid()?;
        let status = wait_for(&format!("{} to end", self.recipe.name), longest, || self.exited())?;
        self.scratch.release(pid);
        self.process = None;
        Ok(status)
    }

    /// Its process.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.process.as_ref().map(Child::id).ok_or_else(|| Failure::new(format!("{} does not run", self.recipe.name)))
    }

    /// Its scratch folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// All that it has said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of what it has said, for errors.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(40)).copied().collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        match &mut self.process {
            Some(child) => child.try_wait().doing("waiting for a process"),
            None => Err(Failure::new(format!("{} does not run", self.recipe.name))),
        }
    }

    /// Its process group, and its descendants outside of it: the workers of PostgreSQL lead groups of their own.
    fn everybody(&self) -> Result<Vec<i64>> {
        let pid = self.pid()?;
        let mut targets = vec![-i64::from(pid)];
        targets.extend(descendants(pid).into_iter().map(i64::from));
        Ok(targets)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The reaper waits for the process group to be gone, and a process is gone when its parent has taken its status.
        if self.process.is_some() && self.ask_to_stop().is_ok() && self.ended(Duration::from_secs(3)).is_err() {
            self.kill().map(drop).unwrap_or_default();
        }
    }
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).doing(format!("opening {}", path.display()))
}

/// The shell's own `kill` serves: the program of that name is not everywhere, and a system call would be unsafe code.
fn send(signal: &str, targets: &[i64]) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"for t in "$@"; do kill -s "$0" -- "$t"; done"#, signal]).args(targets.iter().map(i64::to_string));
    // Who has ended in between is no failure.
    command.stderr(Stdio::null()).status().doing("sending a signal").map(drop)
}

/// All processes below one, from `/proc`; none where there is no `/proc`.
#[must_use]
pub fn descendants(root: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let parents: Vec<(u32, u32)> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(of) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, parentheses and spaces too.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
