//! CPU and memory of other processes, from `/proc`.

use std::fs;
use std::time::Duration;

use tidegate_harness::failure::While;
use tidegate_harness::service::descendants;
use tidegate_harness::{Failure, Result};

/// `/proc` counts CPU in hundredths of a second, on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process, all its threads, in user and kernel mode.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let times = times(pid).ok_or_else(|| Failure::new(format!("/proc/{pid}/stat is not what it used to be")))?;
    Ok(TICK * (times.user + times.system))
}

/// CPU time of a server: its process, all processes below it, and those below it that have ended already.
pub(crate) fn tree_cpu(root: u32) -> Duration {
    // One that ends between the list and its reading is counted by whoever waited for it.
    let processes = std::iter::once(root).chain(descendants(root));
    processes.filter_map(times).map(|times| TICK * (times.user + times.system + times.ended)).sum()
}

/// Ticks of a process, and of its children that have ended and were waited for.
struct Times {
    user: u32,
    system: u32,
    ended: u32,
}

fn times(pid: u32) -> Option<Times> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything. After it, user and system time are the 12th and 13th field, those of children the next.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<u32>().ok();
    Some(Times { user: ticks(11)?, system: ticks(12)?, ended: ticks(13)? + ticks(14)? })
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

    #[test]
    fn the_time_of_a_child_stays_with_its_parent_when_it_has_ended() {
        let busy = "n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done";
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &format!("sh -c '{busy}'; read -r _")]).stdin(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let counted = (0..4000).any(|_| {
            std::thread::sleep(Duration::from_millis(5));
            descendants(shell.id()).is_empty() && tree_cpu(shell.id()) > cpu(shell.id()).unwrap()
        });
        assert!(counted);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
