//! `tidegate check`: a file, its plugins and its cases, without touching a server.

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::load::{self, Files};
use super::{Failure, complain, say};
use crate::config::{Loaded, Problems};
use crate::pipeline::Generation;
use crate::telemetry::Telemetry;

/// Arguments of `tidegate check`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Prints every problem as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Plugins must be what `pipeline.lock` says.
    #[arg(long)]
    locked: bool,
}

/// Checks every file, and fails when one is wrong.
pub(super) fn check(arguments: &Arguments) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut wrong = 0;
    for file in &arguments.files.files {
        let (problems, summary) = check_one(file, arguments)?;
        wrong += usize::from(problems.has_errors());
        if arguments.json {
            all.extend(problems.to_json().as_array().cloned().unwrap_or_default());
            continue;
        }
        if !problems.list().is_empty() {
            complain(&problems.render(load::look()));
        }
        say(&summary);
    }
    if arguments.json {
        say(&format!("{:#}\n", serde_json::Value::Array(all)));
    }
    if wrong == 0 {
        Ok(())
    } else {
        Err(Failure::Config(format!("{wrong} of {} file(s) are wrong", arguments.files.files.len())))
    }
}

fn check_one(file: &Path, arguments: &Arguments) -> Result<(Problems, String), Failure> {
    let files = Files { locked: arguments.locked, ..arguments.files.clone() };
    let loaded = match files.load_one(file) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok((problems, String::new())),
    };
    let engine = load::engine(std::slice::from_ref(&loaded))?;
    let warnings = loaded.warnings.clone();
    Ok(match load::ready(&loaded, &engine, &Telemetry::default()) {
        Ok((generation, _)) => (Problems::new(Arc::clone(&loaded.text), warnings), summary(file, &loaded, &generation)),
        Err(problems) => {
            let list = warnings.into_iter().chain(problems.list().iter().cloned()).collect();
            (Problems::new(Arc::clone(&loaded.text), list), String::new())
        }
    })
}

/// What a person wants to see of a file that is well: above all, what each plugin is allowed.
fn summary(file: &Path, loaded: &Loaded, generation: &Generation) -> String {
    let mut text = format!("{}: well; {} test(s) passed\n", file.display(), loaded.plan.tests.len());
    for plugin in &generation.plugins {
        let imports = if plugin.imports.is_empty() { "nothing".to_owned() } else { plugin.imports.join(", ") };
        let digest = plugin.digest.get(..19).unwrap_or(&plugin.digest);
        let (step, name, version, kind) = (&plugin.step, &plugin.name, &plugin.version, plugin.kind);
        text.push_str(&format!("  steps.{step}: {name} {version} ({kind}, {digest}…) imports {imports}\n"));
    }
    text
}
