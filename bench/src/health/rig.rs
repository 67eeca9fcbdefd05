//! What is measured and what it is measured with: the plane, the backends, the loop and the load.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::configuration::{Declared, HOSTNAME};
use super::sample::{Checked, Idle, Loaded, Sample, Variant};
use crate::backend;
use crate::cores::Cores;
use crate::failure::Failure;
use crate::generator::{self, Outcome, Pace, Plan};
use crate::listener::listen;
use crate::process_tree::{self, Turns};
use crate::program::{self, Program};
use crate::quantity;

/// Connections of the load.
const CONNECTIONS: usize = 64;
/// The backends follow this address.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 0);
/// The thread of the plane that checks.
const CHECKER: &str = "health";
/// The name of its only worker's.
const WORKER: &str = "worker-0";
/// Until every backend has been seen up, beyond an interval.
const UP_PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Of the connects that were to be, so many must have been.
const CONNECTS_LEAST: f64 = 0.9;

/// How long each step of a sample lasts.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// Idle, and once more under load.
    measured: Duration,
    warm_up: Duration,
    drain: Duration,
}

impl Steps {
    pub(super) fn new(measured: Duration) -> Self {
        Self {
            measured,
            warm_up: measured / 5,
            drain: Duration::from_secs(2),
        }
    }
}

/// See the module.
pub(super) struct Rig {
    pub(super) interval: Duration,
    pub(super) declared: Declared,
    cores: Cores,
    bin_dir: PathBuf,
    scratch: PathBuf,
    up: Program,
    /// Process id of the data plane.
    plane: u32,
    is_checking: bool,
    _backend: Program,
}

impl Rig {
    pub(super) fn start(
        backends: u32,
        interval: Duration,
        bin_dir: PathBuf,
        cores: Cores,
        scratch: &Path,
    ) -> Result<Rig, Failure> {
        let (serving, serving_address) = backend::start(cores, scratch, None)?;
        let port = accept_everywhere()?;
        let declared = Declared {
            listen: program::free_address()?,
            serving: serving_address,
            first: SocketAddrV4::new(FIRST, port),
            backends,
        };
        for (name, interval) in [("unchecked", None), ("checked", Some(interval))] {
            let path = scratch.join(name).with_extension("toml");
            fs::write(&path, declared.manifest(interval)).map_err(Failure::at(path.display()))?;
        }
        let mut command = Command::new(bin_dir.join("meridianctl"));
        command
            .arg("up")
            .arg("-f")
            .arg(scratch.join("unchecked.toml"));
        command.arg("--state").arg(scratch.join("state"));
        let mut up = Program::start("meridianctl", command, &[cores.server], cores.load, scratch)?;
        up.wait_for_line("ready ")?;
        up.wait_for_port(declared.listen)?;
        let plane = process_tree::plane_of(up.pid())?;
        Ok(Rig {
            interval,
            declared,
            cores,
            bin_dir,
            scratch: scratch.to_path_buf(),
            up,
            plane,
            is_checking: false,
            _backend: serving,
        })
    }

    /// Takes one sample.
    pub(super) fn take(
        &mut self,
        variant: Variant,
        round: u32,
        steps: Steps,
        rate: f64,
    ) -> Result<Sample, Failure> {
        self.have_checks(variant == Variant::Checks)?;
        let mut bare = match variant {
            Variant::Bare => Some(self.start_loop()?),
            Variant::Alone | Variant::Checks => None,
        };
        sleep(steps.warm_up);
        let before = process_tree::everybody()?;
        let begun = Instant::now();
        let idle = self.idle(bare.as_ref(), steps)?;
        let connects = opened_connections()?;
        let loading = Instant::now();
        let turns = process_tree::thread_turns(self.plane, WORKER)?;
        let outcome = self.load(rate, steps)?;
        let turns = between(turns, process_tree::thread_turns(self.plane, WORKER)?);
        let connects = opened_connections()? - connects;
        let loaded = loaded(&outcome, connects, loading.elapsed(), turns);
        let ours = process_tree::members(std::process::id())?;
        let after = process_tree::everybody()?;
        let Cores { server, load } = self.cores;
        // Latency is no better than the core of the load either.
        let others_s =
            [server, load].map(|core| process_tree::others_s(&before, &after, core, &ours));
        let others = others_s[0].max(others_s[1]) / begun.elapsed().as_secs_f64();
        if let Some(bare) = &mut bare {
            bare.check_alive("be measured")?;
        }
        let mut sample = Sample {
            variant,
            round,
            kept: true,
            reason: None,
            idle,
            loaded,
            others,
            checked: self.checked()?,
        };
        self.look_over(&sample)?;
        sample.reason = sample.disturbed().or_else(|| self.shortfall(&sample));
        Ok(sample)
    }

    /// Why too few connections were opened to tell what they cost.
    fn shortfall(&self, sample: &Sample) -> Option<String> {
        let wanted = f64::from(self.declared.backends) / self.interval.as_secs_f64();
        let seen = sample.connects_per_second();
        let is_short = sample.variant != Variant::Alone && seen < wanted * CONNECTS_LEAST;
        is_short.then(|| {
            let name = sample.variant.name();
            format!("{name}: {seen:.0} connects a second where {wanted:.0} were to be")
        })
    }

    /// A check of a backend that is not well is another one.
    fn look_over(&self, sample: &Sample) -> Result<(), Failure> {
        let Checked { up, failures, .. } = sample.checked;
        if sample.variant == Variant::Checks && up < u64::from(self.declared.backends) {
            return Err(Failure::new(format!(
                "only {up} backends are up, and {failures} checks have failed"
            )));
        }
        Ok(())
    }

    /// Has the backends checked or not, and waits until that is so.
    fn have_checks(&mut self, wanted: bool) -> Result<(), Failure> {
        if self.is_checking == wanted {
            return Ok(());
        }
        let name = if wanted {
            "checked.toml"
        } else {
            "unchecked.toml"
        };
        let mut command = self.ctl("apply");
        command.arg("-f").arg(self.scratch.join(name));
        program::output_of("meridianctl apply", command)?;
        self.is_checking = wanted;
        if !wanted {
            return Ok(());
        }
        // A first check comes within an interval; to ask earlier would only cost the plane.
        sleep(self.interval);
        let begun = Instant::now();
        while self.checked()?.up < u64::from(self.declared.backends) {
            if begun.elapsed() > UP_PATIENCE {
                return Err(Failure::new("the checked backends do not all come up"));
            }
            sleep(POLL);
        }
        Ok(())
    }

    fn start_loop(&self) -> Result<Program, Failure> {
        let Cores { server, load } = self.cores;
        let mut command = Command::new(program::this_program()?);
        command
            .arg("connect-loop")
            .args(["--first", &self.declared.first.to_string()])
            .args(["--addresses", &self.declared.backends.to_string()])
            .args(["--interval", &format!("{}us", self.interval.as_micros())]);
        let mut bare = Program::start("connect-loop", command, &[server], load, &self.scratch)?;
        bare.wait_for_line("connecting ")?;
        Ok(bare)
    }

    /// Lets time pass, and says what it took.
    fn idle(&self, bare: Option<&Program>, steps: Steps) -> Result<Idle, Failure> {
        let used = || -> Result<Idle, Failure> {
            Ok(Idle {
                seconds: 0.0,
                connects: opened_connections()?,
                plane_cpu_s: process_tree::tree_cpu_s(self.up.pid())?,
                checker_cpu_s: process_tree::thread_cpu_s(self.plane, CHECKER)?,
                loop_cpu_s: match bare {
                    Some(bare) => process_tree::tree_cpu_s(bare.pid())?,
                    None => 0.0,
                },
            })
        };
        let begun = Instant::now();
        let before = used()?;
        sleep(steps.measured);
        let seconds = begun.elapsed().as_secs_f64();
        let after = used()?;
        Ok(Idle {
            seconds,
            connects: after.connects - before.connects,
            plane_cpu_s: after.plane_cpu_s - before.plane_cpu_s,
            checker_cpu_s: after.checker_cpu_s - before.checker_cpu_s,
            loop_cpu_s: after.loop_cpu_s - before.loop_cpu_s,
        })
    }

    fn load(&self, rate: f64, steps: Steps) -> Result<Outcome, Failure> {
        let url = format!("http://{}/b/100", self.declared.listen);
        generator::generate(&Plan {
            secure: None,
            target: quantity::target(&url).map_err(Failure::new)?,
            hosts: vec![HOSTNAME.to_owned()],
            pace: Pace::Open {
                requests_per_second: rate,
            },
            connections: CONNECTIONS,
            warm_up: steps.warm_up,
            duration: steps.measured,
            drain: steps.drain,
            keeps_exchanges: false,
            closes: false,
        })
    }

    fn checked(&self) -> Result<Checked, Failure> {
        let mut command = self.ctl("status");
        command.args(["--format", "json"]);
        let said = program::output_of("meridianctl status", command)?;
        let status: Value =
            serde_json::from_str(&said).map_err(Failure::at("meridianctl status"))?;
        let plane = status
            .pointer("/processes/0")
            .ok_or_else(|| Failure::new("meridianctl status names no process"))?;
        let rows = |name: &str| plane[name].as_array().cloned().unwrap_or_default();
        let mut checked = Checked::default();
        for backend in rows("backends") {
            checked.up += u64::from(backend["state"] == "up");
            checked.failures += backend["check_failures"].as_u64().unwrap_or(0);
        }
        let limits = rows("limits");
        let late = limits.iter().find(|it| it["name"] == "health_check_late");
        checked.late = late.and_then(|it| it["hits"].as_u64()).unwrap_or(0);
        Ok(checked)
    }

    fn ctl(&self, what: &str) -> Command {
        let mut command = Command::new(self.bin_dir.join("meridianctl"));
        command.arg(what);
        command.arg("--state").arg(self.scratch.join("state"));
        command
    }
}

/// Listens on every address of this host as long as the bench lives; the port.
///
/// It looks for connections each millisecond and is not woken for each, so that the core of the load
/// has time for the load. Whoever connected has reset the connection by then.
fn accept_everywhere() -> Result<u16, Failure> {
    let place = "listener of the checked backends";
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let listener = listen(any).map_err(Failure::at(place))?;
    let address = listener.local_addr().map_err(Failure::at(place))?;
    std::thread::Builder::new()
        .name("backends".to_owned())
        .spawn(move || {
            loop {
                while listener.accept().is_ok() {}
                sleep(Duration::from_millis(1));
            }
        })
        .map_err(Failure::at(place))?;
    Ok(address.port())
}

fn between(before: Turns, after: Turns) -> Turns {
    Turns {
        cpu_s: after.cpu_s - before.cpu_s,
        waited_s: after.waited_s - before.waited_s,
        turns: after.turns - before.turns,
    }
}

fn loaded(outcome: &Outcome, connects: u64, lasted: Duration, turns: Turns) -> Loaded {
    let us = |fraction| outcome.latency.percentile_ns(fraction) as f64 / 1000.0;
    Loaded {
        connects_per_second: connects as f64 / lasted.as_secs_f64(),
        responses: outcome.responses,
        failed: outcome.not_2xx + outcome.broken + outcome.unanswered,
        p50_us: us(0.5),
        p99_us: us(0.99),
        p999_us: us(0.999),
        worker_waited_us: turns.waited_s * 1e6 / turns.turns.max(1.0),
    }
}

/// Connections that anybody in this network namespace has begun to open (RFC 4022, tcpActiveOpens).
fn opened_connections() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/net/snmp").map_err(Failure::at("/proc/net/snmp"))?;
    parse_opened(&text).ok_or_else(|| Failure::new("/proc/net/snmp has no ActiveOpens"))
}

fn parse_opened(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next()?, lines.next()?);
    let place = names.split(' ').position(|name| name == "ActiveOpens")?;
    values.split(' ').nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opened_connections_are_those_of_tcp() {
        let text = "Ip: Forwarding ActiveOpens\nIp: 1 7\n\
            Tcp: RtoMin MaxConn ActiveOpens PassiveOpens\nTcp: 200 -1 41 9\n";
        assert_eq!(parse_opened(text), Some(41));
        assert_eq!(parse_opened("Tcp: RtoMin\nTcp: 1\n"), None);
        assert!(opened_connections().is_ok());
    }
}
