//! Who is withdrawn, and which sites hosts can not serve, by their names: what [`Health`] is made of
//! for each revision of the zones.

use super::fleet::HostName;
use crate::health::Health;
use meridian_model::Zones;
use meridian_model::zones::HostIndex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Sites by their full names, TENANT/SITE: ids differ from host to host.
pub(crate) type SiteNames = BTreeSet<Box<str>>;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    pub(crate) withdrawn: BTreeSet<HostName>,
    /// Hosts that can serve every site are left out.
    pub(crate) lost: BTreeMap<HostName, Arc<SiteNames>>,
}

impl Standing {
    /// What is known of the hosts of these zones.
    pub(crate) fn health(&self, zones: &Zones) -> Health {
        let hosts = zones.hosts.iter().enumerate();
        let indexed = hosts.map(|(index, host)| (HostIndex(index as u16), &host.name));
        let mut down = Vec::new();
        let mut unserved = Vec::new();
        for (index, name) in indexed {
            if self.withdrawn.contains(name) {
                down.push(index);
            }
            let lost = self.lost.get(name).into_iter().flat_map(|it| it.iter());
            unserved.extend(lost.filter_map(|site| Some((index, zones.site(site)?))));
        }
        Health::new(down, unserved)
    }
}
