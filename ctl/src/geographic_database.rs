//! The files that `geo.database` of a manifest names, read as the program that uses them does.

use std::fs::File;
use std::io::{self, Read};

use meridian_model::geo::{Database, Places};
use meridian_model::limits::GEO_DATABASE_BYTES_MAX;
use meridian_model::local::GeoDatabase;
use meridian_model::{Manifest, Problem};

/// Whether the database that a manifest names says where visitors are. `file` is what problems
/// call the manifest.
///
/// # Errors
/// What is wrong with the files, as a problem of the line that names them.
pub(crate) fn check(manifest: &Manifest, file: &str) -> Result<(), Problem> {
    let Some((named, line)) = manifest.geo_database() else {
        return Ok(());
    };
    places(named).map(drop).map_err(|problem| Problem {
        file: file.to_string(),
        line: Some(line),
        ..problem
    })
}

/// Everything that a database says.
///
/// # Errors
/// What is wrong with it; the line and the manifest are the caller's to fill in.
fn places(named: &GeoDatabase) -> Result<Places, Problem> {
    let of = |shown: String, database: Database<'_>| {
        database.places().map_err(|problem| Problem {
            what: format!("{shown}: {}", problem.what),
            ..problem
        })
    };
    match named {
        GeoDatabase::Embedded => of("embedded".to_string(), Database::Embedded),
        GeoDatabase::File(file) => of(file.clone(), Database::File(&read(file)?)),
        GeoDatabase::Pair { v4, v6 } => {
            let (v4_bytes, v6_bytes) = (read(v4)?, read(v6)?);
            let database = Database::Pair {
                v4: &v4_bytes,
                v6: &v6_bytes,
            };
            of(format!("{v4}, {v6}"), database)
        }
    }
}

fn read(file: &str) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    // One more than there may be: that it is too large is said by who looks at it.
    let most = GEO_DATABASE_BYTES_MAX as u64 + 1;
    let got = File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes));
    got.map_err(|error: io::Error| Problem {
        file: String::new(),
        line: None,
        key: "geo.database".to_string(),
        what: format!("{file}: {error}"),
        hint: "name a file in MaxMind's format (.mmdb), or leave it out for the database in the \
               program"
            .to_string(),
    })?;
    Ok(bytes)
}
