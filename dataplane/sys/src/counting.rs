//! What a plane counts for good: words that outlive the process, and files in which time is told apart.
//!
//! ```text
//! pages        one file a worker, mapped: a slot of words for each key, given when it is first counted
//! book         what all workers have by now, and when a slot of time is over
//! slots_file   where the book writes that down, fsynced
//! ```
//!
//! What the words mean and how the files read is the caller's: a [`Layout`] says where things stand.
//! The keys are ids of sites, the slots of time those that usage is billed by.

mod book;
mod pages;
mod slots_file;

pub use book::{Book, Closer, Closing, Sums};
pub use pages::{PageSet, PageWriter, Pages};
pub use slots_file::SlotsFile;

/// A key and its columns.
pub type Counted<const COLUMNS: usize> = (u64, [u64; COLUMNS]);

/// Where things stand in the files of a program, and how they begin. Words are of 8 bytes.
///
/// `SLOT_WORDS` is the length of a slot, `COLUMNS` the number of words in it that are summed.
#[derive(Debug, Clone, Copy)]
pub struct Layout<const COLUMNS: usize> {
    /// The program whose name the files bear.
    pub program: &'static str,
    /// The word of a slot that its columns begin at. Its key is the first word, 0 in a free one.
    pub column_word: usize,
    /// The word of a header that tells which slot of time is open.
    pub open_slot_word: usize,
    /// What a file grows by, in bytes: at first, and at most.
    pub segment_bytes: (usize, usize),
    /// A page file's header: of which epoch and worker, and which slot of time is open.
    pub header: fn(epoch: [u8; 16], worker: u64, open_slot: u64) -> Vec<u8>,
    /// The lines of a slots file that close a slot of time: cumulative values by key, of keys that
    /// changed since the last.
    pub closed_slot: fn(slot: u64, changed: &[Counted<COLUMNS>]) -> String,
}
