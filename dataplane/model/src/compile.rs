//! From the desired state of the fleet to what the workers of one host read.
//!
//! Every object is taken apart in full: a field that is added must be dealt with here.
//! What this version can not do is refused rather than left out, because a snapshot
//! that ignored a route or a limit would serve something else than what was asked for.

mod certificates;
mod check;
mod limits;
mod routes;
mod site;
mod tenant;

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::change::{Change, Object, ObjectName};
use crate::config_log::{Header, LogFault, SitePart, SnapshotParts, decode};
use crate::desired::{self, Desired, IdCounters};
use crate::local::{Fleet, Local};
use crate::location::Location;
use crate::name::Name;
use crate::network_set::NetworkSet;
use crate::parallel;
use crate::problem::{Problem, Problems};
use crate::snapshot::{
    ByName, BySite, Certificates, Forward, HostnameTable, Site, SiteId, Snapshot, Timeouts,
};
use crate::suspension::{Suspension, Suspensions};
use certificates::{certificates_after, compile_certificates};
pub use check::check;
use site::{With, compile_each};
use tenant::{Tenant, compile_tenant};

/// Compiles one revision of `desired` for the host that `local` belongs to.
///
/// # Errors
///
/// Every part that this version can not serve, or that does not fit the rest. The
/// host then keeps the revision that it has.
pub fn compile(local: &Local, desired: &Desired, revision: u64) -> Result<Snapshot, Problems> {
    Compiled::new(local, desired, revision).map(|compiled| compiled.snapshot)
}

/// A compiled revision with what it takes to compile a change on top of it.
#[derive(Clone, Debug)]
pub struct Compiled {
    context: Context,
    /// The sites of the snapshot.
    names: ByName,
    snapshot: Snapshot,
}

/// What sites are compiled against.
#[derive(Clone, Debug)]
struct Context {
    tenants: HashMap<Name, Tenant>,
    locations: HashMap<Name, Location>,
    /// What the provider ordered, whoever owns it.
    suspensions: Suspensions,
    /// The same as in the snapshot.
    certificates: Arc<Certificates>,
    /// The host's timeouts, which most sites share.
    timeouts: Arc<Timeouts>,
    /// The name of most pools.
    default_pool: Arc<str>,
    /// What most sites have in place of routes, without `hsts` and with it.
    plain_forwards: [Arc<[Forward]>; 2],
    /// What most sites have in place of trusted and denied networks.
    no_networks: Arc<NetworkSet>,
    /// There are other hosts, and no secret that they all have.
    lacks_secret: bool,
}

/// Sites that a thread compiles at a time.
const SITES_AT_ONCE: usize = 512;

impl Compiled {
    /// Compiles all of `desired`.
    ///
    /// # Errors
    ///
    /// As [`compile`].
    pub fn new(local: &Local, desired: &Desired, revision: u64) -> Result<Compiled, Problems> {
        let mut compiled = Compiled::without_sites(local, desired, revision);
        compiled.fill(local, &desired.sites, None)?;
        Ok(compiled)
    }

    /// Reads a whole `snapshot.G` and compiles it on the way, so that little more than the result
    /// is ever held.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or what [`compile`] says.
    pub fn read(local: &Local, bytes: &[u8]) -> Result<(Header, Compiled), Unusable> {
        if let Some(done) = Compiled::read_parts(local, bytes) {
            return Ok(done);
        }
        // What is wrong first is told by who goes from the beginning to the end.
        let (header, desired) = decode(bytes)?;
        let compiled = Compiled::new(local, &desired, header.revision)?;
        Ok((header, compiled))
    }

    fn read_parts(local: &Local, bytes: &[u8]) -> Option<(Header, Compiled)> {
        let SnapshotParts {
            header,
            others,
            parts,
            sites,
            checksum: _,
        } = SnapshotParts::new(bytes).ok()?;
        let mut compiled = Compiled::without_sites(local, &others, header.revision);
        let Compiled {
            context,
            names,
            snapshot,
        } = &mut compiled;
        names.reserve(sites);
        let read = |part: &SitePart<'_>| {
            let sites = part.read().ok()?;
            let with = With::nothing(&local.host, context);
            compile_each(&with, &sites).ok()
        };
        parallel::each(&parts, read, |sites| {
            add_each(names, snapshot, sites.ok_or(())?).map_err(|_| ())
        })
        .ok()?;
        Some((header, compiled))
    }

    fn without_sites(local: &Local, desired: &Desired, revision: u64) -> Compiled {
        let Local {
            manifest: _,
            host,
            listen,
            fleet: Fleet {
                name: fleet,
                secret,
            },
            probe: _,
            geo: _,
            dns: _,
        } = local;
        let Desired {
            ids:
                IdCounters {
                    tenant: _,
                    site: _,
                    pool: _,
                    certificate: _,
                },
            tenants,
            groups,
            peers,
            zones: _,
            certificates,
            suspensions,
            sites: _,
        } = desired;
        let certificates = Arc::new(compile_certificates(certificates));
        let context = Context {
            tenants: tenants
                .iter()
                .map(|tenant| (tenant.name.clone(), compile_tenant(host, tenant)))
                .collect(),
            locations: groups
                .iter()
                .filter_map(|group| Some((group.name.clone(), group.location?)))
                .collect(),
            suspensions: Suspensions::new(suspensions),
            certificates: Arc::clone(&certificates),
            timeouts: Arc::new(host.timeouts),
            default_pool: Name::default_pool().shared(),
            plain_forwards: routes::plain_forwards(),
            no_networks: Arc::default(),
            lacks_secret: secret.is_none() && !peers.is_empty(),
        };
        Compiled {
            context,
            names: ByName::default(),
            snapshot: Snapshot {
                revision,
                hostnames: HostnameTable::new(),
                sites: BySite::new(),
                certificates,
                via: Arc::from(format!("meridian-{fleet}")),
                timeouts: host.timeouts,
                https_port: listen.https_port(),
                policy: Arc::new(local.address_policy(peers)),
            },
        }
    }

    /// Compiles all sites of a revision that has none yet. Those that come out as they are
    /// `before` stay the very same.
    fn fill(
        &mut self,
        local: &Local,
        sites: &[Arc<desired::Site>],
        before: Option<&Snapshot>,
    ) -> Result<(), Problems> {
        let Compiled {
            context,
            names,
            snapshot,
        } = self;
        names.reserve(sites.len());
        let parts: Vec<&[Arc<desired::Site>]> = sites.chunks(SITES_AT_ONCE).collect();
        let compile = |part: &&[Arc<desired::Site>]| {
            let mut sites = compile_each(&With::nothing(&local.host, context), part)?;
            if let Some(before) = before {
                for site in &mut sites {
                    let same = before.sites.get(site.id).filter(|it| *it == site);
                    *site = same.map_or_else(|| Arc::clone(site), Arc::clone);
                }
            }
            Ok(sites)
        };
        let mut problems = Vec::new();
        let all: Result<(), Infallible> = parallel::each(&parts, compile, |sites| {
            let added = sites.and_then(|sites| add_each(names, snapshot, sites));
            problems.extend(added.err().unwrap_or_default());
            Ok(())
        });
        all.unwrap_or_else(|never| match never {});
        Problems::refuse_any(problems)
    }

    /// The revision, for workers.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Its revision.
    pub fn revision(&self) -> u64 {
        self.snapshot.revision
    }

    /// Adds addresses that only the running host knows to be its own.
    pub fn add_own_addresses(&mut self, addresses: &[IpAddr]) {
        self.snapshot.policy = Arc::new(self.snapshot.policy.with_own_addresses(addresses));
    }

    /// Compiles a change on top of this revision, at a cost in proportion to the change. Gives
    /// the sites that are other than before, or `None` when everything is to be compiled anew
    /// ([`Compiled::anew`]): what a site is compiled against has changed.
    ///
    /// # Errors
    ///
    /// As [`compile`]; this revision then stays as it is.
    pub fn apply(
        &mut self,
        local: &Local,
        change: &Change,
    ) -> Result<Option<Vec<SiteId>>, Problems> {
        let prepared = self.prepare(local, change)?;
        Ok(prepared.map(|prepared| self.accept(prepared)))
    }

    /// The first half of [`Compiled::apply`]: compiles and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`compile`].
    pub fn prepare(&self, local: &Local, change: &Change) -> Result<Option<Prepared>, Problems> {
        let host = &local.host;
        let mut tenants = HashMap::new();
        let mut sites = Vec::new();
        let mut begun: Vec<&Suspension> = Vec::new();
        for object in &change.puts {
            match object {
                Object::Tenant(tenant) => {
                    let compiled = compile_tenant(host, tenant);
                    match self.context.tenants.get(&tenant.name) {
                        Some(before) if *before != compiled => return Ok(None),
                        _ => tenants.insert(tenant.name.clone(), compiled),
                    };
                }
                Object::Site(site) => sites.push(Arc::clone(site)),
                Object::Suspension(it) => begun.push(it),
                Object::Group(_) | Object::Peer(_) => return Ok(None),
                // Not what this plane serves.
                Object::Zone(_) => {}
                // All of them at once, below.
                Object::Certificate(_) => {}
            }
        }
        let mut gone = Vec::new();
        let mut ended: Vec<&Suspension> = Vec::new();
        for name in &change.deletes {
            match name {
                ObjectName::Site { tenant, name } => gone.push((tenant.clone(), name.clone())),
                ObjectName::Suspension(it) => ended.push(it),
                ObjectName::Zone(_) | ObjectName::Certificate { .. } => {}
                ObjectName::Tenant(_) | ObjectName::Group(_) | ObjectName::Peer(_) => {
                    return Ok(None);
                }
            }
        }
        let suspensions = self.suspensions_after(&begun, &ended);
        let certificates = certificates_after(&self.context.certificates, change);
        let with = With {
            host,
            context: &self.context,
            tenants: Some(&tenants),
            suspensions: suspensions.as_ref().unwrap_or(&self.context.suspensions),
            certificates: certificates.as_ref().unwrap_or(&self.context.certificates),
        };
        let mut sites = self.compile_sites(&with, &gone, &sites)?;
        let mut others = Vec::new();
        if let Some(suspensions) = &suspensions {
            let about = begun.iter().chain(&ended).copied();
            others = self.resuspended(suspensions, about, &gone, &sites);
        }
        if let Some(certificates) = &certificates {
            let taken = self.ids_of(&gone, &sites);
            let mut problems = Vec::new();
            others = self.recertified(certificates, change, &taken, others, &mut problems);
            Problems::refuse_any(problems)?;
        }
        sites.extend(others);
        Ok(Some(Prepared {
            revision: change.revision,
            tenants,
            suspensions,
            certificates,
            gone,
            sites,
        }))
    }

    /// The second half of [`Compiled::apply`]; of this very revision.
    pub fn accept(&mut self, prepared: Prepared) -> Vec<SiteId> {
        if let Some(suspensions) = prepared.suspensions {
            self.context.suspensions = suspensions;
        }
        if let Some(certificates) = prepared.certificates {
            self.context.certificates = Arc::new(certificates);
            self.snapshot.certificates = Arc::clone(&self.context.certificates);
        }
        let changed = self.replace(prepared.tenants, &prepared.gone, prepared.sites);
        self.snapshot.revision = prepared.revision;
        changed
    }

    /// Compiles all of `desired` on top of this revision: sites that come out the same stay the
    /// very same. Gives those that do not.
    ///
    /// # Errors
    ///
    /// As [`compile`].
    pub fn anew(
        &self,
        local: &Local,
        desired: &Desired,
        revision: u64,
    ) -> Result<(Compiled, Vec<SiteId>), Problems> {
        let mut next = Compiled::without_sites(local, desired, revision);
        next.fill(local, &desired.sites, Some(&self.snapshot))?;
        let (before, after) = (&self.snapshot.sites, &next.snapshot.sites);
        let gone = before.iter().filter(|(id, _)| after.get(*id).is_none());
        let other = after.iter().filter(|(id, site)| {
            let old = before.get(*id);
            old.is_none_or(|old| !Arc::ptr_eq(old, site))
        });
        let changed = gone.chain(other).map(|(id, _)| id).collect();
        Ok((next, changed))
    }

    /// All suspensions once some have begun and ended; none when none has.
    fn suspensions_after(
        &self,
        begun: &[&Suspension],
        ended: &[&Suspension],
    ) -> Option<Suspensions> {
        if begun.is_empty() && ended.is_empty() {
            return None;
        }
        let mut suspensions = self.context.suspensions.clone();
        begun.iter().for_each(|it| suspensions.begin(it));
        ended.iter().for_each(|it| suspensions.end(it));
        Some(suspensions)
    }

    /// The sites that `about` tells of and that `suspensions` changes, but for those that the
    /// change replaces or takes away.
    fn resuspended<'a>(
        &self,
        suspensions: &Suspensions,
        about: impl Iterator<Item = &'a Suspension>,
        gone: &[(Name, Name)],
        replaced: &[Arc<Site>],
    ) -> Vec<Arc<Site>> {
        let mut taken = self.ids_of(gone, replaced);
        let mut changed = Vec::new();
        let mut look_at = |site: &Arc<Site>| {
            let (Ok(tenant), Ok(name)) = (Name::parse(&site.tenant), Name::parse(&site.name))
            else {
                return;
            };
            let by_order = suspensions.cover(&tenant, &name);
            if by_order != site.suspended.by_order && taken.insert(site.id) {
                let mut site = Site::clone(site);
                site.suspended.by_order = by_order;
                changed.push(Arc::new(site));
            }
        };
        for Suspension { tenant, site } in about {
            match site {
                Some(site) => {
                    let id = self.names.get(tenant.as_str(), site.as_str());
                    let site = id.and_then(|id| self.snapshot.sites.get(id));
                    site.into_iter().for_each(&mut look_at);
                }
                None => {
                    let all = self.snapshot.sites.iter().map(|(_, site)| site);
                    all.filter(|it| *it.tenant == *tenant.as_str())
                        .for_each(&mut look_at);
                }
            }
        }
        changed
    }

    /// The sites of these names, and these.
    fn ids_of(&self, gone: &[(Name, Name)], replaced: &[Arc<Site>]) -> HashSet<SiteId> {
        gone.iter()
            .filter_map(|(tenant, name)| self.names.get(tenant.as_str(), name.as_str()))
            .chain(replaced.iter().map(|site| site.id))
            .collect()
    }

    /// Compiles `sites`, which come in the place of those of the same name and of `gone`.
    fn compile_sites(
        &self,
        with: &With<'_>,
        gone: &[(Name, Name)],
        sites: &[Arc<desired::Site>],
    ) -> Result<Vec<Arc<Site>>, Problems> {
        let replaced: HashSet<SiteId> = (sites.iter())
            .map(|site| (&site.tenant, &site.name))
            .chain(gone.iter().map(|(tenant, name)| (tenant, name)))
            .filter_map(|(tenant, name)| self.names.get(tenant.as_str(), name.as_str()))
            .collect();
        let mut claims: HashMap<&str, &desired::Site> = HashMap::new();
        let mut problems = Vec::new();
        for site in sites {
            for hostname in &site.hostnames {
                if let Some(before) = claims.insert(hostname.as_str(), site) {
                    let owner = (before.tenant.as_str(), before.name.as_str());
                    let site = (site.tenant.as_str(), site.name.as_str());
                    problems.push(claimed_too(site, hostname.as_str(), owner));
                }
                let claimed = self.snapshot.hostnames.get(hostname.as_str());
                if let Some(before) = claimed.filter(|it| !replaced.contains(&it.id)) {
                    let owner = (&*before.tenant, &*before.name);
                    let site = (site.tenant.as_str(), site.name.as_str());
                    problems.push(claimed_too(site, hostname.as_str(), owner));
                }
            }
        }
        match compile_each(with, sites) {
            Ok(sites) => Problems::refuse_any(problems).map(|()| sites),
            Err(more) => {
                problems.extend(more);
                Problems::refuse_any(problems).map(|()| Vec::new())
            }
        }
    }

    /// Puts compiled sites into the tables, after everything that they replace was taken out.
    fn replace(
        &mut self,
        tenants: HashMap<Name, Tenant>,
        gone: &[(Name, Name)],
        sites: Vec<Arc<Site>>,
    ) -> Vec<SiteId> {
        let mut changed = HashSet::new();
        self.context.tenants.extend(tenants);
        let mut out: Vec<SiteId> = Vec::new();
        for (tenant, name) in gone {
            out.extend(self.names.remove(tenant.as_str(), name.as_str()));
        }
        for site in &sites {
            out.extend(self.names.insert(site));
        }
        for id in out {
            changed.insert(id);
            if let Some(before) = self.snapshot.sites.remove(id) {
                self.snapshot.hostnames.remove_all(&before);
            }
        }
        for site in sites {
            changed.insert(site.id);
            self.snapshot.hostnames.insert_all(&site, |_, _| {});
            self.snapshot.sites.insert(site.id, site);
        }
        changed.into_iter().collect()
    }
}

/// Adds sites to tables, none of which is there yet.
fn add_each(
    names: &mut ByName,
    snapshot: &mut Snapshot,
    sites: Vec<Arc<Site>>,
) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    for site in sites {
        snapshot.hostnames.insert_all(&site, |hostname, before| {
            let owner = (&*before.tenant, &*before.name);
            problems.push(claimed_too((&site.tenant, &site.name), hostname, owner));
        });
        let twice = names.insert(&site).is_some();
        if twice || snapshot.sites.insert(site.id, Arc::clone(&site)).is_some() {
            let what = String::from("is there twice, or its id is");
            problems.push(problem((&site.tenant, &site.name), "site", what));
        }
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems),
    }
}

/// A change that was compiled and not yet made.
#[derive(Debug)]
pub struct Prepared {
    revision: u64,
    tenants: HashMap<Name, Tenant>,
    /// None when they stay as they are.
    suspensions: Option<Suspensions>,
    /// None when they stay as they are.
    certificates: Option<Certificates>,
    gone: Vec<(Name, Name)>,
    sites: Vec<Arc<Site>>,
}

/// Two sites claim a hostname: this one, and that of `owner`.
pub(crate) fn claimed_too(site: (&str, &str), hostname: &str, owner: (&str, &str)) -> Problem {
    let what = format!("is claimed by {}/{} too", owner.0, owner.1);
    Problem {
        hint: String::from("leave it to one of them"),
        ..problem(site, &format!("hostname {hostname}"), what)
    }
}

fn problem((tenant, name): (&str, &str), key: &str, what: String) -> Problem {
    Problem {
        file: String::new(),
        line: None,
        key: format!("{tenant}/{name}: {key}"),
        what,
        hint: String::new(),
    }
}

/// Why there is no revision to be had from a file.
#[derive(Debug)]
pub enum Unusable {
    /// It is damaged.
    Damaged(LogFault),
    /// What it holds does not compile.
    Wrong(Problems),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Damaged(fault) => fault.fmt(f),
            Unusable::Wrong(problems) => problems.fmt(f),
        }
    }
}

impl From<LogFault> for Unusable {
    fn from(fault: LogFault) -> Unusable {
        Unusable::Damaged(fault)
    }
}

impl From<Problems> for Unusable {
    fn from(problems: Problems) -> Unusable {
        Unusable::Wrong(problems)
    }
}
