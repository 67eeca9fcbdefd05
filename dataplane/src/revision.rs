//! What the dataplane makes of a revision: its sites, compiled.

use meridian_follower::Serving;
use meridian_model::change::Change;
use meridian_model::config_log::Header;
use meridian_model::snapshot::SiteId;
use meridian_model::{Compiled, Desired, Local, Snapshot};
use std::net::IpAddr;

/// See the module.
#[derive(Debug)]
pub(crate) struct Revision(Compiled);

/// Follows the config log for the workers.
pub(crate) type Follower = meridian_follower::Follower<Revision>;

impl Revision {
    /// What workers read.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        self.0.snapshot()
    }
}

impl Serving for Revision {
    /// The addresses of this host, which only the running host knows.
    type With = Vec<IpAddr>;

    fn read(own: &Vec<IpAddr>, local: &Local, bytes: &[u8]) -> Result<(Header, Revision), String> {
        let (header, mut compiled) =
            Compiled::read(local, bytes).map_err(|unusable| unusable.to_string())?;
        compiled.add_own_addresses(own);
        Ok((header, Revision(compiled)))
    }

    fn revision(&self) -> u64 {
        self.0.revision()
    }

    fn apply(&mut self, local: &Local, change: &Change) -> Result<Option<Vec<SiteId>>, String> {
        let applied = self.0.apply(local, change);
        applied.map_err(|problems| problems.to_string())
    }

    fn anew(
        &self,
        own: &Vec<IpAddr>,
        local: &Local,
        desired: &Desired,
        revision: u64,
    ) -> Result<(Revision, Vec<SiteId>), String> {
        let made = self.0.anew(local, desired, revision);
        let (mut compiled, changed) = made.map_err(|problems| problems.to_string())?;
        compiled.add_own_addresses(own);
        Ok((Revision(compiled), changed))
    }
}
