//! In which order the groups of a fleet are for a visitor at a place.
//!
//! A group's distance is the great circle's plus its bias. Groups whose distances exceed the
//! least of their tier by no more than the tie band are one tier: equally close. A group of
//! which nobody knows where it is comes behind all others.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;

use super::place::Place;
use super::places::{Mixer, Places};
use crate::limits::GEO_GROUPS_MAX;
use crate::location::{Location, SpherePoint};
use crate::zones::{GroupIndex, Zones};

/// A ranking of all groups. Two visitors with the same one get the same answers, whatever the
/// health of the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RankingId(pub u32);

impl RankingId {
    /// That of visitors whose location is unknown: all groups are equally close.
    pub const NO_LOCATION: RankingId = RankingId(0);
}

/// What of a group decides who is sent there.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Unique in the fleet.
    pub name: Arc<str>,
    /// Where it stands, as the operator says.
    pub location: Option<Location>,
    /// Added to every visitor's distance, in kilometres.
    pub bias_km: i32,
    /// The addresses of its hosts: where the operator says nothing, the database says where the
    /// first of them is that it knows.
    pub addresses: Vec<IpAddr>,
}

impl Group {
    /// The groups of a fleet, each at its place of [`Zones::groups`].
    pub fn of_zones(zones: &Zones) -> Vec<Group> {
        let groups = zones.groups.iter().map(|group| {
            let hosts = group.hosts.iter().map(|it| &zones.hosts[usize::from(it.0)]);
            let addresses = hosts.flat_map(|host| {
                let v4 = host.v4.iter().copied().map(IpAddr::V4);
                v4.chain(host.v6.iter().copied().map(IpAddr::V6))
            });
            Group {
                name: Arc::clone(&group.name),
                location: group.location,
                bias_km: group.bias_km,
                addresses: addresses.collect(),
            }
        });
        groups.collect()
    }

    /// Where it stands, and whether the database had to say so.
    pub(super) fn located(&self, places: &Places) -> Option<Location> {
        let looked_up = || {
            let mut known = self.addresses.iter().filter_map(|it| places.of(*it));
            known.next().map(|place| place.location)
        };
        self.location.or_else(looked_up)
    }
}

/// Where one group stands, for counting distances.
#[derive(Clone, Copy, Debug)]
struct Stand {
    point: Option<SpherePoint>,
    bias_km: f64,
}

/// What rankings are made by.
#[derive(Clone, Debug)]
pub(super) struct Ranker {
    stands: Vec<Stand>,
    tie_km: f64,
}

impl Ranker {
    /// `located` are the groups' locations. At most [`GEO_GROUPS_MAX`] are ranked; who builds a
    /// [`super::Geography`] has refused more.
    pub(super) fn new(groups: &[Group], located: &[Option<Location>], tie_km: u32) -> Ranker {
        assert!(groups.len() <= GEO_GROUPS_MAX && groups.len() == located.len());
        let stands = groups.iter().zip(located).map(|(group, location)| Stand {
            point: location.map(Location::on_sphere),
            bias_km: f64::from(group.bias_km),
        });
        Ranker {
            stands: stands.collect(),
            tie_km: f64::from(tie_km),
        }
    }

    /// The distance of each group that has a location, without its bias.
    pub(super) fn distances(&self, from: Location) -> Vec<Option<f64>> {
        let from = from.on_sphere();
        let distance = |stand: &Stand| Some(from.distance_km(stand.point?));
        self.stands.iter().map(distance).collect()
    }

    /// The order for visitors at `from`, into `ranked`; `first` is ahead of all others.
    fn rank(&self, from: Option<Location>, first: Option<GroupIndex>, ranked: &mut Vec<Ranked>) {
        let from = from.map(Location::on_sphere);
        ranked.clear();
        ranked.extend((0_u16..).zip(&self.stands).map(|(index, stand)| {
            let group = GroupIndex(index);
            let distance = match (from, stand.point) {
                _ if first == Some(group) => f64::NEG_INFINITY,
                (Some(from), Some(point)) => from.distance_km(point) + stand.bias_km,
                _ => f64::INFINITY,
            };
            Ranked {
                distance,
                group,
                begins_tier: false,
            }
        }));
        ranked.sort_unstable_by(|one, other| {
            let by_distance = one.distance.total_cmp(&other.distance);
            by_distance.then(one.group.cmp(&other.group))
        });
        let mut least = None;
        for it in ranked.iter_mut() {
            // Of two that are infinitely far the difference is no number; they are equal.
            let is_tied = least.is_some_and(|least: f64| {
                it.distance == least || it.distance - least <= self.tie_km
            });
            it.begins_tier = !is_tied;
            if !is_tied {
                least = Some(it.distance);
            }
        }
        // Within a tier the order means nothing, so that it is no other ranking.
        for tier in ranked.chunk_by_mut(|_, next| !next.begins_tier) {
            tier.sort_unstable_by_key(|it| it.group);
            for (index, it) in tier.iter_mut().enumerate() {
                it.begins_tier = index == 0;
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ranked {
    distance: f64,
    group: GroupIndex,
    begins_tier: bool,
}

/// Every ranking that occurs, once.
#[derive(Clone, Debug)]
pub(super) struct Rankings {
    groups: usize,
    count: usize,
    /// One after the other, each with all groups.
    order: Vec<GroupIndex>,
    /// For each of `order`, whether a tier begins there, as bits.
    tier_begins: Vec<u64>,
}

impl Rankings {
    /// All groups, one tier.
    pub(super) fn groups(&self, id: RankingId) -> &[GroupIndex] {
        let from = id.0 as usize * self.groups;
        &self.order[from..from + self.groups]
    }

    /// The groups of the tier that begins at `from` of the order; none behind the last.
    pub(super) fn tier(&self, id: RankingId, from: usize) -> &[GroupIndex] {
        let at = id.0 as usize * self.groups + from;
        let rest = self.groups(id).get(from..).unwrap_or_default();
        let more = (1..rest.len()).take_while(|more| !self.begins_tier(at + more));
        &rest[..rest.len().min(1 + more.count())]
    }

    /// All tiers.
    pub(super) fn tiers(&self, id: RankingId) -> impl Iterator<Item = &[GroupIndex]> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let tier = self.tier(id, from);
            from += tier.len();
            (!tier.is_empty()).then_some(tier)
        })
    }

    fn begins_tier(&self, at: usize) -> bool {
        self.tier_begins[at / 64] >> (at % 64) & 1 == 1
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    fn push(&mut self, ranked: &[Ranked]) {
        self.count += 1;
        for it in ranked {
            let at = self.order.len();
            self.order.push(it.group);
            if at.is_multiple_of(64) {
                self.tier_begins.push(0);
            }
            if it.begins_tier {
                self.tier_begins[at / 64] |= 1 << (at % 64);
            }
        }
    }

    fn is(&self, id: u32, ranked: &[Ranked]) -> bool {
        let from = id as usize * self.groups;
        (from..)
            .zip(ranked)
            .all(|(at, it)| self.order[at] == it.group && self.begins_tier(at) == it.begins_tier)
    }
}

/// Takes rankings, and gives each that is new an id.
pub(super) struct Collector<'a> {
    ranker: &'a Ranker,
    rankings: Rankings,
    by_order: HashTable<u32>,
    ranked: Vec<Ranked>,
}

impl<'a> Collector<'a> {
    /// With the ranking of visitors without a location, and no other.
    pub(super) fn new(ranker: &'a Ranker) -> Collector<'a> {
        let mut collector = Collector {
            ranker,
            rankings: Rankings {
                groups: ranker.stands.len(),
                count: 0,
                order: Vec::new(),
                tier_begins: Vec::new(),
            },
            by_order: HashTable::new(),
            ranked: Vec::new(),
        };
        ranker.rank(None, None, &mut collector.ranked);
        // Found by nobody: a visitor who is somewhere does not share it, even where all groups
        // are in one tier for him as well.
        collector.rankings.push(&collector.ranked);
        collector
    }

    pub(super) fn of_place(&mut self, place: &Place) -> RankingId {
        self.ranker
            .rank(Some(place.location), None, &mut self.ranked);
        self.id()
    }

    /// That of visitors whom the operator sends to `group`, which is at `location`: the others
    /// follow as they are for who stands there.
    pub(super) fn of_override(
        &mut self,
        group: GroupIndex,
        location: Option<Location>,
    ) -> RankingId {
        self.ranker.rank(location, Some(group), &mut self.ranked);
        self.id()
    }

    fn id(&mut self) -> RankingId {
        let Collector {
            rankings,
            by_order,
            ranked,
            ..
        } = self;
        let hash = BuildHasherDefault::<Mixer>::default();
        let hash_of = |group: GroupIndex, begins: bool| (group.0 << 1) | u16::from(begins);
        let wanted = ranked.iter().map(|it| hash_of(it.group, it.begins_tier));
        let wanted = hash.hash_one(wanted.collect::<Vec<u16>>());
        if let Some(id) = by_order.find(wanted, |id| rankings.is(*id, ranked)) {
            return RankingId(*id);
        }
        let id = rankings.count() as u32;
        rankings.push(ranked);
        by_order.insert_unique(wanted, id, |id| {
            let from = *id as usize * rankings.groups;
            let known = (from..from + rankings.groups)
                .map(|at| hash_of(rankings.order[at], rankings.begins_tier(at)));
            hash.hash_one(known.collect::<Vec<u16>>())
        });
        RankingId(id)
    }

    /// Takes over what another collector of the same ranker came to: for each of its ids, the id
    /// here.
    pub(super) fn absorb(&mut self, others: &Rankings) -> Vec<RankingId> {
        let mut ids = vec![RankingId::NO_LOCATION];
        for other in 1..others.count() as u32 {
            let from = other as usize * others.groups;
            self.ranked.clear();
            self.ranked
                .extend((from..).take(others.groups).map(|at| Ranked {
                    distance: 0.0,
                    group: others.order[at],
                    begins_tier: others.begins_tier(at),
                }));
            ids.push(self.id());
        }
        ids
    }

    pub(super) fn finish(self) -> Rankings {
        self.rankings
    }
}
