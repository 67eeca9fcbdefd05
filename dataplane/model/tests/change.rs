//! Changes: what a journal carries leads to the same state, and compiles to the same snapshot,
//! as that state as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use meridian_model::certificate::Digest;
use meridian_model::change::{Object, ObjectName};
use meridian_model::desired::{Group, Owner, Site, SiteName, Suspension};
use meridian_model::location::Location;
use meridian_model::name::{Hostname, Name};
use meridian_model::snapshot::{SiteId, Snapshot};
use meridian_model::{Compiled, Desired, Local, Manifest, compile};
use proptest::prelude::*;

/// What a manifest declares, small enough that random ones meet each other.
#[derive(Clone, Debug)]
struct Declared {
    /// By tenant: whether its networks are narrowed.
    tenants: BTreeMap<u8, bool>,
    /// By tenant and site: hostnames, and the ports of the backends.
    sites: BTreeMap<(u8, u8), (Vec<u8>, Vec<u16>)>,
    peers: u8,
    /// By tenant and certificate: its content. Sites of its tenant show some of them.
    certificates: BTreeMap<(u8, u8), u8>,
    /// What the provider suspends: a tenant, or a site of it; they need not be there.
    suspensions: BTreeSet<(u8, Option<u8>)>,
}

impl Declared {
    /// Each hostname belongs to the first site that wants it.
    fn text(&self) -> String {
        let mut text = String::from(
            "[host]\nname = \"ams-1\"\nbackend_networks = [\"127.0.0.0/8\"]\n\
             [fleet]\nname = \"f\"\nsecret = \"k\"\n[listen]\nhttp = [\"127.0.0.1:8080\"]\n",
        );
        for peer in 0..self.peers {
            writeln!(
                text,
                "[[peer]]\nname = \"p{peer}\"\naddresses = [\"192.0.2.{}\"]\nprobe = \"http://192.0.2.{}:80\"",
                peer + 1,
                peer + 1
            )
            .unwrap();
        }
        for (tenant, is_narrowed) in &self.tenants {
            writeln!(text, "[[tenant]]\nname = \"t{tenant}\"").unwrap();
            if *is_narrowed {
                writeln!(text, "backend_networks = [\"127.0.0.1/32\"]").unwrap();
            }
        }
        for (tenant, certificate) in self.certificates.keys() {
            if self.tenants.contains_key(tenant) {
                writeln!(
                    text,
                    "[[certificate]]\ntenant = \"t{tenant}\"\nname = \"c{certificate}\"\nchain = \"c\"\nkey = \"k\""
                )
                .unwrap();
            }
        }
        let mut claimed = [false; 256];
        for ((tenant, site), (names, ports)) in &self.sites {
            let names: Vec<String> = names
                .iter()
                .filter(|&&name| !std::mem::replace(&mut claimed[usize::from(name)], true))
                .map(|name| format!("\"n{name}.test\""))
                .collect();
            if !self.tenants.contains_key(tenant) || names.is_empty() {
                continue;
            }
            writeln!(
                text,
                "[[site]]\ntenant = \"t{tenant}\"\nname = \"s{site}\"\nhostnames = [{}]",
                names.join(", ")
            )
            .unwrap();
            let shown = self.certificates.keys();
            let shown = shown.filter(|(of, it)| of == tenant && (it + site) % 2 == 0);
            let shown: Vec<String> = shown.map(|(_, it)| format!("\"c{it}\"")).collect();
            writeln!(text, "certificates = [{}]", shown.join(", ")).unwrap();
            let mut of_backends = self.certificates.keys();
            if let Some((_, it)) = of_backends.find(|(of, it)| of == tenant && (it + site) % 2 == 1)
            {
                let tls = format!("verify = false, certificate = \"c{it}\"");
                writeln!(text, "pool = {{ tls = {{ {tls} }} }}").unwrap();
            }
            for port in ports {
                writeln!(text, "[[site.backend]]\naddress = \"127.0.0.1:{port}\"").unwrap();
            }
        }
        text
    }

    fn parts(&self, previous: Option<&Desired>) -> (Local, Desired) {
        let text = self.text();
        let manifest =
            Manifest::parse(&text, "random.toml").unwrap_or_else(|all| panic!("{all}\n{text}"));
        let (local, mut desired) = manifest.into_parts();
        desired.assign_ids(previous);
        let suspensions = self.suspensions.iter().map(|(tenant, site)| Suspension {
            tenant: name(&format!("t{tenant}")),
            site: site.map(|site| name(&format!("s{site}"))),
        });
        desired.suspensions = suspensions.collect();
        for (at, content) in &self.certificates {
            let (tenant, certificate) = (name(&format!("t{}", at.0)), name(&format!("c{}", at.1)));
            let mut all = desired.certificates.iter_mut();
            if let Some(it) = all.find(|it| it.tenant == tenant && it.name == certificate) {
                it.content.digest = Digest([*content; 32]);
                it.content.names = Box::new([Hostname::parse("*.test").unwrap()]);
            }
        }
        (local, desired)
    }
}

fn declared() -> impl Strategy<Value = Declared> {
    let tenants = proptest::collection::btree_map(0..3_u8, proptest::bool::weighted(0.2), 1..4);
    let names = proptest::collection::vec(0..12_u8, 1..4);
    let ports = proptest::collection::btree_set(9000..9004_u16, 0..3)
        .prop_map(|ports| ports.into_iter().collect());
    let sites = proptest::collection::btree_map((0..3_u8, 0..3_u8), (names, ports), 0..6);
    let suspensions =
        proptest::collection::btree_set((0..3_u8, proptest::option::of(0..3_u8)), 0..3);
    let certificates = proptest::collection::btree_map((0..3_u8, 0..3_u8), 1..4_u8, 0..6);
    (tenants, sites, 0..2_u8, suspensions, certificates).prop_map(
        |(tenants, sites, peers, suspensions, certificates)| Declared {
            tenants,
            sites,
            peers,
            certificates,
            suspensions,
        },
    )
}

fn certificates(snapshot: &Snapshot) -> Vec<String> {
    let all = snapshot.certificates.iter();
    let mut all: Vec<String> = all.map(|it| format!("{it:?}")).collect();
    all.sort();
    all
}

/// All that workers see of a snapshot.
fn seen(snapshot: &Snapshot) -> String {
    let mut names: Vec<String> = snapshot
        .hostnames
        .iter()
        .map(|(name, site)| format!("{name} {:?}", site.id))
        .collect();
    names.sort();
    let sites = snapshot.sites_by_name();
    format!(
        "{} {} {names:?} {sites:#?} {:?} {:?}",
        snapshot.revision,
        snapshot.via,
        snapshot.policy,
        certificates(snapshot)
    )
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

proptest! {
    #[test]
    fn changes_lead_to_the_same_as_the_whole(steps in proptest::collection::vec(declared(), 1..8)) {
        let (local, mut desired) = steps[0].parts(None);
        let mut compiled = Compiled::new(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"));
        for (index, step) in steps.iter().enumerate().skip(1) {
            let revision = index as u64 + 1;
            let (_, next) = step.parts(Some(&desired));
            let change = desired.change_to(&next, revision);
            prop_assert_eq!(change.is_empty(), desired == next);
            // As it comes back from the disk.
            let change = serde_json::from_str(&serde_json::to_string(&change).unwrap()).unwrap();
            let before = compiled.snapshot().clone();
            let seen_before = seen(&before);
            let changed = compiled.apply(&local, &change).unwrap_or_else(|all| panic!("{all}"));
            desired.apply(change);
            prop_assert_eq!(&desired, &next);
            let whole = Compiled::new(&local, &next, revision).unwrap_or_else(|all| panic!("{all}"));
            match changed {
                Some(changed) => {
                    for id in (0..100).map(SiteId) {
                        let (old, new) = (before.sites.get(id), compiled.snapshot().sites.get(id));
                        let same = match (old, new) {
                            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                            (old, new) => old.is_none() && new.is_none(),
                        };
                        prop_assert_eq!(same, !changed.contains(&id), "{:?}", id);
                    }
                }
                None => {
                    let (next, changed) = compiled.anew(&local, &next, revision).unwrap_or_else(|all| panic!("{all}"));
                    for id in (0..100).map(SiteId) {
                        let (old, new) = (before.sites.get(id), next.snapshot().sites.get(id));
                        prop_assert_eq!(old == new, !changed.contains(&id), "{:?}", id);
                    }
                    for (id, site) in next.snapshot().sites.iter() {
                        if let Some(old) = before.sites.get(id).filter(|old| **old == *site) {
                            prop_assert!(Arc::ptr_eq(old, site));
                        }
                    }
                    compiled = next;
                }
            }
            prop_assert_eq!(seen(compiled.snapshot()), seen(whole.snapshot()));
            // The revision before is what it was.
            prop_assert_eq!(seen(&before), seen_before);
        }
    }
}

fn shop() -> Declared {
    Declared {
        tenants: BTreeMap::from([(0, false)]),
        sites: BTreeMap::from([
            ((0, 0), (vec![1], vec![9000])),
            ((0, 1), (vec![2], vec![9001])),
        ]),
        peers: 0,
        certificates: BTreeMap::new(),
        suspensions: BTreeSet::new(),
    }
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let (local, desired) = shop().parts(None);
    let mut compiled = Compiled::new(&local, &desired, 1).unwrap();
    let before = seen(compiled.snapshot());
    let mut next = desired.clone();
    let claimed = next.sites[0].hostnames.clone();
    Arc::make_mut(&mut next.sites[1]).hostnames = claimed;
    let problems = compiled
        .apply(&local, &desired.change_to(&next, 2))
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("t0/s1: hostname n1.test: is claimed by t0/s0 too"),
        "{problems}"
    );
    assert_eq!(seen(compiled.snapshot()), before);
    // One that takes the name from its owner in the same change is right.
    let claimed = desired.sites[1].hostnames.clone();
    Arc::make_mut(&mut next.sites[0]).hostnames = claimed;
    let changed = compiled
        .apply(&local, &desired.change_to(&next, 2))
        .unwrap();
    let mut changed = changed.expect("sites alone were changed");
    changed.sort();
    assert_eq!(changed, [SiteId(1), SiteId(2)]);
    assert_eq!(compiled.revision(), 2);
}

#[test]
fn objects_are_found_and_named() {
    let (_, desired) = shop().parts(None);
    let site = ObjectName::Site {
        tenant: name("t0"),
        name: name("s1"),
    };
    let found = desired.object(&site).expect("it is there");
    assert_eq!(found.name(), site);
    assert_eq!(found.owner(), &Owner::Manifest(name("ams-1")));
    assert!(matches!(&found, Object::Site(site) if site.id == SiteId(2)));
    assert_eq!(site.to_string(), "site t0/s1");
    assert!(desired.object(&ObjectName::Tenant(name("t1"))).is_none());
    let full = SiteName {
        tenant: name("t0"),
        site: name("s1"),
    };
    assert_eq!(desired.site(&full).map(|site| site.id), Some(SiteId(2)));
}

/// What all sites are compiled against changes, and they are the very same.
#[test]
fn a_change_that_sites_do_not_notice_leaves_them_alone() {
    let (local, desired) = shop().parts(None);
    let compiled = Compiled::new(&local, &desired, 1).unwrap();
    let mut with_peer = shop();
    with_peer.peers = 2;
    let (_, mut next) = with_peer.parts(Some(&desired));
    next.groups.push(Group {
        owner: Owner::Api,
        name: Name::parse("nyc").unwrap(),
        location: Some(Location { lat: 1.0, lon: 2.0 }),
        bias_km: 0,
    });
    let (anew, changed) = compiled.anew(&local, &next, 2).unwrap();
    assert_eq!(changed, []);
    let (before, after) = (compiled.snapshot(), anew.snapshot());
    assert_ne!(before.policy, after.policy);
    for (id, site) in before.sites.iter() {
        assert!(Arc::ptr_eq(site, after.sites.get(id).unwrap()), "{id:?}");
        let found = after
            .hostnames
            .get(site.hostnames.iter().next().unwrap())
            .unwrap();
        assert!(Arc::ptr_eq(site, found), "{id:?}");
    }
    // A tenant's networks are part of its sites.
    next.tenants[0].backend_networks = Some(Vec::new());
    let (_, changed) = compiled.anew(&local, &next, 2).unwrap();
    assert_eq!(changed.len(), 2);
}

/// One object of many: nothing is said of the others, and none of them is copied.
#[test]
fn setting_one_object_is_about_that_object_alone() {
    let (_, desired) = shop().parts(None);
    let site = Site::clone(&desired.sites[1]);
    let same = desired.change_of(Object::Site(Arc::new(site.clone())), 2);
    assert!(same.is_empty() && same.ids == desired.ids);
    // Ids are those of the site of this name, whatever was said.
    let mut changed = site.clone();
    changed.id = SiteId(0);
    changed.redirect_to_https = true;
    let change = desired.change_of(Object::Site(Arc::new(changed)), 2);
    assert_eq!((change.puts.len(), change.ids), (1, desired.ids));
    assert!(matches!(&change.puts[0], Object::Site(it) if it.id == site.id));
    // A new one gets one id, and each of its pools one.
    let mut new = site;
    new.name = Name::parse("new").unwrap();
    let change = desired.change_of(Object::Site(Arc::new(new)), 2);
    assert_eq!(change.ids.site, desired.ids.site + 1);
    assert_eq!(change.ids.pool, desired.ids.pool + 1);
    let mut next = desired.clone();
    next.apply(change);
    assert_eq!(next.sites.len(), 3);
    let kept = |site| next.sites.iter().any(|it| Arc::ptr_eq(it, site));
    assert!(desired.sites.iter().all(kept));
}

#[test]
fn a_suspension_stays_whatever_the_owner_applies_and_deletes() {
    let (_, declared) = shop().parts(None);
    let mut desired = declared.clone();
    desired.suspensions = vec![Suspension {
        tenant: name("t0"),
        site: Some(name("s1")),
    }];
    let owner = Owner::Manifest(name("ams-1"));
    let nothing = Desired::default();
    let applied = |before: &Desired, declared: &Desired| {
        let change = before.change_by_owner(&owner, declared.clone(), 2);
        let mut next = before.clone();
        next.apply(change.expect("it is its own"));
        next
    };
    let emptied = applied(&desired, &nothing);
    assert!(emptied.sites.is_empty());
    assert_eq!(emptied.suspensions, desired.suspensions);
    let again = applied(&emptied, &declared);
    assert_eq!(again.suspensions, desired.suspensions);
    let order = ObjectName::Suspension(desired.suspensions[0].clone());
    assert_eq!(order.to_string(), "suspension of site t0/s1");
    let found = again.object(&order).expect("it is there");
    assert_eq!((found.name(), found.owner()), (order, &Owner::Api));
}

#[test]
fn what_is_suspended_is_so_for_each_of_its_reasons() {
    let holds = |text: &str, suspensions: &[(&str, Option<&str>)]| {
        let manifest = Manifest::parse(text, "h.toml").unwrap_or_else(|all| panic!("{all}"));
        let (local, mut desired) = manifest.into_parts();
        desired.assign_ids(None);
        let suspensions = suspensions.iter().map(|(tenant, site)| Suspension {
            tenant: name(tenant),
            site: site.map(name),
        });
        desired.suspensions = suspensions.collect();
        let snapshot = compile(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"));
        let sites = snapshot.sites_by_name();
        let holds: Vec<bool> = sites.iter().map(|site| site.suspended.holds()).collect();
        holds
    };
    let text = shop().text();
    assert_eq!(holds(&text, &[]), [false, false]);
    assert_eq!(holds(&text, &[("t0", None)]), [true, true]);
    assert_eq!(holds(&text, &[("t0", Some("s1"))]), [false, true]);
    assert_eq!(
        holds(&text, &[("t1", None), ("t0", Some("s9"))]),
        [false, false]
    );
    let of_tenant = text.replace("name = \"t0\"\n", "name = \"t0\"\nsuspended = true\n");
    // The sites name their tenant by another key.
    assert_eq!(holds(&of_tenant, &[]), [true, true]);
    let of_site = text.replace("name = \"s0\"\n", "name = \"s0\"\nsuspended = true\n");
    assert_eq!(holds(&of_site, &[]), [true, false]);
    assert_eq!(holds(&of_site, &[("t0", Some("s1"))]), [true, true]);
}
