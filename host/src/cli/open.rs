//! `tidegate open`: stored values on standard input, their plaintext on standard output.

use std::io::{BufRead, stdin};

use clap::Args;

use super::load::{self, Files};
use super::{Failure, complain, say};
use crate::message::MessageId;
use crate::pipeline::Opener;
use crate::telemetry::Telemetry;

/// Values that are opened together.
const CHUNK: usize = 1024;
/// The original breaks its base64 after this many characters. No whole value of it is that long: 54 bytes are no AES blocks.
const ORIGINAL_LINE: usize = 72;

/// Arguments of `tidegate open`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Prints each plaintext as a JSON string, and `null` for a value that does not open.
    #[arg(long)]
    json: bool,
    /// Each line is the row's message id (empty where it has none), a tab, and the value. A value that was sealed for another message does
    /// not open: somebody has moved it.
    #[arg(long)]
    with_ids: bool,
}

/// Opens every value; fails in the end when one of them did not open.
pub(super) fn open(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = arguments.files.load()?;
    let engine = load::engine(&loaded)?;
    let mut opener = Opener::default();
    for loaded in &loaded {
        let (generation, _) = load::ready(loaded, &engine, &Telemetry::default()).map_err(|problems| load::refuse(&problems))?;
        opener.ciphers.extend(generation.opener.ciphers);
        opener.rings.extend(generation.opener.rings);
        opener.fields.extend(generation.opener.fields);
    }
    let mut printer = Printer { opener, json: arguments.json, with_ids: arguments.with_ids, failed: 0, printed: 0 };
    let mut values = Vec::with_capacity(CHUNK);
    let mut joined = String::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(|error| Failure::Running(format!("standard input cannot be read as text: {error}")))?;
        let continues = line.len() == ORIGINAL_LINE && !line.contains("tg1.");
        joined.push_str(line.trim_end_matches('\r'));
        if continues || joined.is_empty() {
            continue;
        }
        values.push(std::mem::take(&mut joined));
        if values.len() == CHUNK {
            printer.print(std::mem::take(&mut values));
        }
    }
    if !joined.is_empty() {
        values.push(joined);
    }
    printer.print(values);
    printer.conclude()
}

struct Printer {
    opener: Opener,
    json: bool,
    with_ids: bool,
    failed: usize,
    printed: usize,
}

impl Printer {
    fn print(&mut self, lines: Vec<String>) {
        let (moved, values) = self.take_ids(lines);
        let mut text = String::new();
        for (opened, moved) in self.opener.open(&values).into_iter().zip(moved) {
            self.printed += 1;
            let opened = opened.map_err(|error| error.to_string());
            let opened = if moved { Err("it was not sealed for the message of its line".to_owned()) } else { opened };
            let plain = opened.inspect_err(|error| {
                self.failed += 1;
                complain(&format!("value {}: {error}", self.printed));
            });
            match (plain.ok(), self.json) {
                (Some(plain), false) => text.push_str(&plain),
                (plain, true) => text.push_str(&serde_json::json!(plain).to_string()),
                // An empty line keeps the output in step with the input.
                (None, false) => {}
            }
            text.push('\n');
        }
        say(&text);
    }

    /// Takes the ids off the lines, where there are ids; tells which values belong to other messages.
    fn take_ids(&self, lines: Vec<String>) -> (Vec<bool>, Vec<String>) {
        if !self.with_ids {
            return (vec![false; lines.len()], lines);
        }
        let split = |line: String| {
            let (id, value) = line.split_once('\t').unwrap_or(("", &line));
            (!self.opener.is_bound_to(value, MessageId::new(id).as_ref()), value.to_owned())
        };
        lines.into_iter().map(split).unzip()
    }

    fn conclude(self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::Running(format!("{failed} of {} value(s) did not open", self.printed))),
        }
    }
}
