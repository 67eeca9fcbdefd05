//! How a backend of a tier is picked: by turns, by lot, by load or by a hash.
//!
//! Every algorithm is asked in the same way: which places of the tier may be picked, and to what
//! part of their weight ([`WHOLE`] is all of it, 0 that they may not). What it needs besides, the
//! load of a place or the key of a request, it asks for when it needs it.
//!
//! What turns and lots a worker has are its own; loads are those of the whole host
//! ([`crate::backend_state::Load`]), and hashes are the same on all workers of all hosts.

mod lots;
mod rendezvous;
mod rotation;

use lots::{Dice, Lots};
use meridian_model::snapshot::{Algorithm, Backend, HashInput};
use rendezvous::Rendezvous;
use rotation::Rotation;
use std::cell::{Cell, RefCell};

/// A place that may be picked as often as its weight says.
pub(crate) const WHOLE: u32 = 1 << 16;

/// See the module.
#[derive(Debug)]
pub(crate) enum Balance {
    /// In turn.
    Turns(RefCell<Rotation>),
    /// At random.
    Random(Lots, Cell<Dice>),
    /// The less loaded of two at random.
    LeastLoaded(Lots, Cell<Dice>),
    /// At random, but the same lot for the same key.
    Hash(Lots, HashInput),
    /// The same for the same key, whatever becomes of the other places.
    ConsistentHash(Rendezvous, HashInput),
}

impl Balance {
    /// The algorithm over these backends. Workers begin their turns each with another one, and
    /// their lots with another `seed`.
    pub(crate) fn new(
        algorithm: Algorithm,
        backends: &[Backend],
        worker: usize,
        seed: u64,
    ) -> Balance {
        let weights = || backends.iter().map(|backend| backend.weight);
        let dice = || Cell::new(Dice::new(seed));
        match algorithm {
            Algorithm::RoundRobin => Balance::Turns(RefCell::new(Rotation::new(weights(), worker))),
            Algorithm::Random => Balance::Random(Lots::new(weights()), dice()),
            Algorithm::LeastConnections | Algorithm::PeakEwma => {
                Balance::LeastLoaded(Lots::new(weights()), dice())
            }
            Algorithm::Hash(input) => Balance::Hash(Lots::new(weights()), input),
            Algorithm::ConsistentHash(input) => {
                Balance::ConsistentHash(Rendezvous::new(backends), input)
            }
        }
    }

    /// The place that is picked; `None` when none may be.
    pub(crate) fn pick(
        &self,
        share: impl Fn(usize) -> u32,
        load: impl Fn(usize) -> u64,
        key: impl FnOnce(HashInput) -> u64,
    ) -> Option<usize> {
        match self {
            Balance::Turns(rotation) => rotation.borrow_mut().next(share),
            Balance::Random(lots, dice) => with(dice, |dice| lots.draw(dice, share)),
            Balance::LeastLoaded(lots, dice) => {
                with(dice, |dice| lots.draw_less_loaded(dice, share, load))
            }
            Balance::Hash(lots, input) => lots.draw(&mut Dice::new(key(*input)), share),
            Balance::ConsistentHash(rendezvous, input) => rendezvous.pick(key(*input), share),
        }
    }
}

fn with<T>(dice: &Cell<Dice>, draw: impl FnOnce(&mut Dice) -> T) -> T {
    let mut taken = dice.get();
    let drawn = draw(&mut taken);
    dice.set(taken);
    drawn
}

/// A hash that is the same on every host and in every version: FNV-1a of 64 bits, its bits mixed
/// once more, for the last byte of a key touches only some of them.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mixed(hash)
}

/// One to one, with every bit of the outcome hanging on all of `number`: the last step of
/// SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut mixed = number;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
mod tests;
