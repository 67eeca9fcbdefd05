//! Following the config log (STATE/config): the newest revision that is whole and compiles.
//!
//! A [`Follower`] belongs to the configuration thread, so that reading, compiling and the freeing
//! of what is old delay neither a worker nor the control thread.

use meridian_model::change::Change;
use meridian_model::config_log::journal::JournalReader;
use meridian_model::config_log::{Header, decode, decode_header, decode_local};
use meridian_model::snapshot::SiteId;
use meridian_model::{Compiled, Desired, Local};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub(crate) struct Follower {
    directory: PathBuf,
    local: Local,
    own_addresses: Vec<IpAddr>,
    compiled: Compiled,
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

/// What a plane starts with.
#[derive(Debug)]
pub(crate) struct Started {
    /// Goes on from here.
    pub(crate) follower: Follower,
    /// What was wrong with newer files and lines that were passed over, in words.
    pub(crate) passed_over: Vec<String>,
}

/// One generation as it was read: the state that it leads to, not compiled yet.
struct Generation {
    desired: Desired,
    journal: JournalReader,
    journal_bytes: u64,
    fault: Option<String>,
    changes: Vec<Change>,
    revision: u64,
}

impl Follower {
    /// Reads the settings of the host and the newest revision that is whole and compiles.
    ///
    /// The error names the files and what is wrong with each.
    pub(crate) fn start(state: &Path) -> Result<Started, String> {
        let directory = state.join("config");
        let local = read_local(&directory)?;
        let own_addresses = meridian_sys::listener::interface_addresses()
            .map_err(|error| format!("asking for the addresses of this host: {error}"))?;
        let newest = read_current(&directory)?;
        let mut passed_over = Vec::new();
        // The writer keeps the generation before the current one.
        for generation in [Some(newest), newest.checked_sub(1)]
            .into_iter()
            .flatten()
            .filter(|&generation| generation > 0)
        {
            let started = Follower::begin(&directory, &local, &own_addresses, generation);
            match started {
                Ok(follower) => {
                    passed_over.extend(follower.fault().map(str::to_owned));
                    return Ok(Started {
                        follower,
                        passed_over,
                    });
                }
                Err(fault) => passed_over.push(fault),
            }
        }
        Err(passed_over.join("\n"))
    }

    /// Goes on from a snapshot and its journal.
    fn begin(
        directory: &Path,
        local: &Local,
        own_addresses: &[IpAddr],
        generation: u64,
    ) -> Result<Follower, String> {
        let (header, mut compiled) = compile_snapshot(directory, generation, local)?;
        compiled.add_own_addresses(own_addresses);
        let mut follower = Follower {
            directory: directory.to_owned(),
            local: local.clone(),
            own_addresses: own_addresses.to_vec(),
            compiled,
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

    /// The revision that is served.
    pub(crate) fn compiled(&self) -> &Compiled {
        &self.compiled
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
    /// its journal; without them, all that is there. Gives the sites that are other than before.
    /// What is wrong is kept in [`Follower::fault`], and the revision stays the last good one.
    /// An announcement that comes late, of a generation that was left already, says nothing new.
    pub(crate) fn follow(&mut self, generation: Option<u64>, length: Option<u64>) -> Vec<SiteId> {
        self.trouble = None;
        match self.try_follow(generation, length) {
            Ok(changed) => changed,
            Err(trouble) => {
                self.trouble = Some(trouble);
                Vec::new()
            }
        }
    }

    fn try_follow(
        &mut self,
        generation: Option<u64>,
        length: Option<u64>,
    ) -> Result<Vec<SiteId>, String> {
        let generation = match generation {
            Some(generation) => generation,
            None => read_current(&self.directory)?,
        };
        if generation < self.generation {
            return Ok(Vec::new());
        }
        if generation > self.generation {
            return self.move_to(generation, length);
        }
        if self.fault.is_some() {
            // What follows stands on what could not be taken up.
            return Ok(Vec::new());
        }
        let path = journal_path(&self.directory, generation);
        let bytes = read_from(&path, self.journal_bytes, length)?;
        let part = self.journal.read(&bytes);
        self.journal_bytes += part.bytes as u64;
        let mut sites = Vec::new();
        for change in &part.changes {
            match self.advance(change) {
                Ok(changed) => sites.extend(changed),
                Err(fault) => {
                    self.fault = Some(fault);
                    break;
                }
            }
        }
        if self.fault.is_some() {
            // The first is what counts.
        } else if let Some(fault) = part.fault {
            self.fault = Some(refused(&path, &fault));
        } else if length.is_some() && part.bytes < bytes.len() {
            self.fault = Some(refused(&path, &"what was announced ends within a line"));
        }
        Ok(sites)
    }

    /// Goes over to another generation.
    fn move_to(&mut self, generation: u64, length: Option<u64>) -> Result<Vec<SiteId>, String> {
        let path = snapshot_path(&self.directory, generation);
        if self.fault.is_none() {
            let header = read_header(&path)?;
            // Mostly it only puts the same revision together anew.
            if header.revision == self.compiled.revision() {
                self.journal = JournalReader::new(header);
                self.journal_bytes = 0;
                self.generation = generation;
                return self.try_follow(Some(generation), length);
            }
        }
        let read = read_generation(&self.directory, generation, length)?;
        let mut desired = read.desired;
        let mut revision = read.revision;
        for change in read.changes {
            revision = change.revision;
            desired.apply(change);
        }
        let (mut compiled, changed) = self
            .compiled
            .anew(&self.local, &desired, revision)
            .map_err(|problems| refused(&path, &problems))?;
        compiled.add_own_addresses(&self.own_addresses);
        self.compiled = compiled;
        self.generation = generation;
        self.journal = read.journal;
        self.journal_bytes = read.journal_bytes;
        self.fault = read.fault;
        Ok(changed)
    }

    /// Compiles one more revision.
    fn advance(&mut self, change: &Change) -> Result<Vec<SiteId>, String> {
        let path = journal_path(&self.directory, self.generation);
        let what = |problems: &dyn std::fmt::Display| {
            refused(&path, &format!("revision {}: {problems}", change.revision))
        };
        let applied = self
            .compiled
            .apply(&self.local, change)
            .map_err(|problems| what(&problems))?;
        if let Some(sites) = applied {
            return Ok(sites);
        }
        let desired = &self.desired_at(change.revision)?;
        let (mut compiled, changed) = self
            .compiled
            .anew(&self.local, desired, change.revision)
            .map_err(|problems| what(&problems))?;
        compiled.add_own_addresses(&self.own_addresses);
        self.compiled = compiled;
        Ok(changed)
    }

    /// All of the state at `revision`, of which the bytes that were read tell.
    fn desired_at(&self, revision: u64) -> Result<Desired, String> {
        let bytes = Some(self.journal_bytes);
        let read = read_generation(&self.directory, self.generation, bytes)?;
        let mut desired = read.desired;
        let before = |change: &Change| change.revision <= revision;
        for change in read.changes.into_iter().filter(before) {
            desired.apply(change);
        }
        Ok(desired)
    }
}

fn refused(path: &Path, what: &dyn std::fmt::Display) -> String {
    format!("{}: {what}", path.display())
}

fn read_local(directory: &Path) -> Result<Local, String> {
    let path = directory.join("local");
    let bytes = fs::read(&path).map_err(|error| {
        format!(
            "{}: {error}; run `meridianctl up`, which writes it",
            path.display()
        )
    })?;
    decode_local(&bytes).map_err(|fault| {
        format!(
            "{}: {fault}; run `meridianctl up` to write it anew",
            path.display()
        )
    })
}

fn read_current(directory: &Path) -> Result<u64, String> {
    let path = directory.join("current");
    let current = fs::read_to_string(&path).map_err(|error| {
        format!(
            "{}: {error}; run `meridianctl up`, which writes it",
            path.display()
        )
    })?;
    current.trim_end().parse().map_err(|_| {
        format!(
            "{}: not the number of a generation: {current:?}",
            path.display()
        )
    })
}

/// Compiles a snapshot as it is read.
fn compile_snapshot(
    directory: &Path,
    generation: u64,
    local: &Local,
) -> Result<(Header, Compiled), String> {
    let path = snapshot_path(directory, generation);
    let bytes = fs::read(&path).map_err(|error| refused(&path, &error))?;
    Compiled::read(local, &bytes).map_err(|what| refused(&path, &what))
}

/// A snapshot with its journal, as far as that is right; of the journal the first `length` bytes.
fn read_generation(
    directory: &Path,
    generation: u64,
    length: Option<u64>,
) -> Result<Generation, String> {
    let path = snapshot_path(directory, generation);
    let bytes = fs::read(&path).map_err(|error| refused(&path, &error))?;
    let (header, desired) = decode(&bytes).map_err(|fault| refused(&path, &fault))?;
    let revision = header.revision;
    let mut journal = JournalReader::new(header);
    let path = journal_path(directory, generation);
    let (changes, journal_bytes, fault) = match read_from(&path, 0, length) {
        Ok(bytes) => {
            let part = journal.read(&bytes);
            let fault = part.fault.map(|fault| refused(&path, &fault));
            (part.changes, part.bytes as u64, fault)
        }
        // What the snapshot holds is served all the same.
        Err(what) => (Vec::new(), 0, Some(what)),
    };
    Ok(Generation {
        desired,
        journal,
        journal_bytes,
        fault,
        changes,
        revision,
    })
}

/// The header of a snapshot alone.
fn read_header(path: &Path) -> Result<Header, String> {
    /// More than any header is long.
    const HEADER_BYTES_MAX: u64 = 4096;
    let file = File::open(path).map_err(|error| refused(path, &error))?;
    let mut bytes = Vec::new();
    file.take(HEADER_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(path, &error))?;
    decode_header(&bytes).map_err(|fault| refused(path, &fault))
}

fn read_from(path: &Path, offset: u64, length: Option<u64>) -> Result<Vec<u8>, String> {
    let fault = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => format!("{}: it is missing", path.display()),
        _ => refused(path, &error),
    };
    let mut file = File::open(path).map_err(fault)?;
    file.seek(SeekFrom::Start(offset)).map_err(fault)?;
    let mut bytes = Vec::new();
    match length {
        Some(length) => file
            .take(length.saturating_sub(offset))
            .read_to_end(&mut bytes),
        None => file.read_to_end(&mut bytes),
    }
    .map_err(fault)?;
    if length.is_some_and(|length| offset + (bytes.len() as u64) < length) {
        return Err(format!(
            "{}: shorter than was announced: {} bytes of {}",
            path.display(),
            offset + bytes.len() as u64,
            length.unwrap_or(0)
        ));
    }
    Ok(bytes)
}

fn snapshot_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("snapshot.{generation}"))
}

fn journal_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("journal.{generation}"))
}
