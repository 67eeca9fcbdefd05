//! How the backends of a pool are checked.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How the backends of a pool are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is done.
    pub kind: CheckKind,
    /// From the beginning of one check to that of the next.
    pub interval: Duration,
    /// Until a check that has not ended has failed; at most the interval.
    pub timeout: Duration,
    /// Successes in a row until a backend that is down is up.
    pub rise: u32,
    /// Failures in a row until a backend that is up is down.
    pub fall: u32,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckKind {
    /// Connects.
    Tcp,
    /// Makes a TLS handshake.
    Tls(TlsCheck),
    /// Asks for a page.
    Http(HttpCheck),
}

/// A TLS handshake that is brought to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// The name that is asked for (SNI, RFC 6066 §3): a DNS name, without a final dot.
    pub host: Option<Box<str>>,
}

/// A GET whose response is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// The target, in origin-form.
    pub path: Box<str>,
    /// Its Host.
    pub host: CheckHost,
    /// The statuses of a healthy answer.
    pub statuses: Statuses,
}

/// The Host of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckHost {
    /// The address that is connected to, with its port.
    Address,
    /// This name.
    Fixed(Box<str>),
}

/// Statuses, as ranges that neither meet nor overlap, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statuses(Box<[RangeInclusive<u16>]>);

impl Statuses {
    /// Every status that is in one of `ranges`.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Statuses {
        let mut ranges: Vec<_> = ranges.into_iter().filter(|it| !it.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*range.end().max(last.end());
                }
                _ => merged.push(range),
            }
        }
        Statuses(merged.into())
    }

    /// Whether `status` is one of them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            if place > 0 {
                formatter.write_str(", ")?;
            }
            match range.start() == range.end() {
                true => write!(formatter, "{}", range.start())?,
                false => write!(formatter, "{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_mean_the_same_are_the_same() {
        let one = Statuses::new([200..=204, 203..=299, 404..=404]);
        let other = Statuses::new([404..=404, 250..=299, 200..=249]);
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "200-299, 404");
        for (status, is_in) in [(199, false), (200, true), (299, true), (300, false)] {
            assert_eq!(one.contain(status), is_in, "{status}");
        }
        assert!(one.contain(404) && !one.contain(405));
    }
}
