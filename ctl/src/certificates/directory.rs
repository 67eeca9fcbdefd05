//! STATE/certificates: a file for each content that a revision names, or named a while ago; sealed,
//! and named by its digest.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use meridian_model::certificate::Digest;
use meridian_model::sealed_file::{
    ChainAndKey, DIRECTORY, HostKey, NotOpened, SEALED_BYTES_MAX, open, seal,
};
use rustix::fs::syncfs;
use rustix::rand::{GetRandomFlags, getrandom};

use super::host_key;
use super::reading::leave_no_core_dump;
use crate::durable_file::FILE_MODE;
use crate::failure::Failure;
use crate::state_directory::StateDirectory;

/// How the name of a file ends that is being written.
const BESIDE: &str = ".new";

/// Of so many files each is synced; of more the file system is, once.
const SYNCED_ONE_BY_ONE: usize = 16;

/// The directory, as its one writer knows it.
#[derive(Clone)]
pub(crate) struct CertificateDirectory {
    path: PathBuf,
    key: HostKey,
    /// Held while files are written beside their places.
    writing: Arc<Mutex<()>>,
}

impl CertificateDirectory {
    /// The directory of a state, which exists; and whether the key of the host was just made, so
    /// that nothing opens that stands there.
    ///
    /// # Errors
    /// When there is no key.
    pub(crate) fn of(state: &StateDirectory) -> Result<(CertificateDirectory, bool), Failure> {
        leave_no_core_dump();
        let (key, is_new) = host_key::settle(state)?;
        let directory = CertificateDirectory {
            path: state.path().join(DIRECTORY),
            key,
            writing: Arc::default(),
        };
        Ok((directory, is_new))
    }

    /// Has each of these on the disk. Those that are there and open stay as they are.
    ///
    /// # Errors
    /// The first; what was written by then stays, and nothing is left beside.
    pub(crate) fn keep(&self, all: &[(Digest, ChainAndKey)]) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let missing: Vec<_> = all
            .iter()
            .filter(|(digest, _)| !self.holds(digest))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let written = missing
            .iter()
            .try_for_each(|(digest, pair)| self.write_beside(digest, pair, missing.len()))
            .and_then(|()| self.put(missing.iter().map(|(digest, _)| digest), missing.len()));
        if written.is_err() {
            // A full disk must not stay full of our half-written files.
            for (digest, _) in missing {
                let _ = std::fs::remove_file(self.beside(digest));
            }
        }
        written
    }

    fn write_beside(&self, digest: &Digest, pair: &ChainAndKey, count: usize) -> io::Result<()> {
        let (content, name) = pair.encode();
        assert_eq!(name, *digest, "a file is named by what it holds");
        let mut nonce = [0; 12];
        if getrandom(&mut nonce, GetRandomFlags::empty())? < nonce.len() {
            return Err(io::Error::other("the kernel has no random bits"));
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.beside(digest))?;
        file.write_all(&seal(&self.key, nonce, digest, &content))?;
        match count {
            ..=SYNCED_ONE_BY_ONE => file.sync_all(),
            _ => Ok(()),
        }
    }

    fn put<'a>(&self, digests: impl Iterator<Item = &'a Digest>, count: usize) -> io::Result<()> {
        let directory = File::open(&self.path)?;
        if count > SYNCED_ONE_BY_ONE {
            syncfs(&directory)?;
        }
        for digest in digests {
            std::fs::rename(self.beside(digest), self.file(digest))?;
        }
        directory.sync_all()
    }

    /// Whether the file of this digest is there and opens.
    pub(crate) fn holds(&self, digest: &Digest) -> bool {
        matches!(self.open(digest), Ok(Ok(_)))
    }

    fn open(&self, digest: &Digest) -> io::Result<Result<ChainAndKey, NotOpened>> {
        let file = File::open(self.file(digest))?;
        let mut sealed = Vec::with_capacity(file.metadata()?.len() as usize + 1);
        file.take(SEALED_BYTES_MAX as u64)
            .read_to_end(&mut sealed)?;
        Ok(open(&self.key, digest, &sealed))
    }

    /// The digests of all files; and removes what a writer that died left beside.
    ///
    /// # Errors
    /// When the directory can not be read.
    pub(crate) fn tidy(&self) -> io::Result<Vec<Digest>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut digests = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let name = name.to_str().unwrap_or_default();
            match (Digest::parse(name), name.strip_suffix(BESIDE)) {
                (Ok(digest), _) => digests.push(digest),
                (Err(_), Some(name)) if Digest::parse(name).is_ok() => {
                    let _ = std::fs::remove_file(self.path.join(format!("{name}{BESIDE}")));
                }
                // Somebody else's.
                _ => {}
            }
        }
        Ok(digests)
    }

    /// Removes the file of this digest.
    pub(crate) fn remove(&self, digest: &Digest) {
        let _ = std::fs::remove_file(self.file(digest));
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.to_string())
    }

    fn beside(&self, digest: &Digest) -> PathBuf {
        self.path.join(format!("{digest}{BESIDE}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use zeroize::Zeroizing;

    struct Fixture {
        directory: CertificateDirectory,
        state: StateDirectory,
        _root: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let state = StateDirectory::resolve(Some(&root.path().join("state"))).unwrap();
        state.prepare().unwrap();
        let (directory, is_new) = CertificateDirectory::of(&state).unwrap();
        assert!(is_new);
        Fixture {
            directory,
            state,
            _root: root,
        }
    }

    fn pair(number: u8) -> (Digest, ChainAndKey) {
        let pair = ChainAndKey {
            chain: vec![vec![number; 10]],
            key: Zeroizing::new(b"the secret".to_vec()),
        };
        (pair.encode().1, pair)
    }

    #[test]
    fn few_and_many_are_kept_sealed_and_private() {
        let Fixture {
            directory, state, ..
        } = &fixture();
        directory.keep(&[pair(0)]).unwrap();
        let many: Vec<_> = (0..40).map(pair).collect();
        directory.keep(&many).unwrap();
        assert_eq!(directory.tidy().unwrap().len(), 40);
        for (digest, pair) in &many {
            let path = directory.path.join(digest.to_string());
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let bytes = fs::read(&path).unwrap();
            assert!(!bytes.windows(10).any(|it| it == b"the secret"));
            assert!(directory.open(digest).unwrap().unwrap() == *pair);
        }
        let host_key = fs::metadata(state.path().join("keys/host.key")).unwrap();
        assert_eq!(host_key.permissions().mode() & 0o777, 0o600);
        // The key stays, and with it what was sealed.
        let (again, is_new) = CertificateDirectory::of(state).unwrap();
        assert!(!is_new && again.holds(&pair(7).0));
    }

    #[test]
    fn what_is_damaged_is_written_anew_and_what_is_whole_is_left() {
        let Fixture { directory, .. } = &fixture();
        let all = [pair(1), pair(2)];
        directory.keep(&all).unwrap();
        let path = |index: usize| directory.path.join(all[index].0.to_string());
        let before = fs::read(path(0)).unwrap();
        fs::write(path(1), &before).unwrap();
        assert!(!directory.holds(&all[1].0), "it has another's name");
        fs::write(path(1), "torn").unwrap();
        assert!(!directory.holds(&all[1].0));
        directory.keep(&all).unwrap();
        assert!(directory.holds(&all[1].0));
        assert_eq!(fs::read(path(0)).unwrap(), before);
    }

    #[test]
    fn a_writer_that_died_leaves_nothing_for_long() {
        let Fixture { directory, .. } = &fixture();
        let (digest, kept) = pair(1);
        let beside = directory.path.join(format!("{digest}.new"));
        fs::write(&beside, "half").unwrap();
        fs::write(directory.path.join("notes"), "somebody's").unwrap();
        assert!(!directory.holds(&digest));
        assert_eq!(directory.tidy().unwrap(), []);
        assert!(!beside.exists() && directory.path.join("notes").exists());
        // And is in nobody's way meanwhile.
        fs::write(&beside, "half").unwrap();
        directory.keep(&[(digest, kept)]).unwrap();
        assert!(directory.holds(&digest) && !beside.exists());
    }

    #[test]
    fn what_can_not_be_written_leaves_nothing_beside() {
        let Fixture { directory, .. } = &fixture();
        let (all, blocked) = ([pair(1), pair(2)], pair(2).0);
        fs::create_dir(directory.path.join(format!("{blocked}.new"))).unwrap();
        directory.keep(&all).unwrap_err();
        assert!(!directory.path.join(format!("{}.new", all[0].0)).exists());
        fs::remove_dir(directory.path.join(format!("{blocked}.new"))).unwrap();
        directory.keep(&all).unwrap();
    }

    #[test]
    fn a_key_that_is_none_is_not_thrown_away() {
        let Fixture { state, .. } = &fixture();
        let path = state.path().join("keys/host.key");
        fs::write(&path, "short").unwrap();
        let refused = CertificateDirectory::of(state).err().unwrap();
        assert!(refused.message.contains("backup"), "{}", refused.message);
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }
}
