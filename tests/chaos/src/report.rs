//! What came of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::count::Count;
use crate::publisher::Published;
use crate::script::Fault;

/// A fault that happened, and how many messages were published by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) fault: Fault,
    pub(crate) sent: u64,
}

/// The counts of a run.
pub(crate) struct Report {
    pub(crate) published: Published,
    /// From the end of the last fault until everything had arrived.
    pub(crate) recovery: Duration,
    pub(crate) rows: Count,
    pub(crate) broadcast: Count,
    pub(crate) dead: Count,
    /// Rows whose content does not open.
    pub(crate) sealed: usize,
    /// How often the host said that its ledger does not balance, or did not end well.
    pub(crate) unbalanced: usize,
    pub(crate) happened: Vec<Happened>,
}

impl Report {
    /// Nothing missing anywhere, no row twice, everything in order, every row open, every book balanced.
    pub(crate) fn is_as_promised(&self) -> bool {
        let whole = |count: &Count| count.missing.is_empty() && count.strange.is_empty();
        let in_order = self.rows.late.is_empty() && self.broadcast.late.is_empty();
        let counted = [&self.rows, &self.broadcast, &self.dead].into_iter().all(whole);
        counted && in_order && self.rows.doubled.is_empty() && self.sealed == 0 && self.unbalanced == 0
    }

    /// Further copies of the broadcast by what explains them: the publisher, who did not know that the broker had the message, or else the last
    /// fault that had begun when the message was published, and the first after it.
    fn copies_by_cause(&self) -> BTreeMap<String, u64> {
        let mut copies = BTreeMap::new();
        for (number, times) in &self.broadcast.doubled {
            *copies.entry(self.cause(*number)).or_default() += times;
        }
        copies
    }

    fn cause(&self, number: u64) -> String {
        if self.published.again.contains(&number) {
            return "published again, because its confirmation was lost".to_owned();
        }
        let next = self.happened.partition_point(|happened| happened.sent < number);
        let around = self.happened.get(next.saturating_sub(1)..).unwrap_or_default().iter().take(2);
        around.map(|happened| happened.fault.to_string()).collect::<Vec<_>>().join(", then ")
    }

    pub(crate) fn text(&self) -> String {
        let (messages, again, faults) = (self.published.messages, self.published.again.len(), self.happened.len());
        let mut lines = vec![
            String::new(),
            format!(
                "{messages} messages published ({again} of them again, because their confirmation was lost), {faults} faults"
            ),
            format!("all arrived {:.1}s after the last fault", self.recovery.as_secs_f64()),
            String::new(),
            format!("{:<14}{:>9}{:>9}{:>9}{:>14}", "", "missing", "strange", "copies", "out of order"),
        ];
        for (name, count) in [("rows", &self.rows), ("broadcast", &self.broadcast), ("dead letters", &self.dead)] {
            lines.extend(table_row(name, count));
        }
        lines.push(format!("\nrows that do not open: {}; books that do not balance: {}", self.sealed, self.unbalanced));
        let copies = self.copies_by_cause().into_iter();
        lines.extend(copies.map(|(cause, copies)| format!("  {copies} further copies of the broadcast: {cause}")));
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
            "faults": self.happened.len(),
            "recovery_seconds": self.recovery.as_secs_f64(),
            "rows": count(&self.rows),
            "broadcast": count(&self.broadcast),
            "dead_letters": count(&self.dead),
            "rows_that_do_not_open": self.sealed,
            "unbalanced": self.unbalanced,
            "copies_by_cause": self.copies_by_cause(),
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
            let first: Vec<String> = numbers.iter().take(20).map(u64::to_string).collect();
            lines.push(format!("    {what}: {}", first.join(", ")));
        }
    }
    lines
}
