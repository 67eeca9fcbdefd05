//! The two cores of a comparison: which they are, who runs there, how busy they were.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::failure::Failure;

/// Cores that an affinity mask of the kernel's usual size can name.
const CORES_MAX: usize = CpuSet::MAX_CPU;

/// Which cores to take, as they are typed.
#[derive(clap::Args)]
pub(crate) struct CoreOptions {
    /// Core of the server under test; default: the first that may be used.
    #[arg(long, value_parser = number)]
    server_core: Option<usize>,
    /// Core of load and backends; default: the next.
    #[arg(long, value_parser = number)]
    load_core: Option<usize>,
}

impl CoreOptions {
    /// See [`Cores::choose`].
    pub(crate) fn choose(&self) -> Result<Cores, Failure> {
        Cores::choose(self.server_core, self.load_core)
    }
}

/// The core of the server under test, and the one of everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) load: usize,
}

impl Cores {
    /// The first two cores that this process may use, unless they were named.
    pub(crate) fn choose(server: Option<usize>, load: Option<usize>) -> Result<Self, Failure> {
        let allowed = sched_getaffinity(None).map_err(Failure::at("affinity of this process"))?;
        let usable: Vec<usize> = (0..CORES_MAX)
            .filter(|&core| allowed.is_set(core))
            .collect();
        for named in [server, load].into_iter().flatten() {
            if !usable.contains(&named) {
                return Err(Failure::new(format!(
                    "core {named} is not one that this process may use: {usable:?}"
                )));
            }
        }
        let server = server.or_else(|| usable.iter().copied().find(|&core| Some(core) != load));
        let load = load.or_else(|| usable.iter().copied().find(|&core| Some(core) != server));
        match (server, load) {
            (Some(server), Some(load)) if server != load => Ok(Self { server, load }),
            _ => Err(Failure::new(format!(
                "a comparison needs two different cores, one for the server and one for the load; usable: {usable:?}"
            ))),
        }
    }
}

/// A core as it is typed.
fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(core) if core < CORES_MAX => Ok(core),
        _ => Err(format!("must be 0 to {}", CORES_MAX - 1)),
    }
}

/// Pins the calling thread; programs that it starts inherit this.
pub(crate) fn pin(core: usize) -> Result<(), Failure> {
    keep_to(&[core])
}

/// The same to several cores.
pub(crate) fn keep_to(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).map_err(Failure::at(format!("pinning to core {cores:?}")))
}

/// Time a core spent on nothing, in seconds since boot. Where the kernel stops its tick on an idle
/// core it keeps this time exact. The columns of busy time are counted by the tick instead, which
/// starts anew whenever the core wakes: on a core that sleeps often they came to 12 % more than
/// there was.
pub(crate) fn idle_s(core: usize) -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/stat").map_err(Failure::at("/proc/stat"))?;
    parse_idle_s(&text, core)
        .ok_or_else(|| Failure::new(format!("/proc/stat has no line for cpu{core}")))
}

fn parse_idle_s(text: &str, core: usize) -> Option<f64> {
    let name = format!("cpu{core}");
    let mut fields = text
        .lines()
        .map(str::split_ascii_whitespace)
        .find_map(|mut fields| (fields.next() == Some(&name)).then_some(fields))?;
    // proc_stat(5): user nice system idle iowait irq softirq steal.
    let idle: u64 = fields.nth(3)?.parse().ok()?;
    let waiting_for_io: u64 = fields.next()?.parse().ok()?;
    Some((idle + waiting_for_io) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_waits_for_io_is_idle() {
        let text =
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 1000 2000 4 5 6 7 8\ncpu1 0 0 0 5 0 0 0 0 0 0\n";
        let tick_s = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        assert!((parse_idle_s(text, 0).unwrap() - 3000.0 * tick_s).abs() < 1e-9);
        assert!((parse_idle_s(text, 1).unwrap() - 5.0 * tick_s).abs() < 1e-9);
        assert_eq!(parse_idle_s(text, 2), None);
    }

    #[test]
    fn a_core_that_is_not_there_is_refused() {
        let failure = Cores::choose(Some(1000), None).unwrap_err();
        assert!(failure.to_string().contains("1000"), "{failure}");
    }
}
