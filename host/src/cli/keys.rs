//! `tidegate keys`: makes keys, and shows which there are.

use clap::{Args, Subcommand};

use super::load::Files;
use super::{Failure, say};
use crate::keys::{self, KeyRing};

/// Arguments of `tidegate keys`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints a fresh key as a key file, and as the original's three JSON lines. Writes nothing.
    Generate,
    /// Lists the keys of every ring: id, whether it is active, whether it opens values of the original. Never a key.
    List(Files),
}

/// Runs the command.
pub(super) fn keys(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Generate => generate(),
        Command::List(files) => list(&files),
    }
}

fn generate() -> Result<(), Failure> {
    let generated = keys::generate().map_err(|error| Failure::Running(error.to_string()))?;
    say(&generated.file_text());
    say(
        "\n# The same for the original's main_server_consumer_configurations.json, which has one key and one static initialization vector:\n",
    );
    for line in generated.original_lines().lines() {
        say(&format!("# {line}\n"));
    }
    Ok(())
}

fn list(files: &Files) -> Result<(), Failure> {
    for loaded in files.load()? {
        for (name, plan) in &loaded.plan.key_rings {
            let ring = KeyRing::load(name, plan).map_err(|error| Failure::Config(error.to_string()))?;
            for key in ring.iter() {
                let active = if key.id == ring.active().id { "active" } else { "opens" };
                let original = if key.iv.is_some() { ", original" } else { "" };
                say(&format!("{name}\t{}\t{active}{original}\n", key.id));
            }
        }
    }
    Ok(())
}
