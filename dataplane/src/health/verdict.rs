//! What a check found, and what a backend is taken for after some of them.

use super::tls_failure::TlsFailure;
use crate::http::response::BadResponse;
use meridian_model::address_policy::Refusal;
use meridian_model::snapshot::Statuses;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// What a check that a backend passed saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Success {
    /// It took the connection.
    Connected,
    /// It answered with this status.
    Status(u16),
    /// It made a handshake of this version.
    Handshake(&'static str),
}

/// Why a check failed. Written out as what operators read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// The connection was not made.
    Connect(ErrorKind),
    /// Nor was it refused in so long.
    NoConnection(Duration),
    /// The connection broke.
    Broken(ErrorKind),
    /// It ended before the answer did.
    Ended,
    /// The answer was not whole in so long.
    NoAnswer(Duration),
    /// The answer is no HTTP as we accept it.
    BadResponse(BadResponse),
    /// Interim responses, and no end of them.
    InterimMany,
    /// The answer has another status.
    Status {
        /// The one it has.
        status: u16,
        /// Those of a healthy answer.
        expected: Statuses,
    },
    /// The handshake of TLS was not made.
    Tls(TlsFailure),
    /// No backend may be there.
    Refused(Refusal),
    /// A request could not connect: no check, but it counts as one.
    Traffic(TrafficFailure),
    /// This host lacked something. It says nothing of the backend.
    Resources,
}

/// How a request failed to connect to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrafficFailure {
    /// The connection was refused, or there is no way there.
    Refused,
    /// It was not made within `timeouts.connect`.
    TimedOut,
    /// The handshake of TLS was not made.
    Handshake,
}

impl Failure {
    /// A connection could not be made because of `error`.
    pub(super) fn of_connect(error: &io::Error) -> Failure {
        match meridian_sys::process::is_want_of_resources(error) {
            true => Failure::Resources,
            false => Failure::Connect(error.kind()),
        }
    }
}

impl fmt::Display for Success {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Success::Connected => formatter.write_str("connected"),
            Success::Status(status) => write!(formatter, "HTTP {status}"),
            Success::Handshake(version) => formatter.write_str(version),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Connect(kind) | Failure::Broken(kind) => kind.fmt(formatter),
            Failure::NoConnection(timeout) => write!(formatter, "no connection in {timeout:?}"),
            Failure::Ended => formatter.write_str("closed before its answer was whole"),
            Failure::NoAnswer(timeout) => write!(formatter, "no answer in {timeout:?}"),
            Failure::BadResponse(bad) => write!(formatter, "bad response: {bad}"),
            Failure::InterimMany => formatter.write_str("bad response: too many interim ones"),
            Failure::Status { status, expected } => {
                write!(formatter, "HTTP {status}, expected {expected}")
            }
            Failure::Tls(failure) => failure.fmt(formatter),
            Failure::Refused(refusal) => refusal.fmt(formatter),
            Failure::Traffic(TrafficFailure::Refused) => {
                formatter.write_str("requests could not connect")
            }
            Failure::Traffic(TrafficFailure::TimedOut) => {
                formatter.write_str("requests could not connect in time")
            }
            Failure::Traffic(TrafficFailure::Handshake) => {
                formatter.write_str("requests could not make a handshake of TLS")
            }
            Failure::Resources => formatter.write_str("this host is out of resources"),
        }
    }
}

/// What a backend is taken for, by the checks so far.
///
/// As with HAProxy the first check decides at once, whatever rise and fall say: until then nobody
/// knows anything, and requests may go there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// No check has ended.
    Unknown,
    /// Up; that many checks in a row have failed.
    Up(u32),
    /// Down; that many checks in a row have not.
    Down(u32),
}

impl Standing {
    /// What it is after a check that `passed`.
    pub(super) fn after(self, passed: bool, rise: u32, fall: u32) -> Standing {
        match (self, passed) {
            (Standing::Unknown, true) | (Standing::Up(_), true) => Standing::Up(0),
            (Standing::Unknown, false) | (Standing::Down(_), false) => Standing::Down(0),
            (Standing::Up(failed), false) if failed + 1 < fall => Standing::Up(failed + 1),
            (Standing::Up(_), false) => Standing::Down(0),
            (Standing::Down(passed), true) if passed + 1 < rise => Standing::Down(passed + 1),
            (Standing::Down(_), true) => Standing::Up(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_up_after(checks: &str, rise: u32, fall: u32) -> Vec<bool> {
        let mut standing = Standing::Unknown;
        let checks = checks.chars();
        checks
            .map(|check| {
                standing = standing.after(check == '+', rise, fall);
                matches!(standing, Standing::Up(_))
            })
            .collect()
    }

    #[test]
    fn the_first_check_decides_then_rise_and_fall_do() {
        let (yes, no) = (true, false);
        assert_eq!(is_up_after("+---", 2, 3), [yes, yes, yes, no]);
        assert_eq!(is_up_after("-++", 2, 3), [no, no, yes]);
        // Only a row counts.
        let mixed = is_up_after("+--+--+---+-++", 2, 3);
        let wanted = [
            yes, yes, yes, yes, yes, yes, yes, yes, yes, no, no, no, no, yes,
        ];
        assert_eq!(mixed, wanted);
        assert_eq!(is_up_after("+-+-", 1, 1), [yes, no, yes, no]);
    }

    #[test]
    fn failures_read_as_what_happened() {
        let expected = Statuses::new([200..=299]);
        for (failure, text) in [
            (
                Failure::of_connect(&ErrorKind::ConnectionRefused.into()),
                "connection refused",
            ),
            (
                Failure::NoAnswer(Duration::from_millis(1500)),
                "no answer in 1.5s",
            ),
            (
                Failure::NoConnection(Duration::from_secs(1)),
                "no connection in 1s",
            ),
            (
                Failure::Status {
                    status: 503,
                    expected,
                },
                "HTTP 503, expected 200-299",
            ),
        ] {
            assert_eq!(failure.to_string(), text);
        }
    }
}
