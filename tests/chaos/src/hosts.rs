//! The hosts: one, or beside it another one that waits for its turn on the same queue.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate_harness::deadline::wait_for;
use tidegate_harness::host::{Arguments, Host};
use tidegate_harness::programs::say;
use tidegate_harness::service::free_port;
use tidegate_harness::{Failure, Result};

/// The variable by which hosts of one folder listen for their operators at ports of their own.
pub(crate) const ADMIN_PORT: &str = "CHAOS_ADMIN_PORT";
/// Its number, the same on every Unix.
const SIGTERM: i32 = 15;

/// All hosts of the folder.
pub(crate) struct Hosts {
    all: Vec<Host>,
    /// The one that fails next: each in turn, so that with two it is mostly the one that has the queue.
    turn: usize,
    /// How often one answered a SIGTERM by another exit code than 0.
    pub(crate) unclean: usize,
}

impl Hosts {
    /// Starts them, each once the one before it is ready.
    pub(crate) fn start(program: &Path, folder: &Path, count: usize) -> Result<Self> {
        let start = |_| {
            let admin_port = free_port()?;
            Host::start(Arguments {
                program: program.to_owned(),
                arguments: vec!["run".to_owned()],
                folder: folder.to_owned(),
                variables: vec![(ADMIN_PORT.to_owned(), admin_port.to_string())],
                admin_port,
            })
        };
        Ok(Self { all: (0..count).map(start).collect::<Result<_>>()?, turn: 0, unclean: 0 })
    }

    /// The one whose turn it is to fail.
    pub(crate) fn failing(&mut self) -> Result<&mut Host> {
        self.all.get_mut(self.turn).ok_or_else(|| Failure::new("there is no host"))
    }

    /// It has failed, and runs again.
    pub(crate) fn next(&mut self) {
        self.turn = (self.turn + 1) % self.all.len().max(1);
    }

    /// No fault is a reason to end: a host that does would be started again by the next one, and nobody would know.
    pub(crate) fn are_running(&mut self) -> Result<()> {
        self.all.iter_mut().try_for_each(Host::is_running)
    }

    /// Waits until each says that it is ready.
    pub(crate) fn wait_ready(&mut self) -> Result<()> {
        self.all.iter_mut().try_for_each(Host::wait_ready)
    }

    /// Asks again and again until there is an answer, as long as they run.
    pub(crate) fn wait_until<T>(
        &mut self,
        what: &str,
        longest: Duration,
        mut question: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        wait_for(what, longest, || {
            self.are_running()?;
            question(self)
        })
    }

    /// Messages that one of them holds.
    pub(crate) fn in_flight(&self) -> Result<u64> {
        let in_flight = |host: &Host| Ok(host.status()?.pointer("/ledger/in_flight").and_then(Value::as_u64));
        let held = self.all.iter().map(in_flight).collect::<Result<Option<Vec<u64>>>>()?;
        held.map(|held| held.iter().sum()).ok_or_else(|| Failure::new("a host does not say what it holds"))
    }

    /// How many of them have books that do not balance now.
    pub(crate) fn unbalanced(&self) -> Result<usize> {
        let is_balanced = |host: &Host| Ok(host.status()?.pointer("/ledger/balanced").and_then(Value::as_bool) == Some(true));
        let balanced = self.all.iter().map(is_balanced).collect::<Result<Vec<bool>>>()?;
        Ok(balanced.into_iter().filter(|balanced| !balanced).count())
    }

    /// SIGTERM for the one whose turn it is, and a look at how it ends.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let status = self.failing()?.terminate()?;
        // A host that has not begun to listen to signals yet ends by this one, as any process does.
        if !status.success() && status.signal() != Some(SIGTERM) {
            say(&format!("the host was asked to stop, and ended with {status}"));
            self.unclean += 1;
        }
        Ok(())
    }

    /// SIGTERM for each; says how often books did not balance then, or at any stop before.
    pub(crate) fn stop_all(&mut self) -> Result<usize> {
        for _ in 0..self.all.len() {
            self.stop()?;
            self.next();
        }
        Ok(self.logs().map(|(_, log)| log.matches("the ledger does not balance").count()).sum())
    }

    /// What each has logged, by a name for it.
    pub(crate) fn logs(&self) -> impl Iterator<Item = (String, String)> {
        self.all.iter().enumerate().map(|(number, host)| (format!("host-{}.log", number + 1), host.log()))
    }
}
