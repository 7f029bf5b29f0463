//! CPU and memory of another process, from `/proc`.

use std::fs;
use std::time::Duration;

use tidegate_harness::failure::While;
use tidegate_harness::{Failure, Result};

/// `/proc` counts CPU in hundredths of a second, on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, all its threads, in user and kernel mode.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).doing("reading a process's CPU time")?;
    // The name in parentheses may hold anything. After it, user and system time are the 12th and 13th field.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u32>().ok());
    let total = ticks(11).zip(ticks(12)).map(|(user, system)| TICK * (user + system));
    total.ok_or_else(|| Failure::new(format!("/proc/{pid}/stat is not what it used to be")))
}

/// Most memory that a process ever had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM:")
}

/// Memory that a process has resident now, in bytes.
pub(crate) fn resident_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, which: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).doing("reading a process's memory")?;
    let line = status.lines().find_map(|line| line.strip_prefix(which));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| Failure::new(format!("/proc/{pid}/status is not what it used to be")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_its_cpu_time_grows() {
        let pid = std::process::id();
        assert!(peak_memory(pid).unwrap() > 100_000);
        let before = cpu(pid).unwrap();
        while cpu(pid).unwrap() == before {
            std::hint::black_box((0..100_000_u64).sum::<u64>());
        }
    }
}
