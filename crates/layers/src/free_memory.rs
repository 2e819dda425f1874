//! How much memory weights may still take: what the machine has left, what the control groups of this process allow (version 2), and what its
//! limit of address space does (Linux).

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use candle_core::Device;
use rustix::process::{Resource, getrlimit};

use crate::card;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes of what `device` computes in; `None` where nothing tells.
pub fn of(device: &Device) -> Option<u64> {
    if device.is_cpu() { free() } else { card::free_memory(device) }
}

/// Bytes of the machine's memory; `None` where nothing tells.
pub fn free() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok().map(|text| of_groups(Path::new(GROUPS), &text));
    let machine = read_to_string("/proc/meminfo").ok().and_then(|text| of_machine(&text));
    [machine, groups.flatten(), of_process()].into_iter().flatten().min()
}

/// What can be had without taking anything from others, and what can be written out.
fn of_machine(meminfo: &str) -> Option<u64> {
    Some((kib(meminfo, "MemAvailable:")? + kib(meminfo, "SwapFree:").unwrap_or(0)) << 10)
}

/// The least that one of the groups, from this process's own up, has left.
fn of_groups(mounted: &Path, named: &str) -> Option<u64> {
    let own = named.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folders = Path::new(own).ancestors().map(|group| mounted.join(group));
    folders.filter_map(of_group).min()
}

fn of_group(folder: PathBuf) -> Option<u64> {
    let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    // without a limit there stands a word
    let left = number("memory.max")?.saturating_sub(number("memory.current")?);
    // files that are only cached give way
    let stat = read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|line| line.strip_prefix("inactive_file ")?.parse::<u64>().ok());
    Some(left + cached.unwrap_or(0))
}

/// Of the address space that this process may have.
fn of_process() -> Option<u64> {
    let limit = getrlimit(Resource::As).current?;
    let taken = kib(&read_to_string("/proc/self/status").ok()?, "VmSize:")? << 10;
    Some(limit.saturating_sub(taken))
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_limits_counts() {
        assert!(free().is_some_and(|bytes| bytes > 1 << 20), "{:?}", free());
        let meminfo = "MemTotal:  900 kB\nMemAvailable:   300 kB\nSwapFree: 20 kB\n";
        assert_eq!(of_machine(meminfo), Some(320 << 10));
        assert_eq!(of_machine("MemTotal: 900 kB\n"), None);
        let groups = tempfile::tempdir().unwrap();
        let group = |name: &str, files: [(&str, &str); 3]| {
            let folder = groups.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(folder.join(name), text).unwrap());
        };
        let stat = ("memory.stat", "anon 3\ninactive_file 50\n");
        group("a/b", [("memory.max", "max\n"), ("memory.current", "900\n"), stat]);
        group("a", [("memory.max", "1000\n"), ("memory.current", "400\n"), stat]);
        assert_eq!(of_groups(groups.path(), "1:cpu:/x\n0::/a/b\n"), Some(650), "the one above limits");
        assert_eq!(of_groups(groups.path(), "1:cpu:/x\n"), None);
    }
}
