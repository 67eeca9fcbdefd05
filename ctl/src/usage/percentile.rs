//! The 95th percentile of many numbers of which most may be 0, in little memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The percentile that is billed.
const PERCENT: u128 = 95;

/// The 95th percentile by nearest rank of `count` numbers: the smallest of them that at least
/// 95 % are not above. Only the greatest numbers are kept, as many as stand at or above it.
#[derive(Clone, Debug)]
pub(crate) struct Percentile95 {
    greatest: BinaryHeap<Reverse<u64>>,
    kept_max: usize,
}

impl Percentile95 {
    /// Of `count` numbers; those that are never added are 0.
    pub(crate) fn new(count: u64) -> Percentile95 {
        let rank = (u128::from(count) * PERCENT).div_ceil(100);
        let at_or_above = u128::from(count) - rank + 1;
        Percentile95 {
            greatest: BinaryHeap::new(),
            kept_max: usize::try_from(at_or_above).unwrap_or(usize::MAX),
        }
    }

    /// Adds one of them.
    pub(crate) fn add(&mut self, number: u64) {
        if self.greatest.len() < self.kept_max {
            self.greatest.push(Reverse(number));
        } else if self.greatest.peek().is_some_and(|least| number > least.0) {
            self.greatest.pop();
            self.greatest.push(Reverse(number));
        }
    }

    /// The percentile of what was added, and of zeroes for the rest.
    pub(crate) fn get(&self) -> u64 {
        if self.greatest.len() < self.kept_max {
            return 0;
        }
        self.greatest.peek().map_or(0, |least| least.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(count: u64, numbers: &[u64]) -> u64 {
        let mut percentile = Percentile95::new(count);
        numbers.iter().for_each(|&number| percentile.add(number));
        percentile.get()
    }

    #[test]
    fn empty_slots_count_as_zero() {
        assert_eq!(of(0, &[]), 0);
        assert_eq!(of(1, &[7]), 7);
        assert_eq!(of(12, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), 12);
        assert_eq!(of(20, &[7]), 0, "19 of 20 are 0");
        assert_eq!(of(20, &[7, 9]), 7);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(of(100, &hundred), 95);
        assert_eq!(of(200, &hundred), 90);
    }

    proptest! {
        #[test]
        fn it_is_the_nearest_rank(numbers in proptest::collection::vec(0..50_u64, 0..300), empty in 0..300_usize) {
            let mut all = numbers.clone();
            all.resize(numbers.len() + empty, 0);
            all.sort_unstable();
            let rank = (all.len() * 95).div_ceil(100);
            let wanted = rank.checked_sub(1).map_or(0, |at| all[at]);
            prop_assert_eq!(of(all.len() as u64, &numbers), wanted);
        }
    }
}
