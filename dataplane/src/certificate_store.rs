//! STATE/certificates as the plane reads it: chains and keys, sealed with the key of the host.
//!
//! `meridianctl up` writes a file before the revision that names it, and removes one only when no
//! revision names it that a plane may serve. The host's key is read anew each time: it is
//! held for no longer than a file takes to open.

use meridian_model::certificate::Digest;
use meridian_model::sealed_file::{
    ChainAndKey, DIRECTORY, HOST_KEY_FILE, HostKey, SEALED_BYTES_MAX, open,
};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A file of the host's key is shorter.
const HOST_KEY_BYTES_MAX: u64 = 256;

/// See the module.
#[derive(Debug, Clone)]
pub struct CertificateStore {
    directory: PathBuf,
    host_key: PathBuf,
}

impl CertificateStore {
    /// The one in a state directory. It need not hold anything yet. From now on the process leaves
    /// no core dumps: its memory may hold keys.
    pub fn new(state: &Path) -> CertificateStore {
        // Either may be refused by a sandbox; each is worth something without the other. A limit
        // alone does not keep the memory from a program that core_pattern(5) names.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let nothing = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let _ = setrlimit(Resource::Core, nothing);
        CertificateStore {
            directory: state.join(DIRECTORY),
            host_key: state.join(HOST_KEY_FILE),
        }
    }

    /// The chain and key of this digest. Waits for the disk.
    ///
    /// # Errors
    ///
    /// Names the file, and says why it can not be read or does not open.
    pub fn load(&self, digest: &Digest) -> io::Result<ChainAndKey> {
        let path = self.directory.join(digest.to_string());
        let at = |path: &Path, what: &dyn Display| format!("{}: {what}", path.display());
        let fault = |path: &Path, error: io::Error| io::Error::new(error.kind(), at(path, &error));
        let sealed = read(&path, SEALED_BYTES_MAX as u64).map_err(|error| fault(&path, error))?;
        let key = read(&self.host_key, HOST_KEY_BYTES_MAX);
        let key = key.map_err(|error| fault(&self.host_key, error))?;
        let key = HostKey::of_file(&key).ok_or_else(|| {
            let what = at(&self.host_key, &"is no key of a host");
            io::Error::new(ErrorKind::InvalidData, what)
        })?;
        open(&key, digest, &sealed)
            .map_err(|why| io::Error::new(ErrorKind::InvalidData, at(&path, &why)))
    }
}

/// A file of at most `bytes_max`; what is longer is cut there, and then nothing that we wrote.
fn read(path: &Path, bytes_max: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len().min(bytes_max);
    // Room for all of it from the first: what grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(bytes as usize + 1));
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::sealed_file::seal;
    use std::fs;

    struct Fixture {
        state: tempfile::TempDir,
        store: CertificateStore,
        digest: Digest,
    }

    fn pair() -> ChainAndKey {
        ChainAndKey {
            chain: vec![b"leaf".to_vec(), b"signer".to_vec()],
            key: Zeroizing::new(b"secret".to_vec()),
        }
    }

    impl Fixture {
        fn new() -> Fixture {
            let state = tempfile::tempdir().unwrap();
            let key = HostKey::new(Zeroizing::new([3; 32]));
            fs::create_dir(state.path().join("keys")).unwrap();
            fs::create_dir(state.path().join("certificates")).unwrap();
            fs::write(state.path().join(HOST_KEY_FILE), &*key.to_file()).unwrap();
            let (content, digest) = pair().encode();
            let fixture = Fixture {
                store: CertificateStore::new(state.path()),
                state,
                digest,
            };
            fs::write(fixture.path(), seal(&key, [1; 12], &digest, &content)).unwrap();
            fixture
        }

        fn path(&self) -> PathBuf {
            self.state
                .path()
                .join(DIRECTORY)
                .join(self.digest.to_string())
        }

        /// Why it does not open, and that the words name the file.
        fn fault(&self, digest: &Digest, file: &str) -> ErrorKind {
            let Err(error) = self.store.load(digest) else {
                panic!("it opens");
            };
            assert!(error.to_string().contains(file), "{error}");
            error.kind()
        }
    }

    #[test]
    fn what_was_sealed_is_there() {
        let fixture = Fixture::new();
        assert!(fixture.store.load(&fixture.digest).unwrap() == pair());
        let other = Digest([9; 32]);
        let name = other.to_string();
        assert_eq!(fixture.fault(&other, &name), ErrorKind::NotFound);
    }

    #[test]
    fn a_torn_file_or_another_key_is_said_to_be_one() {
        let fixture = Fixture::new();
        let name = fixture.digest.to_string();
        let whole = fs::read(fixture.path()).unwrap();
        for length in [0, 17, 40, whole.len() - 1] {
            fs::write(fixture.path(), &whole[..length]).unwrap();
            let kind = fixture.fault(&fixture.digest, &name);
            assert_eq!(kind, ErrorKind::InvalidData, "{length}");
        }
        let longer = [&whole[..], &[0; SEALED_BYTES_MAX]].concat();
        fs::write(fixture.path(), longer).unwrap();
        assert_eq!(
            fixture.fault(&fixture.digest, &name),
            ErrorKind::InvalidData
        );
        fs::write(fixture.path(), &whole).unwrap();
        let host_key = fixture.state.path().join(HOST_KEY_FILE);
        fs::write(&host_key, "04".repeat(32)).unwrap();
        assert_eq!(
            fixture.fault(&fixture.digest, &name),
            ErrorKind::InvalidData
        );
        fs::write(&host_key, "short").unwrap();
        let kind = fixture.fault(&fixture.digest, HOST_KEY_FILE);
        assert_eq!(kind, ErrorKind::InvalidData);
        fs::remove_file(&host_key).unwrap();
        assert_eq!(
            fixture.fault(&fixture.digest, HOST_KEY_FILE),
            ErrorKind::NotFound
        );
    }
}
