//! `tidegate dlq export`: letters with all that they hold, as JSON, one a line.

use std::io::Write;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use serde_json::Value;

use super::letter::DeadLetter;
use super::selection::Selection;
use super::walk::Walk;
use super::{Place, running};
use crate::cli::Failure;

/// Arguments of `tidegate dlq export`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    selection: Selection,
}

/// Exports what matches.
pub(super) async fn export(arguments: Arguments) -> Result<(), Failure> {
    let plan = arguments.place.load()?.plan;
    let mailbox = super::mailbox(&plan).await?;
    let mut walk = Walk::begin(&*mailbox, &arguments.selection).await.map_err(running)?;
    loop {
        let letters = walk.next().await.map_err(running)?;
        if letters.is_empty() {
            break;
        }
        // An export that was cut short must not pass for a whole one.
        letters.iter().try_for_each(write).map_err(|error| Failure::Running(format!("the export cannot be written: {error}")))?;
    }
    walk.end().await.map_err(running)?;
    std::io::stdout().flush().map_err(|error| Failure::Running(format!("the export cannot be written: {error}")))
}

fn write(letter: &DeadLetter) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", line(letter))
}

/// The summary of `list --json`, with the properties by metadata key and the body in base64.
fn line(letter: &DeadLetter) -> Value {
    let mut line = letter.summary();
    line.insert("properties".to_owned(), Value::Object(letter.properties()));
    line.insert("body".to_owned(), BASE64_STANDARD.encode(&letter.message.original).into());
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::super::letter::tests::letter;
    use super::*;
    use crate::source::header;

    #[test]
    fn a_line_has_the_reasons_the_properties_and_the_body() {
        let line = line(&letter("m-1", &[(header::CODE, "too_long"), ("tenant", "acme")]));
        assert_eq!((line["code"].as_str(), line["id"].as_str()), (Some("too_long"), Some("m-1")));
        assert_eq!(line["properties"], serde_json::json!({"header:tenant": "acme", "timestamp": "0"}));
        assert_eq!(line["body"], "eyJzZWNyZXQiOjF9");
    }
}
