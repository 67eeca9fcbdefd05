//! STATE: the directory where a host keeps what it knows.
//!
//! ```text
//! STATE/                    0700, files 0600
//!   meridianctl.lock        held by `up`
//!   fleet.key               the secret of the fleet: see `fleet_secret`
//!   config/                 the desired state: see `config_directory`
//!   certificates/           what they hold, sealed: see `certificates::directory`
//!   keys/host.key           what they are sealed with: see `certificates::host_key`
//!   counters/               what planes count: see `usage::counters_directory`
//!   ledger/usage.db         what was served: see `ledger`
//!   run/dataplane.sock      where the dataplane answers
//!   run/meridianctl.sock    where `up` takes changes
//! ```

use std::fs::{DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use meridian_model::sealed_file::DIRECTORY;

use crate::failure::Failure;

const DIRECTORY_MODE: u32 = 0o700;

/// Where the host's key is.
const KEYS: &str = "keys";

/// The longest path of a UNIX socket that the kernel takes, in bytes: 108 with the final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The sockets within; this is the longest but for two bytes.
const DATAPLANE_SOCKET: &str = "run/dataplane.sock";

/// The path of a state directory; it need not exist.
#[derive(Clone, Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// The directory that was named, or the default: /var/lib/meridian for
    /// root, else $XDG_STATE_HOME/meridian, which is ~/.local/state/meridian where that is not set.
    ///
    /// # Errors
    /// When none was named and there is no default; when the path is too long
    /// for the sockets within.
    pub(crate) fn resolve(named: Option<&Path>) -> Result<StateDirectory, Failure> {
        let path = match named {
            Some(path) => std::path::absolute(path)
                .map_err(|error| Failure::call(format!("--state {}: {error}", path.display())))?,
            None => default_path(
                rustix::process::geteuid().is_root(),
                absolute_variable("XDG_STATE_HOME"),
                absolute_variable("HOME"),
            )
            .ok_or_else(|| {
                Failure::call(
                    "there is no default state directory, as neither XDG_STATE_HOME nor HOME is \
                     set: name one with --state DIR or MERIDIAN_STATE",
                )
            })?,
        };
        let state = StateDirectory { path };
        let bytes = state.dataplane_socket().as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            let most = SOCKET_PATH_BYTES_MAX - DATAPLANE_SOCKET.len() - 1;
            return Err(Failure::call(format!(
                "state directory {}: its path may have at most {most} bytes, for a socket stands \
                 within; name a shorter one with --state",
                state.path.display()
            )));
        }
        Ok(state)
    }

    /// Makes what is missing, for the owner alone.
    ///
    /// # Errors
    /// When it can not be made or written; when a directory that holds other
    /// things is open to other users: to close it might break what they do there.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        make(&self.path).map_err(|error| self.unusable(&self.path, &error))?;
        self.close_to_others()?;
        for part in [
            self.config(),
            self.run(),
            self.counters(),
            self.ledger_directory(),
            self.path.join(DIRECTORY),
            self.path.join(KEYS),
        ] {
            make(&part)
                .and_then(|()| {
                    std::fs::set_permissions(&part, Permissions::from_mode(DIRECTORY_MODE))
                })
                .map_err(|error| self.unusable(&part, &error))?;
        }
        Ok(())
    }

    /// The path itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the desired state is kept.
    pub(crate) fn config(&self) -> PathBuf {
        self.path.join("config")
    }

    /// What planes count.
    pub(crate) fn counters(&self) -> PathBuf {
        self.path.join("counters")
    }

    /// What was served, for good.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.ledger_directory().join("usage.db")
    }

    fn ledger_directory(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// The lock that `up` holds for life.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join("meridianctl.lock")
    }

    /// Where the dataplane answers.
    pub(crate) fn dataplane_socket(&self) -> PathBuf {
        self.path.join(DATAPLANE_SOCKET)
    }

    /// Where the DNS responder answers.
    pub(crate) fn geodns_socket(&self) -> PathBuf {
        self.run().join("geodns.sock")
    }

    /// Where a running `up` answers.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.run().join("meridianctl.sock")
    }

    fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    fn close_to_others(&self) -> Result<(), Failure> {
        let unusable = |error: io::Error| self.unusable(&self.path, &error);
        let mode = std::fs::metadata(&self.path)
            .map_err(unusable)?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        let empty = std::fs::read_dir(&self.path)
            .map_err(unusable)?
            .next()
            .is_none();
        if !empty && !self.config().is_dir() {
            return Err(Failure::input(format!(
                "state directory {}: it holds other things and is open to other users (mode \
                 {mode:04o}); name a directory of its own with --state, or close it: chmod 700 {0}",
                self.path.display()
            )));
        }
        std::fs::set_permissions(&self.path, Permissions::from_mode(DIRECTORY_MODE))
            .map_err(unusable)
    }

    fn unusable(&self, at: &Path, error: &io::Error) -> Failure {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => "give this user the directory, or name another one",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                "the disk is full: free some space, or name a directory elsewhere"
            }
            ErrorKind::ReadOnlyFilesystem => {
                "the file system is read-only: name a directory elsewhere"
            }
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                "something that is no directory stands there: name another one"
            }
            _ => "name another one",
        };
        Failure::input(format!(
            "state directory: {}: {error}; {remedy} with --state",
            at.display()
        ))
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}

fn default_path(root: bool, state_home: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from("/var/lib/meridian"));
    }
    let state_home = state_home.or_else(|| home.map(|home| home.join(".local/state")));
    state_home.map(|state_home| state_home.join("meridian"))
}

/// A variable that names an absolute path. The XDG specification has relative ones ignored.
fn absolute_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_default_follows_the_user() {
        let some = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            default_path(true, some("/x"), some("/root")),
            some("/var/lib/meridian")
        );
        assert_eq!(
            default_path(false, some("/x"), some("/home/a")),
            some("/x/meridian")
        );
        assert_eq!(
            default_path(false, None, some("/home/a")),
            some("/home/a/.local/state/meridian")
        );
        assert_eq!(default_path(false, None, None), None);
    }

    #[test]
    fn a_new_directory_is_private_and_an_empty_one_becomes_so() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("deep/state");
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        let state = StateDirectory::resolve(Some(&path)).unwrap();
        state.prepare().unwrap();
        state.prepare().unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&state.config()), 0o700);
        assert_eq!(mode(&path.join("run")), 0o700);
    }

    #[test]
    fn somebody_elses_open_directory_is_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        std::fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).unwrap();
        std::fs::write(outer.path().join("letter"), "dear").unwrap();
        let state = StateDirectory::resolve(Some(outer.path())).unwrap();
        let refused = state.prepare().unwrap_err();
        assert!(refused.message.contains("chmod 700"), "{}", refused.message);
        assert_eq!(mode(outer.path()), 0o755);
        assert!(!state.config().exists());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused() {
        let fits = "/".to_string() + &"a".repeat(87);
        StateDirectory::resolve(Some(Path::new(&fits))).unwrap();
        let refused = StateDirectory::resolve(Some(Path::new(&(fits + "a")))).unwrap_err();
        assert!(refused.message.contains("88 bytes"), "{}", refused.message);
    }
}
