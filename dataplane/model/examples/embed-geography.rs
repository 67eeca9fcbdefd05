//! Makes the database that is inside the program from one of countries or cities
//! (docs/decisions/0038-embedded-geography.md).
//!
//! ```text
//! cargo run --release -p meridian-model --example embed-geography -- \
//!     dbip-country-ipv4.mmdb dbip-country-ipv6.mmdb > dataplane/model/src/geo/embedded.geo
//! ```

use std::io::Write;
use std::process::ExitCode;

use meridian_model::geo::{Database, write_embedded};

fn main() -> ExitCode {
    match embed(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            eprintln!("embed-geography: {what}");
            ExitCode::FAILURE
        }
    }
}

fn embed(files: &[String]) -> Result<(), String> {
    let mut contents = Vec::new();
    for file in files {
        contents.push(std::fs::read(file).map_err(|error| format!("{file}: {error}"))?);
    }
    let database = match &contents[..] {
        [both] => Database::File(both),
        [v4, v6] => Database::Pair { v4, v6 },
        _ => return Err("name one database, or one for IPv4 and one for IPv6".to_string()),
    };
    let places = database.places().map_err(|problem| problem.to_string())?;
    let bytes = write_embedded(&places);
    let [v4, v6] = places.ranges();
    eprintln!("{v4} and {v6} ranges, {} bytes", bytes.len());
    std::io::stdout()
        .write_all(&bytes)
        .map_err(|error| error.to_string())
}
