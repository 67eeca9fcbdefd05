//! What is counted, and by whom: one worker writes a counter, anybody may read it.
//!
//! A counter is added to with a relaxed load and a relaxed store: with a single writer that
//! loses nothing and costs no locked instruction. What is billed stands in [`crate::pages`] and
//! lives through the death of the process; the rest begins at zero with it.

use crate::http::reject::{Fault, Reject};
use meridian_model::usage::{
    Column, SLOT_LATENCY_SUM_WORD, SLOT_LATENCY_WORD, SLOT_TALLY_WORD, SLOT_WORDS, bucket_of,
};
use meridian_sys::CounterWords;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`; only the owning worker may call this.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    /// Takes `amount` away; for gauges.
    pub(crate) fn subtract(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(amount),
            Ordering::Relaxed,
        );
    }

    /// Publishes a number that is counted elsewhere.
    pub(crate) fn publish(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads the number.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One worker's counters of one site, in the slot of a page file that the worker gave to it.
#[derive(Debug, Clone)]
pub(crate) struct SiteCounters(CounterWords<SLOT_WORDS>);

impl SiteCounters {
    /// The counters in these words.
    pub(crate) fn new(words: CounterWords<SLOT_WORDS>) -> SiteCounters {
        SiteCounters(words)
    }

    /// Adds to a column; only the owning worker may call this.
    pub(crate) fn add(&self, column: Column, amount: u64) {
        self.add_to(SLOT_TALLY_WORD + column as usize, amount);
    }

    /// Counts a final response, just before its head is submitted, `took_ns` after its request
    /// began.
    pub(crate) fn count_response(&self, status: u16, took_ns: u64) {
        self.add(Column::Requests, 1);
        self.add(
            match status {
                // 101 (Switching Protocols) is a success, too.
                ..300 => Column::Responses2xx,
                300..400 => Column::Responses3xx,
                400..500 => Column::Responses4xx,
                500.. => Column::Responses5xx,
            },
            1,
        );
        self.add_to(SLOT_LATENCY_WORD + bucket_of(took_ns), 1);
        self.add_to(SLOT_LATENCY_SUM_WORD, took_ns);
    }

    fn add_to(&self, word: usize, amount: u64) {
        let word = &self.0[word];
        let sum = word.load(Ordering::Relaxed).wrapping_add(amount);
        word.store(sum, Ordering::Relaxed);
    }
}

/// One worker's counters of one backend.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct BackendCounters {
    /// Attempts that were given to it.
    pub(crate) requests: Counter,
    /// Attempts that it failed.
    pub(crate) failures: Counter,
    /// Connections to it that are open.
    pub(crate) connections: Counter,
    /// Requests that wait for it or are being answered by it.
    pub(crate) in_flight: Counter,
}

/// Why a request ended badly: refused with an answer of ours, or cut off. A closed list; the
/// words are what operators see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Answered by us.
    Reject(Reject),
    /// Cut off, or ended without an answer.
    Cut(Cut),
}

/// Why a connection was cut off while something was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The client closed or reset its connection.
    ClientAbort,
    /// The client took nothing for `timeouts.write`.
    WriteTimeout,
    /// The backend's body ended before its length, or its chunks were malformed.
    ShortBody,
    /// Nothing came of a begun response for `timeouts.response_gap`.
    ResponseGapTimeout,
    /// Nothing went through a tunnel for `timeouts.tunnel_idle`.
    TunnelIdleTimeout,
    /// The backend reset a tunnel, or took no more of what the client sent.
    TunnelReset,
    /// The backend took nothing of what came through a tunnel for `timeouts.write`.
    TunnelWriteTimeout,
    /// It was still under way when the plane had drained for `timeouts.drain`.
    DrainTimeout,
}

const CUTS: [Cut; 8] = [
    Cut::ClientAbort,
    Cut::WriteTimeout,
    Cut::ShortBody,
    Cut::ResponseGapTimeout,
    Cut::TunnelIdleTimeout,
    Cut::TunnelReset,
    Cut::TunnelWriteTimeout,
    Cut::DrainTimeout,
];

impl Cause {
    /// Every cause.
    pub(crate) fn all() -> impl Iterator<Item = Cause> {
        Reject::ALL
            .into_iter()
            .map(Cause::Reject)
            .chain(CUTS.into_iter().map(Cause::Cut))
    }

    /// The cause in one word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Cause::Reject(reject) => reject.cause(),
            Cause::Cut(Cut::ClientAbort) => "client_abort",
            Cause::Cut(Cut::WriteTimeout) => "write_timeout",
            Cause::Cut(Cut::ShortBody) => "cut_short_body",
            Cause::Cut(Cut::ResponseGapTimeout) => "response_gap_timeout",
            Cause::Cut(Cut::TunnelIdleTimeout) => "tunnel_idle_timeout",
            Cause::Cut(Cut::TunnelReset) => "tunnel_reset",
            Cause::Cut(Cut::TunnelWriteTimeout) => "tunnel_write_timeout",
            Cause::Cut(Cut::DrainTimeout) => "drain_timeout",
        }
    }

    /// Whose fault it is.
    pub(crate) fn fault(self) -> Fault {
        match self {
            Cause::Reject(reject) => reject.fault(),
            // Of a silent tunnel it is mostly the client that is gone without a word.
            Cause::Cut(Cut::ClientAbort | Cut::WriteTimeout | Cut::TunnelIdleTimeout) => {
                Fault::Client
            }
            Cause::Cut(
                Cut::ShortBody
                | Cut::ResponseGapTimeout
                | Cut::TunnelReset
                | Cut::TunnelWriteTimeout,
            ) => Fault::Backend,
            Cause::Cut(Cut::DrainTimeout) => Fault::Operator,
        }
    }

    /// The cause at this place.
    pub(crate) fn at(place: usize) -> Option<Cause> {
        let cut = |place: usize| CUTS.get(place).copied().map(Cause::Cut);
        match Reject::ALL.get(place) {
            Some(reject) => Some(Cause::Reject(*reject)),
            None => cut(place - Reject::ALL.len()),
        }
    }

    /// Its place among all of them.
    pub(crate) fn place(self) -> usize {
        match self {
            Cause::Reject(reject) => reject as usize,
            Cause::Cut(cut) => Reject::ALL.len() + cut as usize,
        }
    }
}

/// One worker's count of bad ends, by cause, and of limits that were hit.
#[derive(Debug)]
pub(crate) struct Causes {
    counters: [Counter; Reject::ALL.len() + CUTS.len()],
}

impl Default for Causes {
    fn default() -> Causes {
        Causes {
            counters: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Causes {
    /// Counts one.
    pub(crate) fn count(&self, cause: Cause) {
        self.counters[cause.place()].add(1);
    }

    /// The number of one cause.
    pub(crate) fn get(&self, cause: Cause) -> u64 {
        self.counters[cause.place()].get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_model::usage::SLOT_BYTES;
    use meridian_sys::CounterSegment;

    #[test]
    fn every_cause_stands_at_its_place() {
        for (place, cause) in Cause::all().enumerate() {
            assert_eq!(cause.place(), place, "{}", cause.word());
            assert_eq!(Cause::at(place), Some(cause));
        }
        assert_eq!(Cause::at(Cause::all().count()), None);
    }

    #[test]
    fn responses_are_counted_by_class_and_101_with_2xx() {
        let segment = CounterSegment::anonymous(SLOT_BYTES).expect("there is memory");
        let counters = SiteCounters::new(segment.share(0));
        for status in [101, 200, 204, 301, 404, 499, 503] {
            counters.count_response(status, 100_000);
        }
        let word = |at: usize| segment.words()[at].load(Ordering::Relaxed);
        let classes = Column::Responses2xx as usize..=Column::Responses5xx as usize;
        let classes: Vec<u64> = classes.map(|at| word(SLOT_TALLY_WORD + at)).collect();
        assert_eq!(classes, [3, 1, 2, 1]);
        assert_eq!(word(SLOT_TALLY_WORD + Column::Requests as usize), 7);
        assert_eq!(word(SLOT_LATENCY_WORD + bucket_of(100_000)), 7);
        assert_eq!(word(SLOT_LATENCY_SUM_WORD), 700_000);
    }
}
