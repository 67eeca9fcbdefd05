//! The desired state while `up` runs: one writer, which looks whether a change compiles, writes it
//! to the config log and only then lets anybody know of it.
//!
//! What comes of compiling is the plane's alone, and sites stay packed ([`Packed`]): of fifty
//! thousand that saves two kilobytes each, and a change needs those that it is about.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use meridian_model::config_log::journal::{encode_change, encode_seal};
use meridian_model::config_log::{self, FORMAT, Header};
use meridian_model::{Change, Desired, Local, Packed, Problems};

use crate::config_directory::{ConfigDirectory, LastGood, LogPosition};
use crate::limits::{CHANGE_BYTES_MAX, JOURNAL_BYTES_MIN};

/// See the module.
pub(crate) struct Store {
    directory: ConfigDirectory,
    local: Local,
    header: Header,
    desired: Packed,
    revision: u64,
    journal: Journal,
    /// Numbers that are not to be given out any more: something may have been read under them.
    revisions_skipped: u64,
    generations_skipped: u64,
}

/// The journal that is written to.
struct Journal {
    file: File,
    /// Up to here it is whole, on the disk, and announced.
    bytes: u64,
    /// What could not be taken back stands behind that: nothing can be appended.
    is_torn: bool,
    /// At this length a new generation is begun.
    compact_at: u64,
}

/// What stands in a directory, and compiles.
pub(crate) struct State {
    pub(crate) header: Header,
    pub(crate) desired: Packed,
    /// What the snapshot and the journal lead to.
    pub(crate) revision: u64,
    /// Of the journal; none means that it holds its header alone.
    pub(crate) journal_bytes: Option<u64>,
}

/// How far the config log reaches: what planes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The newest revision.
    pub(crate) revision: u64,
    /// The generation that it stands in.
    pub(crate) generation: u64,
    /// Bytes of that generation's journal.
    pub(crate) length: u64,
}

/// Why a change was not made. Nothing was.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// It does not compile.
    Wrong(Problems),
    /// It can not be written.
    Unwritten(io::Error),
}

impl Store {
    /// Goes on from what the directory holds.
    ///
    /// # Errors
    /// When it does not compile, or its journal can not be opened.
    pub(crate) fn open(
        directory: ConfigDirectory,
        good: LastGood,
        local: Local,
    ) -> Result<Store, String> {
        meridian_model::check(&local, &good.desired)
            .map_err(|problems| format!("{}: {problems}", good.generation))?;
        let is_torn = good.journal_bytes.is_none();
        let state = State {
            desired: pack(&good.header, &good.desired),
            header: good.header,
            revision: good.revision,
            journal_bytes: good.journal_bytes,
        };
        let mut store = Store::go_on(directory, local, state)
            .map_err(|error| format!("{}: {error}", good.generation))?;
        store.journal.is_torn = is_torn;
        Ok(store)
    }

    /// Goes on from what is known to stand in the directory.
    ///
    /// # Errors
    /// When its journal can not be opened.
    pub(crate) fn go_on(
        directory: ConfigDirectory,
        local: Local,
        state: State,
    ) -> io::Result<Store> {
        let file = directory.open_journal(state.header.generation)?;
        let bytes = match state.journal_bytes {
            Some(bytes) => bytes,
            None => file.metadata()?.len(),
        };
        let snapshot_bytes = directory.snapshot_bytes(state.header.generation);
        Ok(Store {
            directory,
            local,
            header: state.header,
            desired: state.desired,
            revision: state.revision,
            revisions_skipped: 0,
            generations_skipped: 0,
            journal: Journal {
                file,
                bytes,
                is_torn: false,
                compact_at: JOURNAL_BYTES_MIN.max(snapshot_bytes),
            },
        })
    }

    /// The state of the newest revision.
    pub(crate) fn desired(&self) -> &Packed {
        &self.desired
    }

    /// The host's own settings, as this `up` was started with.
    pub(crate) fn local(&self) -> &Local {
        &self.local
    }

    /// Where the log stands.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How far the log reaches.
    pub(crate) fn announcement(&self) -> Announcement {
        Announcement {
            revision: self.revision,
            generation: self.header.generation,
            length: self.journal.bytes,
        }
    }

    /// How far the log reaches now.
    pub(crate) fn position(&self) -> Option<LogPosition> {
        (self.directory).position(&self.header, self.journal.bytes, self.revision)
    }

    /// The number of the next change.
    pub(crate) fn next_revision(&self) -> u64 {
        self.revision + 1 + self.revisions_skipped
    }

    /// Whether a change could be made.
    ///
    /// # Errors
    /// Its problems.
    pub(crate) fn check(&self, change: &Change) -> Result<(), Problems> {
        self.desired.check(&self.local, change)
    }

    /// Makes a change: when this returns it is on the disk.
    ///
    /// # Errors
    /// Why it was not made; everything is then as it was.
    pub(crate) fn commit(&mut self, change: Change) -> Result<(), NotMade> {
        self.check(&change).map_err(NotMade::Wrong)?;
        let line = encode_change(&change);
        let in_journal = !self.journal.is_torn && line.len() <= CHANGE_BYTES_MAX;
        if in_journal {
            if let Err(error) = self.journal.append(&line) {
                self.revisions_skipped += u64::from(self.journal.is_torn);
                return Err(NotMade::Unwritten(error));
            }
            self.revision = change.revision;
            self.desired.apply(change);
        } else {
            let mut next = self.desired.unpack();
            let revision = change.revision;
            next.apply(change);
            self.begin(revision, &next, false)
                .map_err(NotMade::Unwritten)?;
        }
        Ok(())
    }

    /// Puts the journal together into a new generation, when it has become long. Says whether it
    /// did.
    ///
    /// # Errors
    /// Why it could not; the journal goes on, and the next try is made when it is twice as long (at
    /// the next change, where nothing can be appended).
    pub(crate) fn compact(&mut self) -> io::Result<bool> {
        if self.journal.bytes < self.journal.compact_at && !self.journal.is_torn {
            return Ok(false);
        }
        self.journal.compact_at = 2 * self.journal.bytes;
        let desired = self.desired.unpack();
        let seals = !self.journal.is_torn;
        self.begin(self.revision, &desired, seals).map(|()| true)
    }

    /// Begins a generation with `desired`, which is `revision` and holds from now on. Where the
    /// journal leads to the same revision, `seals` has it ended.
    fn begin(&mut self, revision: u64, desired: &Desired, seals: bool) -> io::Result<()> {
        let before = self.header.generation;
        let header = Header {
            format: FORMAT,
            store: self.header.store.clone(),
            revision,
            generation: before + 1 + self.generations_skipped,
        };
        // Whatever fails up to here leaves everything as it was.
        let snapshot = config_log::encode(&header, desired);
        self.directory.write_generation(&header, &snapshot)?;
        let file = self.directory.open_journal(header.generation)?;
        let bytes = file.metadata()?.len();
        if seals {
            self.journal
                .append(&encode_seal(revision, header.generation))?;
            // Behind the seal nothing is written, whatever becomes of it.
            self.journal.is_torn = true;
        }
        if let Err(error) = self.directory.make_current(header.generation) {
            // It may lead there or not. It is led back; and neither that generation's number nor
            // that revision's is used again.
            let _ = self.directory.make_current(before);
            self.journal.is_torn = true;
            self.generations_skipped += 1;
            self.revisions_skipped += 1;
            return Err(error);
        }
        self.directory
            .remove_all_but(&[Some(header.generation), Some(before)]);
        let snapshot_bytes = self.directory.snapshot_bytes(header.generation);
        self.journal = Journal {
            file,
            bytes,
            is_torn: false,
            compact_at: JOURNAL_BYTES_MIN.max(snapshot_bytes),
        };
        self.header = header;
        self.revision = revision;
        self.desired = Packed::new(desired, Arc::new(snapshot));
        self.generations_skipped = 0;
        self.revisions_skipped = 0;
        Ok(())
    }
}

/// The state as it is kept, whatever the files look like that it was read from.
pub(crate) fn pack(header: &Header, desired: &Desired) -> Packed {
    Packed::new(desired, Arc::new(config_log::encode(header, desired)))
}

impl Journal {
    /// Writes a line and has it on the disk. After an error nothing of it is there, or the journal
    /// is torn: a line that was whole for a moment may have been read.
    fn append(&mut self, line: &str) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.is_torn = self.file.set_len(self.bytes).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            let _ = self.file.set_len(self.bytes);
            self.is_torn = true;
            return Err(error);
        }
        self.bytes += line.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::Manifest;
    use meridian_model::name::Name;

    fn parts(hosts: usize) -> (Local, Desired) {
        let names: Vec<String> = (0..hosts).map(|n| format!("\"h{n}.test\"")).collect();
        let text = format!(
            "[host]\nname = \"h1\"\n[listen]\nhttp = [\"127.0.0.1:8080\"]\n[[tenant]]\nname = \"acme\"\n\
             [[site]]\ntenant = \"acme\"\nname = \"shop\"\nhostnames = [{}]\n",
            names.join(", ")
        );
        let manifest = Manifest::parse(&text, "h1.toml").unwrap();
        manifest.into_parts()
    }

    fn wanted(store: &Store, hosts: usize) -> Change {
        let (_, mut next) = parts(hosts);
        let before = store.desired().unpack();
        next.assign_ids(Some(&before));
        before.change_to(&next, store.next_revision())
    }

    fn open(path: &Path) -> (Store, u64) {
        let directory = ConfigDirectory::new(path.to_owned());
        let found = directory.read().unwrap();
        assert_eq!(found.damage, [""; 0]);
        let good = found.last_good.expect("there is a revision");
        let (revision, local) = (good.revision, good.local.clone().unwrap());
        (Store::open(directory, good, local).unwrap(), revision)
    }

    /// A directory with a snapshot and three more revisions in the journal.
    fn begun(path: &Path) -> Store {
        let directory = ConfigDirectory::new(path.to_owned());
        let (local, mut desired) = parts(1);
        desired.assign_ids(None);
        let header = directory
            .next_header(&directory.read().unwrap(), 1)
            .unwrap();
        let snapshot = config_log::encode(&header, &desired);
        let staged = directory.stage(&header, &local, &snapshot).unwrap();
        directory.begin(staged, header.generation, None).unwrap();
        let (mut store, _) = open(path);
        for hosts in 2..5 {
            let change = wanted(&store, hosts);
            store.commit(change).unwrap();
        }
        store
    }

    fn copy(from: &Path, to: &Path, names: &[&str]) {
        for name in names {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }

    #[test]
    fn wherever_a_compaction_is_interrupted_the_revision_is_the_same() {
        let done = tempfile::tempdir().unwrap();
        let mut store = begun(done.path());
        let before = tempfile::tempdir().unwrap();
        let old = ["current", "local", "snapshot.1", "journal.1"];
        copy(done.path(), before.path(), &old);
        assert!(!store.compact().unwrap(), "it is short");
        store.journal.compact_at = 0;
        assert!(store.compact().unwrap());
        let announced = store.announcement();
        assert_eq!((announced.revision, announced.generation), (4, 2));

        let sealed = std::fs::read(done.path().join("journal.1")).unwrap();
        let unsealed = std::fs::read(before.path().join("journal.1")).unwrap();
        assert!(sealed.starts_with(&unsealed) && sealed.len() > unsealed.len());
        let snapshot = std::fs::read(done.path().join("snapshot.2")).unwrap();
        type Step<'a> = Box<dyn Fn(&Path) + 'a>;
        let mut steps: Vec<Step<'_>> = Vec::new();
        for bytes in (0..snapshot.len()).step_by(97) {
            let part = &snapshot[..bytes];
            steps.push(Box::new(move |to| {
                std::fs::write(to.join("snapshot.2.new"), part).unwrap();
            }));
        }
        steps.push(Box::new(|to| copy(done.path(), to, &["snapshot.2"])));
        for bytes in unsealed.len()..=sealed.len() {
            let (sealed, from) = (&sealed[..bytes], done.path());
            steps.push(Box::new(move |to| {
                copy(from, to, &["snapshot.2", "journal.2"]);
                std::fs::write(to.join("journal.1"), sealed).unwrap();
            }));
        }
        steps.push(Box::new(|to| {
            copy(
                done.path(),
                to,
                &["snapshot.2", "journal.2", "journal.1", "current"],
            );
        }));
        for (number, step) in steps.iter().enumerate() {
            let at = tempfile::tempdir().unwrap();
            copy(before.path(), at.path(), &old);
            step(at.path());
            let (mut store, revision) = open(at.path());
            assert_eq!(revision, 4, "step {number}");
            assert_eq!(
                store.desired().unpack().sites[0].hostnames.len(),
                4,
                "step {number}"
            );
            // And it goes on from there.
            let change = wanted(&store, 7);
            store.commit(change).unwrap();
            let (store, revision) = open(at.path());
            assert_eq!(revision, 5, "step {number}");
            assert_eq!(
                store.desired().unpack().sites[0].hostnames.len(),
                7,
                "step {number}"
            );
        }
    }

    #[test]
    fn a_change_too_long_for_a_line_begins_a_generation() {
        let at = tempfile::tempdir().unwrap();
        let mut store = begun(at.path());
        store.journal.is_torn = true;
        let change = wanted(&store, 9);
        store.commit(change).unwrap();
        let announced = store.announcement();
        assert_eq!((announced.revision, announced.generation), (5, 2));
        let change = wanted(&store, 10);
        store.commit(change).unwrap();
        assert_eq!(store.announcement().generation, 2);
        assert_eq!(open(at.path()).1, 6);
    }

    #[test]
    fn a_change_that_is_wrong_writes_nothing() {
        let at = tempfile::tempdir().unwrap();
        let mut store = begun(at.path());
        let before = store.announcement();
        let desired = store.desired().unpack();
        let mut next = desired.clone();
        Arc::make_mut(&mut next.sites[0]).tenant = Name::parse("nobody").unwrap();
        let change = desired.change_to(&next, store.next_revision());
        assert!(store.check(&change).is_err());
        assert!(matches!(store.commit(change), Err(NotMade::Wrong(_))));
        assert_eq!(store.announcement(), before);
        assert_eq!(open(at.path()).1, 4);
    }
}
