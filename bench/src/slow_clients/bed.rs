//! The proxy, the bystander and those who visit them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Options;
use super::mode::Mode;
use super::reins::Reins;
use super::sample::{Place, Sample};
use crate::backend;
use crate::compare::configuration::{Configured, HOSTNAME, Site, meridian};
use crate::cores::Cores;
use crate::failure::Failure;
use crate::generator::{self, Outcome, Pace, Plan};
use crate::process_tree;
use crate::program::{self, Program};
use crate::quantity::{self, Target};

/// Timeouts that let slow clients stay: by default they would be gone before a run is over.
const PATIENT: &str =
    "{ head = \"10m\", write = \"10m\", body = { bytes_per_second = 1, window = \"10m\" } }";
/// Connections of the ordinary load.
pub(super) const CONNECTIONS: usize = 64;
/// Slow connections that are opened in a second.
const SLOW_PER_SECOND: u32 = 500;
/// How long responses are waited for after the last request was due.
const DRAIN: Duration = Duration::from_secs(2);
/// Rates that are tried on the way down from what a closed loop does.
const CAPACITY_STEPS: u32 = 20;
/// A p99 that says that the load is carried.
const IN_TIME_NS: u64 = 10_000_000;
/// Until the slow clients have opened their connections, beyond the time that their rate takes.
const OPENING_PATIENCE: Duration = Duration::from_secs(20);

/// The proxy that is measured, and the bystander.
pub(super) struct Bed {
    bin_dir: PathBuf,
    scratch: PathBuf,
    address: SocketAddr,
    bystander: Program,
    bystander_address: SocketAddr,
    /// Descriptors of the bystander that has no visitors.
    bystander_descriptors: u64,
    cores: Cores,
    _programs: [Program; 2],
}

impl Bed {
    pub(super) fn start(bin_dir: PathBuf, cores: Cores, scratch: &Path) -> Result<Bed, Failure> {
        let (backend, backend_address) = backend::start(cores, scratch, None)?;
        let (bystander, bystander_address) = backend::start(cores, scratch, Some("bystander"))?;
        let bystander_descriptors = process_tree::descriptors(bystander.pid())?;
        let address = program::free_address()?;
        let site = Site {
            tenant: "bench",
            hostname: HOSTNAME,
            backend: backend_address,
        };
        let manifest = scratch.join("meridian.toml");
        let text = meridian(address, &[site], PATIENT, Configured::Plain);
        fs::write(&manifest, text).map_err(Failure::at(manifest.display()))?;
        let mut command = Command::new(bin_dir.join("meridianctl"));
        command.arg("up").arg("-f").arg(&manifest);
        command.arg("--state").arg(scratch.join("state"));
        let mut up = Program::start("meridianctl", command, &[cores.server], cores.load, scratch)?;
        up.wait_for_line("ready ")?;
        up.wait_for_port(address)?;
        Ok(Bed {
            bin_dir,
            scratch: scratch.to_path_buf(),
            address,
            bystander,
            bystander_address,
            bystander_descriptors,
            cores,
            _programs: [backend, up],
        })
    }

    fn load(&self, pace: Pace, duration: Duration) -> Result<Outcome, Failure> {
        let target: Target =
            quantity::target(&format!("http://{}/b/100", self.address)).map_err(Failure::new)?;
        generator::generate(&Plan {
            secure: None,
            target,
            hosts: vec![HOSTNAME.to_owned()],
            pace,
            connections: CONNECTIONS,
            warm_up: Duration::from_millis(500),
            duration,
            drain: DRAIN,
            keeps_exchanges: false,
            closes: false,
        })
    }

    /// Half of the highest rate at which everybody is served in time, so that nothing on the way is
    /// near its end: neither the proxy nor the core that the load shares with its backend. A closed
    /// loop does more, for it asks for what is to be had at a time.
    pub(super) fn half_of_its_capacity(&self, seconds: u64) -> Result<f64, Failure> {
        let duration = Duration::from_secs(seconds);
        let most = self.load(Pace::Closed, duration)?.responses as f64 / duration.as_secs_f64();
        for step in 0..CAPACITY_STEPS {
            let requests_per_second = most * (1.0 - f64::from(step) / f64::from(CAPACITY_STEPS));
            let pace = Pace::Open {
                requests_per_second,
            };
            let outcome = self.load(pace, duration)?;
            if outcome.unanswered == 0 && outcome.latency.percentile_ns(0.99) <= IN_TIME_NS {
                return Ok((requests_per_second / 2.0).round());
            }
        }
        Err(Failure::new("at no rate is everybody served in time"))
    }

    /// A run of each kind. The order turns, so that a machine whose speed drifts favours none.
    pub(super) fn round(
        &self,
        options: &Options,
        mode: Mode,
        pair: u32,
        rate: f64,
    ) -> Result<Vec<Sample>, Failure> {
        let places =
            (0..Place::ALL.len()).map(|turn| Place::ALL[(turn + pair as usize) % Place::ALL.len()]);
        places
            .map(|place| self.run_once(options, mode, pair, place, rate))
            .collect()
    }

    fn run_once(
        &self,
        options: &Options,
        mode: Mode,
        pair: u32,
        place: Place,
        rate: f64,
    ) -> Result<Sample, Failure> {
        let slow = match place {
            Place::Nowhere => Vec::new(),
            Place::Bystander | Place::Proxy => self.start_slow_clients(options, mode, place)?,
        };
        let slow_connections = self.connections(place)?;
        if place != Place::Nowhere && mode.lasts() && slow_connections < u64::from(options.slow) / 2
        {
            return Err(Failure::new(format!(
                "only {slow_connections} of {} slow connections were there",
                options.slow
            )));
        }
        let pace = Pace::Open {
            requests_per_second: rate,
        };
        let pids: Vec<u32> = slow.iter().map(Program::pid).collect();
        let slow_cpu_s = |pids: &[u32]| {
            pids.iter()
                .map(|&pid| process_tree::ended_cpu_s(pid))
                .sum::<f64>()
        };
        let before_s = slow_cpu_s(&pids);
        let reins = Reins::hold(pids.clone());
        let outcome = self.load(pace, Duration::from_secs(options.seconds))?;
        drop(reins);
        let slow_cpu_s = slow_cpu_s(&pids) - before_s;
        let slow_connections_left = self.connections(place)?;
        drop(slow);
        let us = |fraction| outcome.latency.percentile_ns(fraction) as f64 / 1000.0;
        let sample = Sample {
            mode,
            pair,
            slow_clients: place,
            slow: options.slow,
            slow_connections,
            slow_connections_left,
            slow_cpu_s,
            rate,
            seconds: options.seconds,
            responses: outcome.responses,
            not_2xx: outcome.not_2xx,
            broken: outcome.broken,
            unanswered: outcome.unanswered,
            p50_us: us(0.5),
            p99_us: us(0.99),
        };
        self.wait_for_quiet(place)?;
        Ok(sample)
    }

    /// Starts them and waits until most of their connections are there.
    fn start_slow_clients(
        &self,
        options: &Options,
        mode: Mode,
        place: Place,
    ) -> Result<Vec<Program>, Failure> {
        let address = match place {
            Place::Bystander => self.bystander_address,
            Place::Nowhere | Place::Proxy => self.address,
        };
        let ways = mode.ways();
        let of_each = options.slow.div_ceil(ways.len() as u32);
        let seconds = options.seconds + OPENING_PATIENCE.as_secs();
        let programs = ways
            .iter()
            .map(|&way| self.start_slow(way, address, of_each, seconds));
        let programs = programs.collect::<Result<Vec<Program>, Failure>>()?;
        let begin = Instant::now();
        let opening = Duration::from_secs_f64(f64::from(of_each) / f64::from(SLOW_PER_SECOND));
        sleep(opening);
        let lasting = ways.iter().filter(|way| way.lasts()).count() as u64;
        while self.connections(place)? < lasting * u64::from(of_each) * 9 / 10
            && begin.elapsed() < OPENING_PATIENCE
        {
            sleep(Duration::from_millis(100));
        }
        Ok(programs)
    }

    fn start_slow(
        &self,
        way: Mode,
        address: SocketAddr,
        connections: u32,
        seconds: u64,
    ) -> Result<Program, Failure> {
        // They share the core of the load, and are in no hurry: what they compute there must not show
        // in the load's latency. The least priority alone would let them end their slice of time, and
        // idle priority the system call that they are in, of which `Reins` leaves them few.
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0", "slowhttptest"])
            .args(way.arguments())
            .args(["-c", &connections.to_string()])
            .args(["-r", &SLOW_PER_SECOND.to_string()])
            .args(["-l", &seconds.to_string()])
            .args(["-u", &format!("http://{HOSTNAME}{}", way.path())])
            // As a proxy, for the name stands in no DNS.
            .args(["-d", &address.to_string()]);
        let (load, scratch) = (self.cores.load, &self.scratch);
        let name = format!("slowhttptest-{}", way.name());
        Program::start(&name, command, &[load], load, scratch)
    }

    /// Connections of clients: what the proxy has by its own word, the bystander by its descriptors.
    fn connections(&self, place: Place) -> Result<u64, Failure> {
        if place == Place::Bystander {
            let descriptors = process_tree::descriptors(self.bystander.pid())?;
            return Ok(descriptors.saturating_sub(self.bystander_descriptors));
        }
        let mut command = Command::new(self.bin_dir.join("meridianctl"));
        command.args(["status", "--format", "json", "--state"]);
        command.arg(self.scratch.join("state"));
        let said = program::output_of("meridianctl status", command)?;
        let status: serde_json::Value =
            serde_json::from_str(&said).map_err(Failure::at("meridianctl status"))?;
        let workers = status.pointer("/processes/0/workers");
        let workers = workers
            .and_then(serde_json::Value::as_array)
            .ok_or_else(|| Failure::new("meridianctl status names no workers"))?;
        let connections = workers.iter().map(|worker| worker["connections"].as_u64());
        connections
            .sum::<Option<u64>>()
            .ok_or_else(|| Failure::new("meridianctl status names no connections"))
    }

    /// Waits until what a run left behind has gone.
    fn wait_for_quiet(&self, place: Place) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.connections(place)? > 0 {
            if begin.elapsed() > OPENING_PATIENCE {
                return Err(Failure::new(
                    "connections of an earlier run are still there",
                ));
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
