//! Two manifests that mean the same compile to equal snapshots, ids aside; and what
//! they mean is written beside them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use meridian_model::snapshot::{
    Answer, Backend, Base, Beginning, CheckHost, CheckKind, FieldChange, Forward, HealthCheck,
    HostField, HttpCheck, Location, LogShare, Match, NamedBackend, Outcome, Pair, PathMatch, Pool,
    Rewrite, Route, Site, Snapshot, Tier, TlsCheck,
};
use meridian_model::{Manifest, compile};

#[test]
fn defaults_may_be_left_out() {
    check(
        include_str!("golden/pairs/defaults.plain.toml"),
        include_str!("golden/pairs/defaults.spelt.toml"),
        include_str!("golden/pairs/defaults.snapshot.txt"),
    );
}

#[test]
fn order_and_spelling_mean_nothing() {
    check(
        include_str!("golden/pairs/order.forward.toml"),
        include_str!("golden/pairs/order.backward.toml"),
        include_str!("golden/pairs/order.snapshot.txt"),
    );
}

#[test]
fn checks_are_the_same_however_they_are_written() {
    check(
        include_str!("golden/pairs/health.short.toml"),
        include_str!("golden/pairs/health.long.toml"),
        include_str!("golden/pairs/health.snapshot.txt"),
    );
}

#[test]
fn routes_are_the_same_however_they_are_written() {
    check(
        include_str!("golden/pairs/routes.one.toml"),
        include_str!("golden/pairs/routes.other.toml"),
        include_str!("golden/pairs/routes.snapshot.txt"),
    );
}

fn check(one: &str, other: &str, expected: &str) {
    let (one, other) = (meaning(one), meaning(other));
    assert_eq!(one, other);
    assert_eq!(one, expected, "the snapshot is:\n{one}");
}

fn meaning(text: &str) -> String {
    let manifest = Manifest::parse(text, "golden.toml").unwrap_or_else(|all| panic!("{all}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    let snapshot = compile(&local, &desired, 7).unwrap_or_else(|all| panic!("{all}"));
    described(&snapshot)
}

/// All of a snapshot as text but its ids. Taken apart in full, so that nothing that is
/// added later is left out of the comparison.
fn described(snapshot: &Snapshot) -> String {
    let Snapshot {
        revision,
        hostnames,
        sites,
        certificates,
        via,
        timeouts,
        https_port,
        policy,
    } = snapshot;
    let mut text = String::new();
    let out = &mut text;
    writeln!(out, "revision {revision} via {via}").unwrap();
    writeln!(out, "timeouts {timeouts:?}").unwrap();
    if let Some(port) = https_port {
        writeln!(out, "https {port}").unwrap();
    }
    assert!(certificates.is_empty(), "no file was read");
    for own in ["127.0.0.1:80", "127.0.0.1:8080", "198.51.100.1:80"] {
        let address: SocketAddr = own.parse().unwrap();
        writeln!(out, "policy {own} {:?}", policy.check(&[], address)).unwrap();
    }
    let mut names: Vec<String> = hostnames
        .iter()
        .map(|(name, site)| format!("hostname {name} {}/{}", site.tenant, site.name))
        .collect();
    names.sort();
    writeln!(out, "{}", names.join("\n")).unwrap();
    assert_eq!(sites.len(), snapshot.sites_by_name().len());
    let sites = snapshot.sites_by_name();
    sites.iter().for_each(|site| describe_site(out, site));
    text
}

fn describe_site(out: &mut String, site: &Site) {
    let Site {
        id: _,
        tenant_id: _,
        tenant,
        name,
        suspended,
        hostnames: _, // shown with the table
        timeouts,
        retry_percent,
        pools,
        paths,
        routes,
        forwards,
        backend_networks,
        trusted_networks,
        deny_networks,
        log_share,
        limits,
        tls,
    } = site;
    assert_eq!(*tls, None);
    writeln!(out, "site {tenant}/{name} networks {backend_networks:?}").unwrap();
    writeln!(out, "  suspended {}", suspended.holds()).unwrap();
    writeln!(out, "  timeouts {timeouts:?} retries {retry_percent} %").unwrap();
    writeln!(
        out,
        "  trusted {trusted_networks:?} denied {deny_networks:?}"
    )
    .unwrap();
    if *log_share != LogShare::NONE {
        writeln!(out, "  {log_share:?}").unwrap();
    }
    if let Some(limits) = limits {
        writeln!(out, "  {limits:?}").unwrap();
    }
    for pool in pools {
        let Pool {
            id: _,
            name,
            algorithm,
            slow_start_ms,
            health,
            sticky,
            queue,
            tiers,
        } = pool;
        writeln!(out, "  pool {name} {algorithm:?}").unwrap();
        if *slow_start_ms > 0 {
            let slow_start = Duration::from_millis((*slow_start_ms).into());
            writeln!(out, "    slow start {slow_start:?}").unwrap();
        }
        if let Some(health) = health {
            describe_health(out, health);
        }
        if let Some(sticky) = sticky {
            writeln!(out, "    {sticky:?}").unwrap();
        }
        if let Some(queue) = queue {
            writeln!(out, "    {queue:?}").unwrap();
        }
        for Tier {
            cross_group,
            backup,
            backends,
            named,
        } in tiers
        {
            let backup = if *backup { " backup" } else { "" };
            writeln!(out, "    tier cross_group={cross_group}{backup}").unwrap();
            for backend in backends {
                let Backend {
                    weight,
                    connections,
                    key,
                } = backend;
                let (name, address) = (backend.name(), backend.address());
                assert_eq!(key.site(), site.id);
                assert_eq!(key.pool(), &*pool.name);
                let begin = key.proxy_protocol();
                let tls = key.tls();
                writeln!(
                    out,
                    "      {name} {address} weight {weight} proxy {begin:?}"
                )
                .unwrap();
                if let Some(connections) = connections {
                    writeln!(out, "        connections {connections}").unwrap();
                }
                if let Some(tls) = tls {
                    writeln!(out, "        {tls:?}").unwrap();
                }
            }
            for backend in named {
                let NamedBackend {
                    name,
                    host,
                    port,
                    weight,
                    connections,
                    beginning:
                        Beginning {
                            proxy_protocol,
                            tls,
                        },
                } = backend;
                writeln!(
                    out,
                    "      {name} at {host}:{port} weight {weight} proxy {proxy_protocol:?}"
                )
                .unwrap();
                if let Some(tls) = tls {
                    writeln!(out, "        {tls:?}").unwrap();
                }
                if let Some(connections) = connections {
                    writeln!(out, "        connections {connections}").unwrap();
                }
            }
        }
    }
    writeln!(out, "  paths {paths:?}").unwrap();
    for forward in &**forwards {
        describe_forward(out, forward);
    }
    for route in routes {
        describe_route(out, route);
    }
}

fn describe_health(out: &mut String, health: &HealthCheck) {
    let HealthCheck {
        kind,
        interval,
        timeout,
        rise,
        fall,
    } = health;
    let kind = match kind {
        CheckKind::Tcp => String::from("tcp"),
        CheckKind::Tls(TlsCheck { host }) => {
            let name = host.as_deref().unwrap_or("no name");
            format!("tls as {name}")
        }
        CheckKind::Http(HttpCheck {
            path,
            host,
            statuses,
        }) => {
            let host = match host {
                CheckHost::Address => "its address",
                CheckHost::Fixed(host) => host,
            };
            format!("http {path} of {host} statuses {statuses}")
        }
    };
    writeln!(
        out,
        "    checked by {kind} each {interval:?} for {timeout:?} rise {rise} fall {fall}"
    )
    .unwrap();
}

fn describe_forward(out: &mut String, forward: &Forward) {
    let Forward {
        pool,
        rewrite,
        host,
        request_fields,
        response_fields,
    } = forward;
    let rewrite = match rewrite {
        Rewrite::Kept => String::new(),
        Rewrite::Prefix(base) => format!(" rewrite {}", shown_base(base)),
    };
    let host = match host {
        HostField::Asked => String::new(),
        HostField::Fixed(host) => format!(" host {}", shown(host)),
    };
    writeln!(out, "  forward pool {pool}{rewrite}{host}").unwrap();
    for (side, change) in [("request", request_fields), ("response", response_fields)] {
        let FieldChange { dropped, added } = change;
        for name in dropped {
            writeln!(out, "    {side} drops {}", shown(name)).unwrap();
        }
        if !added.is_empty() {
            writeln!(out, "    {side} adds {}", shown(added)).unwrap();
        }
    }
}

fn describe_route(out: &mut String, route: &Route) {
    let Route {
        matching:
            Match {
                path,
                methods,
                headers,
                query,
            },
        outcome,
    } = route;
    let path = match path {
        PathMatch::Any => String::from("any"),
        PathMatch::At(path) => format!("at {}", shown(path)),
        PathMatch::Below(path) => format!("below {}", shown(path)),
    };
    let pairs = |pairs: &[Pair]| {
        let pairs = pairs
            .iter()
            .map(|Pair { name, value }| (shown(name), shown(value)));
        pairs.collect::<Vec<_>>()
    };
    let (headers, query) = (pairs(headers), pairs(query));
    writeln!(out, "  route {path} {methods:?} {headers:?} {query:?}").unwrap();
    match outcome {
        Outcome::Forward(forward) => writeln!(out, "    forward {forward}").unwrap(),
        Outcome::Answer(Answer {
            status,
            location,
            fields,
            body,
        }) => {
            let location = match location {
                Location::Absent => String::from("none"),
                Location::Fixed(location) => shown(location),
                Location::Kept(base) => format!("{} and more", shown_base(base)),
            };
            let (fields, body) = (shown(fields), shown(body));
            writeln!(
                out,
                "    answer {status} location {location} [{fields}] {body:?}"
            )
            .unwrap();
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "|")
}

fn shown_base(base: &Base) -> String {
    let Base { whole, stem } = base;
    format!("{} or {}…", shown(whole), shown(stem))
}
