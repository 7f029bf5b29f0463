//! What is printed, for a person and for a program.

use std::fmt;

use serde_json::{Value, json};
use tidegate::plugin::measure::{Gauge, Spread};

use crate::case::Case;

/// One case at one batch size. Times are nanoseconds of one message.
pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) batch: usize,
    /// What became of every message.
    pub(crate) outcome: String,
    pub(crate) native: Spread,
    pub(crate) sandbox: Spread,
    /// Median of the rounds' ratios.
    pub(crate) ratio: f64,
    /// Messages that the gauge is of.
    pub(crate) messages: usize,
    pub(crate) gauge: Gauge,
    pub(crate) native_instructions: Option<u64>,
}

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) rounds: u32,
    pub(crate) rows: Vec<Row>,
}

impl Row {
    fn each(&self, total: u64) -> u64 {
        let messages = self.messages.max(1) as u64;
        total.saturating_add(messages / 2) / messages
    }

    fn instructions(&self) -> Option<u64> {
        self.gauge.instructions.map(|total| self.each(total))
    }

    /// Whether the goal is met, where there is one.
    fn judged(&self) -> Option<(f64, bool)> {
        let goal = self.case.goal().filter(|_| self.batch == Case::GOAL_BATCH)?;
        Some((goal, self.ratio <= goal))
    }

    fn to_json(&self) -> Value {
        let spread = |spread: &Spread| json!({ "median": tenths(spread.median), "least": tenths(spread.least) });
        json!({
            "step": self.case.plugin(),
            "case": self.case.title(),
            "call": self.case.call().name(),
            "outcome": self.outcome,
            "batch": self.batch,
            "native_nanoseconds": spread(&self.native),
            "sandbox_nanoseconds": spread(&self.sandbox),
            "ratio": (self.ratio * 1000.0).round() / 1000.0,
            "goal": self.judged().map(|(goal, _)| goal),
            "sandbox_instructions": self.instructions(),
            "native_instructions": self.native_instructions,
            "in_bytes": self.each(self.gauge.traffic.in_bytes),
            "out_bytes": self.each(self.gauge.traffic.out_bytes),
            "memory_bytes": self.gauge.memory_bytes,
        })
    }
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl Report {
    /// For programs: a number a field, of one message but for `memory_bytes`.
    pub(crate) fn to_json(&self) -> Value {
        json!({ "rounds": self.rounds, "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>() })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| step | batch | native ns | sandbox ns | ratio | instructions (native) | bytes in, out | memory KiB |")?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- | --- | --- |")?;
        for row in &self.rows {
            let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let (title, batch, ratio) = (row.case.title(), row.batch, row.ratio);
            let (native, sandbox) = (row.native.median, row.sandbox.median);
            let (wasm, machine) = (count(row.instructions()), count(row.native_instructions));
            let (in_bytes, out_bytes) = (row.each(row.gauge.traffic.in_bytes), row.each(row.gauge.traffic.out_bytes));
            let memory = row.gauge.memory_bytes / 1024;
            writeln!(
                f,
                "| {title} | {batch} | {native:.0} | {sandbox:.0} | {ratio:.2} | {wasm} ({machine}) | {in_bytes}, {out_bytes} | {memory} |"
            )?;
        }
        writeln!(f, "\nMedians of {} rounds; all but the memory is of one message.", self.rounds)?;
        for row in &self.rows {
            if let Some((goal, met)) = row.judged() {
                let word = if met { "reached" } else { "missed" };
                writeln!(
                    f,
                    "Goal for {} at batches of {}: at most {goal} x native: {word} ({:.2}).",
                    row.case.title(),
                    row.batch,
                    row.ratio
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: Case, batch: usize, ratio: f64) -> Row {
        let (native, sandbox) = (Spread { median: 400.0, least: 390.0 }, Spread { median: 400.0 * ratio, least: 400.0 });
        let gauge = Gauge { instructions: Some(2048), ..Gauge::default() };
        Row {
            case,
            batch,
            outcome: "accepted".to_owned(),
            native,
            sandbox,
            ratio,
            messages: 1024,
            gauge,
            native_instructions: None,
        }
    }

    #[test]
    fn a_goal_is_judged_at_the_batch_size_that_it_is_set_for() {
        let rows = vec![row(Case::Validate, 16, 1.6), row(Case::Validate, 128, 1.45), row(Case::GcmSeal, 128, 2.1)];
        let text = Report { rounds: 5, rows }.to_string();
        let judged: Vec<_> = text.lines().filter(|line| line.starts_with("Goal")).collect();
        assert_eq!(
            judged,
            [
                "Goal for validate-message at batches of 128: at most 1.5 x native: reached (1.45).",
                "Goal for aes-256-gcm, seal at batches of 128: at most 2 x native: missed (2.10)."
            ]
        );
    }
}
