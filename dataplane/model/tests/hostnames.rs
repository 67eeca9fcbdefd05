//! The hostname table against a plain map that says the rule in three lines.

use std::collections::HashMap;
use std::sync::Arc;

use meridian_model::snapshot::{
    HostnameTable, LogShare, PathReading, Site, SiteId, TenantId, Timeouts,
};
use proptest::prelude::*;

fn site(id: u64, hostnames: &[&str]) -> Arc<Site> {
    Arc::new(Site {
        id: SiteId(id),
        tenant_id: TenantId(1),
        tenant: "acme".into(),
        name: format!("site-{id}").into(),
        suspended: Default::default(),
        hostnames: hostnames.iter().copied().collect(),
        timeouts: Arc::new(Timeouts::default()),
        limits: None,
        retry_percent: 20,
        pools: Box::new([]),
        paths: PathReading::AsReceived,
        routes: Box::default(),
        forwards: Arc::default(),
        backend_networks: Arc::new([]),
        trusted_networks: Arc::default(),
        deny_networks: Arc::default(),
        log_share: LogShare::NONE,
        tls: None,
    })
}

/// Gives a hostname to a site of this id and gives the id of the one that had it.
fn insert(table: &mut HostnameTable, hostname: &str, id: u64) -> Option<u64> {
    let mut before = None;
    // It is not the first of the site's.
    let others = ["0.test", "1.test"].map(|it| format!("{id}.{it}"));
    let site = site(id, &[&others[0], hostname, &others[1]]);
    table.insert_all(&site, |taken, site| {
        assert_eq!(taken, hostname);
        before = Some(site.id.0);
    });
    others.iter().for_each(|it| drop(table.remove(it)));
    before
}

fn found(table: &HostnameTable, host: &str) -> Option<u64> {
    table.find(host.as_bytes()).map(|site| site.id.0)
}

/// Exact before wildcard; a wildcard covers exactly one label, which is not empty.
fn found_by_rule(claims: &HashMap<String, u64>, host: &str) -> Option<u64> {
    let exact = claims.get(host);
    let parent = host.split_once('.').filter(|(label, _)| !label.is_empty());
    let wildcard = parent.and_then(|(_, parent)| claims.get(&format!("*.{parent}")));
    exact.or(wildcard).copied()
}

#[test]
fn exact_names_win_over_wildcards_of_one_label() {
    let mut table = HostnameTable::new();
    insert(&mut table, "shop.example.com", 1);
    insert(&mut table, "*.example.com", 2);
    insert(&mut table, "*.shop.example.com", 3);
    assert_eq!(found(&table, "shop.example.com"), Some(1));
    assert_eq!(found(&table, "other.example.com"), Some(2));
    assert_eq!(found(&table, "a.shop.example.com"), Some(3));
    assert_eq!(found(&table, "a.b.shop.example.com"), None);
    assert_eq!(found(&table, "example.com"), None);
    assert_eq!(found(&table, ".example.com"), None);
    assert_eq!(found(&table, "*.example.com"), Some(2));
    assert_eq!(found(&table, ""), None);
    assert_eq!(found(&table, "."), None);
}

#[test]
fn a_changed_copy_leaves_the_old_revision_alone() {
    let mut old = HostnameTable::new();
    for id in 0..5000 {
        let before = insert(&mut old, &format!("host-{id}.example.com"), id);
        assert_eq!(before, None);
    }
    let mut new = old.clone();
    assert_eq!(insert(&mut new, "host-7.example.com", 9999), Some(7));
    assert_eq!(
        new.remove("host-8.example.com").map(|site| site.id.0),
        Some(8)
    );
    assert!(new.remove("host-8.example.com").is_none());
    assert_eq!((old.len(), new.len()), (5000, 4999));
    assert_eq!(found(&old, "host-7.example.com"), Some(7));
    assert_eq!(found(&old, "host-8.example.com"), Some(8));
    assert_eq!(found(&new, "host-7.example.com"), Some(9999));
    assert_eq!(found(&new, "host-8.example.com"), None);
    assert_eq!(new.iter().count(), 4999);
}

fn names() -> impl Strategy<Value = String> {
    // Few labels, so that names meet each other; empty ones too, as strangers send them.
    proptest::collection::vec(prop_oneof!["[ab]{1,2}", "", Just(String::from("*"))], 1..5)
        .prop_map(|labels| labels.join("."))
}

fn claimed_names() -> impl Strategy<Value = String> {
    (any::<bool>(), proptest::collection::vec("[ab]{1,2}", 1..4))
        .prop_map(|(wild, labels)| format!("{}{}", if wild { "*." } else { "" }, labels.join(".")))
}

proptest! {
    #[test]
    fn every_look_up_agrees_with_the_rule(
        changes in proptest::collection::vec((any::<bool>(), claimed_names()), 0..60),
        asked in proptest::collection::vec(names(), 1..60),
    ) {
        let mut table = HostnameTable::new();
        let mut claims = HashMap::new();
        for (id, (is_claim, name)) in changes.into_iter().enumerate() {
            let id = id as u64;
            let before = if is_claim {
                (insert(&mut table, &name, id), claims.insert(name, id))
            } else {
                (table.remove(&name).map(|site| site.id.0), claims.remove(&name))
            };
            prop_assert_eq!(before.0, before.1);
        }
        prop_assert_eq!(table.len(), claims.len());
        for (name, site) in table.iter() {
            prop_assert_eq!(claims.get(&name), Some(&site.id.0));
        }
        for host in &asked {
            prop_assert_eq!(found(&table, host), found_by_rule(&claims, host), "{}", host);
        }
    }

    #[test]
    fn any_bytes_may_be_asked_for(host in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut table = HostnameTable::new();
        insert(&mut table, "*.example.com", 1);
        let is_covered = host.strip_suffix(b".example.com")
            .is_some_and(|label| !label.is_empty() && !label.contains(&b'.'));
        prop_assert_eq!(table.find(&host).is_some(), is_covered);
    }
}
