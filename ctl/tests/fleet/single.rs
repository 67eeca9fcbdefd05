//! One fault at a time, each of them once.

use crate::faults::Fault;
use crate::place::Place;
use crate::rig::{ALL, GEO, Rig, TTL_S};
use crate::watch::{Watch, leaves_within};
use std::collections::BTreeSet;
use std::time::Duration;

/// A fleet in namespaces; none where there can be none, which is said.
pub(crate) fn in_namespaces(hosts: usize) -> Option<Rig> {
    match Place::namespaces(hosts) {
        Ok(place) => Some(Rig::start(place, hosts)),
        Err(why) => {
            eprintln!("SKIPPED, for there are no network namespaces to be had: {why}");
            None
        }
    }
}

fn play(rig: &mut Rig, faults: &[Fault]) {
    let mut watch = Watch::begin(rig);
    for &fault in faults {
        let took = fault.play(rig, &mut watch);
        eprintln!("{fault:?}: {took:?}");
    }
}

#[test]
fn three_groups_on_loopback() {
    let mut rig = Rig::start(Place::loopback(), 3);
    play(
        &mut rig,
        &[Fault::Kill(1), Fault::Hang(0), Fault::Backend(2)],
    );
    // With `all` every host comes first in turn.
    let firsts: BTreeSet<_> = (0..12).filter_map(|_| rig.ask(0, ALL, 0)?.first).collect();
    assert_eq!(firsts.len(), 3);
}

#[test]
fn two_hosts_on_loopback() {
    let mut rig = Rig::start(Place::loopback(), 2);
    play(&mut rig, &[Fault::Kill(1), Fault::Hang(0)]);
}

#[test]
fn three_groups_with_links() {
    let Some(mut rig) = in_namespaces(3) else {
        return;
    };
    play(
        &mut rig,
        &[Fault::Dead(2), Fault::Alone(0), Fault::Link(1, 2)],
    );
}

#[test]
fn two_hosts_with_a_link() {
    let Some(mut rig) = in_namespaces(2) else {
        return;
    };
    play(&mut rig, &[Fault::Dead(0), Fault::Link(0, 1)]);
}

/// What `status` says, and the TTL, while a host is down and while a group has no backend.
#[test]
fn it_is_told_who_is_down_and_why() {
    let mut rig = Rig::start(Place::loopback(), 3);
    Watch::begin(&rig);
    let row = |rig: &Rig, host: usize| rig.hosts[0].responder()["hosts"][host].clone();
    let eventually = |what: &str, is_so: &dyn Fn() -> bool| {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(
                begun.elapsed() < crate::watch::allowed(leaves_within()),
                "{what}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    eventually("all are seen", &|| {
        (0..3).all(|host| row(&rig, host)["seen"] == "up")
    });
    eventually("all are heard", &|| row(&rig, 1)["voters"] == 3);
    let up = row(&rig, 1);
    assert_eq!(
        (&up["host"], &up["group"], &up["state"]),
        (&"h1".into(), &"g1".into(), &"up".into())
    );
    assert_eq!((&up["against"], &up["sites_lost"]), (&0.into(), &0.into()));
    assert_eq!(rig.ask(0, ALL, 0).expect("it answers").ttl, TTL_S);
    rig.stop_backend(1);
    eventually("a site is lost", &|| row(&rig, 1)["sites_lost"] == 1);
    assert_eq!(row(&rig, 1)["sites_lost_first"][0], "acme/shop");
    eventually("who is near g1 goes elsewhere", &|| {
        rig.named(0, GEO, 1).is_some_and(|it| !it.contains(&1))
    });
    assert_eq!(rig.ask(0, GEO, 1).expect("it answers").ttl, TTL_S / 2);
    // For its other site the host is as good as ever.
    assert_eq!(rig.ask(0, ALL, 1).expect("it answers").ttl, TTL_S);
    rig.start_backend(1);
    eventually("it is back", &|| rig.named(0, GEO, 1) == Some([1].into()));
    rig.hosts[1].kill();
    eventually("h1 is down", &|| row(&rig, 1)["state"] == "down");
    eventually("its view is forgotten", &|| row(&rig, 1)["voters"] == 2);
    let down = row(&rig, 1);
    assert_eq!(
        (&down["seen"], &down["against"]),
        (&"down".into(), &2.into())
    );
    assert!(down["changed_at"].is_string());
    let reason = down["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("see it down: Connection refused"),
        "{reason}"
    );
    assert_eq!(rig.ask(0, ALL, 0).expect("it answers").ttl, TTL_S / 2);
    let text = rig.hosts[0].call(&["status"]);
    let line = text
        .lines()
        .find(|line| line.starts_with("h1 "))
        .expect("it has a row");
    assert!(
        line.contains(" down ") && line.contains("see it down"),
        "{line}"
    );
    let said = rig.hosts[0].said();
    assert!(said.contains("host h1 is down: "), "{said}");
    // Probes are nobody's requests.
    let usage = rig.hosts[0].call(&["usage", "--format", "csv"]);
    let mut rows = usage
        .lines()
        .map(|line| line.split(',').collect::<Vec<&str>>());
    let heading = rows.next().expect("it has a heading");
    let requests = heading.iter().position(|it| *it == "requests");
    let requests = requests.expect("it is one of them");
    assert!(rows.all(|row| row[requests] == "0"), "{usage}");
}
