//! One site, its pools and backends, from what is desired to what a worker reads.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::certificates::{client_certificate, problem_of, site_tls};
use super::limits::site_limits;
use super::routes::Routes;
use super::tenant::Tenant;
use super::{Context, problem};
use crate::desired::{self, BackendAddress};
use crate::limits::RETRY_PERCENT_DEFAULT;
use crate::local::Host;
use crate::name::{Hostname, Name};
use crate::network_set::NetworkSet;
use crate::problem::Problem;
use crate::snapshot::{
    Algorithm, Backend, BackendKey, BackendTls, Beginning, Certificates, CheckHost, CheckKind,
    ClientRules, HashInput, HealthCheck, HttpCheck, LogShare, NamedBackend, Pool, ProxyProtocol,
    Queue, Site, SiteId, SiteTls, Statuses, Sticky, Suspended, TenantId, Tier, Timeouts, TlsCheck,
    TlsRules,
};
use crate::suspension::Suspensions;

/// What sites of a change are compiled with.
pub(super) struct With<'a> {
    pub(super) host: &'a Host,
    pub(super) context: &'a Context,
    /// Those that come with the change.
    pub(super) tenants: Option<&'a HashMap<Name, Tenant>>,
    /// Those that hold after it.
    pub(super) suspensions: &'a Suspensions,
    /// Those that there are after it.
    pub(super) certificates: &'a Certificates,
}

impl<'a> With<'a> {
    /// Nothing changes but the sites.
    pub(super) fn nothing(host: &'a Host, context: &'a Context) -> With<'a> {
        With {
            host,
            context,
            tenants: None,
            suspensions: &context.suspensions,
            certificates: &context.certificates,
        }
    }
}

/// One site after the other, and what is wrong with any.
pub(super) struct Compiler<'a> {
    host: &'a Host,
    pub(super) context: &'a Context,
    tenants: Option<&'a HashMap<Name, Tenant>>,
    suspensions: &'a Suspensions,
    certificates: &'a Certificates,
    problems: Vec<Problem>,
}

/// Compiles sites that do not know of each other.
pub(super) fn compile_each(
    with: &With<'_>,
    sites: &[Arc<desired::Site>],
) -> Result<Vec<Arc<Site>>, Vec<Problem>> {
    let With {
        host,
        context,
        tenants,
        suspensions,
        certificates,
    } = *with;
    let mut compiler = Compiler {
        host,
        context,
        tenants,
        suspensions,
        certificates,
        problems: Vec::new(),
    };
    let compiled = sites.iter().filter_map(|site| compiler.site(site));
    let compiled = compiled.map(Arc::new).collect();
    match compiler.problems.is_empty() {
        true => Ok(compiled),
        false => Err(compiler.problems),
    }
}

/// No duration of a manifest has a part of one, nor is as long as they may count.
fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn compile_proxy_protocol(version: Option<desired::ProxyProtocol>) -> ProxyProtocol {
    match version {
        None => ProxyProtocol::Off,
        Some(desired::ProxyProtocol::V1) => ProxyProtocol::V1,
        Some(desired::ProxyProtocol::V2) => ProxyProtocol::V2,
    }
}

fn compile_algorithm(algorithm: desired::Algorithm) -> Algorithm {
    match algorithm {
        desired::Algorithm::RoundRobin => Algorithm::RoundRobin,
        desired::Algorithm::LeastConnections => Algorithm::LeastConnections,
        desired::Algorithm::Random => Algorithm::Random,
        desired::Algorithm::SourceHash => Algorithm::Hash(HashInput::Source),
        desired::Algorithm::UriHash => Algorithm::Hash(HashInput::Uri),
        desired::Algorithm::ConsistentHash(input) => Algorithm::ConsistentHash(match input {
            desired::HashInput::Source => HashInput::Source,
            desired::HashInput::Uri => HashInput::Uri,
        }),
        desired::Algorithm::PeakEwma => Algorithm::PeakEwma,
    }
}

impl Compiler<'_> {
    fn site(&mut self, site: &desired::Site) -> Option<Site> {
        let desired::Site {
            id,
            owner: _,
            tenant,
            name,
            hostnames,
            suspended,
            certificates: _,
            minimum_tls: _,
            client_certificates: _,
            redirect_to_https: _,
            hsts: _,     // these five are compiled together
            steering: _, // answered by DNS
            timeouts,
            limits,
            trusted_networks,
            deny_networks,
            access_log,
            retry,
            pools,
            encoded_slashes: _,
            request_headers: _,
            response_headers: _,
            routes: _, // these four are compiled together
        } = site;
        if *id == SiteId(0) || pools.iter().any(|pool| pool.id.0 == 0) {
            self.report(site, "id", String::from("was never assigned"));
        }
        if pools
            .first()
            .is_none_or(|pool| !pool.name.is_default_pool())
        {
            self.report(site, "pool", String::from("the first must be \"default\""));
        }
        let pools = pools.iter().map(|pool| self.pool(site, pool)).collect();
        let Routes {
            paths,
            routes,
            forwards,
        } = self.routes(site);
        let by_order = self.suspensions.cover(tenant, name);
        let tenant_compiled = self
            .tenants
            .and_then(|tenants| tenants.get(tenant))
            .or_else(|| self.context.tenants.get(tenant));
        let Some(tenant) = tenant_compiled else {
            self.report(site, "tenant", format!("there is no {tenant}"));
            return None;
        };
        let compiled = Site {
            id: *id,
            tenant_id: tenant.id,
            tenant: Arc::clone(&tenant.name),
            name: name.shared(),
            suspended: Suspended {
                by_owner: *suspended || tenant.suspended,
                by_order,
            },
            hostnames: hostnames.iter().map(|name| name.as_str()).collect(),
            timeouts: self.timeouts(timeouts.on(&self.host.timeouts)),
            limits: site_limits(tenant, limits),
            retry_percent: retry.map_or(RETRY_PERCENT_DEFAULT, |retry| retry.percent),
            pools,
            paths,
            routes,
            forwards,
            backend_networks: Arc::clone(&tenant.networks),
            trusted_networks: self.networks(trusted_networks),
            deny_networks: self.networks(deny_networks),
            tls: self.tls(site),
            log_share: access_log.map_or(LogShare::NONE, |log| LogShare::of(log.sample)),
        };
        if compiled.tenant_id == TenantId(0) {
            self.report(site, "tenant id", String::from("was never assigned"));
        }
        Some(compiled)
    }

    fn tls(&mut self, site: &desired::Site) -> Option<Arc<SiteTls>> {
        let clients = self.client_rules(site);
        if site.certificates.is_empty() {
            for (key, is_set) in [
                ("site.redirect_to_https", site.redirect_to_https),
                ("site.hsts", site.hsts.is_some()),
            ] {
                if is_set {
                    let what = String::from("is only for a site with certificates");
                    self.report(site, key, what);
                }
            }
            return None;
        }
        let hostnames = site.hostnames.iter().map(Hostname::as_str);
        let (tls, wrong) = site_tls(
            self.certificates,
            &site.tenant,
            &site.certificates,
            TlsRules {
                minimum: site.minimum_tls,
                clients,
                redirect_to_https: site.redirect_to_https,
                hsts: site.hsts.as_ref().map(|hsts| Arc::from(hsts_line(hsts))),
            },
            hostnames,
        );
        let name = (site.tenant.as_str(), site.name.as_str());
        let wrong = wrong.into_iter().map(|it| problem_of(name, it));
        self.problems.extend(wrong);
        tls
    }

    /// What the site's clients show of themselves. Nobody is let in by what was not read.
    fn client_rules(&mut self, site: &desired::Site) -> Option<Arc<ClientRules>> {
        let desired::ClientCertificates {
            verify,
            authorities,
        } = site.client_certificates.as_deref()?;
        if site.certificates.is_empty() {
            let what = "clients show a certificate in a handshake, and the site makes none: give it \
                        `certificates`, or leave this out";
            self.report(site, "site.client_certificates", String::from(what));
        }
        if authorities.is_empty() {
            let what = "was never read: a file is named by a manifest alone";
            self.report(
                site,
                "site.client_certificates.authorities",
                String::from(what),
            );
        }
        Some(Arc::new(ClientRules {
            required: *verify == desired::ClientVerification::Required,
            authorities: authorities.as_str().into(),
        }))
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
        let beginning = Beginning {
            proxy_protocol: compile_proxy_protocol(*proxy_protocol),
            tls: self.pool_tls(site, tls.as_deref()),
        };
        Pool {
            id: *id,
            name: self.pool_name(name),
            algorithm: compile_algorithm(*algorithm),
            slow_start_ms: slow_start.map_or(0, whole_ms),
            health: self.health(site, health.as_deref()),
            sticky: self.sticky(site, sticky.as_deref()),
            queue: queue.map(|queue| {
                Arc::new(Queue {
                    requests: queue.requests,
                    timeout: queue.timeout,
                })
            }),
            tiers: self.tiers(site, name, &beginning, backends),
        }
    }

    fn pool_tls(
        &mut self,
        site: &desired::Site,
        tls: Option<&desired::PoolTls>,
    ) -> Option<Arc<BackendTls>> {
        let desired::PoolTls {
            verify,
            name,
            authorities,
            certificate,
        } = tls?;
        if authorities.as_ref().is_some_and(String::is_empty) {
            let what = String::from("was never read");
            self.report(site, "site.pool.tls.authorities", what);
        }
        let certificate = certificate.as_ref().and_then(|name| {
            let found = client_certificate(self.certificates, site.tenant.as_str(), name.as_str());
            let wrong = |wrong| problem_of((site.tenant.as_str(), site.name.as_str()), wrong);
            found.map_err(|it| self.problems.push(wrong(it))).ok()
        });
        Some(Arc::new(BackendTls {
            verify: *verify,
            name: name.as_ref().map(|name| Arc::from(name.as_str())),
            authorities: authorities.as_deref().map(Arc::from),
            certificate,
        }))
    }

    fn health(
        &mut self,
        site: &desired::Site,
        health: Option<&desired::Health>,
    ) -> Option<Arc<HealthCheck>> {
        let desired::Health {
            kind,
            interval,
            timeout,
            rise,
            fall,
        } = health?;
        let kind = match kind {
            desired::HealthKind::Tcp => CheckKind::Tcp,
            desired::HealthKind::Tls { host } => {
                if host.as_ref().is_some_and(Hostname::ends_in_number) {
                    let what = String::from("is no DNS name: SNI takes no other");
                    self.report(site, "site.pool.health.host", what);
                }
                CheckKind::Tls(TlsCheck {
                    host: host.as_ref().map(|host| host.as_str().into()),
                })
            }
            desired::HealthKind::Http { path, host, status } => CheckKind::Http(HttpCheck {
                path: path.as_str().into(),
                host: match host {
                    None => CheckHost::Address,
                    Some(host) => CheckHost::Fixed(host.as_str().into()),
                },
                statuses: Statuses::new(status.iter().map(|range| range.first..=range.last)),
            }),
        };
        Some(Arc::new(HealthCheck {
            kind,
            interval: *interval,
            timeout: *timeout,
            rise: *rise,
            fall: *fall,
        }))
    }

    fn sticky(
        &mut self,
        site: &desired::Site,
        sticky: Option<&desired::Sticky>,
    ) -> Option<Arc<Sticky>> {
        let desired::Sticky { cookie, lifetime } = sticky?;
        if self.context.lacks_secret {
            let what = "other hosts would not know the cookies of this one, for the manifest names \
                        no fleet.secret: name a file that is the same on every host";
            self.report(site, "site.pool.sticky", String::from(what));
        }
        Some(Arc::new(Sticky {
            cookie: cookie.as_str().into(),
            lifetime: *lifetime,
        }))
    }

    fn pool_name(&self, name: &Name) -> Arc<str> {
        if name.is_default_pool() {
            return Arc::clone(&self.context.default_pool);
        }
        name.shared()
    }

    /// Sorts backends into tiers: the host's own group with the ungrouped, then the
    /// other groups from near to far, those at no known distance by name at the end;
    /// behind each of them its backups.
    fn tiers(
        &mut self,
        site: &desired::Site,
        pool: &Name,
        beginning: &Beginning,
        backends: &[desired::Backend],
    ) -> Box<[Tier]> {
        let mut near = Servers::default();
        let mut by_group: Vec<(&Name, Servers)> = Vec::new();
        for backend in backends {
            let compiled = self.backend(site, pool, beginning, backend);
            let servers = match &backend.group {
                None => &mut near,
                Some(group) if self.host.group.as_ref() == Some(group) => &mut near,
                Some(group) => {
                    let known = by_group.iter().position(|(name, _)| *name == group);
                    let place = known.unwrap_or_else(|| {
                        by_group.push((group, Servers::default()));
                        by_group.len() - 1
                    });
                    &mut by_group[place].1
                }
            };
            match backend.backup {
                false => servers.first.push(compiled),
                true => servers.backup.push(compiled),
            }
        }
        by_group.sort_by(|(a, _), (b, _)| {
            let (a_km, b_km) = (self.distance_km(a), self.distance_km(b));
            a_km.total_cmp(&b_km).then_with(|| a.cmp(b))
        });
        let tiers = |cross_group: bool, servers: Servers| {
            [(false, servers.first), (true, servers.backup)].map(|(backup, servers)| {
                let is_there = !servers.is_empty() || !cross_group && !backup;
                is_there.then(|| tier(cross_group, backup, servers))
            })
        };
        let near = tiers(false, near);
        let far = by_group
            .into_iter()
            .flat_map(|(_, servers)| tiers(true, servers));
        near.into_iter().chain(far).flatten().collect()
    }

    fn backend(
        &mut self,
        site: &desired::Site,
        pool: &Name,
        beginning: &Beginning,
        backend: &desired::Backend,
    ) -> Server {
        let desired::Backend {
            name,
            address,
            group: _,
            weight,
            connections,
            backup: _, // its tier
        } = backend;
        let (name, weight): (Arc<str>, u32) = (Arc::from(name.as_str()), *weight);
        if *connections == Some(0) {
            let what = String::from("must be 1 or more");
            self.report(site, "site.backend.connections", what);
        }
        let connections = connections.and_then(NonZeroU32::new);
        match address {
            BackendAddress::Ip(address) => Server::At(Backend {
                key: BackendKey::new(
                    site.id,
                    self.pool_name(pool),
                    name,
                    *address,
                    beginning.clone(),
                ),
                weight,
                connections,
            }),
            BackendAddress::Name { host, port } => Server::Named(NamedBackend {
                name,
                host: Arc::from(host.as_str()),
                port: *port,
                weight,
                connections,
                beginning: Beginning {
                    proxy_protocol: beginning.proxy_protocol,
                    tls: (beginning.tls.as_ref()).map(|tls| BackendTls::named(tls, host.as_str())),
                },
            }),
        }
    }

    fn timeouts(&self, timeouts: Timeouts) -> Arc<Timeouts> {
        if timeouts == *self.context.timeouts {
            return Arc::clone(&self.context.timeouts);
        }
        Arc::new(timeouts)
    }

    fn networks(&self, networks: &[IpNet]) -> Arc<NetworkSet> {
        if networks.is_empty() {
            return Arc::clone(&self.context.no_networks);
        }
        Arc::new(NetworkSet::new(networks))
    }

    fn distance_km(&self, group: &Name) -> f64 {
        let own = self
            .host
            .group
            .as_ref()
            .and_then(|own| self.context.locations.get(own));
        let other = self.context.locations.get(group);
        match (own, other) {
            (Some(own), Some(other)) => own.distance_km(*other),
            _ => f64::INFINITY,
        }
    }

    pub(super) fn report(&mut self, site: &desired::Site, key: &str, what: String) {
        let site = (site.tenant.as_str(), site.name.as_str());
        self.problems.push(problem(site, key, what));
    }
}

/// The field by which browsers ask for the site by HTTPS alone (RFC 6797 §6.1), with its CRLF.
fn hsts_line(hsts: &desired::Hsts) -> Vec<u8> {
    let desired::Hsts {
        max_age,
        include_subdomains,
    } = hsts;
    let below = if *include_subdomains {
        "; includeSubDomains"
    } else {
        ""
    };
    let max_age = max_age.as_secs();
    format!("Strict-Transport-Security: max-age={max_age}{below}\r\n").into_bytes()
}

/// A backend that was compiled.
enum Server {
    At(Backend),
    Named(NamedBackend),
}

/// Those of a pool that one host uses alike.
#[derive(Default)]
struct Servers {
    first: Vec<Server>,
    backup: Vec<Server>,
}

fn tier(cross_group: bool, backup: bool, servers: Vec<Server>) -> Tier {
    let (mut backends, mut named) = (Vec::new(), Vec::new());
    for server in servers {
        match server {
            Server::At(backend) => backends.push(backend),
            Server::Named(backend) => named.push(backend),
        }
    }
    Tier {
        cross_group,
        backup,
        backends: backends.into(),
        named: named.into(),
    }
}
