//! `tidegate dlq show`: all that is known of one letter.

use std::io::IsTerminal;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::Value;

use super::letter::{DeadLetter, plain};
use super::selection::Selection;
use super::walk::Walk;
use super::{Place, running};
use crate::cli::{Failure, say};
use crate::source::Mailbox;

/// Arguments of `tidegate dlq show`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The letter's position, as `list` shows it; left out with `--id`.
    #[arg(value_name = "POSITION", required_unless_present = "id", conflicts_with = "id")]
    position: Option<u64>,
    /// The letter with this id of its own, or the oldest one of the message with this id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The pipeline's file.
    #[arg(long, default_value = "pipeline.toml", value_name = "FILE")]
    file: PathBuf,
    /// Overlays `[profile.NAME]` of the file.
    #[arg(long, env = "TIDEGATE_PROFILE", value_name = "NAME")]
    profile: Option<String>,
    /// Prints what the message holds too: as text where it is UTF-8, else in base64. Nothing else of this program shows it but `export`.
    #[arg(long)]
    body: bool,
}

/// Shows one letter.
pub(super) async fn show(arguments: Arguments) -> Result<(), Failure> {
    let plan = Place { file: arguments.file.clone(), profile: arguments.profile.clone() }.load()?.plan;
    let mailbox = super::mailbox(&plan).await?;
    let found = find(&*mailbox, &arguments).await?;
    let letter = found.ok_or_else(|| Failure::Running("there is no such letter: see `tidegate dlq list`".to_owned()))?;
    say(&describe(&letter));
    say(&if arguments.body { body(&letter) } else { format!("body         {} bytes, shown with --body\n", letter.bytes()) });
    Ok(())
}

async fn find(mailbox: &dyn Mailbox, arguments: &Arguments) -> Result<Option<DeadLetter>, Failure> {
    let limit = arguments.position.or(Some(1));
    let selection = Selection { id: arguments.id.clone(), limit, ..Selection::default() };
    let mut walk = Walk::begin(mailbox, &selection).await.map_err(running)?;
    let wanted = |letter: &DeadLetter| arguments.position.is_none_or(|position| position == letter.position);
    let mut found = None;
    while found.is_none() {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        found = letters.into_iter().find(wanted);
    }
    walk.end().await.map_err(running)?;
    Ok(found)
}

/// Its summary and its properties, one a line.
fn describe(letter: &DeadLetter) -> String {
    let mut text = String::new();
    let known = ["position", "id", "letter", "previous_letter", "time", "pipeline", "stage", "lane", "code", "reason"];
    let summary = letter.summary();
    for key in known.into_iter().chain(["pointer", "plugin", "generation", "attempts"]) {
        if let Some(value) = summary.get(key).filter(|value| !value.is_null()) {
            text.push_str(&format!("{:<12} {}\n", key.replace('_', " "), shown(value)));
        }
    }
    let properties = letter.properties();
    let (headers, properties): (Vec<_>, Vec<_>) = properties.iter().partition(|(key, _)| key.starts_with("header:"));
    for (title, entries) in [("properties", properties), ("headers", headers)] {
        if !entries.is_empty() {
            text.push_str(&format!("{title}\n"));
        }
        for (key, value) in entries {
            text.push_str(&format!("  {}: {}\n", plain(key.trim_start_matches("header:")), shown(value)));
        }
    }
    text
}

fn shown(value: &Value) -> String {
    plain(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn body(letter: &DeadLetter) -> String {
    let original = &letter.message.original;
    match std::str::from_utf8(original) {
        Ok(text) => format!("body         {} bytes of text\n{}\n", original.len(), harmless(text)),
        Err(_) => format!("body         {} bytes, in base64\n{}\n", original.len(), BASE64_STANDARD.encode(original)),
    }
}

/// On a terminal, a message must not do what it likes; into a file or a program it goes as it is.
fn harmless(text: &str) -> String {
    if std::io::stdout().is_terminal() { text.split('\n').map(plain).collect::<Vec<_>>().join("\n") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;
    use crate::source::header;

    #[test]
    fn a_letter_is_described_with_all_its_headers_and_its_body_only_where_it_is_asked_for() {
        let headers =
            [(header::STAGE, "steps.validate"), (header::REASON, "65537 bytes"), ("tenant", "acme"), (header::LETTER, "00ff")];
        let letter = letter("m-1", &headers);
        insta::assert_snapshot!(describe(&letter), @r"
        position     1
        id           m-1
        letter       00ff
        stage        steps.validate
        reason       65537 bytes
        attempts     1
        properties
          timestamp: 0
        headers
          tenant: acme
        ");
        assert_eq!(body(&letter), "body         12 bytes of text\n{\"secret\":1}\n");
    }

    #[test]
    fn a_body_that_is_no_text_is_shown_in_base64() {
        let mut letter = letter("m-1", &[]);
        letter.message.original = bytes::Bytes::from_static(b"\xff\x00");
        assert_eq!(body(&letter), "body         2 bytes, in base64\n/wA=\n");
    }
}
