//! A manifest on disk: read and parsed, with whatever is wrong said as problems
//! of that file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use meridian_model::limits::MANIFEST_BYTES_MAX;
use meridian_model::{Manifest, Problem, Problems};

/// Reads the manifest at `path`.
///
/// # Errors
/// Every problem of the file; one alone when it can not be read.
pub(crate) fn read(path: &Path) -> Result<Manifest, Problems> {
    let file = path.display().to_string();
    let bytes = read_bytes(path).map_err(|error| Problem {
        file: file.clone(),
        line: None,
        key: String::new(),
        what: error.to_string(),
        hint: "-f names the manifest".to_string(),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| Problem {
        file: file.clone(),
        line: Some(line_at(&bytes, error.valid_up_to())),
        key: String::new(),
        what: "not UTF-8".to_string(),
        hint: "save it as UTF-8, as TOML wants it".to_string(),
    })?;
    Manifest::parse(text, &file)
}

/// At most one byte more than a manifest may have: `parse` says that it is too large.
fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MANIFEST_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn line_at(bytes: &[u8], offset: usize) -> u32 {
    let newlines = bytes[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count();
    u32::try_from(newlines + 1).unwrap_or(u32::MAX)
}
