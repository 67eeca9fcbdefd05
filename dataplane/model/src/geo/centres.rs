//! Where the people of a country are, and for the largest countries of a state: what visitors are
//! located by whose database knows no coordinates.
//!
//! Our own table, in tenths of a degree, of facts that anybody can look up. Meant is the middle of where people live,
//! by eye and not by measure: the middle of Canada's area is tundra, and its visitors
//! are two thousand kilometres south of it. Codes are those of ISO 3166.

mod states;

use super::place::Country;
use crate::location::Location;

/// The centre of a country.
pub(super) fn of_country(country: Country) -> Option<Location> {
    let place = COUNTRIES.binary_search_by(|row| row.0.cmp(country.as_str()));
    let (_, lat, lon) = COUNTRIES[place.ok()?];
    Some(Location { lat, lon })
}

/// The centre of a state of one of the largest countries, by its code without the country's (ISO
/// 3166-2) or its English name, in either case.
pub(super) fn of_state(country: Country, state: &str) -> Option<Location> {
    let (_, states) = STATES.iter().find(|(code, _)| *code == country.as_str())?;
    let is_it =
        |row: &&State| row.0.eq_ignore_ascii_case(state) || row.1.eq_ignore_ascii_case(state);
    let &(_, _, lat, lon) = states.iter().find(is_it)?;
    Some(Location { lat, lon })
}

/// Code, name, latitude, longitude.
type State = (&'static str, &'static str, f64, f64);

const STATES: &[(&str, &[State])] = &[
    ("US", states::US),
    ("CA", states::CA),
    ("BR", states::BR),
    ("RU", states::RU),
    ("CN", states::CN),
    ("AU", states::AU),
    ("IN", states::IN),
];

/// Code, latitude, longitude, in the order of the codes.
const COUNTRIES: &[(&str, f64, f64)] = &[
    ("AD", 42.5, 1.5),
    ("AE", 24.7, 54.9),
    ("AF", 34.2, 67.8),
    ("AG", 17.1, -61.8),
    ("AI", 18.2, -63.1),
    ("AL", 41.2, 20.0),
    ("AM", 40.2, 44.6),
    ("AO", -10.5, 15.5),
    ("AQ", -77.8, 166.7),
    ("AR", -33.5, -61.0),
    ("AS", -14.3, -170.7),
    ("AT", 47.8, 15.0),
    ("AU", -33.5, 147.0),
    ("AW", 12.5, -70.0),
    ("AX", 60.2, 20.0),
    ("AZ", 40.4, 48.6),
    ("BA", 44.2, 17.8),
    ("BB", 13.2, -59.6),
    ("BD", 23.8, 90.3),
    ("BE", 50.9, 4.4),
    ("BF", 12.3, -1.6),
    ("BG", 42.7, 25.0),
    ("BH", 26.1, 50.6),
    ("BI", -3.3, 29.8),
    ("BJ", 7.2, 2.3),
    ("BL", 17.9, -62.8),
    ("BM", 32.3, -64.8),
    ("BN", 4.8, 114.8),
    ("BO", -17.2, -65.8),
    ("BQ", 12.2, -68.3),
    ("BR", -18.5, -45.5),
    ("BS", 24.9, -77.4),
    ("BT", 27.4, 90.0),
    ("BV", -54.4, 3.4),
    ("BW", -23.5, 26.2),
    ("BY", 53.6, 28.0),
    ("BZ", 17.3, -88.6),
    ("CA", 46.5, -86.0),
    ("CC", -12.2, 96.8),
    ("CD", -4.3, 21.5),
    ("CF", 5.0, 18.6),
    ("CG", -3.8, 14.4),
    ("CH", 47.1, 8.1),
    ("CI", 6.4, -5.0),
    ("CK", -21.2, -159.8),
    ("CL", -34.5, -71.2),
    ("CM", 5.0, 11.2),
    ("CN", 32.5, 114.0),
    ("CO", 5.3, -74.5),
    ("CR", 9.9, -84.2),
    ("CU", 21.9, -79.3),
    ("CV", 15.1, -23.6),
    ("CW", 12.2, -68.9),
    ("CX", -10.5, 105.7),
    ("CY", 35.0, 33.2),
    ("CZ", 49.8, 15.6),
    ("DE", 50.8, 9.4),
    ("DJ", 11.6, 43.0),
    ("DK", 55.8, 10.9),
    ("DM", 15.4, -61.4),
    ("DO", 18.8, -70.3),
    ("DZ", 35.7, 3.3),
    ("EC", -1.4, -79.2),
    ("EE", 59.1, 25.3),
    ("EG", 30.0, 31.1),
    ("EH", 25.6, -14.0),
    ("ER", 15.3, 38.9),
    ("ES", 40.0, -3.2),
    ("ET", 9.0, 39.0),
    ("FI", 62.0, 25.2),
    ("FJ", -17.8, 178.0),
    ("FK", -51.7, -58.4),
    ("FM", 6.9, 158.2),
    ("FO", 62.0, -6.8),
    ("FR", 47.2, 2.5),
    ("GA", -0.3, 10.3),
    ("GB", 52.6, -1.5),
    ("GD", 12.1, -61.7),
    ("GE", 42.0, 43.9),
    ("GF", 4.8, -52.7),
    ("GG", 49.5, -2.6),
    ("GH", 6.5, -1.0),
    ("GI", 36.1, -5.4),
    ("GL", 65.5, -51.5),
    ("GM", 13.4, -16.2),
    ("GN", 10.2, -11.9),
    ("GP", 16.2, -61.5),
    ("GQ", 2.6, 9.6),
    ("GR", 39.0, 22.8),
    ("GS", -54.3, -36.5),
    ("GT", 14.9, -90.7),
    ("GU", 13.5, 144.8),
    ("GW", 12.0, -15.3),
    ("GY", 6.6, -58.1),
    ("HK", 22.3, 114.2),
    ("HM", -53.1, 73.5),
    ("HN", 14.8, -87.2),
    ("HR", 45.4, 16.0),
    ("HT", 18.9, -72.5),
    ("HU", 47.3, 19.3),
    ("ID", -6.5, 109.5),
    ("IE", 53.1, -7.3),
    ("IL", 31.9, 34.9),
    ("IM", 54.2, -4.5),
    ("IN", 22.0, 79.5),
    ("IO", -7.3, 72.4),
    ("IQ", 33.3, 44.2),
    ("IR", 34.5, 51.3),
    ("IS", 64.5, -21.0),
    ("IT", 43.0, 12.0),
    ("JE", 49.2, -2.1),
    ("JM", 18.1, -77.1),
    ("JO", 32.0, 36.0),
    ("JP", 35.6, 137.6),
    ("KE", -0.7, 36.8),
    ("KG", 41.6, 73.6),
    ("KH", 12.0, 105.0),
    ("KI", 1.4, 173.0),
    ("KM", -11.9, 43.5),
    ("KN", 17.3, -62.7),
    ("KP", 39.4, 126.4),
    ("KR", 36.8, 127.5),
    ("KW", 29.3, 47.9),
    ("KY", 19.3, -81.3),
    ("KZ", 46.8, 71.5),
    ("LA", 18.0, 103.2),
    ("LB", 33.9, 35.7),
    ("LC", 13.9, -61.0),
    ("LI", 47.2, 9.5),
    ("LK", 7.2, 80.4),
    ("LR", 6.6, -10.1),
    ("LS", -29.4, 28.0),
    ("LT", 55.2, 23.9),
    ("LU", 49.7, 6.1),
    ("LV", 56.9, 24.6),
    ("LY", 31.9, 15.8),
    ("MA", 33.2, -6.7),
    ("MC", 43.7, 7.4),
    ("MD", 47.1, 28.6),
    ("ME", 42.6, 19.2),
    ("MF", 18.1, -63.1),
    ("MG", -19.2, 47.0),
    ("MH", 7.1, 171.2),
    ("MK", 41.7, 21.5),
    ("ML", 13.0, -6.5),
    ("MM", 19.5, 96.0),
    ("MN", 47.6, 105.5),
    ("MO", 22.2, 113.5),
    ("MP", 15.2, 145.7),
    ("MQ", 14.7, -61.0),
    ("MR", 17.5, -14.5),
    ("MS", 16.7, -62.2),
    ("MT", 35.9, 14.4),
    ("MU", -20.2, 57.5),
    ("MV", 4.0, 73.4),
    ("MW", -14.2, 34.6),
    ("MX", 20.5, -100.3),
    ("MY", 3.6, 103.2),
    ("MZ", -18.0, 35.9),
    ("NA", -20.2, 17.0),
    ("NC", -21.9, 166.0),
    ("NE", 13.8, 6.0),
    ("NF", -29.0, 168.0),
    ("NG", 8.7, 7.1),
    ("NI", 12.3, -86.1),
    ("NL", 52.1, 5.2),
    ("NO", 60.7, 9.7),
    ("NP", 27.5, 84.8),
    ("NR", -0.5, 166.9),
    ("NU", -19.1, -169.9),
    ("NZ", -39.0, 175.2),
    ("OM", 23.2, 57.5),
    ("PA", 8.8, -80.0),
    ("PE", -10.5, -76.5),
    ("PF", -17.6, -149.5),
    ("PG", -6.3, 145.9),
    ("PH", 12.8, 122.0),
    ("PK", 30.4, 71.5),
    ("PL", 51.8, 19.3),
    ("PM", 46.8, -56.2),
    ("PN", -25.1, -130.1),
    ("PR", 18.3, -66.3),
    ("PS", 31.8, 35.0),
    ("PT", 39.6, -8.6),
    ("PW", 7.4, 134.5),
    ("PY", -25.3, -56.9),
    ("QA", 25.3, 51.4),
    ("RE", -21.1, 55.5),
    ("RO", 45.5, 25.4),
    ("RS", 44.4, 20.7),
    ("RU", 55.5, 49.0),
    ("RW", -2.0, 30.0),
    ("SA", 24.0, 43.5),
    ("SB", -9.3, 160.2),
    ("SC", -4.6, 55.5),
    ("SD", 14.2, 32.2),
    ("SE", 58.8, 15.5),
    ("SG", 1.3, 103.8),
    ("SH", -15.9, -5.7),
    ("SI", 46.1, 14.8),
    ("SJ", 78.2, 15.6),
    ("SK", 48.7, 19.3),
    ("SL", 8.4, -12.0),
    ("SM", 43.9, 12.5),
    ("SN", 14.6, -16.2),
    ("SO", 4.5, 45.0),
    ("SR", 5.8, -55.3),
    ("SS", 7.0, 30.5),
    ("ST", 0.3, 6.7),
    ("SV", 13.7, -89.1),
    ("SX", 18.0, -63.1),
    ("SY", 34.6, 37.0),
    ("SZ", -26.5, 31.4),
    ("TC", 21.8, -72.2),
    ("TD", 11.0, 16.5),
    ("TF", -49.3, 69.5),
    ("TG", 7.5, 1.1),
    ("TH", 14.8, 101.3),
    ("TJ", 38.4, 69.3),
    ("TK", -9.2, -171.8),
    ("TL", -8.7, 125.8),
    ("TM", 38.4, 59.5),
    ("TN", 35.9, 10.0),
    ("TO", -21.1, -175.2),
    ("TR", 39.2, 33.0),
    ("TT", 10.5, -61.3),
    ("TV", -8.5, 179.2),
    ("TW", 24.3, 120.9),
    ("TZ", -5.8, 35.6),
    ("UA", 49.0, 31.3),
    ("UG", 1.0, 32.3),
    ("UM", 19.3, 166.6),
    ("US", 38.0, -92.0),
    ("UY", -34.3, -56.0),
    ("UZ", 40.6, 67.5),
    ("VA", 41.9, 12.5),
    ("VC", 13.2, -61.2),
    ("VE", 9.6, -68.0),
    ("VG", 18.4, -64.6),
    ("VI", 18.0, -64.8),
    ("VN", 16.0, 106.5),
    ("VU", -16.5, 167.6),
    ("WF", -13.8, -176.9),
    ("WS", -13.8, -171.9),
    ("XK", 42.6, 20.9),
    ("YE", 14.6, 44.5),
    ("YT", -12.8, 45.1),
    ("ZA", -28.0, 28.0),
    ("ZM", -13.6, 28.4),
    ("ZW", -18.6, 30.4),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Location {
        of_country(Country::parse(code).unwrap()).unwrap_or_else(|| panic!("{code}"))
    }

    fn state(of: &str, name: &str) -> Option<Location> {
        of_state(Country::parse(of).unwrap(), name)
    }

    #[test]
    fn countries_are_in_order_and_on_earth() {
        assert!(COUNTRIES.is_sorted_by(|one, other| one.0 < other.0));
        // ISO 3166-1 has 249 countries; Kosovo uses a code of its own.
        assert_eq!(COUNTRIES.len(), 250);
        for &(code, lat, lon) in COUNTRIES {
            assert_eq!(Country::parse(code).unwrap().as_str(), code);
            assert!(
                (-80.0..80.0).contains(&lat) && (-180.0..180.0).contains(&lon),
                "{code}"
            );
        }
    }

    /// Capitals are in their countries, at most so far from the middle.
    #[test]
    fn centres_are_near_capitals() {
        for (code, lat, lon, at_most_km) in [
            ("AR", -34.6, -58.4, 500.0),
            ("AU", -35.3, 149.1, 500.0),
            ("BR", -15.8, -47.9, 600.0),
            ("CA", 45.4, -75.7, 900.0),
            ("CL", -33.4, -70.7, 300.0),
            ("CN", 39.9, 116.4, 900.0),
            ("DE", 52.5, 13.4, 400.0),
            ("EG", 30.0, 31.2, 100.0),
            ("ES", 40.4, -3.7, 100.0),
            ("FR", 48.9, 2.4, 300.0),
            ("GB", 51.5, -0.1, 250.0),
            ("ID", -6.2, 106.8, 400.0),
            ("IN", 28.6, 77.2, 900.0),
            ("IT", 41.9, 12.5, 300.0),
            ("JP", 35.7, 139.7, 300.0),
            ("KE", -1.3, 36.8, 200.0),
            ("KR", 37.6, 127.0, 200.0),
            ("MX", 19.4, -99.1, 300.0),
            ("NG", 9.1, 7.5, 200.0),
            ("NL", 52.4, 4.9, 100.0),
            ("NO", 59.9, 10.8, 300.0),
            ("NZ", -41.3, 174.8, 400.0),
            ("PL", 52.2, 21.0, 300.0),
            ("RU", 55.8, 37.6, 900.0),
            ("SA", 24.7, 46.7, 500.0),
            ("SE", 59.3, 18.1, 300.0),
            ("SG", 1.3, 103.8, 50.0),
            ("TR", 39.9, 32.9, 200.0),
            ("US", 38.9, -77.0, 1500.0),
            ("VN", 21.0, 105.8, 700.0),
            ("ZA", -25.7, 28.2, 400.0),
        ] {
            let away = country(code).distance_km(Location { lat, lon });
            assert!(away <= at_most_km, "{code}: {away} km");
        }
    }

    #[test]
    fn states_are_in_order_and_where_their_country_is() {
        for (code, states) in STATES {
            let reach_km = if *code == "RU" { 7_000.0 } else { 6_500.0 };
            assert!(states.is_sorted_by(|one, other| one.0 < other.0), "{code}");
            for &(name, full_name, lat, lon) in *states {
                let away = country(code).distance_km(Location { lat, lon });
                assert!(away < reach_km, "{code}-{name}: {away} km");
                assert_eq!(state(code, full_name), Some(Location { lat, lon }));
            }
        }
        let counts = STATES.iter().map(|(_, states)| states.len());
        assert_eq!(counts.collect::<Vec<_>>(), [51, 13, 27, 83, 31, 8, 36]);
    }

    #[test]
    fn states_are_found_by_code_and_by_name() {
        assert_eq!(state("US", "ca"), state("US", "California"));
        let california = state("US", "CA").unwrap();
        assert!(california.lon < -115.0);
        assert!(state("CA", "CA").is_none() && state("DE", "BY").is_none());
        assert!(state("AU", "NSW").unwrap().lat < -30.0);
    }
}
