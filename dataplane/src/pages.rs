//! Where counters stand so that they outlive the process: page files, one a worker.
//!
//! A worker gives a slot to a site when it first serves it, and grows its own file: it is the
//! one who knows that it is full, and nobody has to be asked. The site keeps the slot for as
//! long as the process lives, whatever revisions come. Others read the same memory.
//!
//! Where the disk is full, or there is none, a slot stands in memory alone: it is read and
//! written to the slots file as any other, and only a kill loses it. That is counted.

use crate::counters::{Counter, SiteCounters};
use meridian_model::limits::{COUNTER_SEGMENT_BYTES_MAX, COUNTER_SEGMENT_BYTES_MIN};
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    BUCKETS, Epoch, HEADER_OPEN_SLOT_WORD, SLOT_BYTES, SLOT_LATENCY_SUM_WORD, SLOT_LATENCY_WORD,
    SLOT_SITE_WORD, SLOT_TALLY_WORD, SLOT_WORDS, Tally, header,
};
use meridian_sys::{CounterFile, CounterSegment};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One worker's counters, for whoever reads them.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Mapped, when there is a file.
    header: Option<CounterSegment>,
    /// In the order in which they were added; slots are given from the first to the last.
    segments: Mutex<Vec<CounterSegment>>,
    /// Sites whose slots a kill would lose.
    unbacked: Counter,
}

/// One worker's counters, for the worker.
#[derive(Debug)]
pub(crate) struct PageWriter {
    pages: Arc<Pages>,
    file: Option<CounterFile>,
    /// The last segment, its slots that were given, and whether a kill would lose it.
    current: Option<(CounterSegment, usize, bool)>,
    next_bytes: usize,
    given: HashMap<SiteId, SiteCounters>,
}

/// The page files of a start of the plane, and the lock that says that it lives.
#[derive(Debug)]
pub(crate) struct PageSet {
    /// By worker.
    pub(crate) writers: Vec<PageWriter>,
    /// Held for life: whoever gets it knows that the plane is dead.
    pub(crate) lock: Option<File>,
    /// Why there are no files.
    pub(crate) fault: Option<String>,
}

impl PageSet {
    /// Makes the files of `workers` workers in `counters`/pages. Without them (a full disk) the
    /// plane counts in memory.
    pub(crate) fn create(counters: &Path, epoch: Epoch, workers: usize, open_slot: u64) -> PageSet {
        match create_files(&counters.join("pages"), epoch, workers, open_slot) {
            Ok((files, lock)) => PageSet {
                writers: files
                    .into_iter()
                    .map(|(file, header)| PageWriter::new(Some(file), Some(header)))
                    .collect(),
                lock: Some(lock),
                fault: None,
            },
            Err(fault) => PageSet {
                writers: (0..workers).map(|_| PageWriter::new(None, None)).collect(),
                lock: None,
                fault: Some(fault),
            },
        }
    }
}

type Files = Vec<(CounterFile, CounterSegment)>;

/// The set gets its name last: who finds it finds it locked and whole.
fn create_files(
    directory: &Path,
    epoch: Epoch,
    workers: usize,
    open_slot: u64,
) -> Result<(Files, File), String> {
    make_directory(directory)?;
    sweep(directory);
    let unnamed = directory.join(format!("{UNNAMED}{epoch}"));
    let files = fill(&unnamed, epoch, workers, open_slot).and_then(|files| {
        let name = directory.join(format!("dataplane-{epoch}"));
        fs::rename(&unnamed, &name).map_err(|error| fault(&name, &error))?;
        Ok(files)
    });
    if files.is_err() {
        let _ = fs::remove_dir_all(&unnamed);
    }
    files
}

/// What a set is called until it is whole.
const UNNAMED: &str = "new-dataplane-";

fn fill(
    directory: &Path,
    epoch: Epoch,
    workers: usize,
    open_slot: u64,
) -> Result<(Files, File), String> {
    make_directory(directory)?;
    let path = directory.join("lock");
    let lock = File::create_new(&path).map_err(|error| fault(&path, &error))?;
    lock.try_lock()
        .map_err(|error| fault(&path, &io::Error::from(error)))?;
    let mut files = Vec::with_capacity(workers);
    for worker in 0..workers {
        let path = directory.join(format!("w{worker}"));
        let header = header(epoch, worker as u64, open_slot);
        files.push(CounterFile::create(&path, &header).map_err(|error| fault(&path, &error))?);
    }
    Ok((files, lock))
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
fn sweep(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let left: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(UNNAMED))
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

impl PageWriter {
    fn new(file: Option<CounterFile>, header: Option<CounterSegment>) -> PageWriter {
        PageWriter {
            pages: Arc::new(Pages {
                header,
                segments: Mutex::default(),
                unbacked: Counter::default(),
            }),
            file,
            current: None,
            next_bytes: COUNTER_SEGMENT_BYTES_MIN,
            given: HashMap::new(),
        }
    }

    /// The same counters, for whoever reads them.
    pub(crate) fn pages(&self) -> Arc<Pages> {
        Arc::clone(&self.pages)
    }

    /// The counters of a site: always the same.
    pub(crate) fn counters(&mut self, site: SiteId) -> SiteCounters {
        if let Some(counters) = self.given.get(&site) {
            return counters.clone();
        }
        let (segment, at, unbacked) = self.next_slot();
        let words = segment.share::<SLOT_WORDS>(at * SLOT_WORDS);
        // Stored last: the rest of the slot is zero already.
        words[SLOT_SITE_WORD].store(site.0, Ordering::Release);
        if unbacked {
            self.pages.unbacked.add(1);
        }
        let counters = SiteCounters::new(words);
        self.given.insert(site, counters.clone());
        counters
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
                let segment = CounterSegment::anonymous(COUNTER_SEGMENT_BYTES_MIN);
                (segment.expect("there is memory for 128 sites"), true)
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
            self.next_bytes = (2 * bytes).min(COUNTER_SEGMENT_BYTES_MAX);
            return Some(segment);
        }
        self.next_bytes = COUNTER_SEGMENT_BYTES_MIN;
        file.grow(COUNTER_SEGMENT_BYTES_MIN).ok()
    }
}

/// What one worker counted of a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<'a>(&'a [AtomicU64]);

impl Slot<'_> {
    /// Its columns.
    pub(crate) fn tally(self) -> Tally {
        Tally(self.words(SLOT_TALLY_WORD))
    }

    /// How many responses there were by the bucket of their latency.
    pub(crate) fn latency(self) -> [u64; BUCKETS] {
        self.words(SLOT_LATENCY_WORD)
    }

    /// All latencies together, in nanoseconds.
    pub(crate) fn latency_ns(self) -> u64 {
        let [sum] = self.words(SLOT_LATENCY_SUM_WORD);
        sum
    }

    fn words<const WORDS: usize>(self, first: usize) -> [u64; WORDS] {
        std::array::from_fn(|at| self.0[first + at].load(Ordering::Relaxed))
    }
}

impl Pages {
    /// Says which slot of time is open, to whoever reads the file.
    pub(crate) fn set_open_slot(&self, slot: u64) {
        if let Some(header) = &self.header {
            header.words()[HEADER_OPEN_SLOT_WORD].store(slot, Ordering::Relaxed);
        }
    }

    /// Adds what the worker has counted by now.
    pub(crate) fn add_to(&self, sums: &mut HashMap<SiteId, Tally>) {
        self.each(|site, slot| {
            let sum = sums.entry(site).or_default();
            *sum = sum.plus(&slot.tally());
        });
    }

    /// Gives each site that the worker served, with what it counted of it by now.
    pub(crate) fn each(&self, mut take: impl FnMut(SiteId, Slot<'_>)) {
        let segments = self.lock().clone();
        for segment in &segments {
            for slot in segment.words().chunks_exact(SLOT_WORDS) {
                let site = slot[SLOT_SITE_WORD].load(Ordering::Acquire);
                if site == 0 {
                    break;
                }
                take(SiteId(site), Slot(slot));
            }
        }
    }

    /// Sites whose slots stand in memory alone.
    pub(crate) fn unbacked(&self) -> u64 {
        self.unbacked.get()
    }

    /// Held to look at the list or to add to it, never to count.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<CounterSegment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const _: () = assert!(COUNTER_SEGMENT_BYTES_MIN.is_multiple_of(SLOT_BYTES));
