//! From the desired state of the fleet to what the workers of one host read.
//!
//! Every object is taken apart in full: a field that is added must be dealt with here.
//! What this version can not do is refused rather than left out, because a snapshot
//! that ignored a route or a limit would serve something else than what was asked for.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::address_policy::common_networks;
use crate::desired::{self, BackendAddress, Desired, IdCounters, Owner};
use crate::local::{Fleet, Host, Local};
use crate::location::Location;
use crate::name::Name;
use crate::problem::{Problem, Problems};
use crate::snapshot::{
    Algorithm, Backend, BackendKey, HostnameTable, Pool, Site, SiteId, Snapshot, TenantId, Tier,
};

/// Compiles one revision of `desired` for the host that `local` belongs to.
///
/// # Errors
///
/// Every part that this version can not serve, or that does not fit the rest. The
/// host then keeps the revision that it has.
pub fn compile(local: &Local, desired: &Desired, revision: u64) -> Result<Snapshot, Problems> {
    let Local {
        manifest: _,
        host,
        listen: _,
        fleet: Fleet {
            name: fleet,
            secret: _,
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
        certificates: _,
        sites,
    } = desired;
    let mut compiler = Compiler {
        host,
        tenants: compile_tenants(host, tenants),
        locations: groups
            .iter()
            .filter_map(|group| Some((&group.name, group.location?)))
            .collect(),
        problems: Vec::new(),
    };
    let mut compiled = Vec::with_capacity(sites.len());
    let mut hostnames = HostnameTable::new();
    for site in sites {
        let Some(site_compiled) = compiler.site(site) else {
            continue;
        };
        let site_compiled = Arc::new(site_compiled);
        for hostname in &site.hostnames {
            let before = hostnames.insert(hostname.as_str(), Arc::clone(&site_compiled));
            if let Some(before) = before {
                let what = format!("is claimed by {}/{} too", before.tenant, before.name);
                compiler.report(site, &format!("hostname {hostname}"), what);
            }
        }
        compiled.push(site_compiled);
    }
    Problems::refuse_any(compiler.problems)?;
    Ok(Snapshot {
        revision,
        hostnames,
        sites: compiled,
        via: Arc::from(format!("meridian-{fleet}")),
        timeouts: host.timeouts,
        policy: Arc::new(local.address_policy(peers)),
    })
}

struct Compiler<'a> {
    host: &'a Host,
    tenants: HashMap<&'a Name, Tenant>,
    locations: HashMap<&'a Name, Location>,
    problems: Vec<Problem>,
}

struct Tenant {
    id: TenantId,
    name: Arc<str>,
    networks: Arc<[IpNet]>,
    has_limits: bool,
}

fn compile_tenants<'a>(host: &Host, tenants: &'a [desired::Tenant]) -> HashMap<&'a Name, Tenant> {
    let compiled = tenants.iter().map(|tenant| {
        let desired::Tenant {
            id,
            owner,
            name,
            limits,
            backend_networks,
        } = tenant;
        let mut networks = match (backend_networks, owner) {
            (Some(networks), _) => common_networks(&host.backend_networks, networks),
            (None, Owner::Manifest(_)) => host.backend_networks.clone(),
            (None, Owner::Api) => Vec::new(),
        };
        networks.sort_unstable();
        networks.dedup();
        let compiled = Tenant {
            id: *id,
            name: Arc::from(name.as_str()),
            networks: networks.into(),
            has_limits: *limits != desired::TenantLimits::default(),
        };
        (name, compiled)
    });
    compiled.collect()
}

impl Compiler<'_> {
    fn site(&mut self, site: &desired::Site) -> Option<Site> {
        let desired::Site {
            id,
            owner: _,
            tenant,
            name,
            hostnames: _,
            certificates,
            redirect_to_https,
            hsts,
            steering: _, // answered by DNS
            timeouts,
            limits,
            trusted_networks,
            access_log,
            retry,
            pools,
            routes,
        } = site;
        self.refuse(site, "site.certificates", !certificates.is_empty());
        self.refuse(site, "site.redirect_to_https", *redirect_to_https);
        self.refuse(site, "site.hsts", hsts.is_some());
        self.refuse(
            site,
            "site.limits",
            *limits != desired::SiteLimits::default(),
        );
        self.refuse(site, "site.trusted_networks", !trusted_networks.is_empty());
        self.refuse(site, "site.access_log", access_log.is_some());
        self.refuse(site, "site.retry", retry.is_some());
        self.refuse(site, "site.route", !routes.is_empty());
        if *id == SiteId(0) || pools.iter().any(|pool| pool.id.0 == 0) {
            self.report(site, "id", String::from("was never assigned"));
        }
        if pools
            .first()
            .is_none_or(|pool| pool.name != Name::default_pool())
        {
            self.report(site, "pool", String::from("the first must be \"default\""));
        }
        let pools = pools.iter().map(|pool| self.pool(site, pool)).collect();
        let Some(tenant) = self.tenants.get(tenant) else {
            self.report(site, "tenant", format!("there is no {tenant}"));
            return None;
        };
        let compiled = Site {
            id: *id,
            tenant_id: tenant.id,
            tenant: Arc::clone(&tenant.name),
            name: Arc::from(name.as_str()),
            timeouts: timeouts.on(&self.host.timeouts),
            pools,
            backend_networks: Arc::clone(&tenant.networks),
        };
        let has_limits = tenant.has_limits;
        self.refuse(site, "tenant.limits", has_limits);
        if compiled.tenant_id == TenantId(0) {
            self.report(site, "tenant id", String::from("was never assigned"));
        }
        Some(compiled)
    }

    fn pool(&mut self, site: &desired::Site, pool: &desired::Pool) -> Pool {
        let desired::Pool {
            id,
            name,
            algorithm,
            health,
            sticky,
            tls,
            proxy_protocol,
            slow_start,
            queue,
            backends,
        } = pool;
        self.refuse(site, "site.pool.health", health.is_some());
        self.refuse(site, "site.pool.sticky", sticky.is_some());
        self.refuse(site, "site.pool.tls", tls.is_some());
        self.refuse(site, "site.pool.proxy_protocol", proxy_protocol.is_some());
        self.refuse(site, "site.pool.slow_start", slow_start.is_some());
        self.refuse(site, "site.pool.queue", queue.is_some());
        let is_round_robin = *algorithm == desired::Algorithm::RoundRobin;
        self.refuse(site, "site.pool.algorithm", !is_round_robin);
        Pool {
            id: *id,
            name: Arc::from(name.as_str()),
            algorithm: Algorithm::RoundRobin,
            tiers: self.tiers(site, name, backends),
        }
    }

    /// Sorts backends into tiers: the host's own group with the ungrouped, then the
    /// other groups from near to far, those at no known distance by name at the end.
    fn tiers(
        &mut self,
        site: &desired::Site,
        pool: &Name,
        backends: &[desired::Backend],
    ) -> Box<[Tier]> {
        let mut near = Vec::new();
        let mut by_group: Vec<(&Name, Vec<Backend>)> = Vec::new();
        for backend in backends {
            let Some(compiled) = self.backend(site, pool, backend) else {
                continue;
            };
            match &backend.group {
                None => near.push(compiled),
                Some(group) if self.host.group.as_ref() == Some(group) => near.push(compiled),
                Some(group) => match by_group.iter_mut().find(|(name, _)| *name == group) {
                    Some((_, backends)) => backends.push(compiled),
                    None => by_group.push((group, vec![compiled])),
                },
            }
        }
        by_group.sort_by(|(a, _), (b, _)| {
            let (a_km, b_km) = (self.distance_km(a), self.distance_km(b));
            a_km.total_cmp(&b_km).then_with(|| a.cmp(b))
        });
        let near = Tier {
            cross_group: false,
            backends: near.into(),
        };
        let far = by_group.into_iter().map(|(_, backends)| Tier {
            cross_group: true,
            backends: backends.into(),
        });
        std::iter::once(near).chain(far).collect()
    }

    fn backend(
        &mut self,
        site: &desired::Site,
        pool: &Name,
        backend: &desired::Backend,
    ) -> Option<Backend> {
        let desired::Backend {
            name,
            address,
            group: _,
            weight,
            connections,
            backup,
        } = backend;
        self.refuse(site, "site.backend.connections", connections.is_some());
        self.refuse(site, "site.backend.backup", *backup);
        let address: SocketAddr = match address {
            BackendAddress::Ip(address) => *address,
            BackendAddress::Name { .. } => {
                self.refuse(site, "site.backend.address by name", true);
                return None;
            }
        };
        Some(Backend {
            name: Arc::from(name.as_str()),
            address,
            weight: *weight,
            key: BackendKey::new(site.id, pool.as_str(), name, address),
        })
    }

    fn distance_km(&self, group: &Name) -> f64 {
        let own = self
            .host
            .group
            .as_ref()
            .and_then(|own| self.locations.get(own));
        let other = self.locations.get(group);
        match (own, other) {
            (Some(own), Some(other)) => own.distance_km(*other),
            _ => f64::INFINITY,
        }
    }

    fn refuse(&mut self, site: &desired::Site, key: &str, is_set: bool) {
        if is_set {
            self.report(site, key, String::from("not available in this version"));
        }
    }

    fn report(&mut self, site: &desired::Site, key: &str, what: String) {
        self.problems.push(Problem {
            file: String::new(),
            line: None,
            key: format!("{}/{}: {key}", site.tenant, site.name),
            what,
            hint: String::new(),
        });
    }
}
