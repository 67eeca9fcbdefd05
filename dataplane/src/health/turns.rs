//! Checks that are due: tenants take turns, so that whoever has many backends, or many that do not
//! answer, makes nobody else's checks late.

use meridian_model::snapshot::TenantId;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Turns {
    /// Each tenant that has a queue, in the order of their turns.
    order: VecDeque<TenantId>,
    /// With the time since which each waits. None is empty.
    queues: HashMap<TenantId, VecDeque<(u64, Instant)>>,
    /// Checks under way by tenant; none is 0.
    under_way: HashMap<TenantId, usize>,
    all_under_way: usize,
    under_way_max: usize,
}

impl Turns {
    /// For at most so many checks under way at a time.
    pub(super) fn new(under_way_max: usize) -> Turns {
        Turns {
            order: VecDeque::new(),
            queues: HashMap::new(),
            under_way: HashMap::new(),
            all_under_way: 0,
            under_way_max,
        }
    }

    /// Has the check of a target wait for its tenant's turn, from `now` on.
    pub(super) fn add(&mut self, tenant: TenantId, number: u64, now: Instant) {
        let queue = self.queues.entry(tenant).or_insert_with(|| {
            self.order.push_back(tenant);
            VecDeque::new()
        });
        queue.push_back((number, now));
    }

    /// The target whose turn it is, and since when it waits.
    pub(super) fn take(&mut self) -> Option<(u64, Instant)> {
        for _ in 0..self.order.len() {
            let tenant = self.order.pop_front()?;
            if !self.has_room(tenant) {
                self.order.push_back(tenant);
                continue;
            }
            let queue = self.queues.get_mut(&tenant)?;
            let first = queue.pop_front();
            match queue.is_empty() {
                true => drop(self.queues.remove(&tenant)),
                false => self.order.push_back(tenant),
            }
            return first;
        }
        None
    }

    /// A check of this tenant is under way.
    pub(super) fn begin(&mut self, tenant: TenantId) {
        self.all_under_way += 1;
        *self.under_way.entry(tenant).or_default() += 1;
    }

    /// One has ended.
    pub(super) fn end(&mut self, tenant: TenantId) {
        self.all_under_way -= 1;
        if let Some(count) = self.under_way.get_mut(&tenant) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&tenant);
            }
        }
    }

    /// A tenant may have one more under way: it has fewer than there are places left. So there is
    /// one for each of the next tenants, though fewer and fewer.
    fn has_room(&self, tenant: TenantId) -> bool {
        let of_tenant = self.under_way.get(&tenant).copied().unwrap_or_default();
        of_tenant < self.under_way_max.saturating_sub(self.all_under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: TenantId = TenantId(1);
    const FEW: TenantId = TenantId(2);

    #[test]
    fn tenants_take_turns() {
        let now = Instant::now();
        let mut turns = Turns::new(100);
        (0..10).for_each(|number| turns.add(MANY, number, now));
        (10..12).for_each(|number| turns.add(FEW, number, now));
        let order: Vec<u64> = std::iter::from_fn(|| turns.take())
            .map(|(number, _)| number)
            .collect();
        assert_eq!(order, [0, 10, 1, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(turns.take().is_none() && turns.queues.is_empty() && turns.order.is_empty());
    }

    #[test]
    fn whose_checks_hang_leaves_room_for_others() {
        let now = Instant::now();
        let mut turns = Turns::new(16);
        (0..100).for_each(|number| turns.add(MANY, number, now));
        let mut begun = 0;
        while turns.take().is_some() {
            turns.begin(MANY);
            begun += 1;
        }
        assert_eq!(begun, 8);
        turns.add(FEW, 100, now);
        assert_eq!(turns.take().map(|(number, _)| number), Some(100));
        turns.begin(FEW);
        assert!(turns.take().is_none());
        turns.end(FEW);
        turns.end(MANY);
        assert_eq!(turns.take().map(|(number, _)| number), Some(8));
    }
}
