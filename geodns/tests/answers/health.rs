//! Who is left out of the answers, and what is answered when nobody is left.

use crate::ByFirstOctet;
use crate::query::*;
use crate::support::*;
use meridian_geodns::{Health, State};
use meridian_model::snapshot::SiteId;
use meridian_model::zones::HostIndex;
use std::sync::Arc;

/// A site whose one backend is in the group `nyc`.
const FAR: &str = "[[site]]\ntenant = \"acme\"\nname = \"far\"\nhostnames = [\"far.example.com\"]\n\
                   steering = \"geo\"\n[[site.backend]]\naddress = \"203.0.113.20:80\"\ngroup = \"nyc\"\n";

/// Visitors of 203.0.113.0/24 are close to `nyc`.
fn near_nyc() -> State {
    let mut state = state_with(&[], FAR);
    state.geography = Some(Arc::new(ByFirstOctet));
    state
}

fn index(state: &State, name: &str) -> HostIndex {
    let at = state
        .zones
        .hosts
        .iter()
        .position(|host| &*host.name == name);
    HostIndex(at.expect("it is there") as u16)
}

/// With these hosts down, and each of these sites lost to a host.
fn with(mut state: State, down: &[&str], lost: &[(&str, &str)]) -> State {
    let site = |name| -> SiteId { state.zones.site(name).expect("it is there") };
    let down: Vec<HostIndex> = down.iter().map(|name| index(&state, name)).collect();
    let lost = lost.iter();
    let lost = lost.map(|(host, name)| (index(&state, host), site(name)));
    let lost: Vec<_> = lost.collect();
    state.health = Arc::new(Health::new(down, lost));
    state
}

/// What somebody near `nyc` gets.
fn answer(state: &State, name: &str) -> Vec<String> {
    let mut answer = ask(state, &with_options(name, A, &[(SUBNET, V4_24)])).answer;
    answer.sort_unstable();
    answer
}

#[test]
fn a_host_that_lost_a_site_is_left_out_for_that_site() {
    let state = with(near_nyc(), &[], &[("nyc-1", "acme/shop")]);
    assert_eq!(answer(&state, SHOP), [format!("{SHOP} 20 A 192.0.2.1")]);
    let www = "www.acme.lb.example.net";
    let both = [
        format!("{www} 40 A 192.0.2.1"),
        format!("{www} 40 A 198.51.100.1"),
    ];
    assert_eq!(answer(&state, www), both);
}

#[test]
fn when_nobody_can_serve_the_site_no_dead_host_is_named() {
    let lost = [("nyc-1", "acme/shop"), ("ams-1", "acme/shop")];
    // It is the site that fails, not the hosts: the nearest, and for as long as ever.
    let state = with(near_nyc(), &[], &lost);
    assert_eq!(answer(&state, SHOP), [format!("{SHOP} 40 A 198.51.100.1")]);
    let state = with(near_nyc(), &["nyc-1"], &lost);
    assert_eq!(answer(&state, SHOP), [format!("{SHOP} 20 A 192.0.2.1")]);
    let state = with(near_nyc(), &["nyc-1", "ams-1"], &lost);
    let both = [
        format!("{SHOP} 40 A 192.0.2.1"),
        format!("{SHOP} 40 A 198.51.100.1"),
    ];
    assert_eq!(answer(&state, SHOP), both);
}

/// A host of another group asks the backends of the site's group.
#[test]
fn a_site_whose_groups_are_dead_is_for_those_who_live() {
    let far = "far.acme.lb.example.net";
    let state = with(near_nyc(), &[], &[]);
    assert_eq!(answer(&state, far), [format!("{far} 40 A 198.51.100.1")]);
    let state = with(near_nyc(), &["nyc-1"], &[]);
    assert_eq!(answer(&state, far), [format!("{far} 20 A 192.0.2.1")]);
    let state = with(near_nyc(), &["nyc-1", "ams-1"], &[]);
    assert_eq!(answer(&state, far), [format!("{far} 40 A 198.51.100.1")]);
}

/// Whether there is an address never depends on who is well.
#[test]
fn health_makes_no_type_appear_or_vanish() {
    let far = "far.acme.lb.example.net";
    for down in [&[][..], &["nyc-1"], &["ams-1"], &["nyc-1", "ams-1"]] {
        let state = with(near_nyc(), down, &[("nyc-1", "acme/far")]);
        let seen = ask(&state, &plain(far, 28));
        assert_eq!(
            (seen.rcode, seen.answer.len(), seen.authority.len()),
            (NOERROR, 0, 1)
        );
        assert_eq!(answer(&state, far).len(), 1);
    }
}
