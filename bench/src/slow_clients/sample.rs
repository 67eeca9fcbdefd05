//! One run, and the file that keeps them.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::mode::Mode;
use crate::failure::Failure;

/// Where the slow clients are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Nowhere,
    Bystander,
    Proxy,
}

impl Place {
    pub(super) const ALL: [Place; 3] = [Place::Nowhere, Place::Bystander, Place::Proxy];
}

/// One run.
#[derive(Serialize, Deserialize)]
pub(super) struct Sample {
    pub(super) mode: Mode,
    pub(super) pair: u32,
    pub(super) slow_clients: Place,
    /// Slow connections that were asked for.
    pub(super) slow: u32,
    /// Connections there, beside those of the load, when the run began.
    pub(super) slow_connections: u64,
    /// Of these, those that were there when it was over.
    pub(super) slow_connections_left: u64,
    /// Processor time that the slow clients took of the load's core meanwhile.
    pub(super) slow_cpu_s: f64,
    pub(super) rate: f64,
    pub(super) seconds: u64,
    pub(super) responses: u64,
    pub(super) not_2xx: u64,
    pub(super) broken: u64,
    pub(super) unanswered: u64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// What an earlier measurement left; a file that is not there is none.
pub(super) fn earlier(path: &Path) -> Result<Vec<Sample>, Failure> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(Failure::at(path.display()))?,
    };
    text.lines()
        .map(|line| serde_json::from_str(line).map_err(Failure::at(path.display())))
        .collect()
}

/// Adds the runs of one round together, so that a file never has part of one.
pub(super) fn append(path: &Path, round: &[Sample]) -> Result<(), Failure> {
    let mut lines = String::new();
    for sample in round {
        lines += &serde_json::to_string(sample).map_err(Failure::at("sample"))?;
        lines.push('\n');
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes()))
        .map_err(Failure::at(path.display()))
}
