//! Zones: what the manifest says, as the responder finds it.

use meridian_model::config_log::{FORMAT, Header, encode};
use meridian_model::geo;
use meridian_model::zones::{Found, GroupIndex, WireName, Zones, rtype};
use meridian_model::{Desired, Local, Manifest};

const FLEET: &str = r#"
[host]
name = "ams-1"
group = "ams"
addresses = ["192.0.2.1", "2001:db8::1"]

[listen]
dns = ["127.0.0.1:53"]

[fleet]
name = "example"
secret = "fleet.key"

[[group]]
name = "ams"
location = { lat = 52.37, lon = 4.90 }
bias_km = -300

[[group]]
name = "nyc"
location = { lat = 40.71, lon = -74.0 }

[[group]]
name = "empty"
location = { lat = 0.0, lon = 0.0 }

[[peer]]
name = "nyc-1"
group = "nyc"
addresses = ["198.51.100.1"]
probe = "http://198.51.100.1:80"

[[tenant]]
name = "acme"

[[tenant]]
name = "idle"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
steering = "geo"
[[site.backend]]
address = "203.0.113.10:80"
group = "nyc"
[[site.backend]]
address = "203.0.113.11:80"
group = "empty"

[[site]]
tenant = "acme"
name = "www"
hostnames = ["www.example.com"]
[[site.backend]]
address = "203.0.113.10:80"
group = "nyc"
[[site.backend]]
address = "203.0.113.12:80"
"#;

const ZONE: &str = r#"
[[zone]]
name = "lb.example.net"
nameservers = ["ams-1", "nyc-1"]
apex = "acme/www"
ttl = 40
negative_ttl = 20
"#;

fn parts(text: &str) -> (Local, Desired) {
    let manifest = Manifest::parse(text, "test.toml").unwrap_or_else(|it| panic!("{it}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    (local, desired)
}

fn zones(more: &str) -> Zones {
    let (local, desired) = parts(&format!("{FLEET}{ZONE}{more}"));
    Zones::compile(&local, &desired, 7).unwrap_or_else(|it| panic!("{it}"))
}

fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

fn record(name: &str, kind: &str, data: &str) -> String {
    format!("[[zone.record]]\nname = '{name}'\ntype = \"{kind}\"\ndata = '{data}'\n")
}

/// What is found, in a word.
fn found(zones: &Zones, text: &str, rtype: u16) -> String {
    match zones.find(&name(text), rtype) {
        Found::Outside => "outside".to_owned(),
        Found::Referral(it) => format!("referral at {}", it.cut_at),
        Found::Missing { zone } => format!("missing of {}", zone.negative_ttl),
        Found::Name { node, service, .. } => {
            let types = node.map(|node| node.sets.iter().map(|set| set.rtype).collect::<Vec<_>>());
            let service = service.map(|it| it.site.0);
            format!("types {types:?} service {service:?}")
        }
    }
}

#[test]
fn a_zone_has_a_soa_name_servers_and_their_addresses() {
    let zones = zones("");
    let Found::Name {
        zone,
        node,
        service,
    } = zones.find(&name("lb.example.net"), rtype::SOA)
    else {
        panic!("the apex is there");
    };
    assert_eq!((zone.ttl, zone.negative_ttl), (40, 20));
    assert_eq!(
        service.map(|it| it.steering),
        Some(meridian_model::desired::Steering::All)
    );
    let node = node.expect("it has records");
    let nameservers = node.set(rtype::NS).expect("it has name servers");
    let written: Vec<&[u8]> = nameservers.data.iter().map(|data| &**data).collect();
    assert_eq!(
        written,
        [
            &name("ams-1.lb.example.net")[..],
            &name("nyc-1.lb.example.net")
        ]
    );
    let soa = node.set(rtype::SOA).expect("it has a SOA");
    assert_eq!(soa.ttl, 20);
    let expected = [
        name("ams-1.lb.example.net"),
        name("hostmaster.lb.example.net"),
    ]
    .concat();
    assert_eq!(soa.data[0][..expected.len()], expected);
    assert_eq!(soa.data[0][soa.data[0].len() - 4..], [0, 0, 0, 20]);
    let of_host = found(&zones, "ams-1.lb.example.net", rtype::A);
    assert_eq!(of_host, "types Some([1, 28]) service None");
    let of_host = found(&zones, "nyc-1.lb.example.net", rtype::A);
    assert_eq!(of_host, "types Some([1]) service None");
}

/// A group exists when it is declared, and also when a host stands in it; the geographic table
/// numbers the same groups.
#[test]
fn groups_are_those_that_the_geographic_table_ranks() {
    let more = r#"
[[peer]]
name = "fra-1"
group = "fra"
addresses = ["198.51.100.7"]
"#;
    let (local, desired) = parts(&format!("{FLEET}{more}"));
    let zones = Zones::compile(&local, &desired, 7).unwrap_or_else(|it| panic!("{it}"));
    let names: Vec<&str> = zones.groups.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["ams", "empty", "fra", "nyc"]);
    let ranked = geo::Group::of_zones(&zones);
    let told: Vec<_> = ranked
        .iter()
        .map(|it| {
            (
                &*it.name,
                it.location.is_some(),
                it.bias_km,
                it.addresses.len(),
            )
        })
        .collect();
    let expected = [
        ("ams", true, -300, 2),
        ("empty", true, 0, 0),
        ("fra", false, 0, 1),
        ("nyc", true, 0, 1),
    ];
    assert_eq!(told, expected);
}

#[test]
fn service_names_stand_below_their_tenants() {
    let zones = zones("");
    let service = |text: &str| match zones.find(&name(text), rtype::A) {
        Found::Name { service, .. } => service.cloned(),
        _ => None,
    };
    let shop = service("shop.acme.lb.example.net").expect("it is there");
    // A group without hosts serves nobody.
    assert_eq!(shop.groups.as_deref(), Some(&[GroupIndex(2)][..]));
    assert_eq!(&*zones.groups[2].name, "nyc");
    assert!(shop.is_served_by(Some(GroupIndex(2))));
    assert!(!shop.is_served_by(Some(GroupIndex(0))) && !shop.is_served_by(None));
    let www = service("www.acme.lb.example.net").expect("it is there");
    assert_eq!(www.groups, None);
    for (text, expected) in [
        ("acme.lb.example.net", "types None service None"),
        ("idle.lb.example.net", "types None service None"),
        ("shop.idle.lb.example.net", "missing of 20"),
        ("x.shop.acme.lb.example.net", "missing of 20"),
        ("shop.lb.example.net", "missing of 20"),
        ("acme.example.net", "outside"),
        ("example.net", "outside"),
        ("", "outside"),
    ] {
        assert_eq!(found(&zones, text, rtype::A), expected, "{text}");
    }
}

#[test]
fn static_records_have_empty_names_above_them() {
    let zones = zones(
        &[
            record("a.b.c", "TXT", "\"deep\""),
            record("_acme-challenge.shop.acme", "TXT", "\"token\""),
        ]
        .concat(),
    );
    for (text, expected) in [
        ("a.b.c.lb.example.net", "types Some([16]) service None"),
        ("b.c.lb.example.net", "types Some([]) service None"),
        ("c.lb.example.net", "types Some([]) service None"),
        ("x.c.lb.example.net", "missing of 20"),
        (
            "_acme-challenge.shop.acme.lb.example.net",
            "types Some([16]) service None",
        ),
        ("shop.acme.lb.example.net", "types Some([]) service Some(1)"),
    ] {
        assert_eq!(found(&zones, text, rtype::TXT), expected, "{text}");
    }
}

/// RFC 4592 §3.3.1: the wildcard of the closest name that exists, and of no other.
#[test]
fn wildcards_cover_what_is_not_there() {
    let zones = zones(
        &[
            record("*", "TXT", "\"any\""),
            record("*.sub", "TXT", "\"any\""),
            record("there.sub", "A", "192.0.2.9"),
        ]
        .concat(),
    );
    for (text, expected) in [
        ("x.lb.example.net", "types Some([16]) service None"),
        ("x.y.lb.example.net", "types Some([16]) service None"),
        ("*.lb.example.net", "types Some([16]) service None"),
        ("x.sub.lb.example.net", "types Some([16]) service None"),
        ("there.sub.lb.example.net", "types Some([1]) service None"),
        ("x.there.sub.lb.example.net", "missing of 20"),
        ("sub.lb.example.net", "types Some([]) service None"),
        ("x.acme.lb.example.net", "missing of 20"),
    ] {
        assert_eq!(found(&zones, text, rtype::TXT), expected, "{text}");
    }
}

#[test]
fn delegations_hide_what_is_below() {
    let zones = zones(
        &[
            record("sub", "NS", "ns.sub"),
            record("sub", "NS", "ns.elsewhere.example."),
            record("ns.sub", "A", "192.0.2.53"),
            record("acme", "NS", "ns.elsewhere.example."),
        ]
        .concat(),
    );
    for (text, rtype, expected) in [
        ("sub.lb.example.net", rtype::A, "referral at 0"),
        ("sub.lb.example.net", rtype::NS, "referral at 0"),
        ("x.sub.lb.example.net", rtype::A, "referral at 2"),
        ("ns.sub.lb.example.net", rtype::A, "referral at 3"),
        // RFC 4035 §3.1.4.1.
        (
            "sub.lb.example.net",
            rtype::DS,
            "types Some([2]) service None",
        ),
        ("x.sub.lb.example.net", rtype::DS, "referral at 2"),
        // The operator gave the tenant's name away.
        ("shop.acme.lb.example.net", rtype::A, "referral at 5"),
    ] {
        assert_eq!(found(&zones, text, rtype), expected, "{text}");
    }
}

#[test]
fn the_longest_zone_answers_and_its_parent_for_ds() {
    let parent = "[[zone]]\nname = \"example.net\"\nnameservers = [\"ams-1\"]\nnegative_ttl = 99\n";
    let zones = zones(parent);
    let negative_ttl = |text: &str, rtype| match zones.find(&name(text), rtype) {
        Found::Name { zone, .. } | Found::Missing { zone } => zone.negative_ttl,
        it => panic!("{it:?}"),
    };
    assert_eq!(negative_ttl("lb.example.net", rtype::A), 20);
    assert_eq!(negative_ttl("x.lb.example.net", rtype::A), 20);
    assert_eq!(negative_ttl("x.example.net", rtype::A), 99);
    assert_eq!(negative_ttl("lb.example.net", rtype::DS), 99);
    // Its parent is not ours.
    assert_eq!(negative_ttl("example.net", rtype::DS), 99);
    // It has none, but is there: NXDOMAIN would be cached for all that is below (RFC 8020).
    let nothing = "types Some([]) service None";
    assert_eq!(found(&zones, "lb.example.net", rtype::DS), nothing);
    let deeper = "[[zone]]\nname = \"net\"\nnameservers = [\"ams-1\"]\n";
    let zones = self::zones(deeper);
    assert_eq!(found(&zones, "lb.example.net", rtype::DS), nothing);
    assert_eq!(found(&zones, "example.net", rtype::A), nothing);
}

#[test]
fn names_of_any_octets_and_any_length_are_looked_for() {
    let zones = zones("");
    let apex = name("lb.example.net");
    let odd = [&b"\x04\0\xff.\x2a"[..], &apex].concat();
    assert!(matches!(zones.find(&odd, 1), Found::Missing { .. }));
    let mut longest = apex.clone();
    while longest.len() < 254 {
        longest = [b"\x01a", &longest[..]].concat();
    }
    assert!(matches!(zones.find(&longest, 1), Found::Missing { .. }));
}

#[test]
fn a_change_of_sites_and_tenants_is_put_on_top() {
    let (local, before) = parts(&format!("{FLEET}{ZONE}"));
    let zones = Zones::compile(&local, &before, 7).expect("it compiles");
    let after = format!("{FLEET}{ZONE}").replace("name = \"shop\"", "name = \"store\"");
    let after = after.replace("name = \"idle\"", "name = \"busy\"");
    let (_, after) = parts(&after);
    let change = before.change_to(&after, 8);
    let changed = zones
        .with(&change)
        .expect("it is of sites and tenants alone");
    assert_eq!(changed.revision, 8);
    for (text, is_there) in [
        ("shop.acme.lb.example.net", false),
        ("store.acme.lb.example.net", true),
        ("www.acme.lb.example.net", true),
        ("idle.lb.example.net", false),
        ("busy.lb.example.net", true),
    ] {
        let found = changed.find(&name(text), rtype::A);
        assert_eq!(matches!(found, Found::Name { .. }), is_there, "{text}");
    }
    // The one before is as it was.
    assert!(matches!(
        zones.find(&name("shop.acme.lb.example.net"), 1),
        Found::Name { .. }
    ));
    let (_, with_zone) = parts(&format!("{FLEET}{ZONE}{}", record("x", "A", "192.0.2.9")));
    let change = before.change_to(&with_zone, 8);
    assert!(zones.with(&change).is_none());
}

#[test]
fn the_log_holds_what_zones_are_made_of() {
    let (local, desired) = parts(&format!("{FLEET}{ZONE}{}", record("x", "TXT", "\"y\"")));
    let header = Header {
        format: FORMAT,
        store: "store".to_owned(),
        revision: 5,
        generation: 1,
    };
    let bytes = encode(&header, &desired).into_bytes();
    let (_, zones) = Zones::read(&local, &bytes).unwrap_or_else(|it| panic!("{it}"));
    assert_eq!(zones.revision, 5);
    assert_eq!(
        found(&zones, "x.lb.example.net", 16),
        "types Some([16]) service None"
    );
    assert_eq!(
        found(&zones, "shop.acme.lb.example.net", 1),
        "types None service Some(1)"
    );
    assert!(Zones::read(&local, &bytes[..bytes.len() - 9]).is_err());
}

/// What is wrong, as `check` says it.
fn problems(more: &str) -> String {
    let text = format!("{FLEET}{ZONE}{more}");
    Manifest::parse(&text, "f.toml")
        .expect_err(more)
        .to_string()
}

#[test]
fn what_can_not_be_served_is_named_with_its_line() {
    let first = FLEET.lines().count() + ZONE.lines().count() + 1;
    for (records, line, key, what) in [
        (
            record("x", "MX", "mail"),
            3,
            "data",
            "is not the data of MX",
        ),
        (
            record("x", "A", "192.0.2"),
            3,
            "data",
            "is not the data of A",
        ),
        (
            record(r"a\", "A", "192.0.2.1"),
            1,
            "name",
            "not the name of a record",
        ),
        (record("@", "CNAME", "x"), 1, "name", "can not stand beside"),
        (
            record("@", "NS", "x"),
            1,
            "name",
            "those of its nameservers",
        ),
        (record("*", "NS", "x"), 1, "name", "can not be delegated"),
        (
            record("@", "A", "192.0.2.1"),
            1,
            "name",
            "the apex has the addresses",
        ),
        (
            record("ams-1", "A", "192.0.2.1"),
            1,
            "name",
            "the name of a name server",
        ),
        (
            record("x", "CNAME", "y") + &record("x", "TXT", "a"),
            1,
            "name",
            "can not stand beside",
        ),
        (
            record("x", "CNAME", "y") + &record("x", "CNAME", "z"),
            1,
            "name",
            "has one CNAME",
        ),
        (
            record("x", "NS", "y") + &record("a.x", "TXT", "a"),
            5,
            "name",
            "is delegated",
        ),
        (
            record("x", "NS", "y") + &record("x", "TXT", "a"),
            5,
            "name",
            "is delegated",
        ),
        (
            record("x", "A", "192.0.2.1") + "ttl = 7\n" + &record("x", "A", "192.0.2.2"),
            8,
            "ttl",
            "differs",
        ),
    ] {
        let told = problems(&records);
        let place = format!("f.toml:{}: zone.record.{key}: ", first + line);
        let is_told = told
            .lines()
            .any(|told| told.starts_with(&place) && told.contains(what));
        assert!(is_told, "{records}: {place}{what} is not in:\n{told}");
    }
    // The same record twice is one.
    zones(&record("x", "A", "192.0.2.1").repeat(2));
}

#[test]
fn a_zone_that_does_not_compile_is_refused_by_the_responder_too() {
    let (local, mut desired) = parts(&format!("{FLEET}{ZONE}{}", record("x", "A", "192.0.2.1")));
    desired.zones[0].records[0].data = "nonsense".to_owned();
    let told = Zones::compile(&local, &desired, 1)
        .expect_err("it is wrong")
        .to_string();
    assert!(
        told.starts_with("zone lb.example.net: record.data: "),
        "{told}"
    );
    desired.zones[0].records.clear();
    desired.zones[0].nameservers = vec![meridian_model::name::Name::parse("gone").expect("a name")];
    let told = Zones::compile(&local, &desired, 1)
        .expect_err("it is wrong")
        .to_string();
    assert!(told.contains("\"gone\" is no host of the fleet"), "{told}");
}

#[test]
fn wire_names_are_values() {
    assert_eq!(
        WireName::new(&name("A.b")).map(|it| it.octets().to_vec()),
        Some(name("a.b"))
    );
}
