//! Backends that are known by a name, and what becomes of a site when their addresses are known.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Backend, BackendKey, Beginning, Pool, Site, SiteId, Tier};

/// A backend whose addresses the DNS has: each of them is a server of its own, as if it had been
/// written there in the backend's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedBackend {
    /// Its name, unique within its pool.
    pub name: Arc<str>,
    /// The name that is resolved: in lower case, without a trailing dot.
    pub host: Arc<str>,
    /// Where it listens at each address.
    pub port: u16,
    /// Of each address; 1 to [`crate::limits::BACKEND_WEIGHT_MAX`].
    pub weight: u32,
    /// Requests of this host that may be under way at each of its addresses; none: any number.
    pub connections: Option<NonZeroU32>,
    /// How connections to each of its addresses begin.
    pub beginning: Beginning,
}

impl Site {
    /// Every backend that is known by a name.
    pub fn named_backends(&self) -> impl Iterator<Item = &NamedBackend> {
        let tiers = self.pools.iter().flat_map(|pool| &pool.tiers);
        tiers.flat_map(|tier| &tier.named)
    }

    /// The same site with a backend for each address of those that are known by a name.
    pub fn with_addresses(
        &self,
        mut addresses_of: impl FnMut(&NamedBackend) -> Vec<SocketAddr>,
    ) -> Site {
        let mut with_addresses = |pool: &Pool| {
            let tiers = pool.tiers.iter();
            let tiers =
                tiers.map(|tier| tier.with_addresses(self.id, &pool.name, &mut addresses_of));
            Pool {
                tiers: tiers.collect(),
                ..pool.clone()
            }
        };
        Site {
            pools: self.pools.iter().map(&mut with_addresses).collect(),
            ..self.clone()
        }
    }
}

impl Tier {
    fn with_addresses(
        &self,
        site: SiteId,
        pool: &Arc<str>,
        addresses_of: &mut impl FnMut(&NamedBackend) -> Vec<SocketAddr>,
    ) -> Tier {
        let mut backends = self.backends.to_vec();
        for named in &self.named {
            backends.extend(addresses_of(named).into_iter().map(|address| Backend {
                weight: named.weight,
                connections: named.connections,
                key: BackendKey::new(
                    site,
                    Arc::clone(pool),
                    Arc::clone(&named.name),
                    address,
                    named.beginning.clone(),
                ),
            }));
        }
        backends.sort_by(|a, b| (a.name(), a.address()).cmp(&(b.name(), b.address())));
        Tier {
            cross_group: self.cross_group,
            backup: self.backup,
            backends: backends.into(),
            named: self.named.clone(),
        }
    }
}
