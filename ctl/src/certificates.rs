//! Certificates on their way in: from the files that a manifest or a call names to what is sealed
//! in STATE/certificates.
//!
//! ```text
//! files      reads a file, and what tells whether it is still the same
//! pem        PEM to DER
//! verdict    whether chain and key are right, and what is known of them then
//! reading    all of a manifest, and what is wrong with any, each with its line
//! ```

pub(crate) mod fault;
pub(crate) mod files;
mod pem;
pub(crate) mod reading;
mod verdict;

use jiff::Timestamp;

/// A time in seconds since 1970, for people.
pub(crate) fn shown_time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}
