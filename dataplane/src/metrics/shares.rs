//! How tenants divide what there is not enough of.

use meridian_model::snapshot::TenantId;
use std::collections::HashMap;

/// What each tenant gets of `room` where it wants so many: what it wants, or as much as any other
/// that gets less than it wants. What does not divide goes, one for each, to those that had more than
/// that before, and then to the lower numbers.
pub(super) fn shares(
    wanted: HashMap<TenantId, usize>,
    before: impl Fn(TenantId) -> usize,
    mut room: usize,
) -> HashMap<TenantId, usize> {
    let mut ascending: Vec<(TenantId, usize)> = wanted.into_iter().collect();
    ascending.sort_unstable_by_key(|&(tenant, wanted)| (wanted, tenant));
    let count = ascending.len();
    let whole = ascending
        .iter()
        .enumerate()
        .position(|(done, (_, wanted))| {
            let is_short = *wanted > room / (count - done);
            if !is_short {
                room -= wanted;
            }
            is_short
        });
    if let Some(done) = whole {
        let short = &mut ascending[done..];
        let each = room / short.len();
        short.sort_unstable_by_key(|&(tenant, _)| (before(tenant) <= each, tenant));
        for (at, (_, share)) in short.iter_mut().enumerate() {
            *share = each + usize::from(at < room % (count - done));
        }
    }
    ascending.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn who_wants_little_gets_it_and_the_others_the_same() {
        let wanted = [(1, 1000), (2, 3), (3, 1000), (4, 10)];
        let wanted = wanted.map(|(tenant, wanted)| (TenantId(tenant), wanted));
        let before = |tenant| if tenant == TenantId(3) { 60 } else { 0 };
        for (before, expected) in [
            (
                &(|_| 0_usize) as &dyn Fn(TenantId) -> usize,
                [50, 3, 49, 10],
            ),
            (&before, [49, 3, 50, 10]),
        ] {
            let got = shares(HashMap::from(wanted), before, 112);
            let got: Vec<usize> = (1..=4).map(|tenant| got[&TenantId(tenant)]).collect();
            assert_eq!(got, expected);
        }
    }

    #[test]
    fn where_there_is_less_than_one_for_each_who_had_one_keeps_it() {
        let wanted = (1..=30).map(|tenant| (TenantId(tenant), 1 + tenant as usize % 2));
        let had = |tenant: TenantId| usize::from(tenant.0 > 20);
        let got = shares(wanted.collect(), had, 12);
        let has = (1..=30).filter(|tenant| got[&TenantId(*tenant)] == 1);
        assert_eq!(
            has.collect::<Vec<_>>(),
            [1, 2].into_iter().chain(21..=30).collect::<Vec<u64>>()
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
            let got = shares(wanted.clone(), |_| 0, room);
            let all: usize = wanted.values().sum();
            prop_assert_eq!(got.values().sum::<usize>(), all.min(room));
            let short = got.iter().filter(|&(tenant, share)| *share < wanted[tenant]);
            if let Some(least) = short.map(|(_, share)| *share).min() {
                prop_assert!(got.values().all(|&share| share <= least + 1));
            }
        }
    }
}
