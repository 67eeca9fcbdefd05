//! The report as Markdown, and as panels of a picture.

use std::fmt::Write;

use super::rounds::CaseRun;
use super::summary::{kept, paired_ratio, value, values, verdicts};
use super::variant::{House, Variant};
use crate::machine::Machine;
use crate::markdown::{capitalised, figure, preamble, range, ratio, table_line, table_rule};
use crate::plot::{Bar, Panel};
use crate::rounds::Schedule;

/// The whole report. Writing into a `String` can not fail.
pub(super) fn markdown(machine: &Machine, runs: &[CaseRun], schedule: Schedule) -> String {
    let trial = schedule.trial.then_some("disturbed rounds kept");
    let method = format!(
        "{} rounds, all variants in each, in turning order.",
        schedule.rounds
    );
    let title = "Many sites: starts and changes";
    let mut text = preamble(title, machine, trial, &method);
    let mut line = |words: &str| writeln!(text, "{words}").expect("a String takes all");
    for run in runs {
        line(&case_section(run));
    }
    line(HOW);
    text
}

const HOW: &str = "## How\n
- Every sample has a server of its own, started anew. Median over rounds; failed, stale and processes
  are those of the worst round; a ratio is the median of the ratios of the first figure within each
  round. Every sample is in samples.jsonl. A round in which others took more than 6 % of the server's
  core is repeated and kept in the samples with the reason; more than 30 % of such: no result.
- Start: from just before exec, or from kill -9 of the plane alone, to the last byte of the first 200
  of the right backend, asked for again every 0.5 ms while connections are refused. Then sixteen sites
  spread over all are asked. Memory is PSS of all processes (meridianctl up and the plane; master and
  workers) four seconds after the first answer, of every server alike: ours gives back after two what
  the start alone needed. It is divided by the sites, so what an empty server needs is in it. CPU is
  that of all processes.
- Certificates: each site has one of its own, signed by the bench's authority, on P-256. Answered means
  a handshake of TLS 1.3 that verified, and a request behind it. What a certificate adds is the memory
  beyond that of the same sites without any, in the same state of the server's life, divided by the sites;
  sixteen of all were asked for. The first start looks at each certificate and seals it, the later ones do not.
  HAProxy: crt-list and strict-sni. nginx: a certificate in each server block.
- Change: 1000 short requests a second, open loop, on 64 keep-alive connections, three of five to the
  site that changes; and 20 responses a second that take a second each, so that some are always in
  flight. Each answer says which backend gave it. Seen: the first request was sent behind which none was
  answered by the old backend, so on every worker that connections were spread over. Accepted: as
  Meridian says it (to a millisecond); HAProxy and nginx do not say, so from the command. Stale: sent
  after the command returned and answered by the old backend; for a reload, which returns at once,
  sent after the first answer of the new one had come. Slowest: the slowest short request from
  the command on, counted from when it was due. CPU: of server and command beyond what the load took before, so a little below
  zero is noise. Peak memory: PSS, ten looks a second, the command's included. Commands run on the
  server's core. Files are edited before the clock runs.
- Renewal: the load of `change` by TLS, all of it to the site whose certificate is replaced, five long
  responses a second; and a newcomer every 2 ms, whose handshake verifies. Seen: the first newcomer began
  behind which none was shown the old certificate. Stale: began after the command returned (for a
  reload: after the first new one) and was shown the old one. Failed: requests and handshakes. HAProxy's
  API: `set ssl cert` and `commit ssl cert`. Meridian: `apply` of the whole manifest, which reads every
  certificate's files again.
- Pile: the same short load, two responses begun between changes that last 15 s each, changes to and
  fro. Ends when the last response has.
- Files and state directory stand in TMPDIR, or else /tmp: what a change is made durable on is that disk.
- A client here does not repeat a request that a server closes its connection upon: it is failed.
- HAProxy: master-worker, a map of hostnames, a backend for each site; reload by SIGUSR2, so -sf.
  nginx: an upstream with keepalive and a server block for each site; reload by SIGHUP. Neither has
  an access log. Meridian: fifty sites to a tenant; for `set` the site that changes is the API's, for
  `apply` all are the manifest's.";

fn case_section(run: &CaseRun) -> String {
    let case = &run.case;
    let mut section = format!("## {}\n\n{}.\n\n", case.name, capitalised(case.question));
    let sizes: Vec<String> = run
        .rounds
        .samples
        .first()
        .map(|sample| format!("Sites: {}; workers: {}.\n\n", sample.sites, sample.workers))
        .into_iter()
        .collect();
    section.push_str(&sizes.concat());
    section.push_str(&table(run));
    let all = run.rounds.samples.iter().map(|sample| sample.attempt).max();
    section.push_str(&format!(
        "\nRounds: {}, of them disturbed: {}.",
        all.map_or(0, |last| last + 1),
        run.rounds.disturbed
    ));
    if !run.rounds.is_result {
        section.push_str(" **No result.**");
    }
    section.push('\n');
    for &variant in &run.variants {
        let mut faults = kept(run, variant).filter_map(|sample| sample.fault.as_deref());
        if let Some(fault) = faults.next() {
            let name = variant.name();
            section.push_str(&format!("\n**{name}: {fault}.**\n"));
        }
    }
    for verdict in verdicts(run) {
        section.push_str(&format!("\n{}.\n", capitalised(&verdict)));
    }
    section
}

fn table(run: &CaseRun) -> String {
    let case = &run.case;
    let peers: Vec<Variant> = case
        .peers
        .iter()
        .copied()
        .filter(|peer| run.variants.contains(peer))
        .collect();
    let mut heading = vec!["variant".to_owned()];
    for (place, which) in case.figures.iter().enumerate() {
        heading.push(which.heading().to_owned());
        if place == 0 {
            heading.push("least to most".to_owned());
            heading.extend(peers.iter().map(|peer| format!("to {}", peer.name())));
        }
    }
    let mut table = table_line(&heading) + &table_rule(heading.len());
    for &variant in &run.variants {
        if kept(run, variant).next().is_none() {
            continue;
        }
        let mut cells = vec![variant.name().to_owned()];
        for (place, &which) in case.figures.iter().enumerate() {
            cells.push(match value(run, variant, which) {
                None if which.is_awaited() => "never".to_owned(),
                None => "-".to_owned(),
                Some(value) if which.counts_worst() => format!("{value:.0}"),
                Some(value) => figure(value),
            });
            if place == 0 {
                cells.push(range(&values(run, variant, which)));
                let ratios = peers
                    .iter()
                    .map(|&peer| ratio(paired_ratio(run, variant, peer, which)));
                cells.extend(ratios);
            }
        }
        table.push_str(&table_line(&cells));
    }
    table
}

/// The first figure of each case.
pub(super) fn panels(runs: &[CaseRun]) -> Vec<Panel> {
    let panel = |run: &CaseRun| {
        let which = run.case.main_figure();
        let mark = if run.rounds.is_result {
            ""
        } else {
            " (no result)"
        };
        let bars = run.variants.iter().filter_map(|&variant| {
            Some(Bar {
                label: variant.name(),
                colour: colour(variant.house()),
                median: value(run, variant, which)?,
                samples: values(run, variant, which),
                note: String::new(),
            })
        });
        Panel {
            title: format!("{}{mark}", run.case.name),
            subtitle: format!("{}; {}", run.case.question, which.heading()),
            bars: bars.collect(),
        }
    };
    runs.iter().map(panel).collect()
}

fn colour(house: House) -> &'static str {
    match house {
        House::Meridian => "#3b7dd8",
        House::Haproxy => "#a3aab3",
        House::Nginx => "#7fb58a",
    }
}
