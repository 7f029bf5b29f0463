//! `tidegate plan`: what a reload would change in the host that runs, without changing it.

use clap::Args;

use super::ask::Target;
use super::{Failure, report};
use crate::pipeline::reload::Outcome;

/// Arguments of `tidegate plan`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
}

/// Succeeds when nothing would change, ends with 2 when something would, and fails with 78 when a gate would refuse.
pub(super) async fn plan(arguments: Arguments) -> Result<(), Failure> {
    let answered = arguments.target.ask("/plan", false).await?;
    report::tell(&answered, arguments.target.json)?;
    let changes = answered.events.iter().any(|event| event.outcome == Outcome::Planned);
    if changes { Err(Failure::Changes) } else { Ok(()) }
}
