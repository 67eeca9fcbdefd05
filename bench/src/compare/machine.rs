//! What the figures were taken on: they mean nothing without it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::variant::{Bed, Variant};
use crate::program;

/// The first line of samples.jsonl.
#[derive(Serialize)]
pub(super) struct Machine {
    pub(super) unix_time_s: u64,
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) server_core: usize,
    pub(super) load_core: usize,
    pub(super) congestion_control: String,
    pub(super) versions: Vec<String>,
    /// Whether the bench itself was built without optimisation.
    pub(super) unoptimised: bool,
}

pub(super) fn describe(bed: &Bed, variants: &[Variant], wrk: bool) -> Machine {
    let name = rustix::system::uname();
    let words = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let congestion_control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let mut versions = vec![format!("meridian-bench {}", env!("CARGO_PKG_VERSION"))];
    for variant in variants {
        match variant {
            Variant::Haproxy => versions.extend(first_line("haproxy", "-v")),
            Variant::Nginx => versions.extend(first_line("nginx", "-v")),
            Variant::Ours => versions.push(match &bed.ours_command {
                Some(command) => format!("ours is: {command}"),
                None => first_line(
                    &bed.bin_dir.join("meridianctl").to_string_lossy(),
                    "--version",
                )
                .unwrap_or_else(|| "meridianctl of unknown version".to_owned()),
            }),
            Variant::Direct | Variant::BareEpoll | Variant::BareGlommio | Variant::BareRing => {}
        }
    }
    if wrk {
        versions.extend(first_line("wrk", "-v"));
    }
    Machine {
        unix_time_s: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        kernel: format!(
            "{} {} {}",
            words(name.sysname()),
            words(name.release()),
            words(name.machine())
        ),
        processor: processor
            .map_or("unknown", |(_, model)| model.trim())
            .to_owned(),
        server_core: bed.cores.server,
        load_core: bed.cores.load,
        congestion_control: congestion_control.unwrap_or_default().trim().to_owned(),
        versions,
        unoptimised: cfg!(debug_assertions),
    }
}

/// First line of what a program says of itself; some say it on the wrong stream or with a
/// wrong exit code.
fn first_line(name: &str, flag: &str) -> Option<String> {
    let path = program::find(name)?;
    let output = Command::new(path)
        .arg(flag)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said)
        .lines()
        .next()
        .map(|line| line.trim().to_owned())
}
