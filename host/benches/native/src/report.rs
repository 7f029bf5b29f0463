//! Everything that was found, as one JSON document.

use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tidegate_harness::Result;
use tidegate_harness::failure::While;

use crate::settings::Settings;

/// The document, part by part.
pub(crate) struct Report {
    document: Map<String, Value>,
}

impl Report {
    /// Begins with what the figures were measured on.
    pub(crate) fn new(settings: &Settings, servers: [Option<u32>; 3]) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let own = servers.iter().flatten().count();
        let machine = json!({
            "cores": cores,
            "memory_megabytes": memory_megabytes(),
            "servers_started_here": own,
            "servers_data": settings.scratch.name(),
        });
        Self { document: Map::from_iter([("machine".to_owned(), machine), ("messages".to_owned(), json!(settings.messages))]) }
    }

    /// The same in words.
    pub(crate) fn surroundings(&self) -> String {
        let machine = |key: &str| self.document.get("machine").and_then(|machine| machine.get(key)).cloned().unwrap_or_default();
        let place = match machine("servers_started_here").as_u64() {
            Some(3) => format!(
                "everything on one machine, the servers' data on {}",
                machine("servers_data").as_str().unwrap_or_default()
            ),
            Some(0) => "the servers are those that the environment names".to_owned(),
            _ => "some of the servers are those that the environment names".to_owned(),
        };
        format!("{} cores, {} MB of memory, {place}", machine("cores"), machine("memory_megabytes"))
            .replace("on memory", "in memory")
    }

    /// Adds what a part has found.
    pub(crate) fn add(&mut self, part: &str, found: &impl Serialize) -> Result<()> {
        self.document.insert(part.to_owned(), serde_json::to_value(found).doing("writing figures as JSON")?);
        Ok(())
    }

    /// Writes the document.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.document).doing("writing figures as JSON")?;
        fs::write(file, text + "\n").doing(format!("writing {}", file.display()))
    }
}

/// Memory of the machine; 0 where it does not say.
fn memory_megabytes() -> u64 {
    let all = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = all.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kilobytes| kilobytes * 1024 / 1_000_000)
}
