//! Every algorithm against the distribution that it promises, by Pearson's chi-squared test at a
//! significance of one in a thousand; the seeds are fixed, so that a test which passes once passes
//! always.

use super::*;
use meridian_model::snapshot::{BackendKey, ProxyProtocol, SiteId};
use proptest::prelude::*;
use std::net::SocketAddr;

const PICKS: u64 = 20_000;

fn backend(number: usize, weight: u32) -> Backend {
    Backend {
        weight,
        connections: None,
        key: key(&format!("b{number}"), 1000 + number as u16),
    }
}

fn key(name: &str, port: u16) -> BackendKey {
    let address = SocketAddr::from(([192, 0, 2, 1], port));
    BackendKey::new(
        SiteId(1),
        "default".into(),
        name.into(),
        address,
        ProxyProtocol::Off.into(),
    )
}

fn backends(weights: &[u32]) -> Vec<Backend> {
    let weights = weights.iter().enumerate();
    weights
        .map(|(number, &weight)| backend(number, weight))
        .collect()
}

/// What chi-squared stays under in 999 of 1000 cases, by Wilson and Hilferty's approximation.
fn critical(degrees: f64) -> f64 {
    let part = 2.0 / (9.0 * degrees);
    degrees * (1.0 - part + 3.090 * part.sqrt()).powi(3)
}

/// Whether what was picked is as likely as these parts say; a part of 0 is never picked.
fn assert_distribution(picked: &[u64], parts: &[f64]) {
    let (total, whole) = (picked.iter().sum::<u64>() as f64, parts.iter().sum::<f64>());
    let mut statistic = 0.0;
    let mut degrees = -1.0;
    for (&picked, part) in picked.iter().zip(parts) {
        let expected = total * part / whole;
        if expected == 0.0 {
            assert_eq!(picked, 0);
            continue;
        }
        assert!(expected > 5.0, "too few for the test");
        statistic += (picked as f64 - expected).powi(2) / expected;
        degrees += 1.0;
    }
    // Where there is but one, the loop has said all.
    assert!(
        degrees < 1.0 || statistic < critical(degrees),
        "{statistic} of {picked:?} for {parts:?}"
    );
}

/// How often each place is picked for successive keys.
fn picks(
    algorithm: Algorithm,
    weights: &[u32],
    share: impl Fn(usize) -> u32,
    load: impl Fn(usize) -> u64,
) -> Vec<u64> {
    let balance = Balance::new(algorithm, &backends(weights), 0, 7);
    let mut picked = vec![0; weights.len()];
    for number in 0..PICKS {
        let key = |_| stable_hash(format!("/item/{number}").as_bytes());
        picked[balance.pick(&share, &load, key).expect("there is one")] += 1;
    }
    picked
}

const ALL: [Algorithm; 6] = [
    Algorithm::RoundRobin,
    Algorithm::LeastConnections,
    Algorithm::Random,
    Algorithm::Hash(HashInput::Uri),
    Algorithm::ConsistentHash(HashInput::Uri),
    Algorithm::PeakEwma,
];

/// With equal loads every algorithm picks by weight.
#[test]
fn weights_are_shares() {
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 3], &[50, 1000, 1, 333, 7, 7, 7]] {
        let parts: Vec<f64> = weights.iter().map(|&weight| f64::from(weight)).collect();
        for algorithm in ALL {
            let picked = picks(algorithm, weights, |_| WHOLE, |_| 0);
            assert_distribution(&picked, &parts);
        }
    }
}

#[test]
fn what_may_not_be_picked_leaves_its_share_to_the_others_by_weight() {
    let weights = [4, 3, 2, 1];
    for algorithm in ALL {
        let share = |place| if place == 1 { 0 } else { WHOLE };
        let picked = picks(algorithm, &weights, share, |_| 0);
        assert_distribution(&picked, &[4.0, 0.0, 2.0, 1.0]);
        // Also where nearly nobody is left.
        let share = |place| if place == 3 { WHOLE } else { 0 };
        let picked = picks(algorithm, &[60_000, 60_000, 60_000, 1], share, |_| 0);
        assert_distribution(&picked, &[0.0, 0.0, 0.0, 1.0]);
        let balance = Balance::new(algorithm, &backends(&weights), 0, 7);
        assert_eq!(balance.pick(|_| 0, |_| 0, |_| 1), None);
        let balance = Balance::new(algorithm, &[], 0, 7);
        assert_eq!(balance.pick(|_| WHOLE, |_| 0, |_| 1), None);
    }
}

/// A place that has a part of its weight is picked as if it had that weight.
#[test]
fn a_share_is_a_part_of_a_weight() {
    let share = |place| if place == 0 { WHOLE / 4 } else { WHOLE };
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::Random,
        Algorithm::Hash(HashInput::Uri),
    ] {
        let picked = picks(algorithm, &[4, 4, 4], share, |_| 0);
        assert_distribution(&picked, &[1.0, 4.0, 4.0]);
    }
    // By rendezvous it keeps a quarter of the keys that it has with all of its weight.
    let picked = picks(
        Algorithm::ConsistentHash(HashInput::Uri),
        &[1, 1, 1],
        share,
        |_| 0,
    );
    assert_distribution(&picked, &[2.0, 11.0, 11.0]);
}

/// The lesser of two of n that are equally likely: the k-th least is picked where the other one is
/// among the n - k behind it.
#[test]
fn the_less_loaded_of_two_is_picked() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::PeakEwma] {
        let loads = [40, 10, 30, 20, 50];
        let picked = picks(algorithm, &[3; 5], |_| WHOLE, |place| loads[place]);
        assert_distribution(&picked, &[1.0, 4.0, 2.0, 3.0, 0.0]);
    }
}

/// A load is compared by what a weight lets a backend bear.
#[test]
fn a_heavier_backend_bears_more() {
    let algorithm = Algorithm::LeastConnections;
    let loads = [10, 19];
    let picked = picks(algorithm, &[1, 2], |_| WHOLE, |place| loads[place]);
    assert_distribution(&picked, &[0.0, 1.0]);
    let loads = [10, 21];
    let picked = picks(algorithm, &[1, 2], |_| WHOLE, |place| loads[place]);
    assert_distribution(&picked, &[1.0, 0.0]);
}

/// Requests that stay: in-flight counts come to follow the weights, within a few.
#[test]
fn in_flight_counts_come_to_follow_weights() {
    let weights = [1, 2, 5];
    let balance = Balance::new(Algorithm::LeastConnections, &backends(&weights), 0, 3);
    let mut loads = [0_u64; 3];
    for _ in 0..8000 {
        let place = balance.pick(|_| WHOLE, |place| loads[place], |_| 0);
        loads[place.expect("there is one")] += 1;
    }
    for (load, weight) in loads.into_iter().zip(weights) {
        assert!(load.abs_diff(1000 * u64::from(weight)) < 20, "{loads:?}");
    }
}

#[test]
fn hashes_never_change() {
    // Hosts of other versions count on these.
    assert_eq!(stable_hash(b""), 0xf52a_15e9_a9b5_e89b);
    assert_eq!(stable_hash(b"/"), 0x7fac_e396_ae05_4c7d);
}

fn placed(backends: &[Backend], down: Option<usize>) -> Vec<String> {
    let algorithm = Algorithm::ConsistentHash(HashInput::Uri);
    let balance = Balance::new(algorithm, backends, 0, 0);
    let share = |place| if Some(place) == down { 0 } else { WHOLE };
    let place = |key: u64| balance.pick(share, |_| 0, |_| mixed(key));
    let places = (0..500).map(|key| place(key).expect("there is one"));
    places
        .map(|place| backends[place].name().to_string())
        .collect()
}

proptest! {
    /// Whatever becomes of a backend, the keys of all others stay where they are: what moves is
    /// what it had, or what it has.
    #[test]
    fn a_changed_backend_moves_only_its_share(
        weights in proptest::collection::vec(1u32..100, 2..12),
        even in proptest::bool::ANY,
        which in 0usize..12,
        other_weight in 1u32..100,
    ) {
        let weights: Vec<u32> = weights.iter().map(|&it| if even { 9 } else { it }).collect();
        let whole = backends(&weights);
        let which = which % whole.len();
        let name = whole[which].name();
        let before = placed(&whole, None);
        let mut without = whole.clone();
        without.remove(which);
        let mut moved = whole.clone();
        moved[which].key = key(name, 9);
        let mut reweighted = whole.clone();
        reweighted[which].weight = other_weight;
        let down = placed(&whole, Some(which));
        let gone = placed(&without, None);
        prop_assert_eq!(&down, &gone);
        for after in [gone, placed(&moved, None), placed(&reweighted, None)] {
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || before == name || after == name);
            }
        }
        let grows = other_weight >= weights[which];
        for (before, after) in before.iter().zip(placed(&reweighted, None)) {
            let (from, to) = if grows { (&after, before) } else { (before, &after) };
            // What grows only takes, what shrinks only gives.
            prop_assert!(before == &after || from == name || to != name);
        }
    }

    /// A hash whose backend is down goes to another; all others stay.
    #[test]
    fn a_backend_that_is_down_moves_only_its_share_of_a_hash(
        weights in proptest::collection::vec(1u32..50, 2..6),
        which in 0usize..6,
    ) {
        let which = which % weights.len();
        let backends = backends(&weights);
        let balance = Balance::new(Algorithm::Hash(HashInput::Source), &backends, 0, 0);
        for key in 0..200_u64 {
            let pick = |down| {
                let share = |place| if Some(place) == down { 0 } else { WHOLE };
                balance.pick(share, |_| 0, |_| mixed(key))
            };
            let (before, after) = (pick(None), pick(Some(which)));
            prop_assert!(after != Some(which));
            prop_assert!(before == after || before == Some(which));
        }
    }
}
