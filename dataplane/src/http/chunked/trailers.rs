//! The trailer section of a chunked body (RFC 9112 §7.1.2).

use meridian_model::limits::{FIELDS_MAX, TRAILER_BYTES_MAX};

use super::super::field::{FieldName, classify};
use super::ChunkError;

/// Collects the section, then holds what may be passed on of it.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// The section as sent; emptied when it was parsed.
    section: Vec<u8>,
    /// The lines to pass on.
    lines: Vec<u8>,
}

/// What [`Trailers::take`] read.
pub(super) struct Taken {
    /// Bytes of the input that are part of the section.
    pub(super) bytes: usize,
    /// The section ended with the last of them.
    pub(super) done: bool,
}

impl Trailers {
    /// Reads on in `input`, up to the end of the section.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<Taken, ChunkError> {
        // Nearly every body: no trailers, and nothing to allocate.
        if self.section.is_empty() && input.starts_with(b"\r\n") {
            return Ok(Taken {
                bytes: 2,
                done: true,
            });
        }
        for (at, &byte) in input.iter().enumerate() {
            let after_return = self.section.last() == Some(&b'\r');
            if after_return != (byte == b'\n') {
                return Err(ChunkError::LineEnd);
            }
            if self.section.len() == TRAILER_BYTES_MAX {
                return Err(ChunkError::TrailersLong);
            }
            self.section.push(byte);
            if byte == b'\n' && (self.section.len() == 2 || self.section.ends_with(b"\r\n\r\n")) {
                self.lines = passed_lines(&self.section)?;
                self.section = Vec::new();
                return Ok(Taken {
                    bytes: at + 1,
                    done: true,
                });
            }
        }
        Ok(Taken {
            bytes: input.len(),
            done: false,
        })
    }

    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }
}

/// The fields of a whole section that mean nothing to a proxy, written anew.
fn passed_lines(section: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let mut headers = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let headers = match httparse::parse_headers(section, &mut headers) {
        Ok(httparse::Status::Complete((bytes, headers))) if bytes == section.len() => headers,
        Ok(_) => return Err(ChunkError::Trailer),
        Err(httparse::Error::TooManyHeaders) => return Err(ChunkError::TrailersLong),
        Err(_) => return Err(ChunkError::Trailer),
    };
    let mut lines = Vec::new();
    for header in headers {
        let name = header.name.as_bytes();
        if classify(name) != FieldName::Other {
            continue;
        }
        lines.extend_from_slice(name);
        lines.extend_from_slice(b": ");
        lines.extend_from_slice(header.value);
        lines.extend_from_slice(b"\r\n");
    }
    Ok(lines)
}
