//! Where visitors are: what the answers ask of the geographic table.

mod files;
mod tables;

use crate::client_subnet::ClientSubnet;
use meridian_model::geo;
use meridian_model::zones::GroupIndex;
use std::fmt::Debug;
use std::net::IpAddr;
use std::sync::Arc;

pub use meridian_model::geo::RankingId;
pub(crate) use tables::{Asker, Tables};

/// What is decided for a visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The groups from near to far.
    pub ranking: RankingId,
    /// SCOPE PREFIX-LENGTH (RFC 7871 §6) of an answer to the subnet, in bits.
    pub scope: u8,
}

/// The geographic table.
pub trait Geography: Debug + Send + Sync {
    /// The whole rule of whose address counts: that of the subnet, its ADDRESS and SOURCE
    /// PREFIX-LENGTH in bits, or when it tells nothing, that of the resolver.
    fn decide(&self, subnet: Option<(IpAddr, u8)>, resolver: IpAddr) -> Decision;

    /// The groups of a ranking that are equally close, of which the first is at `from` of its
    /// order: from 0 on, each time behind those before. There are none behind the farthest.
    fn tier(&self, id: RankingId, from: usize) -> &[GroupIndex];
}

impl Geography for geo::Geography {
    fn decide(&self, subnet: Option<(IpAddr, u8)>, resolver: IpAddr) -> Decision {
        let geo::Decision {
            ranking,
            scope,
            standing: _,
        } = self.decide(subnet, resolver);
        Decision { ranking, scope }
    }

    fn tier(&self, id: RankingId, from: usize) -> &[GroupIndex] {
        self.tier(id, from)
    }
}

/// A table as answers take it.
pub(crate) fn as_geography(table: Arc<geo::Geography>) -> Arc<dyn Geography> {
    table
}

/// Whom an answer is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    /// The prefix that its resolver tells.
    pub(crate) subnet: Option<ClientSubnet>,
    /// Who sent the query.
    pub(crate) source: IpAddr,
}

impl Visitor {
    /// The ranking of the groups for it, and the SCOPE of the answer (RFC 7871 §7.2.1).
    pub(crate) fn locate(&self, geography: &dyn Geography) -> Decision {
        let prefix = self.subnet.and_then(|subnet| subnet.prefix());
        geography.decide(prefix, self.source)
    }
}
