//! STATE/config: the desired state as this host last accepted it, from which
//! both planes start.
//!
//! ```text
//! local          this host's own settings
//! snapshot.G     the desired state of one revision; G grows with each that is written
//! journal.G      the revisions after it, a line each
//! current        G and a newline: the generation that holds
//! applied        the manifest that led there: see `applied_manifest`
//! ```
//!
//! A new generation is written beside the old one, the old journal is sealed, and `current` is
//! renamed last, so that a reader, or a host that lost power, finds one or the other; both lead
//! to the same revision. The generation before the current one is kept, in case that is damaged.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use meridian_model::config_log::journal::JournalReader;
use meridian_model::config_log::{self, FORMAT, Header, SnapshotParts, journal};
use meridian_model::{Desired, Local};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::durable_file::{self, Staged};

const CURRENT: &str = "current";
const LOCAL: &str = "local";

/// The directory; `up` holds the lock that makes it the only writer.
#[derive(Clone)]
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
    /// A newer snapshot was damaged.
    snapshots_passed_over: bool,
    /// How many revisions may have been lost with damaged files and lines.
    passed_over: u64,
    /// The highest revision that any journal names.
    revision_max: u64,
    /// `current` does not lead to any snapshot.
    current_lost: bool,
}

/// A revision that can be served without its manifest.
pub(crate) struct LastGood {
    pub(crate) header: Header,
    pub(crate) desired: Desired,
    pub(crate) local: Option<Local>,
    pub(crate) generation: u64,
    /// Of its journal, in bytes, when that can be gone on with: it is whole to its end and was not
    /// sealed.
    pub(crate) journal_bytes: Option<u64>,
    /// What `header` and the journal lead to.
    pub(crate) revision: u64,
}

/// How far a log reaches, so that no other one is taken for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPosition {
    pub(crate) store: String,
    pub(crate) generation: u64,
    /// Over the snapshot of that generation.
    pub(crate) snapshot_checksum: u32,
    /// Of its journal.
    pub(crate) journal_bytes: u64,
    /// What that leads to.
    pub(crate) revision: u64,
}

impl Found {
    /// Whether `current` leads to what was read, and all of that can be gone on with: it is as
    /// this version writes it.
    pub(crate) fn is_whole(&self) -> bool {
        let good = self.last_good.as_ref();
        good.is_some_and(|good| good.journal_bytes.is_some() && good.header.format == FORMAT)
            && !self.snapshots_passed_over
            && !self.current_lost
    }

    /// The number of a revision that comes after everything here. The damaged
    /// ones had numbers too, each one more than the one before.
    pub(crate) fn next_revision(&self) -> u64 {
        let last = self.last_good.as_ref().map_or(0, |good| good.revision);
        last.max(self.revision_max) + self.passed_over + 1
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
            let journal = self.bytes(&journal_name(generation));
            let highest = journal.ok().and_then(|it| journal::highest_revision(&it));
            found.revision_max = found.revision_max.max(highest.unwrap_or(0));
            match self.snapshot(generation) {
                Ok((header, desired)) => {
                    let local = self.local().map_err(|what| found.damage.push(what)).ok();
                    let mut good = LastGood {
                        revision: header.revision,
                        header,
                        desired,
                        local,
                        generation,
                        journal_bytes: None,
                    };
                    self.read_journal(&mut good, &mut found);
                    found.last_good = Some(good);
                    break;
                }
                Err(what) => {
                    found.damage.push(what);
                    found.snapshots_passed_over = true;
                    // Nothing tells its number: it was the one after the last.
                    found.passed_over += u64::from(highest.is_none());
                }
            }
        }
        Ok(found)
    }

    /// The local settings and how far the log reaches, where all of it is whole and can be gone on
    /// with. Sites are not looked at one by one: the checksum over all of them is.
    pub(crate) fn standing(&self) -> Option<(Local, LogPosition)> {
        let generation = self.current().ok()??;
        if self.generations().ok()?.last() != Some(&generation) {
            return None;
        }
        let snapshot = self.bytes(&snapshot_name(generation)).ok()?;
        let snapshot = SnapshotParts::new(&snapshot).ok()?;
        let journal = self.bytes(&journal_name(generation)).ok()?;
        let mut reader = JournalReader::new(snapshot.header.clone());
        let part = reader.read(&journal);
        let is_whole = part.fault.is_none() && part.bytes == journal.len() && part.bytes > 0;
        if !is_whole || reader.sealed().is_some() || snapshot.header.format != FORMAT {
            return None;
        }
        let position = LogPosition {
            store: snapshot.header.store,
            generation,
            snapshot_checksum: snapshot.checksum,
            journal_bytes: journal.len() as u64,
            revision: reader.revision(),
        };
        Some((self.local().ok()?, position))
    }

    /// How far the log reached with this header and so much of its journal; none when that
    /// generation is gone already.
    pub(crate) fn position(
        &self,
        header: &Header,
        journal_bytes: u64,
        revision: u64,
    ) -> Option<LogPosition> {
        let snapshot = self.bytes(&snapshot_name(header.generation)).ok()?;
        let snapshot = SnapshotParts::new(&snapshot).ok()?;
        Some(LogPosition {
            store: header.store.clone(),
            generation: header.generation,
            snapshot_checksum: snapshot.checksum,
            journal_bytes,
            revision,
        })
    }

    /// Goes on from a snapshot with what its journal holds.
    fn read_journal(&self, good: &mut LastGood, found: &mut Found) {
        let name = journal_name(good.generation);
        let bytes = match self.bytes(&name) {
            Ok(bytes) => bytes,
            Err(what) => return found.damage.push(what),
        };
        let mut reader = JournalReader::new(good.header.clone());
        let part = reader.read(&bytes);
        for change in part.changes {
            good.desired.apply(change);
        }
        good.revision = reader.revision();
        match part.fault {
            Some(fault) => {
                found.damage.push(self.words(&name, fault));
                let behind = bytes[part.bytes..].split(|&byte| byte == b'\n');
                found.passed_over += behind.filter(|line| !line.is_empty()).count() as u64;
            }
            None if reader.sealed().is_none() && part.bytes == bytes.len() && part.bytes > 0 => {
                good.journal_bytes = Some(part.bytes as u64);
            }
            // Sealed, or its writer died over the last line: right, and another one is begun.
            None => {}
        }
    }

    /// Writes a generation with its encoded snapshot, with the local settings and what makes it the current one, beside
    /// their places and has them on the disk: all that can fail for want of room is over then.
    ///
    /// # Errors
    /// The first; nothing is left of it.
    pub(crate) fn stage(
        &self,
        header: &Header,
        local: &Local,
        snapshot: &str,
    ) -> io::Result<Staged> {
        let local = config_log::encode_local(local);
        let current = format!("{}\n", header.generation);
        let more = [(LOCAL, local.as_bytes()), (CURRENT, current.as_bytes())];
        self.stage_generation(header, snapshot, &more)
    }

    /// Makes a staged generation the current one. The last good one, `kept`, stays; everything
    /// older is removed.
    ///
    /// # Errors
    /// The first; it is not known then which one is current.
    pub(crate) fn begin(
        &self,
        staged: Staged,
        generation: u64,
        kept: Option<u64>,
    ) -> io::Result<()> {
        staged.put()?;
        self.remove_all_but(&[Some(generation), kept]);
        Ok(())
    }

    /// Writes a generation that nothing leads to yet.
    ///
    /// # Errors
    /// The first; nothing is left of it.
    pub(crate) fn write_generation(&self, header: &Header, snapshot: &str) -> io::Result<()> {
        self.stage_generation(header, snapshot, &[])?.put()
    }

    fn stage_generation(
        &self,
        header: &Header,
        snapshot: &str,
        more: &[(&str, &[u8])],
    ) -> io::Result<Staged> {
        let journal = journal::encode_header(header);
        let names = [
            snapshot_name(header.generation),
            journal_name(header.generation),
        ];
        let mut files = vec![
            (names[0].as_str(), snapshot.as_bytes()),
            (names[1].as_str(), journal.as_bytes()),
        ];
        files.extend_from_slice(more);
        Staged::write(&self.path, &files)
    }

    /// Has `current` lead to a generation.
    ///
    /// # Errors
    /// The first; it is not known then which one it leads to.
    pub(crate) fn make_current(&self, generation: u64) -> io::Result<()> {
        let current = format!("{generation}\n");
        durable_file::replace_all(&self.path, &[(CURRENT, current.as_bytes())])
    }

    /// Removes every generation but these. One that stays is in nobody's way.
    pub(crate) fn remove_all_but(&self, kept: &[Option<u64>]) {
        for old in self.generations().unwrap_or_default() {
            if !kept.contains(&Some(old)) {
                let _ = std::fs::remove_file(self.path.join(journal_name(old)));
                let _ = std::fs::remove_file(self.path.join(snapshot_name(old)));
            }
        }
    }

    /// Opens a journal to append to it.
    ///
    /// # Errors
    /// When it can not be opened for writing.
    pub(crate) fn open_journal(&self, generation: u64) -> io::Result<File> {
        let path = self.path.join(journal_name(generation));
        File::options().append(true).open(path)
    }

    /// Bytes of a snapshot; 0 where that can not be told.
    pub(crate) fn snapshot_bytes(&self, generation: u64) -> u64 {
        let path = self.path.join(snapshot_name(generation));
        std::fs::metadata(path).map_or(0, |it| it.len())
    }

    /// The header of a generation that comes after everything here.
    ///
    /// # Errors
    /// When there is no store yet, and the kernel has no random bits for the name of one.
    pub(crate) fn next_header(&self, found: &Found, revision: u64) -> io::Result<Header> {
        Ok(Header {
            format: FORMAT,
            store: match &found.last_good {
                Some(good) => good.header.store.clone(),
                None => new_store()?,
            },
            revision,
            generation: found.generation_max + 1,
        })
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
