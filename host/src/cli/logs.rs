//! Where logs go: standard error, as text or as JSON lines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Lines for a person.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Libraries that log what a stage reports itself, in its own words and once; among it the bodies of returned messages.
const NOISY: [&str; 3] = ["lapin=off", "amq_protocol=off", "async_rs=off"];

/// Starts logging for the process.
pub(super) fn start(format: Format, filter: &str) -> Result<(), String> {
    // What a person asks for comes last, and so wins.
    let directives: Vec<&str> = NOISY.into_iter().chain([filter]).collect();
    let filter = EnvFilter::try_new(directives.join(",")).map_err(|error| format!("--log {filter}: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        Format::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => builder.json().with_current_span(false).flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging cannot start: {error}"))
}
