//! Two manifests that mean the same compile to equal snapshots, ids aside; and what
//! they mean is written beside them.

use std::fmt::Write;
use std::net::SocketAddr;

use meridian_model::snapshot::{Backend, Pool, Site, Snapshot, Tier};
use meridian_model::{Manifest, compile};

#[test]
fn defaults_may_be_left_out() {
    check(
        include_str!("golden/pairs/defaults.plain.toml"),
        include_str!("golden/pairs/defaults.spelt.toml"),
        include_str!("golden/pairs/defaults.snapshot.txt"),
    );
}

#[test]
fn order_and_spelling_mean_nothing() {
    check(
        include_str!("golden/pairs/order.forward.toml"),
        include_str!("golden/pairs/order.backward.toml"),
        include_str!("golden/pairs/order.snapshot.txt"),
    );
}

fn check(one: &str, other: &str, expected: &str) {
    let (one, other) = (meaning(one), meaning(other));
    assert_eq!(one, other);
    assert_eq!(one, expected, "the snapshot is:\n{one}");
}

fn meaning(text: &str) -> String {
    let manifest = Manifest::parse(text, "golden.toml").unwrap_or_else(|all| panic!("{all}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    let snapshot = compile(&local, &desired, 7).unwrap_or_else(|all| panic!("{all}"));
    described(&snapshot)
}

/// All of a snapshot as text but its ids. Taken apart in full, so that nothing that is
/// added later is left out of the comparison.
fn described(snapshot: &Snapshot) -> String {
    let Snapshot {
        revision,
        hostnames,
        sites,
        via,
        timeouts,
        policy,
    } = snapshot;
    let mut text = String::new();
    let out = &mut text;
    writeln!(out, "revision {revision} via {via}").unwrap();
    writeln!(out, "timeouts {timeouts:?}").unwrap();
    for own in ["127.0.0.1:80", "127.0.0.1:8080", "198.51.100.1:80"] {
        let address: SocketAddr = own.parse().unwrap();
        writeln!(out, "policy {own} {:?}", policy.check(&[], address)).unwrap();
    }
    let mut names: Vec<String> = hostnames
        .iter()
        .map(|(name, site)| format!("hostname {name} {}/{}", site.tenant, site.name))
        .collect();
    names.sort();
    writeln!(out, "{}", names.join("\n")).unwrap();
    assert_eq!(sites.len(), snapshot.sites_by_name().len());
    let sites = snapshot.sites_by_name();
    sites.iter().for_each(|site| describe_site(out, site));
    text
}

fn describe_site(out: &mut String, site: &Site) {
    let Site {
        id: _,
        tenant_id: _,
        tenant,
        name,
        hostnames: _, // shown with the table
        timeouts,
        retry_percent,
        pools,
        backend_networks,
    } = site;
    writeln!(out, "site {tenant}/{name} networks {backend_networks:?}").unwrap();
    writeln!(out, "  timeouts {timeouts:?} retries {retry_percent} %").unwrap();
    for pool in pools {
        let Pool {
            id: _,
            name,
            algorithm,
            tiers,
        } = pool;
        writeln!(out, "  pool {name} {algorithm:?}").unwrap();
        for Tier {
            cross_group,
            backends,
        } in tiers
        {
            writeln!(out, "    tier cross_group={cross_group}").unwrap();
            for backend in backends {
                let Backend {
                    name,
                    address,
                    weight,
                    key,
                } = backend;
                assert_eq!(key.site(), site.id);
                assert_eq!((key.pool(), key.backend()), (&*pool.name, &**name));
                assert_eq!(key.address(), *address);
                writeln!(out, "      {name} {address} weight {weight}").unwrap();
            }
        }
    }
}
