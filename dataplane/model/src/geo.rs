//! Which groups are close to a visitor (DNS.md "Which address to return").
//!
//! ```text
//! bytes --Database::places--> Places --Geography::build--> Geography --decide--> Decision
//! ```
//!
//! What costs something is done when the database or the groups change. A query is one look-up
//! in a table from prefixes to rankings; no database is decoded for it, and no distance counted.
//! Health is not known here: a [`Decision`] names all groups, in order, and its scope holds
//! whichever of them are up.

mod cells;
mod centres;
mod database;
mod embedded;
mod explanation;
mod overlay;
mod place;
mod places;
mod ranking;
mod reserved;
mod table;

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::limits::GEO_GROUPS_MAX;
use crate::local::GeoOverride;
use crate::location::Location;
use crate::parallel;
use crate::problem::Problem;
use cells::{Family, MAPPED_BITS, Prefix, shared_bits};
use places::{FamilyPlaces, UNKNOWN};
use ranking::{Collector, Ranker, Rankings};
use table::{Found, Table};

pub use crate::zones::GroupIndex;
pub use database::Database;
pub use embedded::ATTRIBUTION as EMBEDDED_ATTRIBUTION;
pub use embedded::write as write_embedded;
pub use explanation::{Explanation, RankedGroup, Source};
pub use place::{Basis, Country, Place};
pub use places::Places;
pub use ranking::{Group, RankingId};

/// The prefix of the finest length that is decided for which `network` is in or is, and that
/// length: a /24 of IPv4, v4-mapped or not, a /56 of IPv6.
pub(crate) fn finest_of(network: IpNet) -> (IpNet, u8) {
    let prefix = Prefix::of(network);
    let bits = match prefix.is_mapped {
        true => prefix.family.cell_bits() + MAPPED_BITS,
        false => prefix.family.cell_bits(),
    };
    let finest = prefix.written(prefix.cell, prefix.family.cell_bits());
    (finest, bits)
}

/// The number of cells that nobody locates; below it are those of the reserved prefixes, above
/// it the rankings.
const UNLOCATED: u32 = reserved::COUNT;

/// The rankings of all prefixes, for one set of groups.
#[derive(Clone, Debug)]
pub struct Geography {
    groups: Vec<Group>,
    located: Vec<Option<Location>>,
    overrides: Vec<(IpNet, GroupIndex)>,
    not_used: Vec<IpNet>,
    ranker: Ranker,
    rankings: Rankings,
    v4: Table,
    v6: Table,
}

/// What is decided for a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// In which order the groups are for him.
    #[serde(skip)]
    pub ranking: RankingId,
    /// SCOPE PREFIX-LENGTH (RFC 7871 §6) of an answer to his subnet: every address of that prefix
    /// has the same ranking. It may be longer than the prefix that was asked for, which then was
    /// not enough to decide for all of it (§7.2.1).
    pub scope: u8,
    /// How it came about.
    pub standing: Standing,
}

/// What was found for a cell of a prefix, as whoever asked for the prefix is told.
#[inline]
fn decision(prefix: Prefix, cell: u64, found: Found) -> Decision {
    let mut scope = found.scope.max(1);
    if prefix.family == Family::V6 {
        // What is v4-mapped stands in cell 0, and is decided by IPv4.
        scope = scope.max(match cell {
            0 => MAPPED_BITS,
            _ => shared_bits(Family::V6, cell, 0) + 1,
        });
    }
    if prefix.is_mapped {
        scope += MAPPED_BITS;
    }
    let (ranking, standing) = match found.number.checked_sub(UNLOCATED) {
        None => (RankingId::NO_LOCATION, Standing::Reserved),
        Some(0) => (RankingId::NO_LOCATION, Standing::Unknown),
        Some(ranking) => (RankingId(ranking), Standing::Located),
    };
    Decision {
        ranking,
        scope,
        standing,
    }
}

/// What a prefix tells of its visitors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Where they are, or the operator decides.
    Located,
    /// Nothing is known of it.
    Unknown,
    /// It is private or reserved: who asks for it may be anywhere.
    Reserved,
}

impl Geography {
    /// Joins what the database says with the groups and the operator's overrides. Of a city
    /// database it takes some tenths of a second: for a thread that nobody waits for.
    ///
    /// An override names its group; one of a group that is not among `groups` is left out, and told
    /// by [`Geography::not_used`].
    ///
    /// # Errors
    ///
    /// When there are more than [`GEO_GROUPS_MAX`] groups.
    pub fn build(
        places: &Places,
        groups: Vec<Group>,
        overrides: &[GeoOverride],
        tie_km: u32,
    ) -> Result<Geography, Problem> {
        if groups.len() > GEO_GROUPS_MAX {
            return Err(Problem {
                file: String::new(),
                line: None,
                key: "group".to_string(),
                what: format!(
                    "{} groups; at most {GEO_GROUPS_MAX} are ranked",
                    groups.len()
                ),
                hint: "join hosts that are close to each other into one group".to_string(),
            });
        }
        let located: Vec<_> = groups.iter().map(|group| group.located(places)).collect();
        let ranker = Ranker::new(&groups, &located, tie_km);
        let mut used = Vec::new();
        let mut not_used = Vec::new();
        for it in overrides {
            match groups
                .iter()
                .position(|group| *group.name == *it.group.as_str())
            {
                Some(index) => used.push((it.prefix, GroupIndex(index as u16))),
                None => not_used.push(it.prefix),
            }
        }
        let (rankings, v4, v6) = tables(places, &ranker, &located, &used);
        Ok(Geography {
            groups,
            located,
            overrides: used,
            not_used,
            ranker,
            rankings,
            v4,
            v6,
        })
    }

    /// What a query gets: the one rule of which address counts. `client_subnet` is the ADDRESS and
    /// the SOURCE PREFIX-LENGTH of its option, when it has one, `resolver` the query's source.
    ///
    /// Without an option the scope means nothing. With a length of 0 the resolver decides and the
    /// scope is 0 (RFC 7871 §7.5); with a reserved prefix the resolver decides, too, and the scope is
    /// that prefix's.
    #[inline]
    pub fn decide(&self, client_subnet: Option<(IpAddr, u8)>, resolver: IpAddr) -> Decision {
        let of_resolver = |scope: u8| Decision {
            scope,
            ..self.lookup(resolver, u8::MAX)
        };
        match client_subnet {
            None | Some((_, 0)) => of_resolver(0),
            Some((address, bits)) => {
                let found = self.lookup(address, bits);
                match found.standing {
                    Standing::Reserved => of_resolver(found.scope),
                    Standing::Located | Standing::Unknown => found,
                }
            }
        }
    }

    /// What holds for the first `source_bits` of `prefix`; more than it has are all. The scope is 1
    /// to 24, or 56, or 96 more for a v4-mapped prefix.
    ///
    /// A prefix that has several rankings gets that of its first address, and a scope that
    /// is longer than itself. What is reserved of a prefix that is not as a whole is no visitor's
    /// address: it gets that of its first public one.
    #[inline]
    pub fn lookup(&self, prefix: IpAddr, source_bits: u8) -> Decision {
        let prefix = Prefix::new(prefix, source_bits);
        let (cell, found) = self.representative(prefix);
        decision(prefix, cell, found)
    }

    fn table(&self, family: Family) -> &Table {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The cell that a prefix is decided by, and what it was found in.
    #[inline]
    fn representative(&self, prefix: Prefix) -> (u64, Found) {
        let found = self.table(prefix.family).find(prefix.cell);
        match found.number < UNLOCATED {
            true => self.public_cell(prefix).unwrap_or((prefix.cell, found)),
            false => (prefix.cell, found),
        }
    }

    /// The first cell of a prefix that is not reserved.
    #[cold]
    fn public_cell(&self, prefix: Prefix) -> Option<(u64, Found)> {
        let table = self.table(prefix.family);
        let mut cell = prefix.cell;
        while let Some(reserved) = table.low_range(cell) {
            cell = reserved.end;
            if cell >= prefix.end() {
                return None;
            }
        }
        Some((cell, table.find(cell)))
    }

    /// The groups of a ranking, the closest first; groups of one tier in their own order.
    #[inline]
    pub fn ranking(&self, id: RankingId) -> &[GroupIndex] {
        self.rankings.groups(id)
    }

    /// Of these, the tier that begins at position `from`: groups that are equally close. Behind the
    /// last there are none.
    #[inline]
    pub fn tier(&self, id: RankingId, from: usize) -> &[GroupIndex] {
        self.rankings.tier(id, from)
    }

    /// The same, a tier at a time.
    pub fn tiers(&self, id: RankingId) -> impl Iterator<Item = &[GroupIndex]> {
        self.rankings.tiers(id)
    }

    /// The groups that it was built for. A [`GroupIndex`] is a position here.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Where a group stands: as the operator says, or else as the database says of its hosts'
    /// addresses. One that nobody locates comes behind all others.
    pub fn location(&self, group: GroupIndex) -> Option<Location> {
        self.located[group.index()]
    }

    /// Overrides of groups that there are not.
    pub fn not_used(&self) -> &[IpNet] {
        &self.not_used
    }

    /// Different rankings that occur.
    pub fn rankings(&self) -> usize {
        self.rankings.count()
    }

    /// Ranges of one ranking, in IPv4 and in IPv6.
    pub fn ranges(&self) -> [usize; 2] {
        [&self.v4, &self.v6].map(Table::len)
    }

    /// The memory that look-ups go through, in IPv4 and in IPv6.
    pub fn bytes(&self) -> [usize; 2] {
        [&self.v4, &self.v6].map(Table::bytes)
    }
}

fn tables(
    places: &Places,
    ranker: &Ranker,
    located: &[Option<Location>],
    overrides: &[(IpNet, GroupIndex)],
) -> (Rankings, Table, Table) {
    let rank = |places: &FamilyPlaces| {
        let mut collector = Collector::new(ranker);
        let mut ids = vec![RankingId::NO_LOCATION];
        ids.extend(places.places().map(|(_, place)| collector.of_place(place)));
        (collector, ids)
    };
    let ((mut collector, v4_ids), (v6_collector, v6_ids)) =
        parallel::both(|| rank(&places.v4), || rank(&places.v6));
    let here = collector.absorb(&v6_collector.finish());
    let v6_ids: Vec<RankingId> = v6_ids.iter().map(|id| here[id.0 as usize]).collect();
    // A reserved prefix comes first, so that an override of the same prefix decides.
    let mut prefixes: Vec<(IpNet, u32)> = reserved::networks().zip(0..).collect();
    for &(prefix, group) in overrides {
        let id = collector.of_override(group, located[group.index()]);
        prefixes.push((prefix, UNLOCATED + id.0));
    }
    let table = |family: Family, ids: &[RankingId]| {
        let ranges = places.family(family).ranges();
        let numbers = ranges.map(|(first, place)| match place {
            UNKNOWN => (first, UNLOCATED),
            place => (first, UNLOCATED + ids[place as usize].0),
        });
        let overlays = overlay::of_family(family, prefixes.iter().copied());
        let laid = overlay::lay(family, &overlays, numbers);
        Table::new(family, laid.into_iter(), UNLOCATED)
    };
    let (v4, v6) = parallel::both(|| table(Family::V4, &v4_ids), || table(Family::V6, &v6_ids));
    (collector.finish(), v4, v6)
}
