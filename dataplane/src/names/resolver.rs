//! The thread that looks names up: when each is due, and not too many at a time.
//!
//! It waits in one poll(2) for answers, for fresh names and for the time. Names whose name
//! servers were silent have a share of the lookups under way and not more, so that they keep
//! nobody else's waiting.

use super::lookup::{Findings, Lookup, Outcome};
use super::memory::{Conclusion, Memory};
use super::message::Answer;
use super::system_files::SystemFiles;
use super::{FollowedName, Found, Names};
use meridian_model::limits::{
    ADDRESSES_PER_NAME_MAX, LOOKUPS_MAX, NAME_JITTER_PERCENT, SLOW_LOOKUPS_MAX,
};
use meridian_sys::process::random_bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// What was found in this time is made known together: to change the routing of many sites
/// costs little more than to change that of one.
const ANNOUNCEMENT_GAP: Duration = Duration::from_millis(50);

/// Starts the thread, which lives as long as the process. It asks `servers`, or those of the
/// system where there are none, and calls `announce` when [`Names::take_changed`] has something.
pub(crate) fn start(
    names: Arc<Names>,
    servers: &[SocketAddr],
    announce: impl Fn() + Send + 'static,
) -> Result<(), String> {
    let resolver = Resolver {
        names,
        files: SystemFiles::new(servers),
        entries: HashMap::new(),
        next_number: 0,
        due: BinaryHeap::new(),
        ready: VecDeque::new(),
        ready_slow: VecDeque::new(),
        under_way: Vec::new(),
        first_server: 0,
        unannounced: false,
        announced_at: None,
    };
    let spawned = std::thread::Builder::new()
        .name("names".to_owned())
        .spawn(move || resolver.run(announce));
    spawned
        .map(drop)
        .map_err(|error| format!("starting the thread of names: {error}"))
}

struct Resolver {
    names: Arc<Names>,
    files: SystemFiles,
    entries: HashMap<u64, Entry>,
    next_number: u64,
    /// When each entry is to be looked up that is neither ready nor under way.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    ready: VecDeque<u64>,
    /// Those whose name servers were silent.
    ready_slow: VecDeque<u64>,
    under_way: Vec<UnderWay>,
    /// The name server that answered last.
    first_server: usize,
    unannounced: bool,
    announced_at: Option<Instant>,
}

struct Entry {
    host: Arc<str>,
    name: Weak<FollowedName>,
    memory: Memory,
}

struct UnderWay {
    number: u64,
    is_slow: bool,
    lookup: Lookup,
}

impl Resolver {
    fn run(mut self, announce: impl Fn()) {
        loop {
            let now = Instant::now();
            self.take_fresh();
            self.collect_due(now);
            self.begin_lookups(now);
            self.advance_lookups(now);
            if self.may_announce(now) {
                announce();
                self.unannounced = false;
                self.announced_at = Some(now);
            }
            self.wait(now);
        }
    }

    fn take_fresh(&mut self) {
        for name in self.names.take_fresh() {
            let Some(followed) = name.upgrade() else {
                continue;
            };
            let entry = Entry {
                host: Arc::clone(followed.host()),
                name,
                memory: Memory::default(),
            };
            self.entries.insert(self.next_number, entry);
            self.ready.push_back(self.next_number);
            self.next_number += 1;
        }
    }

    fn collect_due(&mut self, now: Instant) {
        while let Some(&Reverse((at, number))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            match self.entries.get(&number) {
                Some(entry) if entry.memory.is_slow() => self.ready_slow.push_back(number),
                Some(_) => self.ready.push_back(number),
                None => {}
            }
        }
    }

    fn begin_lookups(&mut self, now: Instant) {
        if self.ready.is_empty() && self.ready_slow.is_empty() {
            return;
        }
        self.files.refresh();
        while self.under_way.len() < LOOKUPS_MAX {
            let Some((number, is_slow)) = self.next_ready() else {
                break;
            };
            let Some(entry) = self.entries.get(&number) else {
                continue;
            };
            if entry.name.strong_count() == 0 {
                self.names.forget(&entry.host);
                self.entries.remove(&number);
                continue;
            }
            match self.files.addresses(&entry.host) {
                [] => {
                    let servers = self.files.servers();
                    let lookup = Lookup::begin(&entry.host, servers, self.first_server, now);
                    self.under_way.push(UnderWay {
                        number,
                        is_slow,
                        lookup,
                    });
                }
                of_file => {
                    let findings = of_hosts_file(of_file);
                    self.conclude(number, &findings, now);
                }
            }
        }
    }

    fn next_ready(&mut self) -> Option<(u64, bool)> {
        if let Some(number) = self.ready.pop_front() {
            return Some((number, false));
        }
        if self.slow_under_way() < SLOW_LOOKUPS_MAX {
            return Some((self.ready_slow.pop_front()?, true));
        }
        None
    }

    fn advance_lookups(&mut self, now: Instant) {
        let mut slow_under_way = self.slow_under_way();
        let mut place = 0;
        while place < self.under_way.len() {
            let under_way = &mut self.under_way[place];
            let mut findings = under_way.lookup.advance(now);
            if let Some(server) = under_way.lookup.answered_by() {
                self.first_server = server;
            }
            let mut gives_up = false;
            if findings.is_none() && !under_way.is_slow && under_way.lookup.met_silence() {
                under_way.is_slow = true;
                slow_under_way += 1;
                // It has had its turn, and gets another when there is room for the slow.
                gives_up = slow_under_way > SLOW_LOOKUPS_MAX;
            }
            if findings.is_none() && !gives_up {
                place += 1;
                continue;
            }
            let ended = self.under_way.swap_remove(place);
            slow_under_way -= usize::from(ended.is_slow);
            let findings = findings.take().unwrap_or_else(|| ended.lookup.give_up());
            self.conclude(ended.number, &findings, now);
        }
    }

    fn slow_under_way(&self) -> usize {
        self.under_way.iter().filter(|it| it.is_slow).count()
    }

    /// Publishes what a lookup leads to and plans the next one.
    fn conclude(&mut self, number: u64, findings: &Findings, now: Instant) {
        let Some(entry) = self.entries.get_mut(&number) else {
            return;
        };
        let Conclusion {
            addresses,
            resolved_at,
            fault,
            wait,
        } = entry.memory.conclude(findings, now);
        let Some(name) = entry.name.upgrade() else {
            self.names.forget(&entry.host);
            self.entries.remove(&number);
            return;
        };
        let failed = [&findings.v4, &findings.v6];
        if failed.iter().any(|it| matches!(it, Outcome::Failed(_))) {
            self.names.failed.fetch_add(1, Ordering::Relaxed);
        }
        let mut addresses = with_routes(addresses);
        let over = addresses.len().saturating_sub(ADDRESSES_PER_NAME_MAX);
        self.names.over.fetch_add(over as u64, Ordering::Relaxed);
        addresses.truncate(ADDRESSES_PER_NAME_MAX);
        let next_at = now + jittered(wait);
        self.due.push(Reverse((next_at, number)));
        self.unannounced |= self.names.publish(
            &name,
            Found {
                addresses: addresses.into(),
                looked_up: true,
                resolved_at,
                next_at: Some(next_at),
                fault,
            },
        );
    }

    fn may_announce(&self, now: Instant) -> bool {
        let has_waited = |at| now >= at + ANNOUNCEMENT_GAP;
        self.unannounced && self.announced_at.is_none_or(has_waited)
    }

    /// Waits until there is something to do.
    fn wait(&mut self, now: Instant) {
        let announcement = self.announced_at.filter(|_| self.unannounced);
        let deadlines = self
            .under_way
            .iter()
            .filter_map(|it| it.lookup.deadline())
            .chain(self.due.peek().map(|Reverse((at, _))| *at))
            .chain(announcement.map(|at| at + ANNOUNCEMENT_GAP));
        let timeout = deadlines.min().map(|at| at.saturating_duration_since(now));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut interests = vec![PollFd::from_borrowed_fd(self.names.wake(), PollFlags::IN)];
        for under_way in &self.under_way {
            under_way.lookup.add_interests(&mut interests);
        }
        // An error is an interruption, or want of memory: then everything is looked at.
        let polled = poll(&mut interests, timeout.as_ref());
        let of_lookups = interests.iter().skip(1);
        let met: Vec<bool> = of_lookups
            .map(|interest| polled.is_err() || !interest.revents().is_empty())
            .collect();
        drop(interests);
        let mut met = met.into_iter();
        for under_way in &mut self.under_way {
            under_way.lookup.mark_ready(&mut met);
        }
    }
}

/// What the hosts file says is looked at again as soon as an answer is at all.
fn of_hosts_file(addresses: &[IpAddr]) -> Findings {
    let of = |is_wanted: fn(&IpAddr) -> bool| {
        let addresses: Vec<IpAddr> = addresses.iter().copied().filter(is_wanted).collect();
        Outcome::Answered(match addresses.is_empty() {
            true => Answer::NoAddress,
            false => Answer::Addresses {
                addresses,
                ttl_s: 0,
            },
        })
    };
    Findings {
        v4: of(IpAddr::is_ipv4),
        v6: of(IpAddr::is_ipv6),
    }
}

/// Leaves out what this host has no route to, such as IPv6 where there is none, for each connect
/// would fail there before it goes where it can. Where nothing has a route, nothing is left out:
/// then it is this host's trouble and not the name's.
fn with_routes(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let routed: Vec<IpAddr> = addresses.iter().copied().filter(has_route).collect();
    if routed.is_empty() { addresses } else { routed }
}

/// Whether the kernel knows a way there. Nothing is sent.
fn has_route(address: &IpAddr) -> bool {
    const DISCARD_PORT: u16 = 9;
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let connected =
        UdpSocket::bind(any).and_then(|socket| socket.connect((*address, DISCARD_PORT)));
    match connected {
        Ok(()) => true,
        Err(error) => {
            !matches!(
                error.kind(),
                ErrorKind::NetworkUnreachable
                    | ErrorKind::HostUnreachable
                    | ErrorKind::AddrNotAvailable
            ) && error.raw_os_error() != Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
        }
    }
}

/// A little longer, by chance.
fn jittered(wait: Duration) -> Duration {
    let chance = u16::from_ne_bytes(random_bytes().unwrap_or_default());
    let longest = wait.as_millis() as u64 * NAME_JITTER_PERCENT / 100;
    wait + Duration::from_millis(longest * u64::from(chance) / u64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn waits_are_longer_by_chance_and_never_shorter() {
        let wait = Duration::from_secs(60);
        let waits: BTreeSet<Duration> = (0..100).map(|_| jittered(wait)).collect();
        assert!(waits.len() > 50, "they are in step: {waits:?}");
        let bounds = wait..=Duration::from_secs(66);
        assert!(waits.iter().all(|it| bounds.contains(it)), "{waits:?}");
    }

    #[test]
    fn loopback_has_a_route_and_what_is_alone_without_one_is_kept() {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST)];
        assert_eq!(with_routes(loopback.to_vec()), loopback);
        // For discarding (RFC 6666): there is a route to it by default, if at all.
        let nowhere: Vec<IpAddr> = vec!["100::1".parse().expect("an address")];
        assert_eq!(with_routes(nowhere.clone()), nowhere);
        if !has_route(&nowhere[0]) {
            let both = [loopback[0], nowhere[0]];
            assert_eq!(with_routes(both.to_vec()), loopback);
        }
    }
}
