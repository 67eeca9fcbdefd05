//! `slow-clients`: what ordinary clients wait for while others are as slow as they can be.
//!
//! slowhttptest keeps its connections open in one of four ways: heads that never end, bodies that
//! trickle, answers that are not read, and ranges by the hundred. Beside it an open loop sends half
//! of what the proxy can do. Each pair is that load alone and with the slow clients, in turning
//! order; the budget is the ratio of the two p99. The slow clients run on the core of the load, when
//! nothing else wants it: what that costs the load's own clock all the same is charged to the proxy.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cores::{self, Cores};
use crate::failure::Failure;
use crate::file_limit;
use crate::generator::{self, Outcome, Pace, Plan};
use crate::median::median;
use crate::program::{self, Program};
use crate::quantity::{self, Target};

/// The name that requests carry in their Host field.
const HOSTNAME: &str = "bench.example.com";
/// With slow clients the p99 of others may be this many times what it is alone.
const RATIO_MOST: f64 = 1.2;
/// Connections of the ordinary load.
const CONNECTIONS: usize = 64;
/// Slow connections that are opened in a second.
const SLOW_PER_SECOND: u32 = 500;
/// How long responses are waited for after the last request was due.
const DRAIN: Duration = Duration::from_secs(2);
/// Until the slow clients have opened their connections, beyond the time that their rate takes.
const OPENING_PATIENCE: Duration = Duration::from_secs(20);

/// What `slow-clients` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How the clients are slow; may be repeated. Left out: in every way, one after the other.
    #[arg(long = "mode", value_enum)]
    modes: Vec<Mode>,
    /// Pairs of a run alone and a run with slow clients.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pairs: u32,
    /// Length of a run.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Slow connections.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    slow: u32,
    /// Requests a second of the others. Left out: half of what the proxy can do.
    #[arg(long)]
    rate: Option<f64>,
    /// Where meridianctl and meridian-dataplane are. Left out: beside this program.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// A line of JSON for each run goes here.
    #[arg(long)]
    samples: Option<PathBuf>,
}

/// A way to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// A field every ten seconds, and never the end (slowloris).
    Head,
    /// A body of which a few bytes come now and then.
    Body,
    /// A large answer of which nearly nothing is read.
    Read,
    /// A head with ranges by the hundred.
    Range,
    /// In all these ways at once, with a quarter of the connections each.
    Together,
}

impl Mode {
    const ALL: [Mode; 4] = [Mode::Head, Mode::Body, Mode::Read, Mode::Range];

    fn name(self) -> &'static str {
        match self {
            Mode::Head => "head",
            Mode::Body => "body",
            Mode::Read => "read",
            Mode::Range => "range",
            Mode::Together => "together",
        }
    }

    /// What runs at once.
    fn ways(self) -> Vec<Mode> {
        match self {
            Mode::Together => Mode::ALL.to_vec(),
            way => vec![way],
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Mode::Head => &["-H", "-i", "10", "-x", "24"],
            Mode::Body => &["-B", "-i", "10", "-s", "8192", "-x", "10"],
            Mode::Read => &["-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024"],
            Mode::Range => &["-R", "-a", "5", "-b", "500", "-t", "GET"],
            Mode::Together => &[],
        }
    }

    /// What they ask for. A large answer keeps a proxy holding on to something.
    fn path(self) -> &'static str {
        match self {
            Mode::Read => "/b/4000000",
            Mode::Head | Mode::Body | Mode::Range | Mode::Together => "/b/100",
        }
    }

    /// Whether the connections last as long as the proxy lets them.
    fn lasts(self) -> bool {
        self != Mode::Range
    }
}

/// One run.
#[derive(Serialize)]
struct Sample {
    mode: Mode,
    pair: u32,
    slow_clients: bool,
    /// Connections that the proxy had beside those of the load when the run began.
    slow_connections: u64,
    rate: f64,
    responses: u64,
    not_2xx: u64,
    broken: u64,
    unanswered: u64,
    p50_us: f64,
    p99_us: f64,
}

/// The proxy that is measured.
struct Proxy {
    bin_dir: PathBuf,
    scratch: PathBuf,
    address: SocketAddr,
    cores: Cores,
    _programs: [Program; 2],
}

pub(crate) fn run(options: Options) -> Result<(), Failure> {
    let bin_dir = program::bin_dir(options.bin_dir.as_deref())?;
    program::check_present(&["slowhttptest"], Some(&bin_dir))?;
    file_limit::raise_to(u64::from(options.slow) + 256)?;
    let cores = Cores::choose(None, None)?;
    cores::pin(cores.load)?;
    let scratch = tempfile::tempdir().map_err(Failure::at("temporary directory"))?;
    let proxy = Proxy::start(bin_dir, cores, scratch.path())?;
    let rate = match options.rate {
        Some(rate) => rate,
        None => proxy.half_of_its_capacity(Duration::from_secs(options.seconds.min(5)))?,
    };
    let modes = match options.modes.is_empty() {
        true => Mode::ALL.to_vec(),
        false => options.modes.clone(),
    };
    println!(
        "{rate:.0} requests a second over {CONNECTIONS} connections, {} slow connections, {} s a run",
        options.slow, options.seconds
    );
    println!(
        "p99 of the others in us: medians of {} pairs",
        options.pairs
    );
    println!(
        "{:<8} {:>10} {:>10} {:>8} {:>8}",
        "slow", "alone", "with", "ratio", "worst"
    );
    let mut lines = String::new();
    let mut over = Vec::new();
    for mode in modes {
        let mut samples = Vec::new();
        for pair in 0..options.pairs {
            // The order turns, so that a machine whose speed drifts favours neither.
            for with_slow in [pair % 2 == 1, pair % 2 == 0] {
                let sample = proxy.run_once(&options, mode, pair, with_slow, rate)?;
                lines += &serde_json::to_string(&sample).map_err(Failure::at("sample"))?;
                lines.push('\n');
                samples.push(sample);
            }
        }
        let ratio = tell(mode, &samples);
        if ratio > RATIO_MOST {
            over.push(format!("{} {ratio:.2}", mode.name()));
        }
    }
    if let Some(path) = &options.samples {
        fs::write(path, lines).map_err(Failure::at(path.display()))?;
    }
    match over.is_empty() {
        true => println!("within the budget of {RATIO_MOST}"),
        false => println!("over the budget of {RATIO_MOST}: {}", over.join(", ")),
    }
    Ok(())
}

impl Proxy {
    fn start(bin_dir: PathBuf, cores: Cores, scratch: &Path) -> Result<Proxy, Failure> {
        let mut command = Command::new(program::this_program()?);
        command.arg("backend");
        let mut backend = Program::start("backend", command, &[cores.load], cores.load, scratch)?;
        let backend_address = backend.wait_for_line("listening ")?;
        let address = program::free_address()?;
        let manifest = scratch.join("meridian.toml");
        fs::write(&manifest, manifest_text(address, &backend_address))
            .map_err(Failure::at(manifest.display()))?;
        let mut command = Command::new(bin_dir.join("meridianctl"));
        command.arg("up").arg("-f").arg(&manifest);
        command.arg("--state").arg(scratch.join("state"));
        let mut up = Program::start("meridianctl", command, &[cores.server], cores.load, scratch)?;
        up.wait_for_line("ready ")?;
        up.wait_for_port(address)?;
        Ok(Proxy {
            bin_dir,
            scratch: scratch.to_path_buf(),
            address,
            cores,
            _programs: [backend, up],
        })
    }

    fn load(&self, pace: Pace, duration: Duration) -> Result<Outcome, Failure> {
        let target: Target =
            quantity::target(&format!("http://{}/b/100", self.address)).map_err(Failure::new)?;
        generator::generate(&Plan {
            target,
            hosts: vec![HOSTNAME.to_owned()],
            pace,
            connections: CONNECTIONS,
            warm_up: Duration::from_millis(500),
            duration,
            drain: DRAIN,
            keeps_exchanges: false,
        })
    }

    fn half_of_its_capacity(&self, duration: Duration) -> Result<f64, Failure> {
        let outcome = self.load(Pace::Closed, duration)?;
        Ok((outcome.responses as f64 / duration.as_secs_f64() / 2.0).round())
    }

    fn run_once(
        &self,
        options: &Options,
        mode: Mode,
        pair: u32,
        with_slow: bool,
        rate: f64,
    ) -> Result<Sample, Failure> {
        let slow = match with_slow {
            true => Some(self.start_slow_clients(options, mode)?),
            false => None,
        };
        let slow_connections = self.connections()?;
        if with_slow && mode.lasts() && slow_connections < u64::from(options.slow) / 2 {
            return Err(Failure::new(format!(
                "only {slow_connections} of {} slow connections were there",
                options.slow
            )));
        }
        let pace = Pace::Open {
            requests_per_second: rate,
        };
        let outcome = self.load(pace, Duration::from_secs(options.seconds))?;
        drop(slow);
        let us = |fraction| outcome.latency.percentile_ns(fraction) as f64 / 1000.0;
        let sample = Sample {
            mode,
            pair,
            slow_clients: with_slow,
            slow_connections,
            rate,
            responses: outcome.responses,
            not_2xx: outcome.not_2xx,
            broken: outcome.broken,
            unanswered: outcome.unanswered,
            p50_us: us(0.5),
            p99_us: us(0.99),
        };
        self.wait_for_quiet()?;
        Ok(sample)
    }

    /// Starts them and waits until most of their connections are there.
    fn start_slow_clients(&self, options: &Options, mode: Mode) -> Result<Vec<Program>, Failure> {
        let ways = mode.ways();
        let of_each = options.slow.div_ceil(ways.len() as u32);
        let seconds = options.seconds + OPENING_PATIENCE.as_secs();
        let programs = ways
            .iter()
            .map(|&way| self.start_slow(way, of_each, seconds));
        let programs = programs.collect::<Result<Vec<Program>, Failure>>()?;
        let begin = Instant::now();
        let opening = Duration::from_secs_f64(f64::from(of_each) / f64::from(SLOW_PER_SECOND));
        sleep(opening);
        let lasting = ways.iter().filter(|way| way.lasts()).count() as u64;
        while self.connections()? < lasting * u64::from(of_each) * 9 / 10
            && begin.elapsed() < OPENING_PATIENCE
        {
            sleep(Duration::from_millis(100));
        }
        Ok(programs)
    }

    fn start_slow(&self, way: Mode, connections: u32, seconds: u64) -> Result<Program, Failure> {
        // They share the core of the load, and are in no hurry: what they compute there must not show
        // in the load's latency. The least priority alone would let them end their slice of time.
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0", "slowhttptest"])
            .args(way.arguments())
            .args(["-c", &connections.to_string()])
            .args(["-r", &SLOW_PER_SECOND.to_string()])
            .args(["-l", &seconds.to_string()])
            .args(["-u", &format!("http://{HOSTNAME}{}", way.path())])
            // As a proxy, for the name stands in no DNS.
            .args(["-d", &self.address.to_string()]);
        let (load, scratch) = (self.cores.load, &self.scratch);
        let name = format!("slowhttptest-{}", way.name());
        Program::start(&name, command, &[load], load, scratch)
    }

    /// Connections of clients that the proxy has, by its own word.
    fn connections(&self) -> Result<u64, Failure> {
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
    fn wait_for_quiet(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while self.connections()? > 0 {
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

/// Timeouts that let slow clients stay: by default they would be gone before a run is over.
fn manifest_text(listen: SocketAddr, backend: &str) -> String {
    format!(
        "[host]
name = \"bench\"
workers = 1
backend_networks = [\"127.0.0.0/8\"]
timeouts = {{ head = \"10m\", write = \"10m\", body = {{ bytes_per_second = 1, window = \"10m\" }} }}

[listen]
http = [\"{listen}\"]

[[tenant]]
name = \"bench\"

[[site]]
tenant = \"bench\"
name = \"web\"
hostnames = [\"{HOSTNAME}\"]

[[site.backend]]
name = \"b1\"
address = \"{backend}\"
"
    )
}

/// Prints the line of a mode and gives the median of its pairs' ratios.
fn tell(mode: Mode, samples: &[Sample]) -> f64 {
    let of = |slow_clients: bool| {
        let runs = samples
            .iter()
            .filter(move |it| it.slow_clients == slow_clients);
        runs.map(|sample| sample.p99_us).collect::<Vec<f64>>()
    };
    let (alone, with) = (of(false), of(true));
    let ratios: Vec<f64> = with
        .iter()
        .zip(&alone)
        .map(|(with, alone)| with / alone)
        .collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let ratio = median(&ratios).unwrap_or(0.0);
    let failed: u64 = samples
        .iter()
        .map(|it| it.not_2xx + it.broken + it.unanswered)
        .sum();
    let note = match failed {
        0 => String::new(),
        failed => format!("   {failed} requests of the others failed"),
    };
    println!(
        "{:<8} {:>10.0} {:>10.0} {ratio:>8.2} {worst:>8.2}{note}",
        mode.name(),
        median(&alone).unwrap_or(0.0),
        median(&with).unwrap_or(0.0)
    );
    ratio
}
