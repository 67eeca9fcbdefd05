//! Prefixes laid over ranges: of those that a cell is in, the longest decides.

use ipnet::IpNet;

use super::cells::{Family, Prefix};

/// A prefix with the number of its cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlay {
    first: u64,
    end: u64,
    number: u32,
}

/// The overlays of one family, the one that decides behind what it decides over. Of equal
/// prefixes the one that comes later decides. Longer than a cell counts as that cell.
pub(super) fn of_family(
    family: Family,
    prefixes: impl Iterator<Item = (IpNet, u32)>,
) -> Vec<Overlay> {
    let mut overlays: Vec<Overlay> = prefixes
        .map(|(network, number)| (Prefix::of(network), number))
        .filter(|(prefix, _)| prefix.family == family)
        .map(|(prefix, number)| Overlay {
            first: prefix.cell,
            end: prefix.end(),
            number,
        })
        .collect();
    overlays.sort_by(|one, other| {
        let by_first = one.first.cmp(&other.first);
        by_first.then(other.end.cmp(&one.end))
    });
    overlays
}

/// `ranges` (first cell and number, from cell 0 on) with the overlays on them, in the same form.
pub(super) fn lay(
    family: Family,
    overlays: &[Overlay],
    ranges: impl Iterator<Item = (u64, u32)>,
) -> Vec<(u64, u32)> {
    let segments = segments(overlays);
    let mut out: Vec<(u64, u32)> = Vec::with_capacity(ranges.size_hint().0 + segments.len());
    let mut segments = segments.into_iter().peekable();
    // Up to where overlays have covered what is below.
    let mut covered = 0;
    let mut ranges = ranges.peekable();
    while let Some((first, number)) = ranges.next() {
        let end = ranges.peek().map_or(family.cells(), |(next, _)| *next);
        let mut at = first.max(covered);
        while let Some(&(from, to, above)) = segments.peek()
            && from < end
        {
            if from > at {
                out.push((at, number));
            }
            out.push((from, above));
            at = to;
            covered = to;
            segments.next();
        }
        if at < end {
            out.push((at, number));
        }
    }
    out
}

/// Prefixes are within each other or apart: those that the cells of a stretch are in are a stack.
fn segments(overlays: &[Overlay]) -> Vec<(u64, u64, u32)> {
    let mut segments = Vec::new();
    let mut open: Vec<Overlay> = Vec::new();
    let mut at = 0;
    let mut emit = |from: u64, to: u64, number: u32| {
        if from < to {
            segments.push((from, to, number));
        }
    };
    for overlay in overlays {
        while let Some(inner) = open.pop_if(|inner| inner.end <= overlay.first) {
            emit(at.max(inner.first), inner.end, inner.number);
            at = at.max(inner.end);
        }
        if let Some(outer) = open.last() {
            emit(at.max(outer.first), overlay.first, outer.number);
        }
        at = at.max(overlay.first);
        open.push(*overlay);
    }
    while let Some(inner) = open.pop() {
        emit(at.max(inner.first), inner.end, inner.number);
        at = at.max(inner.end);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(prefixes: &[(&str, u32)], ranges: &[(u64, u32)]) -> Vec<(u64, u32)> {
        let prefixes = prefixes
            .iter()
            .map(|(it, number)| (it.parse().unwrap(), *number));
        lay(
            Family::V4,
            &of_family(Family::V4, prefixes),
            ranges.iter().copied(),
        )
    }

    /// What stands at a cell.
    fn at(ranges: &[(u64, u32)], cell: u64) -> u32 {
        let behind = ranges.partition_point(|(first, _)| *first <= cell);
        ranges[behind - 1].1
    }

    #[test]
    fn the_longest_prefix_decides_and_of_equal_ones_the_later() {
        let base = [(0, 1), (0x0a_8000, 2), (0x20_0000, 3)];
        let prefixes = [
            ("10.0.0.0/8", 10),
            ("10.64.0.0/16", 11),
            ("10.64.7.0/24", 12),
            ("10.64.0.0/16", 13),
            ("31.0.0.0/8", 14),
            ("255.255.255.0/24", 15),
            ("2001:db8::/32", 16),
        ];
        let laid = laid(&prefixes, &base);
        assert_eq!(laid[0], (0, 1));
        assert!(laid.is_sorted_by_key(|(first, _)| *first));
        for (cell, number) in [
            (0x09_ffff, 1),
            (0x0a_0000, 10),
            (0x0a_4000, 13),
            (0x0a_4007, 12),
            (0x0a_4008, 13),
            (0x0a_4100, 10),
            (0x0a_ffff, 10),
            (0x0b_0000, 2),
            (0x1f_0000, 14),
            (0x20_0000, 3),
            (0xff_fffe, 3),
            (0xff_ffff, 15),
        ] {
            assert_eq!(at(&laid, cell), number, "{cell:x}");
        }
    }

    #[test]
    fn one_that_covers_everything_leaves_nothing_of_what_is_below() {
        let laid = laid(
            &[("0.0.0.0/0", 9), ("0.0.0.0/8", 8)],
            &[(0, 1), (5, 2), (7, 3)],
        );
        assert_eq!(laid, [(0, 8), (0x01_0000, 9)]);
        assert_eq!(
            lay(Family::V4, &[], [(0, 1), (5, 2)].into_iter()),
            [(0, 1), (5, 2)]
        );
    }
}
