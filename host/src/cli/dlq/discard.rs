//! `tidegate dlq discard`: letters off the queue for good.

use clap::Args;

use super::selection::Selection;
use super::walk::{Walk, count};
use super::{Place, ask, running};
use crate::cli::{Failure, say};

/// Arguments of `tidegate dlq discard`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// Does not ask.
    #[arg(long)]
    yes: bool,
}

/// Discards what matches.
pub(super) async fn discard(arguments: Arguments) -> Result<(), Failure> {
    let plan = arguments.place.load()?.plan;
    let mailbox = super::mailbox(&plan).await?;
    let matching = count(&*mailbox, &arguments.selection).await.map_err(running)?;
    if matching == 0 {
        say("no letter matches\n");
        return Ok(());
    }
    let question = format!("Discard {matching} letter(s) of {}.dead? They cannot be had back.", super::queue(&plan));
    if !ask::may(&question, arguments.yes)? {
        say("nothing was discarded\n");
        return Ok(());
    }
    // The same letters again, and none that came meanwhile.
    let selection = Selection { limit: Some(matching), ..arguments.selection };
    let mut walk = Walk::begin(&*mailbox, &selection).await.map_err(running)?;
    let mut discarded = 0;
    loop {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        let failed = |error| Failure::Running(format!("{error}; {discarded} letter(s) were discarded before"));
        walk.discard(&letters).await.map_err(failed)?;
        discarded += letters.len();
    }
    walk.end().await.map_err(running)?;
    say(&format!("discarded {discarded} letter(s)\n"));
    Ok(())
}
