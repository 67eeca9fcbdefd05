//! Time as bills have it: whole seconds in UTC, half-open ranges, hours and days. A slot of time
//! belongs to the range that its beginning lies in, so that ranges side by side share nothing
//! and miss nothing.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan};
use meridian_model::limits::SLOT_SECONDS;
use serde::{Serialize, Serializer};

/// A moment: whole seconds since 1970, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Time(u64);

impl Time {
    /// The moment after so many seconds since 1970; none is later than year 9999.
    pub(crate) fn from_seconds(seconds: u64) -> Time {
        let latest = Timestamp::MAX.as_second().cast_unsigned();
        Time(seconds.min(latest))
    }

    /// Now, to the second that has begun.
    pub(crate) fn now() -> Time {
        Time::from_seconds(u64::try_from(Timestamp::now().as_second()).unwrap_or_default())
    }

    /// Reads a time in RFC 3339, or a date, which stands for its first moment in UTC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Time, String> {
        const FORM: &str =
            "write it as RFC 3339 has it, such as 2026-11-01T00:00:00Z, or as a date";
        let timestamp = match text.parse::<Date>() {
            Ok(date) if !text.contains(['T', 't', ' ']) => {
                Offset::UTC.to_timestamp(date.at(0, 0, 0, 0))
            }
            _ => text.parse::<Timestamp>(),
        };
        let timestamp = timestamp.map_err(|_| format!("not a time: {FORM}"))?;
        if timestamp.subsec_nanosecond() != 0 {
            return Err("usage is told apart by whole seconds: leave out the fraction".to_string());
        }
        let seconds = u64::try_from(timestamp.as_second());
        seconds
            .map(Time)
            .map_err(|_| "is before 1970: nothing was served then".to_string())
    }

    /// The end of a slot of time.
    pub(crate) fn slot_end(slot: u64) -> Time {
        Time::from_seconds(slot.saturating_add(1).saturating_mul(SLOT_SECONDS))
    }

    /// The first moment of the month.
    pub(crate) fn month_start(self) -> Time {
        let date = Offset::UTC.to_datetime(self.timestamp()).date();
        let first = Offset::UTC.to_timestamp(date.first_of_month().at(0, 0, 0, 0));
        let seconds = first.map_or(0, Timestamp::as_second);
        Time(u64::try_from(seconds).unwrap_or_default())
    }

    /// The first slot of time that does not begin before this moment.
    pub(crate) fn first_slot(self) -> u64 {
        self.0.div_ceil(SLOT_SECONDS)
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::UNIX_EPOCH + i64::try_from(self.0).unwrap_or_default().seconds()
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.timestamp())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From a moment on and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimeRange {
    pub(crate) from: Time,
    pub(crate) to: Time,
}

impl TimeRange {
    /// The slots that begin within it: the first, and the first behind.
    pub(crate) fn slots(self) -> (u64, u64) {
        let from = self.from.first_slot();
        (from, self.to.first_slot().max(from))
    }

    /// The part of it that lies in the period of so many seconds which a slot begins in.
    pub(crate) fn period(self, slot: u64, seconds: u64) -> TimeRange {
        let period = slot.saturating_mul(SLOT_SECONDS) / seconds;
        let at = |period: u64| Time::from_seconds(period.saturating_mul(seconds));
        TimeRange {
            from: at(period).max(self.from),
            to: at(period.saturating_add(1)).min(self.to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_read_in_rfc_3339_and_shown_in_utc() {
        for (text, shown) in [
            ("2026-11-24T13:32:57Z", "2026-11-24T13:32:57Z"),
            ("2026-11-24t13:32:57z", "2026-11-24T13:32:57Z"),
            ("2026-11-24T13:32:57+01:00", "2026-11-24T12:32:57Z"),
            ("2026-12-31T23:59:59-00:30", "2027-01-01T00:29:59Z"),
            ("2026-11-01", "2026-11-01T00:00:00Z"),
            ("1970-01-01", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(Time::parse(text).unwrap().to_string(), shown, "{text}");
        }
        for wrong in [
            "",
            "now",
            "1790000000",
            "2026-11",
            "2026-02-29",
            "2026-11-24T13:32:57",
            "2026-11-24T25:00:00Z",
            "2026-11-24T13:32:57.5Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(Time::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_month_begins_in_utc() {
        let start = |text: &str| Time::parse(text).unwrap().month_start().to_string();
        assert_eq!(start("2028-02-29T23:59:59Z"), "2028-02-01T00:00:00Z");
        assert_eq!(start("2028-03-01T00:59:59+01:00"), "2028-02-01T00:00:00Z");
        assert_eq!(start("2028-03-01T00:00:00Z"), "2028-03-01T00:00:00Z");
    }

    proptest! {
        /// Ranges side by side have the slots of the whole, each in one of them.
        #[test]
        fn ranges_share_no_slot_and_miss_none(a in 0..5000_u64, b in 0..5000_u64, c in 0..5000_u64) {
            let mut cuts = [a, b, c];
            cuts.sort_unstable();
            let [a, b, c] = cuts.map(Time);
            let slots = |from, to| TimeRange { from, to }.slots();
            prop_assert_eq!(slots(a, b).1, slots(b, c).0);
            prop_assert_eq!((slots(a, b).0, slots(b, c).1), slots(a, c));
        }

        #[test]
        fn a_slot_lies_in_its_period(slot in 0..10_000_u64, from in 0..4_000_000_u64, length in 1..4_000_000_u64) {
            let range = TimeRange { from: Time(from), to: Time(from + length) };
            let (first, behind) = range.slots();
            prop_assume!((first..behind).contains(&slot));
            for seconds in [3600, 86_400] {
                let (first, behind) = range.period(slot, seconds).slots();
                prop_assert!((first..behind).contains(&slot));
                prop_assert!(behind - first <= seconds / SLOT_SECONDS);
            }
        }
    }
}
