//! Tenants and sites that the provider does not serve for a while.
//!
//! A suspension is an object of its own, and never a manifest's: were it a part of the tenant or
//! the site, whoever owns that would end it with the next `apply`. It names what it is about and
//! needs nobody to be there under that name, so that what was deleted and made anew is still
//! suspended.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::Name;

/// A tenant with all of its sites, or one site, is not served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// The tenant.
    pub tenant: Name,
    /// The one site of it; none means every site.
    pub site: Option<Name>,
}

impl fmt::Display for Suspension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suspension { tenant, site: None } => write!(f, "tenant {tenant}"),
            Suspension {
                tenant,
                site: Some(site),
            } => write!(f, "site {tenant}/{site}"),
        }
    }
}

/// All suspensions of a revision, to be looked up by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Suspensions {
    tenants: HashSet<Name>,
    sites: HashSet<(Name, Name)>,
}

impl Suspensions {
    pub(crate) fn new(all: &[Suspension]) -> Suspensions {
        let mut suspensions = Suspensions::default();
        all.iter().for_each(|it| suspensions.begin(it));
        suspensions
    }

    pub(crate) fn begin(&mut self, suspension: &Suspension) {
        let Suspension { tenant, site } = suspension.clone();
        match site {
            None => self.tenants.insert(tenant),
            Some(site) => self.sites.insert((tenant, site)),
        };
    }

    pub(crate) fn end(&mut self, suspension: &Suspension) {
        let Suspension { tenant, site } = suspension.clone();
        match site {
            None => self.tenants.remove(&tenant),
            Some(site) => self.sites.remove(&(tenant, site)),
        };
    }

    /// Whether a site is not to be served, for its own sake or its tenant's.
    pub(crate) fn cover(&self, tenant: &Name, site: &Name) -> bool {
        // Mostly there is none, and then no name is copied to look for it.
        self.tenants.contains(tenant)
            || !self.sites.is_empty() && self.sites.contains(&(tenant.clone(), site.clone()))
    }
}
