//! The table of IPv6: blocks of neighbouring ranges, and above them levels that have every
//! sixteenth of the level below.
//!
//! Prefixes of IPv6 differ too much in length for pages: most /19 hold nothing, and some
//! thousands of ranges.

use std::iter::Sum;

use super::width::Width;
use super::{Found, Joined, scope};
use crate::geo::cells::Family;

/// Ranges of a block that it says the beginning of: all but the first. It is a multiple of what
/// a processor compares at once.
const STARTS: usize = 32;
const RANGES: usize = STARTS + 1;

/// Neighbours that are compared at once in a level.
const FANOUT: usize = 16;

/// Bits of a cell behind its /30, which levels are made of: no /30 is [`i32::MAX`].
const KEY_SHIFT: u32 = Family::V6.cell_bits() as u32 - 30;

/// A block is a byte that says how beginnings are written, the beginnings, and the numbers of its
/// ranges.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    /// The first cell of each block.
    firsts: Box<[u64]>,
    /// The /30 of each.
    keys: Levels,
    positions: Box<[u32]>,
    blocks: Box<[u8]>,
    width: Width,
}

impl Blocks {
    pub(super) fn new(joined: &Joined) -> Blocks {
        let width = Width::of(joined.number_max());
        // The last block is filled up with ranges behind the last cell.
        let missing = joined.firsts.len().next_multiple_of(RANGES) - joined.firsts.len();
        let filler = (0..missing as u64).map(|it| (Family::V6.cells() + it, 0));
        let ranges = joined
            .firsts
            .iter()
            .copied()
            .zip(joined.numbers.iter().copied());
        let mut ranges = ranges.chain(filler).peekable();
        let (mut firsts, mut positions) = (Vec::new(), Vec::new());
        let mut blocks = Vec::new();
        while ranges.peek().is_some() {
            let block = [(); RANGES].map(|()| ranges.next().expect("filled up"));
            firsts.push(block[0].0);
            positions.push(u32::try_from(blocks.len()).expect("a database is smaller"));
            let starts = block.map(|(first, _)| first - block[0].0);
            Format::of(&starts).push(&mut blocks, &starts);
            for (_, number) in block {
                width.push(&mut blocks, number);
            }
        }
        blocks.extend([0; size_of::<u64>()]);
        let keys = firsts.iter().map(|first| (first >> KEY_SHIFT) as i32);
        Blocks {
            keys: Levels::new(keys.collect()),
            firsts: firsts.into(),
            positions: positions.into(),
            blocks: blocks.into(),
            width,
        }
    }

    #[inline]
    pub(super) fn find(&self, cell: u64) -> Found {
        let block = self.block_of(cell);
        let first = self.firsts[block];
        let at = self.positions[block] as usize;
        let format = Format::from_byte(self.blocks[at]);
        let at = at + 1;
        let starts = &self.blocks[at..][..STARTS << format.width];
        let reached = format.reached(starts, (cell - first) >> format.shift);
        let start = |index: usize| first + (format.start(&self.blocks, at, index) << format.shift);
        let from = reached.checked_sub(1).map_or(first, start);
        let end = match reached < STARTS {
            true => start(reached),
            false => self.firsts.get(block + 1).copied().unwrap_or(u64::MAX),
        };
        let numbers = at + starts.len();
        Found {
            number: self.width.read(&self.blocks, numbers, reached),
            scope: scope(Family::V6, cell, from..end),
        }
    }

    /// The last block that begins with `cell` or before.
    #[inline]
    fn block_of(&self, cell: u64) -> usize {
        let block = self.keys.find((cell >> KEY_SHIFT) as i32);
        if self.firsts[block] <= cell {
            return block;
        }
        // Several begin in one /30.
        let mut step = 1;
        while self.firsts[block.saturating_sub(step)] > cell {
            step *= 2;
        }
        let from = block.saturating_sub(step);
        let behind = self.firsts[from..block].partition_point(|it| *it <= cell);
        from + behind - 1
    }

    pub(super) fn bytes(&self) -> usize {
        self.firsts.len() * size_of::<u64>()
            + (self.keys.count() + self.positions.len()) * size_of::<u32>()
            + self.blocks.len()
    }
}

/// How beginnings are written: without as many of their last bits, which are 0, as numbers of 1,
/// 2, 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format {
    shift: u8,
    /// The binary logarithm of the bytes.
    width: u8,
}

impl Format {
    /// The least for what begins so far behind the first.
    fn of(starts: &[u64]) -> Format {
        let any = starts.iter().fold(0, |any, start| any | start);
        let shift = any.trailing_zeros().min(u64::BITS - 1);
        let bits = u64::BITS - (any >> shift).leading_zeros();
        let bytes = bits.div_ceil(8).max(1).next_power_of_two();
        Format {
            shift: shift as u8,
            width: bytes.trailing_zeros() as u8,
        }
    }

    #[inline]
    fn from_byte(byte: u8) -> Format {
        Format {
            shift: byte >> 2,
            width: byte & 3,
        }
    }

    /// Of the first it needs not be said.
    fn push(self, bytes: &mut Vec<u8>, starts: &[u64]) {
        bytes.push(self.shift << 2 | self.width);
        for start in &starts[1..] {
            bytes.extend(&(start >> self.shift).to_le_bytes()[..1 << self.width]);
        }
    }

    /// How many of `starts` are no more than `wanted`.
    #[inline]
    fn reached(self, starts: &[u8], wanted: u64) -> usize {
        // What is more than a width holds is more than all that was written in it.
        match self.width {
            0 => {
                let wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
                let is_reached = |it: &[u8; 1]| u8::from(it[0] <= wanted);
                usize::from(sum(starts, is_reached))
            }
            1 => {
                let wanted = u16::try_from(wanted).unwrap_or(u16::MAX);
                let is_reached = |it: &[u8; 2]| u16::from(u16::from_le_bytes(*it) <= wanted);
                usize::from(sum(starts, is_reached))
            }
            2 => {
                let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
                let is_reached = |it: &[u8; 4]| u32::from(u32::from_le_bytes(*it) <= wanted);
                sum(starts, is_reached) as usize
            }
            _ => {
                let is_reached = |it: &[u8; 8]| u64::from(u64::from_le_bytes(*it) <= wanted);
                sum(starts, is_reached) as usize
            }
        }
    }

    /// The number at `index` of those that begin at `at`. 8 bytes are read whatever its width is.
    #[inline]
    fn start(self, blocks: &[u8], at: usize, index: usize) -> u64 {
        let at = at + (index << self.width);
        let eight = blocks[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(eight) & u64::MAX >> (64 - (8 << self.width))
    }
}

/// Of what is told of each of the numbers. That their count is constant is what makes it quick.
#[inline]
fn sum<const BYTES: usize, T: Sum>(starts: &[u8], of: impl Fn(&[u8; BYTES]) -> T) -> T {
    let starts: &[[u8; BYTES]; STARTS] = starts.as_chunks().0.try_into().expect("a block is full");
    starts.iter().map(of).sum()
}

/// The lowest level first. Each is filled up to whole groups of [`FANOUT`].
#[derive(Clone, Debug)]
struct Levels {
    levels: Vec<Box<[i32]>>,
}

impl Levels {
    fn new(mut level: Vec<i32>) -> Levels {
        let mut levels = Vec::new();
        loop {
            let above: Vec<i32> = level.iter().step_by(FANOUT).copied().collect();
            level.resize(level.len().next_multiple_of(FANOUT), i32::MAX);
            levels.push(level.into_boxed_slice());
            if above.len() == 1 {
                return Levels { levels };
            }
            level = above;
        }
    }

    /// The position of the last one that is no more than `wanted`; the first of all must not be.
    #[inline]
    fn find(&self, wanted: i32) -> usize {
        let mut group = 0;
        for level in self.levels.iter().rev() {
            let neighbours = &level[group * FANOUT..][..FANOUT];
            let reached: i32 = neighbours.iter().map(|it| i32::from(*it <= wanted)).sum();
            group = group * FANOUT + reached as usize - 1;
        }
        group
    }

    fn count(&self) -> usize {
        self.levels.iter().map(|level| level.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_written_in_as_few_bytes_as_they_need() {
        for (starts, shift, bytes) in [
            (vec![0], 63, 1),
            (vec![0, 1, 255], 0, 1),
            (vec![0, 1, 256], 0, 2),
            (vec![0, 2 << 40, 200 << 40], 41, 1),
            (vec![0, 1 << 8, 1 << 24], 8, 4),
            (vec![0, 1, 1 << 40], 0, 8),
        ] {
            let format = Format::of(&starts);
            assert_eq!((format.shift, 1 << format.width), (shift, bytes));
            let mut blocks = Vec::new();
            format.push(&mut blocks, &starts);
            assert_eq!(Format::from_byte(blocks[0]), format);
            blocks.extend([9; 8]);
            for (index, start) in starts[1..].iter().enumerate() {
                let read = format.start(&blocks, 1, index) << format.shift;
                assert_eq!(read, *start);
            }
        }
    }
}
