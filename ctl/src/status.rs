//! `meridianctl status`: what the planes of this host run.

use std::time::Duration;

use serde_json::json;

use crate::asking::ask_plane;
use crate::cli;
use crate::dns_status::DnsStatus;
use crate::failure::Failure;
use crate::host_status::HostStatus;
use crate::output::Output;
use crate::plane_process::GEODNS;
use crate::plane_socket::{self, Answer, NoAnswer};
use crate::plane_status::{
    Backend, Certificate, Headroom, Limit, PlaneStatus, ResolvedName, Site, Worker,
};
use crate::state_directory::StateDirectory;
use crate::table::{Align, Table};

/// How long a plane may take to answer. Its control thread answers, not its
/// workers, so a busy plane is not a slow one.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Certificates that expire soon and have a row.
const CERTIFICATES_SHOWN: usize = 50;

/// Asks the dataplane and shows what it says.
///
/// # Errors
/// Exit 3 when it does not answer, 4 when this user may not ask.
pub(crate) fn run(call: &cli::Status, output: Output) -> Result<(), Failure> {
    let state = StateDirectory::resolve(call.state.directory.as_deref())?;
    let answer = ask_plane(&state, ANSWER_WITHIN, plane_socket::status)?;
    let responder = ask_responder(&state);
    output.answer(
        || match &responder {
            None => text(&answer.status),
            Some(Ok(responder)) => text(&answer.status) + "\n" + &responder_text(responder),
            Some(Err(why)) => format!("{}\n{GEODNS} {why}\n", text(&answer.status)),
        },
        || {
            let responder = responder.as_ref().map(|responder| match responder {
                Ok(responder) => responder.json.clone(),
                Err(why) => json!({"program": "geodns", "ready": false, "error": why.to_string()}),
            });
            let processes = std::iter::once(answer.json.clone()).chain(responder);
            json!({"state": state.path(), "processes": processes.collect::<Vec<_>>()})
        },
    );
    Ok(())
}

/// Asks the DNS responder; none: DNS is not answered here, where `up` removes its socket.
fn ask_responder(state: &StateDirectory) -> Option<Result<Answer, NoAnswer>> {
    let socket = state.geodns_socket();
    socket
        .exists()
        .then(|| plane_socket::status(&socket, ANSWER_WITHIN))
}

fn responder_text(responder: &Answer) -> String {
    let dns = DnsStatus::of(&responder.json);
    let mut text = heading(&responder.status);
    text.push_str(&dns.lines());
    let hosts = HostStatus::of(&responder.json);
    text.push_str(hosts.line());
    let [zones, responses] = dns.tables();
    let limits = limits(&responder.status.limits);
    for table in [hosts.table(), zones, responses, limits] {
        let table = table.render();
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table);
        }
    }
    text
}

fn text(status: &PlaneStatus) -> String {
    let tables = [
        workers(&status.workers),
        sites(&status.sites),
        backends(&status.backends),
        certificates(&status.certificates),
        names(&status.names),
        limits(&status.limits),
    ];
    let mut text = heading(status);
    for table in tables.iter().map(Table::render) {
        if !table.is_empty() {
            text.push('\n');
            text.push_str(&table);
        }
    }
    text
}

fn heading(status: &PlaneStatus) -> String {
    let phase = match (status.draining, status.ready) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "starting",
    };
    let mut text = format!(
        "{} {phase}, revision {}, pid {}, up {}\n",
        status.program,
        status.revision,
        status.pid,
        duration(status.uptime_s)
    );
    if !status.kernel.release.is_empty() {
        text.push_str(&format!("kernel {}", status.kernel.release));
        if !status.kernel.features.is_empty() {
            text.push_str(&format!(" with {}", status.kernel.features.join(", ")));
        }
        text.push('\n');
    }
    if let Some(log) = &status.access_log {
        let fault = log
            .fault
            .as_ref()
            .map(|fault| format!(", NOT WRITTEN: {fault}"));
        let (path, lines, fault) = (&log.path, log.lines, fault.unwrap_or_default());
        text.push_str(&format!("access log {path}, {lines} lines{fault}\n"));
    }
    text
}

fn workers(workers: &[Worker]) -> Table {
    let mut table = Table::new(&[
        ("WORKER", Align::Right),
        ("CPU", Align::Right),
        ("REVISION", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("IDLE", Align::Right),
        ("UPSTREAM", Align::Right),
        ("REQUESTS", Align::Right),
        ("BUSY", Align::Right),
        ("HEADROOM", Align::Right),
        ("BUFFERS", Align::Right),
    ]);
    for worker in workers {
        table.row(vec![
            worker.worker.to_string(),
            worker.cpu.map_or("-".to_string(), |cpu| cpu.to_string()),
            worker.revision.to_string(),
            worker.connections.to_string(),
            worker.idle_connections.to_string(),
            worker.upstream_connections.to_string(),
            worker.requests.to_string(),
            percent(worker.busy),
            worker.headroom.as_ref().map_or("-".to_string(), headroom),
            format!("{}/{}", worker.buffers, worker.buffers_max),
        ]);
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// What there is least of, by name where that is not time.
fn headroom(headroom: &Headroom) -> String {
    let Headroom {
        time,
        connections,
        buffers,
    } = *headroom;
    let others = connections.min(buffers);
    if time <= others {
        return percent(time);
    }
    let name = if buffers <= connections {
        "buffers"
    } else {
        "connections"
    };
    format!("{} of {name}", percent(others))
}

fn sites(sites: &[Site]) -> Table {
    let mut table = Table::new(&[
        ("SITE", Align::Left),
        ("REQUESTS", Align::Right),
        ("2XX", Align::Right),
        ("3XX", Align::Right),
        ("4XX", Align::Right),
        ("5XX", Align::Right),
        ("BYTES IN", Align::Right),
        ("BYTES OUT", Align::Right),
        ("CONNECTIONS", Align::Right),
        ("RETRIES", Align::Right),
        ("REFUSED", Align::Right),
        ("CUT", Align::Right),
    ]);
    for site in sites {
        let counters = [
            site.requests,
            site.responses_2xx,
            site.responses_3xx,
            site.responses_4xx,
            site.responses_5xx,
            site.bytes_in,
            site.bytes_out,
            site.connections,
            site.retries,
            site.refused,
            site.cut,
        ];
        let mark = if site.suspended { " (suspended)" } else { "" };
        let mut row = vec![format!("{}/{}{mark}", site.tenant, site.site)];
        row.extend(counters.iter().map(u64::to_string));
        table.row(row);
    }
    table
}

fn backends(backends: &[Backend]) -> Table {
    let mut table = Table::new(&[
        ("BACKEND", Align::Left),
        ("ADDRESS", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("REQUESTS", Align::Right),
        ("FAILURES", Align::Right),
    ]);
    for backend in backends {
        table.row(vec![
            backend.backend.clone(),
            backend.address.clone(),
            state(backend),
            since(backend.changed_at.as_deref()),
            backend.connections.to_string(),
            backend.in_flight.to_string(),
            backend.requests.to_string(),
            backend.failures.to_string(),
        ]);
    }
    table
}

/// A point in time to the second.
fn since(changed_at: Option<&str>) -> String {
    let second = changed_at.and_then(|at| at.split(['.', 'Z']).next());
    second.map_or_else(String::new, |second| format!("{second}Z"))
}

/// Its state, what else keeps requests from it, and why.
fn state(backend: &Backend) -> String {
    let mut words = backend.state.clone();
    if backend.draining && backend.state != "draining" {
        words.push_str(", draining");
    }
    if backend.backup {
        words.push_str(", backup");
    }
    // What is known of its health is why it is in that state, and not why it was drained.
    match backend.reason.as_str() {
        _ if backend.state == "draining" => words,
        "" => words,
        reason => format!("{words}: {reason}"),
    }
}

/// Only those that want to be renewed, the first of many; `get certificate` has all of them.
fn certificates(certificates: &[Certificate]) -> Table {
    let mut table = Table::new(&[
        ("CERTIFICATE", Align::Left),
        ("STATE", Align::Left),
        ("UNTIL", Align::Left),
    ]);
    let ending = certificates.iter().filter(|it| it.state != "valid");
    for certificate in ending.clone().take(CERTIFICATES_SHOWN) {
        table.row(vec![
            certificate.certificate.clone(),
            certificate.state.replace('_', " "),
            certificate.not_after.clone(),
        ]);
    }
    let more = ending.count().saturating_sub(CERTIFICATES_SHOWN);
    if more > 0 {
        table.row(vec![
            format!("and {more} more"),
            String::new(),
            String::new(),
        ]);
    }
    table
}

fn names(names: &[ResolvedName]) -> Table {
    let mut table = Table::new(&[
        ("NAME", Align::Left),
        ("ADDRESSES", Align::Left),
        ("RESOLVED", Align::Right),
        ("NEXT", Align::Right),
        ("FAULT", Align::Left),
    ]);
    for name in names {
        let seconds = |seconds: Option<f64>, words: &str| {
            seconds.map_or("-".to_string(), |it| {
                format!("{}{words}", duration(it as u64))
            })
        };
        let addresses = match &name.addresses[..] {
            [] => "-".to_string(),
            some => some.join(" "),
        };
        table.row(vec![
            name.name.clone(),
            addresses,
            seconds(name.resolved_s_ago, " ago"),
            seconds(name.next_lookup_s, ""),
            name.fault.clone().unwrap_or_default(),
        ]);
    }
    table
}

/// Only the limits that were met: those that were not are no news.
fn limits(limits: &[Limit]) -> Table {
    let mut table = Table::new(&[("LIMIT MET", Align::Left), ("TIMES", Align::Right)]);
    for limit in limits.iter().filter(|limit| limit.hits > 0) {
        table.row(vec![limit.name.clone(), limit.hits.to_string()]);
    }
    table
}

fn duration(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{seconds:02}s"),
        (0, _, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_two_largest_units() {
        let shown = [59, 61, 3661, 90_061].map(duration);
        assert_eq!(shown, ["59s", "1m01s", "1h01m", "1d01h"]);
    }

    #[test]
    fn headroom_is_what_there_is_least_of() {
        let shown = [(0.5, 0.9, 0.8), (0.5, 0.25, 0.8), (1.0, 1.0, 0.07)].map(
            |(time, connections, buffers)| {
                headroom(&Headroom {
                    time,
                    connections,
                    buffers,
                })
            },
        );
        assert_eq!(shown, ["50 %", "25 % of connections", "7 % of buffers"]);
    }

    #[test]
    fn certificates_that_hold_on_are_left_out_and_many_are_counted() {
        let certificate = |number: usize, state: &str| Certificate {
            certificate: format!("acme/c{number}"),
            not_after: "2026-12-01T00:00:00Z".to_string(),
            state: state.to_string(),
        };
        let few = [certificate(1, "expired"), certificate(2, "valid")];
        let shown = certificates(&few).render();
        let expected = "CERTIFICATE  STATE    UNTIL\nacme/c1      expired  2026-12-01T00:00:00Z\n";
        assert_eq!(shown, expected);
        assert_eq!(certificates(&few[1..]).render(), "");
        let many: Vec<_> = (0..52).map(|it| certificate(it, "expires_soon")).collect();
        let shown = certificates(&many).render();
        assert!(shown.contains("acme/c49     expires soon") && !shown.contains("acme/c50"));
        assert!(shown.ends_with("and 2 more   \n") || shown.trim_end().ends_with("and 2 more"));
    }

    #[test]
    fn limits_that_were_not_met_are_left_out() {
        let limit = |name: &str, hits| Limit {
            name: name.to_string(),
            hits,
        };
        let shown = limits(&[limit("FIELDS_MAX", 0), limit("TRAILER_BYTES_MAX", 2)]).render();
        assert_eq!(
            shown,
            "LIMIT MET          TIMES\nTRAILER_BYTES_MAX      2\n"
        );
    }
}
