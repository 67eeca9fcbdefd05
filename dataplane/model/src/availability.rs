//! What the grammar knows and this version does not do yet.
//!
//! `check` takes the whole grammar; `up` refuses a manifest that uses something from
//! this list, because to ignore a key would be to serve something else than what was
//! asked for. Whoever builds a capability takes its line out.

use crate::manifest::Manifest;
use crate::problem::Problem;

const NOT_BUILT: &[&str] = &["listen.api"];

/// Every use in `manifest` of what is not built yet, in the order of the lines.
pub fn unavailable(manifest: &Manifest) -> Vec<Problem> {
    let mut uses = manifest.not_built().to_vec();
    uses.sort_by_key(|problem| problem.line);
    uses
}

/// Whether this version has certificates.
pub fn has_certificates() -> bool {
    is_built("", "certificate")
}

/// Whether this version does what `key` of the section `path` (none for the document's own keys)
/// asks for.
pub(crate) fn is_built(path: &str, key: &str) -> bool {
    !NOT_BUILT.iter().any(|entry| is_of(entry, path, key))
}

/// Whether `entry` is `key` of the section `path`. Asked for every key of every site: it compares
/// in place.
fn is_of(entry: &str, path: &str, key: &str) -> bool {
    let bytes = match path.is_empty() {
        true => key.len(),
        false => path.len() + 1 + key.len(),
    };
    entry.len() == bytes
        && entry.ends_with(key)
        && entry.starts_with(path)
        && (path.is_empty() || entry.as_bytes()[path.len()] == b'.')
}
