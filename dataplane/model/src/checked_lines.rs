//! Text that tells damage: one JSON value per line, each behind its checksum.
//!
//! ```text
//! 1c291ca3 {"closed":{"slot":5934201}}
//! ```
//!
//! What a file's lines are, and how its end is known, is its format's own business.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Hexadecimal digits of a checksum, before the space that follows it.
const CHECKSUM_DIGITS: usize = 8;

/// What is wrong with a file, and on which line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFault {
    /// The line.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl LogFault {
    pub(crate) fn new(line: usize, what: impl Into<String>) -> LogFault {
        let what = what.into();
        LogFault { line, what }
    }
}

impl fmt::Display for LogFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for LogFault {}

/// One line with its checksum and its end.
pub(crate) fn line_of(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("plain values always have a JSON form");
    let checksum = crc32fast::hash(json.as_bytes());
    format!("{checksum:08x} {json}\n")
}

/// Reads line `number`, given without its line end.
pub(crate) fn read_line<T: DeserializeOwned>(number: usize, line: &[u8]) -> Result<T, LogFault> {
    let Some((checksum, [b' ', json @ ..])) = line.split_at_checked(CHECKSUM_DIGITS) else {
        let what = "does not begin with a checksum and a space";
        return Err(LogFault::new(number, what));
    };
    // Compared as text, so that a digit that changed its case is damage too.
    let wanted = format!("{:08x}", crc32fast::hash(json));
    if checksum != wanted.as_bytes() {
        let what = format!("the checksum should be {wanted}: the line is damaged");
        return Err(LogFault::new(number, what));
    }
    serde_json::from_slice(json)
        .map_err(|error| LogFault::new(number, format!("not understood: {error}")))
}

/// The first line of `bytes` without its line end, and what follows it. `None` when it has no
/// line end: it is not whole.
pub(crate) fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((&bytes[..length], &bytes[length + 1..]))
}
