//! What was measured, for a person and for a program.

use std::fmt;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::cli::layout::Table;
use crate::plugin::measure::{Call, Gauge, Spread, Tally, Work};
use crate::plugin::{Component, Kind};

/// One row: a call at a batch size.
pub(super) struct Figure {
    call: Call,
    batch: usize,
    /// Nanoseconds of one message.
    time: Spread,
    /// Messages that the gauge is of.
    messages: usize,
    gauge: Gauge,
}

/// Everything that is printed.
pub(super) struct Report {
    name: String,
    version: String,
    kind: Kind,
    digest: String,
    samples: usize,
    sample_bytes: usize,
    outcomes: Vec<(&'static str, Tally)>,
    figures: Vec<Figure>,
}

impl Figure {
    /// A row, of what was timed and of what is counted here.
    pub(super) fn new(call: Call, batch: usize, time: Spread, counted: &Work) -> Self {
        Self { call, batch, time, messages: counted.messages(), gauge: counted.gauge() }
    }

    /// Of one message, rounded.
    fn each(&self, total: u64) -> u64 {
        let messages = self.messages.max(1) as u64;
        total.saturating_add(messages / 2) / messages
    }

    fn row(&self) -> Vec<String> {
        let gauge = &self.gauge;
        vec![
            self.call.to_string(),
            self.batch.to_string(),
            format!("{:.0}", self.time.median),
            format!("{:.0}", self.time.least),
            gauge.instructions.map_or_else(|| "-".to_owned(), |total| self.each(total).to_string()),
            self.each(gauge.traffic.in_bytes).to_string(),
            self.each(gauge.traffic.out_bytes).to_string(),
            (gauge.memory_bytes / 1024).to_string(),
        ]
    }

    fn to_json(&self) -> Value {
        let gauge = &self.gauge;
        json!({
            "call": self.call.name(),
            "batch": self.batch,
            "nanoseconds": { "median": self.time.median.round(), "least": self.time.least.round() },
            "instructions": gauge.instructions.map(|total| self.each(total)),
            "in_bytes": self.each(gauge.traffic.in_bytes),
            "out_bytes": self.each(gauge.traffic.out_bytes),
            "memory_bytes": gauge.memory_bytes,
        })
    }
}

impl Report {
    /// What was measured of a component with these samples.
    pub(super) fn new(
        component: &Component,
        bodies: &[Bytes],
        outcomes: Vec<(&'static str, Tally)>,
        figures: Vec<Figure>,
    ) -> Self {
        let manifest = component.manifest();
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kind: component.kind(),
            digest: component.digest().to_owned(),
            samples: bodies.len(),
            sample_bytes: bodies.iter().map(Bytes::len).sum(),
            outcomes,
            figures,
        }
    }

    /// For programs. Figures are of one message, but for `memory_bytes`.
    pub(super) fn to_json(&self) -> Value {
        let tally = |tally: &Tally| -> Map<String, Value> {
            tally.iter().map(|(outcome, count)| (outcome.to_string(), count.into())).collect()
        };
        let outcomes: Map<String, Value> =
            self.outcomes.iter().map(|(call, outcomes)| ((*call).to_owned(), tally(outcomes).into())).collect();
        json!({
            "plugin": { "name": self.name, "version": self.version, "kind": self.kind, "digest": self.digest },
            "samples": { "count": self.samples, "bytes": self.sample_bytes },
            "outcomes": outcomes,
            "figures": self.figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, version, kind) = (&self.name, &self.version, self.kind);
        writeln!(f, "{name} {version} ({kind}), {} sample(s) with {} bytes together", self.samples, self.sample_bytes)?;
        for (call, tally) in &self.outcomes {
            writeln!(f, "  {call}: {tally}")?;
        }
        let headings = ["call", "batch", "ns", "least ns", "instructions", "bytes in", "bytes out", "memory KiB"];
        let mut table = Table::new(&headings);
        self.figures.iter().for_each(|figure| table.row(figure.row()));
        write!(f, "\n{}\nAll but the memory is of one message.\n", table.render(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::measure::{Outcome, Traffic};

    fn report() -> Report {
        let gauge = Gauge {
            calls: 1,
            instructions: Some(390_625),
            traffic: Traffic { in_bytes: 37_632, out_bytes: 0 },
            memory_bytes: 1_179_648,
        };
        let figure =
            Figure { call: Call::Validate, batch: 128, time: Spread { median: 812.4, least: 790.6 }, messages: 128, gauge };
        Report {
            name: "short".to_owned(),
            version: "0.1.0".to_owned(),
            kind: Kind::Validator,
            digest: "sha256:00".to_owned(),
            samples: 3,
            sample_bytes: 870,
            outcomes: vec![(
                "validate",
                [Outcome::Accepted, Outcome::Accepted, Outcome::Rejected("too_long".to_owned())].into_iter().collect(),
            )],
            figures: vec![figure],
        }
    }

    #[test]
    fn a_person_sees_a_row_a_batch_and_what_became_of_the_samples() {
        insta::assert_snapshot!(report().to_string(), @r"
        short 0.1.0 (validator), 3 sample(s) with 870 bytes together
          validate: 2 accepted, 1 rejected (too_long)

        call      batch   ns  least ns  instructions  bytes in  bytes out  memory KiB
        validate    128  812       791          3052       294          0        1152

        All but the memory is of one message.
        ");
    }

    #[test]
    fn a_program_gets_the_same() {
        let json = report().to_json();
        assert_eq!(json["outcomes"]["validate"]["rejected (too_long)"], 1);
        assert_eq!(json["figures"][0]["instructions"], 3052);
        assert_eq!(json["figures"][0]["nanoseconds"]["median"], 812.0);
    }
}
