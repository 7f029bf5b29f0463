//! Rows into the table: what is refused is found by halving, what went stale is tried once more.

use std::ops::Range;

use tokio::time::timeout;
use tracing::info;

use super::failure::{self, Class, Failure, Refusal};
use super::link::{Address, Link, Way, statement_limit};
use super::{Settings, StageError, Written};
use crate::message::{Message, Reason};
use crate::sink::columns::{Columns, Rows};
use crate::sink::report::Report;

/// Most bytes of one statement, unless a single row is larger: the server holds a statement's values several times over.
const STATEMENT_BYTES: usize = 16 << 20;

/// The table, and the way to it.
pub(super) struct Store {
    settings: Settings,
    /// Where it leads, for people.
    label: String,
    way: Way,
    /// Taken for each statement and put back after an answer, so that one that fails or is cancelled leaves no connection with a
    /// half-read answer behind. Dropping a connection closes it at once.
    link: Option<Link>,
}

/// What became of a batch so far.
#[derive(Default)]
struct Tally {
    stored: usize,
    duplicates: u64,
    refused: Vec<(usize, Reason)>,
    /// The last refusal whose code is in no class.
    unexpected: Option<Refusal>,
}

impl Store {
    pub(super) fn new(settings: Settings) -> Self {
        let label = Address::of(&settings, Way::Direct).map_or_else(|_| "postgres".to_owned(), |address| address.label);
        Self { settings, label, way: Way::Direct, link: None }
    }

    /// Stores a batch, in order.
    pub(super) async fn write(&mut self, columns: &Columns, batch: &[Message], report: &Report) -> Result<Written, StageError> {
        let rows = columns.rows(batch);
        let mut tally = Tally::default();
        // Last in, first out: the first half of what is halved is stored before the second.
        let mut open = cuts(&rows);
        open.reverse();
        if batch.is_empty() {
            // The statement without rows: what it needs is proven to be there.
            open.push(0..0);
        }
        while let Some(range) = open.pop() {
            match self.insert(columns, &rows, range.clone(), report).await {
                Ok(new) => tally.store(range.len(), self.settings.idempotent_by.is_some(), new),
                Err(Failure::Refused(class, refusal)) if range.len() == 1 => {
                    let reason = self.reason(columns, &rows, range.start, &refusal).await;
                    tally.refuse(rows.messages.get(range.start).copied(), reason);
                    tally.unexpected = (class == Class::Unexpected).then_some(refusal).or(tally.unexpected);
                }
                Err(Failure::Refused(..)) => {
                    let middle = range.start + range.len() / 2;
                    open.extend([middle..range.end, range.start..middle]);
                }
                Err(Failure::Stale(error) | Failure::Stage(error)) => return Err(error),
            }
        }
        let tally = tally.checked(&self.label)?;
        let mut refused = rows.refused;
        refused.extend(tally.refused);
        refused.sort_by_key(|(index, _)| *index);
        Ok(Written { refused, duplicates: tally.duplicates, unheard: 0 })
    }

    /// One statement, tried once more over a new connection where it went stale.
    async fn insert(&mut self, columns: &Columns, rows: &Rows<'_>, range: Range<usize>, report: &Report) -> Result<u64, Failure> {
        let first = self.try_insert(columns, rows, range.clone(), report).await;
        let Err(Failure::Stale(error)) = first else { return first };
        if matches!(error.code.as_str(), "sqlstate_26000" | "sqlstate_42P05" | "sqlstate_08P01") {
            self.way = Way::Pooled { limit: statement_limit(self.settings.timeout) };
            info!(code = error.code, to = self.label, "behind a pooler: each batch is a transaction of its own from now on");
        }
        self.try_insert(columns, rows, range, report).await
    }

    async fn try_insert(
        &mut self,
        columns: &Columns,
        rows: &Rows<'_>,
        range: Range<usize>,
        report: &Report,
    ) -> Result<u64, Failure> {
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect(columns, report).await?,
        };
        let answer = timeout(self.settings.timeout, link.insert(rows, range)).await;
        let answer = answer.map_err(|_| failure::timed_out(&self.label, self.settings.timeout))?;
        let answer = answer.map_err(|error| failure::of(&error, &self.label));
        if matches!(answer, Ok(_) | Err(Failure::Refused(..))) {
            self.link = Some(link);
        }
        answer
    }

    async fn connect(&self, columns: &Columns, report: &Report) -> Result<Link, Failure> {
        let address = Address::of(&self.settings, self.way)?;
        let opening = timeout(self.settings.timeout, Link::open(&self.settings, &address, self.way, columns)).await;
        let link = opening.map_err(|_| failure::timed_out(&self.label, self.settings.timeout))??;
        report.connected(&self.label);
        Ok(link)
    }

    /// Why one row is refused: the code, and as far as it can be told which column or constraint, but nothing of the values.
    async fn reason(&mut self, columns: &Columns, rows: &Rows<'_>, row: usize, refusal: &Refusal) -> Reason {
        let culprit = match &refusal.column {
            Some(name) => Some((name.clone(), String::new())),
            None => self.culprit(rows, row, &refusal.sqlstate).await,
        };
        let mut message = format!("the database refuses the row ({})", refusal.condition());
        if let Some((column, why)) = &culprit {
            message.push_str(&format!(": column {column:?}{why}"));
        }
        if let Some(constraint) = &refusal.constraint {
            message.push_str(&format!(": constraint {constraint:?}"));
        }
        let pointer = culprit.and_then(|(column, _)| columns.pointer(&column).map(ToString::to_string));
        Reason { code: refusal.code(), message, pointer }
    }

    /// The column that a refusal of a value (class 22) is about, which the server does not name.
    async fn culprit(&mut self, rows: &Rows<'_>, row: usize, sqlstate: &str) -> Option<(String, String)> {
        if !sqlstate.starts_with("22") {
            return None;
        }
        let mut link = self.link.take()?;
        let too_long = link.too_long(rows, row).filter(|_| sqlstate == "22001");
        if let Some((column, longest)) = too_long.map(|(column, longest)| (column.to_owned(), longest)) {
            self.link = Some(link);
            return Some((column, format!(" takes {longest} characters at most")));
        }
        let asked = timeout(self.settings.timeout, link.misfit(rows, row)).await.ok()?;
        let found = asked.map(|column| (column.to_owned(), " does not take the value".to_owned()));
        self.link = Some(link);
        found
    }
}

impl Tally {
    fn store(&mut self, rows: usize, is_idempotent: bool, new: u64) {
        self.stored += rows;
        if is_idempotent {
            self.duplicates += (rows as u64).saturating_sub(new);
        }
    }

    fn refuse(&mut self, message: Option<usize>, reason: Reason) {
        self.refused.extend(message.map(|index| (index, reason)));
    }

    /// A code that nobody knows, and not one row stored: then it is not the messages' fault, and none of them is given up for it.
    fn checked(self, label: &str) -> Result<Self, StageError> {
        match &self.unexpected {
            Some(refusal) if self.stored == 0 => Err(StageError {
                code: refusal.code().into_owned(),
                message: format!("{label}: every row of the batch is refused ({})", refusal.condition()),
                needs_operator: true,
            }),
            _ => Ok(self),
        }
    }
}

/// The rows in pieces of [`STATEMENT_BYTES`] at most.
fn cuts(rows: &Rows<'_>) -> Vec<Range<usize>> {
    let size = |row| rows.row(row).flatten().map(str::len).sum::<usize>();
    let (mut cuts, mut start, mut bytes) = (Vec::with_capacity(1), 0, 0);
    for row in 0..rows.messages.len() {
        bytes += size(row);
        if bytes > STATEMENT_BYTES && row > start {
            cuts.push(start..row);
            (start, bytes) = (row, size(row));
        }
    }
    if start < rows.messages.len() {
        cuts.push(start..rows.messages.len());
    }
    cuts
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn rows(sizes: &[usize]) -> Rows<'static> {
        let values = sizes.iter().map(|size| Some(Cow::Owned("x".repeat(*size)))).collect();
        Rows { messages: (0..sizes.len()).collect(), values: vec![values], refused: Vec::new() }
    }

    #[test]
    fn a_batch_is_cut_where_a_statement_would_grow_too_large() {
        let large = STATEMENT_BYTES / 2 + 1;
        assert!(cuts(&rows(&[])).is_empty());
        assert_eq!(cuts(&rows(&[1, 2, 3])).as_slice(), std::slice::from_ref(&(0..3)));
        assert_eq!(cuts(&rows(&[large, large, 1, large])), [0..1, 1..3, 3..4]);
        assert_eq!(cuts(&rows(&[STATEMENT_BYTES * 2, 1])), [0..1, 1..2]);
    }

    #[test]
    fn a_code_that_nobody_knows_costs_no_message_while_nothing_passes() {
        let refusal = Refusal { sqlstate: "TG001".into(), column: None, constraint: None };
        let tally = || Tally { unexpected: Some(refusal.clone()), ..Tally::default() };
        let error = tally().checked("postgres at h").err().expect("the stage's fault");
        assert_eq!((&*error.code, error.needs_operator), ("sqlstate_TG001", true));
        assert!(Tally { stored: 1, ..tally() }.checked("postgres at h").is_ok());
    }
}
