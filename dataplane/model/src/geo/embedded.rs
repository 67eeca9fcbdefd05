//! The database that is inside the program: DB-IP's of countries, in a form of our own.
//!
//! ```text
//! "MGEO" 1                      what it is, and its version
//! count, count x 2 letters      the countries
//! for IPv4, then for IPv6       count, count x (cells, country)
//! ```
//!
//! Numbers are LEB128; a range is as many cells as it has, and which country: 0 is none, 1 the
//! first. In IPv6 a range has 256 times as many /56 as it says: nothing finer than a /48 is kept.
//! `cargo run -p meridian-model --example embed-geography` makes it from a database of countries
//! (docs/decisions/0038-embedded-geography.md).

use super::cells::Family;
use super::place::{Country, Place};
use super::places::{Builder, FamilyPlaces, PlaceId, Places, UNKNOWN};

/// Whose data it is, to be shown wherever something that came of it is shown (CC BY 4.0).
pub const ATTRIBUTION: &str =
    "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0, June 2026, abridged";

const BYTES: &[u8] = include_bytes!("embedded.geo");

const MAGIC: &[u8] = b"MGEO\x01";

/// Bits of a cell that a range of each family does not count.
const fn unit_bits(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 8,
    }
}

/// What it says.
pub(super) fn places() -> Places {
    read(BYTES).expect("a test reads all of it")
}

/// [`Places`] of countries in the form above. Coordinates are left out, and so are places without
/// a country.
pub fn write(places: &Places) -> Vec<u8> {
    let families = [Family::V4, Family::V6];
    let known = families.iter().flat_map(|it| places.family(*it).places());
    let mut countries: Vec<Country> = known.filter_map(|(_, place)| place.country).collect();
    countries.sort_unstable();
    countries.dedup();
    let mut bytes = MAGIC.to_vec();
    push_number(&mut bytes, countries.len() as u64);
    for country in &countries {
        bytes.extend(country.as_str().bytes());
    }
    for family in families {
        let ranges = whole_units(places.family(family), family, &countries);
        push_number(&mut bytes, ranges.len() as u64);
        for (units, country) in ranges {
            push_number(&mut bytes, units);
            push_number(&mut bytes, country);
        }
    }
    bytes
}

/// The ranges of a family in units, joined: a unit is what its first cell is.
fn whole_units(places: &FamilyPlaces, family: Family, countries: &[Country]) -> Vec<(u64, u64)> {
    let number = |id: PlaceId| {
        let country = places.place(id).and_then(|place| place.country);
        country.map_or(0, |it| {
            countries.binary_search(&it).expect("listed") as u64 + 1
        })
    };
    let bits = unit_bits(family);
    let units = family.cells() >> bits;
    let mut begins: Vec<(u64, u64)> = Vec::new();
    for (first, id) in places.ranges() {
        let unit = first.div_ceil(1 << bits);
        match begins.last_mut() {
            // No unit began in the range before it.
            Some(last) if last.0 == unit => last.1 = number(id),
            _ => begins.push((unit, number(id))),
        }
    }
    begins.retain(|(unit, _)| *unit < units);
    begins.dedup_by_key(|(_, number)| *number);
    let ends = begins.iter().skip(1).map(|it| it.0).chain([units]);
    let ranges = begins.iter().zip(ends);
    ranges.map(|(it, end)| (end - it.0, it.1)).collect()
}

fn read(bytes: &[u8]) -> Option<Places> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let count = take_number(&mut rest)?;
    let mut countries = Vec::new();
    for _ in 0..count {
        let (code, behind) = rest.split_at_checked(2)?;
        countries.push(Country::parse(str::from_utf8(code).ok()?)?);
        rest = behind;
    }
    let v4 = read_family(&mut rest, Family::V4, &countries)?;
    let v6 = read_family(&mut rest, Family::V6, &countries)?;
    rest.is_empty().then_some(Places { v4, v6 })
}

fn read_family(rest: &mut &[u8], family: Family, countries: &[Country]) -> Option<FamilyPlaces> {
    let mut builder = Builder::new(family);
    let mut ids: Vec<PlaceId> = vec![UNKNOWN];
    for country in countries {
        ids.push(match Place::of_country(*country) {
            Some(place) => builder.id(place)?,
            None => UNKNOWN,
        });
    }
    let count = take_number(rest)?;
    let mut at = 0_u64;
    for _ in 0..count {
        let cells = take_number(rest)?.checked_shl(unit_bits(family))?;
        let id = *ids.get(usize::try_from(take_number(rest)?).ok()?)?;
        let end = at.checked_add(cells)?;
        if end > family.cells() {
            return None;
        }
        builder.extend(at, end, id);
        at = end;
    }
    (at == family.cells()).then(|| builder.finish())
}

fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
