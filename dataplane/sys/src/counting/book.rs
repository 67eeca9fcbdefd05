//! What was counted since the start, by key, and the slots of time that it falls into.
//!
//! A thread of its own closes the slot of time that is open once the wall clock says that it is
//! over, and at the end: it appends the keys' cumulative values to the slots file. A slot that
//! can not be written (the disk is full) is not closed; what it had goes into the next one.
//! Slots never go back when the clock does.

use super::{Counted, Layout, Pages, SlotsFile};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the thread looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// Columns by key.
pub type Sums<const COLUMNS: usize> = HashMap<u64, [u64; COLUMNS]>;

/// See the module.
#[derive(Debug)]
pub struct Book<const COLUMNS: usize> {
    layout: Layout<COLUMNS>,
    /// By worker.
    pages: Box<[Arc<Pages>]>,
    standing: Mutex<Standing<COLUMNS>>,
    unwritten: AtomicU64,
}

/// How far time has been told apart.
#[derive(Debug)]
struct Standing<const COLUMNS: usize> {
    open_slot: u64,
    /// What every key had at the end of the last slot that is on the disk.
    closed: Arc<Sums<COLUMNS>>,
}

impl<const COLUMNS: usize> Book<COLUMNS> {
    /// Nothing yet, of workers with these pages, while `open_slot` is open.
    pub fn new(layout: Layout<COLUMNS>, pages: Box<[Arc<Pages>]>, open_slot: u64) -> Book<COLUMNS> {
        Book {
            layout,
            pages,
            standing: Mutex::new(Standing {
                open_slot,
                closed: Arc::default(),
            }),
            unwritten: AtomicU64::new(0),
        }
    }

    /// By worker.
    pub fn pages(&self) -> &[Arc<Pages>] {
        &self.pages
    }

    /// What each key has by now, all workers together. Sums stay at the greatest number instead of
    /// beginning anew.
    pub fn sums(&self) -> Sums<COLUMNS> {
        let mut sums = Sums::new();
        let column_word = self.layout.column_word;
        for pages in &self.pages {
            pages.each(|key, slot| {
                let sum = sums.entry(key).or_insert([0; COLUMNS]);
                for (sum, word) in sum.iter_mut().zip(&slot[column_word..]) {
                    *sum = sum.saturating_add(word.load(Ordering::Relaxed));
                }
            });
        }
        sums
    }

    /// The slot of time that is open, what every key had at the end of the last one that is on the
    /// disk, and what each has by now.
    pub fn standing(&self) -> (u64, Arc<Sums<COLUMNS>>, Sums<COLUMNS>) {
        // In this order: what is closed is never more than what there is.
        let (open_slot, closed) = {
            let standing = self.locked();
            (standing.open_slot, Arc::clone(&standing.closed))
        };
        (open_slot, closed, self.sums())
    }

    /// Keys whose counters a kill would lose.
    pub fn unbacked(&self) -> u64 {
        self.pages.iter().map(|pages| pages.unbacked()).sum()
    }

    /// Slots of time that could not be written when they were over.
    pub fn unwritten(&self) -> u64 {
        self.unwritten.load(Ordering::Relaxed)
    }

    fn locked(&self) -> MutexGuard<'_, Standing<COLUMNS>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes slots of time.
#[derive(Debug)]
pub struct Closer<const COLUMNS: usize> {
    book: Arc<Book<COLUMNS>>,
    file: SlotsFile,
}

impl<const COLUMNS: usize> Closer<COLUMNS> {
    /// Of this book, into this file.
    pub fn new(book: Arc<Book<COLUMNS>>, file: SlotsFile) -> Closer<COLUMNS> {
        Closer { book, file }
    }

    /// Closes the open slot when it is over: when the clock says that `now` is open.
    pub fn look(&mut self, now: u64) {
        if now > self.book.locked().open_slot {
            self.close(now);
        }
    }

    /// Closes the open slot at the end of the process. Whatever still comes is of the next.
    pub fn end(&mut self) {
        let next = self.book.locked().open_slot + 1;
        self.close(next);
    }

    fn close(&mut self, next: u64) {
        let slot = self.book.locked().open_slot;
        // Who finds the files of a killed plane takes all that is not closed for the open slot's.
        // So this comes first: if we die over the writing, what `slot` had counts as `next`'s; if
        // it came last, it would count as `slot`'s for a second time, which is to be forgotten.
        self.book
            .pages
            .iter()
            .for_each(|pages| pages.set_open_slot(next));
        let sums = self.book.sums();
        let closed = Arc::clone(&self.book.locked().closed);
        let mut changed: Vec<Counted<COLUMNS>> = sums
            .iter()
            .filter(|(key, sum)| closed.get(key).copied().unwrap_or([0; COLUMNS]) != **sum)
            .map(|(&key, &sum)| (key, sum))
            .collect();
        changed.sort_unstable_by_key(|(key, _)| *key);
        let lines = (self.book.layout.closed_slot)(slot, &changed);
        let written = self.file.append(&lines);
        // Who asks gets both as they were before, until both are as they are on the disk.
        let mut standing = self.book.locked();
        standing.open_slot = next;
        match written {
            Ok(()) => standing.closed = Arc::new(sums),
            Err(fault) => {
                self.book.unwritten.fetch_add(1, Ordering::Relaxed);
                eprintln!(
                    "meridian-{}: usage up to now counts as the next five minutes': {fault}",
                    self.book.layout.program
                );
            }
        }
    }
}

/// The thread that closes slots of time.
#[derive(Debug)]
pub struct Closing {
    going_on: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Closing {
    /// Starts the thread; `open` tells which slot of time is open by the wall clock. The slots file
    /// gets its first line before this returns, if the disk takes it.
    ///
    /// # Errors
    /// When there can be no thread, in words.
    pub fn start<const COLUMNS: usize>(
        mut closer: Closer<COLUMNS>,
        open: impl Fn() -> u64 + Send + 'static,
    ) -> Result<Closing, String> {
        if let Err(fault) = closer.file.ensure() {
            let program = closer.book.layout.program;
            eprintln!("meridian-{program}: usage can not be written yet: {fault}");
        }
        let (going_on, gone) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("usage".to_owned())
            .spawn(move || {
                while gone.recv_timeout(TICK) == Err(mpsc::RecvTimeoutError::Timeout) {
                    closer.look(open());
                }
                closer.end();
            })
            .map_err(|error| format!("starting the usage thread: {error}"))?;
        Ok(Closing { going_on, thread })
    }

    /// Closes the open slot and ends the thread.
    pub fn finish(self) {
        drop(self.going_on);
        let _ = self.thread.join();
    }
}
