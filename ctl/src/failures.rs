//! `meridianctl failures`: the last requests of a site that ended badly.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::asking::ask_plane;
use crate::cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::plane_socket;
use crate::state_directory::StateDirectory;
use crate::table::{Align, Table};

/// How long the plane may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A failure, as far as the table shows it; JSON passes all of it on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    time: Option<String>,
    request_id: Option<String>,
    client: Option<String>,
    method: Option<String>,
    host: Option<String>,
    path: Option<String>,
    status: Option<u16>,
    cause: Option<String>,
    fault: Option<String>,
    backend: Option<String>,
    tries: u64,
    connect_us: Option<u64>,
    first_byte_us: Option<u64>,
    total_us: Option<u64>,
}

/// Asks the dataplane and shows what it remembers, the newest first.
///
/// # Errors
/// Exit 1 when it knows no such site, 2 when that is no site's name, 3 when it does not answer,
/// 4 when this user may not ask.
pub(crate) fn run(call: &cli::Failures, output: Output) -> Result<(), Failure> {
    let site = &call.site;
    let parts: Vec<&str> = site.split('/').collect();
    if parts.len() != 2 || parts.contains(&"") {
        return Err(Failure::call(format!(
            "{site:?} is no site's full name, which is TENANT/SITE (-/- for what belongs to none)"
        )));
    }
    let state = StateDirectory::resolve(call.state.directory.as_deref())?;
    let answer = ask_plane(&state, ANSWER_WITHIN, |socket, within| {
        plane_socket::failures(socket, site, within)
    })?;
    if let Some(fault) = answer.error {
        return Err(Failure::input(format!(
            "{fault}; `meridianctl get site` shows all there are"
        )));
    }
    if answer.workers_missing > 0 {
        let missing = answer.workers_missing;
        output.note(|| format!("{missing} workers did not answer in time: theirs are not shown"));
    }
    output.answer(
        || text(site, &answer.failures),
        || {
            json!({
                "site": site,
                "failures": answer.failures,
                "workers_missing": answer.workers_missing,
            })
        },
    );
    Ok(())
}

fn text(site: &str, failures: &[Value]) -> String {
    if failures.is_empty() {
        return format!("no request of {site} ended badly since the proxy started");
    }
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("CAUSE", Align::Left),
        ("FAULT", Align::Left),
        ("STATUS", Align::Right),
        ("BACKEND", Align::Left),
        ("TRIES", Align::Right),
        ("CONNECT", Align::Right),
        ("FIRST BYTE", Align::Right),
        ("TOTAL", Align::Right),
        ("CLIENT", Align::Left),
        ("REQUEST", Align::Left),
        ("REQUEST ID", Align::Left),
    ]);
    for failure in failures {
        let row = Row::deserialize(failure).unwrap_or_default();
        let request = [
            row.method,
            row.host.zip(row.path).map(|(host, path)| host + &path),
        ];
        let request: Vec<String> = request.into_iter().flatten().collect();
        table.row(vec![
            or_dash(row.time),
            or_dash(row.cause),
            or_dash(row.fault),
            or_dash(row.status.map(|status| status.to_string())),
            or_dash(row.backend),
            row.tries.to_string(),
            or_dash(row.connect_us.map(milliseconds)),
            or_dash(row.first_byte_us.map(milliseconds)),
            or_dash(row.total_us.map(milliseconds)),
            or_dash(row.client),
            or_dash((!request.is_empty()).then(|| request.join(" "))),
            or_dash(row.request_id),
        ]);
    }
    table.render()
}

fn or_dash(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".to_string())
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:01} ms", us / 1000, us % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_happened_to_which_request() {
        let failure = json!({
            "time": "2026-11-24T18:28:18.000001Z", "request_id": "ab", "client": "192.0.2.1:5000",
            "method": "GET", "host": "shop.test", "path": "/a", "status": 504,
            "cause": "first_byte_timeout", "fault": "backend", "backend": "acme/shop/default/b1",
            "tries": 1, "connect_us": 1234, "first_byte_us": null, "total_us": 10_000_900,
        });
        let shown = text("acme/shop", &[failure]);
        let row = shown.lines().nth(1).expect("a row below the headings");
        let cells: Vec<&str> = row
            .split("  ")
            .map(str::trim)
            .filter(|it| !it.is_empty())
            .collect();
        assert_eq!(
            cells,
            [
                "2026-11-24T18:28:18.000001Z",
                "first_byte_timeout",
                "backend",
                "504",
                "acme/shop/default/b1",
                "1",
                "1.2 ms",
                "-",
                "10000.9 ms",
                "192.0.2.1:5000",
                "GET shop.test/a",
                "ab"
            ]
        );
    }

    #[test]
    fn no_failures_are_said_to_be_none() {
        assert!(text("acme/shop", &[]).starts_with("no request of acme/shop"));
    }
}
