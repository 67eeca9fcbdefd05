//! Names that wait to be looked up: the tenants that use them take turns, so that nobody waits
//! behind all names of another.
//!
//! A name that several tenants use waits at each of them and leaves all when it is taken: a
//! tenant that is served late makes nobody's name late by using it, too.

use meridian_model::snapshot::TenantId;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Each tenant that has a queue, in the order of their turns.
    order: VecDeque<TenantId>,
    /// By tenant; a queue that others emptied stays until its tenant's turn.
    queues: HashMap<TenantId, BTreeSet<Place>>,
    /// By the number of the name.
    waiting: HashMap<u64, Waiting>,
    next_arrival: u64,
}

/// What is known of a name that waits. Of a tenant's names the first in this order come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It had an answer before: somebody relies on it.
    Known,
    /// It had none yet.
    New,
    /// Name servers were silent.
    Slow,
}

/// Where a name stands in the queue of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    standing: Standing,
    arrival: u64,
    number: u64,
}

#[derive(Debug)]
struct Waiting {
    place: Place,
    tenants: Vec<TenantId>,
}

/// A name whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// The name's number.
    pub(super) number: u64,
    /// What is known of it.
    pub(super) standing: Standing,
    /// Whose turn it is.
    pub(super) tenant: TenantId,
}

impl Turns {
    /// Has a name wait for `tenants`. One that waits keeps its place and what was known of it.
    pub(super) fn add(
        &mut self,
        number: u64,
        standing: Standing,
        tenants: impl IntoIterator<Item = TenantId>,
    ) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        let waiting = self.waiting.entry(number).or_insert_with(|| Waiting {
            place: Place {
                standing,
                arrival,
                number,
            },
            tenants: Vec::new(),
        });
        for tenant in tenants {
            let queue = self.queues.entry(tenant).or_insert_with(|| {
                self.order.push_back(tenant);
                BTreeSet::new()
            });
            if queue.insert(waiting.place) {
                waiting.tenants.push(tenant);
            }
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the name with this number waits.
    pub(super) fn has(&self, number: u64) -> bool {
        self.waiting.contains_key(&number)
    }

    /// The tenants for which the name with this number waits.
    #[cfg(test)]
    fn tenants_of(&self, number: u64) -> usize {
        self.waiting.get(&number).map_or(0, |it| it.tenants.len())
    }

    /// Takes the name whose turn it is, of the first tenant whose first name may have it.
    pub(super) fn take(
        &mut self,
        mut may_have_turn: impl FnMut(TenantId, Standing) -> bool,
    ) -> Option<Turn> {
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            let Some(&place) = self.queues.get(&tenant).and_then(BTreeSet::first) else {
                self.queues.remove(&tenant);
                continue;
            };
            self.order.push_back(tenant);
            if may_have_turn(tenant, place.standing) {
                self.remove(place.number);
                return Some(Turn {
                    number: place.number,
                    standing: place.standing,
                    tenant,
                });
            }
        }
        None
    }

    fn remove(&mut self, number: u64) {
        let Some(Waiting { place, tenants }) = self.waiting.remove(&number) else {
            return;
        };
        for tenant in tenants {
            if let Some(queue) = self.queues.get_mut(&tenant) {
                queue.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(1);
    const B: TenantId = TenantId(2);
    const C: TenantId = TenantId(3);

    fn take_all(turns: &mut Turns) -> Vec<u64> {
        let taken: Vec<u64> = std::iter::from_fn(|| turns.take(|_, _| true))
            .map(|turn| turn.number)
            .collect();
        assert!(turns.is_empty());
        assert!(turns.queues.is_empty() && turns.order.is_empty());
        taken
    }

    #[test]
    fn tenants_take_turns() {
        let mut turns = Turns::default();
        for number in 0..5 {
            turns.add(number, Standing::New, [A]);
        }
        turns.add(10, Standing::New, [B]);
        turns.add(11, Standing::New, [B]);
        turns.add(20, Standing::New, [C]);
        assert_eq!(take_all(&mut turns), [0, 10, 20, 1, 11, 2, 3, 4]);
    }

    #[test]
    fn what_answered_before_comes_first_and_what_is_slow_last() {
        let mut turns = Turns::default();
        turns.add(1, Standing::Slow, [A]);
        turns.add(2, Standing::New, [A]);
        turns.add(3, Standing::Known, [A]);
        turns.add(4, Standing::Known, [A]);
        assert_eq!(take_all(&mut turns), [3, 4, 2, 1]);
    }

    #[test]
    fn a_shared_name_has_one_turn_with_whoever_comes_first() {
        let mut turns = Turns::default();
        for number in 0..3 {
            turns.add(number, Standing::New, [A]);
        }
        turns.add(3, Standing::New, [A]);
        turns.add(3, Standing::Slow, [B]);
        turns.add(3, Standing::New, [A, B]);
        assert_eq!(turns.tenants_of(3), 2);
        assert_eq!(take_all(&mut turns), [0, 3, 1, 2]);
    }

    #[test]
    fn who_may_not_have_a_turn_keeps_nobody_waiting() {
        let mut turns = Turns::default();
        turns.add(1, Standing::New, [A]);
        turns.add(2, Standing::Slow, [B]);
        turns.add(3, Standing::New, [C]);
        let is_c = |tenant, _| tenant == C;
        assert_eq!(turns.take(is_c).map(|turn| turn.number), Some(3));
        assert_eq!(turns.take(is_c), None);
        assert!(turns.has(1) && turns.has(2) && !turns.has(3));
        let is_fast = |_, standing| standing != Standing::Slow;
        assert_eq!(turns.take(is_fast).map(|turn| turn.number), Some(1));
        assert_eq!(turns.take(is_fast), None);
        assert_eq!(take_all(&mut turns), [2]);
    }
}
