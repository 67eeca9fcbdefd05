//! What a geographic database says of a network, in whichever of the two layouts.
//!
//! ```text
//! nested, of MaxMind   location { latitude, longitude }, country { iso_code },
//!                      subdivisions [ { iso_code } ... ]
//! flat                 latitude, longitude, country_code, state or state1
//! ```
//!
//! A field of another type than it should have is as if it were not there: what counts is
//! whether anything tells a place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::centres;
use crate::location::Location;

/// A country by its code of two letters (ISO 3166-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Takes `text` for a code, in either case. It need not be one that is given out.
    pub fn parse(text: &str) -> Option<Country> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        let is_code = code.iter().all(u8::is_ascii_alphabetic);
        is_code.then(|| Country(code.map(|letter| letter.to_ascii_uppercase())))
    }

    /// The code, in upper case.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("two letters")
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a place is known by, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Coordinates of the database.
    Coordinates,
    /// The centre of a state or province that the database names.
    State,
    /// The centre of the country that the database names.
    Country,
}

/// Where a network's visitors are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The point that distances are counted from.
    pub location: Location,
    /// The country, where the database names one.
    pub country: Option<Country>,
    /// How the location is known.
    pub basis: Basis,
}

impl Place {
    /// What makes two places one.
    pub(super) fn key(&self) -> (u64, u64, Option<Country>, u8) {
        let Place {
            location: Location { lat, lon },
            country,
            basis,
        } = *self;
        (lat.to_bits(), lon.to_bits(), country, basis as u8)
    }

    /// The centre of a country; none where nobody knows it.
    pub(super) fn of_country(country: Country) -> Option<Place> {
        Some(Place {
            location: centres::of_country(country)?,
            country: Some(country),
            basis: Basis::Country,
        })
    }
}

/// What is read of one record.
#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    location: Position,
    #[serde(borrow)]
    country: Coded<'a>,
    #[serde(borrow)]
    subdivisions: First<'a>,
    latitude: Number,
    longitude: Number,
    #[serde(borrow)]
    country_code: Text<'a>,
    #[serde(borrow)]
    state: Text<'a>,
    #[serde(borrow)]
    state1: Text<'a>,
}

impl Record<'_> {
    /// The best that it tells.
    pub(super) fn place(&self) -> Option<Place> {
        let country = self.country.0.or(self.country_code.0);
        let country = country.and_then(Country::parse);
        let nested = point(self.location.latitude, self.location.longitude);
        if let Some(location) = nested.or_else(|| point(self.latitude, self.longitude)) {
            return Some(Place {
                location,
                country,
                basis: Basis::Coordinates,
            });
        }
        let country = country?;
        let states = [self.subdivisions.0, self.state.0, self.state1.0];
        let state = states
            .into_iter()
            .flatten()
            .find_map(|state| centres::of_state(country, state));
        match state {
            Some(location) => Some(Place {
                location,
                country: Some(country),
                basis: Basis::State,
            }),
            None => Place::of_country(country),
        }
    }
}

/// Coordinates that are some. 0, 0 is what databases write where they know none: there is
/// nothing but water.
fn point(lat: Number, lon: Number) -> Option<Location> {
    let (lat, lon) = (lat.0?, lon.0?);
    let is_on_earth = (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
    (is_on_earth && (lat, lon) != (0.0, 0.0)).then_some(Location { lat, lon })
}

/// `location` of the nested layout.
#[derive(Debug, Default, PartialEq)]
struct Position {
    latitude: Number,
    longitude: Number,
}

/// A number of any type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Number(Option<f64>);

/// A text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Text<'a>(Option<&'a str>);

/// The `iso_code` of a map, or a text that is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Coded<'a>(Option<&'a str>);

/// The code of the first of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct First<'a>(Option<&'a str>);

/// What a value can be. Everything else is passed over.
enum Value<'a> {
    Number(f64),
    Text(&'a str),
    /// What of a map is looked for anywhere.
    Map {
        code: Text<'a>,
        position: Position,
    },
    /// The first of a list, where that has a code.
    List(Text<'a>),
    Other,
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of a geographic database")
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    fn visit_f32<E>(self, number: f32) -> Result<Value<'de>, E> {
        Ok(Value::Number(f64::from(number)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(text))
    }

    fn visit_str<E>(self, _: &str) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value<'de>, E> {
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut code = Text::default();
        let mut position = Position::default();
        while let Some(key) = map.next_key::<&str>()? {
            match key {
                "iso_code" => code = map.next_value()?,
                "latitude" => position.latitude = map.next_value()?,
                "longitude" => position.longitude = map.next_value()?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Map { code, position })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        let first = list.next_element::<Coded<'de>>()?.unwrap_or_default();
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::List(Text(first.0)))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Number(number) => Number(Some(number)),
            _ => Number(None),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Text(text) => Text(Some(text)),
            _ => Text(None),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Coded<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Coded<'a>, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Text(text) => Coded(Some(text)),
            Value::Map { code, .. } => Coded(code.0),
            _ => Coded(None),
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<First<'a>, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::List(first) => First(first.0),
            _ => First(None),
        })
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Position, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::Map { position, .. } => position,
            _ => Position::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(json: &'static str) -> Option<Place> {
        serde_json::from_str::<Record<'_>>(json).unwrap().place()
    }

    fn basis(json: &'static str) -> Option<Basis> {
        place(json).map(|place| place.basis)
    }

    #[test]
    fn both_layouts_say_the_same() {
        let nested = place(
            r#"{"city": {"names": {"en": "Zoetermeer"}}, "country": {"geoname_id": 1, "iso_code": "NL"},
                "location": {"latitude": 52.05, "longitude": 4.5, "time_zone": "Europe/Amsterdam"}}"#,
        );
        let flat = place(
            r#"{"city": "Zoetermeer", "country_code": "nl", "latitude": 52.05, "longitude": 4.5}"#,
        );
        assert_eq!(nested, flat);
        let nested = nested.unwrap();
        assert_eq!(nested.country.unwrap().as_str(), "NL");
        assert_eq!(
            nested.location,
            Location {
                lat: 52.05,
                lon: 4.5
            }
        );
        assert_eq!(nested.basis, Basis::Coordinates);
    }

    #[test]
    fn without_coordinates_the_state_and_then_the_country_counts() {
        let nested = place(
            r#"{"country": {"iso_code": "US"},
                "subdivisions": [{"iso_code": "CA", "names": {"en": "California"}}, {"iso_code": "X"}]}"#,
        );
        let flat = place(r#"{"country_code": "US", "state1": "California", "latitude": ""}"#);
        assert_eq!(nested, flat);
        assert_eq!(nested.unwrap().basis, Basis::State);
        let unknown = r#"{"country_code": "US", "state": "Nowhere"}"#;
        assert_eq!(basis(unknown), Some(Basis::Country));
        assert_eq!(basis(r#"{"country": "DE"}"#), Some(Basis::Country));
        assert_eq!(
            basis(r#"{"country": {"iso_code": "DE"}}"#),
            Some(Basis::Country)
        );
    }

    #[test]
    fn what_is_no_place_is_none() {
        for nothing in [
            "{}",
            r#"{"country_code": "ZZ"}"#,
            r#"{"country_code": "Germany"}"#,
            r#"{"country_code": 49}"#,
            r#"{"latitude": 0, "longitude": 0.0}"#,
            r#"{"latitude": 91, "longitude": 0}"#,
            r#"{"latitude": 50}"#,
            r#"{"location": [], "country": [], "subdivisions": {}}"#,
            r#"{"autonomous_system_number": 64496, "x": {"y": [1, true, null]}}"#,
        ] {
            assert_eq!(place(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn a_wrong_type_hides_only_itself() {
        let json = r#"{"location": 5, "latitude": "52", "longitude": 4, "country_code": "NL"}"#;
        assert_eq!(basis(json), Some(Basis::Country));
        let integers = place(r#"{"latitude": -33, "longitude": 151}"#).unwrap();
        assert_eq!(
            integers.location,
            Location {
                lat: -33.0,
                lon: 151.0
            }
        );
    }
}
