//! The host program, as an operator runs it: a process, its log, its admin HTTP, its signals.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use crate::deadline::wait_for;
use crate::failure::While;
use crate::http;
use crate::scratch::Scratch;
use crate::service::{Recipe, Service};
use crate::{Failure, Result};

/// Longest wait for a host to become ready: a cold compile cache of an unoptimised build included.
const READY: Duration = Duration::from_secs(120);

/// A `tidegate` process. Dropping it ends it.
#[derive(Debug)]
pub struct Host {
    service: Service,
    admin: SocketAddr,
}

/// How a host is run.
#[derive(Clone, Debug)]
pub struct Arguments {
    /// The program.
    pub program: PathBuf,
    /// All arguments, `run` first.
    pub arguments: Vec<String>,
    /// The working folder.
    pub folder: PathBuf,
    /// Variables beside those of this process.
    pub variables: Vec<(String, String)>,
    /// Port of its admin HTTP on the loopback interface.
    pub admin_port: u16,
}

impl Host {
    /// Starts a host, without waiting.
    ///
    /// # Errors
    /// Fails when the program cannot be started.
    pub fn launch(arguments: Arguments) -> Result<Self> {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.admin_port));
        let command = move || {
            let mut command = Command::new(&arguments.program);
            command.args(&arguments.arguments).current_dir(&arguments.folder);
            command.envs(arguments.variables.iter().map(|(name, value)| (name, value)));
            command
        };
        let is_ready = move || http::get(admin, "/readyz").is_ok_and(|answer| answer.status == 200);
        let recipe = Recipe { name: "tidegate", command: Box::new(command), stop_signal: "TERM", is_ready: Box::new(is_ready) };
        let mut service = Service::new(Scratch::new("host")?, recipe);
        service.launch()?;
        Ok(Self { service, admin })
    }

    /// Starts a host, and waits until it says that it is ready.
    ///
    /// # Errors
    /// Fails when it ends instead, or takes too long; the error holds the end of its log.
    pub fn start(arguments: Arguments) -> Result<Self> {
        let mut host = Self::launch(arguments)?;
        host.wait_ready()?;
        Ok(host)
    }

    /// Starts it again after it has ended, with the same arguments, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.service.start()
    }

    /// Starts it again after it has ended, with the same arguments, without waiting.
    ///
    /// # Errors
    /// Fails when the program cannot be started.
    pub fn launch_again(&mut self) -> Result<()> {
        self.service.launch()
    }

    /// Waits until it says that it is ready.
    ///
    /// # Errors
    /// Fails when it ends instead, or takes too long; the error holds the end of its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_until("the host to be ready", READY, |host| {
            Ok(http::get(host.admin, "/readyz").is_ok_and(|answer| answer.status == 200).then_some(()))
        })
    }

    /// Asks again and again until there is an answer, as long as the host runs.
    ///
    /// # Errors
    /// Fails when the host ends, the question fails or the time is over; the error holds the end of its log.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        longest: Duration,
        mut question: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let answer = wait_for(what, longest, || {
            if let Some(status) = self.service.exited()? {
                return Err(Failure::new(format!("the host ended with {status} while {what} was waited for")));
            }
            question(self)
        });
        answer.map_err(|failure| Failure::new(format!("{failure}\n{}", self.service.log_tail())))
    }

    /// `GET /status`.
    ///
    /// # Errors
    /// Fails when the host does not answer, or not with JSON.
    pub fn status(&self) -> Result<Value> {
        self.get("/status")?.json()
    }

    /// Asks the admin HTTP for a path.
    ///
    /// # Errors
    /// Fails when the host does not answer.
    pub fn get(&self, path: &str) -> Result<http::Answer> {
        http::get(self.admin, path)
    }

    /// Where its admin HTTP listens.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process id.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.service.pid()
    }

    /// Sees that it still runs.
    ///
    /// # Errors
    /// Fails when it has ended; the error holds the end of its log.
    pub fn is_running(&mut self) -> Result<()> {
        match self.service.exited()? {
            None => Ok(()),
            Some(status) => Err(Failure::new(format!("the host ended with {status}\n{}", self.service.log_tail()))),
        }
    }

    /// SIGTERM, and the exit status.
    ///
    /// # Errors
    /// Fails when it does not run, or does not end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.service.stop()
    }

    /// SIGTERM, without waiting.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn ask_to_stop(&self) -> Result<()> {
        self.service.ask_to_stop()
    }

    /// SIGSTOP: connections stay open, and nothing moves.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn pause(&self) -> Result<()> {
        self.service.pause()
    }

    /// Lets it go on after a pause.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn resume(&self) -> Result<()> {
        self.service.resume()
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// Fails when it does not run.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.service.kill()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// Fails after `longest`, or when it does not run.
    pub fn ended(&mut self, longest: Duration) -> Result<ExitStatus> {
        self.service.ended(longest)
    }

    /// All that it has logged and printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }
}

/// Runs a command of the host to its end, with some input.
///
/// # Errors
/// Fails when the program cannot be started, or does not take its input.
pub fn run(program: &Path, folder: &Path, arguments: &[&str], variables: &[(&str, &str)], input: &[u8]) -> Result<Output> {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().doing(format!("starting {}", program.display()))?;
    let mut stdin = child.stdin.take().ok_or_else(|| Failure::new("a piped input is there"))?;
    // Side by side: a command that answers line by line would wait for somebody to read.
    let (written, output) = std::thread::scope(|scope| {
        let writing = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output();
        (writing.join(), output)
    });
    let output = output.doing(format!("waiting for {}", program.display()))?;
    // A command that does not read its input closes it: that is its answer, not a failure.
    match written.unwrap_or_else(|_| Err(std::io::Error::other("the writing panicked"))) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("writing to a command: {error}")))
        }
        _ => Ok(output),
    }
}
