//! The backends that somebody had drained: they get no requests until they are said to be ready.
//!
//! What is drained is a name, TENANT/SITE/POOL/BACKEND, and all of its addresses with it. It is
//! kept in a file of the state directory, so that neither a revision nor a restart gives requests to
//! a server that somebody is working on. The file is a name a line; it is written beside and renamed.

use meridian_model::limits::DRAINED_BACKENDS_MAX;
use meridian_model::snapshot::{BackendKey, Site};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Drains {
    path: PathBuf,
    /// The configuration thread alone takes it once the plane serves.
    names: Mutex<BTreeSet<String>>,
}

impl Drains {
    /// What was drained when the last plane of this state directory ended.
    pub(crate) fn read(state: &Path) -> Result<Drains, String> {
        let path = state.join("drained");
        let names = match std::fs::read_to_string(&path) {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok(Drains {
            path,
            names: Mutex::new(names),
        })
    }

    /// Whether the backend of `site` with this key is drained.
    pub(crate) fn contains(&self, site: &Site, key: &BackendKey) -> bool {
        let names = self.names();
        !names.is_empty() && names.contains(&full_name(site, key))
    }

    /// Has `name` drained, or not any more, once the disk has it. Whether that is news.
    ///
    /// # Errors
    /// In words: there are too many, or the file can not be written. Then nothing has changed.
    pub(crate) fn set(&self, name: &str, draining: bool) -> Result<bool, String> {
        let mut names = self.names();
        if names.contains(name) == draining {
            return Ok(false);
        }
        let mut after = names.clone();
        match draining {
            true if after.len() >= DRAINED_BACKENDS_MAX => {
                return Err(format!(
                    "{DRAINED_BACKENDS_MAX} backends are drained already"
                ));
            }
            true => after.insert(name.to_owned()),
            false => after.remove(name),
        };
        self.write(&after)
            .map_err(|error| format!("{}: {error}", self.path.display()))?;
        *names = after;
        Ok(true)
    }

    fn write(&self, names: &BTreeSet<String>) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        for name in names {
            writeln!(file, "{name}")?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        // The name is in the directory.
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TENANT/SITE/POOL/BACKEND.
pub(crate) fn full_name(site: &Site, key: &BackendKey) -> String {
    let (pool, backend) = (key.pool(), key.backend());
    format!("{}/{}/{pool}/{backend}", site.tenant, site.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drained_is_drained_after_a_restart() {
        let state = tempfile::tempdir().expect("there is room");
        let drains = Drains::read(state.path()).expect("nothing is drained");
        assert_eq!(drains.set("a/b/default/one", true), Ok(true));
        assert_eq!(drains.set("a/b/default/two", true), Ok(true));
        assert_eq!(drains.set("a/b/default/two", true), Ok(false));
        assert_eq!(drains.set("a/b/default/one", false), Ok(true));
        let again = Drains::read(state.path()).expect("it was written");
        assert_eq!(again.set("a/b/default/two", true), Ok(false));
        assert_eq!(again.set("a/b/default/one", false), Ok(false));
    }

    #[test]
    fn what_can_not_be_written_is_not_drained() {
        let state = tempfile::tempdir().expect("there is room");
        let drains = Drains::read(state.path()).expect("nothing is drained");
        drop(state);
        assert!(drains.set("a/b/default/one", true).is_err());
        assert_eq!(drains.set("a/b/default/one", false), Ok(false));
    }
}
