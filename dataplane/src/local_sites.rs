//! The sites that a worker has served, and which of them a revision may have outdated.
//!
//! A revision that changes many sites is not taken up all at once: a sweep goes through what the
//! worker has, some sites a turn, and whoever is asked for before it comes by is brought up to date
//! then. So no turn is long, whatever a revision changes.

use crate::site::LocalSite;
use meridian_model::snapshot::SiteId;
use std::collections::HashMap;
use std::rc::Rc;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LocalSites {
    /// In no order.
    sites: Vec<Rc<LocalSite>>,
    /// Where each stands.
    places: HashMap<SiteId, usize>,
    /// Those before this place are to be looked at. What is new stands behind it.
    unswept: usize,
}

impl LocalSites {
    /// The site as this worker has it.
    pub(crate) fn get(&self, id: SiteId) -> Option<&Rc<LocalSite>> {
        let place = *self.places.get(&id)?;
        Some(&self.sites[place])
    }

    /// Adds a site in the place of the one with its id.
    pub(crate) fn insert(&mut self, site: Rc<LocalSite>) {
        let id = site.site().id;
        match self.places.get(&id) {
            Some(&place) => self.sites[place] = site,
            None => {
                self.places.insert(id, self.sites.len());
                self.sites.push(site);
            }
        }
    }

    /// Takes a site out.
    pub(crate) fn remove(&mut self, id: SiteId) -> Option<Rc<LocalSite>> {
        let place = self.places.remove(&id)?;
        let site = self.sites.swap_remove(place);
        if let Some(moved) = self.sites.get(place) {
            // From behind the sweep to before it at most, where it is looked at once more.
            self.places.insert(moved.site().id, place);
        }
        self.unswept = self.unswept.min(self.sites.len());
        Some(site)
    }

    /// Has every site looked at.
    pub(crate) fn begin_sweep(&mut self) {
        self.unswept = self.sites.len();
    }

    /// Whether some are still to be looked at.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.unswept > 0
    }

    /// The next one that is to be looked at.
    pub(crate) fn next_unswept(&mut self) -> Option<SiteId> {
        self.unswept = self.unswept.checked_sub(1)?;
        Some(self.sites[self.unswept].site().id)
    }
}
