//! The thread that looks names up: when each is due, and not too many at a time.
//!
//! It waits in one poll(2) for answers, for fresh names and for the time. Tenants take turns, and
//! each has as many lookups under way at most as nobody has, so half of them: whatever one
//! tenant's name servers do, there is room for another's names. Names whose name servers were
//! silent have a share of that and not more.

use super::lookup::{Findings, Lookup, Outcome};
use super::memory::{Conclusion, Memory};
use super::message::Answer;
use super::system_files::SystemFiles;
use super::turns::{Standing, Turn, Turns};
use super::{FollowedName, Found, Names};
use meridian_model::limits::{
    ADDRESSES_PER_NAME_MAX, LOOKUPS_MAX, NAME_JITTER_PERCENT, NAME_RETRY_MS_MIN, SLOW_LOOKUPS_MAX,
};
use meridian_model::snapshot::TenantId;
use meridian_sys::process::random_bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
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
        due: BinaryHeap::new(),
        ready: Turns::default(),
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
    /// By the numbers of the names.
    entries: HashMap<u64, Entry>,
    /// When each entry is to be looked up that is neither ready nor under way.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    ready: Turns,
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
    /// Whose turn it was.
    tenant: TenantId,
    is_slow: bool,
    lookup: Lookup,
}

impl Resolver {
    fn run(mut self, announce: impl Fn()) {
        loop {
            let now = Instant::now();
            self.take_fresh(now);
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

    fn take_fresh(&mut self, now: Instant) {
        for name in self.names.take_fresh() {
            let Some(followed) = name.upgrade() else {
                continue;
            };
            let number = followed.number();
            if self.entries.contains_key(&number) {
                // A further tenant uses it: it has had its turn, or has the tenant's, too.
                if self.ready.has(number) {
                    self.ready.add(number, Standing::New, followed.tenants());
                }
                continue;
            }
            let entry = Entry {
                host: Arc::clone(followed.host()),
                name,
                memory: Memory::default(),
            };
            self.entries.insert(number, entry);
            self.make_ready(number, &followed, Standing::New, now);
        }
    }

    fn make_ready(&mut self, number: u64, name: &FollowedName, standing: Standing, now: Instant) {
        let tenants = name.tenants();
        if tenants.is_empty() {
            // It is about to be let go, or somebody comes for it.
            let later = now + Duration::from_millis(NAME_RETRY_MS_MIN);
            self.due.push(Reverse((later, number)));
        } else {
            self.ready.add(number, standing, tenants);
        }
    }

    fn collect_due(&mut self, now: Instant) {
        while let Some(&Reverse((at, number))) = self.due.peek()
            && at <= now
        {
            self.due.pop();
            let Some(entry) = self.entries.get(&number) else {
                continue;
            };
            let Some(name) = entry.name.upgrade() else {
                self.names.forget(&entry.host);
                self.entries.remove(&number);
                continue;
            };
            let standing = entry.memory.standing();
            self.make_ready(number, &name, standing, now);
        }
    }

    fn begin_lookups(&mut self, now: Instant) {
        if self.ready.is_empty() {
            return;
        }
        self.files.refresh();
        while self.under_way.len() < LOOKUPS_MAX {
            let Some(turn) = self.next_turn() else {
                break;
            };
            let number = turn.number;
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
                        tenant: turn.tenant,
                        is_slow: turn.standing == Standing::Slow,
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

    fn next_turn(&mut self) -> Option<Turn> {
        let under_way = &self.under_way;
        self.ready.take(|tenant, standing| match standing {
            Standing::Slow => {
                has_room(under_way, tenant) && has_room_for_slow_of(under_way, tenant)
            }
            Standing::Known | Standing::New => has_room(under_way, tenant),
        })
    }

    fn advance_lookups(&mut self, now: Instant) {
        let mut place = 0;
        while place < self.under_way.len() {
            let under_way = &mut self.under_way[place];
            let mut findings = under_way.lookup.advance(now);
            if let Some(server) = under_way.lookup.answered_by() {
                self.first_server = server;
            }
            let mut gives_up = false;
            if findings.is_none() && !under_way.is_slow && under_way.lookup.met_silence() {
                let tenant = under_way.tenant;
                // It has had its turn, and gets another when there is room for the slow.
                gives_up = !has_room_for_slow_of(&self.under_way, tenant);
                self.under_way[place].is_slow = !gives_up;
            }
            if findings.is_none() && !gives_up {
                place += 1;
                continue;
            }
            let ended = self.under_way.swap_remove(place);
            let findings = findings.take().unwrap_or_else(|| ended.lookup.give_up());
            self.conclude(ended.number, &findings, now);
        }
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

/// Whether `tenant` may have one more lookup under way: it has fewer than there are places left.
/// So there is one for each of the next tenants, though fewer and fewer.
fn has_room(under_way: &[UnderWay], tenant: TenantId) -> bool {
    let of_tenant = under_way.iter().filter(|it| it.tenant == tenant).count();
    of_tenant < LOOKUPS_MAX.saturating_sub(under_way.len())
}

/// The same of lookups that met silence.
fn has_room_for_slow_of(under_way: &[UnderWay], tenant: TenantId) -> bool {
    let of_tenant = |it: &&UnderWay| it.is_slow && it.tenant == tenant;
    let of_tenant = under_way.iter().filter(of_tenant).count();
    let of_all = under_way.iter().filter(|it| it.is_slow).count();
    of_tenant < SLOW_LOOKUPS_MAX.saturating_sub(of_all)
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
