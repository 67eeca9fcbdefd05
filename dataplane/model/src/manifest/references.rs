//! What must fit together in a manifest: names that are unique, things that are named
//! and exist, hostnames claimed once, listeners apart, backends where they may be.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::reader::{Located, Reader, closest};
use super::written::{Backend, Certificate, Host, Outcome, Pool, Site, Tenant, Written};
use crate::address_policy::{AddressPolicy, Refusal, common_networks};
use crate::desired::{BackendAddress, SiteName};
use crate::limits::{BACKENDS_PER_POOL_MAX, GEO_GROUPS_MAX};
use crate::name::Name;
use crate::parallel;

pub(super) fn check(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    check_names(reader, written, host);
    check_hostnames(reader, written);
    check_sites(reader, written, host);
}

/// Whether [`check`] has nothing to report. Takes less time: each of its parts has a thread.
pub(super) fn hold(written: &Written, host: &Host, file: &str) -> bool {
    let holds = |check: fn(&mut Reader<'_>, &Written, Option<&Host>)| {
        let mut reader = Reader::of_part("", 1, file);
        check(&mut reader, written, Some(host));
        reader.found_nothing()
    };
    let (names, (hostnames, sites)) = parallel::both(
        || holds(check_names),
        || {
            parallel::both(
                || holds(|reader, written, _| check_hostnames(reader, written)),
                || holds(check_sites),
            )
        },
    );
    names && hostnames && sites
}

fn check_names(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    check_listeners(reader, written);
    check_fleet(reader, written, host);
    check_unique(reader, written);
    check_groups(reader, written, host);
    check_overrides(reader, written);
    check_zones(reader, written, host);
    check_tenants(reader, written);
}

fn check_sites(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    let certificates = certificates_by_tenant(written);
    for site in &written.sites {
        check_pools(reader, site);
        check_certificates(reader, &certificates, site);
        if site.redirect_to_https && written.listen.https.is_empty() {
            let line = site.name.as_ref().map(|name| name.line);
            let hint = "write [listen] https = [\"0.0.0.0:443\"], or remove the key";
            let what = "the host has no listener to redirect to";
            reader.report(line, "site.redirect_to_https", what, hint);
        }
    }
    if let Some(host) = host {
        check_addresses(reader, written, host);
    }
}

/// Things of one kind that were declared, each with the line where it was first.
struct Declared<K> {
    lines: HashMap<K, u32>,
}

impl<K: Eq + Hash> Declared<K> {
    fn new() -> Declared<K> {
        Declared::with_room_for(0)
    }

    fn with_room_for(count: usize) -> Declared<K> {
        Declared {
            lines: HashMap::with_capacity(count),
        }
    }

    /// Notes a thing, and reports it when it was there before.
    fn add(&mut self, reader: &mut Reader<'_>, key: &str, thing: K, shown: &str, line: u32) {
        match self.lines.entry(thing) {
            Entry::Vacant(place) => {
                place.insert(line);
            }
            Entry::Occupied(first) => {
                let first = first.get();
                let what = format!("{shown:?} is there twice");
                let hint = format!("the first is on line {first}");
                reader.report(Some(line), key, what, hint);
            }
        }
    }
}

fn check_listeners(reader: &mut Reader<'_>, written: &Written) {
    let listen = &written.listen;
    let of = |key, listeners: &[Located<SocketAddr>]| -> Vec<(&'static str, Located<SocketAddr>)> {
        listeners
            .iter()
            .map(|listener| (key, listener.clone()))
            .collect()
    };
    let mut all = of("listen.http", &listen.http);
    all.extend(of("listen.https", &listen.https));
    all.extend(of("listen.dns", &listen.dns));
    all.extend(of("listen.api", listen.api.as_slice()));
    all.extend(of("listen.metrics", listen.metrics.as_slice()));
    for (index, (key, listener)) in all.iter().enumerate() {
        let mut before = all[..index].iter();
        let Some((other_key, other)) =
            before.find(|(_, other)| overlap(listener.value, other.value))
        else {
            continue;
        };
        let what = format!(
            "{} covers {other_key} {}, so that they can not both be bound",
            listener.value, other.value
        );
        reader.report(
            Some(listener.line),
            key,
            what,
            "choose another address or port",
        );
    }
}

/// Two listeners can not both be bound. One of `[::]` takes IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || any)
}

fn check_fleet(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    if written.fleet.name.is_none() && !written.peers.is_empty() {
        let hint = "write [fleet] and name = \"example\", the same on every host";
        reader.report(None, "fleet.name", "required where there are peers", hint);
    }
    if written.fleet.secret.is_none() {
        // Each host would have a secret of its own, and take every other for dead.
        for peer in written.peers.iter().filter(|peer| peer.probe.is_some()) {
            let line = peer.name.as_ref().map(|name| name.line);
            let what = "hosts that probe each other sign by fleet.secret, which is missing";
            let hint = "write [fleet] and secret = \"fleet.key\", a file that is the same on every \
                        host; one is made with: openssl rand -hex 32";
            reader.report(line, "peer.probe", what, hint);
        }
    }
    let mut hosts = Declared::new();
    if let Some(host) = host {
        hosts.add(reader, "host.name", &host.name.value, "", host.name.line);
    }
    for peer in &written.peers {
        if let Some(Located { value: name, line }) = &peer.name {
            hosts.add(reader, "peer.name", name, name.as_str(), *line);
        }
    }
}

fn check_unique(reader: &mut Reader<'_>, written: &Written) {
    let mut groups = Declared::new();
    for Located { value: name, line } in written.groups.iter().map(|group| &group.name) {
        groups.add(reader, "group.name", name, name.as_str(), *line);
    }
    let mut zones = Declared::new();
    for Located { value: name, line } in written.zones.iter().filter_map(|it| it.name.as_ref()) {
        zones.add(reader, "zone.name", name, name.as_str(), *line);
    }
    let mut tenants = Declared::new();
    for Located { value: name, line } in written.tenants.iter().map(|tenant| &tenant.name) {
        tenants.add(reader, "tenant.name", name, name.as_str(), *line);
    }
    let mut certificates = Declared::new();
    for (tenant, name) in written
        .certificates
        .iter()
        .filter_map(Certificate::full_name)
    {
        let shown = name.value.as_str();
        let full = (&tenant.value, &name.value);
        certificates.add(reader, "certificate.name", full, shown, name.line);
    }
    let mut sites = Declared::with_room_for(written.sites.len());
    for (tenant, name) in written.sites.iter().filter_map(|site| site.full_name()) {
        let shown = name.value.as_str();
        sites.add(
            reader,
            "site.name",
            (&tenant.value, &name.value),
            shown,
            name.line,
        );
    }
}

/// A group exists when it is declared, and also when a host stands in it.
fn check_groups(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    let declared = written.groups.iter().map(|group| &group.name.value);
    let of_host = host.and_then(|host| host.group.as_ref());
    let of_peers = written.peers.iter().filter_map(|peer| peer.group.as_ref());
    let groups: BTreeSet<&Name> = declared.chain(of_host).chain(of_peers).collect();
    let declare = "declare it with [[group]]";
    for geo_override in &written.geo.overrides {
        check_exists(
            reader,
            "geo.overrides.group",
            &geo_override.group,
            &groups,
            declare,
        );
    }
    let backends = written.sites.iter().flat_map(|site| &site.backends);
    for group in backends.filter_map(|backend| backend.group.as_ref()) {
        check_exists(reader, "site.backend.group", group, &groups, declare);
    }
    if groups.len() > GEO_GROUPS_MAX {
        let what = format!("{} groups; at most {GEO_GROUPS_MAX} can be", groups.len());
        let line = written.groups.last().map(|group| group.name.line);
        let hint = "join hosts that stand close to each other into one group";
        reader.report(line, "group.name", what, hint);
    }
}

/// One prefix can not go to two groups.
fn check_overrides(reader: &mut Reader<'_>, written: &Written) {
    let mut prefixes = Declared::new();
    for geo_override in &written.geo.overrides {
        let Located { value, line } = geo_override.prefix;
        let shown = value.to_string();
        prefixes.add(reader, "geo.overrides.prefix", value, &shown, line);
    }
}

fn check_zones(reader: &mut Reader<'_>, written: &Written, host: Option<&Host>) {
    let of_host = host.map(|host| (&host.name.value, &host.addresses));
    let of_peers = written
        .peers
        .iter()
        .filter_map(|peer| Some((&peer.name.as_ref()?.value, &peer.addresses)));
    let hosts: BTreeMap<&Name, &Vec<IpAddr>> = of_peers.chain(of_host).collect();
    let names: BTreeSet<&Name> = hosts.keys().copied().collect();
    for nameserver in written.zones.iter().flat_map(|zone| &zone.nameservers) {
        let declare = "it must be this host or a [[peer]]";
        check_exists(reader, "zone.nameservers", nameserver, &names, declare);
        if hosts
            .get(&nameserver.value)
            .is_some_and(|addresses| addresses.is_empty())
        {
            let what = format!(
                "{:?} has no addresses for its glue",
                nameserver.value.as_str()
            );
            let hint = "give the host its addresses";
            reader.report(Some(nameserver.line), "zone.nameservers", what, hint);
        }
    }
    if written.zones.iter().all(|zone| zone.apex.is_none()) {
        return;
    }
    let names = written.sites.iter().filter_map(|site| site.full_name());
    let sites: BTreeSet<_> = names
        .map(|(tenant, name)| (&tenant.value, &name.value))
        .collect();
    for apex in written.zones.iter().filter_map(|zone| zone.apex.as_ref()) {
        let SiteName { tenant, site } = &apex.value;
        if !sites.contains(&(tenant, site)) {
            let what = format!("there is no site {:?}", apex.value.to_string());
            reader.report(
                Some(apex.line),
                "zone.apex",
                what,
                "declare it with [[site]]",
            );
        }
    }
}

fn check_tenants(reader: &mut Reader<'_>, written: &Written) {
    let tenants: BTreeSet<&Name> = written
        .tenants
        .iter()
        .map(|tenant| &tenant.name.value)
        .collect();
    let declare = "declare it with [[tenant]]";
    for tenant in written
        .certificates
        .iter()
        .filter_map(|it| it.tenant.as_ref())
    {
        check_exists(reader, "certificate.tenant", tenant, &tenants, declare);
    }
    let mut counts: HashMap<&Name, u32> = HashMap::new();
    for tenant in written.sites.iter().filter_map(|site| site.tenant.as_ref()) {
        check_exists(reader, "site.tenant", tenant, &tenants, declare);
        *counts.entry(&tenant.value).or_default() += 1;
    }
    for tenant in &written.tenants {
        let sites = counts.get(&tenant.name.value).copied().unwrap_or(0);
        let Some(sites_max) = tenant.limits.sites.filter(|&sites_max| sites > sites_max) else {
            continue;
        };
        let what = format!(
            "{} has {sites} sites and may have {sites_max}",
            tenant.name.value
        );
        reader.report(
            Some(tenant.name.line),
            "tenant.limits.sites",
            what,
            "raise it",
        );
    }
}

fn check_hostnames(reader: &mut Reader<'_>, written: &Written) {
    let mut claims: HashMap<&str, (&Site, u32)> = HashMap::with_capacity(written.sites.len());
    for site in &written.sites {
        for hostname in &site.hostnames {
            let (other, first) = match claims.entry(hostname.value.as_str()) {
                Entry::Vacant(place) => {
                    place.insert((site, hostname.line));
                    continue;
                }
                Entry::Occupied(first) => *first.get(),
            };
            let what = format!("{:?} is already claimed", hostname.value.as_str());
            let hint = match other.full_name() {
                Some((tenant, name)) => {
                    format!("by {}/{} on line {first}", tenant.value, name.value)
                }
                None => format!("on line {first}"),
            };
            reader.report(Some(hostname.line), "site.hostnames", what, hint);
        }
    }
}

fn check_pools(reader: &mut Reader<'_>, site: &Site) {
    // Most sites have one pool with one backend: nothing is named that could be missing or twice.
    let of_default = |backends: &[Backend]| backends.iter().all(|it| it.pool.is_none());
    if site.pools.is_empty()
        && site.routes.is_empty()
        && site.backends.len() < 2
        && of_default(&site.backends)
    {
        return;
    }
    let mut declared = Declared::new();
    // A browser keeps one cookie of a name for a site: two pools would take it from each other.
    let mut cookies = Declared::new();
    for pool in &site.pools {
        let name = &pool.name.value;
        if let Some(sticky) = &pool.sticky {
            let cookie = sticky.cookie.as_str();
            cookies.add(
                reader,
                "site.pool.sticky.cookie",
                cookie,
                cookie,
                pool.name.line,
            );
        }
        declared.add(
            reader,
            "site.pool.name",
            name,
            name.as_str(),
            pool.name.line,
        );
    }
    let default_pool = Name::default_pool();
    let of_site = site.pools.iter().map(|pool| &pool.name.value);
    let pools: BTreeSet<&Name> = of_site.chain([&default_pool]).collect();
    let declare = "declare it with [[site.pool]]";
    for pool in site
        .backends
        .iter()
        .filter_map(|backend| backend.pool.as_ref())
    {
        check_exists(reader, "site.backend.pool", pool, &pools, declare);
    }
    for route in &site.routes {
        if let Outcome::Pool(pool) = &route.outcome {
            check_exists(reader, "site.route.pool", pool, &pools, declare);
        }
    }
    let mut backends = Declared::new();
    let mut counts: HashMap<&Name, usize> = HashMap::new();
    for backend in &site.backends {
        let pool = backend
            .pool
            .as_ref()
            .map_or(&default_pool, |pool| &pool.value);
        if let Some(Located { value: name, line }) = &backend.name {
            backends.add(reader, "site.backend.name", (pool, name), name, *line);
        }
        let count = counts.entry(pool).or_default();
        *count += 1;
        if *count == BACKENDS_PER_POOL_MAX + 1 {
            let what = format!("at most {BACKENDS_PER_POOL_MAX} backends in a pool");
            let hint = "spread them over several pools";
            reader.report(backend.line, "site.backend", what, hint);
        }
    }
}

type Certificates<'a> = HashMap<&'a Name, BTreeSet<&'a Name>>;

fn certificates_by_tenant(written: &Written) -> Certificates<'_> {
    let mut by_tenant: Certificates<'_> = HashMap::new();
    for (tenant, name) in written
        .certificates
        .iter()
        .filter_map(Certificate::full_name)
    {
        by_tenant
            .entry(&tenant.value)
            .or_default()
            .insert(&name.value);
    }
    by_tenant
}

fn check_certificates(reader: &mut Reader<'_>, by_tenant: &Certificates<'_>, site: &Site) {
    let none = BTreeSet::new();
    let Some(tenant) = &site.tenant else {
        return;
    };
    let certificates = by_tenant.get(&tenant.value).unwrap_or(&none);
    let declare = "declare it with [[certificate]] and the same tenant";
    for certificate in &site.certificates {
        check_exists(
            reader,
            "site.certificates",
            certificate,
            certificates,
            declare,
        );
    }
    let shown_to_backends = site.pools.iter().filter_map(|pool: &Pool| {
        let tls = pool.tls.as_ref()?;
        let value = tls.value.certificate.clone()?;
        Some(Located {
            value,
            line: tls.line,
        })
    });
    for certificate in shown_to_backends {
        check_exists(
            reader,
            "site.pool.tls.certificate",
            &certificate,
            certificates,
            declare,
        );
    }
}

fn address_policy(written: &Written, host: &Host) -> AddressPolicy {
    let listen = &written.listen;
    let lists = listen.http.iter().chain(&listen.https).chain(&listen.dns);
    let listeners = lists.chain(&listen.api).chain(&listen.metrics);
    let listeners: Vec<SocketAddr> = listeners.map(|listener| listener.value).collect();
    let of_peers = written.peers.iter().flat_map(|peer| &peer.addresses);
    let addresses: Vec<IpAddr> = host.addresses.iter().chain(of_peers).copied().collect();
    let probes: Vec<SocketAddr> = written.peers.iter().filter_map(|peer| peer.probe).collect();
    AddressPolicy::new(&listeners, &addresses, &probes)
}

fn check_addresses(reader: &mut Reader<'_>, written: &Written, host: &Host) {
    let policy = address_policy(written, host);
    let networks: HashMap<&Name, Vec<IpNet>> = written
        .tenants
        .iter()
        .map(|tenant| (&tenant.name.value, tenant_networks(host, tenant)))
        .collect();
    for site in &written.sites {
        // A site of an unknown tenant has been reported as that.
        let tenant = site.tenant.as_ref();
        if let Some(networks) = tenant.and_then(|tenant| networks.get(&tenant.value)) {
            for backend in &site.backends {
                check_address(reader, host, &policy, networks, backend);
            }
        }
    }
}

fn check_address(
    reader: &mut Reader<'_>,
    host: &Host,
    policy: &AddressPolicy,
    networks: &[IpNet],
    backend: &Backend,
) {
    let Some(Located {
        value: BackendAddress::Ip(address),
        line,
    }) = backend.address
    else {
        return;
    };
    let Err(refusal) = policy.check(networks, address) else {
        return;
    };
    // Whether a private network of another place may be used is for the hosts of that
    // place to say; this one refuses at the connect.
    if matches!(refusal, Refusal::Private(_)) && !is_near(host, backend) {
        return;
    }
    let what = format!("{address} can not be a backend: {refusal}");
    let hint = hint_for(refusal, address, &host.backend_networks);
    reader.report(Some(line), "site.backend.address", what, hint);
}

fn tenant_networks(host: &Host, tenant: &Tenant) -> Vec<IpNet> {
    match &tenant.backend_networks {
        Some(networks) => common_networks(&host.backend_networks, networks),
        None => host.backend_networks.clone(),
    }
}

fn is_near(host: &Host, backend: &Backend) -> bool {
    let group = backend.group.as_ref().map(|group| &group.value);
    group.is_none() || group == host.group.as_ref()
}

fn hint_for(refusal: Refusal, address: SocketAddr, of_host: &[IpNet]) -> String {
    match refusal {
        Refusal::Private(_)
            if of_host
                .iter()
                .any(|network| network.contains(&address.ip())) =>
        {
            String::from("the host allows it, add it to the tenant's backend_networks too")
        }
        Refusal::Private(network) => {
            let network = if network == "::1" { "::1/128" } else { network };
            format!("add {network:?} or a part of it to [host] backend_networks")
        }
        Refusal::OwnService => String::from("name a server of the tenant"),
        Refusal::Embedded(_) => String::from("write it like \"203.0.113.10:80\""),
        Refusal::NoPort
        | Refusal::Unspecified
        | Refusal::LinkLocal
        | Refusal::Metadata
        | Refusal::Multicast
        | Refusal::Reserved
        | Refusal::Broadcast => {
            String::from("name a server at an address of its own, or remove the backend")
        }
    }
}

fn check_exists(
    reader: &mut Reader<'_>,
    key: &str,
    name: &Located<Name>,
    known: &BTreeSet<&Name>,
    declare: &str,
) {
    if known.contains(&name.value) {
        return;
    }
    let wanted = name.value.as_str();
    let hint = match closest(wanted, known.iter().map(|known| known.as_str())) {
        Some(near) => format!("did you mean {near:?}?"),
        None => declare.to_owned(),
    };
    reader.report(
        Some(name.line),
        key,
        format!("there is no {wanted:?}"),
        hint,
    );
}
