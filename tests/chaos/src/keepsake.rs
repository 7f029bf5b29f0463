//! What is left of a run that failed: the logs of everybody, and what had arrived.

use std::fs;
use std::path::{Path, PathBuf};

use tidegate_harness::Result;
use tidegate_harness::failure::While;

use crate::world::World;

/// Keeps the logs of the hosts and the servers; says where.
pub(crate) fn logs(world: &World, folder: &Path, run: &str) -> Result<PathBuf> {
    let folder = folder.join(run);
    fs::create_dir_all(&folder).doing("making a folder")?;
    let servers = [
        ("rabbitmq.log".to_owned(), world.rabbitmq.service.log()),
        ("redis.log".to_owned(), world.redis.service.log()),
        ("postgres.log".to_owned(), world.postgres.service.log()),
    ];
    for (name, log) in world.hosts.logs().chain(servers) {
        fs::write(folder.join(name), log).doing("keeping a log")?;
    }
    Ok(folder)
}

/// Keeps numbers in the order in which they arrived, one a line.
pub(crate) fn numbers(folder: &Path, name: &str, numbers: &[u64]) -> Result<()> {
    let lines: Vec<String> = numbers.iter().map(u64::to_string).collect();
    fs::write(folder.join(name), lines.join("\n")).doing("keeping what arrived")
}
