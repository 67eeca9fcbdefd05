//! Who is down (DESIGN §7): a state machine of what this responder sees and what others say that
//! they see. Time is an argument; nothing here waits, asks or has a clock.
//!
//! Voters are this responder and each host whose view is younger than three intervals. A host is
//! withdrawn when more than half of them see it down, on a tie when this responder does. It returns when
//! no such majority was found for two intervals: while a fault begins or ends, voters come to see it
//! one after another, and others are heard again, so for a while the vote may go to and fro.
//!
//! A responder that reaches nobody knows nothing of the others. While the last probe of every other host
//! has failed, it leaves everything as it is; once it sees all of them down it is isolated: it withdraws
//! nobody, or in a fleet of two the other one if its own proxy answers. Back among others, it has to
//! see anew that a host is down before it says so.

use super::opinion::{Opinion, Sight};
use meridian_model::limits::{RETURN_INTERVALS, VIEW_INTERVALS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A point in time, from a beginning that does not matter.
pub(crate) type Time = Duration;

/// The name of a host.
pub(crate) type HostName = Arc<str>;

/// What it is decided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// From one probe of a host to the next.
    pub(crate) interval: Duration,
    /// Probes that pass until a host is up.
    pub(crate) rise: u32,
    /// Probes that fail until a host is down.
    pub(crate) fall: u32,
}

/// What another responder sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When it was so.
    pub(crate) at: Time,
    /// The hosts that it sees down.
    pub(crate) down: BTreeSet<HostName>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Fleet {
    rules: Rules,
    own: HostName,
    hosts: BTreeMap<HostName, Host>,
    is_isolated: bool,
}

#[derive(Debug, Default)]
struct Host {
    is_probed: bool,
    opinion: Opinion,
    /// Of its responder.
    view: Option<Heard>,
    is_withdrawn: bool,
    /// Withdrawn, and since then nobody is against its return.
    calm_since: Option<Time>,
}

/// How a vote about a host stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Vote {
    /// Who may say something.
    pub(crate) voters: usize,
    /// Of these, who see it down.
    pub(crate) against: usize,
    /// This responder does.
    own_against: bool,
}

/// A host was withdrawn, or has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) host: HostName,
    pub(crate) is_withdrawn: bool,
    pub(crate) why: Why,
}

/// What a decision was made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// A vote.
    Vote(Vote),
    /// This responder reaches nobody.
    Isolated,
    /// It reaches nobody but itself, in a fleet of two.
    AloneOfTwo,
    /// The host is not probed any more.
    NotProbed,
}

impl Vote {
    fn is_down(self) -> bool {
        let (doubled, voters) = (2 * self.against, self.voters);
        doubled > voters || (doubled == voters && self.own_against)
    }
}

impl Fleet {
    /// A fleet of which nothing is known, as the host `own` sees it.
    pub(crate) fn new(rules: Rules, own: HostName) -> Fleet {
        Fleet {
            rules,
            own,
            hosts: BTreeMap::new(),
            is_isolated: false,
        }
    }

    /// Takes up who is in the fleet, and whether each is probed. What is known of those that stay
    /// stays.
    pub(crate) fn set_hosts(&mut self, hosts: impl IntoIterator<Item = (HostName, bool)>) {
        let mut before = std::mem::take(&mut self.hosts);
        for (name, is_probed) in hosts {
            let mut host = before.remove(&name).unwrap_or_default();
            if !is_probed {
                host.opinion = Opinion::default();
                host.view = None;
            }
            host.is_probed = is_probed;
            self.hosts.insert(name, host);
        }
    }

    /// A probe of a host has passed or failed.
    pub(crate) fn probed(&mut self, host: &str, passed: bool) {
        if let Some(host) = self.hosts.get_mut(host).filter(|host| host.is_probed) {
            host.opinion = host.opinion.after(passed, &self.rules);
        }
    }

    /// The responder of a host said what it sees. This responder needs nobody to tell what it does.
    pub(crate) fn heard(&mut self, host: &str, view: Heard) {
        if *host == *self.own {
            return;
        }
        if let Some(host) = self.hosts.get_mut(host).filter(|host| host.is_probed) {
            host.view = Some(view);
        }
    }

    /// Decides anew; what that changes.
    pub(crate) fn decide(&mut self, now: Time) -> Vec<Change> {
        let is_isolated = self.sees_nobody();
        let was_isolated = std::mem::replace(&mut self.is_isolated, is_isolated);
        if was_isolated && !self.is_isolated {
            self.doubt();
        }
        let is_cut_off = self.is_cut_off();
        let names: Vec<HostName> = self.hosts.keys().cloned().collect();
        let mut changes = Vec::new();
        for name in names {
            let (is_down, why, settles) = self.judge(&name, now);
            let settled = self.rules.interval * RETURN_INTERVALS;
            let Some(host) = self.hosts.get_mut(&name) else {
                continue;
            };
            let is_withdrawn = match (host.is_withdrawn, is_down) {
                // Whoever can not reach anybody learns nothing new of anybody.
                (before, _) if settles && is_cut_off => {
                    host.calm_since = None;
                    before
                }
                (true, false) if settles => {
                    let since = *host.calm_since.get_or_insert(now);
                    now.saturating_sub(since) < settled
                }
                (_, is_down) => {
                    host.calm_since = None;
                    is_down
                }
            };
            if is_withdrawn != host.is_withdrawn {
                host.is_withdrawn = is_withdrawn;
                host.calm_since = None;
                changes.push(Change {
                    host: name,
                    is_withdrawn,
                    why,
                });
            }
        }
        changes
    }

    /// Whether a host is to be down now, by what, and whether its return waits.
    fn judge(&self, name: &HostName, now: Time) -> (bool, Why, bool) {
        let Some(host) = self.hosts.get(name).filter(|host| host.is_probed) else {
            return (false, Why::NotProbed, false);
        };
        if !self.is_isolated {
            let vote = self.vote(name, now);
            return (vote.is_down(), Why::Vote(vote), true);
        }
        if self.hosts.len() > 2 || *name == self.own {
            return (false, Why::Isolated, false);
        }
        let own = self.hosts.get(&self.own).map(|own| own.opinion.sight());
        match own == Some(Sight::Up) && host.opinion.sight() == Sight::Down {
            true => (true, Why::AloneOfTwo, false),
            false => (false, Why::Isolated, false),
        }
    }

    /// How the vote about a host stands.
    pub(crate) fn vote(&self, name: &str, now: Time) -> Vote {
        let own_sight = self.sight(name);
        let own_against = own_sight == Sight::Down;
        let mut vote = Vote {
            voters: 1,
            against: usize::from(own_against),
            own_against,
        };
        for view in self.views(now) {
            vote.voters += 1;
            vote.against += usize::from(view.down.contains(name));
        }
        vote
    }

    /// What others say that can be believed now.
    fn views(&self, now: Time) -> impl Iterator<Item = &Heard> {
        let age_max = self.rules.interval * VIEW_INTERVALS;
        let views = self.hosts.values().filter_map(|host| host.view.as_ref());
        views.filter(move |view| now.saturating_sub(view.at) < age_max)
    }

    /// Back among others: what it saw when it reached nobody may have been its own fault.
    fn doubt(&mut self) {
        for (_, host) in self.hosts.iter_mut().filter(|(name, _)| **name != self.own) {
            host.opinion = host.opinion.doubted();
        }
    }

    /// Those that are probed, but for this one.
    fn others(&self) -> impl Iterator<Item = &Host> {
        let hosts = self.hosts.iter().filter(|(name, _)| **name != self.own);
        hosts.map(|(_, host)| host).filter(|host| host.is_probed)
    }

    fn sees_nobody(&self) -> bool {
        let mut others = self.others().peekable();
        others.peek().is_some() && others.all(|host| host.opinion.sight() == Sight::Down)
    }

    /// The last probe of every other host has failed. In a fleet of two that says as much of the other
    /// host as of this one.
    fn is_cut_off(&self) -> bool {
        let mut others = self.others().peekable();
        self.hosts.len() > 2
            && others.peek().is_some()
            && others.all(|host| host.opinion.last() == Some(false))
    }

    /// Whether this responder sees no other host.
    pub(crate) fn is_isolated(&self) -> bool {
        self.is_isolated
    }

    /// What this responder sees of a host.
    pub(crate) fn sight(&self, host: &str) -> Sight {
        let host = self.hosts.get(host);
        host.map_or(Sight::Unknown, |host| host.opinion.sight())
    }

    /// Whether a host is out of the answers.
    pub(crate) fn is_withdrawn(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|host| host.is_withdrawn)
    }

    /// When a host's responder was in the state that it told of last.
    pub(crate) fn view_of(&self, host: &str) -> Option<Time> {
        self.hosts.get(host)?.view.as_ref().map(|view| view.at)
    }

    /// The hosts that this responder sees like this.
    pub(crate) fn seen(&self, sight: Sight) -> impl Iterator<Item = &HostName> {
        let hosts = self.hosts.iter();
        let seen = hosts.filter(move |(_, host)| host.opinion.sight() == sight);
        seen.map(|(name, _)| name)
    }

    /// When there may be something to decide though nothing was seen or heard: a view becomes too old,
    /// or a host may return.
    pub(crate) fn due(&self, now: Time) -> Option<Time> {
        let Rules { interval, .. } = self.rules;
        let expiries = self
            .views(now)
            .map(|view| view.at + interval * VIEW_INTERVALS);
        let hosts = self.hosts.values();
        let returns = hosts.filter_map(|host| Some(host.calm_since? + interval * RETURN_INTERVALS));
        expiries.chain(returns).filter(|&at| at > now).min()
    }
}

#[cfg(test)]
mod tests;
