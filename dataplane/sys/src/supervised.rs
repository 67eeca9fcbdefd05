//! What a supervisor and the program that it starts agree on: whose end is whose, the sockets that are
//! passed, and that a state directory has one of each program.
//!
//! Errors are in words, for whoever reads why a program did not start.

use crate::listener::{PassedSocket, adopt_passed};
use crate::process::die_with;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Has this process be killed when the one that MERIDIAN_SUPERVISOR names ends; without that nothing is
/// done.
///
/// # Errors
/// When it names no process, or one that has ended.
pub fn die_with_supervisor() -> Result<(), String> {
    let Ok(supervisor) = std::env::var("MERIDIAN_SUPERVISOR") else {
        return Ok(());
    };
    let pid = supervisor
        .parse()
        .map_err(|_| format!("MERIDIAN_SUPERVISOR: not a pid: {supervisor:?}"))?;
    die_with(pid).map_err(|error| error.to_string())
}

/// The sockets that LISTEN_FDS and LISTEN_FDNAMES pass (sd_listen_fds(3)), with their names; `None`
/// when none are passed to this process. Call it before anything else opens a descriptor.
///
/// # Errors
/// When names are missing, or a descriptor is not what [`adopt_passed`] takes.
pub fn passed_sockets() -> Result<Option<Vec<(String, PassedSocket)>>, String> {
    let Some(count) = passed_count()? else {
        return Ok(None);
    };
    let names = std::env::var("LISTEN_FDNAMES")
        .map_err(|_| "LISTEN_FDNAMES: not set, though LISTEN_FDS is".to_owned())?;
    let names: Vec<String> = names.split(':').map(str::to_owned).collect();
    let sockets = adopt_passed(count).map_err(|error| error.to_string())?;
    if names.len() != sockets.len() {
        let (names, sockets) = (names.len(), sockets.len());
        return Err(format!(
            "LISTEN_FDNAMES: {names} names for {sockets} descriptors"
        ));
    }
    Ok(Some(names.into_iter().zip(sockets).collect()))
}

fn passed_count() -> Result<Option<u32>, String> {
    let Ok(count) = std::env::var("LISTEN_FDS") else {
        return Ok(None);
    };
    if let Ok(pid) = std::env::var("LISTEN_PID")
        && pid != std::process::id().to_string()
    {
        return Ok(None);
    }
    let count = count
        .parse()
        .map_err(|_| format!("LISTEN_FDS: not a number: {count:?}"))?;
    Ok((count > 0).then_some(count))
}

/// Holds the lock of the file at `path` for as long as what it gives is kept, with our pid in it.
///
/// # Errors
/// When it can not be written, or `other` (such as "a data plane") holds it already, with its pid.
pub fn lock(path: &Path, other: &str) -> Result<File, String> {
    let fault = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(fault)?;
    if let Err(error) = file.try_lock() {
        let mut holder = String::new();
        let _ = file.read_to_string(&mut holder);
        return Err(match error {
            TryLockError::WouldBlock => format!(
                "{}: held by pid {}; {other} already runs on this state directory",
                path.display(),
                holder.trim()
            ),
            TryLockError::Error(error) => fault(error),
        });
    }
    file.set_len(0).map_err(fault)?;
    file.rewind().map_err(fault)?;
    writeln!(file, "{}", std::process::id()).map_err(fault)?;
    Ok(file)
}
