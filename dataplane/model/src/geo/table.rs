//! The range of cells that a cell is in. `cargo run --release -p meridian-model --example geo-table`
//! measures it.
//!
//! The first cells of all ranges, in order, and above them levels that have every sixteenth of
//! the level below: a look-up reads sixteen neighbours in each level, a cache line or two, and
//! the upper levels stay in the cache. A trie would need a leaf for each aligned block of a
//! range, which are half as many again in IPv4 and twice as many in IPv6.

use std::ops::Range;

use super::cells::{Family, shared_bits};

/// Neighbours that are compared at once.
const FANOUT: usize = 16;

/// Cells to numbers. Ranges that touch have different ones.
#[derive(Clone, Debug)]
pub(super) struct Table {
    family: Family,
    firsts: Firsts,
    numbers: Numbers,
}

/// Cells of IPv4 fit half the room of those of IPv6.
#[derive(Clone, Debug)]
enum Firsts {
    V4(Levels<u32>),
    V6(Levels<u64>),
}

#[derive(Clone, Debug)]
enum Numbers {
    Few(Box<[u16]>),
    Many(Box<[u32]>),
}

/// What a cell was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The position of the range.
    pub(super) range: usize,
    /// Its number.
    pub(super) number: u32,
}

impl Table {
    /// `ranges` has the first cell and the number of each, in order, from cell 0 on; those that
    /// touch and have the same number are joined.
    pub(super) fn new(family: Family, ranges: impl Iterator<Item = (u64, u32)>) -> Table {
        let mut firsts: Vec<u64> = Vec::new();
        let mut numbers: Vec<u32> = Vec::new();
        for (first, number) in ranges {
            if numbers.last() != Some(&number) {
                firsts.push(first);
                numbers.push(number);
            }
        }
        assert_eq!(firsts.first(), Some(&0), "ranges cover all cells");
        let few: Result<Box<[u16]>, _> = numbers.iter().map(|it| u16::try_from(*it)).collect();
        Table {
            family,
            firsts: match family {
                Family::V4 => {
                    let firsts = firsts.into_iter().map(|first| first as u32);
                    Firsts::V4(Levels::new(firsts.collect(), u32::MAX))
                }
                Family::V6 => Firsts::V6(Levels::new(firsts, u64::MAX)),
            },
            numbers: match few {
                Ok(few) => Numbers::Few(few),
                Err(_) => Numbers::Many(numbers.into()),
            },
        }
    }

    /// The range of `cell`.
    #[inline]
    pub(super) fn find(&self, cell: u64) -> Found {
        let range = match &self.firsts {
            Firsts::V4(levels) => levels.find(cell as u32),
            Firsts::V6(levels) => levels.find(cell),
        };
        self.at(range)
    }

    /// The range at a position.
    #[inline]
    pub(super) fn at(&self, range: usize) -> Found {
        let number = match &self.numbers {
            Numbers::Few(numbers) => u32::from(numbers[range]),
            Numbers::Many(numbers) => numbers[range],
        };
        Found { range, number }
    }

    /// The cells of the range at a position.
    #[inline]
    pub(super) fn cells(&self, range: usize) -> Range<u64> {
        let first = |range: usize| match &self.firsts {
            Firsts::V4(levels) => u64::from(levels.all()[range]),
            Firsts::V6(levels) => levels.all()[range],
        };
        let end = match range + 1 < self.len() {
            true => first(range + 1),
            false => self.family.cells(),
        };
        first(range)..end
    }

    /// The length of the shortest prefix that `cell` is in and whose cells are all of the range
    /// at `range`; 0 when that is everything.
    #[inline]
    pub(super) fn scope(&self, cell: u64, range: usize) -> u8 {
        let cells = self.cells(range);
        // A prefix leaves a neighbour out as soon as it is longer than what they share.
        let below = match cells.start.checked_sub(1) {
            Some(before) => shared_bits(self.family, cell, before) + 1,
            None => 0,
        };
        let above = match cells.end < self.family.cells() {
            true => shared_bits(self.family, cell, cells.end) + 1,
            false => 0,
        };
        below.max(above)
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Few(numbers) => numbers.len(),
            Numbers::Many(numbers) => numbers.len(),
        }
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        let firsts = match &self.firsts {
            Firsts::V4(levels) => levels.count() * 4,
            Firsts::V6(levels) => levels.count() * 8,
        };
        firsts
            + match &self.numbers {
                Numbers::Few(numbers) => numbers.len() * 2,
                Numbers::Many(numbers) => numbers.len() * 4,
            }
    }
}

/// The lowest level first. Each but the last is filled up to whole groups of [`FANOUT`].
#[derive(Clone, Debug)]
struct Levels<T>(Vec<Box<[T]>>);

impl<T: Copy + Ord> Levels<T> {
    /// `filler` is more than whatever is looked for.
    fn new(mut level: Vec<T>, filler: T) -> Levels<T> {
        let mut levels = Vec::new();
        loop {
            let above: Vec<T> = level.iter().step_by(FANOUT).copied().collect();
            level.resize(level.len().next_multiple_of(FANOUT), filler);
            levels.push(level.into_boxed_slice());
            if above.len() == 1 {
                return Levels(levels);
            }
            level = above;
        }
    }

    /// The position of the last one that is no more than `wanted`; the first of all must not be.
    #[inline]
    fn find(&self, wanted: T) -> usize {
        let mut group = 0;
        for level in self.0.iter().rev() {
            let neighbours = &level[group * FANOUT..][..FANOUT];
            let reached: usize = neighbours.iter().map(|it| usize::from(*it <= wanted)).sum();
            group = group * FANOUT + reached - 1;
        }
        group
    }

    fn all(&self) -> &[T] {
        &self.0[0]
    }

    fn count(&self) -> usize {
        self.0.iter().map(|level| level.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_is_found_in_its_range() {
        for count in [1_u64, 2, 15, 16, 17, 255, 256, 257, 5000] {
            for family in [Family::V4, Family::V6] {
                let gap = family.cells() / count;
                let ranges = (0..count).map(|it| (it * gap, it as u32));
                let table = Table::new(family, ranges);
                assert_eq!(table.len(), count as usize);
                for range in 0..count {
                    let cells = table.cells(range as usize);
                    for cell in [cells.start, cells.end - 1, (cells.start + cells.end) / 2] {
                        let found = table.find(cell);
                        assert_eq!((found.range as u64, found.number), (range, range as u32));
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_with_one_number_are_joined_and_many_numbers_fit() {
        let table = Table::new(
            Family::V4,
            [(0, 7), (9, 7), (10, 70_000), (11, 7)].into_iter(),
        );
        assert_eq!(table.len(), 3);
        assert_eq!(
            table.find(9),
            Found {
                range: 0,
                number: 7
            }
        );
        assert_eq!(table.find(10).number, 70_000);
        assert_eq!(table.cells(2), 11..Family::V4.cells());
    }

    #[test]
    fn a_scope_reaches_up_to_the_neighbours() {
        // 10.0.0.0/8 and 10.64.0.0/16 within it.
        let ranges = [
            (0, 0),
            (0x0a_0000, 1),
            (0x0a_4000, 2),
            (0x0a_4100, 1),
            (0x0b_0000, 0),
        ];
        let table = Table::new(Family::V4, ranges.into_iter());
        let scope = |cell| table.scope(cell, table.find(cell).range);
        assert_eq!(scope(0x0a_4000), 16);
        assert_eq!(scope(0x0a_0001), 10);
        assert_eq!(scope(0x0a_4100), 16);
        assert_eq!(scope(0x0a_8000), 9);
        assert_eq!(scope(0x00_0000), 5);
        assert_eq!(scope(0xff_ffff), 1);
        let all = Table::new(Family::V6, [(0, 0)].into_iter());
        assert_eq!(all.scope(5, 0), 0);
    }
}
