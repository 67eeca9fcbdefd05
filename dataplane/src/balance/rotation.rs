//! Weighted round robin: the next backend of a tier, in time proportional to the logarithm of
//! their number.
//!
//! Earliest deadline first: each backend is due again one period (the inverse of its weight)
//! after it was picked, so that picks of different backends interleave instead of coming in
//! runs. Every worker keeps its own rotation and starts it at another place, so that workers do
//! not all begin with the same backend.
//!
//! One that may not be picked when it is due stands aside, with its turn. It is asked again with
//! the next picks, and has that turn as soon as it may: what it missed is not made up for, and
//! what its weight says it has at once, whatever that is. Only picks are time: a look that finds
//! nobody leaves everybody's turn where it was.

use super::WHOLE;
use super::lots::Dice;
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, VecDeque};

/// The period of a backend of weight one.
const PERIOD: u64 = 1 << 32;

/// Turns that backends with a part of their weight leave to others before the next one takes its.
const TURNS_LEFT_MAX: usize = 4;

/// Of those that stand aside, how many are asked for each pick.
const ASKED_PER_PICK: usize = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rotation {
    due: BinaryHeap<Reverse<(u64, u32)>>,
    /// Those whose turn it was when they might not be picked, the next to be asked first.
    aside: VecDeque<(u64, u32)>,
    /// When the last turn that was taken was due.
    now: u64,
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
            aside: VecDeque::new(),
            now: 0,
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
    /// leaves its share to the others by their weights. One that may be again is seen before each
    /// of those that stand aside with it was asked, so after half as many picks at most.
    pub(crate) fn next(&mut self, share: impl Fn(usize) -> u32) -> Option<usize> {
        self.ask_aside(ASKED_PER_PICK, &share);
        let mut left = 0;
        loop {
            let Some(mut front) = self.due.peek_mut() else {
                // There may be none at all, which takes one look at each to know.
                self.ask_aside(self.aside.len(), &share);
                if self.due.is_empty() {
                    return None;
                }
                continue;
            };
            let Reverse((due, index)) = *front;
            let place = index as usize;
            let share_of_place = share(place);
            if share_of_place == 0 {
                PeekMut::pop(front);
                self.aside.push_back((due, index));
                continue;
            }
            self.now = due;
            *front = Reverse((due + PERIOD / u64::from(self.weights[place]), index));
            drop(front);
            if due > u64::MAX / 2 {
                self.rebase();
            }
            // Where nobody has more than a part of his weight, it is a whole one.
            if share_of_place >= WHOLE
                || left > TURNS_LEFT_MAX
                || self.dice.below(u64::from(WHOLE)) < u64::from(share_of_place)
            {
                return Some(place);
            }
            left += 1;
        }
    }

    /// Asks so many of those that stand aside: who may be picked has the turn that it missed.
    fn ask_aside(&mut self, count: usize, share: impl Fn(usize) -> u32) {
        for _ in 0..count.min(self.aside.len()) {
            let Some((due, index)) = self.aside.pop_front() else {
                return;
            };
            if share(index as usize) > 0 {
                self.due.push(Reverse((due.max(self.now), index)));
            } else {
                self.aside.push_back((due, index));
            }
        }
    }

    fn rebase(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.due = self
            .due
            .drain()
            .map(|Reverse((due, index))| Reverse((due.saturating_sub(now), index)))
            .collect();
        for (due, _) in &mut self.aside {
            *due = due.saturating_sub(now);
        }
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
    fn one_that_is_usable_again_has_its_share_at_once() {
        for (weights, passed) in [
            (vec![100; 10], 1),
            (vec![65_535; 10], 1000),
            (vec![100, 100], 1),
            (vec![65_535, 1, 1], 1000),
        ] {
            let whole: u32 = weights.iter().sum();
            let rounds = weights.len() * 20;
            let wanted = rounds as f64 * f64::from(weights[0]) / f64::from(whole);
            let mut rotation = Rotation::new(weights.iter().copied(), 0);
            for _ in 0..passed {
                assert_ne!(rotation.next(only(|it| it != 0)), Some(0));
            }
            let picks = (0..rounds).filter(|_| rotation.next(|_| WHOLE) == Some(0));
            let picks = picks.count() as f64;
            assert!((picks - wanted).abs() <= 2.0, "{picks} of {weights:?}");
        }
    }

    #[test]
    fn many_that_are_usable_again_have_their_shares_within_a_round() {
        let backends = 1000;
        let mut rotation = Rotation::new(vec![60_000; backends], 0);
        for _ in 0..backends {
            assert_eq!(rotation.next(only(|it| it == 7)), Some(7));
        }
        let mut picked = vec![0; backends];
        (0..2 * backends).for_each(|_| picked[rotation.next(|_| WHOLE).expect("all are")] += 1);
        assert!(picked.iter().all(|&it| (1..=3).contains(&it)), "{picked:?}");
    }

    /// All are full now and then, or all were tried.
    #[test]
    fn looks_that_find_nobody_leave_shares_as_they_are() {
        for (weights, every) in [
            (vec![100, 1], 20),
            (vec![100, 1], 5),
            (vec![1; 10], 5),
            (vec![1; 10], 7),
        ] {
            let whole: u32 = weights.iter().sum();
            let rounds = 20 * whole;
            let mut rotation = Rotation::new(weights.iter().copied(), 0);
            let mut picked = vec![0; weights.len()];
            for at in 0..rounds {
                if at % every == 0 {
                    assert_eq!(rotation.next(|_| 0), None);
                }
                picked[rotation.next(|_| WHOLE).expect("all are")] += 1;
            }
            for (picked, weight) in picked.iter().zip(&weights) {
                let wanted = i64::from(rounds / whole * weight);
                assert!(
                    (i64::from(*picked) - wanted).abs() <= 1,
                    "{weights:?}, {every}: {picked}"
                );
            }
        }
    }

    /// What is full each time but one that it is looked at has less than its share, and not much.
    #[test]
    fn one_that_is_often_full_is_picked_when_it_has_room() {
        let mut rotation = Rotation::new([100, 100], 0);
        let picks =
            (0..1000).filter(|at| rotation.next(only(|it| it != 0 || at % 4 == 0)) == Some(0));
        assert_eq!(picks.count(), 250);
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
