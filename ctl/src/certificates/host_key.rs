//! STATE/keys/host.key: what this host seals certificates with. Made at the first start, and never
//! written over: with it everything that is sealed is lost.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use meridian_model::sealed_file::{HOST_KEY_FILE, HostKey};
use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use crate::durable_file;
use crate::failure::Failure;
use crate::state_directory::StateDirectory;

/// The file is shorter.
const FILE_BYTES_MAX: u64 = 256;

/// The key of this host, and whether it was just made.
///
/// # Errors
/// When the file holds something else, or there is none and none can be written.
pub(crate) fn settle(state: &StateDirectory) -> Result<(HostKey, bool), Failure> {
    let path = state.path().join(HOST_KEY_FILE);
    let failed = |what: String| Failure::input(format!("{}: {what}", path.display()));
    match read(&path) {
        Ok(Some(key)) => Ok((key, false)),
        Ok(None) => Err(failed(
            "is no key of a host, and without it no certificate opens; put it back from a backup, or \
             remove it: certificates of manifests are then read anew, those of the API must be set \
             again"
                .to_string(),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = make().and_then(|key| write(&path, &key).map(|()| key));
            key.map(|key| (key, true)).map_err(|error| failed(error.to_string()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

fn read(path: &Path) -> io::Result<Option<HostKey>> {
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
    let file = std::fs::File::open(path)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(HostKey::of_file(&text))
}

fn make() -> io::Result<HostKey> {
    let mut bits = Zeroizing::new([0; 32]);
    let got = getrandom(&mut *bits, GetRandomFlags::empty())?;
    if got < bits.len() {
        return Err(io::Error::other("the kernel has no random bits"));
    }
    Ok(HostKey::new(bits))
}

fn write(path: &Path, key: &HostKey) -> io::Result<()> {
    let name: PathBuf = path.file_name().unwrap_or_default().into();
    let directory = path.parent().unwrap_or(path);
    let name = name.to_string_lossy();
    durable_file::replace_all(directory, &[(&name, key.to_file().as_bytes())])
}
