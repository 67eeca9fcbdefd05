//! Random faults, one after another, in a fleet of three groups and in one of two hosts.
//!
//! FLEET_FAULTS is how many (of both together), FLEET_LOG a file with a line for each that was played: the same call
//! goes on behind the last one. A fault that fails prints its number; the numbers decide what fails.

use crate::faults::Fault;
use crate::place::Place;
use crate::rig::Rig;
use crate::single::in_namespaces;
use crate::watch::Watch;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;

/// Of a run of all tests.
const FAULTS: u64 = 4;

/// Of each four, the ones that three groups have.
const OF_THREE: u64 = 3;

#[test]
fn random_faults() {
    let number = |name| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let count: u64 = number("FLEET_FAULTS").unwrap_or(FAULTS);
    let log = std::env::var_os("FLEET_LOG");
    let played = log.as_ref().map(std::fs::read_to_string);
    let played = played.and_then(Result::ok).unwrap_or_default();
    let played = played
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse().ok());
    let played: BTreeSet<u64> = played.collect();
    let mut log = log.map(|log| {
        let file = File::options().create(true).append(true).open(log);
        file.expect("the log can be written")
    });
    for (hosts, mine) in [(3, 0..OF_THREE), (2, OF_THREE..4)] {
        let numbers = (0..count).filter(|it| mine.contains(&(it % 4)) && !played.contains(it));
        let numbers: Vec<u64> = numbers.collect();
        if numbers.is_empty() {
            continue;
        }
        let mut rig = match in_namespaces(hosts) {
            Some(rig) => rig,
            None => Rig::start(Place::loopback(), hosts),
        };
        let mut watch = Watch::begin(&rig);
        for number in numbers {
            let fault = fault_of(number, hosts, rig.place.has_links());
            eprintln!("fault {number}, of {hosts} hosts: {fault:?}");
            let took = fault.play(&mut rig, &mut watch);
            if let Some(log) = &mut log {
                writeln!(
                    log,
                    "{number} {hosts} {fault:?} leaving_ms={} returning_ms={} answers={}",
                    took.leaving.as_millis(),
                    took.returning.as_millis(),
                    took.looks
                )
                .expect("the log can be written");
            }
        }
    }
}

/// By splitmix64 of its number.
fn fault_of(number: u64, hosts: usize, has_links: bool) -> Fault {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % below as u64) as usize
    };
    let kind = next(if has_links { 6 } else { 3 });
    let host = next(hosts);
    let other = (host + 1 + next(hosts - 1)) % hosts;
    match kind {
        0 => Fault::Kill(host),
        1 => Fault::Hang(host),
        2 => Fault::Backend(host),
        3 => Fault::Dead(host),
        4 => Fault::Alone(host),
        _ => Fault::Link(host, other),
    }
}
