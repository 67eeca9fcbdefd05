//! Why a prefix gets its ranking, for who asks (`meridianctl explain`): what it was matched by, and
//! what each group is away.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::cells::{Family, MAPPED_BITS, Prefix};
use super::database::Database;
use super::place::Place;
use super::places::Places;
use super::{Decision, Geography, decision, reserved};
use crate::location::Location;
use crate::problem::Problem;
use crate::zones::GroupIndex;

/// Everything that led to a decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// The prefix that it holds for: of the length of the scope.
    pub matched: IpNet,
    /// What it was decided by.
    pub source: Source,
    /// Where the visitors are, as far as the database says. An override decides without it.
    pub place: Option<Place>,
    /// The groups, the closest first.
    pub ranking: Vec<RankedGroup>,
}

/// What decided, the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A prefix of the operator.
    Override(IpNet),
    /// A private or reserved prefix.
    Reserved(IpNet),
    /// The database; [`Place::basis`] tells what it knows.
    Database,
    /// Nothing.
    None,
}

/// A group in a ranking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankedGroup {
    /// Which one.
    #[serde(skip)]
    pub group: GroupIndex,
    /// Its name.
    pub name: Arc<str>,
    /// From 0; groups of one tier are equally close.
    pub tier: u16,
    /// Where it stands.
    pub location: Option<Location>,
    /// What it is away from the place, in kilometres, without its bias.
    pub distance_km: Option<f64>,
    /// What is added to that before distances are compared, in kilometres.
    pub bias_km: i32,
}

impl Geography {
    /// Why [`Geography::lookup`] says what it says of the first `source_bits` of `prefix`.
    /// `database` is the one that it was built from; only what is asked for is read of it.
    ///
    /// # Errors
    ///
    /// As those of [`Database::places`].
    pub fn explain(
        &self,
        database: Database<'_>,
        prefix: IpAddr,
        source_bits: u8,
    ) -> Result<Explanation, Problem> {
        let prefix = Prefix::new(prefix, source_bits);
        let (cell, found) = self.representative(prefix);
        let network = prefix.family.network(cell, prefix.family.cell_bits());
        let places = database.places_within(prefix.family, network)?;
        Ok(self.explained(&places, prefix, cell, decision(prefix, cell, found)))
    }

    fn explained(
        &self,
        places: &Places,
        prefix: Prefix,
        cell: u64,
        decision: Decision,
    ) -> Explanation {
        let of_family = places.family(prefix.family);
        let place = of_family.place(of_family.id_of(cell)).copied();
        let source = match (self.decided_by(prefix.family, cell), place) {
            (Some(source), _) => source,
            (None, Some(_)) => Source::Database,
            (None, None) => Source::None,
        };
        let distances = place.map(|place| self.ranker.distances(place.location));
        let ranked = (0_u16..).zip(self.tiers(decision.ranking));
        let ranking =
            ranked.flat_map(|(tier, groups)| groups.iter().map(move |&group| (tier, group)));
        let mapped_bits = if prefix.is_mapped { MAPPED_BITS } else { 0 };
        let matched = prefix.written(cell, decision.scope - mapped_bits);
        Explanation {
            decision,
            matched,
            source,
            place,
            ranking: ranking
                .map(|(tier, group)| RankedGroup {
                    group,
                    name: Arc::clone(&self.groups[group.index()].name),
                    bias_km: self.groups[group.index()].bias_km,
                    tier,
                    location: self.location(group),
                    distance_km: distances.as_ref().and_then(|it| it[group.index()]),
                })
                .collect(),
        }
    }

    /// The longest override or reserved prefix that a cell is in; of equal ones the override, and
    /// of equal overrides the later.
    fn decided_by(&self, family: Family, cell: u64) -> Option<Source> {
        let overrides = self.overrides.iter().map(|(it, _)| Source::Override(*it));
        let sources = reserved::networks().map(Source::Reserved).chain(overrides);
        let holding = sources.filter_map(|source| {
            let (Source::Override(network) | Source::Reserved(network)) = source else {
                return None;
            };
            let prefix = Prefix::of(network);
            let holds = prefix.family == family && (prefix.cell..prefix.end()).contains(&cell);
            holds.then_some((prefix.length.min(family.cell_bits()), source))
        });
        holding.max_by_key(|(length, _)| *length).map(|(_, it)| it)
    }
}
