//! Ids of requests: unique in the fleet, and not to be guessed from others.
//!
//! An id is 32 hexadecimal digits: 16 that are the same for all of a worker, from the kernel's
//! random numbers, and 16 of the request's number on that worker, sent through a permutation that
//! another random number chooses. Two numbers never give the same digits, and who has seen some
//! does not see the next. It is a name to search for, and no secret.

use meridian_sys::process::random_bytes;
use std::cell::Cell;
use std::io;

/// Bytes of an id.
pub(crate) const REQUEST_ID_BYTES: usize = 32;

/// The multiplier that spreads successive numbers over all bits: 2^64 by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Gives ids to the requests of one worker.
#[derive(Debug)]
pub(crate) struct RequestIds {
    prefix: [u8; 16],
    key: u64,
    last: Cell<u64>,
}

/// The number of a request on its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestNumber(u64);

impl RequestNumber {
    /// A lot that is as likely to be any number, and of successive requests spread evenly.
    pub(crate) fn lot(self) -> u32 {
        (self.0.wrapping_mul(SPREAD) >> 32) as u32
    }
}

impl RequestIds {
    /// Ids of a worker that starts now.
    pub(crate) fn new() -> io::Result<RequestIds> {
        let prefix = u64::from_ne_bytes(random_bytes()?);
        let key = u64::from_ne_bytes(random_bytes()?);
        Ok(RequestIds {
            prefix: hexadecimal(prefix),
            key,
            last: Cell::new(0),
        })
    }

    /// The next request's number.
    pub(crate) fn next(&self) -> RequestNumber {
        let next = self.last.get().wrapping_add(1);
        self.last.set(next);
        RequestNumber(next)
    }

    /// A number to begin something with that goes by chance: that of no request, permuted by
    /// another key.
    pub(crate) fn seed(&self) -> u64 {
        permuted(self.next().0, !self.key)
    }

    /// The id of the request with this number.
    pub(crate) fn text(&self, number: RequestNumber) -> [u8; REQUEST_ID_BYTES] {
        let mut text = [0; REQUEST_ID_BYTES];
        text[..16].copy_from_slice(&self.prefix);
        text[16..].copy_from_slice(&hexadecimal(permuted(number.0, self.key)));
        text
    }
}

/// One to one for each key: every step can be undone.
fn permuted(number: u64, key: u64) -> u64 {
    let mut mixed = number ^ key;
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed = (mixed ^ mixed >> 32 ^ key.rotate_left(17)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

/// The sixteen digits of a number, all of them at once: half a byte to each byte, then `0` to `9`
/// or `a` to `f` by whether it is over nine.
fn hexadecimal(number: u64) -> [u8; 16] {
    let mut spread = u128::from(number);
    spread = (spread | spread << 32) & 0x0000_0000_ffff_ffff_0000_0000_ffff_ffff;
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff_0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff_00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f_0f0f;
    const EACH: u128 = 0x0101_0101_0101_0101_0101_0101_0101_0101;
    let over_nine = ((spread + EACH * 6) >> 4) & EACH;
    let digits = spread + EACH * u128::from(b'0') + over_nine * u128::from(b'a' - b'0' - 10);
    digits.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_of_two_workers_too() {
        let workers = [(); 2].map(|()| RequestIds::new().expect("the kernel has random numbers"));
        let mut seen = HashSet::new();
        for ids in &workers {
            for _ in 0..10_000 {
                let id = ids.text(ids.next());
                assert!(id.iter().all(|byte| byte.is_ascii_hexdigit()));
                assert!(seen.insert(id));
            }
        }
    }

    #[test]
    fn lots_of_successive_requests_are_spread_evenly() {
        for part in [2, 10, 100] {
            let taken = (0..100_000)
                .filter(|&number| RequestNumber(number).lot() < u32::MAX / part)
                .count();
            assert!(
                taken.abs_diff(100_000 / part as usize) <= 5,
                "{taken} of 1/{part}"
            );
        }
    }

    proptest! {
        #[test]
        fn digits_are_as_the_standard_library_writes_them(number: u64) {
            let wanted = format!("{number:016x}");
            prop_assert_eq!(&hexadecimal(number)[..], wanted.as_bytes());
        }

        #[test]
        fn two_numbers_have_two_ids(one: u64, other: u64, key: u64) {
            prop_assert_eq!(permuted(one, key) == permuted(other, key), one == other);
        }
    }
}
