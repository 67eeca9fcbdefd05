//! What requests that could not connect have the checker do.

use super::*;
use crate::drains::Drains;
use crate::health::TrafficFailure;
use crate::limits::Meters;
use crate::names::Names;
use crate::peers::LostSites;
use crate::routing::Joint;
use meridian_model::{Manifest, compile};

/// A checker of one backend, which no check was made of; and that backend.
fn checker() -> (Checker, BackendKey) {
    let text = "[host]\nname = \"a\"\nbackend_networks = [\"127.0.0.0/8\"]\n\
         [listen]\nhttp = [\"127.0.0.1:80\"]\n[fleet]\nname = \"f\"\n\
         [[tenant]]\nname = \"t\"\n\
         [[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"s.test\"]\n\
         pool = { health = { interval = \"1h\" } }\n\
         [[site.backend]]\naddress = \"127.0.0.1:1\"\n";
    let manifest = Manifest::parse(text, "test").unwrap_or_else(|all| panic!("{all}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    let snapshot = compile(&local, &desired, 1).expect("it compiles");
    let site = snapshot.hostnames.find(b"s.test").expect("it is served");
    let key = site.pools[0].tiers[0].backends[0].key.clone();
    let names = Names::new().expect("there are eventfds");
    let state = tempfile::tempdir().expect("there is room");
    let drains = Drains::read(state.path()).expect("none is drained");
    let joint = Joint {
        names: &names,
        meters: &Meters::default(),
        drains: &drains,
    };
    let routing = Arc::new(ArcSwap::from_pointee(Routing::new(snapshot, joint)));
    let (health, reports) = HealthChecks::new(1).expect("there are eventfds");
    let authorities = state.path().join("authorities.pem");
    let backend_tls = BackendConfigs::start(state.path(), &authorities).expect("threads are there");
    let lost_sites = LostSites::new(&routing, 1);
    let mut checker =
        Checker::new(health, routing, reports, backend_tls, lost_sites).expect("there is an epoll");
    checker.take_up_routing(Instant::now());
    (checker, key)
}

#[test]
fn requests_do_not_hasten_what_this_host_has_nothing_for() {
    let (mut checker, key) = checker();
    let now = Instant::now();
    let pause = Duration::from_millis(HEALTH_CHECK_PAUSE_MS);
    let failed = |checker: &mut Checker, at: Instant| {
        checker.health.report(&key, TrafficFailure::Refused);
        checker.take_reports(at);
        checker.turns.take().map(|(number, _)| number)
    };
    let number = failed(&mut checker, now).expect("the first check is made at once");
    checker.conclude(number, &Err(Failure::Resources), now);
    for _ in 0..100 {
        assert_eq!(failed(&mut checker, now + pause / 2), None);
    }
    assert_eq!(checker.health.without_resources(), 1);
    assert_eq!(failed(&mut checker, now + pause), Some(number));
}
