//! STATE/config/applied: the manifest that a start applied, and where the config log stood then.
//!
//! A start with the very same manifest on the very same log has nothing to find out: it need
//! neither parse nor compare, and the plane starts at once. The manifest is kept as it was, so that
//! "the same" is what it says. Whatever else an outcome depends on stands beside it: where the file
//! was, which build of the program read it, and the log to its last byte, so that a change that
//! came after it by whatever way ends it. Files of certificates are the same where nothing about
//! them shows that they were written ([`FileIdentity`]). A record that is missing, old or damaged costs the time
//! that it would have saved, so nothing waits for the disk here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use meridian_model::local::GeoDatabase;
use meridian_model::{Desired, Local};
use serde::{Deserialize, Serialize};

use crate::certificates::files::FileIdentity;
use crate::config_directory::LogPosition;
use crate::durable_file::FILE_MODE;
use crate::limits::CIRCUMSTANCES_BYTES_MAX;

/// The format of the record.
const FORMAT: u32 = 2;

/// The line of the files, in bytes: room for those of 500,000 certificates. It is our own, and read
/// as far as it goes.
const FILES_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The record in a directory.
pub(crate) struct AppliedManifest {
    record: PathBuf,
    /// The manifest's place; none where that can not be told.
    file: Option<PathBuf>,
}

/// What holds while a manifest stands: the first line of the record.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Circumstances {
    format: u32,
    /// Relative paths of a manifest are relative to it.
    file: PathBuf,
    program: Program,
    /// Another manifest may have changed these alone, and nothing of the log.
    local: Local,
    log: LogPosition,
}

/// A build of this program: an upgrade may read the same manifest differently. The version alone
/// would not tell builds of one version apart.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Program {
    version: String,
    bytes: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl AppliedManifest {
    /// The record in `directory` of the manifest that is found at `file`.
    pub(crate) fn new(directory: &Path, file: &Path) -> AppliedManifest {
        AppliedManifest {
            record: directory.join("applied"),
            file: std::path::absolute(file).ok(),
        }
    }

    /// Whether `text` was applied last, and what the directory holds is what came of it; and the files
    /// that it names are those that were read then.
    pub(crate) fn is(&self, text: &str, local: &Local, log: &LogPosition) -> bool {
        self.try_is(text, local, log).unwrap_or(false)
    }

    fn try_is(&self, text: &str, local: &Local, log: &LogPosition) -> io::Result<bool> {
        let mut record = BufReader::new(File::open(&self.record)?);
        let mut line = Vec::new();
        (&mut record)
            .take(CIRCUMSTANCES_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        let then: Circumstances = serde_json::from_slice(&line)?;
        if self.circumstances(local, log)? != Some(then) {
            return Ok(false);
        }
        let mut line = Vec::new();
        (&mut record)
            .take(FILES_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        let files: Vec<FileIdentity> = serde_json::from_slice(&line)?;
        if !files.iter().all(FileIdentity::holds) {
            return Ok(false);
        }
        let mut kept = Vec::with_capacity(text.len());
        // A byte more, so that a longer one is not the same.
        record.take(text.len() as u64 + 1).read_to_end(&mut kept)?;
        Ok(kept == text.as_bytes())
    }

    /// Keeps that `text` was applied with what these files held, and led to what the directory
    /// holds. Where that can not be written there is no record.
    pub(crate) fn keep(
        &self,
        text: &str,
        files: &[FileIdentity],
        local: &Local,
        log: &LogPosition,
    ) {
        if self.try_keep(text, files, local, log).is_err() {
            self.forget();
        }
    }

    fn try_keep(
        &self,
        text: &str,
        files: &[FileIdentity],
        local: &Local,
        log: &LogPosition,
    ) -> io::Result<()> {
        let Some(circumstances) = self.circumstances(local, log)? else {
            self.forget();
            return Ok(());
        };
        let beside = self.beside();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(&beside)?;
        let mut line = serde_json::to_vec(&circumstances)?;
        line.push(b'\n');
        file.write_all(&line)?;
        let mut line = serde_json::to_vec(files)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.write_all(text.as_bytes())?;
        fs::rename(beside, &self.record)
    }

    /// Has no record from now on.
    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(&self.record);
        let _ = fs::remove_file(self.beside());
    }

    fn beside(&self) -> PathBuf {
        self.record.with_extension("new")
    }

    fn circumstances(&self, local: &Local, log: &LogPosition) -> io::Result<Option<Circumstances>> {
        let program = fs::metadata(std::env::current_exe()?)?;
        Ok(self.file.clone().map(|file| Circumstances {
            format: FORMAT,
            file,
            program: Program {
                version: env!("CARGO_PKG_VERSION").to_string(),
                bytes: program.len(),
                inode: program.ino(),
                modified: (program.mtime(), program.mtime_nsec()),
                changed: (program.ctime(), program.ctime_nsec()),
            },
            local: local.clone(),
            log: log.clone(),
        }))
    }
}

/// Whether a manifest says all by itself, but for what its certificates' files hold: what other
/// files do may have changed though it did not.
pub(crate) fn stands_alone(local: &Local, desired: &Desired) -> bool {
    let pools = desired.sites.iter().flat_map(|site| &site.pools);
    let mut authorities = pools.filter_map(|pool| pool.tls.as_ref()?.authorities.as_ref());
    local.fleet.secret.is_none()
        && local.geo.database == GeoDatabase::Embedded
        && authorities.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LogPosition {
        LogPosition {
            store: "a store".to_string(),
            generation: 3,
            snapshot_checksum: 7,
            journal_bytes: 105,
            revision: 9,
        }
    }

    fn local() -> Local {
        let text = "[host]\nname = \"h1\"\n[listen]\nhttp = [\"127.0.0.1:8080\"]\n";
        let manifest = meridian_model::Manifest::parse(text, "h1.toml").unwrap();
        manifest.into_parts().0
    }

    #[test]
    fn the_same_is_the_same_text_file_and_log() {
        let directory = tempfile::tempdir().unwrap();
        let of = |file: &str| AppliedManifest::new(directory.path(), Path::new(file));
        let applied = of("/etc/h1.toml");
        assert!(!applied.is("text", &local(), &log()), "there is none");
        applied.keep("text", &[], &local(), &log());
        assert!(applied.is("text", &local(), &log()));
        for other in ["", "tex", "text ", "tExt"] {
            assert!(!applied.is(other, &local(), &log()), "{other:?}");
        }
        assert!(!of("/tmp/h1.toml").is("text", &local(), &log()));
        let others: [fn(&mut LogPosition); 5] = [
            |log| log.store.push('2'),
            |log| log.generation += 1,
            |log| log.snapshot_checksum ^= 1,
            |log| log.journal_bytes += 1,
            |log| log.revision += 1,
        ];
        for other in others {
            let mut position = log();
            other(&mut position);
            assert!(!applied.is("text", &local(), &position), "{position:?}");
        }
        let mut other = local();
        other.host.workers = Some(3);
        assert!(!applied.is("text", &other, &log()));
        applied.forget();
        assert!(!applied.is("text", &local(), &log()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_record_of_another_build_or_a_damaged_one_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let applied = AppliedManifest::new(directory.path(), Path::new("/etc/h1.toml"));
        applied.keep("text", &[], &local(), &log());
        let path = directory.path().join("applied");
        let good = fs::read(&path).unwrap();
        let mut circumstances = applied.circumstances(&local(), &log()).unwrap().unwrap();
        circumstances.program.changed.1 ^= 1;
        let mut other_build = serde_json::to_vec(&circumstances).unwrap();
        other_build.extend_from_slice(b"\n[]\ntext");
        fs::write(&path, other_build).unwrap();
        assert!(!applied.is("text", &local(), &log()));
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            assert!(!applied.is("text", &local(), &log()), "cut to {length}");
        }
        fs::write(&path, good).unwrap();
        assert!(applied.is("text", &local(), &log()));
    }
}
