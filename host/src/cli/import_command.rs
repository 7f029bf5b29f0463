//! `tidegate import`: the original's configuration as a pipeline.toml.

use std::path::PathBuf;

use clap::Args;

use super::import;
use super::{Failure, complain, say};

/// Arguments of `tidegate import`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The original's configuration.
    #[arg(default_value = "main_server_consumer_configurations.json", value_name = "FILE")]
    file: PathBuf,
    /// Folder of the first-party plugins, as the new file shall name it.
    #[arg(long, default_value = "target/plugins", value_name = "FOLDER")]
    plugins: String,
}

/// Prints the equal pipeline.toml on standard output, and what changes on standard error.
pub(super) fn import(arguments: &Arguments) -> Result<(), Failure> {
    let file = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| Failure::Config(format!("{file}: {error}")))?;
    let imported = import::import(&text, &arguments.plugins).map_err(|error| Failure::Config(format!("{file}: {error}")))?;
    for warning in &imported.warnings {
        complain(&format!("note: {warning}"));
    }
    say(&imported.toml);
    Ok(())
}
