//! Which hosts a service name is answered with.

use crate::geography::{Decision, Geography, RankingId, Visitor};
use crate::state::State;
use meridian_model::desired::Steering;
use meridian_model::zones::{Group, GroupIndex, Host, HostIndex, Service, rtype};
use std::net::IpAddr;

/// The addresses stand in the list that was given; this is the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// In seconds.
    pub(crate) ttl: u32,
    /// Of the answer, for who asked with a subnet; 0: it is the same for everybody.
    pub(crate) scope_bits: u8,
    /// The group that it is of, when that is one.
    pub(crate) group: Option<GroupIndex>,
}

/// What a choice is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// Whose name it is.
    pub(crate) service: &'a Service,
    /// The zone's, in seconds.
    pub(crate) ttl: u32,
    /// [`rtype::A`] or [`rtype::AAAA`].
    pub(crate) rtype: u16,
    /// For whom.
    pub(crate) visitor: Visitor,
    /// Which of the addresses comes first, modulo their number.
    pub(crate) rotation: u32,
}

impl State {
    /// Puts the addresses into `addresses`. `None` when there is no address of that type: that
    /// never depends on where the visitor is, nor on who is well.
    pub(crate) fn choose(&self, wish: Wish<'_>, addresses: &mut Vec<IpAddr>) -> Option<Choice> {
        let picking = Picking { state: self, wish };
        addresses.clear();
        let choice = match (wish.service.steering, &self.geography) {
            (Steering::Geo, Some(geography)) => {
                let Decision { ranking, scope } = wish.visitor.locate(&**geography);
                picking.nearest(&**geography, ranking, addresses, scope)
            }
            // Nobody is nearer than another.
            (Steering::All, _) | (Steering::Geo, None) => picking.all(addresses),
        }?;
        let first = wish.rotation as usize % addresses.len();
        addresses.rotate_left(first);
        Some(choice)
    }
}

#[derive(Clone, Copy)]
struct Picking<'a> {
    state: &'a State,
    wish: Wish<'a>,
}

/// Of the hosts of an answer.
#[derive(Default)]
struct Seen {
    is_any: bool,
    is_one_down: bool,
}

impl Picking<'_> {
    /// Every host that is up, or when none is, every host.
    fn all(self, addresses: &mut Vec<IpAddr>) -> Option<Choice> {
        let zones = &self.state.zones;
        let mut seen = Seen::default();
        for (index, host) in zones.hosts.iter().enumerate() {
            self.add_if_up(HostIndex(index as u16), host, addresses, &mut seen);
        }
        match addresses.is_empty() {
            false => Some(self.choice(&seen, 0)),
            true => self.everybody(addresses, &seen, 0),
        }
    }

    /// The hosts that are up of the first groups, equally close, that have any.
    fn nearest(
        self,
        geography: &dyn Geography,
        ranking: RankingId,
        addresses: &mut Vec<IpAddr>,
        scope_bits: u8,
    ) -> Option<Choice> {
        let zones = &self.state.zones;
        let mut seen = Seen::default();
        let mut from = 0;
        loop {
            let tier = geography.tier(ranking, from);
            if tier.is_empty() {
                break;
            }
            from += tier.len();
            let mut group = None;
            for &index in tier {
                let before = addresses.len();
                self.add_group(&zones.groups[index.index()], addresses, &mut seen);
                if addresses.len() > before {
                    group = match before {
                        0 => Some(index),
                        _ => None,
                    };
                }
            }
            if !addresses.is_empty() {
                let choice = self.choice(&seen, scope_bits);
                return Some(Choice { group, ..choice });
            }
        }
        // Hosts of no group stand nowhere in particular.
        for (index, host) in zones.hosts.iter().enumerate() {
            self.add_if_up(HostIndex(index as u16), host, addresses, &mut seen);
        }
        match addresses.is_empty() {
            false => Some(self.choice(&seen, scope_bits)),
            true => self.everybody(addresses, &seen, scope_bits),
        }
    }

    /// When nobody can be reached it is no better to name nobody. They are where they are for
    /// long, so the TTL is the zone's.
    fn everybody(self, addresses: &mut Vec<IpAddr>, seen: &Seen, scope_bits: u8) -> Option<Choice> {
        if !seen.is_any {
            return None;
        }
        for host in &*self.state.zones.hosts {
            self.add(host, addresses);
        }
        let ttl = self.wish.ttl;
        Some(Choice {
            ttl,
            scope_bits,
            group: None,
        })
    }

    fn choice(self, seen: &Seen, scope_bits: u8) -> Choice {
        // What changed a moment ago may change again soon.
        let ttl = match seen.is_one_down {
            true => (self.wish.ttl / 2).max(1),
            false => self.wish.ttl,
        };
        Choice {
            ttl,
            scope_bits,
            group: None,
        }
    }

    fn add_group(self, group: &Group, addresses: &mut Vec<IpAddr>, seen: &mut Seen) {
        for &index in &group.hosts {
            let host = &self.state.zones.hosts[usize::from(index.0)];
            self.add_if_up(index, host, addresses, seen);
        }
    }

    fn add_if_up(
        self,
        index: HostIndex,
        host: &Host,
        addresses: &mut Vec<IpAddr>,
        seen: &mut Seen,
    ) {
        if !self.has_address(host) {
            return;
        }
        seen.is_any = true;
        if self.state.health.is_up(index, self.wish.service.site) {
            self.add(host, addresses);
        } else {
            seen.is_one_down = true;
        }
    }

    fn has_address(self, host: &Host) -> bool {
        let has_any = match self.wish.rtype {
            rtype::A => !host.v4.is_empty(),
            _ => !host.v6.is_empty(),
        };
        has_any && self.wish.service.is_served_by(host.group)
    }

    fn add(self, host: &Host, addresses: &mut Vec<IpAddr>) {
        if !self.has_address(host) {
            return;
        }
        match self.wish.rtype {
            rtype::A => addresses.extend(host.v4.iter().map(|&it| IpAddr::V4(it))),
            _ => addresses.extend(host.v6.iter().map(|&it| IpAddr::V6(it))),
        }
    }
}
