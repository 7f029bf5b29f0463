//! `tidegate dlq list`: one line a letter, and how many there are by stage and code.

use std::collections::BTreeMap;

use clap::Args;

use super::letter::{DeadLetter, plain};
use super::selection::Selection;
use super::table::Table;
use super::walk::Walk;
use super::{Place, running};
use crate::cli::{Failure, say};
use crate::source::header;

/// Arguments of `tidegate dlq list`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
    /// Prints one JSON object a letter, and no summary.
    #[arg(long)]
    json: bool,
}

/// How many letters there are of a stage and a code.
type Counts = BTreeMap<(String, String), u64>;

/// Lists what matches.
pub(super) async fn list(arguments: Arguments) -> Result<(), Failure> {
    let plan = arguments.place.load()?.plan;
    let mailbox = super::mailbox(&plan).await?;
    let mut walk = Walk::begin(&*mailbox, &arguments.selection).await.map_err(running)?;
    let total = walk.total();
    let mut table = table();
    let mut counts = Counts::new();
    loop {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        if arguments.json {
            say(&letters.iter().map(|letter| format!("{}\n", serde_json::Value::Object(letter.summary()))).collect::<String>());
            continue;
        }
        letters.iter().for_each(|letter| *counts.entry(kind(letter)).or_default() += 1);
        say(&table.page(&letters.iter().map(row).collect::<Vec<_>>()));
    }
    walk.end().await.map_err(running)?;
    if !arguments.json {
        say(&summary(&counts, total, &format!("{}.dead", super::queue(&plan))));
    }
    Ok(())
}

fn table() -> Table {
    Table::new(&[
        ("position", true),
        ("time", false),
        ("stage", false),
        ("code", false),
        ("pointer", false),
        ("id", false),
        ("bytes", true),
        ("attempts", true),
    ])
}

fn row(letter: &DeadLetter) -> Vec<String> {
    let header = |name| letter.header(name).unwrap_or_default();
    vec![
        letter.position.to_string(),
        header(header::TIME),
        header(header::STAGE),
        header(header::CODE),
        header(header::POINTER),
        letter.id().unwrap_or_default().to_owned(),
        letter.bytes().to_string(),
        letter.attempts().to_string(),
    ]
}

fn kind(letter: &DeadLetter) -> (String, String) {
    let header = |name| letter.header(name).unwrap_or_else(|| "-".to_owned());
    (header(header::STAGE), header(header::CODE))
}

fn summary(counts: &Counts, total: u64, queue: &str) -> String {
    let listed: u64 = counts.values().sum();
    if listed == 0 {
        return format!("no letter of {total} on {} matches\n", plain(queue));
    }
    let mut text = format!("\n{listed} letter(s) of {total} on {}\n", plain(queue));
    let mut table = Table::new(&[("letters", true), ("stage", false), ("code", false)]);
    let rows: Vec<Vec<String>> =
        counts.iter().map(|((stage, code), count)| vec![count.to_string(), stage.clone(), code.clone()]).collect();
    text.push_str(&table.page(&rows));
    text
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;

    #[test]
    fn a_letter_is_one_line_without_what_it_holds() {
        let letter = letter(
            "m-1",
            &[
                (header::STAGE, "steps.validate"),
                (header::CODE, "too_long"),
                (header::POINTER, "/message/content"),
                (header::TIME, "2026-01-31T08:00:00.500Z"),
                (header::ATTEMPTS, "2"),
                (header::REASON, "65537 bytes"),
            ],
        );
        insta::assert_snapshot!(table().page(&[row(&letter)]), @r"
        position  time                      stage           code      pointer           id   bytes  attempts
               1  2026-01-31T08:00:00.500Z  steps.validate  too_long  /message/content  m-1     12         2
        ");
    }

    #[test]
    fn the_summary_counts_by_stage_and_code() {
        let kind = |stage: &str, code: &str| (stage.to_owned(), code.to_owned());
        let counts = Counts::from([(kind("steps.validate", "too_long"), 12), (kind("sinks.history", "sqlstate_23505"), 1)]);
        insta::assert_snapshot!(summary(&counts, 20, "q.dead"), @r"

        13 letter(s) of 20 on q.dead
        letters  stage           code
              1  sinks.history   sqlstate_23505
             12  steps.validate  too_long
        ");
        assert_eq!(summary(&Counts::new(), 3, "q.dead"), "no letter of 3 on q.dead matches\n");
    }
}
