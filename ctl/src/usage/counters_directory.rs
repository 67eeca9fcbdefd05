//! STATE/counters: what planes counted and nobody has taken into the ledger yet.
//!
//! ```text
//! dataplane-<epoch>.slots    what a plane had counted at the end of each slot of time
//! pages                      where page files stand: a link to a tmpfs, or a directory
//! pages/dataplane-<epoch>/   the page files of a plane, w0, w1 ..., and `lock`
//! ```
//!
//! The same of `geodns`. A [`CountersDirectory`] sees the files of one program.
//!
//! A plane holds a `flock` on its `lock` and on its slots file for life. Who gets both knows
//! that it is dead, and that nothing will come any more.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use meridian_model::usage::{
    ClosedSlot, Epoch, HEADER_BYTES, PageSet, SlotsHeader, SlotsReader, read_pages,
    read_slots_header,
};

use crate::ledger::SlotsPlace;
use crate::limits::SLOTS_LINE_BYTES_MAX;

const DIRECTORY_MODE: u32 = 0o700;

/// Where page files go when it is a tmpfs: they are gone with a loss of power, as any memory.
const RUN: &str = "/run";

/// What statfs says of a tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The programs that count.
pub(crate) const PROGRAMS: [&str; 2] = ["dataplane", "geodns"];

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct CountersDirectory {
    path: PathBuf,
    /// Whose files it sees.
    program: &'static str,
}

/// Whose files are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) slots: BTreeSet<Epoch>,
    pub(crate) pages: BTreeSet<Epoch>,
}

/// A dead plane's files, held so that nobody else takes them in at the same time.
#[derive(Debug)]
pub(crate) struct Held {
    _locks: Vec<File>,
}

impl CountersDirectory {
    /// With the files of the dataplane.
    pub(crate) fn new(path: PathBuf) -> CountersDirectory {
        let [program, _] = PROGRAMS;
        CountersDirectory { path, program }
    }

    /// The same directory with the files of a program.
    pub(crate) fn of(&self, program: &'static str) -> CountersDirectory {
        CountersDirectory {
            path: self.path.clone(),
            program,
        }
    }

    /// Whose files it sees.
    pub(crate) fn program(&self) -> &'static str {
        self.program
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory, and the link to where page files go when that is a tmpfs.
    ///
    /// # Errors
    /// When it can not be made.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        self.prepare_in(Path::new(RUN))
    }

    fn prepare_in(&self, run: &Path) -> io::Result<()> {
        make_directory(&self.path)?;
        let pages = self.pages();
        let Some(target) = self.target_in(run) else {
            // A plane makes a directory when nothing is there. A link into a tmpfs that is gone
            // leads nowhere.
            if fs::read_link(&pages).is_ok() && fs::metadata(&pages).is_err() {
                fs::remove_file(&pages)?;
            }
            return Ok(());
        };
        match fs::read_link(&pages) {
            Ok(there) if there == target => return Ok(()),
            // Of the directory that this one was copied from.
            Ok(_) => fs::remove_file(&pages)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // A plane was here before there was a tmpfs: it goes on as it is.
            Err(_) => return Ok(()),
        }
        symlink(&target, &pages)
    }

    /// A directory of our own in the tmpfs, if that is one and lets us. Its name is the state
    /// directory's number in the kernel, which stays when that is moved and is another when it
    /// is copied.
    fn target_in(&self, run: &Path) -> Option<PathBuf> {
        let is_tmpfs = rustix::fs::statfs(run).is_ok_and(|it| it.f_type == TMPFS_MAGIC);
        let state = fs::metadata(&self.path).ok()?;
        if !is_tmpfs {
            return None;
        }
        let name = format!("{:x}-{:x}", state.dev(), state.ino());
        let target = run.join("meridian").join(name);
        make_directory(&target).ok()?;
        let made = fs::symlink_metadata(&target).ok()?;
        let ours = made.is_dir() && made.uid() == rustix::process::geteuid().as_raw();
        (ours && made.mode() & 0o077 == 0).then_some(target)
    }

    /// Whose files are there. What has another name is none of ours.
    ///
    /// # Errors
    /// When a directory can not be read; one that is not there has nothing.
    pub(crate) fn list(&self) -> io::Result<Listing> {
        let epoch_in = |name: &str, end: &str| {
            let epoch = name.strip_prefix(self.program)?.strip_prefix('-')?;
            Epoch::parse(epoch.strip_suffix(end)?)
        };
        // Pages first: a plane's slots file comes after its pages and goes after them.
        let pages = names(&self.pages())?;
        let slots = names(&self.path)?;
        Ok(Listing {
            pages: pages.iter().filter_map(|it| epoch_in(it, "")).collect(),
            slots: slots
                .iter()
                .filter_map(|it| epoch_in(it, ".slots"))
                .collect(),
        })
    }

    fn pages(&self) -> PathBuf {
        self.path.join("pages")
    }

    /// The page files of an epoch.
    pub(crate) fn page_set(&self, epoch: Epoch) -> PathBuf {
        self.pages().join(format!("{}-{epoch}", self.program))
    }

    /// The slots file of an epoch.
    pub(crate) fn slots_file(&self, epoch: Epoch) -> PathBuf {
        self.path.join(format!("{}-{epoch}.slots", self.program))
    }

    /// Holds the files of a plane that is dead; `None` while it lives.
    ///
    /// # Errors
    /// When that can not be known.
    pub(crate) fn hold_dead(&self, epoch: Epoch) -> io::Result<Option<Held>> {
        let mut locks = Vec::new();
        for path in [self.page_set(epoch).join("lock"), self.slots_file(epoch)] {
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(at(&path, &error)),
            };
            match file.try_lock() {
                Ok(()) => locks.push(file),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(at(&path, &error)),
            }
        }
        Ok(Some(Held { _locks: locks }))
    }

    /// Opens an epoch's slots file; `None` when there is none.
    ///
    /// # Errors
    /// When it can not be opened.
    pub(crate) fn open_slots(&self, epoch: Epoch) -> io::Result<Option<SlotsFile>> {
        let path = self.slots_file(epoch);
        match File::open(&path) {
            Ok(file) => Ok(Some(SlotsFile { path, file, epoch })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, &error)),
        }
    }

    /// Reads all page files of an epoch; the second part is what could not be read, in words.
    pub(crate) fn read_page_set(&self, epoch: Epoch) -> (Vec<PageSet>, Vec<String>) {
        let (mut pages, mut faults) = (Vec::new(), Vec::new());
        for path in self.page_files(epoch) {
            match read_page_file(&path, epoch) {
                Ok(read) => pages.extend(read),
                Err(fault) => faults.push(fault),
            }
        }
        (pages, faults)
    }

    /// The page files of an epoch, in order.
    pub(crate) fn page_files(&self, epoch: Epoch) -> Vec<PathBuf> {
        let set = self.page_set(epoch);
        let mut names = names(&set).unwrap_or_default();
        let is_page = |name: &String| {
            name.strip_prefix('w')
                .is_some_and(|number| number.parse::<u32>().is_ok())
        };
        names.retain(is_page);
        names.sort();
        names.into_iter().map(|name| set.join(name)).collect()
    }
}

/// `None` when it is gone, or its maker died before it had written the first byte.
fn read_page_file(path: &Path, epoch: Epoch) -> Result<Option<PageSet>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path, &error).to_string()),
    };
    let header = &bytes[..bytes.len().min(HEADER_BYTES)];
    if header.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    match read_pages(&bytes) {
        Ok(pages) if pages.epoch == epoch => Ok(Some(pages)),
        Ok(pages) => Err(format!(
            "{}: its header is that of epoch {}",
            path.display(),
            pages.epoch
        )),
        Err(fault) => Err(format!("{}: {fault}", path.display())),
    }
}

/// A slots file that stays readable when it is removed.
#[derive(Debug)]
pub(crate) struct SlotsFile {
    path: PathBuf,
    file: File,
    epoch: Epoch,
}

impl SlotsFile {
    /// Reads its first line. `None` when that is not whole: nothing was ever closed.
    ///
    /// # Errors
    /// What is wrong with it, in words: nothing is known of the rest.
    pub(crate) fn header(&self) -> Result<Option<SlotsHeader>, String> {
        let mut lines = self.lines_from(0)?;
        match next_line(&mut lines).map_err(|error| self.fault(&error))? {
            Line::Whole(line) => {
                let header = read_slots_header(&line).map_err(|fault| self.fault(&fault))?;
                if header.epoch != self.epoch {
                    return Err(self.fault(&format!("line 1: is of epoch {}", header.epoch)));
                }
                Ok(Some(header))
            }
            Line::TooLong(_) => Err(self.fault(&"line 1: is too long")),
            Line::NotWhole => Ok(None),
        }
    }

    /// Reads on from a place, where `last_slot` was the last: hands over each slot that was
    /// closed, with the place behind it. Gives what is damaged, in words; that was passed over.
    ///
    /// # Errors
    /// Of `take`, after which nothing more is read; or when the file can not be read.
    pub(crate) fn read_on<E: From<String>>(
        &self,
        from: SlotsPlace,
        last_slot: Option<u64>,
        mut take: impl FnMut(ClosedSlot, SlotsPlace) -> Result<(), E>,
    ) -> Result<Vec<String>, E> {
        let mut lines = self.lines_from(from.bytes)?;
        let mut faults = Vec::new();
        let mut place = from;
        if place.bytes == 0 {
            match next_line(&mut lines).map_err(|error| self.fault(&error))? {
                Line::Whole(line) => {
                    place.bytes = line.len() as u64 + 1;
                    place.lines = 1;
                }
                Line::TooLong(_) | Line::NotWhole => return Ok(faults),
            }
        }
        let mut reader = SlotsReader::new(place.lines, last_slot);
        loop {
            let taken = match next_line(&mut lines).map_err(|error| self.fault(&error))? {
                Line::Whole(line) => {
                    place.bytes += line.len() as u64 + 1;
                    reader.take(&line)
                }
                Line::TooLong(bytes) => {
                    place.bytes += bytes;
                    reader.take(b"")
                }
                Line::NotWhole => return Ok(faults),
            };
            place.lines = reader.lines();
            match taken {
                Ok(None) => {}
                Ok(Some(closed)) => take(closed, place)?,
                Err(fault) => faults.push(self.fault(&fault)),
            }
        }
    }

    fn lines_from(&self, bytes: u64) -> Result<BufReader<&File>, String> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(bytes))
            .map_err(|error| self.fault(&error))?;
        Ok(BufReader::with_capacity(64 * 1024, file))
    }

    fn fault(&self, what: &dyn std::fmt::Display) -> String {
        format!("{}: {what}", self.path.display())
    }
}

enum Line {
    /// Without its line end.
    Whole(Vec<u8>),
    /// Damage, with its length and its line end.
    TooLong(u64),
    /// The file ends before the line does.
    NotWhole,
}

fn next_line(from: &mut impl BufRead) -> io::Result<Line> {
    let mut line = Vec::new();
    from.take(SLOTS_LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)?;
    if line.pop_if(|&mut last| last == b'\n').is_some() {
        return Ok(Line::Whole(line));
    }
    if (line.len() as u64) < SLOTS_LINE_BYTES_MAX {
        return Ok(Line::NotWhole);
    }
    let rest = from.skip_until(b'\n')?;
    Ok(Line::TooLong(line.len() as u64 + rest as u64))
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
        .map_err(|error| at(path, &error))
}

/// The names in a directory; none when it is not there.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at(directory, &error)),
    };
    let names = entries.map(|entry| {
        let name = entry.map_err(|error| at(directory, &error))?.file_name();
        Ok(name.to_string_lossy().into_owned())
    });
    names.collect()
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory in a file system that is always a tmpfs.
    fn tmpfs() -> tempfile::TempDir {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let magic = rustix::fs::statfs(directory.path()).unwrap().f_type;
        assert_eq!(magic, TMPFS_MAGIC, "/dev/shm is a tmpfs");
        directory
    }

    fn link(counters: &CountersDirectory) -> PathBuf {
        fs::read_link(counters.pages()).unwrap()
    }

    #[test]
    fn page_files_go_to_a_tmpfs_through_a_link_that_is_mended() {
        let (run, state) = (tmpfs(), tempfile::tempdir().unwrap());
        let counters = CountersDirectory::new(state.path().join("counters"));
        counters.prepare_in(run.path()).unwrap();
        let target = link(&counters);
        assert!(target.starts_with(run.path().join("meridian")));
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o700);
        fs::write(counters.pages().join("w0"), "counts").unwrap();
        counters.prepare_in(run.path()).unwrap();
        assert_eq!(fs::read(target.join("w0")).unwrap(), b"counts");
        // After a reboot.
        fs::remove_dir_all(&target).unwrap();
        counters.prepare_in(run.path()).unwrap();
        assert!(target.is_dir());
        // Moved, it is the same; a copy has a place of its own.
        let moved = CountersDirectory::new(state.path().join("moved"));
        fs::rename(counters.path(), moved.path()).unwrap();
        moved.prepare_in(run.path()).unwrap();
        assert_eq!(link(&moved), target);
        let copied = CountersDirectory::new(state.path().join("copied"));
        fs::create_dir(copied.path()).unwrap();
        symlink(&target, copied.pages()).unwrap();
        copied.prepare_in(run.path()).unwrap();
        assert_ne!(link(&copied), target);
        assert!(copied.pages().is_dir() && target.is_dir());
    }

    #[test]
    fn without_a_tmpfs_that_is_ours_they_stand_in_a_directory() {
        let (run, state) = (tmpfs(), tempfile::tempdir().unwrap());
        let counters = CountersDirectory::new(state.path().join("counters"));
        counters.prepare_in(state.path()).unwrap();
        assert!(
            counters.pages().symlink_metadata().is_err(),
            "the plane makes it"
        );
        fs::create_dir(counters.pages()).unwrap();
        counters.prepare_in(run.path()).unwrap();
        assert!(
            counters.pages().symlink_metadata().unwrap().is_dir(),
            "it stays"
        );
        // A tmpfs that was there before leaves a link that leads nowhere.
        fs::remove_dir(counters.pages()).unwrap();
        symlink(run.path().join("gone"), counters.pages()).unwrap();
        counters.prepare_in(state.path()).unwrap();
        assert!(counters.pages().symlink_metadata().is_err());
        // One that others can read is not ours.
        counters.prepare_in(run.path()).unwrap();
        let target = link(&counters);
        fs::remove_file(counters.pages()).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755)).unwrap();
        counters.prepare_in(run.path()).unwrap();
        assert!(counters.pages().symlink_metadata().is_err());
    }

    #[test]
    fn a_line_without_an_end_is_damage_and_the_next_is_read() {
        let mut bytes = b"short\n".to_vec();
        bytes.extend(vec![b'x'; SLOTS_LINE_BYTES_MAX as usize + 7]);
        bytes.extend(b"\nnext\nhalf");
        let mut from = &bytes[..];
        let mut next = || next_line(&mut from).unwrap();
        assert!(matches!(next(), Line::Whole(line) if line == b"short"));
        assert!(matches!(next(), Line::TooLong(bytes) if bytes == SLOTS_LINE_BYTES_MAX + 8));
        assert!(matches!(next(), Line::Whole(line) if line == b"next"));
        assert!(matches!(next(), Line::NotWhole));
    }
}
