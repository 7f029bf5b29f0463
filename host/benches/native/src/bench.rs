//! What all parts share: the servers, their far ends, and the report.

use serde::Serialize;
use tidegate_harness::Result;
use tidegate_harness::postgres::Durability;
use tidegate_harness::programs::say;
use tidegate_harness::scratch;
use tidegate_harness::servers::Servers;

use crate::case::Case;
use crate::ends::Ends;
use crate::figures::{Figures, head, median};
use crate::leg;
use crate::load::BODY_BYTES;
use crate::report::Report;
use crate::settings::Settings;

/// One run.
pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) servers: Servers,
    pub(crate) ends: Ends,
    report: Report,
}

/// All legs of one case.
#[derive(Serialize)]
pub(crate) struct Row {
    /// What differs from one case of the table to another.
    pub(crate) of: String,
    pub(crate) pipeline: &'static str,
    pub(crate) messages: usize,
    pub(crate) median: Figures,
    legs: Vec<Figures>,
}

impl Bench {
    /// Starts or finds the servers.
    pub(crate) async fn open(settings: Settings) -> Result<Self> {
        if let Some(folder) = settings.scratch.folder() {
            scratch::make_in(folder)?;
        }
        let servers = Servers::start(Durability::Fsync)?;
        let ends = Ends::open(&servers, &settings.host, &settings.workspace).await?;
        let report = Report::new(&settings, ends.servers);
        say(&format!(
            "{}; {} messages of {BODY_BYTES} bytes a leg where nothing else is said\n",
            report.surroundings(),
            settings.messages
        ));
        Ok(Self { settings, servers, ends, report })
    }

    /// Keeps what a part has found.
    pub(crate) fn keep(&mut self, part: &str, found: &impl Serialize) -> Result<()> {
        self.report.add(part, found)?;
        // What is found is kept at once: the parts after this one may take an hour, or fail.
        self.settings.json.as_deref().map_or(Ok(()), |file| self.report.write(file))
    }

    /// Leaves nothing on the servers.
    pub(crate) async fn close(mut self) -> Result<()> {
        self.ends.clear().await
    }

    /// Runs cases in turns, round by round: A B C, B C A. What a server does once in so many legs then meets another one each time.
    pub(crate) async fn turns(&mut self, cases: &[(String, Case)], rounds: usize) -> Result<Vec<Row>> {
        let mut legs = vec![Vec::with_capacity(rounds); cases.len()];
        let mut turns: Vec<_> = cases.iter().zip(&mut legs).collect();
        for round in 1..=rounds {
            for ((of, case), legs) in &mut turns {
                let figures = leg::run(&self.settings, &mut self.ends, case).await?;
                say(&format!("round {round}, {of}, {}: {figures}", case.runner.name()));
                legs.push(figures);
            }
            turns.rotate_left(1);
        }
        let rows = cases.iter().zip(legs).map(|((of, case), legs)| row(of, case, legs));
        Ok(rows.collect())
    }
}

/// The row of a case.
pub(crate) fn row(of: &str, case: &Case, legs: Vec<Figures>) -> Row {
    Row { of: of.to_owned(), pipeline: case.runner.name(), messages: case.messages, median: median(&legs), legs }
}

/// A table of medians. Each row that is not the first of its kind is held against that.
pub(crate) fn table(name: &str, rows: &[Row]) -> String {
    let mut lines = vec![head(&[name, "pipeline"])];
    for row in rows {
        lines.push(format!("| {} | {} | {} |", row.of, row.pipeline, row.median));
        let first = rows.iter().find(|first| first.of == row.of).filter(|first| first.pipeline != row.pipeline);
        if let Some(first) = first {
            lines.push(format!("| {} | {} ÷ {} | {} |", row.of, row.pipeline, first.pipeline, row.median.over(&first.median)));
        }
    }
    lines.join("\n")
}
