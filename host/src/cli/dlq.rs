//! `tidegate dlq`: messages that could not succeed, looked at, sent again, or let go. What a message holds is shown only where a person
//! asks for it.

mod ask;
mod discard;
mod export;
mod fate;
mod here;
mod letter;
mod list;
mod mover;
mod replay;
mod route;
mod selection;
mod show;
mod start;
mod steps;
mod survey;
mod table;
mod trial;
mod walk;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use super::load::Files;
use crate::config::{Loaded, Plan, SourcePlan};
use crate::source::journal::Journal;
use crate::source::{Mailbox, StageError, rabbitmq};

/// Arguments of `tidegate dlq`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One line a letter, oldest first, and how many there are by stage and code. Never what the messages hold.
    List(list::Arguments),
    /// All that is known of one letter; what it holds only with `--body`.
    Show(show::Arguments),
    /// Sends letters through the pipeline again, here with another component or from a step on, or, with `--dry-run`, shows what would become of them.
    Replay(replay::Arguments),
    /// Takes letters off the queue for good.
    Discard(discard::Arguments),
    /// Prints letters as JSON, one a line, with what they hold. They stay on the queue.
    Export(export::Arguments),
}

/// Whose dead letters.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The pipeline's file.
    #[arg(default_value = "pipeline.toml", value_name = "FILE")]
    file: PathBuf,
    /// Overlays `[profile.NAME]` of the file.
    #[arg(long, env = "TIDEGATE_PROFILE", value_name = "NAME")]
    profile: Option<String>,
}

impl Place {
    fn load(&self) -> Result<Loaded, Failure> {
        let files = Files { files: vec![self.file.clone()], profile: self.profile.clone(), locked: false };
        let missing = || Failure::Config(format!("{}: no pipeline", self.file.display()));
        files.load()?.into_iter().next().ok_or_else(missing)
    }
}

/// Runs a subcommand.
pub(super) async fn dlq(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list::list(arguments).await,
        Command::Show(arguments) => show::show(arguments).await,
        Command::Replay(arguments) => replay::replay(arguments).await,
        Command::Discard(arguments) => discard::discard(arguments).await,
        Command::Export(arguments) => export::export(arguments).await,
    }
}

/// The side queues of a plan's source. A host that runs is not disturbed.
async fn mailbox(plan: &Plan) -> Result<Box<dyn Mailbox>, Failure> {
    match &plan.source {
        SourcePlan::RabbitMq(settings) => Ok(Box::new(rabbitmq::Mailbox::new(settings.clone(), "source.rabbitmq"))),
        SourcePlan::Http(settings) => {
            let journal = Journal::visit(&settings.journal, &settings.queue).await.map_err(running)?;
            Ok(Box::new(journal.mailbox()))
        }
    }
}

/// Name of the source's own queue.
fn queue(plan: &Plan) -> &str {
    match &plan.source {
        SourcePlan::RabbitMq(settings) => &settings.queue,
        SourcePlan::Http(settings) => &settings.queue,
    }
}

fn running(error: StageError) -> Failure {
    Failure::Running(error.message)
}
