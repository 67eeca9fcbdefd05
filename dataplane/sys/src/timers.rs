//! A timer wheel for very many deadlines that are moved far more often than they fire.
//!
//! A deadline lives with its owner (a socket slot or a task slot). The wheel holds at most a
//! few keys per slot: pushing a deadline back costs a store and no work in the wheel. When a
//! key comes up, its owner's real deadline is looked at; a later one puts the key back.

use crate::limits::{TICK_SHIFT, WHEEL_SLOTS};

/// Who is to be looked at when a key comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Socket(u32),
    Task(u32),
}

impl Owner {
    fn pack(self) -> u32 {
        match self {
            Owner::Socket(index) => index,
            Owner::Task(index) => index | 1 << 31,
        }
    }

    fn unpack(bits: u32) -> Owner {
        if bits >> 31 == 0 {
            Owner::Socket(bits)
        } else {
            Owner::Task(bits & !(1 << 31))
        }
    }
}

/// A deadline and where the wheel knows of it. Zero means none, for both.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadline {
    /// Nanoseconds of the worker's clock.
    pub(crate) at_ns: u64,
    /// Tick of the earliest key that the wheel holds for this owner.
    pub(crate) filed_tick: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    occupied: Vec<u64>,
    /// Every key filed at a tick up to this one has come up.
    done_tick: u64,
    keys: usize,
}

fn tick_of(at_ns: u64) -> u64 {
    // Rounded up, so that a key never comes up before its deadline.
    (at_ns >> TICK_SHIFT) + 1
}

impl Wheel {
    pub(crate) fn new(now_ns: u64) -> Wheel {
        Wheel {
            slots: vec![Vec::new(); WHEEL_SLOTS],
            occupied: vec![0; WHEEL_SLOTS / 64],
            done_tick: now_ns >> TICK_SHIFT,
            keys: 0,
        }
    }

    /// Makes sure that `owner` is looked at no later than one tick after its deadline.
    pub(crate) fn file(&mut self, owner: Owner, deadline: &mut Deadline) {
        if deadline.at_ns == 0 {
            return;
        }
        let wanted = tick_of(deadline.at_ns)
            .clamp(self.done_tick + 1, self.done_tick + WHEEL_SLOTS as u64 - 1);
        if deadline.filed_tick > self.done_tick && deadline.filed_tick <= wanted {
            return;
        }
        deadline.filed_tick = wanted;
        let slot = wanted as usize & (WHEEL_SLOTS - 1);
        self.slots[slot].push(owner.pack());
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.keys += 1;
    }

    /// Takes the next owner whose key has come up by `now_ns`.
    ///
    /// The caller looks at the owner's [`Deadline`] with [`Wheel::due`].
    pub(crate) fn expired(&mut self, now_ns: u64) -> Option<Owner> {
        let now_tick = now_ns >> TICK_SHIFT;
        while self.done_tick < now_tick {
            if self.keys == 0 {
                self.done_tick = now_tick;
                return None;
            }
            let slot = (self.done_tick + 1) as usize & (WHEEL_SLOTS - 1);
            if let Some(bits) = self.slots[slot].pop() {
                self.keys -= 1;
                return Some(Owner::unpack(bits));
            }
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            if self.slots[slot].capacity() > 64 {
                self.slots[slot] = Vec::new();
            }
            self.done_tick += 1;
        }
        None
    }

    /// Whether a deadline whose key came up has passed; a later one is filed again.
    pub(crate) fn due(&mut self, owner: Owner, deadline: &mut Deadline, now_ns: u64) -> bool {
        let current_tick = self.done_tick + 1;
        if deadline.filed_tick > current_tick {
            // A later key stands for this owner: the one that came up was left behind.
            return deadline.at_ns != 0 && deadline.at_ns <= now_ns;
        }
        deadline.filed_tick = 0;
        if deadline.at_ns == 0 {
            return false;
        }
        if deadline.at_ns <= now_ns {
            return true;
        }
        // The slot that is being emptied must not be filed into again.
        let wanted = tick_of(deadline.at_ns)
            .clamp(current_tick + 1, self.done_tick + WHEEL_SLOTS as u64 - 1);
        deadline.filed_tick = wanted;
        let slot = wanted as usize & (WHEEL_SLOTS - 1);
        self.slots[slot].push(owner.pack());
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.keys += 1;
        false
    }

    /// When the wheel wants to be looked at next, in nanoseconds of the worker's clock.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        if self.keys == 0 {
            return None;
        }
        let words = self.occupied.len();
        let first = (self.done_tick + 1) as usize & (WHEEL_SLOTS - 1);
        for step in 0..=words {
            let word = (first / 64 + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= !0 << (first % 64);
            } else if step == words {
                bits &= !(!0 << (first % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let ahead = (slot + WHEEL_SLOTS - first) & (WHEEL_SLOTS - 1);
                return Some((self.done_tick + 1 + ahead as u64) << TICK_SHIFT);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: u64 = 1 << TICK_SHIFT;

    /// Runs the wheel over deadlines that are set and moved, against the plain list of them.
    fn fires_on_time(moves: Vec<(usize, u64)>, steps: Vec<u64>) -> Result<(), TestCaseError> {
        let mut now = TICK;
        let mut wheel = Wheel::new(now);
        let mut deadlines = vec![Deadline::default(); 16];
        let mut moves = moves.into_iter();
        for step in steps {
            for (who, after) in moves.by_ref().take(3) {
                deadlines[who].at_ns = now + after;
                let mut deadline = deadlines[who];
                wheel.file(Owner::Task(who as u32), &mut deadline);
                deadlines[who] = deadline;
            }
            let next = wheel.next_ns();
            if let Some(earliest) = deadlines
                .iter()
                .map(|d| d.at_ns)
                .filter(|&at| at != 0)
                .min()
            {
                let next = next.expect("a deadline is filed");
                prop_assert!(
                    next <= earliest.max(now) + 2 * TICK,
                    "next {next} earliest {earliest}"
                );
            }
            now += step;
            while let Some(owner) = wheel.expired(now) {
                let Owner::Task(who) = owner else {
                    panic!("no socket was filed")
                };
                let deadline = &mut deadlines[who as usize];
                if wheel.due(owner, deadline, now) {
                    prop_assert!(deadline.at_ns <= now);
                    deadline.at_ns = 0;
                }
            }
            for deadline in &deadlines {
                prop_assert!(
                    deadline.at_ns == 0 || deadline.at_ns + 2 * TICK > now,
                    "late: {} at {}",
                    deadline.at_ns,
                    now
                );
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn nothing_fires_early_or_late(
            moves in proptest::collection::vec((0usize..16, 1u64..200_000_000_000), 0..200),
            steps in proptest::collection::vec(1u64..3_000_000_000, 1..80),
        ) {
            fires_on_time(moves, steps)?;
        }

        #[test]
        fn short_deadlines_too(
            moves in proptest::collection::vec((0usize..16, 1u64..100_000_000), 0..200),
            steps in proptest::collection::vec(1u64..30_000_000, 1..200),
        ) {
            fires_on_time(moves, steps)?;
        }
    }

    #[test]
    fn a_deadline_that_moves_back_costs_the_wheel_nothing() {
        let mut wheel = Wheel::new(TICK);
        let mut deadline = Deadline::default();
        for n in 0..100_000 {
            deadline.at_ns = TICK * 100 + n;
            wheel.file(Owner::Socket(7), &mut deadline);
        }
        assert_eq!(wheel.keys, 1);
    }
}
