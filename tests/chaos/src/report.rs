//! What came of a run.

use std::time::Duration;

use serde_json::json;

use crate::copies::Copies;
use crate::count::Count;
use crate::publisher::Published;

/// The counts of a run.
pub(crate) struct Report {
    pub(crate) published: Published,
    /// From the end of the last fault until everything had arrived; the publisher's last messages and the start of a host are in it.
    /// None where the wait ended first.
    pub(crate) recovery: Option<Duration>,
    pub(crate) rows: Count,
    pub(crate) broadcast: Count,
    pub(crate) copies: Copies,
    pub(crate) dead: Count,
    /// Rows whose content does not open to what was published.
    pub(crate) sealed: usize,
    /// How often the host said that its ledger does not balance.
    pub(crate) unbalanced: usize,
    /// How often it answered a SIGTERM by another exit code than 0.
    pub(crate) unclean: usize,
    pub(crate) faults: usize,
}

impl Report {
    /// Nothing missing anywhere, no row twice, no copy without a cause, everything in order, every row open, every book balanced, every stop clean.
    pub(crate) fn is_as_promised(&self) -> bool {
        let whole = |count: &Count| count.missing.is_empty() && count.strange.is_empty();
        let in_order = self.rows.late.is_empty() && self.broadcast.late.is_empty();
        let counted = [&self.rows, &self.broadcast, &self.dead].into_iter().all(whole);
        let once = self.rows.doubled.is_empty() && self.copies.unexplained.is_empty();
        counted && in_order && once && self.recovery.is_some() && self.sealed == 0 && self.unbalanced == 0 && self.unclean == 0
    }

    pub(crate) fn text(&self) -> String {
        let (messages, again, faults) = (self.published.messages, self.published.again.len(), self.faults);
        let mut lines = vec![
            String::new(),
            format!(
                "{messages} messages published ({again} of them again, because their confirmation was lost), {faults} faults"
            ),
            self.recovery.map_or_else(
                || "not everything arrived in time".to_owned(),
                |recovery| format!("all arrived {:.1}s after the last fault", recovery.as_secs_f64()),
            ),
            String::new(),
            format!("{:<14}{:>9}{:>9}{:>9}{:>14}", "", "missing", "strange", "copies", "out of order"),
        ];
        for (name, count) in [("rows", &self.rows), ("broadcast", &self.broadcast), ("dead letters", &self.dead)] {
            lines.extend(table_row(name, count));
        }
        let (sealed, unbalanced, unclean) = (self.sealed, self.unbalanced, self.unclean);
        lines.push(format!(
            "\nrows that do not open: {sealed}; books that do not balance: {unbalanced}; stops that were not clean: {unclean}"
        ));
        let copies = self.copies.by_cause.iter();
        lines.extend(copies.map(|(cause, copies)| format!("  {copies} further copies of the broadcast: {cause}")));
        if !self.copies.unexplained.is_empty() {
            let first = first_of(self.copies.unexplained.iter());
            lines.push(format!("  {} messages with a copy that nothing explains: {first}", self.copies.unexplained.len()));
        }
        lines.push(if self.is_as_promised() { "as promised" } else { "NOT as promised" }.to_owned());
        lines.join("\n")
    }

    pub(crate) fn json(&self, seed: u64) -> String {
        let count = |count: &Count| {
            json!({
                "missing": count.missing, "strange": count.strange, "copies": count.copies(), "out_of_order": count.late,
            })
        };
        json!({
            "seed": seed,
            "messages": self.published.messages,
            "published_again": self.published.again.len(),
            "faults": self.faults,
            "recovery_seconds": self.recovery.map(|recovery| recovery.as_secs_f64()),
            "rows": count(&self.rows),
            "broadcast": count(&self.broadcast),
            "dead_letters": count(&self.dead),
            "rows_that_do_not_open": self.sealed,
            "unbalanced": self.unbalanced,
            "unclean_stops": self.unclean,
            "copies_by_cause": self.copies.by_cause,
            "copies_without_cause": self.copies.unexplained,
            "as_promised": self.is_as_promised(),
        })
        .to_string()
    }
}

/// A row of the table, and the first numbers of what is wrong.
fn table_row(name: &str, count: &Count) -> Vec<String> {
    let (missing, strange, copies, late) = (count.missing.len(), count.strange.len(), count.copies(), count.late.len());
    let mut lines = vec![format!("{name:<14}{missing:>9}{strange:>9}{copies:>9}{late:>14}")];
    for (what, numbers) in [("missing", &count.missing), ("strange", &count.strange), ("out of order", &count.late)] {
        if !numbers.is_empty() {
            lines.push(format!("    {what}: {}", first_of(numbers.iter())));
        }
    }
    lines
}

fn first_of<'a>(numbers: impl Iterator<Item = &'a u64>) -> String {
    numbers.take(20).map(u64::to_string).collect::<Vec<_>>().join(", ")
}
