//! What a person types. One command a file.

mod ask;
mod bench;
mod check;
mod dlq;
mod health;
/// The original's configuration as a pipeline.toml.
pub mod import;
mod import_command;
mod keys;
mod layout;
mod load;
mod lock;
mod logs;
/// The schema of the PostgreSQL databases.
pub mod migrate;
mod migrate_command;
mod open;
mod plan;
mod progress;
mod reload;
mod report;
mod rollback;
mod run;
mod status;

use std::io::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// A pipeline host whose steps are sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed while running, 2 wrong usage (or, of `plan`: something would change), 78 the configuration is wrong or a change is refused."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// How logs are written.
    #[arg(long, global = true, value_enum, default_value_t, env = "TIDEGATE_LOG_FORMAT")]
    log_format: logs::Format,
    /// What is logged: `error`, `warn`, `info`, `debug`, or filters such as `info,tidegate::source=debug`.
    #[arg(long, global = true, default_value = "info", env = "TIDEGATE_LOG", value_name = "FILTER")]
    log: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs pipelines until SIGTERM or Ctrl-C.
    Run(run::Arguments),
    /// Checks pipeline files with their plugins, and runs their `[[test]]` cases. Contacts no server.
    Check(check::Arguments),
    /// Writes `pipeline.lock`: what each plugin is and imports, for `run --locked` and `check --locked`.
    Lock(lock::Arguments),
    /// Says what a reload would change in the running host, class by class, and what each gate says. Exits 0 when nothing would change, 2 when
    /// something would, 78 when it would be refused.
    Plan(plan::Arguments),
    /// Makes the running host take up what the files say now, and waits for what comes of it. Exits 78 when it is refused.
    Reload(reload::Arguments),
    /// Makes the running host go back to the generation before.
    Rollback(rollback::Arguments),
    /// Shows what the running host does: generation, plugins, stages, ledger, last reloads.
    Status(status::Arguments),
    /// Opens stored values: one a line on standard input, their plaintext one a line on standard output.
    Open(open::Arguments),
    /// Looks at dead letters, sends them again, or lets them go.
    Dlq(dlq::Arguments),
    /// Makes and shows encryption keys.
    Keys(keys::Arguments),
    /// Brings the PostgreSQL databases of pipelines to this version's schema.
    Migrate(migrate_command::Arguments),
    /// Prints the pipeline.toml that equals a `main_server_consumer_configurations.json`.
    Import(import_command::Arguments),
    /// Measures a plugin in the sandbox: time, instructions, bytes copied and memory, for samples of your own.
    Bench(bench::Arguments),
    /// Asks a running host whether it is ready; exits 0 when it is.
    Health(health::Arguments),
}

/// Why the program ends badly, by who must act.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A file is wrong: its author must act.
    #[error("{0}")]
    Config(String),
    /// The surroundings are wrong, or something failed while running: the operator must act.
    #[error("{0}")]
    Running(String),
    /// `tidegate plan`: something would change. It is told already.
    #[error("")]
    Changes,
    /// A change was refused. Why is told already.
    #[error("")]
    Refused,
    /// What was asked for makes no sense, or wants to be asked for more plainly.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Running(_) => 1,
            Self::Changes | Self::Usage(_) => 2,
            // EX_CONFIG of sysexits.h.
            Self::Config(_) | Self::Refused => 78,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(problem) = logs::start(arguments.log_format, &arguments.log) {
        complain(&problem);
        return ExitCode::from(2);
    }
    avoid_huge_pages();
    // Every TLS connection of the process uses this provider; only a second installation could fail.
    drop(rustls::crypto::ring::default_provider().install_default());
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Changes | Failure::Refused) {
                complain(&failure.to_string());
            }
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => runtime()?.block_on(run::run(arguments)),
        Command::Check(arguments) => check::check(&arguments),
        Command::Lock(arguments) => lock::lock(&arguments),
        Command::Plan(arguments) => runtime()?.block_on(plan::plan(arguments)),
        Command::Reload(arguments) => runtime()?.block_on(reload::reload(arguments)),
        Command::Rollback(arguments) => runtime()?.block_on(rollback::rollback(arguments)),
        Command::Status(arguments) => runtime()?.block_on(status::status(arguments)),
        Command::Open(arguments) => open::open(&arguments),
        Command::Dlq(arguments) => runtime()?.block_on(dlq::dlq(arguments)),
        Command::Keys(arguments) => keys::keys(arguments),
        Command::Migrate(arguments) => runtime()?.block_on(migrate_command::migrate(arguments)),
        Command::Import(arguments) => import_command::import(&arguments),
        Command::Bench(arguments) => bench::bench(&arguments),
        Command::Health(arguments) => runtime()?.block_on(health::health(arguments)),
    }
}

/// What batches take and give back is small, and freed by another thread than took it. In transparent huge pages it would hold, and have the kernel
/// zero, several times as much memory as it needs: benches/README.md has the figures.
#[cfg(target_os = "linux")]
fn avoid_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "transparent huge pages stay as the system has them");
    }
}

#[cfg(not(target_os = "linux"))]
fn avoid_huge_pages() {}

/// How many turns of tasks come before a look at the sockets. A task takes whole batches through their steps in one turn: after the 61 that
/// are usual a server's answer could have waited for tens of milliseconds.
const TURNS: u32 = 4;

/// Half of the cores carry: the other half is left to the broker's client and to steps that take long, which have threads of their own. More
/// threads would mostly wake each other for a handful of messages.
fn runtime() -> Result<Runtime, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = Builder::new_multi_thread().worker_threads(cores.div_ceil(2)).event_interval(TURNS).enable_all().build();
    runtime.map_err(|error| Failure::Running(format!("the async runtime cannot start: {error}")))
}

/// Writes to standard output. A reader that has gone away is no failure of ours.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes a line to standard error.
fn complain(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "{}", text.trim_end()));
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_tells_its_exit_codes() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        let help = command.render_help().to_string();
        assert!(help.contains("of `plan`: something would change"), "{help}");
        let plan = command.find_subcommand_mut("plan").map(|plan| plan.render_long_help().to_string()).unwrap_or_default();
        assert!(plan.contains("2 when something would") && plan.contains("--pipeline"), "{plan}");
    }
}
