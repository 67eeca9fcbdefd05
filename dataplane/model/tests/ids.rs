//! Ids are minted once, kept by (tenant, name), and never reused.

use meridian_model::Manifest;
use meridian_model::desired::{Desired, IdCounters};

fn desired(sites: &[(&str, &str, &[&str])]) -> Desired {
    let mut text = String::from("[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n");
    let mut tenants: Vec<&str> = sites.iter().map(|(tenant, ..)| *tenant).collect();
    tenants.dedup();
    for tenant in tenants {
        text.push_str(&format!("[[tenant]]\nname = \"{tenant}\"\n"));
    }
    for (tenant, site, pools) in sites {
        let host = format!("{site}.{tenant}.example");
        text.push_str(&format!(
            "[[site]]\ntenant = \"{tenant}\"\nname = \"{site}\"\nhostnames = [\"{host}\"]\n"
        ));
        for pool in *pools {
            text.push_str(&format!("[[site.pool]]\nname = \"{pool}\"\n"));
        }
    }
    let manifest = Manifest::parse(&text, "ids.toml").unwrap_or_else(|all| panic!("{all}"));
    manifest.into_parts().1
}

/// Full names with their ids, pools included.
fn ids(desired: &Desired) -> Vec<String> {
    let mut shown: Vec<String> = desired
        .tenants
        .iter()
        .map(|tenant| format!("{} {}", tenant.name, tenant.id.0))
        .collect();
    for site in &desired.sites {
        shown.push(format!("{}/{} {}", site.tenant, site.name, site.id.0));
        for pool in &site.pools {
            shown.push(format!(
                "{}/{}/{} {}",
                site.tenant, site.name, pool.name, pool.id.0
            ));
        }
    }
    shown
}

#[test]
fn what_stays_keeps_its_id_and_what_is_new_gets_a_new_one() {
    let mut first = desired(&[("acme", "blog", &[]), ("acme", "shop", &["api"])]);
    first.assign_ids(None);
    assert_eq!(
        ids(&first),
        [
            "acme 1",
            "acme/blog 1",
            "acme/blog/default 1",
            "acme/shop 2",
            "acme/shop/default 2",
            "acme/shop/api 3",
        ]
    );

    // Another tenant's site of the same name is another site; `blog` is gone.
    let mut second = desired(&[("aaa", "shop", &[]), ("acme", "shop", &["api", "new"])]);
    second.assign_ids(Some(&first));
    assert_eq!(
        ids(&second),
        [
            "aaa 2",
            "acme 1",
            "aaa/shop 3",
            "aaa/shop/default 4",
            "acme/shop 2",
            "acme/shop/default 2",
            "acme/shop/api 3",
            "acme/shop/new 5",
        ]
    );

    // What comes back is new: nothing of the old one is its own.
    let mut third = desired(&[("acme", "blog", &[])]);
    third.assign_ids(Some(&second));
    assert_eq!(
        ids(&third),
        ["acme 1", "acme/blog 4", "acme/blog/default 6"]
    );
    let counters = IdCounters {
        tenant: 2,
        site: 4,
        pool: 6,
        certificate: 0,
    };
    assert_eq!(third.ids, counters);
}

#[test]
fn assigning_twice_changes_nothing() {
    let mut once = desired(&[("acme", "shop", &["api"])]);
    once.assign_ids(None);
    let mut twice = desired(&[("acme", "shop", &["api"])]);
    twice.assign_ids(Some(&once));
    assert_eq!(once, twice);
}
