//! Following the config log (STATE/config): the newest revision whose zones are whole and compile.
//!
//! As the dataplane does, but that sites are compiled to what DNS answers of them.

use meridian_model::change::Change;
use meridian_model::config_log::journal::JournalReader;
use meridian_model::config_log::{Header, decode, decode_header, decode_local};
use meridian_model::{Desired, Local, Zones};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    directory: PathBuf,
    local: Local,
    zones: Arc<Zones>,
    generation: u64,
    journal: JournalReader,
    /// Bytes of the journal that were read.
    journal_bytes: u64,
    /// What is wrong with the journal, so that a newer revision is not served; a newer generation
    /// heals it.
    fault: Option<String>,
    /// Why the last try came to nothing; the next one may not.
    trouble: Option<String>,
}

impl Follower {
    /// Reads the settings of the host and the newest revision that is whole and compiles; and what was
    /// wrong with newer files that were passed over.
    ///
    /// # Errors
    ///
    /// The files, and what is wrong with each.
    pub(crate) fn start(state: &Path) -> Result<(Follower, Vec<String>), String> {
        let directory = state.join("config");
        let local = read_local(&directory)?;
        let newest = read_current(&directory)?;
        let mut passed_over = Vec::new();
        // The writer keeps the generation before the current one.
        let generations = [Some(newest), newest.checked_sub(1)];
        for generation in generations.into_iter().flatten().filter(|&it| it > 0) {
            match Follower::begin(&directory, &local, generation) {
                Ok(follower) => {
                    passed_over.extend(follower.fault().map(str::to_owned));
                    return Ok((follower, passed_over));
                }
                Err(fault) => passed_over.push(fault),
            }
        }
        Err(passed_over.join("\n"))
    }

    /// Goes on from a snapshot and its journal.
    fn begin(directory: &Path, local: &Local, generation: u64) -> Result<Follower, String> {
        let (header, zones) = read_snapshot(directory, local, generation)?;
        let mut follower = Follower {
            directory: directory.to_owned(),
            local: local.clone(),
            zones: Arc::new(zones),
            generation,
            journal: JournalReader::new(header),
            journal_bytes: 0,
            fault: None,
            trouble: None,
        };
        // What the snapshot holds is served, whatever the journal is like.
        follower.follow(Some(generation), None);
        Ok(follower)
    }

    /// The settings of the host.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// What is served.
    pub(crate) fn zones(&self) -> &Arc<Zones> {
        &self.zones
    }

    /// The generation that is followed.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Why a newer revision is not served.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref().or(self.trouble.as_deref())
    }

    /// Takes up what the log holds by now, as far as it was announced: `generation` and bytes of
    /// its journal; without them, all that is there. What is wrong is kept in [`Follower::fault`],
    /// and the revision stays the last good one.
    pub(crate) fn follow(&mut self, generation: Option<u64>, length: Option<u64>) {
        self.trouble = self.try_follow(generation, length).err();
    }

    fn try_follow(&mut self, generation: Option<u64>, length: Option<u64>) -> Result<(), String> {
        let generation = match generation {
            Some(generation) => generation,
            None => read_current(&self.directory)?,
        };
        // An announcement that comes late, of a generation that was left already, says nothing new.
        if generation < self.generation {
            return Ok(());
        }
        if generation > self.generation {
            return self.move_to(generation, length);
        }
        if self.fault.is_some() {
            // What follows stands on what could not be taken up.
            return Ok(());
        }
        let path = journal_path(&self.directory, generation);
        let bytes = read_from(&path, self.journal_bytes, length)?;
        let part = self.journal.read(&bytes);
        self.journal_bytes += part.bytes as u64;
        for change in &part.changes {
            self.advance(change)
                .map_err(|fault| self.fault = Some(fault))
                .ok();
            if self.fault.is_some() {
                return Ok(());
            }
        }
        if let Some(fault) = part.fault {
            self.fault = Some(about(&path, &fault));
        } else if length.is_some() && part.bytes < bytes.len() {
            self.fault = Some(about(&path, &"what was announced ends within a line"));
        }
        Ok(())
    }

    /// Goes over to another generation.
    fn move_to(&mut self, generation: u64, length: Option<u64>) -> Result<(), String> {
        let path = snapshot_path(&self.directory, generation);
        let header = read_header(&path)?;
        // Mostly it only puts the same revision together anew.
        let is_same = self.fault.is_none() && header.revision == self.zones.revision;
        if !is_same {
            let (_, zones) = read_snapshot(&self.directory, &self.local, generation)?;
            self.zones = Arc::new(zones);
        }
        self.journal = JournalReader::new(header);
        self.journal_bytes = 0;
        self.generation = generation;
        self.fault = None;
        self.try_follow(Some(generation), length)
    }

    /// Compiles one more revision.
    fn advance(&mut self, change: &Change) -> Result<(), String> {
        if let Some(zones) = self.zones.with(change) {
            self.zones = Arc::new(zones);
            return Ok(());
        }
        let path = journal_path(&self.directory, self.generation);
        let desired = self.desired_at(change.revision)?;
        let zones = Zones::compile(&self.local, &desired, change.revision)
            .map_err(|problems| about(&path, &problems))?;
        self.zones = Arc::new(zones);
        Ok(())
    }

    /// All of the state at `revision`, of which the bytes that were read tell.
    fn desired_at(&self, revision: u64) -> Result<Desired, String> {
        let path = snapshot_path(&self.directory, self.generation);
        let bytes = fs::read(&path).map_err(|error| about(&path, &error))?;
        let (header, mut desired) = decode(&bytes).map_err(|fault| about(&path, &fault))?;
        let path = journal_path(&self.directory, self.generation);
        let bytes = read_from(&path, 0, Some(self.journal_bytes))?;
        let changes = JournalReader::new(header).read(&bytes).changes;
        for change in changes.into_iter().filter(|it| it.revision <= revision) {
            desired.apply(change);
        }
        Ok(desired)
    }
}

fn about(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

fn snapshot_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("snapshot.{generation}"))
}

fn journal_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("journal.{generation}"))
}

fn read_local(directory: &Path) -> Result<Local, String> {
    let path = directory.join("local");
    let bytes = fs::read(&path).map_err(|error| {
        let path = path.display();
        format!("{path}: {error}; run `meridianctl up`, which writes it")
    })?;
    decode_local(&bytes).map_err(|fault| {
        let path = path.display();
        format!("{path}: {fault}; run `meridianctl up` to write it anew")
    })
}

fn read_current(directory: &Path) -> Result<u64, String> {
    let path = directory.join("current");
    let current = fs::read_to_string(&path).map_err(|error| {
        let path = path.display();
        format!("{path}: {error}; run `meridianctl up`, which writes it")
    })?;
    let number = current.trim_end().parse();
    number.map_err(|_| {
        about(
            &path,
            &format!("not the number of a generation: {current:?}"),
        )
    })
}

/// Compiles a snapshot as it is read.
fn read_snapshot(
    directory: &Path,
    local: &Local,
    generation: u64,
) -> Result<(Header, Zones), String> {
    let path = snapshot_path(directory, generation);
    let bytes = fs::read(&path).map_err(|error| about(&path, &error))?;
    Zones::read(local, &bytes).map_err(|what| about(&path, &what))
}

/// The header of a snapshot alone.
fn read_header(path: &Path) -> Result<Header, String> {
    /// More than any header is long.
    const HEADER_BYTES_MAX: u64 = 4096;
    let file = File::open(path).map_err(|error| about(path, &error))?;
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| about(path, &error))?;
    decode_header(&bytes).map_err(|fault| about(path, &fault))
}

/// What a file holds from `offset` on; up to `length`, where that is told.
fn read_from(path: &Path, offset: u64, length: Option<u64>) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => about(path, &"it is missing"),
        _ => about(path, &error),
    };
    let mut file = File::open(path).map_err(fault)?;
    file.seek(SeekFrom::Start(offset)).map_err(fault)?;
    let mut bytes = Vec::new();
    let most = length.map_or(u64::MAX, |length| length.saturating_sub(offset));
    file.take(most).read_to_end(&mut bytes).map_err(fault)?;
    let end = offset + bytes.len() as u64;
    match length {
        Some(length) if end < length => Err(about(
            path,
            &format!("shorter than was announced: {end} bytes of {length}"),
        )),
        _ => Ok(bytes),
    }
}
