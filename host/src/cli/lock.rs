//! `tidegate lock`: writes what each plugin is now, for `--locked`.

use std::path::Path;

use clap::Args;

use super::load::{self, Files};
use super::{Failure, say};
use crate::config::{self, Lock};
use crate::telemetry::Telemetry;

/// Arguments of `tidegate lock`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    files: Files,
    /// Only says whether the lock is what would be written; exits 78 where it is not.
    #[arg(long)]
    check: bool,
}

/// Writes, or checks, the lock of every file.
pub(super) fn lock(arguments: &Arguments) -> Result<(), Failure> {
    for file in &arguments.files.files {
        let lock = made(file, &arguments.files)?;
        let path = Lock::path(file);
        if arguments.check {
            let present = Lock::read(file).map_err(|problem| Failure::Config(problem.message.to_string()))?;
            if present != lock {
                return Err(Failure::Config(format!(
                    "{}: the plugins differ from it; `tidegate lock` writes it anew",
                    path.display()
                )));
            }
            say(&format!("{}: as it should be\n", path.display()));
        } else {
            lock.write(file).map_err(|error| Failure::Running(format!("{} cannot be written: {error}", path.display())))?;
            say(&format!("{}: written\n", path.display()));
        }
    }
    Ok(())
}

/// What the lock of a file would be: the plugins of every profile.
fn made(file: &Path, files: &Files) -> Result<Lock, Failure> {
    let mut lock = Lock::default();
    let profiles = config::profiles(file).map_err(|problems| load::refuse(&problems))?;
    for profile in profiles.into_iter().map(Some).chain([None]) {
        let files = Files { profile: profile.or_else(|| files.profile.clone()), ..files.clone() };
        let loaded = files.load_one(file).map_err(|problems| load::refuse(&problems))?;
        let engine = load::engine(std::slice::from_ref(&loaded))?;
        let (generation, _) = load::ready(&loaded, &engine, &Telemetry::default()).map_err(|problems| load::refuse(&problems))?;
        for plugin in &generation.plugins {
            lock.note(Path::new(&plugin.plugin), loaded.text.folder(), plugin.locked());
        }
    }
    Ok(lock)
}
