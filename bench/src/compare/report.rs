//! The report as Markdown.

use std::fmt::Write;

use super::case::Measure;
use super::rounds::CaseRun;
use super::summary::{Row, rows, verdicts};
use crate::machine::Machine;
use crate::markdown::{capitalised, figure, preamble, ratio, table_line, table_rule};
use crate::rounds::Schedule;

/// The whole report. Writing into a `String` can not fail.
pub(super) fn markdown(
    machine: &Machine,
    runs: &[CaseRun],
    schedule: Schedule,
    seconds: u64,
) -> String {
    let trial = (schedule.trial).then_some("few short rounds, disturbed ones kept");
    let method = format!(
        "{} rounds of {seconds} s, all servers in each, in turning order.",
        schedule.rounds
    );
    let mut text = preamble("Meridian and its peers", machine, trial, &method);
    let mut line = |words: &str| writeln!(text, "{words}").expect("a String takes all");
    for run in runs {
        line(&case_section(run));
    }
    line(HOW);
    text
}

const HOW: &str = "## How\n
- CPU: user and system time of the server's whole process tree from /proc/PID/stat, divided by the
  responses that the generator counted. Median over rounds; a ratio is the median of the ratios
  within each round. Least and most are in the table, every sample in samples.jsonl.
- A round in which others took more than 6 % of the server's core (of either core where latency is
  measured, and there each process is asked itself) is repeated and kept in the samples with the reason; more than 30 % of such: no result.
- Saturating load: wrk, one thread. Latency: `meridian-bench load`, open loop, counted from the moment
  a request was due. Idle memory: growth of the private pages in smaps_rollup, the kernel's part not
  included. A server that had touched memory before, or gets it in huge pages, grows later: look at
  its memory before and after too.
- The backend is `meridian-bench backend`: ready-made answers, one read and one write a request, so
  that the proxy and not the backend is the bottleneck. Where the server's core was less than 90 %
  busy, the load's core was the limit and the server had room left.
- HAProxy: nbthread 1, http-reuse always, keep-alive on both sides, forwardfor. nginx: one worker,
  upstream keepalive 1024, proxy_http_version 1.1, Connection empty, access log off, X-Forwarded-For,
  buffering as it comes.
- Cases of `everything`: a sticky cookie set on each response (wrk keeps none), limits that are never
  reached, a check by HTTP every 2 s, one of a hundred requests logged, metrics asked for each second.
  nginx sets a cookie that is nobody's, checks nothing by itself and has no metrics.
- TLS: one certificate for all, with a key on P-256; clients offer one version, AES-128-GCM, X25519
  and http/1.1, and verify. Load: `meridian-bench load`, closed loop, for wrk is told neither name nor
  cipher. It costs more than wrk does, on the load's core: look at how busy the server's was.
  Handshakes: `meridian-bench handshakes`, each with a connection of its own that ends by
  close_notify both ways, with TLS 1.3 once a ticket has come. Whole ones are made by clients that would remember a session, so that
  tickets are in the figure; those that resume are counted as resumed by what the server answered,
  and one that was not as asked for is told of above. Neither HAProxy nor nginx is given a cache of
  sessions beyond its default; tickets are on everywhere.
- Not equal: HAProxy and nginx are told to set X-Forwarded-For only; Meridian also sets the rest of
  the forwarding fields and Via, and checks more of what it forwards. The bare prototypes check
  nothing and have no time limits, so they show the floor of a way of I/O and not of a proxy.";

fn case_section(run: &CaseRun) -> String {
    let mut section = format!(
        "## {}\n\n{}.\n\n",
        run.case.name,
        capitalised(run.case.question)
    );
    let rows = rows(run);
    if rows.is_empty() {
        section.push_str("No round was quiet.\n\n");
    } else {
        section.push_str(&table(run, &rows));
    }
    let all = run
        .rounds
        .samples
        .iter()
        .map(|sample| sample.attempt)
        .max()
        .map_or(0, |last| last + 1);
    section.push_str(&format!(
        "\nRounds: {all}, of them disturbed: {}.",
        run.rounds.disturbed
    ));
    if !run.rounds.is_result {
        section.push_str(" **No result.**");
    }
    section.push('\n');
    for row in rows.iter().filter(|row| row.fault.is_some()) {
        let fault = row.fault.as_deref().unwrap_or_default();
        section.push_str(&format!(
            "\n**{} did not serve all: {fault}.**\n",
            row.variant.name()
        ));
    }
    for verdict in verdicts(run, &rows) {
        section.push_str(&format!("\n{}.\n", capitalised(&verdict)));
    }
    section
}

fn table(run: &CaseRun, rows: &[Row]) -> String {
    let more: &[&str] = match run.case.measure {
        Measure::CpuPerRequest => &["user us/request", "requests/s", "core busy"],
        Measure::CpuPerHandshake { .. } => &["user us/handshake", "handshakes/s", "core busy"],
        Measure::MedianLatency { .. } => &["us p99", "requests/s", "core busy"],
        Measure::IdleMemory => &["MiB before", "MiB after"],
    };
    let unit = run.case.measure.unit();
    let names = ["server", unit, "least to most", "to HAProxy", "to nginx"];
    let heading: Vec<String> = names
        .iter()
        .chain(more)
        .map(|&name| name.to_owned())
        .collect();
    let mut table = table_line(&heading) + &table_rule(heading.len());
    for row in rows {
        let mut cells = vec![
            row.variant.name().to_owned(),
            figure(row.median),
            format!("{} to {}", figure(row.least), figure(row.most)),
            ratio(row.to_haproxy),
            ratio(row.to_nginx),
        ];
        match row.resident_mib {
            Some((before, after)) => cells.extend([figure(before), figure(after)]),
            None => {
                cells.push(figure(row.p99_us.unwrap_or(row.user_us)));
                cells.push(format!("{:.0}", row.responses_per_second));
                cells.push(format!("{:.0} %", row.server_load * 100.0));
            }
        }
        table.push_str(&table_line(&cells));
    }
    table
}
