//! What the kernel says of processes and threads. Linux only.

use std::path::Path;
use std::time::Duration;

/// Whether the bench was asked to measure, and not only to show that it runs.
pub(crate) fn is_measuring() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// The processor time that this thread has had.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) fn cpu_of_this_thread() -> Duration {
    cpu(Path::new("/proc/thread-self"))
}

/// The processor time that the threads of a name in this process have had.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) fn cpu_of_thread(name: &str) -> Duration {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| task.unwrap().path())
        .filter(|task| {
            let comm = std::fs::read_to_string(task.join("comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        })
        .map(|task| cpu(&task))
        .sum()
}

fn cpu(task: &Path) -> Duration {
    let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
    let nanos = stat.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanos.unwrap())
}

/// The bytes of memory that a process has of its own: heap, stacks and the like.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) fn own_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
    kilobytes * 1024
}

/// How many files this process, and those it starts, may have open.
#[allow(dead_code, reason = "not every bench uses every helper")]
pub(crate) fn open_files_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(usize::MAX)
}
