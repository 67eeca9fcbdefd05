//! Files that are whole whatever happens to the power: the old ones or the new ones.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Everything in the state directory is for its owner alone.
pub(crate) const FILE_MODE: u32 = 0o600;

/// Puts files into `directory`, each a name and its bytes: all are written
/// beside their places and synced, then renamed in the order given, then the
/// directory is synced. A reader sees each file as it was or as it is to be,
/// and after `Ok` a loss of power leaves the new ones. A disk that is full is
/// found before the first of them changes.
///
/// # Errors
/// The first that occurs; nothing is left beside the files.
pub(crate) fn replace_all(directory: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    Staged::write(directory, files)?.put()
}

/// Files that are written beside their places and synced. Dropped without being put there, they
/// are gone.
pub(crate) struct Staged {
    directory: PathBuf,
    names: Vec<String>,
}

impl Staged {
    /// Writes each.
    ///
    /// # Errors
    /// The first that occurs; nothing is left of them.
    pub(crate) fn write(directory: &Path, files: &[(&str, &[u8])]) -> io::Result<Staged> {
        let staged = Staged {
            directory: directory.to_owned(),
            names: files.iter().map(|(name, _)| (*name).to_owned()).collect(),
        };
        for (name, bytes) in files {
            write_synced(&beside(directory, name), bytes)?;
        }
        Ok(staged)
    }

    /// Renames them in the order in which they were given, and syncs the directory.
    ///
    /// # Errors
    /// The first that occurs.
    pub(crate) fn put(self) -> io::Result<()> {
        for name in &self.names {
            std::fs::rename(beside(&self.directory, name), self.directory.join(name))?;
        }
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        for name in &self.names {
            // A full disk must not stay full of our half-written files.
            let _ = std::fs::remove_file(beside(&self.directory, name));
        }
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.new"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_replaced_whole_and_are_private() {
        let directory = tempfile::tempdir().unwrap();
        replace_all(directory.path(), &[("local", b"a"), ("current", b"1\n")]).unwrap();
        replace_all(directory.path(), &[("current", b"22\n")]).unwrap();
        let current = directory.path().join("current");
        assert_eq!(std::fs::read(&current).unwrap(), b"22\n");
        let mode = std::fs::metadata(&current).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, FILE_MODE);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn when_one_can_not_be_written_none_changes_and_nothing_is_left() {
        let directory = tempfile::tempdir().unwrap();
        replace_all(directory.path(), &[("local", b"a")]).unwrap();
        std::fs::create_dir(directory.path().join("current.new")).unwrap();
        replace_all(directory.path(), &[("local", b"b"), ("current", b"2\n")]).unwrap_err();
        assert_eq!(std::fs::read(directory.path().join("local")).unwrap(), b"a");
        assert!(!directory.path().join("local.new").exists());
    }
}
