//! The chunked transfer coding (RFC 9112 §7.1), both ways.

mod trailers;

use core::ops::Range;

use meridian_model::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX};

use super::reject::Reject;
use super::syntax::is_token_byte;
use trailers::Trailers;

/// Decodes one body, in place, however its bytes are cut.
///
/// What is behind the end of the body is never touched: it is the next message.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
    extension_bytes: usize,
    trailers: Trailers,
}

/// What one call of [`Decoder::decode`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where the payload now lies in the buffer, in one piece; may be empty. The
    /// bytes between its end and `consumed` are of no more use.
    pub data: Range<usize>,
    /// Bytes of the buffer that were read: all of it, unless `done`.
    pub consumed: usize,
    /// The body ended, with its trailers.
    pub done: bool,
}

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A size is not hexadecimal digits, followed by an extension or CRLF.
    Size,
    /// A size has more than 16 digits.
    SizeLong,
    /// An extension that is none.
    Extension,
    /// The extensions of the body are too long in all.
    ExtensionsLong,
    /// The payload of a chunk, or a line, is not followed by CRLF.
    LineEnd,
    /// An invalid trailer field.
    Trailer,
    /// The trailer section is too long or has too many fields.
    TrailersLong,
}

impl ChunkError {
    /// What it means when the body is a client's.
    #[must_use]
    pub fn reject(self) -> Reject {
        match self {
            ChunkError::TrailersLong => Reject::TrailersLong,
            ChunkError::Size
            | ChunkError::SizeLong
            | ChunkError::Extension
            | ChunkError::ExtensionsLong
            | ChunkError::LineEnd
            | ChunkError::Trailer => Reject::Chunk,
        }
    }
}

/// What is expected next. The states of an extension follow its grammar:
/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Digits of a size, of which there were some.
    Size { value: u64, digits: usize },
    /// A `;`, after white space.
    ExtensionStart { size: u64 },
    /// The first byte of a name, or white space before it.
    ExtensionNameStart { size: u64 },
    /// More of a name, or what follows it.
    ExtensionName { size: u64 },
    /// A `;` or `=`, after white space behind a name.
    ExtensionNameEnd { size: u64 },
    /// The first byte of a value, or white space before it.
    ExtensionValueStart { size: u64 },
    /// More of a token, or what follows it.
    ExtensionToken { size: u64 },
    /// More of a quoted string.
    ExtensionQuoted { size: u64 },
    /// What a `\` quotes.
    ExtensionEscaped { size: u64 },
    /// What follows a quoted string.
    ExtensionQuotedEnd { size: u64 },
    /// The LF of the line of a size.
    SizeLineFeed { size: u64 },
    /// Payload.
    Data { remaining: u64 },
    /// The CR after the payload.
    DataReturn,
    /// The LF after the payload.
    DataLineFeed,
    /// The trailer section, which may be just an empty line.
    Trailers,
    /// The body ended.
    Done,
    /// It was refused.
    Failed(ChunkError),
}

impl Default for State {
    fn default() -> State {
        State::Size {
            value: 0,
            digits: 0,
        }
    }
}

impl Decoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Reads on in `buffer`, which continues where the last call's `consumed` ended,
    /// and moves the payload of all its chunks together.
    ///
    /// # Errors
    ///
    /// [`ChunkError`]; every later call gives the same.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Result<Decoded, ChunkError> {
        let mut at = 0;
        let mut data = 0..0;
        while at < buffer.len() {
            match self.state {
                State::Done => break,
                State::Failed(error) => return Err(error),
                State::Data { remaining } => {
                    let rest = buffer.len() - at;
                    let length = usize::try_from(remaining).map_or(rest, |bytes| bytes.min(rest));
                    append(buffer, &mut data, at..at + length);
                    at += length;
                    let remaining = remaining - length as u64;
                    self.state = match remaining {
                        0 => State::DataReturn,
                        _ => State::Data { remaining },
                    };
                }
                State::Trailers => {
                    let taken = self
                        .trailers
                        .take(&buffer[at..])
                        .map_err(|error| self.fail(error))?;
                    at += taken.bytes;
                    if taken.done {
                        self.state = State::Done;
                    }
                }
                state => {
                    self.state = self
                        .step(state, buffer[at])
                        .map_err(|error| self.fail(error))?;
                    at += 1;
                }
            }
        }
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        Ok(Decoded {
            data,
            consumed: at,
            done: self.is_done(),
        })
    }

    /// Whether the body ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer fields to pass on, as field lines written anew; empty until the
    /// body ended, and when there are none. Fields that mean something to a proxy
    /// (framing, routing, forwarding) are not among them.
    #[must_use]
    pub fn trailers(&self) -> &[u8] {
        match self.state {
            State::Done => self.trailers.lines(),
            _ => &[],
        }
    }

    fn fail(&mut self, error: ChunkError) -> ChunkError {
        self.state = State::Failed(error);
        error
    }

    /// One byte of what is around the payload.
    fn step(&mut self, state: State, byte: u8) -> Result<State, ChunkError> {
        match state {
            State::Size { value, digits } => {
                let next = step_size(value, digits, byte)?;
                self.count_extension(next)
            }
            State::ExtensionStart { size }
            | State::ExtensionNameStart { size }
            | State::ExtensionName { size }
            | State::ExtensionNameEnd { size }
            | State::ExtensionValueStart { size }
            | State::ExtensionToken { size }
            | State::ExtensionQuoted { size }
            | State::ExtensionEscaped { size }
            | State::ExtensionQuotedEnd { size } => {
                let next = step_extension(state, size, byte)?;
                self.count_extension(next)
            }
            State::SizeLineFeed { size } => match (byte, size) {
                (b'\n', 0) => Ok(State::Trailers),
                (b'\n', remaining) => Ok(State::Data { remaining }),
                _ => Err(ChunkError::LineEnd),
            },
            State::DataReturn if byte == b'\r' => Ok(State::DataLineFeed),
            State::DataLineFeed if byte == b'\n' => Ok(State::default()),
            State::DataReturn | State::DataLineFeed => Err(ChunkError::LineEnd),
            State::Data { .. } | State::Trailers | State::Done | State::Failed(_) => {
                unreachable!("read in larger pieces than a byte")
            }
        }
    }

    /// Counts a byte that is neither of a size nor of a line end.
    fn count_extension(&mut self, next: State) -> Result<State, ChunkError> {
        if !matches!(next, State::Size { .. } | State::SizeLineFeed { .. }) {
            self.extension_bytes += 1;
            if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                return Err(ChunkError::ExtensionsLong);
            }
        }
        Ok(next)
    }
}

/// Moves `piece` of the buffer to the end of `data`, which lies before it.
fn append(buffer: &mut [u8], data: &mut Range<usize>, piece: Range<usize>) {
    if data.start == data.end {
        *data = piece;
        return;
    }
    let length = piece.len();
    buffer.copy_within(piece, data.end);
    data.end += length;
}

fn step_size(value: u64, digits: usize, byte: u8) -> Result<State, ChunkError> {
    let digit = match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        b'A'..=b'F' => byte - b'A' + 10,
        _ if digits == 0 => return Err(ChunkError::Size),
        b'\r' => return Ok(State::SizeLineFeed { size: value }),
        b';' => return Ok(State::ExtensionNameStart { size: value }),
        b' ' | b'\t' => return Ok(State::ExtensionStart { size: value }),
        _ => return Err(ChunkError::Size),
    };
    if digits == CHUNK_SIZE_DIGITS_MAX {
        return Err(ChunkError::SizeLong);
    }
    // Sixteen digits fill 64 bits, so nothing is shifted out.
    Ok(State::Size {
        value: value << 4 | u64::from(digit),
        digits: digits + 1,
    })
}

fn step_extension(state: State, size: u64, byte: u8) -> Result<State, ChunkError> {
    let is_space = matches!(byte, b' ' | b'\t');
    let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    match (state, byte) {
        (State::ExtensionStart { .. } | State::ExtensionNameStart { .. }, _) if is_space => {
            Ok(state)
        }
        (State::ExtensionNameEnd { .. } | State::ExtensionValueStart { .. }, _) if is_space => {
            Ok(state)
        }
        (State::ExtensionNameStart { .. } | State::ExtensionName { .. }, _)
            if is_token_byte(byte) =>
        {
            Ok(State::ExtensionName { size })
        }
        (State::ExtensionName { .. }, _) if is_space => Ok(State::ExtensionNameEnd { size }),
        (State::ExtensionName { .. } | State::ExtensionNameEnd { .. }, b'=') => {
            Ok(State::ExtensionValueStart { size })
        }
        (State::ExtensionValueStart { .. }, b'"') => Ok(State::ExtensionQuoted { size }),
        (State::ExtensionValueStart { .. } | State::ExtensionToken { .. }, _)
            if is_token_byte(byte) =>
        {
            Ok(State::ExtensionToken { size })
        }
        (State::ExtensionQuoted { .. }, b'"') => Ok(State::ExtensionQuotedEnd { size }),
        (State::ExtensionQuoted { .. }, b'\\') => Ok(State::ExtensionEscaped { size }),
        (State::ExtensionQuoted { .. } | State::ExtensionEscaped { .. }, _) if is_text => {
            Ok(State::ExtensionQuoted { size })
        }
        (State::ExtensionToken { .. } | State::ExtensionQuotedEnd { .. }, _) if is_space => {
            Ok(State::ExtensionStart { size })
        }
        (
            State::ExtensionStart { .. }
            | State::ExtensionName { .. }
            | State::ExtensionNameEnd { .. }
            | State::ExtensionToken { .. }
            | State::ExtensionQuotedEnd { .. },
            b';',
        ) => Ok(State::ExtensionNameStart { size }),
        (
            State::ExtensionName { .. }
            | State::ExtensionToken { .. }
            | State::ExtensionQuotedEnd { .. },
            b'\r',
        ) => Ok(State::SizeLineFeed { size }),
        _ => Err(ChunkError::Extension),
    }
}

/// Room for the longest [`write_chunk_header`].
pub const CHUNK_HEADER_BYTES_MAX: usize = CHUNK_SIZE_DIGITS_MAX + 2;

/// What follows the payload of each chunk.
pub const CHUNK_END: &[u8] = b"\r\n";

/// The end of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The end of a body with trailers: this, then [`Decoder::trailers`], then [`CHUNK_END`].
pub const LAST_CHUNK_BEFORE_TRAILERS: &[u8] = b"0\r\n";

/// The line before a chunk's payload of `length` bytes, which is not zero: that
/// would be the end of the body.
pub fn write_chunk_header(length: usize, room: &mut [u8; CHUNK_HEADER_BYTES_MAX]) -> &[u8] {
    debug_assert_ne!(length, 0, "an empty chunk ends a body");
    let mut at = CHUNK_HEADER_BYTES_MAX - 2;
    room[at..].copy_from_slice(b"\r\n");
    let mut rest = length;
    loop {
        at -= 1;
        room[at] = b"0123456789abcdef"[rest & 0xf];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    &room[at..]
}
