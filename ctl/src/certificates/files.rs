//! The files of certificates, as they stand where a manifest or a call names them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use meridian_model::limits::CERTIFICATE_FILE_BYTES_MAX;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::fault::{Fault, Part};

/// A file that was changed so shortly before it was read may be changed again without a trace: its
/// times are counted in steps, of up to 2 s on some file systems.
const SETTLED_AFTER_NS: i128 = 3_000_000_000;

/// What tells whether a file is as it was when it was read, without it being read again. As with
/// the index of git, the time of the last change is what catches a writer who keeps length and
/// modification time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    path: String,
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    fn new(path: &str, metadata: &Metadata) -> FileIdentity {
        FileIdentity {
            path: path.to_string(),
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether the file is still the one that was read.
    pub(crate) fn holds(&self) -> bool {
        let metadata = std::fs::metadata(&self.path);
        metadata.is_ok_and(|metadata| FileIdentity::new(&self.path, &metadata) == *self)
    }

    /// Whether a change after it was read is sure to show.
    fn is_settled(&self, now_ns: i128) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed_ns = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        changed_ns + SETTLED_AFTER_NS < now_ns
    }
}

/// A file that was read.
pub(crate) struct PemFile {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
    /// None where it can not be told from one that is changed a moment later.
    pub(crate) identity: Option<FileIdentity>,
}

/// Reads a file whole.
///
/// # Errors
/// Why it can not be read, as a fault of that part.
pub(crate) fn read(path: &str, part: Part) -> Result<PemFile, Fault> {
    try_read(path).map_err(|error| Fault {
        part,
        what: error.to_string(),
        hint: match error.kind() {
            io::ErrorKind::NotFound => {
                "a relative path begins where the manifest is, or where set was called"
            }
            io::ErrorKind::PermissionDenied => "let the user who runs this read it",
            _ => "name a file in PEM",
        }
        .to_string(),
    })
}

fn try_read(path: &str) -> io::Result<PemFile> {
    let file = File::open(Path::new(path))?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Err(io::Error::other("is no file"));
    }
    if before.len() > CERTIFICATE_FILE_BYTES_MAX as u64 {
        let most = CERTIFICATE_FILE_BYTES_MAX / 1024;
        return Err(io::Error::other(format!("is longer than {most} KiB")));
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_ns = now.unwrap_or_default().as_nanos() as i128;
    // Room for all of it from the first: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(before.len() as usize + 1));
    (&file).take(before.len() + 1).read_to_end(&mut bytes)?;
    let identity = FileIdentity::new(path, &before);
    if identity != FileIdentity::new(path, &file.metadata()?) || bytes.len() as u64 != before.len()
    {
        return Err(io::Error::other("is being written; try again"));
    }
    let identity = identity.is_settled(now_ns).then_some(identity);
    Ok(PemFile { bytes, identity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    use std::fs;
    use std::time::Duration;

    #[test]
    fn whatever_is_done_to_a_file_shows() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        let name = path.to_str().unwrap();
        fs::write(&path, "one").unwrap();
        let identity = || FileIdentity::new(name, &fs::metadata(&path).unwrap());
        let first = identity();
        assert!(first.holds());
        std::thread::sleep(Duration::from_millis(20));
        // As long as before, and with the time of before.
        fs::write(&path, "two").unwrap();
        let (tv_sec, tv_nsec) = first.modified;
        let then = Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: then,
            last_modification: then,
        };
        utimensat(CWD, &path, &times, AtFlags::empty()).unwrap();
        assert_eq!(identity().modified, first.modified);
        assert!(!first.holds());
        let second = identity();
        let other = directory.path().join("b.pem");
        fs::write(&other, "two").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(!second.holds());
        let third = identity();
        fs::remove_file(&path).unwrap();
        assert!(!third.holds());
    }

    #[test]
    fn what_was_just_written_has_no_identity() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.pem");
        fs::write(&path, "one").unwrap();
        let name = path.to_str().unwrap();
        let read = read(name, Part::Key).unwrap();
        assert_eq!((&read.bytes[..], read.identity), (&b"one"[..], None));
        let identity = FileIdentity::new(name, &fs::metadata(&path).unwrap());
        let (seconds, _) = identity.changed;
        let at = |seconds: i64| i128::from(seconds) * 1_000_000_000;
        assert!(!identity.is_settled(at(seconds + 1)));
        // A clock that was set back trusts nothing.
        assert!(!identity.is_settled(at(seconds - 100)));
        assert!(identity.is_settled(at(seconds + 5)));
    }

    #[test]
    fn what_is_no_file_of_pem_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("long");
        fs::write(&long, vec![b'a'; CERTIFICATE_FILE_BYTES_MAX + 1]).unwrap();
        let what = |path: &Path| {
            read(path.to_str().unwrap(), Part::Chain)
                .err()
                .unwrap()
                .what
        };
        assert!(what(&long).contains("128 KiB"));
        assert!(what(directory.path()).contains("no file"));
        assert!(what(&directory.path().join("none")).contains("No such file"));
    }
}
