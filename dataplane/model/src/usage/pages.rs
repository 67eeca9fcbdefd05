//! A page file: one worker's counters, mapped by it and readable by anybody, at any time.
//!
//! Little-endian words of 8 bytes. A header of [`HEADER_BYTES`]:
//!
//! | word | |
//! | --- | --- |
//! | 0 | `MERIDCNT` |
//! | 1 | the version, 1 |
//! | 2 | [`SLOT_BYTES`] |
//! | 3 | the worker's number |
//! | 4, 5 | the epoch |
//! | 6 | the slot of time that is open |
//!
//! then slots of [`SLOT_BYTES`], one a site: word 0 its id (0: free), words 1 to 14 its
//! [`Tally`] (14 is 0 where nobody counted that yet), 15 the sum of its latencies in nanoseconds (nothing before that was
//! counted), 16 to 63 how many there were of each. An id is stored last, so what a
//! reader finds under it is its own.
//!
//! A plane may die at any word: each is whole, and there is nothing else to be torn.

use std::fmt;

use super::{BUCKETS, COLUMNS, Epoch, Tally};
use crate::snapshot::SiteId;

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 4096;
/// The first of the two words of the header that have the epoch.
pub const HEADER_EPOCH_WORD: usize = 4;
/// The word of the header that has the slot of time that is open.
pub const HEADER_OPEN_SLOT_WORD: usize = 6;
/// Length of a site's slot, in bytes.
pub const SLOT_BYTES: usize = 512;
/// Words of a site's slot.
pub const SLOT_WORDS: usize = SLOT_BYTES / 8;
/// The word of a slot that has the site's id.
pub const SLOT_SITE_WORD: usize = 0;
/// The first word of a slot's [`Tally`].
pub const SLOT_TALLY_WORD: usize = 1;
/// The word of a slot that has the sum of its latencies, in nanoseconds.
pub const SLOT_LATENCY_SUM_WORD: usize = 15;
/// The first word of a slot's latencies.
pub const SLOT_LATENCY_WORD: usize = 16;

const MAGIC: &[u8; 8] = b"MERIDCNT";
const VERSION: u64 = 1;

const _: () = assert!(SLOT_TALLY_WORD + COLUMNS <= SLOT_LATENCY_SUM_WORD);
const _: () = assert!(SLOT_LATENCY_SUM_WORD < SLOT_LATENCY_WORD);
const _: () = assert!(SLOT_LATENCY_WORD + BUCKETS == SLOT_WORDS);
const _: () = assert!(HEADER_BYTES.is_multiple_of(SLOT_BYTES));

/// What a page file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSet {
    /// Which start of a plane counted.
    pub epoch: Epoch,
    /// Which of its workers.
    pub worker: u64,
    /// The slot of time that was open.
    pub open_slot: u64,
    /// The sites that it served, in the order in which it met them.
    pub slots: Vec<PageSlot>,
}

/// What one worker counted of one site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSlot {
    /// The site.
    pub site: SiteId,
    /// Since the epoch began.
    pub tally: Tally,
    /// Requests by [`super::bucket_of`] the time that they took.
    pub latency: [u64; BUCKETS],
}

/// Why bytes are no page file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// The offset of what is wrong, in bytes.
    pub offset: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {}: {}", self.offset, self.what)
    }
}

impl std::error::Error for PageFault {}

/// The header of a worker's page file.
pub fn header(epoch: Epoch, worker: u64, open_slot: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    let mut put = |word: usize, value: u64| {
        bytes[word * 8..word * 8 + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(1, VERSION);
    put(2, SLOT_BYTES as u64);
    put(3, worker);
    put(HEADER_OPEN_SLOT_WORD, open_slot);
    bytes[HEADER_EPOCH_WORD * 8..HEADER_EPOCH_WORD * 8 + 16].copy_from_slice(&epoch.0);
    bytes
}

/// Reads a page file, also one that is being written. A tail shorter than a slot and free slots
/// are passed over.
///
/// # Errors
///
/// The header is not one that this version writes.
pub fn read_pages(bytes: &[u8]) -> Result<PageSet, PageFault> {
    let fault = |offset: usize, what: String| PageFault { offset, what };
    let Some((header, slots)) = bytes.split_at_checked(HEADER_BYTES) else {
        let what = format!("the header ends here, and should have {HEADER_BYTES} bytes");
        return Err(fault(bytes.len(), what));
    };
    if &header[..8] != MAGIC {
        return Err(fault(0, "not a page file of counters".to_owned()));
    }
    let (version, slot_bytes) = (word(header, 1), word(header, 2));
    if version != VERSION {
        let what = format!("has version {version}, and this version reads {VERSION} only");
        return Err(fault(8, what));
    }
    if slot_bytes != SLOT_BYTES as u64 {
        let what = format!("has slots of {slot_bytes} bytes instead of {SLOT_BYTES}");
        return Err(fault(16, what));
    }
    let mut epoch = [0; 16];
    epoch.copy_from_slice(&header[HEADER_EPOCH_WORD * 8..][..16]);
    Ok(PageSet {
        epoch: Epoch(epoch),
        worker: word(header, 3),
        open_slot: word(header, HEADER_OPEN_SLOT_WORD),
        slots: slots
            .chunks_exact(SLOT_BYTES)
            .filter(|slot| word(slot, SLOT_SITE_WORD) != 0)
            .map(read_slot)
            .collect(),
    })
}

fn read_slot(slot: &[u8]) -> PageSlot {
    PageSlot {
        site: SiteId(word(slot, SLOT_SITE_WORD)),
        tally: Tally(std::array::from_fn(|at| word(slot, SLOT_TALLY_WORD + at))),
        latency: std::array::from_fn(|at| word(slot, SLOT_LATENCY_WORD + at)),
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at * 8..][..8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Column;

    const EPOCH: Epoch = Epoch([7; 16]);

    fn slot(site: u64, requests: u64, bucket: usize) -> Vec<u8> {
        let mut words = [0_u64; SLOT_WORDS];
        words[0] = site;
        words[1 + Column::Requests as usize] = requests;
        words[16 + bucket] = requests;
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_page_file_is_read_at_every_length() {
        let mut bytes = header(EPOCH, 3, 99).to_vec();
        bytes.extend(slot(5, 11, 0));
        bytes.extend(slot(0, 12, 0));
        bytes.extend(slot(u64::MAX, 13, BUCKETS - 1));
        for length in 0..HEADER_BYTES {
            let fault = read_pages(&bytes[..length]).unwrap_err();
            assert_eq!(fault.offset, length);
        }
        for length in HEADER_BYTES..=bytes.len() {
            let pages = read_pages(&bytes[..length]).unwrap();
            assert_eq!((pages.epoch, pages.worker, pages.open_slot), (EPOCH, 3, 99));
            let whole = (length - HEADER_BYTES) / SLOT_BYTES;
            assert_eq!(pages.slots.len(), [0, 1, 1, 2][whole]);
        }
        let pages = read_pages(&bytes).unwrap();
        assert_eq!(pages.slots[0].site, SiteId(5));
        assert_eq!(pages.slots[0].tally[Column::Requests], 11);
        assert_eq!(pages.slots[1].site, crate::usage::NO_SITE);
        assert_eq!(pages.slots[1].latency[BUCKETS - 1], 13);
    }

    #[test]
    fn another_header_is_named() {
        let good = header(EPOCH, 0, 0);
        for (offset, what) in [(0, "not a page file"), (8, "version"), (16, "slots of")] {
            let mut bytes = good;
            bytes[offset] ^= 0x40;
            let fault = read_pages(&bytes).unwrap_err();
            assert_eq!(fault.offset, offset);
            assert!(fault.to_string().contains(what), "{fault}");
        }
    }
}
