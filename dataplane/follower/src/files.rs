//! The files of the config log as `meridianctl` leaves them: `local`, `current`, and for each
//! generation G `snapshot.G` and `journal.G`. What is wrong with one is told with its path.

use meridian_model::Local;
use meridian_model::config_log::{Header, decode_header, decode_local};
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// More than any header is long.
const HEADER_BYTES_MAX: u64 = 4096;

pub(crate) fn refused(path: &Path, what: &dyn Display) -> String {
    format!("{}: {what}", path.display())
}

pub(crate) fn snapshot_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("snapshot.{generation}"))
}

pub(crate) fn journal_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("journal.{generation}"))
}

/// The settings of the host.
pub(crate) fn read_local(directory: &Path) -> Result<Local, String> {
    let path = directory.join("local");
    let bytes = fs::read(&path).map_err(|error| not_written(&path, &error))?;
    decode_local(&bytes).map_err(|fault| {
        let path = path.display();
        format!("{path}: {fault}; run `meridianctl up` to write it anew")
    })
}

/// The generation that was begun last.
pub(crate) fn read_current(directory: &Path) -> Result<u64, String> {
    let path = directory.join("current");
    let current = fs::read_to_string(&path).map_err(|error| not_written(&path, &error))?;
    let number = current.trim_end().parse();
    number.map_err(|_| {
        refused(
            &path,
            &format!("not the number of a generation: {current:?}"),
        )
    })
}

fn not_written(path: &Path, error: &std::io::Error) -> String {
    let path = path.display();
    format!("{path}: {error}; run `meridianctl up`, which writes it")
}

/// The header of a snapshot alone.
pub(crate) fn read_header(path: &Path) -> Result<Header, String> {
    let file = File::open(path).map_err(|error| refused(path, &error))?;
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(path, &error))?;
    decode_header(&bytes).map_err(|fault| refused(path, &fault))
}

/// What a file holds from `offset` on; up to `length`, where that is told.
pub(crate) fn read_from(path: &Path, offset: u64, length: Option<u64>) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => refused(path, &"it is missing"),
        _ => refused(path, &error),
    };
    let mut file = File::open(path).map_err(fault)?;
    file.seek(SeekFrom::Start(offset)).map_err(fault)?;
    let mut bytes = Vec::new();
    let most = length.map_or(u64::MAX, |length| length.saturating_sub(offset));
    file.take(most).read_to_end(&mut bytes).map_err(fault)?;
    let end = offset + bytes.len() as u64;
    match length {
        Some(length) if end < length => {
            let what = format!("shorter than was announced: {end} bytes of {length}");
            Err(refused(path, &what))
        }
        _ => Ok(bytes),
    }
}
