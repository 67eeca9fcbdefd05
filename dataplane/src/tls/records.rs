//! Records as they stand on the wire (RFC 8446 §5, RFC 5246 §6.2): where one ends, and those that a
//! connection has for its peer.

use super::side::Side;
use meridian_sys::{RecvBuf, Socket};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData};

/// Plaintext of one record (RFC 8446 §5.1).
pub(super) const FRAGMENT_BYTES_MAX: usize = 1 << 14;
/// What stands in front of each record.
const HEADER_BYTES: usize = 5;
/// What a record may be longer than its plaintext, header and all: with TLS 1.2 a nonce of 8 bytes
/// and a tag of 16, with TLS 1.3 a tag and the inner type.
pub(super) const RECORD_OVERHEAD_BYTES: usize = HEADER_BYTES + 8 + 16;
/// The longest record that anybody may send (RFC 5246 §6.2.3; less with TLS 1.3), without header.
const RECORD_BYTES_MAX: usize = FRAGMENT_BYTES_MAX + 2048;

/// Puts a record that the connection has for its peer behind what is owed.
pub(super) fn owe<Data>(owed: &mut Vec<u8>, mut encode: EncodeTlsData<'_, Data>) {
    let at = owed.len();
    let mut room = 256;
    loop {
        owed.resize(at + room, 0);
        match encode.encode(&mut owed[at..]) {
            Ok(written) => return owed.truncate(at + written),
            Err(EncodeError::InsufficientSize(short)) => room = short.required_size,
            Err(EncodeError::AlreadyEncoded) => return owed.truncate(at),
        }
    }
}

/// Takes what the connection has to say to a peer that it has refused. It is given nothing more to
/// read: it would find the next fault.
pub(super) fn take_alerts(connection: &mut impl Side, owed: &mut Vec<u8>) {
    while connection.has_to_say()
        && let Ok(ConnectionState::EncodeTlsData(encode)) = connection.process(&mut []).state
    {
        owe(owed, encode);
    }
}

/// Has what came behind a handshake read next: the end of `last`, of which the connection has left `rest`.
/// `false`: of a message that only begins there it has a part already, and has changed what it has seen,
/// which nobody sends in good faith; or it left more than that.
pub(super) fn give_back(socket: &Socket, last: Option<RecvBuf>, rest: &[u8]) -> bool {
    let Some(mut last) = last else {
        return true;
    };
    let Some(done) = last.len().checked_sub(rest.len()) else {
        return false;
    };
    if last[done..] != *rest {
        return false;
    }
    last.advance(done);
    last.charge(socket.class());
    socket.unread(last);
    true
}

/// Bytes until the next record is whole, of which `records` has the beginning behind whole ones; or
/// until it is known how long it is.
pub(super) fn missing_bytes(records: &[u8]) -> usize {
    let rest = unfinished(records);
    match rest {
        [_, _, _, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            // Of a longer one the connection knows what to say.
            let length = if length > RECORD_BYTES_MAX { 0 } else { length };
            (HEADER_BYTES + length).saturating_sub(rest.len())
        }
        _ => HEADER_BYTES - rest.len(),
    }
}

/// Whether `records` ends where a record does, or is none that may go on.
pub(super) fn is_whole(records: &[u8]) -> bool {
    let rest = unfinished(records);
    rest.is_empty() || missing_bytes(records) == 0
}

/// What follows the last whole record.
pub(super) fn unfinished(records: &[u8]) -> &[u8] {
    let mut rest = records;
    while let [_, _, _, high, low, ..] = rest {
        let length = HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(length..) {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_record_is_found_from_any_beginning_of_it() {
        let one = [&[23, 3, 3, 1, 2][..], &[7; 258]].concat();
        let two = [&one[..], &[22, 3, 3, 0, 1, 9]].concat();
        for (records, ends) in [(&one, vec![0, 263]), (&two, vec![0, 263, 269])] {
            for at in 0..=records.len() {
                let part = &records[..at];
                assert_eq!(is_whole(part), ends.contains(&at), "{at}");
                let next = ends.iter().find(|end| **end > at).copied();
                let header_known = ends.iter().rev().find(|end| **end <= at);
                let header_known = header_known.is_some_and(|begin| at >= begin + HEADER_BYTES);
                match next {
                    Some(end) if header_known => assert_eq!(missing_bytes(part), end - at, "{at}"),
                    Some(_) => assert!((1..=HEADER_BYTES).contains(&missing_bytes(part)), "{at}"),
                    None => assert_eq!(missing_bytes(part), HEADER_BYTES, "{at}"),
                }
            }
        }
    }

    #[test]
    fn of_a_record_that_is_too_long_nothing_more_is_waited_for() {
        let length = (RECORD_BYTES_MAX as u16 + 1).to_be_bytes();
        let header = [&[23, 3, 3][..], &length].concat();
        assert_eq!((missing_bytes(&header), is_whole(&header)), (0, true));
        let length = (RECORD_BYTES_MAX as u16).to_be_bytes();
        let header = [&[23, 3, 3][..], &length].concat();
        assert_eq!(missing_bytes(&header), RECORD_BYTES_MAX);
    }
}
