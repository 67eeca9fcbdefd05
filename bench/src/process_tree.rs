//! What a process and its descendants used: CPU time and memory, read from /proc.

use std::collections::HashMap;
use std::fs;

use serde::Serialize;

use crate::failure::Failure;

/// Name of the data plane's process, as far as the kernel keeps it.
const PLANE: &str = "meridian-datapl";

/// CPU time of a tree since its processes began. The kernel keeps the sum exact and splits it
/// into user and system by its ticks, so the sum is the figure and the split a hint.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
}

impl CpuTime {
    pub(crate) fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user_s: self.user_s - earlier.user_s,
            system_s: self.system_s - earlier.system_s,
        }
    }
}

/// Memory of a tree in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_bytes: u64,
    /// Shared pages count in proportion.
    pub(crate) pss_bytes: u64,
    /// Pages that only this process holds.
    pub(crate) private_bytes: u64,
}

/// The process and every descendant that lives now, the process first.
pub(crate) fn members(root: u32) -> Result<Vec<u32>, Failure> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let listing = fs::read_dir("/proc").map_err(Failure::at("/proc"))?;
    for entry in listing.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // A process that ended between the listing and here is no member.
        if let Ok(stat) = read_stat(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut members = vec![root];
    let mut next = 0;
    while let Some(&pid) = members.get(next) {
        members.extend(children.remove(&pid).unwrap_or_default());
        next += 1;
    }
    Ok(members)
}

/// CPU time of all threads of these processes. One that is gone is an error: its time would be missing.
pub(crate) fn cpu_time(pids: &[u32]) -> Result<CpuTime, Failure> {
    let mut sum = CpuTime::default();
    for &pid in pids {
        let stat = read_stat(pid)?;
        sum.user_s += stat.own.user_s;
        sum.system_s += stat.own.system_s;
    }
    Ok(sum)
}

/// CPU time of a tree, with what its members used that have ended, where their parent waited for
/// them. Finer than the kernel's ticks where threads live on.
pub(crate) fn tree_cpu_s(root: u32) -> Result<f64, Failure> {
    // A member that ends meanwhile is in its parent's account, or will be.
    let used = members(root)?.into_iter().filter_map(|pid| {
        let stat = read_stat(pid).ok()?;
        Some(stat.own.total_s().max(threads_s(pid)) + stat.waited_for_s)
    });
    Ok(used.sum())
}

/// CPU time of a process that has ended and was not waited for yet.
pub(crate) fn ended_cpu_s(pid: u32) -> f64 {
    let exact_s = schedstat_s(&format!("/proc/{pid}/schedstat"));
    read_stat(pid).map_or(exact_s, |stat| stat.own.total_s().max(exact_s))
}

/// Exact CPU time of the threads that live; 0 where the kernel does not keep it.
fn threads_s(pid: u32) -> f64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0.0;
    };
    let paths = threads
        .flatten()
        .map(|thread| thread.path().join("schedstat"));
    paths.map(|path| schedstat_s(&path.to_string_lossy())).sum()
}

/// Exact CPU time of the one thread of a process that has this name.
pub(crate) fn thread_cpu_s(pid: u32, name: &str) -> Result<f64, Failure> {
    thread_turns(pid, name).map(|turns| turns.cpu_s)
}

/// What the scheduler counts of a thread (Documentation/scheduler/sched-stats.rst, schedstat).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turns {
    /// Time on a CPU, in seconds.
    pub(crate) cpu_s: f64,
    /// Time for which it was ready and somebody else had the CPU, in seconds.
    pub(crate) waited_s: f64,
    /// Times that it was given a CPU.
    pub(crate) turns: f64,
}

/// The same of the one thread of a process that has this name.
pub(crate) fn thread_turns(pid: u32, name: &str) -> Result<Turns, Failure> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).map_err(Failure::at(&path))?;
    for thread in threads.flatten() {
        let comm = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            let path = thread.path().join("schedstat");
            return Ok(schedstat(&path.to_string_lossy()));
        }
    }
    Err(Failure::new(format!("{path}: no thread is called {name}")))
}

fn schedstat_s(path: &str) -> f64 {
    schedstat(path).cpu_s
}

/// Zeroes where the kernel does not keep it.
fn schedstat(path: &str) -> Turns {
    let text = fs::read_to_string(path).unwrap_or_default();
    let mut numbers = text
        .split_ascii_whitespace()
        .map(|number| number.parse::<f64>().unwrap_or(0.0));
    let mut next = || numbers.next().unwrap_or(0.0);
    Turns {
        cpu_s: next() / 1e9,
        waited_s: next() / 1e9,
        turns: next(),
    }
}

/// Descriptors that a process has open.
pub(crate) fn descriptors(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/fd");
    let open = fs::read_dir(&path).map_err(Failure::at(&path))?;
    Ok(open.count() as u64)
}

/// Process id of the data plane of the `meridianctl up` that has this one.
pub(crate) fn plane_of(up: u32) -> Result<u32, Failure> {
    members(up)?
        .into_iter()
        .find(|&pid| program_name(pid).as_deref() == Some(PLANE))
        .ok_or_else(|| Failure::new("meridianctl up has no meridian-dataplane"))
}

/// The name of a process's program, cut by the kernel to 15 bytes.
pub(crate) fn program_name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// One process among all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    /// Where it ran last.
    core: Option<usize>,
    cpu_s: f64,
}

/// Every process but the kernel's own threads, which work for whoever asks the kernel.
pub(crate) fn everybody() -> Result<HashMap<u32, Running>, Failure> {
    let listing = fs::read_dir("/proc").map_err(Failure::at("/proc"))?;
    let pids = listing
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids
        .filter_map(|pid| {
            let stat = read_stat(pid).ok()?;
            let running = Running {
                core: stat.core,
                cpu_s: stat.own.total_s(),
            };
            (pid != KERNEL_THREADS && stat.parent != KERNEL_THREADS).then_some((pid, running))
        })
        .collect())
}

/// CPU time that processes other than `ours` took on a core between two looks. Each process is
/// asked itself: its time is exact, where that of a core is sampled by the kernel's ticks and
/// says little of one that is mostly idle.
pub(crate) fn others_s(
    before: &HashMap<u32, Running>,
    after: &HashMap<u32, Running>,
    core: usize,
    ours: &[u32],
) -> f64 {
    after
        .iter()
        .filter(|(pid, now)| now.core == Some(core) && !ours.contains(pid))
        .map(|(pid, now)| now.cpu_s - before.get(pid).map_or(0.0, |then| then.cpu_s))
        .filter(|&took_s| took_s > 0.0)
        .sum()
}

/// CPU time of this process and of those it started and waited for.
pub(crate) fn own_cpu_time_s() -> Result<f64, Failure> {
    let stat = read_stat(std::process::id())?;
    Ok(stat.own.total_s() + stat.waited_for_s)
}

/// What tells a process from a later one with the same number: when it was started, in
/// kernel ticks since boot. `None` when it is gone or waits only to be collected.
pub(crate) fn started_ticks(pid: u32) -> Option<u64> {
    read_stat(pid)
        .ok()
        .filter(|stat| stat.state != "Z")
        .map(|stat| stat.started_ticks)
}

/// Memory of those of these processes that live.
pub(crate) fn memory_of_living(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for one in pids.iter().filter_map(|&pid| memory(&[pid]).ok()) {
        sum.rss_bytes += one.rss_bytes;
        sum.pss_bytes += one.pss_bytes;
        sum.private_bytes += one.private_bytes;
    }
    sum
}

/// Memory of these processes.
pub(crate) fn memory(pids: &[u32]) -> Result<Memory, Failure> {
    let mut sum = Memory::default();
    for &pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
        let bytes = |key: &str| -> u64 {
            text.lines()
                .find_map(|line| {
                    line.strip_prefix(key)?
                        .trim()
                        .strip_suffix("kB")?
                        .trim()
                        .parse::<u64>()
                        .ok()
                })
                .unwrap_or(0)
                * 1024
        };
        sum.rss_bytes += bytes("Rss:");
        sum.pss_bytes += bytes("Pss:");
        sum.private_bytes += bytes("Private_Clean:") + bytes("Private_Dirty:");
    }
    Ok(sum)
}

/// The process whose children are the kernel's threads.
const KERNEL_THREADS: u32 = 2;

struct Stat {
    state: String,
    core: Option<usize>,
    started_ticks: u64,
    parent: u32,
    own: CpuTime,
    waited_for_s: f64,
}

fn read_stat(pid: u32) -> Result<Stat, Failure> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(Failure::at(&path))?;
    parse_stat(&text).ok_or_else(|| Failure::new(format!("{path}: not the format of proc(5)")))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name of the program stands in parentheses and may hold any character, `)` too.
    let behind_name = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = behind_name.split_ascii_whitespace().collect();
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    // proc(5) counts from 1 and the state is field 3, the first one here.
    let seconds = |field: usize| -> Option<f64> {
        Some(fields.get(field - 3)?.parse::<f64>().ok()? / per_second)
    };
    Some(Stat {
        state: (*fields.first()?).to_owned(),
        core: fields.get(39 - 3).and_then(|field| field.parse().ok()),
        started_ticks: fields.get(22 - 3)?.parse().ok()?,
        parent: fields.get(4 - 3)?.parse().ok()?,
        own: CpuTime {
            user_s: seconds(14)?,
            system_s: seconds(15)?,
        },
        waited_for_s: seconds(16)? + seconds(17)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) R 3 7 7 0 -1 0 1 2 3 4 150 50 20 10 20 0 1 0 12345";
        let stat = parse_stat(text).unwrap();
        let tick_s = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(stat.parent, 3);
        assert_eq!(stat.started_ticks, 12345);
        assert!((stat.own.user_s - 150.0 * tick_s).abs() < 1e-9);
        assert!((stat.own.system_s - 50.0 * tick_s).abs() < 1e-9);
        assert!((stat.waited_for_s - 30.0 * tick_s).abs() < 1e-9);
    }

    #[test]
    fn others_are_counted_by_core_and_we_are_not() {
        let at = |core, cpu_s| Running {
            core: Some(core),
            cpu_s,
        };
        let before = HashMap::from([(10, at(0, 1.0)), (11, at(0, 5.0)), (12, at(1, 2.0))]);
        let after = HashMap::from([
            (10, at(0, 1.5)),
            (11, at(0, 9.0)),
            (12, at(1, 2.25)),
            (13, at(0, 0.25)),
        ]);
        assert_eq!(others_s(&before, &after, 0, &[11]), 0.75);
        assert_eq!(others_s(&before, &after, 1, &[11]), 0.25);
    }

    #[test]
    fn this_process_has_time_memory_and_itself_as_member() {
        let own = std::process::id();
        assert_eq!(members(own).unwrap()[0], own);
        assert!(cpu_time(&[own]).unwrap().total_s() >= 0.0);
        let memory = memory(&[own]).unwrap();
        assert!(memory.rss_bytes > 100_000);
        assert!(memory.pss_bytes > 0 && memory.private_bytes > 0);
    }
}
