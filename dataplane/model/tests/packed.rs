//! A packed state against the same state taken apart.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use meridian_model::change::{Change, Object, ObjectName};
use meridian_model::config_log::{FORMAT, Header, encode};
use meridian_model::desired::{Site, SiteName};
use meridian_model::name::Name;
use meridian_model::{Desired, Local, Manifest, Packed, check, compile};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// Few enough names that random changes meet.
const NAMES: u8 = 6;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// Sites by tenant and name, each with its hostnames, which may be claimed twice.
type Sites = std::collections::BTreeMap<(u8, u8), BTreeSet<u8>>;

fn sites() -> impl Strategy<Value = Sites> {
    let hostnames = proptest::collection::btree_set(0..NAMES, 1..3);
    btree_map((0..3_u8, 0..NAMES), hostnames, 0..8)
}

/// A state of three tenants with one site, whose objects every other one is made of.
fn base() -> (Local, Desired) {
    let mut text = String::from("[host]\nname = \"h1\"\n[listen]\nhttp = [\"127.0.0.1:8080\"]\n");
    for tenant in 0..3 {
        writeln!(text, "[[tenant]]\nname = \"t{tenant}\"").unwrap();
    }
    text.push_str("[[site]]\ntenant = \"t0\"\nname = \"s0\"\nhostnames = [\"n0.test\"]\n");
    let (local, mut desired) = Manifest::parse(&text, "h1.toml").unwrap().into_parts();
    desired.assign_ids(None);
    (local, desired)
}

fn site(like: &Site, (tenant, number): (u8, u8), hostnames: &BTreeSet<u8>) -> Arc<Site> {
    let mut site = like.clone();
    site.id.0 = 0;
    site.tenant = name(&format!("t{tenant}"));
    site.name = name(&format!("s{number}"));
    let hostnames = hostnames.iter().map(|it| format!("n{it}.test"));
    let hostnames = hostnames.map(|it| meridian_model::name::Hostname::parse(&it).unwrap());
    site.hostnames = hostnames.collect();
    Arc::new(site)
}

fn first(sites: &Sites) -> (Local, Desired) {
    let (local, mut desired) = base();
    let like = desired.sites.pop().unwrap();
    let mut claimed = BTreeSet::new();
    for (full, hostnames) in sites {
        let free = hostnames.iter().copied();
        let free: BTreeSet<u8> = free.filter(|it| claimed.insert(*it)).collect();
        desired.sites.push(site(&like, *full, &free));
    }
    desired.assign_ids(None);
    (local, desired)
}

fn pack(desired: &Desired) -> Packed {
    let header = Header {
        format: FORMAT,
        store: String::from("s"),
        revision: 1,
        generation: 1,
    };
    Packed::new(desired, Arc::new(encode(&header, desired)))
}

fn site_name(tenant: u8, number: u8) -> SiteName {
    SiteName {
        tenant: name(&format!("t{tenant}")),
        site: name(&format!("s{number}")),
    }
}

/// Everything that is asked of a packed state has the answer of the one taken apart.
fn assert_same(packed: &Packed, desired: &Desired) {
    assert_eq!(packed.unpack(), *desired);
    for tenant in 0..4 {
        let of_tenant = packed.site_of(&name(&format!("t{tenant}")));
        let expected = desired.site_of(&name(&format!("t{tenant}")));
        assert_eq!(of_tenant.is_some(), expected.is_some(), "t{tenant}");
        assert!(of_tenant.is_none_or(|it| desired.sites.contains(&it)));
        let sites = desired.sites_of(&name(&format!("t{tenant}"))).len();
        assert_eq!(packed.sites_of(&name(&format!("t{tenant}"))), sites);
        let full = ObjectName::Tenant(name(&format!("t{tenant}")));
        assert_eq!(packed.object(&full), desired.object(&full));
        for number in 0..NAMES {
            let full = site_name(tenant, number);
            assert_eq!(packed.site(&full).as_ref(), desired.site(&full));
            let full = ObjectName::Site {
                tenant: full.tenant,
                name: full.site,
            };
            assert_eq!(packed.object(&full), desired.object(&full));
            assert_eq!(packed.owner(&full).as_ref(), desired.owner(&full));
        }
    }
    for hostname in 0..NAMES {
        let hostname = format!("n{hostname}.test");
        let mut claimants = desired.sites.iter();
        let claims = |site: &Site| site.hostnames.iter().any(|it| it.as_str() == hostname);
        let expected = claimants.find(|it| claims(it));
        assert_eq!(packed.claimant(&hostname).as_ref(), expected, "{hostname}");
    }
}

#[derive(Clone, Debug)]
struct Edit {
    puts: Sites,
    deletes: Vec<(u8, u8)>,
    /// A tenant that is put with another key, and one that is deleted.
    tenants: (Option<u8>, Option<u8>),
    /// How many sites the one that is put may have.
    quota: Option<u32>,
    /// The sites that are put ask for what can not be served.
    is_wrong: bool,
}

fn edit() -> impl Strategy<Value = Edit> {
    let tenants = (
        proptest::option::weighted(0.2, 0..4_u8),
        proptest::option::weighted(0.2, 0..4_u8),
    );
    let quota = proptest::option::of(0..4_u32);
    let deletes = vec((0..3_u8, 0..NAMES), 0..4);
    let is_wrong = proptest::bool::weighted(0.05);
    let all = (sites(), deletes, tenants, quota, is_wrong);
    all.prop_map(|(puts, deletes, tenants, quota, is_wrong)| Edit {
        puts,
        deletes,
        tenants,
        quota,
        is_wrong,
    })
}

impl Edit {
    fn change(&self, before: &Desired, packed: &Packed, like: &Site, revision: u64) -> Change {
        let mut change = Change {
            revision,
            ids: before.ids,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        for (full, hostnames) in &self.puts {
            let mut base = before.clone();
            base.ids = change.ids;
            let mut site = site(like, *full, hostnames);
            Arc::make_mut(&mut site).redirect_to_https = self.is_wrong;
            let object = Object::Site(site);
            let one = base.change_of(object.clone(), revision);
            if change.puts.is_empty() {
                assert_eq!(packed.change_of(object, revision), one);
            }
            change.ids = one.ids;
            change.puts.extend(one.puts);
        }
        if let Some(number) = self.tenants.0 {
            let mut tenant = before.tenants[0].clone();
            tenant.name = name(&format!("t{number}"));
            tenant.suspended = true;
            tenant.limits.sites = self.quota;
            let mut base = before.clone();
            base.ids = change.ids;
            let one = base.change_of(Object::Tenant(tenant), revision);
            change.ids = one.ids;
            change.puts.extend(one.puts);
        }
        for &(tenant, number) in &self.deletes {
            if !self.puts.contains_key(&(tenant, number)) {
                let SiteName { tenant, site: name } = site_name(tenant, number);
                change.deletes.push(ObjectName::Site { tenant, name });
            }
        }
        if let Some(number) = self.tenants.1.filter(|it| Some(*it) != self.tenants.0) {
            let name = name(&format!("t{number}"));
            change.deletes.push(ObjectName::Tenant(name));
        }
        change
    }
}

proptest! {
    /// Random changes, each made where it compiles: what is asked of the packed state, and whether
    /// a change may be made, is as with the whole one. Now and then it is packed anew.
    #[test]
    fn it_is_the_state_that_it_was_packed_of(
        begun in sites(),
        edits in vec((edit(), any::<bool>()), 1..8),
    ) {
        let (_, of_base) = base();
        let like = &of_base.sites[0];
        let (local, mut desired) = first(&begun);
        prop_assert!(check(&local, &desired).is_ok());
        let mut packed = pack(&desired);
        assert_same(&packed, &desired);
        for (revision, (edit, packs)) in (2..).zip(edits) {
            if desired.tenants.is_empty() {
                break;
            }
            let change = edit.change(&desired, &packed, like, revision);
            prop_assert_eq!(packed.over_quota(&change), desired.over_quota(&change));
            let mut next = desired.clone();
            next.apply(change.clone());
            let compiles = compile(&local, &next, revision).is_ok();
            prop_assert_eq!(check(&local, &next).is_ok(), compiles);
            prop_assert_eq!(packed.check(&local, &change).is_ok(), compiles, "{:?}", change);
            if compiles {
                packed.apply(change);
                desired = next;
            }
            if packs {
                packed = pack(&desired);
            }
            assert_same(&packed, &desired);
        }
    }
}

/// Many hashes of 32 bits, of which some are the same; and more sites than a thread reads at once.
#[test]
fn very_many_sites_are_found() {
    let (_, mut desired) = base();
    let like = desired.sites.pop().unwrap();
    for number in 0..3000 {
        let mut site = Site::clone(&like);
        site.name = name(&format!("s{number}"));
        let hostname = format!("n{number}.test");
        site.hostnames = vec![meridian_model::name::Hostname::parse(&hostname).unwrap()];
        desired.put(Object::Site(Arc::new(site)));
    }
    let packed = pack(&desired);
    assert_eq!(packed.unpack(), desired);
    for site in &desired.sites {
        assert_eq!(
            packed.claimant(site.hostnames[0].as_str()).as_ref(),
            Some(site)
        );
        let full = SiteName {
            tenant: site.tenant.clone(),
            site: site.name.clone(),
        };
        assert_eq!(packed.site(&full).as_ref(), Some(site));
    }
}
