//! `tidegate plan`: what a reload would change in the host that runs, without changing it.

use clap::Args;

use super::ask::Question;
use super::{Failure, report};

/// Arguments of `tidegate plan`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    question: Question,
}

/// Succeeds when nothing would change, ends with 2 when something would, and fails with 78 when a gate would refuse.
pub(super) async fn plan(arguments: Arguments) -> Result<(), Failure> {
    let question = arguments.question;
    let answered = question.ask("/plan", false, "finding out what a reload would change").await?;
    report::tell(&answered, question.json)
}
