//! What the grammar knows and this version does not do yet.
//!
//! `check` takes the whole grammar; `up` refuses a manifest that uses something from
//! this list, because to ignore a key would be to serve something else than what was
//! asked for. Whoever builds a capability takes its line out.

use crate::manifest::Manifest;
use crate::problem::Problem;

struct NotBuilt {
    key: &'static str,
    /// Only this value of the key.
    value: Option<&'static str>,
}

const fn key(key: &'static str) -> NotBuilt {
    NotBuilt { key, value: None }
}

const fn value(key: &'static str, value: &'static str) -> NotBuilt {
    NotBuilt {
        key,
        value: Some(value),
    }
}

const NOT_BUILT: &[NotBuilt] = &[
    key("host.probe"),
    key("listen.https"),
    key("listen.dns"),
    key("listen.api"),
    key("probe"),
    key("geo"),
    key("dns"),
    key("group.bias_km"),
    key("peer.probe"),
    key("zone"),
    key("certificate"),
    key("site.certificates"),
    key("site.redirect_to_https"),
    key("site.hsts"),
    value("site.pool.health.kind", "tls"),
    key("site.pool.tls"),
];

/// Every use in `manifest` of what is not built yet, in the order of the lines.
pub fn unavailable(manifest: &Manifest) -> Vec<Problem> {
    let mut uses = manifest.not_built().to_vec();
    uses.sort_by_key(|problem| problem.line);
    uses
}

/// Whether this version does what `key` of the section `path` (none for the document's own keys)
/// asks for, with this value where one is given.
pub(crate) fn is_built(path: &str, key: &str, value: Option<&str>) -> bool {
    let mut entries = NOT_BUILT.iter().filter(|entry| entry.is_of(path, key));
    !entries.any(|entry| entry.value.is_none() || entry.value == value)
}

impl NotBuilt {
    /// Asked for every key of every site: it compares in place.
    fn is_of(&self, path: &str, key: &str) -> bool {
        let bytes = match path.is_empty() {
            true => key.len(),
            false => path.len() + 1 + key.len(),
        };
        self.key.len() == bytes
            && self.key.ends_with(key)
            && self.key.starts_with(path)
            && (path.is_empty() || self.key.as_bytes()[path.len()] == b'.')
    }
}
