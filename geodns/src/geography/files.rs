//! The files of a geographic database. They stay open, so that what was good can be read again when
//! something else has their names.

use meridian_model::geo::Database;
use meridian_model::limits::GEO_DATABASE_BYTES_MAX;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};

/// What tells whether a file is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Identity {
    /// Of what stands at `path`; none where that can not be told.
    pub(crate) fn at(path: &str) -> Option<Identity> {
        fs::metadata(path).ok().as_ref().map(Identity::of)
    }

    fn of(metadata: &Metadata) -> Identity {
        Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// One file for both families, or one for IPv4 and one for IPv6.
#[derive(Debug)]
pub(crate) struct Files(Vec<(String, File)>);

impl Files {
    /// Opens them.
    pub(crate) fn open(paths: &[String]) -> Result<Files, String> {
        let open = |path: &String| match File::open(path) {
            Ok(file) => Ok((path.clone(), file)),
            Err(error) => Err(format!("{path}: {error}")),
        };
        paths.iter().map(open).collect::<Result<_, _>>().map(Files)
    }

    pub(crate) fn paths(&self) -> Vec<&str> {
        self.0.iter().map(|(path, _)| &**path).collect()
    }

    /// Reads them, and has `work` done with what they hold.
    pub(crate) fn with<T>(&self, work: impl FnOnce(Database<'_>) -> T) -> Result<T, String> {
        let read = self.0.iter().map(|(path, file)| read(path, file));
        let contents: Vec<Vec<u8>> = read.collect::<Result<_, _>>()?;
        Ok(match &contents[..] {
            [v4, v6] => work(Database::Pair { v4, v6 }),
            [both] => work(Database::File(both)),
            _ => unreachable!("one file or two are opened"),
        })
    }
}

/// All of a file, which must not change meanwhile.
fn read(path: &str, file: &File) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| format!("{path}: {error}");
    let identity = || file.metadata().map(|it| Identity::of(&it)).map_err(fault);
    let before = identity()?;
    let mut bytes = Vec::with_capacity(before.bytes.min(GEO_DATABASE_BYTES_MAX as u64) as usize);
    // One more than there may be: that it is too large is said by who looks at it.
    let mut rest = From { file, offset: 0 }.take(GEO_DATABASE_BYTES_MAX as u64 + 1);
    rest.read_to_end(&mut bytes).map_err(fault)?;
    match identity()? == before {
        true => Ok(bytes),
        false => Err(format!("{path}: it changed while it was read")),
    }
}

/// Reads a file without moving the place that its handle stands at.
struct From<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for From<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
