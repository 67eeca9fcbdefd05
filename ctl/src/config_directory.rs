//! STATE/config: the desired state as this host last accepted it, from which
//! both planes start.
//!
//! ```text
//! local          this host's own settings
//! snapshot.G     the desired state of one revision; G grows with each that is written
//! current        G and a newline: the snapshot that holds
//! ```
//!
//! A new snapshot is written beside the old one and `current` is renamed last,
//! so that a reader, or a host that lost power, finds one or the other. The
//! snapshot before the current one is kept, in case the current one is damaged.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use meridian_model::config_log::{self, Header, journal};
use meridian_model::{Desired, Local};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::durable_file;

const CURRENT: &str = "current";
const LOCAL: &str = "local";

/// The directory; `up` holds the lock that makes it the only writer.
pub(crate) struct ConfigDirectory {
    path: PathBuf,
}

/// What stands in the directory.
#[derive(Default)]
pub(crate) struct Found {
    /// The newest snapshot that is whole, with the local settings if those are.
    pub(crate) last_good: Option<LastGood>,
    /// What is damaged, each in words.
    pub(crate) damage: Vec<String>,
    /// The highest generation of any file, whole or not; 0 without any.
    generation_max: u64,
    /// How many newer snapshots were damaged.
    passed_over: u64,
    /// `current` does not lead to any snapshot.
    current_lost: bool,
}

/// A revision that can be served without its manifest.
pub(crate) struct LastGood {
    pub(crate) header: Header,
    pub(crate) desired: Desired,
    pub(crate) local: Option<Local>,
    generation: u64,
}

impl Found {
    /// Whether `current` leads to the snapshot that was read.
    pub(crate) fn is_whole(&self) -> bool {
        self.last_good.is_some() && self.passed_over == 0 && !self.current_lost
    }

    /// The number of a revision that comes after everything here. The damaged
    /// ones had numbers too, each one more than the one before.
    pub(crate) fn next_revision(&self) -> u64 {
        let last = self
            .last_good
            .as_ref()
            .map_or(0, |good| good.header.revision);
        last + self.passed_over + 1
    }
}

impl ConfigDirectory {
    /// The directory at `path`, which exists.
    pub(crate) fn new(path: PathBuf) -> ConfigDirectory {
        ConfigDirectory { path }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was kept, passing over what is damaged.
    ///
    /// # Errors
    /// When the directory itself can not be read. A damaged file is no error.
    pub(crate) fn read(&self) -> io::Result<Found> {
        let mut generations = self.generations()?;
        let mut found = Found {
            generation_max: generations.last().copied().unwrap_or(0),
            ..Found::default()
        };
        match self.current() {
            Ok(Some(current)) => {
                // Newer than `current` is what was written and never announced.
                generations.retain(|&generation| generation <= current);
                if generations.last() != Some(&current) {
                    // Read as the missing file that it is.
                    generations.push(current);
                    found.generation_max = found.generation_max.max(current);
                }
            }
            Ok(None) if generations.is_empty() => return Ok(found),
            lost => {
                let what = lost.err().unwrap_or("it is missing".to_string());
                found.damage.push(self.words(CURRENT, what));
                found.current_lost = true;
            }
        }
        for generation in generations.into_iter().rev() {
            match self.snapshot(generation) {
                Ok((header, desired)) => {
                    let local = self.local().map_err(|what| found.damage.push(what)).ok();
                    found.last_good = Some(LastGood {
                        header,
                        desired,
                        local,
                        generation,
                    });
                    break;
                }
                Err(what) => {
                    found.damage.push(what);
                    found.passed_over += 1;
                }
            }
        }
        Ok(found)
    }

    /// Writes a revision and makes it the current one. The last good one is
    /// kept, everything older is removed.
    ///
    /// # Errors
    /// The first; the directory then says what it said before.
    pub(crate) fn write(
        &self,
        found: &Found,
        revision: u64,
        local: &Local,
        desired: &Desired,
    ) -> io::Result<()> {
        let generation = found.generation_max + 1;
        let header = Header {
            format: config_log::FORMAT,
            store: match &found.last_good {
                Some(good) => good.header.store.clone(),
                None => new_store()?,
            },
            revision,
            generation,
        };
        let snapshot = config_log::encode(&header, desired);
        let journal = journal::encode_header(&header);
        let local = config_log::encode_local(local);
        durable_file::replace_all(
            &self.path,
            &[
                (&snapshot_name(generation), snapshot.as_bytes()),
                (&journal_name(generation), journal.as_bytes()),
                (LOCAL, local.as_bytes()),
                (CURRENT, format!("{generation}\n").as_bytes()),
            ],
        )?;
        let kept = found.last_good.as_ref().map(|good| good.generation);
        for old in self.generations()? {
            if old != generation && Some(old) != kept {
                // One that stays is in nobody's way.
                let _ = std::fs::remove_file(self.path.join(snapshot_name(old)));
                let _ = std::fs::remove_file(self.path.join(journal_name(old)));
            }
        }
        Ok(())
    }

    /// Writes the local settings alone: the desired state did not change.
    ///
    /// # Errors
    /// The first; the settings are then those that were there.
    pub(crate) fn write_local(&self, local: &Local) -> io::Result<()> {
        let local = config_log::encode_local(local);
        durable_file::replace_all(&self.path, &[(LOCAL, local.as_bytes())])
    }

    /// The generations of the snapshots that are there, lowest first.
    fn generations(&self) -> io::Result<Vec<u64>> {
        let mut generations = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name
                .to_str()
                .and_then(|name| name.strip_prefix("snapshot."));
            generations.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        generations.sort_unstable();
        Ok(generations)
    }

    fn current(&self) -> Result<Option<u64>, String> {
        match std::fs::read_to_string(self.path.join(CURRENT)) {
            Ok(text) => match text.strip_suffix('\n').map(str::parse) {
                Some(Ok(generation)) => Ok(Some(generation)),
                _ => Err("it names no snapshot".to_string()),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn snapshot(&self, generation: u64) -> Result<(Header, Desired), String> {
        let name = snapshot_name(generation);
        let bytes = self.bytes(&name)?;
        config_log::decode(&bytes).map_err(|damage| self.words(&name, damage))
    }

    fn local(&self) -> Result<Local, String> {
        let bytes = self.bytes(LOCAL)?;
        config_log::decode_local(&bytes).map_err(|damage| self.words(LOCAL, damage))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let read = std::fs::read(self.path.join(name));
        read.map_err(|error| self.words(name, error))
    }

    fn words(&self, name: &str, what: impl std::fmt::Display) -> String {
        format!("{}: {what}", self.path.join(name).display())
    }
}

fn journal_name(generation: u64) -> String {
    format!("journal.{generation}")
}

fn snapshot_name(generation: u64) -> String {
    format!("snapshot.{generation}")
}

/// A name for a store that never was before: 128 random bits.
fn new_store() -> io::Result<String> {
    let mut bits = [0_u8; 16];
    let got = getrandom(&mut bits, GetRandomFlags::empty())?;
    assert_eq!(got, bits.len(), "so few bytes come at once");
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}
