//! The desired state of who keeps it and does not serve it: sites as their lines of the log.
//!
//! A site that is taken apart takes a kilobyte and more, its line two hundred bytes. Of very many
//! sites a change looks at a few, and these are read when they are asked for. What changes stands
//! beside the lines until somebody makes them anew ([`Packed::new`]).

mod lines;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::change::{Change, Object, ObjectName};
use crate::compile::{check, claimed_too};
use crate::config_log::encode_site;
use crate::desired::{Desired, Owner, Site, SiteName};
use crate::local::Local;
use crate::name::Name;
use crate::problem::{Problem, Problems};
use lines::{Lines, read};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// Everything but the sites.
    others: Desired,
    lines: Lines,
    /// What is other than in the lines: sites as lines of their own, or none where one is gone.
    changed: BTreeMap<SiteName, Option<Box<[u8]>>>,
    /// By hostname the sites of `changed`.
    claims: HashMap<Box<str>, SiteName>,
    /// By tenant how many sites more it has than there are lines, or fewer.
    added: HashMap<Name, isize>,
}

impl Packed {
    /// Of `desired` and the snapshot that it was written as ([`crate::config_log::encode`]).
    pub fn new(desired: &Desired, snapshot: Arc<String>) -> Packed {
        let Desired {
            ids,
            tenants,
            groups,
            peers,
            zones,
            certificates,
            suspensions,
            sites,
        } = desired;
        Packed {
            others: Desired {
                ids: *ids,
                tenants: tenants.clone(),
                groups: groups.clone(),
                peers: peers.clone(),
                zones: zones.clone(),
                certificates: certificates.clone(),
                suspensions: suspensions.clone(),
                sites: Vec::new(),
            },
            lines: Lines::new(sites, snapshot),
            changed: BTreeMap::new(),
            claims: HashMap::new(),
            added: HashMap::new(),
        }
    }

    /// Everything but the sites.
    pub fn others(&self) -> &Desired {
        &self.others
    }

    /// All of it, taken apart.
    pub fn unpack(&self) -> Desired {
        let mut desired = Desired {
            sites: self.lines.read_all(),
            ..self.others.clone()
        };
        let mut change = Change {
            revision: 0,
            ids: desired.ids,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        for (name, line) in &self.changed {
            match line {
                Some(line) => change.puts.push(Object::Site(read(line))),
                None => change.deletes.push(object_name(name)),
            }
        }
        desired.apply(change);
        desired
    }

    /// The site of this name.
    pub fn site(&self, name: &SiteName) -> Option<Arc<Site>> {
        match self.changed.get(name) {
            Some(line) => line.as_deref().map(read),
            None => self.lines.find(name),
        }
    }

    /// A site of this tenant.
    pub fn site_of(&self, tenant: &Name) -> Option<Arc<Site>> {
        let mut changed = self.changed.iter();
        let of_tenant = changed.find(|(name, line)| name.tenant == *tenant && line.is_some());
        if let Some((_, Some(line))) = of_tenant {
            return Some(read(line));
        }
        let mut sites = self.lines.of_tenant(tenant);
        sites.find(|site| !self.changed.contains_key(&name_of(site)))
    }

    /// The sites of this tenant. Costs what they cost.
    pub fn all_sites_of(&self, tenant: &Name) -> Vec<Arc<Site>> {
        let sites = self.lines.of_tenant(tenant);
        let unchanged = sites.filter(|site| !self.changed.contains_key(&name_of(site)));
        let changed = self.changed.iter().filter_map(|(name, line)| {
            let line = line.as_deref().filter(|_| name.tenant == *tenant);
            line.map(read)
        });
        unchanged.chain(changed).collect()
    }

    /// How many sites this tenant has.
    pub fn sites_of(&self, tenant: &Name) -> usize {
        let added = self.added.get(tenant).copied().unwrap_or_default();
        (self.lines.count_of(tenant)).saturating_add_signed(added)
    }

    /// The site that claims exactly this hostname.
    pub fn claimant(&self, hostname: &str) -> Option<Arc<Site>> {
        if let Some(name) = self.claims.get(hostname) {
            return self.site(name);
        }
        let site = self.lines.claimant(hostname)?;
        (!self.changed.contains_key(&name_of(&site))).then_some(site)
    }

    /// The object of this name.
    pub fn object(&self, name: &ObjectName) -> Option<Object> {
        match site_name(name) {
            Some(name) => self.site(&name).map(Object::Site),
            None => self.others.object(name),
        }
    }

    /// Whose the object of this name is, where there is one.
    pub fn owner(&self, name: &ObjectName) -> Option<Owner> {
        match site_name(name) {
            Some(name) => self.site(&name).map(|site| site.owner.clone()),
            None => self.others.owner(name).cloned(),
        }
    }

    /// As [`Desired::change_of`].
    pub fn change_of(&self, object: Object, revision: u64) -> Change {
        match site_name(&object.name()) {
            Some(name) => {
                let before = Desired {
                    ids: self.others.ids,
                    sites: self.site(&name).into_iter().collect(),
                    ..Desired::default()
                };
                before.change_of(object, revision)
            }
            None => self.others.change_of(object, revision),
        }
    }

    /// Whether the state compiles once `change` is made. Costs what the change costs; or, where
    /// all sites are compiled against what it changes, what all of them cost.
    ///
    /// # Errors
    ///
    /// As [`crate::compile()`].
    pub fn check(&self, local: &Local, change: &Change) -> Result<(), Problems> {
        if self.is_about_all(change) {
            let mut next = self.unpack();
            next.apply(change.clone());
            return check(local, &next);
        }
        let near = self.near(change);
        let mut problems: Vec<Problem> = match check(local, &near) {
            Ok(()) => Vec::new(),
            Err(problems) => problems.iter().cloned().collect(),
        };
        let gone = change.deletes.iter().filter_map(site_name);
        let moved: HashSet<SiteName> = near
            .sites
            .iter()
            .map(|it| name_of(it))
            .chain(gone)
            .collect();
        for site in &near.sites {
            for hostname in &site.hostnames {
                let claimant = self.claimant(hostname.as_str());
                if let Some(other) = claimant.filter(|it| !moved.contains(&name_of(it))) {
                    let owner = (other.tenant.as_str(), other.name.as_str());
                    let site = (site.tenant.as_str(), site.name.as_str());
                    problems.push(claimed_too(site, hostname.as_str(), owner));
                }
            }
        }
        Problems::refuse_any(problems)
    }

    /// Whether a change is about what every site is compiled against.
    fn is_about_all(&self, change: &Change) -> bool {
        let put = change.puts.iter().any(|object| match object {
            Object::Tenant(_) => {
                let before = self.others.object(&object.name());
                before.is_some_and(|before| before != *object)
            }
            Object::Group(_) | Object::Peer(_) => true,
            Object::Zone(_) | Object::Certificate(_) | Object::Suspension(_) | Object::Site(_) => {
                false
            }
        });
        let deleted = change.deletes.iter().any(|name| match name {
            ObjectName::Tenant(_) | ObjectName::Group(_) | ObjectName::Peer(_) => true,
            ObjectName::Zone(_)
            | ObjectName::Certificate { .. }
            | ObjectName::Suspension(_)
            | ObjectName::Site { .. } => false,
        });
        put || deleted
    }

    /// The sites that a change puts, those that show a certificate that it is about, and what they
    /// are compiled against.
    fn near(&self, change: &Change) -> Desired {
        let mut near = Desired {
            groups: self.others.groups.clone(),
            peers: self.others.peers.clone(),
            sites: self.sites_that_show(change),
            ..Desired::default()
        };
        for object in &change.puts {
            match object {
                Object::Tenant(tenant) => near.tenants.push(tenant.clone()),
                Object::Site(site) => near.sites.push(Arc::clone(site)),
                _ => {}
            }
        }
        let tenants: BTreeSet<&Name> = near.sites.iter().map(|site| &site.tenant).collect();
        for tenant in tenants {
            let certificates = self.others.certificates_of(tenant);
            near.certificates.extend_from_slice(certificates);
            let is_put = near.tenants.iter().any(|it| it.name == *tenant);
            let name = ObjectName::Tenant(tenant.clone());
            if !is_put && let Some(Object::Tenant(tenant)) = self.others.object(&name) {
                near.tenants.push(tenant);
            }
        }
        for name in &change.deletes {
            if let ObjectName::Certificate { .. } = name {
                near.delete(name);
            }
        }
        for object in &change.puts {
            if let Object::Certificate(_) = object {
                near.put(object.clone());
            }
        }
        near
    }

    /// The sites that show a certificate which a change puts or deletes, to clients or to backends, but for
    /// those that it puts or deletes itself.
    fn sites_that_show(&self, change: &Change) -> Vec<Arc<Site>> {
        let put = change.puts.iter().map(Object::name);
        let names: HashSet<ObjectName> = put.chain(change.deletes.iter().cloned()).collect();
        let tenants: HashSet<&Name> = (names.iter())
            .filter_map(|name| match name {
                ObjectName::Certificate { tenant, .. } => Some(tenant),
                _ => None,
            })
            .collect();
        let sites = tenants.into_iter().flat_map(|it| self.all_sites_of(it));
        let shows = |site: &Arc<Site>| {
            let of_backends = site.pools.iter().filter_map(|pool| pool.tls.as_deref());
            let of_backends = of_backends.filter_map(|tls| tls.certificate.as_ref());
            site.certificates.iter().chain(of_backends).any(|name| {
                names.contains(&ObjectName::Certificate {
                    tenant: site.tenant.clone(),
                    name: name.clone(),
                })
            })
        };
        let is_put = |site: &Arc<Site>| names.contains(&object_name(&name_of(site)));
        sites.filter(|site| shows(site) && !is_put(site)).collect()
    }

    /// Makes the change. What it deletes need not be there.
    pub fn apply(&mut self, change: Change) {
        let Change {
            revision,
            ids,
            puts,
            deletes,
        } = change;
        let mut others = Change {
            revision,
            ids,
            puts: Vec::new(),
            deletes: Vec::new(),
        };
        for name in deletes {
            match site_name(&name) {
                Some(name) => self.set(name, None),
                None => others.deletes.push(name),
            }
        }
        for object in puts {
            match object {
                Object::Site(site) => self.set(name_of(&site), Some(&site)),
                object => others.puts.push(object),
            }
        }
        self.others.apply(others);
    }

    fn set(&mut self, name: SiteName, site: Option<&Site>) {
        let added = isize::from(site.is_some()) - isize::from(self.site(&name).is_some());
        if added != 0 {
            *self.added.entry(name.tenant.clone()).or_default() += added;
        }
        if let Some(Some(before)) = self.changed.get(&name) {
            for hostname in &read(before).hostnames {
                // Another site may have taken it by now.
                if self.claims.get(hostname.as_str()) == Some(&name) {
                    self.claims.remove(hostname.as_str());
                }
            }
        }
        for hostname in site.iter().flat_map(|site| &site.hostnames) {
            self.claims.insert(hostname.as_str().into(), name.clone());
        }
        let line = site.map(|site| encode_site(site).into_boxed_slice());
        self.changed.insert(name, line);
    }
}

fn name_of(site: &Site) -> SiteName {
    SiteName {
        tenant: site.tenant.clone(),
        site: site.name.clone(),
    }
}

fn site_name(name: &ObjectName) -> Option<SiteName> {
    match name {
        ObjectName::Site { tenant, name } => Some(SiteName {
            tenant: tenant.clone(),
            site: name.clone(),
        }),
        _ => None,
    }
}

fn object_name(name: &SiteName) -> ObjectName {
    ObjectName::Site {
        tenant: name.tenant.clone(),
        name: name.site.clone(),
    }
}
