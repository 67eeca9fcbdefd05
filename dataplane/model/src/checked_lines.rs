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
    let mut text = Vec::new();
    append_line(&mut text, |text| append_json(text, value));
    String::from_utf8(text).expect("JSON is text")
}

/// Appends one line, whose JSON `write` appends.
pub(crate) fn append_line(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = text.len();
    text.extend_from_slice(b"00000000 ");
    let json = text.len();
    write(text);
    let checksum = hex(crc32fast::hash(&text[json..]));
    text[start..start + CHECKSUM_DIGITS].copy_from_slice(&checksum);
    text.push(b'\n');
}

/// Appends the JSON of a value.
pub(crate) fn append_json(text: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(text, value).expect("plain values always have a JSON form");
}

/// Eight hexadecimal digits in lower case.
fn hex(checksum: u32) -> [u8; CHECKSUM_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(checksum >> (28 - 4 * place)) as usize & 15])
}

/// Reads line `number`, given without its line end.
pub(crate) fn read_line<T: DeserializeOwned>(number: usize, line: &[u8]) -> Result<T, LogFault> {
    let Some((checksum, [b' ', json @ ..])) = line.split_at_checked(CHECKSUM_DIGITS) else {
        let what = "does not begin with a checksum and a space";
        return Err(LogFault::new(number, what));
    };
    // Compared as text, so that a digit that changed its case is damage too.
    let wanted = hex(crc32fast::hash(json));
    if checksum != wanted {
        let wanted = String::from_utf8_lossy(&wanted);
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
