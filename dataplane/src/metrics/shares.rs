//! How tenants divide what there is not enough of.

use meridian_model::snapshot::TenantId;
use std::collections::HashMap;

/// What each tenant gets of `room` where it wants so many: what it wants, or as much as any other
/// that gets less than it wants. What does not divide goes to those with the higher numbers.
pub(super) fn shares(
    wanted: HashMap<TenantId, usize>,
    mut room: usize,
) -> HashMap<TenantId, usize> {
    let mut ascending: Vec<(TenantId, usize)> = wanted.into_iter().collect();
    ascending.sort_unstable_by_key(|&(tenant, wanted)| (wanted, tenant));
    let count = ascending.len();
    let each = ascending.into_iter().enumerate();
    each.map(|(done, (tenant, wanted))| {
        let share = wanted.min(room / (count - done));
        room -= share;
        (tenant, share)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_wants_little_gets_it_and_the_others_the_same() {
        let wanted = [(1, 1000), (2, 3), (3, 1000), (4, 10)];
        let wanted = wanted.map(|(tenant, wanted)| (TenantId(tenant), wanted));
        let got = shares(HashMap::from(wanted), 112);
        let expected = [(1, 49), (2, 3), (3, 50), (4, 10)];
        assert_eq!(
            got,
            HashMap::from(expected.map(|(tenant, share)| (TenantId(tenant), share)))
        );
    }

    proptest! {
        #[test]
        fn nothing_is_left_while_somebody_wants_more(
            wanted in proptest::collection::vec(0usize..50, 0..20),
            room in 0usize..300,
        ) {
            let tenants = (1..).map(TenantId);
            let wanted: HashMap<TenantId, usize> = tenants.zip(wanted).collect();
            let got = shares(wanted.clone(), room);
            let all: usize = wanted.values().sum();
            prop_assert_eq!(got.values().sum::<usize>(), all.min(room));
            let short = got.iter().filter(|&(tenant, share)| *share < wanted[tenant]);
            if let Some(least) = short.map(|(_, share)| *share).min() {
                prop_assert!(got.values().all(|&share| share <= least + 1));
            }
        }
    }
}
