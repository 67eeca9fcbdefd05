//! The geographic database of a manifest.

use std::path::Path;

use super::Manifest;
use crate::local::GeoDatabase;

impl Manifest {
    /// What `geo.database` names, and on which line; none where it is left out.
    pub fn geo_database(&self) -> Option<(&GeoDatabase, u32)> {
        let named = self.written.geo.database.as_ref()?;
        Some((&named.value, named.line))
    }

    /// See [`Manifest::standing_in`].
    pub(super) fn move_geo_database(&mut self, directory: &Path) {
        let Some(named) = &mut self.written.geo.database else {
            return;
        };
        let files = match &mut named.value {
            GeoDatabase::Embedded => vec![],
            GeoDatabase::File(file) => vec![file],
            GeoDatabase::Pair { v4, v6 } => vec![v4, v6],
        };
        for file in files {
            *file = directory.join(&file).to_string_lossy().into_owned();
        }
    }
}
