//! `meridianctl drain` and `ready`: whether a backend gets new requests of this host.

use std::time::Duration;

use serde_json::json;

use crate::asking::ask_plane;
use crate::cli;
use crate::failure::Failure;
use crate::output::Output;
use crate::plane_socket;
use crate::state_directory::StateDirectory;

/// How long the plane may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Has a backend drained.
///
/// # Errors
/// Exit 1 when the dataplane knows no such backend or can not keep it, 2 when that is no backend's
/// name, 3 when it does not answer, 4 when this user may not ask.
pub(crate) fn drain(call: &cli::Drain, output: Output) -> Result<(), Failure> {
    run(call, true, output)
}

/// Ends that.
///
/// # Errors
/// As [`drain`].
pub(crate) fn ready(call: &cli::Drain, output: Output) -> Result<(), Failure> {
    run(call, false, output)
}

fn run(call: &cli::Drain, draining: bool, output: Output) -> Result<(), Failure> {
    let cli::Drain { kind, name, state } = call;
    if kind != "backend" {
        return Err(Failure::call(format!(
            "{kind:?} is nothing that can be drained; write backend"
        )));
    }
    let parts: Vec<&str> = name.split('/').collect();
    if parts.len() != 4 || parts.contains(&"") {
        return Err(Failure::call(format!(
            "{name:?} is no backend's full name, which is TENANT/SITE/POOL/BACKEND"
        )));
    }
    let state = StateDirectory::resolve(state.directory.as_deref())?;
    let answer = ask_plane(&state, ANSWER_WITHIN, |socket, within| {
        plane_socket::drain(socket, name, draining, within)
    })?;
    if let Some(fault) = answer.error {
        return Err(Failure::input(format!(
            "{fault}; `meridianctl status` shows all backends"
        )));
    }
    let (changed, absent) = (answer.changed, answer.absent);
    output.answer(
        || text(name, draining, changed, absent),
        || json!({ "backend": name, "draining": draining, "changed": changed, "absent": absent }),
    );
    Ok(())
}

fn text(name: &str, draining: bool, changed: bool, absent: bool) -> String {
    let what = match (draining, changed) {
        (true, true) => "is drained: it gets no new requests",
        (true, false) => "was drained already",
        (false, true) if absent => "is drained no more; there is no such backend now",
        (false, true) => "gets requests again",
        (false, false) => "was not drained",
    };
    format!("{name} {what}")
}
