//! Numbers of 1 to 4 bytes, next to each other, all of one width.

/// What is read with a number of less than 4 bytes, and does not count.
const BEHIND: usize = 3;

/// How wide numbers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Width {
    bytes: usize,
    mask: u32,
}

impl Width {
    /// The least that is enough for numbers up to `max`.
    pub(super) fn of(max: u32) -> Width {
        let bytes = ((u32::BITS - max.leading_zeros()).div_ceil(8) as usize).max(1);
        Width {
            bytes,
            mask: u32::MAX >> (32 - 8 * bytes as u32),
        }
    }

    /// Appends a number.
    pub(super) fn push(self, bytes: &mut Vec<u8>, number: u32) {
        bytes.extend(&number.to_le_bytes()[..self.bytes]);
    }

    /// What has to stand behind the last number of all.
    pub(super) fn close(bytes: &mut Vec<u8>) {
        bytes.extend([0; BEHIND]);
    }

    /// The number at `index` of those that begin at `at`.
    #[inline]
    pub(super) fn read(self, bytes: &[u8], at: usize, index: usize) -> u32 {
        let at = at + index * self.bytes;
        let four = bytes[at..at + 1 + BEHIND].try_into().expect("four bytes");
        u32::from_le_bytes(four) & self.mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_from_the_least_width_that_holds_them() {
        for (max, bytes) in [
            (0, 1),
            (255, 1),
            (256, 2),
            (65_535, 2),
            (65_536, 3),
            (1 << 24, 4),
            (u32::MAX, 4),
        ] {
            let width = Width::of(max);
            let mut all = vec![9];
            for number in [max, 0, max / 2] {
                width.push(&mut all, number);
            }
            assert_eq!(all.len(), 1 + 3 * bytes);
            Width::close(&mut all);
            let read = [0, 1, 2].map(|index| width.read(&all, 1, index));
            assert_eq!(read, [max, 0, max / 2]);
        }
    }
}
