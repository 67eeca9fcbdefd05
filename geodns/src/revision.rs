//! What the responder makes of a revision: its zones, compiled.

use meridian_follower::Serving;
use meridian_model::change::Change;
use meridian_model::config_log::Header;
use meridian_model::snapshot::SiteId;
use meridian_model::{Desired, Local, Zones};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub(crate) struct Revision(Arc<Zones>);

/// Follows the config log for the workers.
pub(crate) type Follower = meridian_follower::Follower<Revision>;

impl Revision {
    /// What is answered from.
    pub(crate) fn zones(&self) -> &Arc<Zones> {
        &self.0
    }
}

/// It does not tell sites apart: workers take up all zones at a time.
impl Serving for Revision {
    type With = ();

    fn read((): &(), local: &Local, bytes: &[u8]) -> Result<(Header, Revision), String> {
        let (header, zones) = Zones::read(local, bytes).map_err(|what| what.to_string())?;
        Ok((header, Revision(Arc::new(zones))))
    }

    fn revision(&self) -> u64 {
        self.0.revision
    }

    fn apply(&mut self, _: &Local, change: &Change) -> Result<Option<Vec<SiteId>>, String> {
        let next = self.0.with(change);
        Ok(next.map(|zones| {
            self.0 = Arc::new(zones);
            Vec::new()
        }))
    }

    fn anew(
        &self,
        (): &(),
        local: &Local,
        desired: &Desired,
        revision: u64,
    ) -> Result<(Revision, Vec<SiteId>), String> {
        let zones = Zones::compile(local, desired, revision);
        let zones = zones.map_err(|problems| problems.to_string())?;
        Ok((Revision(Arc::new(zones)), Vec::new()))
    }
}
