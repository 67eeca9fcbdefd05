//! A manifest as it was typed: what was left out is not there yet, and whatever must
//! fit something else knows its line.
//!
//! A required value that is missing or wrong is none here. It has been reported, so no
//! manifest comes of it; the rest is kept to be checked all the same.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::reader::Located;
use crate::desired::{
    AccessLog, Algorithm, BackendAddress, ClientCertificates, FieldRules, Health, Hsts, Match,
    PoolTls, ProxyProtocol, Queue, Record, Redirect, Respond, RetryBudget, SiteLimits, SiteName,
    Steering, Sticky, TenantLimits, TimeoutOverrides,
};
use crate::local::{Dns, GeoDatabase, Probe};
use crate::location::Location;
use crate::name::{DomainName, Hostname, Name};
use crate::rare::Rare;
use crate::snapshot::TlsVersion;

#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) manifest: Option<Name>,
    pub(super) listen: Listen,
    pub(super) fleet: Fleet,
    pub(super) probe: Probe,
    pub(super) geo: Geo,
    pub(super) dns: Dns,
    pub(super) groups: Vec<Group>,
    pub(super) peers: Vec<Peer>,
    pub(super) zones: Vec<Zone>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) certificates: Vec<Certificate>,
    /// Each by itself: what one takes is free for what is made of it.
    #[expect(
        clippy::vec_box,
        reason = "a list of very many is moved, and taken apart one by one"
    )]
    pub(super) sites: Vec<Box<Site>>,
}

/// What a document may have in several parts.
#[derive(Debug)]
pub(super) struct Lists {
    pub(super) groups: Vec<Group>,
    pub(super) peers: Vec<Peer>,
    pub(super) zones: Vec<Zone>,
    pub(super) tenants: Vec<Tenant>,
    pub(super) certificates: Vec<Certificate>,
    #[expect(
        clippy::vec_box,
        reason = "a list of very many is moved, and taken apart one by one"
    )]
    pub(super) sites: Vec<Box<Site>>,
}

impl Written {
    /// Adds what stands further down.
    pub(super) fn extend(&mut self, lists: Lists) {
        let Lists {
            groups,
            peers,
            zones,
            tenants,
            certificates,
            sites,
        } = lists;
        self.groups.extend(groups);
        self.peers.extend(peers);
        self.zones.extend(zones);
        self.tenants.extend(tenants);
        self.certificates.extend(certificates);
        self.sites.extend(sites);
    }
}

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: Located<Name>,
    pub(super) group: Option<Name>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) workers: Option<u32>,
    pub(super) busy_polling: Option<bool>,
    pub(super) backend_networks: Vec<IpNet>,
    pub(super) deny_networks: Vec<IpNet>,
    pub(super) resolvers: Vec<SocketAddr>,
    pub(super) probe: Option<SocketAddr>,
    pub(super) access_log: Option<String>,
    pub(super) authorities: Option<String>,
    pub(super) timeouts: TimeoutOverrides,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Listen {
    pub(super) http: Vec<Located<SocketAddr>>,
    pub(super) https: Vec<Located<SocketAddr>>,
    pub(super) dns: Vec<Located<SocketAddr>>,
    pub(super) api: Option<Located<SocketAddr>>,
    pub(super) metrics: Option<Located<SocketAddr>>,
    pub(super) proxy_protocol_from: Vec<IpNet>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fleet {
    pub(super) name: Option<Name>,
    pub(super) secret: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Geo {
    pub(super) database: Option<Located<GeoDatabase>>,
    pub(super) overrides: Vec<GeoOverride>,
    pub(super) tie_km: u32,
}

#[derive(Clone, Debug)]
pub(super) struct GeoOverride {
    pub(super) prefix: Located<IpNet>,
    pub(super) group: Located<Name>,
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: Located<Name>,
    pub(super) location: Option<Location>,
    pub(super) bias_km: i32,
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: Option<Located<Name>>,
    pub(super) group: Option<Name>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) probe: Option<SocketAddr>,
}

#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) name: Option<Located<DomainName>>,
    pub(super) nameservers: Vec<Located<Name>>,
    pub(super) ttl: u32,
    pub(super) negative_ttl: u32,
    pub(super) contact: Option<DomainName>,
    pub(super) apex: Option<Located<SiteName>>,
    pub(super) records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub(super) struct Tenant {
    pub(super) name: Located<Name>,
    pub(super) limits: TenantLimits,
    pub(super) backend_networks: Option<Vec<IpNet>>,
    pub(super) suspended: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) tenant: Option<Located<Name>>,
    pub(super) name: Option<Located<Name>>,
    pub(super) chain: Option<Located<String>>,
    pub(super) key: Option<Located<String>>,
}

impl Certificate {
    pub(super) fn full_name(&self) -> Option<(&Located<Name>, &Located<Name>)> {
        self.tenant.as_ref().zip(self.name.as_ref())
    }
}

impl Site {
    pub(super) fn full_name(&self) -> Option<(&Located<Name>, &Located<Name>)> {
        self.tenant.as_ref().zip(self.name.as_ref())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) tenant: Option<Located<Name>>,
    pub(super) name: Option<Located<Name>>,
    pub(super) hostnames: Vec<Located<Hostname>>,
    pub(super) suspended: bool,
    pub(super) certificates: Vec<Located<Name>>,
    pub(super) minimum_tls: TlsVersion,
    pub(super) client_certificates: Option<Located<ClientCertificates>>,
    pub(super) redirect_to_https: bool,
    pub(super) hsts: Option<Hsts>,
    pub(super) steering: Steering,
    pub(super) timeouts: Rare<TimeoutOverrides>,
    pub(super) limits: Rare<SiteLimits>,
    pub(super) trusted_networks: Vec<IpNet>,
    pub(super) deny_networks: Vec<IpNet>,
    pub(super) access_log: Option<AccessLog>,
    pub(super) retry: Option<RetryBudget>,
    pub(super) pools: Vec<Pool>,
    pub(super) backends: Vec<Backend>,
    pub(super) encoded_slashes: bool,
    pub(super) request_headers: Rare<FieldRules>,
    pub(super) response_headers: Rare<FieldRules>,
    pub(super) routes: Vec<Route>,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) name: Located<Name>,
    pub(super) algorithm: Algorithm,
    pub(super) health: Option<Health>,
    pub(super) sticky: Option<Sticky>,
    pub(super) tls: Option<Located<PoolTls>>,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) slow_start: Option<std::time::Duration>,
    pub(super) queue: Option<Queue>,
}

#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) line: Option<u32>,
    pub(super) pool: Option<Located<Name>>,
    pub(super) name: Option<Located<String>>,
    pub(super) address: Option<Located<BackendAddress>>,
    pub(super) group: Option<Located<Name>>,
    pub(super) weight: u32,
    pub(super) connections: Option<u32>,
    pub(super) backup: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) matching: Match,
    pub(super) outcome: Outcome,
    pub(super) rewrite_prefix: Option<String>,
    pub(super) request_headers: FieldRules,
    pub(super) response_headers: FieldRules,
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Pool(Located<Name>),
    Redirect(Redirect),
    Respond(Respond),
}
