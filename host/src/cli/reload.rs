//! `tidegate reload`: takes up what the files say now, and waits for what comes of it.

use clap::Args;

use super::ask::Question;
use super::{Failure, report};

/// Arguments of `tidegate reload`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    question: Question,
    /// Goes on where the gates `preflight` and `stages` refuse.
    #[arg(long)]
    force: bool,
}

/// Fails with 78 when a gate refuses.
pub(super) async fn reload(arguments: Arguments) -> Result<(), Failure> {
    let answered = arguments.question.ask("/reload", arguments.force, "reloading").await?;
    report::tell(&answered, arguments.question.json)
}
