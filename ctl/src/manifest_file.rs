//! A manifest on disk: read and parsed, with whatever is wrong said as problems
//! of that file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use meridian_model::limits::MANIFEST_BYTES_MAX;
use meridian_model::{Manifest, Problem, Problems};

/// Reads the manifest at `path`; relative paths in it begin where it stands.
///
/// # Errors
/// Every problem of the file; one alone when it can not be read.
pub(crate) fn read(path: &Path) -> Result<Manifest, Problems> {
    parse(&text(path)?, path)
}

/// Takes a text for the manifest at `path`.
///
/// # Errors
/// Every problem of it.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Manifest, Problems> {
    let manifest = Manifest::parse(text, &path.display().to_string())?;
    // Where that can not be told, what is relative stays so.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok(match whole.parent() {
        Some(directory) => manifest.standing_in(directory),
        None => manifest,
    })
}

/// The text of the manifest at `path`.
///
/// # Errors
/// When it can not be read, or is none.
pub(crate) fn text(path: &Path) -> Result<String, Problems> {
    let file = path.display().to_string();
    let bytes = read_bytes(path).map_err(|error| Problem {
        file: file.clone(),
        line: None,
        key: String::new(),
        what: error.to_string(),
        hint: "-f names the manifest".to_string(),
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid_up_to = error.utf8_error().valid_up_to();
        Problems::from(Problem {
            line: Some(line_at(error.as_bytes(), valid_up_to)),
            file,
            key: String::new(),
            what: "not UTF-8".to_string(),
            hint: "save it as UTF-8, as TOML wants it".to_string(),
        })
    })
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
