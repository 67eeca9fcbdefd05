//! The geographic table against databases that a writer of the tests' own makes, and against a
//! slow reference that looks at the networks themselves.

#[path = "city.rs"]
mod city;
#[path = "writer.rs"]
mod writer;

use ipnet::{IpNet, Ipv4Net};
use meridian_model::geo::{Database, Explanation, Geography, Group, RankingId, Source, Standing};
use meridian_model::local::GeoOverride;
use meridian_model::location::Location;
use meridian_model::name::Name;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

const AMSTERDAM: Location = Location {
    lat: 52.4,
    lon: 4.9,
};
const CHICAGO: Location = Location {
    lat: 41.9,
    lon: -87.6,
};
const TOKYO: Location = Location {
    lat: 35.7,
    lon: 139.7,
};

fn group(name: &str, location: Option<Location>) -> Group {
    Group {
        name: name.into(),
        location,
        bias_km: 0,
        addresses: Vec::new(),
    }
}

fn three() -> Vec<Group> {
    vec![
        group("america", Some(CHICAGO)),
        group("asia", Some(TOKYO)),
        group("europe", Some(AMSTERDAM)),
    ]
}

fn flat(place: Location) -> Value {
    json!({"latitude": place.lat, "longitude": place.lon})
}

fn nested(place: Location) -> Value {
    json!({"location": {"latitude": place.lat, "longitude": place.lon}})
}

fn network(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(prefix: &str, group: &str) -> GeoOverride {
    GeoOverride {
        prefix: network(prefix),
        group: Name::parse(group).unwrap(),
    }
}

fn built(file: &[u8], overrides: &[GeoOverride]) -> Geography {
    let places = Database::File(file).places().unwrap();
    Geography::build(&places, three(), overrides, 0).unwrap()
}

fn closest(geography: &Geography, id: RankingId) -> &str {
    let first = geography.ranking(id)[0];
    &geography.groups()[first.index()].name
}

#[test]
fn both_layouts_and_a_pair_decide_alike() {
    let of = |record: fn(Location) -> Value| {
        [
            (network("20.0.0.0/8"), record(AMSTERDAM)),
            (network("21.0.0.0/8"), record(TOKYO)),
            (network("2a00::/16"), record(CHICAGO)),
        ]
    };
    let merged = [of(flat), of(nested)].map(|it| built(&writer::write(6, &it), &[]));
    let [v4, v6] = [
        writer::write(4, &of(flat)[..2]),
        writer::write(6, &of(flat)[2..]),
    ];
    let pair = Database::Pair { v4: &v4, v6: &v6 }.places().unwrap();
    let pair = Geography::build(&pair, three(), &[], 0).unwrap();
    for geography in merged.iter().chain([&pair]) {
        for (visitor, bits, group, scope) in [
            ("20.1.2.0", 24, "europe", 8),
            ("21.1.2.0", 24, "asia", 8),
            ("2a00:5::", 56, "america", 16),
            // RFC 4291 section 2.5.5.2: what stands for IPv4 is told in lengths of IPv6.
            ("::ffff:20.1.2.0", 120, "europe", 104),
        ] {
            let found = geography.lookup(address(visitor), bits);
            assert_eq!(closest(geography, found.ranking), group, "{visitor}");
            assert_eq!((found.scope, found.standing), (scope, Standing::Located));
        }
    }
}

#[test]
fn what_is_not_public_is_decided_by_the_resolver_with_the_block_as_scope() {
    let file = writer::write(4, &[(network("20.0.0.0/8"), flat(TOKYO))]);
    let geography = built(&file, &[to("10.9.0.0/16", "europe")]);
    let resolver = address("20.0.0.1");
    for (visitor, scope) in [("10.1.2.0", 8), ("192.168.1.0", 16), ("100.64.9.0", 10)] {
        let found = geography.lookup(address(visitor), 24);
        // An override makes smaller what is left of its block.
        let scope = if visitor.starts_with("10.") {
            13
        } else {
            scope
        };
        assert_eq!(
            (found.standing, found.scope),
            (Standing::Reserved, scope),
            "{visitor}"
        );
        let decided = geography.decide(Some((address(visitor), 24)), resolver);
        assert_eq!(closest(&geography, decided.ranking), "asia");
        assert_eq!(decided.scope, scope);
    }
    let office = geography.decide(Some((address("10.9.3.0"), 24)), resolver);
    assert_eq!(
        (closest(&geography, office.ranking), office.scope),
        ("europe", 16)
    );
    let none = geography.decide(Some((address("0.0.0.0"), 0)), resolver);
    assert_eq!((closest(&geography, none.ranking), none.scope), ("asia", 0));
}

#[test]
fn an_unknown_prefix_has_all_groups_in_one_tier_and_no_scope_of_0() {
    let file = writer::write(4, &[(network("20.0.0.0/8"), flat(TOKYO))]);
    let geography = built(&file, &[]);
    let found = geography.lookup(address("80.0.0.0"), 24);
    assert_eq!(found.standing, Standing::Unknown);
    assert_eq!(found.ranking, RankingId::NO_LOCATION);
    assert_eq!(geography.tiers(found.ranking).count(), 1);
    assert!(found.scope >= 1);
    // Nothing is known of IPv6.
    let found = geography.lookup(address("2a00::"), 56);
    assert_eq!(
        (found.standing, found.ranking),
        (Standing::Unknown, RankingId::NO_LOCATION)
    );
    assert!(found.scope >= 1);
}

#[test]
fn a_group_without_a_location_stands_where_the_database_has_its_hosts() {
    let file = writer::write(4, &[(network("20.0.0.0/8"), flat(TOKYO))]);
    let places = Database::File(&file).places().unwrap();
    let mut groups = vec![group("asia", None), group("nowhere", None)];
    groups[0].addresses = vec![address("80.0.0.1"), address("20.0.0.1")];
    let geography = Geography::build(&places, groups, &[to("20.1.0.0/16", "other")], 0).unwrap();
    let found = geography.lookup(address("20.0.0.0"), 24);
    let ranking = geography.ranking(found.ranking);
    assert_eq!(geography.location(ranking[0]), Some(TOKYO));
    assert_eq!(geography.location(ranking[1]), None);
    assert_eq!(geography.not_used(), [network("20.1.0.0/16")]);
}

#[test]
fn without_groups_there_is_nothing_to_rank_and_nothing_fails() {
    let places = Database::Embedded.places().unwrap();
    let geography = Geography::build(&places, Vec::new(), &[], 0).unwrap();
    for visitor in ["133.1.0.0", "10.0.0.0", "2001:200::"] {
        let found = geography.decide(Some((address(visitor), 24)), address("18.0.0.1"));
        assert!(geography.ranking(found.ranking).is_empty());
        assert_eq!(geography.tier(found.ranking, 0), []);
    }
}

#[test]
fn equally_close_groups_are_one_tier() {
    let places = Database::Embedded.places().unwrap();
    let tokyo_too = group(
        "osaka",
        Some(Location {
            lat: 34.7,
            lon: 135.5,
        }),
    );
    let groups = three().into_iter().chain([tokyo_too]).collect();
    let geography = Geography::build(&places, groups, &[], 500).unwrap();
    let found = geography.lookup(address("133.1.0.0"), 24);
    let tiers: Vec<Vec<usize>> = geography
        .tiers(found.ranking)
        .map(|tier| tier.iter().map(|it| it.index()).collect())
        .collect();
    assert_eq!(tiers, [vec![1, 3], vec![2], vec![0]]);
    let mut from = 0;
    for tier in &tiers {
        let same = geography.tier(found.ranking, from);
        assert_eq!(same.len(), tier.len());
        from += same.len();
    }
    assert_eq!(geography.tier(found.ranking, from), []);
}

#[test]
fn an_explanation_names_source_place_and_distances() {
    let file = writer::write(4, &[(network("20.0.0.0/8"), flat(TOKYO))]);
    let geography = built(&file, &[to("20.9.0.0/16", "europe")]);
    let explain = |visitor| {
        let database = Database::File(&file);
        geography.explain(database, address(visitor), 24).unwrap()
    };
    let leaf = explain("20.1.2.0");
    assert_eq!(leaf.source, Source::Database);
    assert_eq!(leaf.place.unwrap().location, TOKYO);
    assert!(leaf.ranking[0].distance_km.unwrap() < 1.0);
    assert!((9_000.0..11_000.0).contains(&leaf.ranking[2].distance_km.unwrap()));
    assert_eq!(leaf.decision, geography.lookup(address("20.1.2.0"), 24));
    let office = explain("20.9.1.0");
    assert_eq!(office.source, Source::Override(network("20.9.0.0/16")));
    assert_eq!(office.matched, network("20.9.0.0/16"));
    assert_eq!(
        serde_json::to_value(&office).unwrap(),
        json!({
            "decision": {"scope": 16, "standing": "located"},
            "matched": "20.9.0.0/16",
            "source": {"override": "20.9.0.0/16"},
            "place": {"location": {"lat": 35.7, "lon": 139.7}, "country": null, "basis": "coordinates"},
            "ranking": [
                ranked("europe", 0, AMSTERDAM, &office),
                ranked("america", 1, CHICAGO, &office),
                ranked("asia", 2, TOKYO, &office),
            ],
        })
    );
    assert_eq!(explain("80.0.0.0").source, Source::None);
    assert_eq!(
        explain("10.0.0.0").source,
        Source::Reserved(network("10.0.0.0/8"))
    );
}

/// A group as an explanation shows it. Where an override decides, distances are the place's still.
fn ranked(name: &str, tier: u16, location: Location, of: &Explanation) -> Value {
    let from = of.place.unwrap().location;
    json!({
        "name": name, "tier": tier, "location": {"lat": location.lat, "lon": location.lon},
        "distance_km": from.distance_km(location), "bias_km": 0,
    })
}

#[test]
fn what_says_nothing_of_places_is_refused() {
    let file = writer::write(4, &[(network("20.0.0.0/8"), json!({"asn": 64496}))]);
    let problem = Database::File(&file).places().unwrap_err();
    assert!(problem.what.contains("no network"), "{problem:?}");
    assert_eq!(problem.key, "geo.database");
    assert!(Database::File(b"no database").places().is_err());
}

#[test]
fn the_database_in_the_program_knows_the_large_networks() {
    let places = Database::Embedded.places().unwrap();
    for (visitor, country) in [
        // Allotments of regional registries that have not moved for decades.
        ("133.1.0.1", "JP"),
        ("18.0.0.1", "US"),
        ("193.0.0.1", "NL"),
        ("200.160.0.8", "BR"),
        ("2001:200::1", "JP"),
        ("2001:610::1", "NL"),
    ] {
        let place = places.of(address(visitor)).unwrap();
        assert_eq!(place.country.unwrap().as_str(), country, "{visitor}");
    }
    assert_eq!(places.of(address("10.0.0.1")), None);
    let geography = Geography::build(&places, three(), &[], 0).unwrap();
    for (visitor, group) in [
        ("133.1.0.0", "asia"),
        ("18.0.0.0", "america"),
        ("193.0.0.0", "europe"),
    ] {
        let found = geography.lookup(address(visitor), 24);
        assert_eq!(closest(&geography, found.ranking), group);
    }
    let [v4, v6] = geography.bytes();
    assert!(v4 < 2 << 20 && v6 < 3 << 20, "{v4} and {v6} bytes");
}

/// What the table must say, from the networks themselves: whether it is known where the visitor
/// is, and the groups in order. Of equal networks and of equal overrides the last decides, which
/// is the one that `max_by_key` returns.
fn expected(
    records: &[(IpNet, Location)],
    overrides: &[GeoOverride],
    visitor: Ipv4Addr,
) -> (bool, Vec<String>) {
    let visitor = IpAddr::V4(visitor);
    let holding = |it: &IpNet| it.contains(&visitor);
    let forced = overrides.iter().filter(|it| holding(&it.prefix));
    let forced = forced.max_by_key(|it| it.prefix.prefix_len());
    let first = forced.map(|it| it.group.as_str());
    let place = match first {
        Some(name) => {
            three()
                .iter()
                .find(|it| *it.name == *name)
                .unwrap()
                .location
        }
        None => {
            let found = records.iter().filter(|(it, _)| holding(it));
            found
                .max_by_key(|(it, _)| it.prefix_len())
                .map(|(_, it)| *it)
        }
    };
    let mut order: Vec<_> = three()
        .into_iter()
        .map(|it| {
            let is_first = first == Some(&*it.name);
            let distance = place.map_or(0.0, |place| haversine_km(place, it.location.unwrap()));
            (!is_first, distance, it.name.to_string())
        })
        .collect();
    order.sort_by(|one, other| one.partial_cmp(other).unwrap());
    (place.is_some(), order.into_iter().map(|it| it.2).collect())
}

fn haversine_km(one: Location, other: Location) -> f64 {
    let (lat, other_lat) = (one.lat.to_radians(), other.lat.to_radians());
    let half_lat = ((other_lat - lat) / 2.0).sin();
    let half_lon = ((other.lon - one.lon).to_radians() / 2.0).sin();
    let chord = half_lat.powi(2) + lat.cos() * other_lat.cos() * half_lon.powi(2);
    2.0 * 6371.0 * chord.sqrt().min(1.0).asin()
}

/// Networks of 20.0.0.0/8, so that they meet, and nothing finer than a /24.
fn networks() -> impl Strategy<Value = IpNet> {
    (any::<u32>(), 9_u8..=24).prop_map(|(bits, length)| {
        let address = Ipv4Addr::from(20 << 24 | bits >> 8 & 0x000f_ff00);
        IpNet::V4(Ipv4Net::new(address, length).unwrap().trunc())
    })
}

fn places() -> impl Strategy<Value = Location> {
    (-80_i32..80, -179_i32..179).prop_map(|(lat, lon)| Location {
        lat: f64::from(lat) + 0.25,
        lon: f64::from(lon) + 0.25,
    })
}

fn told(geography: &Geography, visitor: Ipv4Addr, bits: u8) -> (bool, Vec<String>, u8) {
    let found = geography.lookup(IpAddr::V4(visitor), bits);
    let names = geography.ranking(found.ranking).iter();
    let names = names.map(|it| geography.groups()[it.index()].name.to_string());
    (
        found.standing == Standing::Located,
        names.collect(),
        found.scope,
    )
}

proptest! {
    #[test]
    fn the_table_is_the_reference_and_all_of_a_scope_is_told_the_same(
        records in prop::collection::vec((networks(), places()), 1..40),
        overrides in prop::collection::vec((networks(), 0_usize..3), 0..6),
        visitors in prop::collection::vec((any::<u32>(), any::<u32>()), 40),
    ) {
        let written: Vec<_> = records.iter().map(|(it, place)| (*it, flat(*place))).collect();
        let overrides: Vec<_> = overrides
            .iter()
            .map(|(prefix, group)| GeoOverride {
                prefix: *prefix,
                group: Name::parse(&three()[*group].name).unwrap(),
            })
            .collect();
        let file = writer::write(6, &written);
        let geography = built(&file, &overrides);
        for (bits, other) in visitors {
            let visitor = Ipv4Addr::from(20 << 24 | bits & 0x000f_ffff);
            let (located, names, scope) = told(&geography, visitor, 24);
            prop_assert_eq!((located, names.clone()), expected(&records, &overrides, visitor));
            prop_assert!((1..=24).contains(&scope));
            let within = u32::from(visitor) & !(u32::MAX >> scope) | other & (u32::MAX >> scope);
            let (located_too, same, _) = told(&geography, Ipv4Addr::from(within), 24);
            prop_assert_eq!((located_too, same), (located, names.clone()));
            // One bit less, and something of it is told otherwise: at an edge of what was given.
            let half = u32::from(visitor) & !(u32::MAX >> scope) ^ 1 << (32 - scope);
            let edges = records.iter().map(|it| it.0).chain(overrides.iter().map(|it| it.prefix));
            let mut probes: Vec<Ipv4Addr> = vec![Ipv4Addr::from(half)];
            for edge in edges {
                let (IpAddr::V4(first), IpAddr::V4(last)) = (edge.network(), edge.broadcast()) else {
                    unreachable!("of IPv4");
                };
                probes.extend([first, last]);
                probes.extend(u32::from(last).checked_add(1).map(Ipv4Addr::from));
            }
            let mask = !(u32::MAX >> scope);
            let in_half = probes.iter().filter(|it| u32::from(**it) & mask == half & mask);
            let mut differs = scope < 8;
            for probe in in_half {
                differs |= expected(&records, &overrides, *probe) != (located, names.clone());
            }
            prop_assert!(differs, "{visitor} has a scope of {scope}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_or_a_database_and_never_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let records = [
            (network("20.0.0.0/12"), nested(TOKYO)),
            (network("20.16.0.0/12"), json!({"country": {"iso_code": "US"},
                "subdivisions": [{"iso_code": "CA"}]})),
            (network("2a00::/12"), flat(AMSTERDAM)),
        ];
        let mut file = writer::write(6, &records);
        for (at, byte) in changes {
            let at = at.index(file.len());
            file[at] = byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(places) = Database::File(&file).places() {
            let geography = Geography::build(&places, three(), &[], 0).unwrap();
            geography.lookup(address("20.1.2.3"), 24);
            let _ = geography.explain(Database::File(&file), address("20.17.2.3"), 24);
        }
    }
}
