//! From what was typed to what is used. Every struct is taken apart in full, so that a
//! new key can not be forgotten here.

use std::net::SocketAddr;
use std::sync::Arc;

use super::reader::Located;
use super::written::{self, Written};
use crate::certificate::CertificateContent;
use crate::desired::{
    Backend, Certificate, ClientCertificates, Desired, Group, IdCounters, Outcome, Owner, Peer,
    Pool, PoolTls, Route, Site, Tenant, Zone,
};
use crate::local::{Fleet, Geo, GeoOverride, Host, Listen, Local};
use crate::name::Name;
use crate::snapshot::{CertificateId, PoolId, SiteId, TenantId, Timeouts};

pub(super) fn convert(written: Written, host: written::Host) -> (Local, Desired) {
    let Written {
        manifest,
        listen,
        fleet,
        probe,
        geo,
        dns,
        groups,
        peers,
        zones,
        tenants,
        certificates,
        sites,
    } = written;
    let listen = convert_listen(listen);
    let host = convert_host(host, &listen);
    let manifest = manifest.unwrap_or_else(|| host.name.clone());
    let owner = Owner::Manifest(manifest.clone());
    let mut desired = Desired {
        ids: IdCounters::default(),
        tenants: convert_each(tenants, &owner, convert_tenant),
        groups: convert_each(groups, &owner, convert_group),
        peers: convert_each(peers, &owner, convert_peer),
        zones: convert_each(zones, &owner, convert_zone),
        certificates: convert_each(certificates, &owner, convert_certificate),
        suspensions: Vec::new(),
        sites: convert_each(sites, &owner, |site, owner| {
            Arc::new(convert_site(*site, owner))
        }),
    };
    desired.sort();
    let local = Local {
        manifest,
        fleet: convert_fleet(fleet, &host.name),
        host,
        listen,
        probe,
        geo: convert_geo(geo),
        dns,
    };
    (local, desired)
}

fn convert_each<W, D>(written: Vec<W>, owner: &Owner, convert: fn(W, &Owner) -> D) -> Vec<D> {
    written
        .into_iter()
        .map(|item| convert(item, owner))
        .collect()
}

fn convert_listen(listen: written::Listen) -> Listen {
    let written::Listen {
        http,
        https,
        dns,
        api,
        metrics,
        proxy_protocol_from,
    } = listen;
    Listen {
        http: values(http),
        https: values(https),
        dns: values(dns),
        api: api.map(value),
        metrics: metrics.map(value),
        proxy_protocol_from,
    }
}

fn convert_host(host: written::Host, listen: &Listen) -> Host {
    let written::Host {
        name,
        group,
        addresses,
        workers,
        busy_polling,
        backend_networks,
        deny_networks,
        resolvers,
        probe,
        access_log,
        authorities,
        timeouts,
    } = host;
    let first_address = addresses.first().zip(listen.http.first());
    let default_probe = first_address.map(|(ip, http)| SocketAddr::new(*ip, http.port()));
    Host {
        name: name.value,
        group,
        addresses,
        workers,
        busy_polling: busy_polling.unwrap_or(true),
        backend_networks,
        deny_networks,
        resolvers,
        probe: probe.or(default_probe),
        access_log,
        authorities,
        timeouts: timeouts.on(&Timeouts::default()),
    }
}

fn convert_fleet(fleet: written::Fleet, host: &Name) -> Fleet {
    let written::Fleet { name, secret } = fleet;
    Fleet {
        name: name.unwrap_or_else(|| host.clone()),
        secret,
    }
}

fn convert_geo(geo: written::Geo) -> Geo {
    let written::Geo {
        database,
        overrides,
        tie_km,
    } = geo;
    let overrides = overrides.into_iter().map(|geo_override| {
        let written::GeoOverride { prefix, group } = geo_override;
        GeoOverride {
            prefix: prefix.value,
            group: group.value,
        }
    });
    Geo {
        database: database.map(|it| it.value).unwrap_or_default(),
        overrides: overrides.collect(),
        tie_km,
    }
}

fn convert_tenant(tenant: written::Tenant, owner: &Owner) -> Tenant {
    let written::Tenant {
        name,
        limits,
        backend_networks,
        suspended,
    } = tenant;
    Tenant {
        id: TenantId(0),
        owner: owner.clone(),
        name: name.value,
        limits,
        backend_networks,
        suspended,
    }
}

fn convert_group(group: written::Group, owner: &Owner) -> Group {
    let written::Group {
        name,
        location,
        bias_km,
    } = group;
    Group {
        owner: owner.clone(),
        name: name.value,
        location,
        bias_km,
    }
}

fn convert_peer(peer: written::Peer, owner: &Owner) -> Peer {
    let written::Peer {
        name,
        group,
        addresses,
        probe,
    } = peer;
    Peer {
        owner: owner.clone(),
        name: complete(name),
        group,
        addresses,
        probe,
    }
}

fn convert_zone(zone: written::Zone, owner: &Owner) -> Zone {
    let written::Zone {
        name,
        nameservers,
        ttl,
        negative_ttl,
        contact,
        apex,
        records,
    } = zone;
    Zone {
        owner: owner.clone(),
        name: complete(name),
        nameservers: values(nameservers),
        ttl,
        negative_ttl,
        contact,
        apex: apex.map(value),
        records,
    }
}

fn convert_certificate(certificate: written::Certificate, owner: &Owner) -> Certificate {
    let written::Certificate {
        tenant,
        name,
        chain: _,
        key: _, // read by who can read files
    } = certificate;
    Certificate {
        id: CertificateId(0),
        owner: owner.clone(),
        tenant: complete(tenant),
        name: complete(name),
        content: CertificateContent::default(),
    }
}

fn convert_site(site: written::Site, owner: &Owner) -> Site {
    let written::Site {
        tenant,
        name,
        hostnames,
        suspended,
        certificates,
        minimum_tls,
        client_certificates,
        redirect_to_https,
        hsts,
        steering,
        timeouts,
        limits,
        trusted_networks,
        deny_networks,
        access_log,
        retry,
        pools,
        backends,
        encoded_slashes,
        request_headers,
        response_headers,
        routes,
    } = site;
    Site {
        id: SiteId(0),
        owner: owner.clone(),
        tenant: complete(tenant),
        name: complete(name),
        hostnames: values(hostnames),
        suspended,
        certificates: values(certificates),
        minimum_tls,
        client_certificates: client_certificates.map(|it| {
            Box::new(ClientCertificates {
                verify: it.value.verify,
                // Read by who can read files.
                authorities: String::new(),
            })
        }),
        redirect_to_https,
        hsts,
        steering,
        timeouts,
        limits,
        trusted_networks,
        deny_networks,
        access_log,
        retry,
        pools: convert_pools(pools, backends),
        encoded_slashes,
        request_headers,
        response_headers,
        routes: routes.into_iter().map(convert_route).collect(),
    }
}

/// Puts the backends into their pools. The pool "default" is there in any case.
fn convert_pools(pools: Vec<written::Pool>, backends: Vec<written::Backend>) -> Vec<Pool> {
    let default_pool = Name::default_pool();
    let is_there = pools.iter().any(|pool| pool.name.value == default_pool);
    // No more room than they take: there are very many such lists.
    let mut all = Vec::with_capacity(pools.len() + usize::from(!is_there));
    all.extend(pools.into_iter().map(convert_pool));
    let mut pools = all;
    if !is_there {
        pools.push(Pool::of_name(default_pool.clone()));
    }
    for backend in backends {
        let (pool_name, backend) = convert_backend(backend);
        let pool_name = pool_name.unwrap_or_else(|| default_pool.clone());
        let pool = pools.iter_mut().find(|pool| pool.name == pool_name);
        let backends = &mut pool.expect("checked to exist").backends;
        if backends.is_empty() {
            backends.reserve_exact(1);
        }
        backends.push(backend);
    }
    pools
}

fn convert_pool(pool: written::Pool) -> Pool {
    let written::Pool {
        name,
        algorithm,
        health,
        sticky,
        tls,
        proxy_protocol,
        slow_start,
        queue,
    } = pool;
    Pool {
        id: PoolId(0),
        name: name.value,
        algorithm,
        health: health.map(Box::new),
        sticky: sticky.map(Box::new),
        tls: tls.map(|tls| Box::new(convert_pool_tls(tls.value))),
        proxy_protocol,
        slow_start,
        queue,
        backends: Vec::new(),
    }
}

fn convert_pool_tls(tls: PoolTls) -> PoolTls {
    let PoolTls {
        verify,
        name,
        authorities,
        certificate,
    } = tls;
    PoolTls {
        verify,
        name,
        // Read by who can read files.
        authorities: authorities.map(|_| String::new()),
        certificate,
    }
}

fn convert_backend(backend: written::Backend) -> (Option<Name>, Backend) {
    let written::Backend {
        line: _,
        pool,
        name,
        address,
        group,
        weight,
        connections,
        backup,
    } = backend;
    let backend = Backend {
        name: complete(name),
        address: complete(address),
        group: group.map(value),
        weight,
        connections,
        backup,
    };
    (pool.map(value), backend)
}

fn convert_route(route: written::Route) -> Route {
    let written::Route {
        matching,
        outcome,
        rewrite_prefix,
        request_headers,
        response_headers,
    } = route;
    let outcome = match outcome {
        written::Outcome::Pool(pool) => Outcome::Pool(pool.value),
        written::Outcome::Redirect(redirect) => Outcome::Redirect(redirect),
        written::Outcome::Respond(respond) => Outcome::Respond(respond),
    };
    Route {
        matching,
        outcome,
        rewrite_prefix,
        request_headers,
        response_headers,
    }
}

/// A required value. Where one is missing there is a problem, and then no manifest.
fn complete<T>(required: Option<Located<T>>) -> T {
    required.expect("a missing value is a problem").value
}

fn value<T>(located: Located<T>) -> T {
    located.value
}

fn values<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(value).collect()
}
