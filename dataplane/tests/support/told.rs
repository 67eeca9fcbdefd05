//! What is told of requests: the failures that a plane remembers, and the lines of its log, held
//! against what it counted.

use super::plane::{Plane, hits, number};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The promised names, in their order.
pub(crate) const NAMES: [&str; 23] = [
    "time",
    "request_id",
    "tenant",
    "site",
    "revision",
    "worker",
    "client",
    "method",
    "host",
    "path",
    "status",
    "cause",
    "fault",
    "backend",
    "tries",
    "reused",
    "queue_us",
    "connect_us",
    "first_byte_us",
    "total_us",
    "bytes_in",
    "bytes_out",
    "tls",
];

/// What a plane remembers of a site.
pub(crate) fn failures_of(plane: &Plane, site: &str) -> Vec<Value> {
    let question = serde_json::json!({ "op": "failures", "site": site });
    let answer = plane.ask(&question.to_string()).expect("it answers");
    assert_eq!(answer["workers_missing"], 0, "{answer}");
    answer["failures"].as_array().expect("a list").clone()
}

/// The failures of `acme/shop`, and those of no site.
pub(crate) fn failures(plane: &Plane) -> Result<Vec<Value>, String> {
    let mut failures = failures_of(plane, "acme/shop");
    failures.extend(failures_of(plane, "-/-"));
    Ok(failures)
}

/// As many of each cause as were counted, each with a fault.
pub(crate) fn check_failures(failures: &[Value], status: &Value) -> Result<(), String> {
    let told = causes(failures.iter());
    let limits = status["limits"].as_array().expect("there are limits");
    // What is somebody's fault is a cause.
    let causes = limits.iter().filter(|limit| limit["fault"].is_string());
    for name in causes.filter_map(|limit| limit["name"].as_str()) {
        let told = told.get(name).copied().unwrap_or(0);
        if told != hits(status, name) {
            return Err(format!(
                "{name}: {} counted, {told} among {failures:#?}",
                hits(status, name)
            ));
        }
    }
    for failure in failures {
        let fault = failure["fault"].as_str().unwrap_or_default();
        if !["client", "backend", "operator", "us"].contains(&fault) {
            return Err(format!("whose fault is {failure}?"));
        }
    }
    Ok(())
}

/// A line for each request of the site, with all of its bytes and every failure.
pub(crate) fn check_log(path: &Path, failures: &[Value], status: &Value) -> Result<(), String> {
    let lines = read_log(path)?;
    let site = &status["sites"][0];
    let answered = lines.iter().filter(|line| !line["status"].is_null());
    let mut sums = vec![("requests", answered.count() as u64)];
    for name in ["bytes_in", "bytes_out"] {
        sums.push((name, lines.iter().map(|line| number(line, name)).sum()));
    }
    for (name, sum) in sums {
        if sum != number(site, name) {
            let counted = number(site, name);
            return Err(format!("log: {name} is {sum}, not {counted}: {lines:#?}"));
        }
    }
    let of_site = failures.iter().filter(|failure| failure["site"] == "shop");
    let failed = lines.iter().filter(|line| !line["cause"].is_null());
    if causes(of_site) != causes(failed) {
        return Err(format!("log: {lines:#?} but {failures:#?}"));
    }
    Ok(())
}

/// Every line of a log, each a JSON object with all the names that were promised.
pub(crate) fn read_log(path: &Path) -> Result<Vec<Value>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the log ends within a line".to_owned());
    }
    text.lines().map(read_line).collect()
}

/// One line of a log.
pub(crate) fn read_line(line: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let names = value.as_object().map(|it| it.len());
    let missing = NAMES.iter().find(|name| value.get(name).is_none());
    match (names, missing) {
        (Some(23), None) => Ok(value),
        _ => Err(format!("not the promised names: {line}")),
    }
}

fn causes<'f>(told: impl Iterator<Item = &'f Value>) -> BTreeMap<String, u64> {
    let mut causes = BTreeMap::new();
    for cause in told.filter_map(|it| it["cause"].as_str()) {
        *causes.entry(cause.to_owned()).or_default() += 1;
    }
    causes
}
