//! Weighted lots: each place is drawn as often as its weight says.

use super::{WHOLE, mixed};

/// Draws that may meet a place which is not to be picked before all of them are looked at.
const DRAWS: usize = 8;

/// Random numbers that are cheap and can be begun anywhere: SplitMix64. Nobody who guesses them
/// gains more than to know which backend serves him.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dice(u64);

/// See the module.
#[derive(Debug)]
pub(crate) struct Lots {
    /// The weights of each place and all before it.
    ends: Box<[u64]>,
}

impl Dice {
    /// The numbers that begin with `seed`.
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// Any number below `end`, each as likely as the others but for one part in 2^64 / `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}

impl Lots {
    /// Lots for places of these weights.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Lots {
        let mut end = 0;
        let ends = weights.into_iter().map(|weight| {
            end += u64::from(weight.max(1));
            end
        });
        Lots {
            ends: ends.collect(),
        }
    }

    /// A place, as likely as its weight times its `share` says; `None` when all shares are 0.
    ///
    /// What is drawn and may not be picked is drawn again, so that the same numbers give the same
    /// place as long as that may be picked, whatever becomes of the others.
    pub(crate) fn draw(&self, dice: &mut Dice, share: impl Fn(usize) -> u32) -> Option<usize> {
        let whole = *self.ends.last()?;
        for _ in 0..DRAWS {
            let lot = dice.below(whole);
            let place = self.ends.partition_point(|&end| end <= lot);
            if dice.below(u64::from(WHOLE)) < u64::from(share(place)) {
                return Some(place);
            }
        }
        let part = |place| self.weight(place) * u64::from(share(place));
        let whole: u64 = (0..self.ends.len()).map(part).sum();
        // Shares may change while they are looked at: what is left over is the last one's.
        let mut lot = dice.below(whole);
        let mut last = None;
        for place in (0..self.ends.len()).filter(|_| whole > 0) {
            let part = part(place);
            if part > 0 {
                last = Some(place);
                match lot.checked_sub(part) {
                    Some(rest) => lot = rest,
                    None => break,
                }
            }
        }
        last
    }

    /// The less loaded of two places, each drawn as above: by load for each part of the weight.
    /// Where both are as loaded, the first, so that idle backends are picked by weight alone.
    pub(crate) fn draw_less_loaded(
        &self,
        dice: &mut Dice,
        share: impl Fn(usize) -> u32,
        load: impl Fn(usize) -> u64,
    ) -> Option<usize> {
        let one = self.draw(dice, &share)?;
        let not_that = |place| if place == one { 0 } else { share(place) };
        let Some(other) = self.draw(dice, not_that) else {
            return Some(one);
        };
        let room = |place| u128::from(self.weight(place)) * u128::from(share(place).max(1));
        let load = |place, room_of_other| u128::from(load(place)).saturating_mul(room_of_other);
        let other_is_less = load(other, room(one)) < load(one, room(other));
        Some(if other_is_less { other } else { one })
    }

    fn weight(&self, place: usize) -> u64 {
        let before = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends[place] - before
    }
}
