//! The slots file on its disk: whole lines are added and fsynced, or nothing is.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub struct SlotsFile {
    path: PathBuf,
    header: String,
    /// The file and its bytes that are known to be on the disk. None until it could be made.
    open: Option<(File, u64)>,
    /// There may be more in the file than is known: the rest of a write that failed.
    torn: bool,
}

impl SlotsFile {
    /// The file at `path`, which begins with `header`; it is made when it can be.
    pub fn new(path: PathBuf, header: String) -> SlotsFile {
        SlotsFile {
            path,
            header,
            open: None,
            torn: false,
        }
    }

    /// Makes the file, when it is not there yet: it gets its name with its first line in it.
    pub fn ensure(&mut self) -> Result<(), String> {
        if self.open.is_none() {
            let made = create(&self.path, self.header.as_bytes());
            let file = made.map_err(|error| self.fault(&error))?;
            self.open = Some((file, self.header.len() as u64));
        }
        Ok(())
    }

    /// Adds lines. They are on the disk when this returns; after an error they are not in the
    /// file, unless the disk does not even let go of them, and then not after the next call.
    pub fn append(&mut self, lines: &str) -> Result<(), String> {
        self.ensure()?;
        let Some((file, bytes)) = &mut self.open else {
            return Ok(());
        };
        let appended = drop_rest(file, *bytes, &mut self.torn)
            .and_then(|()| file.write_all_at(lines.as_bytes(), *bytes))
            .and_then(|()| file.sync_data());
        match appended {
            Ok(()) => {
                *bytes += lines.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.torn = true;
                let _ = drop_rest(file, *bytes, &mut self.torn);
                Err(self.fault(&error))
            }
        }
    }

    fn fault(&self, error: &io::Error) -> String {
        let remedy = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on that disk",
            _ => "",
        };
        format!("{}: {error}{remedy}", self.path.display())
    }
}

fn drop_rest(file: &File, bytes: u64, torn: &mut bool) -> io::Result<()> {
    if *torn {
        file.set_len(bytes)?;
        *torn = false;
    }
    Ok(())
}

fn create(path: &Path, header: &[u8]) -> io::Result<File> {
    let unnamed = path.with_extension("new");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unnamed)?;
    let made = file
        .write_all_at(header, 0)
        .and_then(|()| file.sync_all())
        // For who wonders whether more will come. It can only fail where nobody can look.
        .and_then(|()| file.try_lock().map_err(io::Error::from))
        .and_then(|()| std::fs::rename(&unnamed, path));
    if let Err(error) = made {
        let _ = std::fs::remove_file(&unnamed);
        return Err(error);
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}
