//! CPU time and memory of this process and its children (Linux).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Linux counts CPU time in these units whatever the kernel's own tick is (`getconf CLK_TCK`).
const TICKS_A_SECOND: f64 = 100.0;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(10);

/// User and system time of this process, of threads that have ended, too.
pub fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("the clock does not read below zero")
}

/// User and system time of this process and of the children it has waited for.
pub fn cpu_with_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // after the program's name in parentheses: state is field 3, utime stime cutime cstime are 14 to 17
    let ticks: u64 = stat
        .rsplit(')')
        .next()
        .map(|rest| rest.split_whitespace().skip(11).take(4).filter_map(|f| f.parse::<u64>().ok()).sum())
        .unwrap_or(0);
    Duration::from_secs_f64(ticks as f64 / TICKS_A_SECOND)
}

/// Largest resident sizes seen.
#[derive(Clone, Copy, Default)]
pub struct PeakMemory {
    pub own_mib: u64,
    pub with_children_mib: u64,
}

/// Looks at the process tree's memory until it is finished.
pub struct MemoryWatch {
    done: Arc<AtomicBool>,
    thread: JoinHandle<PeakMemory>,
}

impl MemoryWatch {
    pub fn start() -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let thread = {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut peak = PeakMemory::default();
                while !done.load(Ordering::Relaxed) {
                    let (own, children) = resident_kib();
                    peak.own_mib = peak.own_mib.max(own / 1024);
                    peak.with_children_mib = peak.with_children_mib.max((own + children) / 1024);
                    std::thread::park_timeout(SAMPLE_INTERVAL);
                }
                peak
            })
        };
        Self { done, thread }
    }

    pub fn finish(self) -> PeakMemory {
        self.done.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_default()
    }
}

/// Resident KiB of this process and of all its children together.
fn resident_kib() -> (u64, u64) {
    let own = std::process::id();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children: u64 = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .map(status_rss)
        .sum();
    (status_rss(own), children)
}

fn status_rss(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
