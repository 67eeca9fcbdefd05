//! `meridianctl check`: is this manifest right?

use meridian_model::availability::unavailable;
use meridian_model::{Desired, Problem, Problems, compile};
use serde_json::{Value, json};

use crate::certificates::reading::{Known, ReadCertificates};
use crate::certificates::{self, authorities, reading};
use crate::cli;
use crate::failure::Failure;
use crate::geographic_database;
use crate::manifest_file;
use crate::output::Output;

/// The revision that a manifest is compiled as when nothing comes of it.
const NO_REVISION: u64 = 0;

/// Reads and compiles the manifest; nothing is written.
///
/// # Errors
/// Exit 1 with every problem.
pub(crate) fn run(call: &cli::Check, output: Output) -> Result<(), Failure> {
    let file = call.file.display().to_string();
    let wrong = |problems| Failure::problems(problems, format!("{file} is wrong"));
    let manifest = manifest_file::read(&call.file).map_err(wrong)?;
    let not_available = unavailable(&manifest);
    let now = certificates::now();
    // Nothing is known of any: what has expired is wrong.
    let unjudged = reading::read(&manifest, |_| false);
    let judged = unjudged.judge(&manifest, &file, &Known::new(), now);
    let located = geographic_database::check(&manifest, &file);
    let read = both(judged, located).map_err(wrong)?;
    let (local, mut desired) = manifest.into_parts();
    read.fill(&mut desired);
    desired.assign_ids(None);
    if not_available.is_empty() {
        // What is not available would be refused by this, too, and as a fault.
        compile(&local, &desired, NO_REVISION).map_err(wrong)?;
    }
    for problem in &not_available {
        output.note(|| problem.to_string());
    }
    let mut warnings = read.expiring(now);
    warnings.extend(authorities::warnings(&local, &desired));
    for warning in &warnings {
        output.note(|| warning.clone());
    }
    output.answer(
        || text(&file, &desired),
        || json(&file, &desired, &not_available, &warnings),
    );
    Ok(())
}

/// What was read, when nothing is wrong with it nor with the geographic database.
fn both(
    read: Result<ReadCertificates, Problems>,
    located: Result<(), Problem>,
) -> Result<ReadCertificates, Problems> {
    match (read, located) {
        (read, Ok(())) => read,
        (Ok(_), Err(problem)) => Err(problem.into()),
        (Err(problems), Err(problem)) => {
            let all = problems.iter().cloned().chain([problem]).collect();
            Problems::refuse_any(all).and(Err(problems))
        }
    }
}

fn text(file: &str, desired: &Desired) -> String {
    format!(
        "{file}: right; tenants: {}, sites: {}, backends: {}",
        desired.tenants.len(),
        desired.sites.len(),
        backends(desired)
    )
}

fn json(file: &str, desired: &Desired, not_available: &[Problem], warnings: &[String]) -> Value {
    json!({
        "file": file,
        "problems": [],
        "not_available": not_available,
        "tenants": desired.tenants.len(),
        "sites": desired.sites.len(),
        "backends": backends(desired),
        "certificates": desired.certificates.len(),
        "warnings": warnings,
    })
}

fn backends(desired: &Desired) -> usize {
    let pools = desired.sites.iter().flat_map(|site| &site.pools);
    pools.map(|pool| pool.backends.len()).sum()
}
