//! What is kept of a name from one lookup to the next: its addresses while name servers are
//! silent, and when it is looked up again.

use super::lookup::{Findings, Outcome};
use super::message::Answer;
use super::turns::Standing;
use meridian_model::limits::{
    NAME_HOLD_GONE_MS, NAME_HOLD_SILENT_MS, NAME_RETRY_MS_MAX, NAME_RETRY_MS_MIN, NAME_TTL_MS_MAX,
    NAME_TTL_MS_MIN, SLOW_NAME_ANSWERS_MIN,
};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Memory {
    v4: Known,
    v6: Known,
    /// Lookups in a row with something wrong.
    troubles: u32,
    /// Lookups without silence until it is not slow any more.
    slow_for: u32,
}

/// What is known of one family.
#[derive(Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    /// When an answer last had addresses.
    seen: Option<Instant>,
}

/// What a lookup leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conclusion {
    /// The addresses to use, in order.
    pub(super) addresses: Vec<IpAddr>,
    /// When an answer last had some.
    pub(super) resolved_at: Option<Instant>,
    /// What was wrong.
    pub(super) fault: Option<String>,
    /// Until the next lookup.
    pub(super) wait: Duration,
}

impl Memory {
    /// How it waits for its next lookup: slow after silence, until name servers have answered for
    /// some time, so that one that is silent each other time gains nothing by it.
    pub(super) fn standing(&self) -> Standing {
        match self.v4.seen.or(self.v6.seen) {
            _ if self.slow_for > 0 => Standing::Slow,
            Some(_) => Standing::Known,
            None => Standing::New,
        }
    }

    /// Draws the conclusions from a lookup.
    pub(super) fn conclude(&mut self, findings: &Findings, now: Instant) -> Conclusion {
        let Findings { v4, v6 } = findings;
        self.v4.take_up(v4, addresses_of(v6).is_some(), now);
        self.v6.take_up(v6, addresses_of(v4).is_some(), now);
        self.slow_for = match [v4, v6].into_iter().any(is_silence) {
            true => SLOW_NAME_ANSWERS_MIN,
            false => self.slow_for.saturating_sub(1),
        };
        let fault = fault_of(v4, v6);
        self.troubles = match fault {
            Some(_) => self.troubles.saturating_add(1),
            None => 0,
        };
        let mut addresses = [&self.v4.addresses[..], &self.v6.addresses].concat();
        addresses.sort_unstable();
        addresses.dedup();
        Conclusion {
            addresses,
            resolved_at: self.v4.seen.max(self.v6.seen),
            fault,
            wait: self.wait(v4, v6),
        }
    }

    /// As long as the answer holds; after trouble at most as long as patience says.
    fn wait(&self, v4: &Outcome, v6: &Outcome) -> Duration {
        let ttl_s = [v4, v6].into_iter().filter_map(addresses_of);
        let held_ms = ttl_s
            .map(|(_, ttl_s)| u64::from(ttl_s) * 1000)
            .min()
            .map_or(u64::MAX, |ms| ms.clamp(NAME_TTL_MS_MIN, NAME_TTL_MS_MAX));
        let patience_ms = match self.troubles {
            0 => NAME_TTL_MS_MAX,
            many => (NAME_RETRY_MS_MIN << (many - 1).min(16)).min(NAME_RETRY_MS_MAX),
        };
        Duration::from_millis(held_ms.min(patience_ms))
    }
}

impl Known {
    fn take_up(&mut self, outcome: &Outcome, other_has_addresses: bool, now: Instant) {
        let hold_ms = match outcome {
            Outcome::Answered(Answer::Addresses { addresses, .. }) => {
                self.addresses = addresses.clone();
                self.seen = Some(now);
                return;
            }
            // A name that has addresses of the other family is not gone; this family is.
            Outcome::Answered(_) if other_has_addresses => 0,
            Outcome::Answered(_) => NAME_HOLD_GONE_MS,
            Outcome::Failed(_) => NAME_HOLD_SILENT_MS,
        };
        let hold = Duration::from_millis(hold_ms);
        if self.seen.is_none_or(|seen| now >= seen + hold) {
            self.addresses.clear();
        }
    }
}

fn addresses_of(outcome: &Outcome) -> Option<(&[IpAddr], u32)> {
    match outcome {
        Outcome::Answered(Answer::Addresses { addresses, ttl_s }) => Some((addresses, *ttl_s)),
        Outcome::Answered(_) | Outcome::Failed(_) => None,
    }
}

fn is_silence(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(fault) if fault.is_silence)
}

fn fault_of(v4: &Outcome, v6: &Outcome) -> Option<String> {
    match (v4, v6) {
        (Outcome::Failed(v4), Outcome::Failed(v6)) if v4 == v6 => Some(v4.what.clone()),
        (Outcome::Failed(v4), Outcome::Failed(v6)) => {
            Some(format!("A: {}; AAAA: {}", v4.what, v6.what))
        }
        (Outcome::Failed(fault), Outcome::Answered(_)) => Some(format!("A: {}", fault.what)),
        (Outcome::Answered(_), Outcome::Failed(fault)) => Some(format!("AAAA: {}", fault.what)),
        (Outcome::Answered(Answer::Addresses { .. }), _)
        | (_, Outcome::Answered(Answer::Addresses { .. })) => None,
        (Outcome::Answered(Answer::NoName), _) | (_, Outcome::Answered(Answer::NoName)) => {
            Some("there is no such name".to_owned())
        }
        (Outcome::Answered(Answer::NoAddress), Outcome::Answered(Answer::NoAddress)) => {
            Some("the name has no address".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
