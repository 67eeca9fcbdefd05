//! Following the config log (STATE/config): the newest revision that is whole and compiles.
//!
//! The dataplane and the responder each make something else of a revision: [`Serving`] says what.
//! A [`Follower`] belongs to their configuration thread, so that reading, compiling and the freeing
//! of what is old delay neither a worker nor the control thread.

mod files;

use files::{
    journal_path, read_current, read_from, read_header, read_local, refused, snapshot_path,
};
use meridian_model::change::Change;
use meridian_model::config_log::journal::JournalReader;
use meridian_model::config_log::{Header, decode};
use meridian_model::snapshot::SiteId;
use meridian_model::{Desired, Local};
use std::fmt::{self, Display};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// From a try that came to nothing to the next. It doubles: what is damaged may take long to read.
const PAUSE_LEAST: Duration = Duration::from_millis(100);
/// See [`PAUSE_LEAST`].
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// What a program makes of a revision and serves.
///
/// Errors are told as they are, behind the name of the file.
pub trait Serving: Sized {
    /// What all revisions are made with, beside the settings of the host.
    type With: fmt::Debug;

    /// Makes it of a whole `snapshot.G`.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or does not compile.
    fn read(with: &Self::With, local: &Local, bytes: &[u8]) -> Result<(Header, Self), String>;

    /// The revision that it was made of.
    fn revision(&self) -> u64;

    /// Takes up a change, at a cost in proportion to the change. Gives the sites that are other than
    /// before, if it tells them apart, or `None` when everything is to be made anew.
    ///
    /// # Errors
    ///
    /// What does not compile; it then stays as it is.
    fn apply(&mut self, local: &Local, change: &Change) -> Result<Option<Vec<SiteId>>, String>;

    /// Makes it of all of a revision on top of this one. Gives the sites that are other, as
    /// [`Serving::apply`] does.
    ///
    /// # Errors
    ///
    /// What does not compile.
    fn anew(
        &self,
        with: &Self::With,
        local: &Local,
        desired: &Desired,
        revision: u64,
    ) -> Result<(Self, Vec<SiteId>), String>;
}

/// See the module.
#[derive(Debug)]
pub struct Follower<S: Serving> {
    directory: PathBuf,
    local: Local,
    with: S::With,
    served: S,
    generation: u64,
    journal: JournalReader,
    /// Bytes of the journal that were read.
    journal_bytes: u64,
    /// What is wrong with the journal, so that a newer revision is not served; a newer generation
    /// heals it.
    fault: Option<String>,
    /// Why the last try came to nothing; the next one may not.
    trouble: Option<String>,
    /// From the last try to the next, while they come to nothing.
    pause: Duration,
    /// When that is.
    again_at: Option<Instant>,
    /// What was read of the journal is not all in what is served: a file could not be read meanwhile.
    is_behind: bool,
    /// Sites that are other than those that [`Follower::follow`] has told of.
    changed: Vec<SiteId>,
}

/// What a program starts with.
#[derive(Debug)]
pub struct Started<S: Serving> {
    /// Goes on from here.
    pub follower: Follower<S>,
    /// What was wrong with newer files and lines that were passed over, in words.
    pub passed_over: Vec<String>,
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

impl<S: Serving> Follower<S> {
    /// Reads the settings of the host and the newest revision under the state directory `state` that
    /// is whole and compiles.
    ///
    /// # Errors
    ///
    /// The files, and what is wrong with each.
    pub fn start(state: &Path, with: S::With) -> Result<Started<S>, String> {
        let directory = state.join("config");
        let local = read_local(&directory)?;
        let newest = read_current(&directory)?;
        let mut passed_over = Vec::new();
        // The writer keeps the generation before the current one.
        let generations = [Some(newest), newest.checked_sub(1)];
        for generation in generations.into_iter().flatten().filter(|&it| it > 0) {
            let path = snapshot_path(&directory, generation);
            let read = fs::read(&path).map_err(|error| error.to_string());
            match read.and_then(|bytes| S::read(&with, &local, &bytes)) {
                Ok((header, served)) => {
                    let mut follower = Follower {
                        directory,
                        local,
                        with,
                        served,
                        generation,
                        journal: JournalReader::new(header),
                        journal_bytes: 0,
                        fault: None,
                        trouble: None,
                        pause: Duration::ZERO,
                        again_at: None,
                        is_behind: false,
                        changed: Vec::new(),
                    };
                    // What the snapshot holds is served, whatever the journal is like.
                    follower.follow(Some(generation), None);
                    passed_over.extend(follower.fault().map(str::to_owned));
                    return Ok(Started {
                        follower,
                        passed_over,
                    });
                }
                Err(what) => passed_over.push(refused(&path, &what)),
            }
        }
        Err(passed_over.join("\n"))
    }

    /// The settings of the host.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// What is served.
    pub fn served(&self) -> &S {
        &self.served
    }

    /// The generation that is followed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether it is time to try again what came to nothing because a file could not be read, though
    /// nothing was announced.
    pub fn is_due(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|at| now >= at)
    }

    /// Why a newer revision is not served.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref().or(self.trouble.as_deref())
    }

    /// Takes up what the log holds by now, as far as it was announced: `generation` and bytes of
    /// its journal; without them, all that is there. Gives the sites that are other than before.
    /// What is wrong is kept in [`Follower::fault`], and the revision stays the last good one.
    /// An announcement that comes late, of a generation that was left already, says nothing new.
    pub fn follow(&mut self, generation: Option<u64>, length: Option<u64>) -> Vec<SiteId> {
        self.trouble = self.try_follow(generation, length).err();
        self.pause = match self.trouble {
            Some(_) => (self.pause * 2).clamp(PAUSE_LEAST, PAUSE_MOST),
            None => Duration::ZERO,
        };
        self.again_at = (self.trouble.as_ref()).map(|_| Instant::now() + self.pause);
        std::mem::take(&mut self.changed)
    }

    fn try_follow(&mut self, generation: Option<u64>, length: Option<u64>) -> Result<(), String> {
        let generation = match generation {
            Some(generation) => generation,
            None => read_current(&self.directory)?,
        };
        if generation < self.generation {
            return Ok(());
        }
        if generation > self.generation {
            return self.move_to(generation, length);
        }
        if self.is_behind {
            return self.begin_anew(generation, length);
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
            if let Err(fault) = self.advance(change)? {
                self.fault = Some(fault);
                break;
            }
        }
        if self.fault.is_some() {
            // The first is what counts.
        } else if let Some(fault) = part.fault {
            self.fault = Some(refused(&path, &fault));
        } else if length.is_some() && part.bytes < bytes.len() {
            self.fault = Some(refused(&path, &"what was announced ends within a line"));
        }
        Ok(())
    }

    /// Goes over to another generation.
    fn move_to(&mut self, generation: u64, length: Option<u64>) -> Result<(), String> {
        let path = snapshot_path(&self.directory, generation);
        if self.fault.is_none() {
            let header = read_header(&path)?;
            // Mostly it only puts the same revision together anew.
            if header.revision == self.served.revision() {
                self.journal = JournalReader::new(header);
                self.journal_bytes = 0;
                self.generation = generation;
                return self.try_follow(Some(generation), length);
            }
        }
        self.begin_anew(generation, length)
    }

    /// Reads all of a generation.
    fn begin_anew(&mut self, generation: u64, length: Option<u64>) -> Result<(), String> {
        let path = snapshot_path(&self.directory, generation);
        let read = read_generation(&self.directory, generation, length)?;
        let mut desired = read.desired;
        let mut revision = read.revision;
        for change in read.changes {
            revision = change.revision;
            desired.apply(change);
        }
        if let Err(what) = self.make_anew(&desired, revision) {
            // It will not compile the next time either.
            self.fault = Some(refused(&path, &what));
            return Ok(());
        }
        self.generation = generation;
        self.is_behind = false;
        self.journal = read.journal;
        self.journal_bytes = read.journal_bytes;
        self.fault = read.fault;
        Ok(())
    }

    /// Takes up one more revision. The outer error is that what it takes can not be read now, the inner
    /// one that it can not be served.
    fn advance(&mut self, change: &Change) -> Result<Result<(), String>, String> {
        let revision = change.revision;
        let made = match self.served.apply(&self.local, change) {
            Ok(Some(changed)) => {
                self.changed.extend(changed);
                Ok(())
            }
            Ok(None) => {
                // Until it is taken up, what follows stands on nothing.
                self.is_behind = true;
                let desired = self.desired_at(revision)?;
                self.is_behind = false;
                self.make_anew(&desired, revision)
            }
            Err(what) => Err(what),
        };
        Ok(made.map_err(|what| {
            let path = journal_path(&self.directory, self.generation);
            refused(&path, &format!("revision {revision}: {what}"))
        }))
    }

    fn make_anew(&mut self, desired: &Desired, revision: u64) -> Result<(), String> {
        let made = self.served.anew(&self.with, &self.local, desired, revision);
        let (served, changed) = made?;
        self.served = served;
        self.changed.extend(changed);
        Ok(())
    }

    /// All of the state at `revision`, of which the bytes that were read tell.
    fn desired_at(&self, revision: u64) -> Result<Desired, String> {
        let bytes = Some(self.journal_bytes);
        let read = read_generation(&self.directory, self.generation, bytes)?;
        if let Some(fault) = read.fault {
            return Err(fault);
        }
        let mut desired = read.desired;
        let before = |change: &Change| change.revision <= revision;
        for change in read.changes.into_iter().filter(before) {
            desired.apply(change);
        }
        Ok(desired)
    }
}

/// A snapshot with its journal, as far as that is right; of the journal the first `length` bytes.
fn read_generation(
    directory: &Path,
    generation: u64,
    length: Option<u64>,
) -> Result<Generation, String> {
    let path = snapshot_path(directory, generation);
    let wrong = |what: &dyn Display| refused(&path, what);
    let bytes = fs::read(&path).map_err(|error| wrong(&error))?;
    let (header, desired) = decode(&bytes).map_err(|fault| wrong(&fault))?;
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
