//! Weighted round robin: the next backend of a tier, in time proportional to the logarithm of
//! their number.
//!
//! Earliest deadline first: each backend is due again one period (the inverse of its weight)
//! after it was picked, so that picks of different backends interleave instead of coming in
//! runs. Every worker keeps its own rotation and starts it at another place, so that workers do
//! not all begin with the same backend.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The period of a backend of weight one.
const PERIOD: u64 = 1 << 32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rotation {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    weights: Box<[u32]>,
}

impl Rotation {
    /// A rotation over backends 0, 1, … with these weights (at least 1 each), begun `offset`
    /// picks from the start.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>, offset: usize) -> Rotation {
        let weights: Box<[u32]> = weights.into_iter().map(|weight| weight.max(1)).collect();
        let due = weights
            .iter()
            .enumerate()
            .map(|(index, &weight)| Reverse((PERIOD / u64::from(weight), index as u32)))
            .collect();
        let mut rotation = Rotation { due, weights };
        for _ in 0..offset % rotation.weights.len().max(1) {
            rotation.next();
        }
        rotation
    }

    /// The backend whose turn it is; `None` when there are none.
    pub(crate) fn next(&mut self) -> Option<usize> {
        let mut front = self.due.peek_mut()?;
        let Reverse((due, index)) = *front;
        *front = Reverse((
            due + PERIOD / u64::from(self.weights[index as usize]),
            index,
        ));
        drop(front);
        if due > u64::MAX / 2 {
            self.rebase(due);
        }
        Some(index as usize)
    }

    fn rebase(&mut self, now: u64) {
        self.due = self
            .due
            .drain()
            .map(|Reverse((due, index))| Reverse((due.saturating_sub(now), index)))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn picks_interleave() {
        let mut rotation = Rotation::new([3, 1], 0);
        let picks: Vec<usize> = (0..8).filter_map(|_| rotation.next()).collect();
        assert_eq!(picks.iter().filter(|&&pick| pick == 0).count(), 6);
        assert!(!picks.windows(2).any(|two| two == [1, 1]));
    }

    #[test]
    fn nobody_to_pick() {
        assert_eq!(Rotation::new([], 3).next(), None);
    }

    proptest! {
        #[test]
        fn shares_follow_weights(
            weights in proptest::collection::vec(1u32..100, 1..20),
            offset in 0usize..50,
        ) {
            let whole: u32 = weights.iter().sum();
            let mut rotation = Rotation::new(weights.iter().copied(), offset);
            let mut picked = vec![0u32; weights.len()];
            let rounds = 20;
            for _ in 0..whole * rounds {
                picked[rotation.next().expect("there are backends")] += 1;
            }
            for (index, &weight) in weights.iter().enumerate() {
                let wanted = weight * rounds;
                prop_assert!(picked[index].abs_diff(wanted) <= 2 + weight, "{picked:?} for {weights:?}");
            }
        }
    }
}
