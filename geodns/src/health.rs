//! Who can be handed out: an input of the answers.

use meridian_model::snapshot::SiteId;
use meridian_model::zones::HostIndex;
use std::collections::HashSet;

/// What is known of the hosts of one [`meridian_model::Zones`]. By default all are well.
#[derive(Debug, Clone, Default)]
pub struct Health {
    down: HashSet<HostIndex>,
    unserved: HashSet<(HostIndex, SiteId)>,
}

impl Health {
    /// Hosts that nobody reaches, and sites that a host can not serve for want of a healthy backend.
    pub fn new(
        down: impl IntoIterator<Item = HostIndex>,
        unserved: impl IntoIterator<Item = (HostIndex, SiteId)>,
    ) -> Health {
        Health {
            down: down.into_iter().collect(),
            unserved: unserved.into_iter().collect(),
        }
    }

    /// Whether `host` can be reached.
    pub(crate) fn is_live(&self, host: HostIndex) -> bool {
        // Mostly nothing is wrong with anybody, and then nothing is hashed; so below.
        self.down.is_empty() || !self.down.contains(&host)
    }

    /// Whether `host` can serve `site`.
    pub(crate) fn is_up(&self, host: HostIndex, site: SiteId) -> bool {
        self.is_live(host) && (self.unserved.is_empty() || !self.unserved.contains(&(host, site)))
    }
}
