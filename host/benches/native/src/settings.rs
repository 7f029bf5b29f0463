//! What every part of the benchmarks is told.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

/// What is compared, and how long.
#[derive(Args, Clone)]
pub(crate) struct Settings {
    /// The host program, built with the release profile.
    #[arg(long)]
    pub(crate) host: PathBuf,
    /// The folder of the workspace.
    #[arg(long)]
    pub(crate) workspace: PathBuf,
    /// The folder of the components.
    #[arg(long)]
    pub(crate) plugins: PathBuf,
    /// Messages a leg.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) messages: usize,
    /// Rounds, each of one leg of everything that takes turns. Each part has its own default.
    #[arg(long)]
    rounds: Option<usize>,
    /// Where the servers that are started here keep their data.
    #[arg(long, value_enum, default_value_t = Place::Disk)]
    pub(crate) scratch: Place,
    /// A file for all figures.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// A file for a chart of the drain.
    #[arg(long)]
    pub(crate) svg: Option<PathBuf>,
}

impl Settings {
    /// The rounds that were asked for, or else those of the part.
    pub(crate) fn rounds(&self, default: usize) -> usize {
        self.rounds.unwrap_or(default)
    }
}

/// Where scratch folders are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// Where the system keeps temporary files.
    Disk,
    /// In memory, where no disk stands still for seconds at a time.
    Memory,
}

impl Place {
    /// The folder, where it is not that of the system.
    pub(crate) fn folder(self) -> Option<&'static Path> {
        (self == Self::Memory).then(|| Path::new("/dev/shm"))
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
        }
    }
}
