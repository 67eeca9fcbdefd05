//! One sample: one server under one load, with what else ran on the cores meanwhile.

use std::collections::HashMap;
use std::process::Command;
use std::time::Instant;

use serde::Serialize;

use super::case::{Case, Measure};
use super::configuration::HOSTNAME;
use super::variant::{Server, Variant};
use crate::cores::{self, Cores};
use crate::disturbance::OTHERS_MOST;
use crate::failure::Failure;
use crate::process_tree::{self, CpuTime, Running};
use crate::program::{self, output_of, this_program};
use crate::rounds::Judged;
use crate::{handshakes, idle, load};

/// An open loop that answered less than this part of what was due did not hold its rate.
const RATE_HELD: f64 = 0.99;
/// Counted only after this much of open-loop load.
const OPEN_LOOP_WARM_UP: &str = "500ms";

/// Everything known about one measurement; a line of samples.jsonl.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    pub(super) case: &'static str,
    pub(super) attempt: u32,
    pub(super) variant: Variant,
    /// Whether it enters the medians.
    pub(super) kept: bool,
    /// Why the round was repeated.
    pub(super) reason: Option<String>,
    /// What the server did wrong; it enters the medians, and the report says so.
    pub(super) fault: Option<String>,
    /// In the unit of the case.
    pub(super) figure: f64,
    pub(super) elapsed_s: f64,
    pub(super) responses: u64,
    pub(super) responses_per_second: f64,
    /// 99th percentile of an open loop's latency.
    pub(super) p99_us: Option<f64>,
    pub(super) server_user_s: f64,
    pub(super) server_system_s: f64,
    /// Part of its core that the server used.
    pub(super) server_load: f64,
    /// Part of the server's core that went to others, the hypervisor included.
    pub(super) others_on_server_core: f64,
    /// The same on the core of load and backend.
    pub(super) others_on_load_core: f64,
    /// What the generator printed, or the memory report.
    pub(super) detail: serde_json::Value,
}

impl Judged for Sample {
    fn disturbance(&self) -> Option<String> {
        self.reason.clone()
    }

    fn judge(&mut self, kept: bool, reason: Option<String>) {
        self.kept = kept;
        self.reason = reason;
    }
}

impl Sample {
    /// Why this sample can not stand, when it can not. Where latency is measured, the core of
    /// the generator and the backend must be quiet too; memory does not depend on either.
    fn disturbed(&self, measure: Measure) -> Option<String> {
        let told = |core: &str, part: f64| {
            (part > OTHERS_MOST).then(|| {
                let percent = part * 100.0;
                format!(
                    "{}: others took {percent:.1} % of the {core}'s core",
                    self.variant.name()
                )
            })
        };
        match measure {
            Measure::CpuPerRequest | Measure::CpuPerHandshake { .. } => {
                told("server", self.others_on_server_core)
            }
            Measure::MedianLatency { .. } => told("server", self.others_on_server_core)
                .or_else(|| told("load", self.others_on_load_core)),
            Measure::IdleMemory => None,
        }
    }
}

/// What a load reported.
struct Answered {
    responses: u64,
    responses_per_second: f64,
    /// `None`: the figure is CPU per request.
    figure: Option<f64>,
    p99_us: Option<f64>,
    fault: Option<String>,
    detail: serde_json::Value,
}

/// Clocks of the cores and processes at one moment.
struct Reading {
    at: Instant,
    server: CpuTime,
    server_core_idle_s: f64,
    load_core_idle_s: f64,
    /// Of the bench itself, the generators it waited for, and the backend.
    load_side_s: f64,
    everybody: HashMap<u32, Running>,
}

/// Puts one load on one server.
pub(super) fn take(
    case: &Case,
    server: &Server,
    backend_pid: u32,
    cores: Cores,
    seconds: u64,
    attempt: u32,
) -> Result<Sample, Failure> {
    let pids = match server.pid() {
        Some(pid) => process_tree::members(pid)?,
        None => Vec::new(),
    };
    let read = || -> Result<Reading, Failure> {
        Ok(Reading {
            at: Instant::now(),
            server: process_tree::cpu_time(&pids)?,
            server_core_idle_s: cores::idle_s(cores.server)?,
            load_core_idle_s: cores::idle_s(cores.load)?,
            load_side_s: process_tree::own_cpu_time_s()?
                + process_tree::cpu_time(&[backend_pid])?.total_s(),
            everybody: process_tree::everybody()?,
        })
    };
    let before = read()?;
    let answered = match case.measure {
        Measure::CpuPerRequest => closed_loop(case, server, seconds)?,
        Measure::CpuPerHandshake { is_resumed } => {
            made_handshakes(case, server, seconds, is_resumed)?
        }
        Measure::MedianLatency {
            requests_per_second,
        } => open_loop(case, server, seconds, requests_per_second)?,
        Measure::IdleMemory => idle_memory(case, server)?,
    };
    let after = read()?;
    let elapsed_s = after.at.duration_since(before.at).as_secs_f64();
    let used = after.server.since(before.server);
    let part = |time_s: f64| (time_s / elapsed_s).max(0.0);
    let (others_on_server_core, others_on_load_core) = match case.measure {
        // The cores are mostly idle, and serve interrupts that are nobody's time: each process is
        // asked itself.
        Measure::MedianLatency { .. } => {
            let ours = [pids.as_slice(), &[backend_pid, std::process::id()]].concat();
            let took_s =
                |core| process_tree::others_s(&before.everybody, &after.everybody, core, &ours);
            (part(took_s(cores.server)), part(took_s(cores.load)))
        }
        Measure::CpuPerRequest | Measure::CpuPerHandshake { .. } | Measure::IdleMemory => (
            part(
                elapsed_s - (after.server_core_idle_s - before.server_core_idle_s) - used.total_s(),
            ),
            part(
                elapsed_s
                    - (after.load_core_idle_s - before.load_core_idle_s)
                    - (after.load_side_s - before.load_side_s),
            ),
        ),
    };
    let mut sample = Sample {
        case: case.name,
        attempt,
        variant: server.variant,
        kept: true,
        reason: None,
        fault: answered.fault,
        figure: answered
            .figure
            .unwrap_or(used.total_s() * 1e6 / answered.responses.max(1) as f64),
        elapsed_s,
        responses: answered.responses,
        responses_per_second: answered.responses_per_second,
        p99_us: answered.p99_us,
        server_user_s: used.user_s,
        server_system_s: used.system_s,
        server_load: used.total_s() / elapsed_s,
        others_on_server_core,
        others_on_load_core,
        detail: answered.detail,
    };
    sample.reason = sample.disturbed(case.measure);
    Ok(sample)
}

/// A short load whose figures nobody keeps: connections to the backend, caches, allocators.
pub(super) fn warm_up(case: &Case, server: &Server) -> Result<(), Failure> {
    match case.measure {
        Measure::CpuPerRequest => closed_loop(case, server, 1).map(drop),
        Measure::CpuPerHandshake { is_resumed } => {
            made_handshakes(case, server, 1, is_resumed).map(drop)
        }
        Measure::MedianLatency {
            requests_per_second,
        } => open_loop(case, server, 1, requests_per_second).map(drop),
        Measure::IdleMemory => Ok(()),
    }
}

/// A command of this bench with what it needs to reach a server.
fn client(name: &str, case: &Case, server: &Server) -> Result<Command, Failure> {
    let mut command = Command::new(this_program()?);
    let scheme = if case.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", server.address, case.path);
    command.args([name, "--json", "--host", HOSTNAME, "--url", &url]);
    command.args(["--connections", &case.connections.to_string()]);
    if let (Some(version), Some(root)) = (case.tls, &server.root) {
        command.args(["--tls", version.name(), "--trust"]).arg(root);
    }
    Ok(command)
}

fn made_handshakes(
    case: &Case,
    server: &Server,
    seconds: u64,
    is_resumed: bool,
) -> Result<Answered, Failure> {
    let mut command = client("handshakes", case, server)?;
    command.args(["--seconds", &seconds.to_string()]);
    if is_resumed {
        command.arg("--resume");
    }
    let said = output_of("handshakes", command)?;
    let report: handshakes::Report =
        serde_json::from_str(&said).map_err(Failure::at("report of handshakes"))?;
    let fault = handshake_fault(&report, is_resumed.then_some(case.connections));
    Ok(Answered {
        responses: report.made(),
        responses_per_second: report.made() as f64 / report.seconds,
        figure: None,
        p99_us: None,
        fault,
        detail: serde_json::to_value(&report).map_err(Failure::at("report of handshakes"))?,
    })
}

/// What was not as it was to be. Where sessions are resumed, each of the `places` begins with one
/// whole handshake, and makes no other.
fn handshake_fault(report: &handshakes::Report, places: Option<u32>) -> Option<String> {
    let is_right = match places {
        Some(places) => report.full <= u64::from(places) && report.resumed > 0,
        None => report.resumed == 0 && report.full > 0,
    };
    (!is_right || report.failed > 0).then(|| {
        let how = report.last_failure.as_deref().unwrap_or("none failed");
        format!(
            "{} whole handshakes, {} resumed, {} failed: {how}",
            report.full, report.resumed, report.failed
        )
    })
}

/// By TLS the generator is ours: wrk would be told neither name nor cipher.
fn closed_loop(case: &Case, server: &Server, seconds: u64) -> Result<Answered, Failure> {
    if case.tls.is_some() {
        let mut command = client("load", case, server)?;
        command.args(["--seconds", &seconds.to_string()]);
        return loaded(command, |_| None);
    }
    let wrk = program::find("wrk").ok_or_else(|| Failure::new("wrk is not installed"))?;
    let mut command = Command::new(wrk);
    command.args(["-t1", "--latency"]);
    command
        .arg(format!("-c{}", case.connections))
        .arg(format!("-d{seconds}s"));
    command.arg("-H").arg(format!("Host: {HOSTNAME}"));
    command.arg(format!("http://{}{}", server.address, case.path));
    let said = output_of("wrk", command)?;
    let seen = parse_wrk(&said)
        .ok_or_else(|| Failure::new(format!("wrk said what was not understood:\n{said}")))?;
    Ok(Answered {
        responses: seen.responses,
        responses_per_second: seen.responses as f64 / seconds as f64,
        figure: None,
        p99_us: None,
        fault: seen.fault,
        detail: serde_json::json!({ "wrk": said }),
    })
}

fn open_loop(case: &Case, server: &Server, seconds: u64, rate: u32) -> Result<Answered, Failure> {
    let mut command = client("load", case, server)?;
    command.args(["--warm-up", OPEN_LOOP_WARM_UP]);
    command.args(["--rate", &rate.to_string()]);
    command.args(["--seconds", &seconds.to_string()]);
    loaded(command, |report| Some(report.latency_us.p50))
}

/// What `load` reported, and the figure that is in it.
fn loaded(
    command: Command,
    figure: impl FnOnce(&load::Report) -> Option<f64>,
) -> Result<Answered, Failure> {
    let said = output_of("load", command)?;
    let report: load::Report =
        serde_json::from_str(&said).map_err(Failure::at("report of load"))?;
    let figure = figure(&report);
    // A closed loop leaves those that are under way at its end.
    let held =
        figure.is_none() || report.responses as f64 >= report.requests_due as f64 * RATE_HELD;
    let failed = report.not_2xx + report.broken + report.unanswered + report.refused;
    let fault = (!held || report.responses == 0 || failed > 0).then(|| {
        format!(
            "{} of {} requests answered, {} not 2xx, {} broken, {} unanswered, {} refused",
            report.responses,
            report.requests_due,
            report.not_2xx,
            report.broken,
            report.unanswered,
            report.refused
        )
    });
    Ok(Answered {
        responses: report.responses,
        responses_per_second: report.responses_per_second,
        p99_us: figure.map(|_| report.latency_us.p99),
        figure,
        fault,
        detail: serde_json::to_value(&report).map_err(Failure::at("report of load"))?,
    })
}

fn idle_memory(case: &Case, server: &Server) -> Result<Answered, Failure> {
    let pid = server
        .pid()
        .ok_or_else(|| Failure::new("direct has no proxy whose memory could be read"))?;
    let mut command = client("idle", case, server)?;
    command.args(["--pid", &pid.to_string()]);
    let said = output_of("idle", command)?;
    let report: idle::Report =
        serde_json::from_str(&said).map_err(Failure::at("report of idle"))?;
    let fault = (report.closed_by_server > 0)
        .then(|| format!("closed {} idle connections", report.closed_by_server));
    Ok(Answered {
        responses: u64::from(report.connections),
        responses_per_second: 0.0,
        p99_us: None,
        figure: Some(report.private_bytes_per_connection),
        fault,
        detail: serde_json::to_value(&report).map_err(Failure::at("report of idle"))?,
    })
}

struct WrkReport {
    responses: u64,
    fault: Option<String>,
}

fn parse_wrk(said: &str) -> Option<WrkReport> {
    let line_with = |words: &str| {
        said.lines()
            .map(str::trim)
            .find(|line| line.contains(words))
    };
    let responses = line_with(" requests in ")?
        .split_ascii_whitespace()
        .next()?
        .parse()
        .ok()?;
    let faults: Vec<&str> = ["Socket errors:", "Non-2xx"]
        .iter()
        .filter_map(|words| line_with(words))
        .collect();
    let fault = if responses == 0 {
        Some("answered nothing".to_owned())
    } else if faults.is_empty() {
        None
    } else {
        Some(faults.join("; "))
    };
    Some(WrkReport { responses, fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_prints() {
        let good = "Running 1s test\n  4 threads\n  12345 requests in 1.10s, 20.10MB read\nRequests/sec: 1.0\n";
        let seen = parse_wrk(good).unwrap();
        assert_eq!((seen.responses, seen.fault), (12345, None));
        let bad = "  7 requests in 1.10s, 1KB read\n  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 7\n";
        let fault = parse_wrk(bad).unwrap().fault.unwrap();
        assert!(
            fault.contains("read 3") && fault.contains("responses: 7"),
            "{fault}"
        );
        assert!(parse_wrk("unable to connect to 127.0.0.1:1").is_none());
    }

    #[test]
    fn handshakes_of_the_wrong_kind_are_a_fault() {
        let report = |full, resumed, failed| handshakes::Report {
            full,
            resumed,
            failed,
            ..handshakes::Report::default()
        };
        assert_eq!(handshake_fault(&report(900, 0, 0), None), None);
        assert_eq!(handshake_fault(&report(16, 900, 0), Some(16)), None);
        for (report, places) in [
            (report(900, 1, 0), None),
            (report(17, 900, 0), Some(16)),
            (report(16, 0, 0), Some(16)),
            (report(900, 0, 1), None),
            (report(0, 0, 0), None),
        ] {
            assert!(handshake_fault(&report, places).is_some(), "{report:?}");
        }
    }
}
