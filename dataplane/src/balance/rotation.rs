//! Weighted round robin: the next backend of a tier, in time proportional to the logarithm of
//! their number.
//!
//! Earliest deadline first: each backend is due again one period (the inverse of its weight)
//! after it was picked, so that picks of different backends interleave instead of coming in
//! runs. Every worker keeps its own rotation and starts it at another place, so that workers do
//! not all begin with the same backend.

use super::WHOLE;
use super::lots::Dice;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The period of a backend of weight one.
const PERIOD: u64 = 1 << 32;

/// Backends that are passed over before it is looked whether any is usable.
const PASSED_BEFORE_LOOK: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rotation {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    weights: Box<[u32]>,
    /// For places that may be picked only sometimes.
    dice: Dice,
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
        let mut rotation = Rotation {
            due,
            weights,
            dice: Dice::new(offset as u64),
        };
        for _ in 0..offset % rotation.weights.len().max(1) {
            rotation.next(|_| WHOLE);
        }
        rotation
    }

    /// The backend whose turn it is among those whose `share` is not 0; `None` when there is none.
    ///
    /// One that has a part of its weight takes so many of its turns. What may not be picked at all
    /// has its next turn as if its weight were one: its share goes to the others by their weights,
    /// and it is soon seen when it may be picked again.
    pub(crate) fn next(&mut self, share: impl Fn(usize) -> u32) -> Option<usize> {
        for passed in 0.. {
            let mut front = self.due.peek_mut()?;
            let Reverse((due, index)) = *front;
            let place = index as usize;
            let share_of_place = share(place);
            let period = match share_of_place {
                0 => PERIOD,
                _ => PERIOD / u64::from(self.weights[place]),
            };
            *front = Reverse((due + period, index));
            drop(front);
            if due > u64::MAX / 2 {
                self.rebase(due);
            }
            // Where nobody has more than a part of his weight, it is a whole one.
            let takes = |dice: &mut Dice| {
                passed > PASSED_BEFORE_LOOK
                    || dice.below(u64::from(WHOLE)) < u64::from(share_of_place)
            };
            if share_of_place >= WHOLE || share_of_place > 0 && takes(&mut self.dice) {
                return Some(place);
            }
            // There may be no other at all, which takes one look at each to know.
            if passed == PASSED_BEFORE_LOOK && !(0..self.weights.len()).any(|it| share(it) > 0) {
                break;
            }
        }
        None
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

    fn only(usable: impl Fn(usize) -> bool) -> impl Fn(usize) -> u32 {
        move |place| if usable(place) { WHOLE } else { 0 }
    }

    #[test]
    fn picks_interleave() {
        let mut rotation = Rotation::new([3, 1], 0);
        let picks: Vec<usize> = (0..8).filter_map(|_| rotation.next(|_| WHOLE)).collect();
        assert_eq!(picks.iter().filter(|&&pick| pick == 0).count(), 6);
        assert!(!picks.windows(2).any(|two| two == [1, 1]));
    }

    #[test]
    fn nobody_to_pick() {
        assert_eq!(Rotation::new([], 3).next(|_| WHOLE), None);
    }

    #[test]
    fn nobody_is_usable() {
        for backends in [1, 3, 1000] {
            let mut rotation = Rotation::new((1..=backends).map(|it| it * 60), 7);
            assert_eq!(rotation.next(|_| 0), None);
            // And one comes back.
            assert_eq!(rotation.next(only(|it| it == 0)), Some(0));
        }
    }

    #[test]
    fn one_that_is_usable_again_is_soon_seen() {
        let mut rotation = Rotation::new([60_000, 1, 1], 0);
        for _ in 0..1000 {
            assert_ne!(rotation.next(only(|it| it != 0)), Some(0));
        }
        let seen = (0..4).position(|_| rotation.next(|_| WHOLE) == Some(0));
        assert!(seen.is_some());
    }

    #[test]
    fn one_that_has_a_part_of_its_weight_takes_a_part_of_its_turns() {
        let mut rotation = Rotation::new([1, 1], 0);
        let share = |place| if place == 0 { WHOLE / 4 } else { WHOLE };
        let picks = (0..10_000).filter(|_| rotation.next(share) == Some(0));
        // One turn in five: a quarter against a whole.
        let picks = picks.count();
        assert!((1850..2150).contains(&picks), "{picks}");
        // Alone it takes all of them.
        let share = |place| if place == 0 { 1 } else { 0 };
        assert!((0..100).all(|_| rotation.next(share) == Some(0)));
    }

    proptest! {
        #[test]
        fn the_shares_of_others_go_by_weight(
            backends in proptest::collection::vec((1u32..100, proptest::bool::ANY), 1..20),
        ) {
            let usable = |it: usize| backends[it].1;
            let weight = |it: usize| if usable(it) { backends[it].0 } else { 0 };
            let whole: u32 = (0..backends.len()).map(weight).sum();
            let mut rotation = Rotation::new(backends.iter().map(|&(weight, _)| weight), 3);
            let mut picked = vec![0u32; backends.len()];
            let rounds = 20;
            for _ in 0..whole * rounds {
                picked[rotation.next(only(usable)).expect("one is usable")] += 1;
            }
            for (index, &picked) in picked.iter().enumerate() {
                let (wanted, slack) = (weight(index) * rounds, 2 + 2 * weight(index));
                prop_assert!(picked.abs_diff(wanted) <= slack, "{picked} for {index} of {backends:?}");
            }
        }

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
                picked[rotation.next(|_| WHOLE).expect("there are backends")] += 1;
            }
            for (index, &weight) in weights.iter().enumerate() {
                let wanted = weight * rounds;
                prop_assert!(picked[index].abs_diff(wanted) <= 2 + weight, "{picked:?} for {weights:?}");
            }
        }
    }
}
