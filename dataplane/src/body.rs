//! Bodies on their way through: payload taken out of one side's framing and put into the
//! other's, in the buffer that it arrived in wherever it fits.

use crate::http::chunked::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkError, Decoder, LAST_CHUNK, LAST_CHUNK_BEFORE_TRAILERS,
    write_chunk_header,
};
use crate::http::request::BodyFraming;
use crate::http::response::ResponseFraming;
use meridian_sys::{RecvBuf, SendBuf};

/// Where a body that is being received ends.
#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked(Box<Decoder>),
    UntilClose,
}

/// Takes payload out of received bytes.
#[derive(Debug)]
pub(crate) struct BodyReader {
    framing: Framing,
    done: bool,
    /// Trailer fields end here.
    drops_trailers: bool,
}

/// Why a body cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The chunked coding is broken.
    Chunk(ChunkError),
    /// The sender ended its side before the end of the body.
    Short,
}

/// Payload in the buffer that it arrived in, or copied out of it when other bytes follow there.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The buffer holds this payload only.
    Received(RecvBuf),
    /// Payload that shared its buffer with the next message.
    Copied(Vec<u8>),
}

impl Piece {
    /// Its bytes.
    pub(crate) fn len(&self) -> usize {
        match self {
            Piece::Received(buffer) => buffer.len(),
            Piece::Copied(bytes) => bytes.len(),
        }
    }
}

/// What was found in received bytes.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Payload, if there was any.
    pub(crate) piece: Option<Piece>,
    /// What follows the body in the buffer: the next message.
    pub(crate) rest: Option<RecvBuf>,
}

impl BodyReader {
    /// A reader for the body of a request.
    pub(crate) fn of_request(framing: BodyFraming) -> BodyReader {
        match framing {
            BodyFraming::None | BodyFraming::Length(0) => BodyReader::finished(),
            BodyFraming::Length(bytes) => BodyReader {
                framing: Framing::Length(bytes),
                done: false,
                drops_trailers: false,
            },
            BodyFraming::Chunked => BodyReader {
                framing: Framing::Chunked(Box::default()),
                done: false,
                drops_trailers: false,
            },
        }
    }

    /// A reader for the body of a response.
    pub(crate) fn of_response(framing: ResponseFraming) -> BodyReader {
        match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => BodyReader::finished(),
            ResponseFraming::Length(bytes) => BodyReader {
                framing: Framing::Length(bytes),
                done: false,
                drops_trailers: false,
            },
            ResponseFraming::Chunked => BodyReader {
                framing: Framing::Chunked(Box::default()),
                done: false,
                drops_trailers: false,
            },
            ResponseFraming::UntilClose => BodyReader {
                framing: Framing::UntilClose,
                done: false,
                drops_trailers: false,
            },
        }
    }

    fn finished() -> BodyReader {
        BodyReader {
            framing: Framing::Length(0),
            done: true,
            drops_trailers: false,
        }
    }

    /// Lets no trailer field pass, where fields of its message are dropped: a receiver may take one
    /// for the other (RFC 9110 §6.5.1).
    pub(crate) fn drop_trailers(mut self, drops: bool) -> BodyReader {
        self.drops_trailers = drops;
        self
    }

    /// Whether the body ended.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Trailer fields, written anew; empty when there are none.
    fn trailers(&self) -> &[u8] {
        match &self.framing {
            Framing::Chunked(decoder) if !self.drops_trailers => decoder.trailers(),
            Framing::Chunked(_) | Framing::Length(_) | Framing::UntilClose => &[],
        }
    }

    /// The sender ended its side.
    pub(crate) fn end(&mut self) -> Result<(), BodyError> {
        match self.framing {
            Framing::UntilClose => {
                self.done = true;
                Ok(())
            }
            Framing::Length(_) | Framing::Chunked(_) => Err(BodyError::Short),
        }
    }

    /// Takes the payload out of received bytes. Once the body is done, all bytes are the rest.
    pub(crate) fn take(&mut self, mut buffer: RecvBuf) -> Result<Taken, BodyError> {
        if self.done || buffer.is_empty() {
            return Ok(Taken {
                piece: None,
                rest: (!buffer.is_empty()).then_some(buffer),
            });
        }
        let (data, consumed) = match &mut self.framing {
            Framing::UntilClose => (0..buffer.len(), buffer.len()),
            Framing::Length(left) => {
                let count =
                    usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                *left -= count as u64;
                self.done = *left == 0;
                (0..count, count)
            }
            Framing::Chunked(decoder) => {
                let decoded = decoder.decode(&mut buffer).map_err(BodyError::Chunk)?;
                self.done = decoded.done;
                (decoded.data, decoded.consumed)
            }
        };
        if consumed < buffer.len() {
            let piece = (!data.is_empty()).then(|| Piece::Copied(buffer[data].to_vec()));
            buffer.advance(consumed);
            return Ok(Taken {
                piece,
                rest: Some(buffer),
            });
        }
        buffer.truncate(data.end);
        buffer.advance(data.start);
        let piece = (!buffer.is_empty()).then_some(Piece::Received(buffer));
        Ok(Taken { piece, rest: None })
    }
}

/// Puts payload that `reader` found into the framing that it goes on in. `None` when there is
/// nothing to send.
pub(crate) fn frame(reader: &BodyReader, chunked: bool, piece: Option<Piece>) -> Option<SendBuf> {
    if !chunked {
        return piece.map(plain);
    }
    let last = reader.is_done().then(|| reader.trailers());
    (piece.is_some() || last.is_some()).then(|| chunk(piece, last))
}

/// The bytes for payload that goes on as it is.
fn plain(piece: Piece) -> SendBuf {
    match piece {
        Piece::Received(buffer) => SendBuf::Received(buffer),
        Piece::Copied(bytes) => SendBuf::Heap(bytes),
    }
}

/// The bytes for payload that goes on as one chunk, with the end of the body behind it when
/// `last` has its trailers. Without payload: the end alone.
fn chunk(piece: Option<Piece>, last: Option<&[u8]>) -> SendBuf {
    let ending: &[u8] = match (&piece, last) {
        (None, Some([])) => return SendBuf::Static(LAST_CHUNK),
        (Some(_), None) => CHUNK_END,
        (Some(_), Some([])) => b"\r\n0\r\n\r\n",
        (_, Some(trailers)) => return with_trailers(piece, trailers),
        (None, None) => return SendBuf::Static(&[]),
    };
    match piece {
        Some(Piece::Received(mut buffer)) => {
            let mut room = [0; CHUNK_HEADER_BYTES_MAX];
            let header = write_chunk_header(buffer.len(), &mut room);
            if buffer.append(ending) {
                if buffer.prepend(header) {
                    return SendBuf::Received(buffer);
                }
                buffer.truncate(buffer.len() - ending.len());
            }
            SendBuf::Heap(assemble(&buffer, ending))
        }
        Some(Piece::Copied(bytes)) => SendBuf::Heap(assemble(&bytes, ending)),
        None => SendBuf::Static(&[]),
    }
}

fn assemble(payload: &[u8], ending: &[u8]) -> Vec<u8> {
    let mut room = [0; CHUNK_HEADER_BYTES_MAX];
    let header = write_chunk_header(payload.len(), &mut room);
    [header, payload, ending].concat()
}

fn with_trailers(piece: Option<Piece>, trailers: &[u8]) -> SendBuf {
    let mut bytes = match piece {
        Some(Piece::Received(buffer)) => assemble(&buffer, CHUNK_END),
        Some(Piece::Copied(payload)) => assemble(&payload, CHUNK_END),
        None => Vec::new(),
    };
    bytes.extend_from_slice(LAST_CHUNK_BEFORE_TRAILERS);
    bytes.extend_from_slice(trailers);
    bytes.extend_from_slice(CHUNK_END);
    SendBuf::Heap(bytes)
}

/// Whether a sender moves its body fast enough, over windows of fixed length. Time in which we
/// hold it back does not count.
#[derive(Debug)]
pub(crate) struct RateMeter {
    window_ns: u64,
    window_bytes_min: u64,
    ends_ns: u64,
    bytes: u64,
    held_since_ns: Option<u64>,
}

impl RateMeter {
    /// A meter whose first window begins now.
    pub(crate) fn new(rate: meridian_model::snapshot::BodyRate, now_ns: u64) -> RateMeter {
        let window_ns = rate.window.as_nanos() as u64;
        let window_bytes_min = u64::from(rate.bytes_per_second) * window_ns / 1_000_000_000;
        RateMeter {
            window_ns,
            window_bytes_min,
            ends_ns: now_ns + window_ns,
            bytes: 0,
            held_since_ns: None,
        }
    }

    /// Counts received bytes.
    pub(crate) fn note(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// From now on the sender cannot send: we hold it back.
    pub(crate) fn hold(&mut self, now_ns: u64) {
        self.held_since_ns.get_or_insert(now_ns);
    }

    /// The sender may send. Gives when to look again, or `None` when it was too slow.
    pub(crate) fn wait(&mut self, now_ns: u64) -> Option<u64> {
        if let Some(since_ns) = self.held_since_ns.take() {
            self.ends_ns += now_ns - since_ns;
        }
        if now_ns >= self.ends_ns {
            if self.bytes < self.window_bytes_min {
                return None;
            }
            self.bytes = 0;
            self.ends_ns = now_ns + self.window_ns;
        }
        Some(self.ends_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::snapshot::BodyRate;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn meter() -> RateMeter {
        let rate = BodyRate {
            bytes_per_second: 500,
            window: Duration::from_secs(10),
        };
        RateMeter::new(rate, SECOND)
    }

    #[test]
    fn a_trickle_is_too_slow_and_a_stream_is_not() {
        let mut slow = meter();
        slow.note(4_999);
        assert_eq!(slow.wait(10 * SECOND), Some(11 * SECOND));
        assert_eq!(slow.wait(11 * SECOND), None);
        let mut fast = meter();
        fast.note(5_000);
        assert_eq!(fast.wait(11 * SECOND), Some(21 * SECOND));
    }

    #[test]
    fn time_in_which_the_sender_is_held_back_does_not_count() {
        let mut meter = meter();
        meter.hold(2 * SECOND);
        meter.hold(50 * SECOND);
        assert_eq!(meter.wait(102 * SECOND), Some(111 * SECOND));
    }
}
