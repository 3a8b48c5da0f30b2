//! What a process has used so far, out of `/proc`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Linux counts a process's time in hundredths of a second, on every machine that Rust runs on.
pub const TICK: Duration = Duration::from_millis(10);

/// CPU times and the parent, as `/proc/…/stat` has them.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Of the process itself, in ticks
    own: u32,
    /// Of its children that have ended, in ticks
    ended_children: u32,
}

impl Stat {
    /// `pid (name) state parent …`, where the name may hold spaces and brackets.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Self {
            parent: number(1)?,
            own: number(11)? + number(12)?,
            ended_children: number(13)? + number(14)?,
        })
    }

    fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path.join("stat")).ok()?)
    }
}

/// CPU time of a process, all its threads included.
pub fn cpu(pid: u32) -> Result<Duration> {
    cpu_at(&process(pid))
}

/// The same of whatever has a `stat` below `/proc`, such as a single thread.
pub fn cpu_at(path: &Path) -> Result<Duration> {
    let stat = Stat::read(path).with_context(|| format!("{} is gone", path.display()))?;
    Ok(TICK * stat.own)
}

/// CPU time of a process, its children, and its children that have ended: what a PostgreSQL server
/// has used.
pub fn cpu_with_children(pid: u32) -> Result<Duration> {
    let mut ticks = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        // The time of a child that ends meanwhile is added to its parent, so the parent is read
        // last.
        if let Some(stat) = Stat::read(&entry.path()).filter(|stat| stat.parent == pid) {
            ticks += stat.own;
        }
    }
    let parent = Stat::read(&process(pid)).with_context(|| format!("process {pid} is gone"))?;
    Ok(TICK * (ticks + parent.own + parent.ended_children))
}

/// The most memory that a process has held so far, in bytes.
pub fn peak_memory(pid: u32) -> Result<u64> {
    memory(pid, "VmHWM")
}

/// The memory that a process holds now, in bytes.
pub fn memory_now(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS")
}

fn memory(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(process(pid).join("status")).with_context(|| format!("process {pid} is gone"))?;
    kilobytes(&status, field).with_context(|| format!("/proc/{pid}/status has no {field}"))
}

fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

fn process(pid: u32) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194304 100 200 0 0 150 25 1000 200 20 0 8 0 12345 0 0";
        let stat = Stat {
            parent: 7,
            own: 175,
            ended_children: 1200,
        };
        assert_eq!(Stat::parse(text), Some(stat));
        assert_eq!(Stat::parse("42 (cut off) S 7"), None);
    }

    #[test]
    fn memory_is_read_by_its_whole_name() {
        let status = "VmHWMx:\t1 kB\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nThreads:\t3\n";
        assert_eq!(kilobytes(status, "VmHWM"), Some(2048 * 1024));
        assert_eq!(kilobytes(status, "VmRSS"), None);
        assert_eq!(kilobytes(status, "Threads"), None);
    }

    #[test]
    fn this_process_has_used_memory_and_a_child_counts_for_its_parent() {
        let me = std::process::id();
        assert!(peak_memory(me).unwrap() >= memory_now(me).unwrap() / 2);
        let before = cpu_with_children(me).unwrap();
        let burn = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", burn]).status().unwrap();
        assert!(status.success());
        assert!(cpu_with_children(me).unwrap() >= before + TICK);
    }
}
