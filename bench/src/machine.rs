//! What the figures were taken on: they mean nothing without it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::cores::Cores;
use crate::program;

/// The first line of samples.jsonl.
#[derive(Serialize)]
pub(crate) struct Machine {
    pub(crate) unix_time_s: u64,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) server_core: usize,
    pub(crate) load_core: usize,
    pub(crate) congestion_control: String,
    pub(crate) versions: Vec<String>,
    /// Whether the bench itself was built without optimisation.
    pub(crate) unoptimised: bool,
}

/// `programs` are the versions of what is compared; the bench's own comes first.
pub(crate) fn describe(cores: Cores, programs: Vec<String>) -> Machine {
    let name = rustix::system::uname();
    let words = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let congestion_control = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control");
    let mut versions = vec![format!("meridian-bench {}", env!("CARGO_PKG_VERSION"))];
    versions.extend(programs);
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
        server_core: cores.server,
        load_core: cores.load,
        congestion_control: congestion_control.unwrap_or_default().trim().to_owned(),
        versions,
        unoptimised: cfg!(debug_assertions),
    }
}

/// What meridianctl says of itself.
pub(crate) fn meridian_version(bin_dir: &Path) -> String {
    first_line(&bin_dir.join("meridianctl").to_string_lossy(), "--version")
        .unwrap_or_else(|| "meridianctl of unknown version".to_owned())
}

/// First line of what a program says of itself; some say it on the wrong stream or with a
/// wrong exit code.
pub(crate) fn first_line(name: &str, flag: &str) -> Option<String> {
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
