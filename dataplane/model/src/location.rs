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
    /// Great-circle distance in kilometres, from the chord on a sphere: off
    /// by at most half a percent, which never decides between two data centres.
    pub fn distance_km(self, other: Location) -> f64 {
        self.on_sphere().distance_km(other.on_sphere())
    }

    /// The same point in a form that distances are quick to tell from.
    pub fn on_sphere(self) -> SpherePoint {
        let (lat, lon) = (self.lat.to_radians(), self.lon.to_radians());
        SpherePoint([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()])
    }
}

/// A point on the sphere of radius 1. Where many places are compared with the same groups, what
/// takes a sine is done once for each and not once for each pair.
#[derive(Clone, Copy, Debug)]
pub struct SpherePoint([f64; 3]);

impl SpherePoint {
    /// See [`Location::distance_km`].
    pub fn distance_km(self, other: SpherePoint) -> f64 {
        const EARTH_RADIUS_KM: f64 = 6371.0;
        let SpherePoint([x, y, z]) = self;
        let SpherePoint([other_x, other_y, other_z]) = other;
        let chord = (x - other_x).powi(2) + (y - other_y).powi(2) + (z - other_z).powi(2);
        2.0 * EARTH_RADIUS_KM * (chord.sqrt() / 2.0).min(1.0).asin()
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
        // The other side of the earth is half its circumference away.
        let antipode = Location {
            lat: -amsterdam.lat,
            lon: amsterdam.lon - 180.0,
        };
        assert!((amsterdam.distance_km(antipode) - 20_015.0).abs() < 1.0);
    }
}
