//! From a cell to the number that stands for it, and to how far around it holds.
//! `cargo run --release -p meridian-model --example geo-table` measures it
//! (docs/decisions/0045-geographic-table.md).
//!
//! Ranges that touch have different numbers. They are kept in blocks of few bytes: where each
//! begins, counted from the beginning of the block, and then their numbers. A look-up finds the
//! block ([`pages`] in IPv4, [`blocks`] in IPv6) and compares with all of its beginnings at once.

mod blocks;
mod pages;
mod width;

use std::ops::Range;

use super::cells::{Family, shared_bits};
use blocks::Blocks;
use pages::Pages;

/// Cells to numbers.
#[derive(Clone, Debug)]
pub(super) struct Table {
    blocks: Kind,
    ranges: usize,
    /// The ranges whose numbers are below a threshold. They are few.
    low: Box<[Range<u64>]>,
}

#[derive(Clone, Debug)]
enum Kind {
    V4(Pages),
    V6(Blocks),
}

/// What a cell was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The number of its range.
    pub(super) number: u32,
    /// The length of the shortest prefix that the cell is in and whose cells are all of that range;
    /// 0 when that is everything.
    pub(super) scope: u8,
}

impl Table {
    /// `ranges` has the first cell and the number of each, in order, from cell 0 on; those that
    /// touch and have the same number are joined. Of those whose number is below `threshold` the
    /// cells are told by [`Table::low_range`].
    pub(super) fn new(
        family: Family,
        ranges: impl Iterator<Item = (u64, u32)>,
        threshold: u32,
    ) -> Table {
        let joined = Joined::new(family, ranges);
        let low = joined.iter().filter(|it| it.number < threshold);
        Table {
            low: low.map(|it| it.cells).collect(),
            ranges: joined.numbers.len(),
            blocks: match family {
                Family::V4 => Kind::V4(Pages::new(&joined)),
                Family::V6 => Kind::V6(Blocks::new(&joined)),
            },
        }
    }

    /// What stands for `cell`.
    #[inline]
    pub(super) fn find(&self, cell: u64) -> Found {
        match &self.blocks {
            Kind::V4(pages) => pages.find(cell as u32),
            Kind::V6(blocks) => blocks.find(cell),
        }
    }

    /// The cells of the range that `cell` is in, where its number is below the threshold.
    pub(super) fn low_range(&self, cell: u64) -> Option<Range<u64>> {
        let behind = self.low.partition_point(|it| it.start <= cell);
        let range = self.low.get(behind.checked_sub(1)?)?;
        range.contains(&cell).then(|| range.clone())
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.ranges
    }

    /// The memory that it takes.
    pub(super) fn bytes(&self) -> usize {
        match &self.blocks {
            Kind::V4(pages) => pages.bytes(),
            Kind::V6(blocks) => blocks.bytes(),
        }
    }
}

/// All ranges, as they are while a table is built.
struct Joined {
    family: Family,
    firsts: Vec<u64>,
    numbers: Vec<u32>,
}

/// One of them.
struct Joint {
    cells: Range<u64>,
    number: u32,
}

impl Joined {
    fn new(family: Family, ranges: impl Iterator<Item = (u64, u32)>) -> Joined {
        let (mut firsts, mut numbers) = (Vec::new(), Vec::new());
        for (first, number) in ranges {
            if numbers.last() != Some(&number) {
                firsts.push(first);
                numbers.push(number);
            }
        }
        assert_eq!(firsts.first(), Some(&0), "ranges cover all cells");
        Joined {
            family,
            firsts,
            numbers,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Joint> {
        let ends = self.firsts.iter().skip(1).copied();
        let ends = ends.chain([self.family.cells()]);
        let ranges = self.firsts.iter().zip(ends).zip(&self.numbers);
        ranges.map(|((first, end), number)| Joint {
            cells: *first..end,
            number: *number,
        })
    }

    fn number_max(&self) -> u32 {
        self.numbers.iter().copied().max().unwrap_or(0)
    }
}

/// [`Found::scope`] of a cell of the range `cells`. A prefix leaves a neighbour out as soon as it is
/// longer than what they share.
#[inline]
fn scope(family: Family, cell: u64, cells: Range<u64>) -> u8 {
    let below = match cells.start.checked_sub(1) {
        Some(before) => shared_bits(family, cell, before) + 1,
        None => 0,
    };
    let above = match cells.end < family.cells() {
        true => shared_bits(family, cell, cells.end) + 1,
        false => 0,
    };
    below.max(above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether each range's first cell, last cell and one between are found as they were given.
    fn check(family: Family, ranges: &[(u64, u32)]) {
        let joined = Joined::new(family, ranges.iter().copied());
        let table = Table::new(family, ranges.iter().copied(), 3);
        assert_eq!(table.len(), joined.numbers.len());
        for Joint { cells, number } in joined.iter() {
            let middle = cells.start + (cells.end - cells.start) / 2;
            for cell in [cells.start, middle, cells.end - 1] {
                let scope = scope(family, cell, cells.clone());
                assert_eq!(table.find(cell), Found { number, scope }, "{cell:x}");
                let low = (number < 3).then(|| cells.clone());
                assert_eq!(table.low_range(cell), low);
            }
        }
    }

    #[test]
    fn each_cell_is_found_in_its_range() {
        for count in [1_u64, 2, 15, 16, 17, 255, 256, 257, 5000, 70_000] {
            for family in [Family::V4, Family::V6] {
                let gap = family.cells() / count;
                let ranges: Vec<_> = (0..count).map(|it| (it * gap, it as u32)).collect();
                check(family, &ranges);
                // As close to each other as they can be, and behind them one that is large.
                let ranges: Vec<_> = (0..count).map(|it| (it, it as u32 % 300)).collect();
                check(family, &ranges);
            }
        }
    }

    #[test]
    fn ranges_with_one_number_are_joined_and_many_numbers_fit() {
        let ranges = [(0, 7), (9, 7), (10, 70_000), (11, 7), (12, 7_000_000)];
        let table = Table::new(Family::V4, ranges.into_iter(), 0);
        assert_eq!(table.len(), 4);
        assert_eq!(table.find(9).number, 7);
        assert_eq!(table.find(10).number, 70_000);
        assert_eq!(table.find(1 << 23).number, 7_000_000);
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
        let table = Table::new(Family::V4, ranges.into_iter(), 0);
        let scope = |cell| table.find(cell).scope;
        assert_eq!(scope(0x0a_4000), 16);
        assert_eq!(scope(0x0a_0001), 10);
        assert_eq!(scope(0x0a_4100), 16);
        assert_eq!(scope(0x0a_8000), 9);
        assert_eq!(scope(0x00_0000), 5);
        assert_eq!(scope(0xff_ffff), 1);
        let all = Table::new(Family::V6, [(0, 0)].into_iter(), 0);
        assert_eq!(all.find(5).scope, 0);
    }

    proptest! {
        #[test]
        fn any_ranges_are_found(
            // Dense in places, and with gaps of every size between them.
            gaps in prop::collection::vec((0_u32..50, 1_u64..4, 0_u32..6), 1..600),
            factor in prop::sample::select(vec![1_u32, 100, 20_000]),
        ) {
            for family in [Family::V4, Family::V6] {
                let (mut at, mut ranges) = (0, vec![(0, 1)]);
                for &(shift, times, number) in &gaps {
                    at += times << (shift % u32::from(family.cell_bits() - 4));
                    if at >= family.cells() {
                        break;
                    }
                    ranges.push((at, number * factor));
                }
                check(family, &ranges);
            }
        }
    }
}
