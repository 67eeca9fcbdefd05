//! Consistent hashing by rendezvous (highest random weight): each key ranks all backends, and goes
//! to the first in its ranking that may be picked.
//!
//! A backend's rank hangs on the key and the backend alone: what is added takes exactly the keys
//! that rank it first, and the keys of what goes, or may not be picked, go to the next in their
//! own rankings. Shares are exactly as the weights say (Mosharaf, "Weighted distributed hash
//! tables", 2005: the score is -w / ln(u)), and a changed weight moves keys to or from that
//! backend only. A ring of points, which others use, needs some hundred points for each backend
//! to come near that, for each pool and worker, and moves keys of others where their number is
//! bounded. What it would be better at is large pools: here each pick looks at every backend.

use super::{WHOLE, mixed, stable_hash};
use meridian_model::snapshot::Backend;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    places: Box<[Place]>,
    /// All weights are the same.
    even: bool,
}

#[derive(Debug)]
struct Place {
    identity: u64,
    weight: u32,
}

impl Rendezvous {
    /// Over these backends. One is the same as long as its name and its address are.
    pub(crate) fn new(backends: &[Backend]) -> Rendezvous {
        let place = |backend: &Backend| Place {
            identity: stable_hash(format!("{} {}", backend.name(), backend.address()).as_bytes()),
            weight: backend.weight,
        };
        let even = backends
            .windows(2)
            .all(|two| two[0].weight == two[1].weight);
        Rendezvous {
            places: backends.iter().map(place).collect(),
            even,
        }
    }

    /// The place of a key.
    pub(crate) fn pick(&self, key: u64, share: impl Fn(usize) -> u32) -> Option<usize> {
        let mut best: Option<((bool, f64), usize)> = None;
        for (index, place) in self.places.iter().enumerate() {
            let share = share(index);
            if share == 0 {
                continue;
            }
            let drawn = mixed(key ^ place.identity);
            // A backend that has a part of its weight has the same keys as with all of it, less
            // some: of the keys that rank it first, the others go to their second.
            let takes = share >= WHOLE || mixed(drawn) as u32 % WHOLE < share;
            // 53 bits are what the mantissa has; never 0 nor 1.
            let even = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            let score = match self.even {
                true => even,
                false => even.ln() / f64::from(place.weight),
            };
            let rank = (takes, score);
            if best.is_none_or(|(other, _)| other < rank) {
                best = Some((rank, index));
            }
        }
        best.map(|(_, index)| index)
    }
}
