//! What was served, from a worker's counters to the numbers that are billed (DESIGN §8).
//!
//! ```text
//! worker -> page file      one slot per site, one writer, lives through kill -9
//!        -> slots file     at the end of each slot of time, the cumulative values, fsynced
//!        -> answer         what a running plane says of the slot that is still open
//! all of them -> account   what each slot of time has, each request in one of them
//! ```
//!
//! Only formats and arithmetic stand here: who writes and reads the files is for others. All
//! values are cumulative since the start of the plane that counted, its *epoch*; what a slot
//! of time has is a difference of two.

mod account;
mod answer;
mod latency;
mod pages;
mod slots;

use std::fmt;
use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::SLOT_SECONDS;
use crate::snapshot::SiteId;

pub use account::{EpochAccount, SlotUsage, sum_pages};
pub use answer::{Answer, AnswerRow};
pub use latency::{BUCKETS, bucket_of, lower_bound_ns};
pub use pages::{
    HEADER_BYTES, HEADER_EPOCH_WORD, HEADER_OPEN_SLOT_WORD, PageFault, PageSet, PageSlot,
    SLOT_BYTES, SLOT_LATENCY_SUM_WORD, SLOT_LATENCY_WORD, SLOT_SITE_WORD, SLOT_TALLY_WORD,
    SLOT_WORDS, header, read_pages,
};
pub use slots::{
    ClosedSlot, ClosedSlots, SlotsHeader, SlotsReader, closed_slot, read_slots, read_slots_header,
    slots_header,
};

/// What belongs to no site (shown as tenant `-`, site `-`) is counted under this id.
pub const NO_SITE: SiteId = SiteId(u64::MAX);

/// The number of the slot of time that `wall_seconds` (since 1970) falls into.
pub fn slot_of(wall_seconds: u64) -> u64 {
    wall_seconds / SLOT_SECONDS
}

/// One start of a plane: 128 random bits. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub [u8; 16]);

impl Epoch {
    /// Reads what [`Epoch`] is shown as, and nothing else: an epoch names files.
    pub fn parse(text: &str) -> Option<Epoch> {
        let digits = text.as_bytes();
        if digits.len() != 32 {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = hex_value(pair[0])? << 4 | hex_value(pair[1])?;
        }
        Some(Epoch(bytes))
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
        let text = String::deserialize(deserializer)?;
        Epoch::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not an epoch: 32 digits 0-9 and a-f"))
        })
    }
}

/// What is counted of a site. The order is that of the files and never changes; new columns
/// come at the end, with a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// Final responses begun.
    Requests,
    /// Of these with status 101 or 2xx.
    Responses2xx,
    /// With 3xx.
    Responses3xx,
    /// With 4xx.
    Responses4xx,
    /// With 5xx.
    Responses5xx,
    /// Bytes that came over client connections as HTTP, heads included.
    BytesIn,
    /// Bytes that went over client connections as HTTP, heads included.
    BytesOut,
    /// Connections whose first served site it was.
    Connections,
    /// Of these with TLS, once their handshake was done.
    TlsHandshakes,
    /// Further attempts after a failed one.
    Retries,
    /// Requests refused by a limit of ours.
    Refused,
    /// Requests that ended without a whole response.
    Cut,
    /// Requests served by another group's backends.
    CrossGroup,
    /// Queries of DNS for its service name that were answered.
    DnsQueries,
}

/// Number of columns.
pub const COLUMNS: usize = 14;

/// Of these, those that files of the first version have.
const COLUMNS_OF_VERSION_1: usize = 13;

impl Column {
    /// Every column, in order.
    pub const ALL: [Column; COLUMNS] = [
        Column::Requests,
        Column::Responses2xx,
        Column::Responses3xx,
        Column::Responses4xx,
        Column::Responses5xx,
        Column::BytesIn,
        Column::BytesOut,
        Column::Connections,
        Column::TlsHandshakes,
        Column::Retries,
        Column::Refused,
        Column::Cut,
        Column::CrossGroup,
        Column::DnsQueries,
    ];

    /// The column's name, as reports have it.
    pub const fn name(self) -> &'static str {
        match self {
            Column::Requests => "requests",
            Column::Responses2xx => "responses_2xx",
            Column::Responses3xx => "responses_3xx",
            Column::Responses4xx => "responses_4xx",
            Column::Responses5xx => "responses_5xx",
            Column::BytesIn => "bytes_in",
            Column::BytesOut => "bytes_out",
            Column::Connections => "connections",
            Column::TlsHandshakes => "tls_handshakes",
            Column::Retries => "retries",
            Column::Refused => "refused",
            Column::Cut => "cut",
            Column::CrossGroup => "cross_group",
            Column::DnsQueries => "dns_queries",
        }
    }
}

/// A number for each [`Column`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally(pub [u64; COLUMNS]);

impl Tally {
    /// What was added since `earlier`; 0 where there is less now.
    #[must_use]
    pub fn minus(&self, earlier: &Tally) -> Tally {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together. Sums stay at the greatest number instead of beginning anew.
    #[must_use]
    pub fn plus(&self, other: &Tally) -> Tally {
        self.with(other, u64::saturating_add)
    }

    /// The greater of both, column by column.
    #[must_use]
    pub fn max(&self, other: &Tally) -> Tally {
        self.with(other, u64::max)
    }

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        *self == Tally::default()
    }

    fn with(&self, other: &Tally, of: impl Fn(u64, u64) -> u64) -> Tally {
        Tally(std::array::from_fn(|column| {
            of(self.0[column], other.0[column])
        }))
    }
}

impl Index<Column> for Tally {
    type Output = u64;

    fn index(&self, column: Column) -> &u64 {
        &self.0[column as usize]
    }
}

impl IndexMut<Column> for Tally {
    fn index_mut(&mut self, column: Column) -> &mut u64 {
        &mut self.0[column as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_at_their_places() {
        for (place, column) in Column::ALL.into_iter().enumerate() {
            assert_eq!(column as usize, place, "{}", column.name());
        }
    }

    #[test]
    fn an_epoch_is_read_as_it_is_shown_and_no_other_way() {
        let epoch = Epoch(std::array::from_fn(|index| index as u8 * 17));
        let shown = "00112233445566778899aabbccddeeff";
        assert_eq!(epoch.to_string(), shown);
        assert_eq!(Epoch::parse(shown), Some(epoch));
        for wrong in [
            "",
            "00112233445566778899aabbccddeef",
            "00112233445566778899aabbccddeefff",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddee/f",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert_eq!(Epoch::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn tallies_never_wrap() {
        let (mut low, mut high) = (Tally::default(), Tally([u64::MAX; COLUMNS]));
        low[Column::Cut] = 3;
        high[Column::BytesIn] = 5;
        assert_eq!(low.minus(&high), Tally::default());
        assert_eq!(high.plus(&low)[Column::Cut], u64::MAX);
        assert_eq!(high.plus(&low)[Column::BytesIn], 5);
        assert_eq!(low.max(&high), high);
        assert!(!low.is_zero() && low.minus(&low).is_zero());
    }
}
