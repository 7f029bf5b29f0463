//! `tidegate rollback`: goes back to the generation before.

use clap::Args;

use super::ask::Question;
use super::{Failure, report};

/// Arguments of `tidegate rollback`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    question: Question,
}

/// Fails with 78 when there is nothing to go back to.
pub(super) async fn rollback(arguments: Arguments) -> Result<(), Failure> {
    let answered = arguments.question.ask("/rollback", false, "rolling back").await?;
    report::tell(&answered, arguments.question.json)
}
