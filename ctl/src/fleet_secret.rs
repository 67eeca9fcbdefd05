//! The fleet's secret on this host: STATE/fleet.key, which the plane reads when it starts.
//!
//! Where the manifest names a file, that is what the key file holds; where it names none, `up` makes
//! a secret once and keeps it. A host that has one of its own can so become the first of a fleet: the
//! others name a copy of its key file.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use meridian_model::fleet_secret::{FILE, of_file};
use meridian_model::limits::FLEET_SECRET_BYTES_MAX;
use meridian_model::{Local, Problem, Problems};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::durable_file;
use crate::failure::Failure;
use crate::state_directory::StateDirectory;

/// Random bytes of a secret that `up` makes.
const MADE_BYTES: usize = 32;

/// Of a file of a secret, white space included: who names another kind of file is told so without
/// all of it being read.
const FILE_BYTES_MAX: u64 = 2 * FLEET_SECRET_BYTES_MAX as u64;

/// Whether the secret that a manifest names can be had, before it replaces anything.
///
/// # Errors
/// What is wrong with the file, as a problem of `manifest`.
pub(crate) fn check(local: &Local, manifest: &Path) -> Result<(), Problems> {
    let Some(named) = &local.fleet.secret else {
        return Ok(());
    };
    read(Path::new(named)).map(drop).map_err(|what| {
        Problems::from(Problem {
            file: manifest.display().to_string(),
            line: None,
            key: "fleet.secret".to_string(),
            what: format!("{named}: {what}"),
            hint:
                "name a file that holds the same secret on every host; one is made with: openssl \
                   rand -hex 32"
                    .to_string(),
        })
    })
}

/// Has the key file hold the secret that `local` names, or else one of this host's own.
///
/// # Errors
/// When there is none in the end.
pub(crate) fn settle(state: &StateDirectory, local: &Local) -> Result<(), Failure> {
    let path = state.path().join(FILE);
    let failed = |what: String| Failure::input(format!("{}: {what}", path.display()));
    let kept = match read(&path) {
        Ok(kept) => Some(kept),
        Err(Unreadable::Missing) => None,
        // It may be what every visitor's cookie hangs on: nobody but its owner throws it away.
        Err(what) if local.fleet.secret.is_none() => return Err(failed(what.to_string())),
        Err(_) => None,
    };
    let secret = match &local.fleet.secret {
        None if kept.is_some() => return Ok(()),
        None => made().map_err(|error| failed(error.to_string()))?,
        Some(named) => match (read(Path::new(named)), &kept) {
            (Ok(secret), _) => secret,
            // The last good revision is served, and with it the secret that it had.
            (Err(_), Some(_)) => return Ok(()),
            (Err(what), None) => return Err(Failure::input(format!("{named}: {what}"))),
        },
    };
    if kept.as_ref() == Some(&secret) {
        return Ok(());
    }
    durable_file::replace_all(state.path(), &[(FILE, &secret)])
        .map_err(|error| failed(error.to_string()))
}

/// Why there is no secret in a file.
#[derive(Debug)]
enum Unreadable {
    Missing,
    Because(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Missing => formatter.write_str("No such file"),
            Unreadable::Because(what) => formatter.write_str(what),
        }
    }
}

/// The bytes of a file that holds a secret.
fn read(path: &Path) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = Vec::new();
    let opened = File::open(path);
    let got = opened.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    got.map_err(|error| match error.kind() {
        ErrorKind::NotFound => Unreadable::Missing,
        _ => Unreadable::Because(error.to_string()),
    })?;
    of_file(&bytes).map_err(Unreadable::Because)?;
    Ok(bytes)
}

/// A secret that nobody has, as a line of text that can be copied.
fn made() -> io::Result<Vec<u8>> {
    let mut bits = [0; MADE_BYTES];
    let got = getrandom(&mut bits, GetRandomFlags::empty())?;
    if got < bits.len() {
        return Err(io::Error::other("the kernel has no random bits"));
    }
    let digits: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((digits + "\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const NAMED: &str = "a secret that the whole fleet shares, and nobody else";

    struct Fixture {
        _directory: tempfile::TempDir,
        state: StateDirectory,
        named: std::path::PathBuf,
    }

    impl Fixture {
        fn new() -> Fixture {
            let directory = tempfile::tempdir().unwrap();
            let state = StateDirectory::resolve(Some(&directory.path().join("state"))).unwrap();
            state.prepare().unwrap();
            Fixture {
                named: directory.path().join("named.key"),
                _directory: directory,
                state,
            }
        }

        fn local(&self, names_one: bool) -> Local {
            let fleet = match names_one {
                true => format!("[fleet]\nsecret = {:?}\n", self.named),
                false => String::new(),
            };
            let text =
                format!("[host]\nname = \"h1\"\n[listen]\nhttp = [\"127.0.0.1:8080\"]\n{fleet}");
            let manifest = meridian_model::Manifest::parse(&text, "h1.toml").unwrap();
            manifest.into_parts().0
        }

        fn key(&self) -> Vec<u8> {
            fs::read(self.state.path().join(FILE)).unwrap()
        }
    }

    #[test]
    fn a_host_makes_a_secret_once_and_for_itself() {
        let fixture = Fixture::new();
        settle(&fixture.state, &fixture.local(false)).unwrap();
        let made = fixture.key();
        assert_eq!(of_file(&made).unwrap().len(), 2 * MADE_BYTES);
        let mode = fs::metadata(fixture.state.path().join(FILE)).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        settle(&fixture.state, &fixture.local(false)).unwrap();
        assert_eq!(fixture.key(), made);
        let other = Fixture::new();
        settle(&other.state, &other.local(false)).unwrap();
        assert_ne!(other.key(), made);
    }

    #[test]
    fn a_secret_that_is_named_replaces_it_and_is_kept_when_it_goes() {
        let fixture = Fixture::new();
        settle(&fixture.state, &fixture.local(false)).unwrap();
        fs::write(&fixture.named, NAMED).unwrap();
        let local = fixture.local(true);
        check(&local, Path::new("h1.toml")).unwrap();
        settle(&fixture.state, &local).unwrap();
        assert_eq!(fixture.key(), NAMED.as_bytes());
        fs::remove_file(&fixture.named).unwrap();
        let problems = check(&local, Path::new("h1.toml")).unwrap_err().to_string();
        assert!(
            problems.contains("fleet.secret") && problems.contains("No such file"),
            "{problems}"
        );
        settle(&fixture.state, &local).unwrap();
        assert_eq!(fixture.key(), NAMED.as_bytes());
    }

    #[test]
    fn a_key_file_that_is_none_is_not_thrown_away() {
        let fixture = Fixture::new();
        fs::write(fixture.state.path().join(FILE), "short").unwrap();
        let refused = settle(&fixture.state, &fixture.local(false)).unwrap_err();
        assert!(refused.message.contains("openssl"), "{}", refused.message);
        assert_eq!(fixture.key(), b"short");
    }
}
