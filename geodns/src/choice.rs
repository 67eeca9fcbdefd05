//! Which hosts a service name is answered with.

use crate::geography::{Decision, Geography, RankingId, Visitor};
use crate::state::State;
use meridian_model::desired::Steering;
use meridian_model::zones::{GroupIndex, Host, HostIndex, Service, rtype};
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
        let order = match (wish.service.steering, &self.geography) {
            (Steering::Geo, Some(geography)) => {
                let Decision { ranking, scope } = wish.visitor.locate(&**geography);
                Order::Nearest(&**geography, ranking, scope)
            }
            // Nobody is nearer than another.
            (Steering::All, _) | (Steering::Geo, None) => Order::All,
        };
        let choice = picking.choose(order, addresses)?;
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

/// Who comes first.
#[derive(Clone, Copy)]
enum Order<'a> {
    /// Nobody.
    All,
    /// The closest groups of a ranking; with the SCOPE of the answer, in bits.
    Nearest(&'a dyn Geography, RankingId, u8),
}

/// Which hosts will do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Demand {
    /// Those that can serve the site.
    Serving,
    /// Those that can be reached and have its groups' backends, though none of these is well.
    Live,
    /// Those that can be reached: they ask other groups' backends.
    LiveElsewhere,
}

/// Of the hosts of an answer.
#[derive(Default)]
struct Seen {
    is_any: bool,
    is_one_down: bool,
}

impl Picking<'_> {
    /// The hosts that can serve the site; when none can, those that can be reached; when nobody can,
    /// every host.
    fn choose(self, order: Order<'_>, addresses: &mut Vec<IpAddr>) -> Option<Choice> {
        let scope_bits = match order {
            Order::All => 0,
            Order::Nearest(_, _, scope_bits) => scope_bits,
        };
        let mut is_any = false;
        for demand in [Demand::Serving, Demand::Live, Demand::LiveElsewhere] {
            let mut seen = Seen::default();
            let group = match order {
                Order::All => self.all(demand, addresses, &mut seen),
                Order::Nearest(geography, ranking, _) => {
                    self.nearest((geography, ranking), demand, addresses, &mut seen)
                }
            };
            is_any |= seen.is_any;
            if !is_any {
                // There is no such address, whoever is well.
                return None;
            }
            if !addresses.is_empty() {
                // What changed a moment ago may change again soon.
                let ttl = match seen.is_one_down || demand == Demand::LiveElsewhere {
                    true => (self.wish.ttl / 2).max(1),
                    false => self.wish.ttl,
                };
                return Some(Choice {
                    ttl,
                    scope_bits,
                    group,
                });
            }
        }
        // When nobody can be reached it is no better to name nobody. They are where they are for
        // long, so the TTL is the zone's.
        for host in &*self.state.zones.hosts {
            if self.serves(host, Demand::Serving) {
                self.add(host, addresses);
            }
        }
        Some(Choice {
            ttl: self.wish.ttl,
            scope_bits,
            group: None,
        })
    }

    /// Every host that will do. They are of no one group.
    fn all(
        self,
        demand: Demand,
        addresses: &mut Vec<IpAddr>,
        seen: &mut Seen,
    ) -> Option<GroupIndex> {
        for (index, host) in self.state.zones.hosts.iter().enumerate() {
            self.add_if(demand, HostIndex(index as u16), host, addresses, seen);
        }
        None
    }

    /// The hosts that will do of the first groups, equally close, that have any; and the group, when
    /// that is one.
    fn nearest(
        self,
        (geography, ranking): (&dyn Geography, RankingId),
        demand: Demand,
        addresses: &mut Vec<IpAddr>,
        seen: &mut Seen,
    ) -> Option<GroupIndex> {
        let zones = &self.state.zones;
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
                for &host in &zones.groups[index.index()].hosts {
                    let of_group = &zones.hosts[usize::from(host.0)];
                    self.add_if(demand, host, of_group, addresses, seen);
                }
                if addresses.len() > before {
                    group = match before {
                        0 => Some(index),
                        _ => None,
                    };
                }
            }
            if !addresses.is_empty() {
                return group;
            }
        }
        // Hosts of no group stand nowhere in particular.
        self.all(demand, addresses, seen)
    }

    fn add_if(
        self,
        demand: Demand,
        index: HostIndex,
        host: &Host,
        addresses: &mut Vec<IpAddr>,
        seen: &mut Seen,
    ) {
        if !self.serves(host, demand) {
            return;
        }
        seen.is_any = true;
        let health = &self.state.health;
        let will_do = match demand {
            Demand::Serving => health.is_up(index, self.wish.service.site),
            Demand::Live | Demand::LiveElsewhere => health.is_live(index),
        };
        match will_do {
            true => self.add(host, addresses),
            false => seen.is_one_down = true,
        }
    }

    /// Whether it has an address of the type, and the site.
    fn serves(self, host: &Host, demand: Demand) -> bool {
        let has_any = match self.wish.rtype {
            rtype::A => !host.v4.is_empty(),
            _ => !host.v6.is_empty(),
        };
        has_any && (demand == Demand::LiveElsewhere || self.wish.service.is_served_by(host.group))
    }

    fn add(self, host: &Host, addresses: &mut Vec<IpAddr>) {
        match self.wish.rtype {
            rtype::A => addresses.extend(host.v4.iter().map(|&it| IpAddr::V4(it))),
            _ => addresses.extend(host.v6.iter().map(|&it| IpAddr::V6(it))),
        }
    }
}
