//! How many addresses each name of a site may have when they have too many together.

/// How many of its addresses each name may use, of names that have `counts` of them, so that
/// they are `most` at most: all have the same share but those that need less, and what can not
/// be shared goes to the first ones.
pub(crate) fn share(counts: &[usize], most: usize) -> Vec<usize> {
    if counts.iter().sum::<usize>() <= most {
        return counts.to_vec();
    }
    let within = |cap: usize| counts.iter().map(|&count| count.min(cap)).sum::<usize>();
    let mut cap = 0;
    while within(cap + 1) <= most {
        cap += 1;
    }
    let mut left = most - within(cap);
    let shares = counts.iter().map(|&count| {
        let one_more = usize::from(count > cap && left > 0);
        left -= one_more;
        count.min(cap) + one_more
    });
    shares.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn those_who_need_little_have_it() {
        assert_eq!(share(&[1, 64, 2, 64], 131), [1, 64, 2, 64]);
        assert_eq!(share(&[1, 64, 2, 64], 20), [1, 9, 2, 8]);
        assert_eq!(share(&[64; 5], 12), [3, 3, 2, 2, 2]);
    }

    #[test]
    fn of_too_many_names_the_first_have_one_each() {
        assert_eq!(share(&[64, 0, 64, 64, 64], 3), [1, 0, 1, 1, 0]);
        assert_eq!(share(&[], 3), [0; 0]);
    }

    proptest! {
        #[test]
        fn all_that_may_be_used_is(
            counts in proptest::collection::vec(0_usize..64, 0..50),
            most in 0_usize..2000,
        ) {
            let shares = share(&counts, most);
            prop_assert_eq!(shares.iter().sum::<usize>(), most.min(counts.iter().sum()));
            prop_assert!(shares.iter().zip(&counts).all(|(share, count)| share <= count));
            let cut: Vec<usize> = (0..counts.len()).filter(|&it| shares[it] < counts[it]).collect();
            let least = cut.iter().map(|&it| shares[it]).min().unwrap_or(usize::MAX);
            prop_assert!(shares.iter().all(|&share| share <= least.saturating_add(1)));
        }
    }
}
