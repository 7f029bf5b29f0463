//! `tidegate dlq replay --dry-run`: what would become of letters, by the steps of the file or with other components.

use std::collections::BTreeMap;

use super::route::Router;
use super::selection::Selection;
use super::steps::{Steps, routed};
use super::walk::Walk;
use super::{fate, running};
use crate::cli::{Failure, say};
use crate::source::Mailbox;

/// Runs every letter that matches through the steps, and sends nothing.
pub(super) async fn try_all(
    steps: &Steps,
    router: &Router<'_>,
    mailbox: &dyn Mailbox,
    selection: &Selection,
) -> Result<(), Failure> {
    let mut walk = Walk::begin(mailbox, selection).await.map_err(running)?;
    let mut counts = BTreeMap::new();
    loop {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        for (letter, trial) in steps.try_all(routed(letters, router)).await? {
            let fate = trial.map_or_else(|why| format!("would not be replayed: {why}"), |trial| fate::would(&trial));
            say(&fate::line(&letter, &fate));
            *counts.entry(fate).or_insert(0) += 1;
        }
    }
    walk.end().await.map_err(running)?;
    say(&summary(&counts));
    Ok(())
}

fn summary(counts: &BTreeMap<String, u64>) -> String {
    let total: u64 = counts.values().sum();
    let mut text = format!("\n{total} letter(s) tried, none sent; what the sinks themselves would say is not known\n");
    for (fate, count) in counts {
        text.push_str(&format!("  {count} {fate}\n"));
    }
    text
}
