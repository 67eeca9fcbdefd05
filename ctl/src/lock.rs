//! One supervisor for one state directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::durable_file::FILE_MODE;
use crate::failure::Failure;

/// A lock of the kernel's (`flock`), held until this value is dropped or the
/// process ends in whatever way. The file stays: removing it would let two
/// processes hold locks on two files of one name.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path` and writes our process id into it.
    ///
    /// # Errors
    /// When another process holds it, naming that process; when the file can not be opened.
    pub(crate) fn take(path: &Path) -> Result<Lock, Failure> {
        let unusable = |error| Failure::input(format!("{}: {error}", path.display()));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&mut file);
                return Err(Failure::input(format!(
                    "another meridianctl up ({holder}) runs on {}; stop it, or name another \
                     directory with --state",
                    path.parent().unwrap_or(path).display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // The lock is what counts and it is held; on a full disk the number is
        // missing from a message, and that is no reason not to serve.
        let _ = write_pid(&mut file);
        Ok(Lock { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("pid {pid}"),
        // Between its lock and its first line.
        _ => "pid not written yet".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_refused_with_the_pid_and_may_come_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("meridianctl.lock");
        std::fs::write(&path, "4000000000 and more of an older one\n").unwrap();
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).err().unwrap();
        let pid = format!("(pid {})", std::process::id());
        assert!(refused.message.contains(&pid), "{}", refused.message);
        drop(first);
        Lock::take(&path).unwrap();
    }
}
