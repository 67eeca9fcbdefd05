//! Where counters stand so that they outlive the process: page files, one a worker.
//!
//! A worker gives a slot to a key when it first counts something of it, and grows its own file: it is
//! the one who knows that it is full, and nobody has to be asked. The key keeps the slot for as
//! long as the process lives. Others read the same memory.
//!
//! Where the disk is full, or there is none, a slot stands in memory alone: it is read and
//! written to the slots file as any other, and only a kill loses it. That is counted.

use super::Layout;
use crate::{CounterFile, CounterSegment, CounterWords};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The word of a slot that has its key.
const KEY_WORD: usize = 0;

/// One worker's counters, for whoever reads them.
#[derive(Debug)]
pub struct Pages {
    /// Mapped, when there is a file, and its word that tells which slot of time is open.
    header: Option<(CounterSegment, usize)>,
    /// In the order in which they were added; slots are given from the first to the last.
    segments: Mutex<Vec<CounterSegment>>,
    slot_words: usize,
    /// Keys whose slots a kill would lose.
    unbacked: AtomicU64,
}

/// One worker's counters, for the worker.
#[derive(Debug)]
pub struct PageWriter<const SLOT_WORDS: usize> {
    pages: Arc<Pages>,
    file: Option<CounterFile>,
    /// The last segment, its slots that were given, and whether a kill would lose it.
    current: Option<(CounterSegment, usize, bool)>,
    /// What the file grows by next, at first and at most, in bytes.
    next_bytes: usize,
    bytes_min: usize,
    bytes_max: usize,
    /// Places in `slots` by key.
    given: HashMap<u64, usize>,
    slots: Vec<CounterWords<SLOT_WORDS>>,
}

/// The page files of a start of the plane, and the lock that says that it lives.
#[derive(Debug)]
pub struct PageSet<const SLOT_WORDS: usize> {
    /// By worker.
    pub writers: Vec<PageWriter<SLOT_WORDS>>,
    /// Held for life: whoever gets it knows that the plane is dead.
    pub lock: Option<File>,
    /// Why there are no files.
    pub fault: Option<String>,
}

impl<const SLOT_WORDS: usize> PageSet<SLOT_WORDS> {
    /// Makes the files of `workers` workers in `counters`/pages. Without them (a full disk) the
    /// plane counts in memory.
    pub fn create<const COLUMNS: usize>(
        layout: &Layout<COLUMNS>,
        counters: &Path,
        epoch: [u8; 16],
        workers: usize,
        open_slot: u64,
    ) -> PageSet<SLOT_WORDS> {
        let making = Making {
            layout,
            epoch,
            workers,
            open_slot,
        };
        match making.create_files(&counters.join("pages")) {
            Ok((files, lock)) => PageSet {
                writers: files
                    .into_iter()
                    .map(|(file, header)| PageWriter::new(layout, Some((file, header))))
                    .collect(),
                lock: Some(lock),
                fault: None,
            },
            Err(fault) => PageSet {
                writers: (0..workers)
                    .map(|_| PageWriter::new(layout, None))
                    .collect(),
                lock: None,
                fault: Some(fault),
            },
        }
    }
}

type Files = Vec<(CounterFile, CounterSegment)>;

/// A set that is being made.
struct Making<'a, const COLUMNS: usize> {
    layout: &'a Layout<COLUMNS>,
    epoch: [u8; 16],
    workers: usize,
    open_slot: u64,
}

impl<const COLUMNS: usize> Making<'_, COLUMNS> {
    /// The set gets its name last: who finds it finds it locked and whole.
    fn create_files(&self, directory: &Path) -> Result<(Files, File), String> {
        let program = self.layout.program;
        let epoch = hexadecimal(self.epoch);
        make_directory(directory)?;
        sweep(directory, program);
        let unnamed = directory.join(format!("{}{epoch}", unnamed(program)));
        let files = self.fill(&unnamed).and_then(|files| {
            let name = directory.join(format!("{program}-{epoch}"));
            fs::rename(&unnamed, &name).map_err(|error| fault(&name, &error))?;
            Ok(files)
        });
        if files.is_err() {
            let _ = fs::remove_dir_all(&unnamed);
        }
        files
    }

    fn fill(&self, directory: &Path) -> Result<(Files, File), String> {
        make_directory(directory)?;
        let path = directory.join("lock");
        let lock = File::create_new(&path).map_err(|error| fault(&path, &error))?;
        lock.try_lock()
            .map_err(|error| fault(&path, &io::Error::from(error)))?;
        let mut files = Vec::with_capacity(self.workers);
        for worker in 0..self.workers {
            let path = directory.join(format!("w{worker}"));
            let header = (self.layout.header)(self.epoch, worker as u64, self.open_slot);
            files.push(CounterFile::create(&path, &header).map_err(|error| fault(&path, &error))?);
        }
        Ok((files, lock))
    }
}

/// What a set is called until it is whole.
fn unnamed(program: &str) -> String {
    format!("new-{program}-")
}

fn hexadecimal(epoch: [u8; 16]) -> String {
    epoch.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a directory, or what a link that leads nowhere points to.
fn make_directory(path: &Path) -> Result<(), String> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let target = match fs::metadata(path) {
        Ok(_) => return Ok(()),
        Err(_) => fs::read_link(path).unwrap_or_else(|_| path.to_owned()),
    };
    builder
        .create(&target)
        .map_err(|error| fault(&target, &error))
}

/// Removes what a plane left that died before it had counted anything.
fn sweep(directory: &Path, program: &str) {
    let unnamed = unnamed(program);
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let left: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&unnamed))
        .map(|entry| entry.path())
        .collect();
    for path in left {
        let _ = fs::remove_dir_all(path);
    }
}

fn fault(path: &Path, error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on that file system",
        ErrorKind::PermissionDenied => "; it must belong to the user of the plane",
        _ => "",
    };
    format!("{}: {error}{remedy}", path.display())
}

impl<const SLOT_WORDS: usize> PageWriter<SLOT_WORDS> {
    fn new<const COLUMNS: usize>(
        layout: &Layout<COLUMNS>,
        file: Option<(CounterFile, CounterSegment)>,
    ) -> PageWriter<SLOT_WORDS> {
        let (file, header) = file.unzip();
        let (bytes_min, bytes_max) = layout.segment_bytes;
        PageWriter {
            pages: Arc::new(Pages {
                header: header.map(|header| (header, layout.open_slot_word)),
                segments: Mutex::default(),
                slot_words: SLOT_WORDS,
                unbacked: AtomicU64::new(0),
            }),
            file,
            current: None,
            next_bytes: bytes_min,
            bytes_min,
            bytes_max,
            given: HashMap::new(),
            slots: Vec::new(),
        }
    }

    /// The same counters, for whoever reads them.
    pub fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages)
    }

    /// The slot of a key, which is not 0: always the same.
    pub fn slot(&mut self, key: u64) -> &CounterWords<SLOT_WORDS> {
        let place = match self.given.get(&key) {
            Some(&place) => place,
            None => {
                let (segment, at, unbacked) = self.next_slot();
                let words = segment.share::<SLOT_WORDS>(at * SLOT_WORDS);
                // Stored last: the rest of the slot is zero already.
                words[KEY_WORD].store(key, Ordering::Release);
                if unbacked {
                    self.pages.unbacked.fetch_add(1, Ordering::Relaxed);
                }
                self.slots.push(words);
                self.given.insert(key, self.slots.len() - 1);
                self.slots.len() - 1
            }
        };
        &self.slots[place]
    }

    fn next_slot(&mut self) -> (CounterSegment, usize, bool) {
        if let Some((segment, given, unbacked)) = &mut self.current
            && (*given + 1) * SLOT_WORDS <= segment.words().len()
        {
            *given += 1;
            return (segment.clone(), *given - 1, *unbacked);
        }
        let (segment, unbacked) = match self.grow() {
            Some(segment) => (segment, false),
            None => {
                let segment = CounterSegment::anonymous(self.bytes_min);
                (segment.expect("there is memory for some slots"), true)
            }
        };
        self.pages.lock().push(segment.clone());
        self.current = Some((segment.clone(), 1, unbacked));
        (segment, 0, unbacked)
    }

    fn grow(&mut self) -> Option<CounterSegment> {
        let file = self.file.as_mut()?;
        let bytes = self.next_bytes;
        if let Ok(segment) = file.grow(bytes) {
            self.next_bytes = (2 * bytes).min(self.bytes_max);
            return Some(segment);
        }
        self.next_bytes = self.bytes_min;
        file.grow(self.bytes_min).ok()
    }
}

impl Pages {
    /// Says which slot of time is open, to whoever reads the file.
    pub fn set_open_slot(&self, slot: u64) {
        if let Some((header, word)) = &self.header {
            header.words()[*word].store(slot, Ordering::Relaxed);
        }
    }

    /// Gives each key that the worker has counted something of, with its slot.
    pub fn each(&self, mut take: impl FnMut(u64, &[AtomicU64])) {
        let segments = self.lock().clone();
        for segment in &segments {
            for slot in segment.words().chunks_exact(self.slot_words) {
                let key = slot[KEY_WORD].load(Ordering::Acquire);
                if key == 0 {
                    break;
                }
                take(key, slot);
            }
        }
    }

    /// Keys whose slots stand in memory alone.
    pub fn unbacked(&self) -> u64 {
        self.unbacked.load(Ordering::Relaxed)
    }

    /// Held to look at the list or to add to it, never to count.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<CounterSegment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
