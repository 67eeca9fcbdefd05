//! Queries by the site whose service name they asked for, as they are billed: in page files that outlive
//! the process, and by slots of time (`meridian_sys::counting`, `meridian_model::usage`).

use meridian_model::limits::{COUNTER_SEGMENT_BYTES_MAX, COUNTER_SEGMENT_BYTES_MIN};
use meridian_model::name::Name;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    Answer, COLUMNS, Column, Epoch, HEADER_OPEN_SLOT_WORD, NO_SITE, SLOT_TALLY_WORD, SLOT_WORDS,
    Tally, closed_slot, header, slot_of, slots_header,
};
use meridian_sys::counting::{
    Book, Closer, Closing, Layout, PageSet, PageWriter, Pages, SlotsFile,
};
use meridian_sys::process::random_bytes;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// Of the files of this program.
const LAYOUT: Layout<COLUMNS> = Layout {
    program: "geodns",
    column_word: SLOT_TALLY_WORD,
    open_slot_word: HEADER_OPEN_SLOT_WORD,
    segment_bytes: (COUNTER_SEGMENT_BYTES_MIN, COUNTER_SEGMENT_BYTES_MAX),
    header: |epoch, worker, open_slot| header(Epoch(epoch), worker, open_slot).into(),
    closed_slot: |slot, changed| {
        let changed = changed.iter();
        let sites = changed.map(|&(site, sums)| (SiteId(site), Tally(sums)));
        closed_slot(slot, &sites.collect::<Vec<_>>())
    },
};

/// What each worker counts with.
#[derive(Debug)]
pub(crate) struct SiteCounts(PageWriter<SLOT_WORDS>);

impl SiteCounts {
    /// Counts a query that is answered, just before its response is sent; `site` is the one whose
    /// service name it asked for.
    pub(crate) fn count(&mut self, site: Option<SiteId>) {
        let slot = self.0.slot(site.unwrap_or(NO_SITE).0);
        let word = &slot[SLOT_TALLY_WORD + Column::DnsQueries as usize];
        // It has one writer.
        word.store(
            word.load(Ordering::Relaxed).wrapping_add(1),
            Ordering::Relaxed,
        );
    }
}

/// What was answered since the start, for whoever asks.
#[derive(Debug)]
pub(crate) struct Usage {
    epoch: Epoch,
    host: String,
    book: Arc<Book<COLUMNS>>,
}

/// What a responder counts with.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) usage: Arc<Usage>,
    /// By worker.
    pub(crate) counts: Vec<SiteCounts>,
    /// Of the slots of time, at the end.
    pub(crate) closing: Closing,
    /// Held for life: whoever gets it knows that the responder is dead.
    pub(crate) lock: Option<File>,
}

impl Counting {
    /// A new epoch, with its page files and its slots file in STATE/counters. Where there is no room
    /// for them it counts in memory, and says so.
    pub(crate) fn start(state: &Path, host: &Name, workers: usize) -> Result<Counting, String> {
        let epoch = random_bytes().map(Epoch);
        let epoch = epoch.map_err(|error| format!("asking for random bytes: {error}"))?;
        let counters = state.join("counters");
        let now = open_slot();
        let PageSet {
            writers,
            lock,
            fault,
        } = PageSet::create(&LAYOUT, &counters, epoch.0, workers, now);
        if let Some(fault) = fault {
            eprintln!("meridian-geodns: counting in memory, which a kill would lose: {fault}");
        }
        let pages: Box<[Arc<Pages>]> = writers.iter().map(PageWriter::pages).collect();
        let book = Arc::new(Book::new(LAYOUT, pages, now));
        let file = SlotsFile::new(
            counters.join(format!("{}-{epoch}.slots", LAYOUT.program)),
            slots_header(LAYOUT.program, host.as_str(), epoch),
        );
        Ok(Counting {
            closing: Closing::start(Closer::new(Arc::clone(&book), file), open_slot)?,
            usage: Arc::new(Usage {
                epoch,
                host: host.to_string(),
                book,
            }),
            counts: writers.into_iter().map(SiteCounts).collect(),
            lock,
        })
    }
}

fn open_slot() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    slot_of(since_1970.unwrap_or(Duration::ZERO).as_secs())
}

impl Usage {
    /// As `meridianctl usage` asks for it.
    pub(crate) fn answer(&self) -> Answer {
        let (open_slot, closed, now) = self.book.standing();
        Answer::new((self.epoch, &self.host), open_slot, &closed, now)
    }

    /// Sites whose counters a kill would lose.
    pub(crate) fn unbacked(&self) -> u64 {
        self.book.unbacked()
    }

    /// Slots of time that could not be written when they were over.
    pub(crate) fn unwritten(&self) -> u64 {
        self.book.unwritten()
    }
}
