//! Where a group of hosts stands, and how far that is from another.

use serde::{Deserialize, Serialize};

/// A point on the earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Location {
    /// Latitude, -90 to 90, north is positive.
    pub lat: f64,
    /// Longitude, -180 to 180, east is positive.
    pub lon: f64,
}

impl Location {
    /// Great-circle distance in kilometres, by the haversine formula on a sphere: off
    /// by at most half a percent, which never decides between two data centres.
    pub fn distance_km(self, other: Location) -> f64 {
        const EARTH_RADIUS_KM: f64 = 6371.0;
        let (lat, other_lat) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = (other_lat - lat) / 2.0;
        let half_lon = (other.lon - self.lon).to_radians() / 2.0;
        let chord = half_lat.sin().powi(2) + lat.cos() * other_lat.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_match_published_ones() {
        let amsterdam = Location {
            lat: 52.37,
            lon: 4.90,
        };
        let new_york = Location {
            lat: 40.71,
            lon: -74.01,
        };
        let auckland = Location {
            lat: -36.85,
            lon: 174.76,
        };
        let suva = Location {
            lat: -18.14,
            lon: 178.44,
        };
        let apia = Location {
            lat: -13.83,
            lon: -171.77,
        };
        assert!((amsterdam.distance_km(new_york) - 5_863.0).abs() < 30.0);
        assert!((new_york.distance_km(amsterdam) - 5_863.0).abs() < 30.0);
        assert!((amsterdam.distance_km(auckland) - 18_150.0).abs() < 100.0);
        // Across the date line the short way counts.
        assert!(suva.distance_km(apia) < 1_300.0);
        assert_eq!(suva.distance_km(suva), 0.0);
    }
}
