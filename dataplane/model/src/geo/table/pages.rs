//! The table of IPv4: a page for each /16, and within it a byte for where a range begins.

use super::width::Width;
use super::{Found, Joined, Joint, scope};
use crate::geo::cells::Family;

/// Bits of a cell within its page.
const PAGE_BITS: u32 = 8;
const PAGES: usize = 1 << (Family::V4.cell_bits() as u32 - PAGE_BITS);

/// Set in the entry of a page that is all of one range. Then come 5 bits of scope, 26 of number;
/// without it, the position of the page's block.
const IS_WHOLE: u32 = 1 << 31;
const NUMBER_BITS: u32 = 26;

/// A block is how many ranges begin in the page behind its first cell, where each of them does,
/// and the numbers of all ranges of the page.
#[derive(Clone, Debug)]
pub(super) struct Pages {
    entries: Box<[u32]>,
    blocks: Box<[u8]>,
    width: Width,
}

impl Pages {
    pub(super) fn new(joined: &Joined) -> Pages {
        let width = Width::of(joined.number_max());
        assert!(
            joined.number_max() < 1 << NUMBER_BITS,
            "of places there are fewer"
        );
        let mut pages = Building {
            width,
            entries: Vec::with_capacity(PAGES),
            blocks: Vec::new(),
            starts: Vec::new(),
            numbers: Vec::new(),
        };
        for range in joined.iter() {
            pages.add(&range);
        }
        Width::close(&mut pages.blocks);
        Pages {
            entries: pages.entries.into(),
            blocks: pages.blocks.into(),
            width,
        }
    }

    #[inline]
    pub(super) fn find(&self, cell: u32) -> Found {
        let entry = self.entries[(cell >> PAGE_BITS) as usize];
        if entry & IS_WHOLE != 0 {
            return Found {
                number: entry & !(u32::MAX << NUMBER_BITS),
                scope: (entry >> NUMBER_BITS & 0x1f) as u8,
            };
        }
        let at = entry as usize;
        let count = usize::from(self.blocks[at]);
        let starts = &self.blocks[at + 1..][..count];
        let within = cell as u8;
        // At most 255.
        let reached: u8 = starts.iter().map(|it| u8::from(*it <= within)).sum();
        let reached = usize::from(reached);
        // What bounds the range outside of the page shares fewer bits with the cell.
        let below = reached
            .checked_sub(1)
            .map_or(0, |it| (within ^ (starts[it] - 1)).leading_zeros() + 1);
        let above = starts
            .get(reached)
            .map_or(0, |it| (within ^ it).leading_zeros() + 1);
        Found {
            number: self.width.read(&self.blocks, at + 1 + count, reached),
            scope: (u32::from(Family::V4.cell_bits()) - PAGE_BITS + below.max(above)) as u8,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * size_of::<u32>() + self.blocks.len()
    }
}

/// The pages that are finished, and the one that is not.
struct Building {
    width: Width,
    entries: Vec<u32>,
    blocks: Vec<u8>,
    starts: Vec<u8>,
    numbers: Vec<u32>,
}

impl Building {
    /// The next range.
    fn add(&mut self, range: &Joint) {
        let Joint { cells, number } = range;
        let mut at = cells.start;
        while at < cells.end {
            let within = at as u8;
            let page_end = (at | 0xff) + 1;
            if within == 0 && page_end <= cells.end {
                let scope = scope(Family::V4, at, cells.clone());
                self.entries
                    .push(IS_WHOLE | u32::from(scope) << NUMBER_BITS | number);
            } else {
                if within > 0 {
                    self.starts.push(within);
                }
                self.numbers.push(*number);
                if page_end <= cells.end {
                    self.close();
                }
            }
            at = page_end.min(cells.end);
        }
    }

    /// The page is whole.
    fn close(&mut self) {
        self.entries.push(self.blocks.len() as u32);
        self.blocks.push(self.starts.len() as u8);
        self.blocks.append(&mut self.starts);
        for number in self.numbers.drain(..) {
            self.width.push(&mut self.blocks, number);
        }
    }
}
