//! Reading the config log (STATE/config): the newest revision that is whole.

use meridian_model::config_log::{decode, decode_local};
use meridian_model::{Local, Snapshot, compile};
use std::fs;
use std::path::Path;

/// What a plane starts with, or goes on with.
#[derive(Debug)]
pub(crate) struct Config {
    /// The host's own settings.
    pub(crate) local: Local,
    /// The compiled revision.
    pub(crate) snapshot: Snapshot,
    /// What was wrong with newer files that were passed over, in words.
    pub(crate) passed_over: Vec<String>,
}

/// Reads the settings of the host and the newest revision that is whole and compiles.
///
/// The error names the files and what is wrong with each.
pub(crate) fn load(state: &Path) -> Result<Config, String> {
    let directory = state.join("config");
    let local_path = directory.join("local");
    let local = fs::read(&local_path)
        .map_err(|error| {
            format!(
                "{}: {error}; run `meridianctl up`, which writes it",
                local_path.display()
            )
        })
        .and_then(|bytes| {
            decode_local(&bytes).map_err(|fault| {
                format!(
                    "{}: {fault}; run `meridianctl up` to write it anew",
                    local_path.display()
                )
            })
        })?;
    let interfaces = meridian_sys::listener::interface_addresses()
        .map_err(|error| format!("asking for the addresses of this host: {error}"))?;
    let current_path = directory.join("current");
    let current = fs::read_to_string(&current_path).map_err(|error| {
        format!(
            "{}: {error}; run `meridianctl up`, which writes it",
            current_path.display()
        )
    })?;
    let newest: u64 = current.trim_end().parse().map_err(|_| {
        format!(
            "{}: not the number of a generation: {current:?}",
            current_path.display()
        )
    })?;
    let mut passed_over = Vec::new();
    // The writer keeps the generation before the current one.
    for generation in [Some(newest), newest.checked_sub(1)]
        .into_iter()
        .flatten()
        .filter(|&generation| generation > 0)
    {
        match load_generation(&directory, generation, &local) {
            Ok(mut snapshot) => {
                snapshot.policy =
                    std::sync::Arc::new(snapshot.policy.with_own_addresses(&interfaces));
                return Ok(Config {
                    local,
                    snapshot,
                    passed_over,
                });
            }
            Err(fault) => passed_over.push(fault),
        }
    }
    Err(passed_over.join("\n"))
}

fn load_generation(directory: &Path, generation: u64, local: &Local) -> Result<Snapshot, String> {
    let path = directory.join(format!("snapshot.{generation}"));
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let (header, desired) =
        decode(&bytes).map_err(|fault| format!("{}: {fault}", path.display()))?;
    compile(local, &desired, header.revision)
        .map_err(|problems| format!("{}: {problems}", path.display()))
}
