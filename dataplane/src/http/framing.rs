//! Where a body ends (RFC 9112 §6): what Content-Length and Transfer-Encoding say.

use super::Version;
use super::field::FieldName;
use super::list;
use super::section::Section;
use super::syntax::{decimal, is_token};

/// What the framing fields of a head declare, by the same rules for both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Neither field.
    Nothing,
    /// One valid Content-Length, in bytes.
    Length(u64),
    /// Transfer-Encoding of exactly one `chunked`.
    Chunked,
}

/// Why framing fields are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// They are invalid, doubled or contradict each other.
    Bad,
    /// The transfer coding is well-formed, but not one that we know.
    UnknownCoding,
}

/// Reads the framing fields. Anything that two readers could take for two lengths
/// is refused: both fields, a field twice (equal or not), a list, a transfer coding
/// in HTTP/1.0.
///
/// # Errors
///
/// [`FramingError`].
pub fn read(section: &Section<'_>, version: Version) -> Result<Declared, FramingError> {
    let length = section
        .single(FieldName::ContentLength)
        .map_err(|_| FramingError::Bad)?;
    let coding = section
        .single(FieldName::TransferEncoding)
        .map_err(|_| FramingError::Bad)?;
    match (length, coding) {
        (None, None) => Ok(Declared::Nothing),
        (Some(digits), None) => decimal(digits)
            .map(Declared::Length)
            .ok_or(FramingError::Bad),
        (None, Some(codings)) if version == Version::Http11 => {
            check_codings(codings)?;
            Ok(Declared::Chunked)
        }
        (_, Some(_)) => Err(FramingError::Bad),
    }
}

/// Exactly one `chunked`. A list of other codings is unknown when it is one that
/// a server could serve: tokens, with `chunked` at most once and last.
fn check_codings(codings: &[u8]) -> Result<(), FramingError> {
    if codings.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut chunked_seen = false;
    for coding in list::elements(codings) {
        if chunked_seen || !is_token(coding) {
            return Err(FramingError::Bad);
        }
        chunked_seen = coding.eq_ignore_ascii_case(b"chunked");
    }
    Err(FramingError::UnknownCoding)
}
