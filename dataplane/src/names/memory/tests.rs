//! What is held and for how long, at made-up times.

use super::*;
use crate::names::question::Fault;

fn some(addresses: &[&str], ttl_s: u32) -> Outcome {
    let addresses = addresses.iter().map(|it| it.parse().expect("an address"));
    Outcome::Answered(Answer::Addresses {
        addresses: addresses.collect(),
        ttl_s,
    })
}

fn none() -> Outcome {
    Outcome::Answered(Answer::NoAddress)
}

fn no_name() -> Findings {
    Findings {
        v4: Outcome::Answered(Answer::NoName),
        v6: Outcome::Answered(Answer::NoName),
    }
}

fn failed(what: &str, is_silence: bool) -> Outcome {
    Outcome::Failed(Fault {
        what: what.to_owned(),
        is_silence,
    })
}

fn silence() -> Findings {
    Findings {
        v4: failed("no answer", true),
        v6: failed("no answer", true),
    }
}

fn v4(addresses: &[&str], ttl_s: u32) -> Findings {
    Findings {
        v4: some(addresses, ttl_s),
        v6: none(),
    }
}

fn texts(conclusion: &Conclusion) -> Vec<String> {
    let addresses = conclusion.addresses.iter();
    addresses.map(IpAddr::to_string).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn addresses_of_both_families_in_order_and_once() {
    let found = Findings {
        v4: some(&["10.0.0.2", "10.0.0.1", "10.0.0.2"], 60),
        v6: some(&["2001:db8::1"], 20),
    };
    let now = Instant::now();
    let conclusion = Memory::default().conclude(&found, now);
    assert_eq!(texts(&conclusion), ["10.0.0.1", "10.0.0.2", "2001:db8::1"]);
    assert_eq!(conclusion.wait, seconds(20));
    assert_eq!(conclusion.resolved_at, Some(now));
    assert_eq!(conclusion.fault, None);
}

#[test]
fn an_answer_holds_as_long_as_it_says_within_bounds() {
    let wait = |ttl_s| {
        let conclusion = Memory::default().conclude(&v4(&["10.0.0.1"], ttl_s), Instant::now());
        conclusion.wait.as_secs()
    };
    let waits = [0, 1, 5, 6, 299, 300, 301, u32::MAX].map(wait);
    assert_eq!(waits, [5, 5, 5, 6, 299, 300, 300, 300]);
}

#[test]
fn an_address_that_an_answer_lacks_is_gone_at_once() {
    let mut memory = Memory::default();
    let now = Instant::now();
    memory.conclude(&v4(&["10.0.0.1", "10.0.0.2"], 5), now);
    let next = memory.conclude(&v4(&["10.0.0.2"], 5), now + seconds(5));
    assert_eq!(texts(&next), ["10.0.0.2"]);
}

#[test]
fn silence_keeps_the_addresses_for_a_day() {
    let mut memory = Memory::default();
    let now = Instant::now();
    memory.conclude(&v4(&["10.0.0.1"], 5), now);
    let held = memory.conclude(&silence(), now + seconds(24 * 3600 - 1));
    assert_eq!(texts(&held), ["10.0.0.1"]);
    assert_eq!(held.fault.as_deref(), Some("no answer"));
    assert_eq!(held.resolved_at, Some(now));
    assert_eq!(memory.standing(), Standing::Slow);
    let gone = memory.conclude(&silence(), now + seconds(24 * 3600));
    assert_eq!(texts(&gone), [""; 0]);
    let back = memory.conclude(&v4(&["10.0.0.1"], 5), now + seconds(25 * 3600));
    assert_eq!(texts(&back), ["10.0.0.1"]);
}

#[test]
fn an_answer_now_and_then_does_not_make_a_name_like_others() {
    let mut memory = Memory::default();
    let now = Instant::now();
    let answer = v4(&["10.0.0.1"], 5);
    assert_eq!(memory.standing(), Standing::New);
    memory.conclude(&answer, now);
    assert_eq!(memory.standing(), Standing::Known);
    for _ in 0..3 {
        memory.conclude(&silence(), now);
        for _ in 1..SLOW_NAME_ANSWERS_MIN {
            memory.conclude(&answer, now);
            assert_eq!(memory.standing(), Standing::Slow);
        }
    }
    memory.conclude(&answer, now);
    assert_eq!(memory.standing(), Standing::Known);
}

#[test]
fn a_name_that_is_gone_keeps_its_addresses_for_half_a_minute() {
    let mut memory = Memory::default();
    let now = Instant::now();
    memory.conclude(&v4(&["10.0.0.1"], 5), now);
    let held = memory.conclude(&no_name(), now + seconds(29));
    assert_eq!(texts(&held), ["10.0.0.1"]);
    assert_eq!(held.fault.as_deref(), Some("there is no such name"));
    let gone = memory.conclude(&no_name(), now + seconds(30));
    assert_eq!(texts(&gone), [""; 0]);
    assert_eq!(memory.standing(), Standing::Known);
}

#[test]
fn a_family_that_is_gone_while_the_other_answers_is_gone_at_once() {
    let mut memory = Memory::default();
    let now = Instant::now();
    let both = Findings {
        v4: some(&["10.0.0.1"], 5),
        v6: some(&["2001:db8::1"], 5),
    };
    memory.conclude(&both, now);
    let one = memory.conclude(&v4(&["10.0.0.1"], 5), now + seconds(5));
    assert_eq!(texts(&one), ["10.0.0.1"]);
    assert_eq!(one.fault, None);
}

#[test]
fn a_family_that_nobody_answers_for_is_held_beside_the_other() {
    let mut memory = Memory::default();
    let now = Instant::now();
    let both = Findings {
        v4: some(&["10.0.0.1"], 5),
        v6: some(&["2001:db8::1"], 5),
    };
    memory.conclude(&both, now);
    let half = Findings {
        v4: some(&["10.0.0.2"], 60),
        v6: failed("answered SERVFAIL", false),
    };
    let conclusion = memory.conclude(&half, now + seconds(5));
    assert_eq!(texts(&conclusion), ["10.0.0.2", "2001:db8::1"]);
    assert_eq!(conclusion.fault.as_deref(), Some("AAAA: answered SERVFAIL"));
    assert_eq!(conclusion.wait, seconds(1));
}

#[test]
fn waits_after_trouble_double() {
    let mut memory = Memory::default();
    let now = Instant::now();
    let waits: Vec<u64> = (0..8)
        .map(|_| memory.conclude(&silence(), now).wait.as_secs())
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(
        memory.conclude(&v4(&["10.0.0.1"], 60), now).wait,
        seconds(60)
    );
    assert_eq!(memory.conclude(&no_name(), now).wait, seconds(1));
}
