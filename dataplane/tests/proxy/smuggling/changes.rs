//! Bytes put in, left out, replaced and doubled, where that may change what a reader sees.

use proptest::prelude::*;
use proptest::sample::Index;

/// A change of some bytes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Insert(Index, Index),
    Delete(Index, usize),
    Replace(Index, u8),
    Double(Index, usize),
}

/// What tends to be read in two ways; `HOST` is the tenant's.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\"",
    "\x0b",
    "\u{a0}",
    "0",
    "a",
    "\r\n",
    "\r\n ",
    "\n\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Host: HOST\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "GET /hidden HTTP/1.1\r\nHost: HOST\r\n\r\n",
];

/// Some of them, or none.
pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), any::<Index>()).prop_map(|(at, piece)| Change::Insert(at, piece)),
        2 => (any::<Index>(), 1..4_usize).prop_map(|(at, count)| Change::Delete(at, count)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => (any::<Index>(), 1..60_usize).prop_map(|(at, count)| Change::Double(at, count)),
    ];
    prop::collection::vec(change, 0..4)
}

impl Change {
    /// Does it to bytes of the tenant whose site is `host`.
    pub(super) fn apply(&self, bytes: &mut Vec<u8>, host: &str) {
        let range = |at: &Index, count: usize, length: usize| {
            let at = at.index(length + 1);
            at..(at + count).min(length)
        };
        match self {
            Change::Insert(at, piece) => {
                let at = at.index(bytes.len() + 1);
                let piece = piece.get(PIECES).replace("HOST", host);
                bytes.splice(at..at, piece.into_bytes());
            }
            Change::Delete(at, count) => {
                bytes.drain(range(at, *count, bytes.len()));
            }
            Change::Replace(at, byte) => {
                let place = range(at, 1, bytes.len());
                bytes[place].fill(*byte);
            }
            Change::Double(at, count) => {
                let place = range(at, *count, bytes.len());
                let again = bytes[place.clone()].to_vec();
                bytes.splice(place.start..place.start, again);
            }
        }
    }
}
