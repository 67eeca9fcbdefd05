//! `[host]` and `[listen]`.

use super::plain;
use std::net::SocketAddr;

use ipnet::IpNet;

use super::timeouts::read_timeouts;
use crate::limits::{HOST_NETWORKS_MAX, LISTENERS_MAX, RESOLVERS_MAX, WORKERS_MAX};
use crate::manifest::reader::{Located, Reader, Section};
use crate::manifest::values;
use crate::manifest::written::{Host, Listen};

pub(super) fn read_host(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Host> {
    let name = section.require(reader, "name", values::name, "name = \"ams-1\"");
    let group = section.take(reader, "group", values::name);
    let addresses = section.list(reader, "addresses", values::ip_address);
    let workers = section.take(reader, "workers", values::integer(1, WORKERS_MAX));
    let busy_polling = section.take(reader, "busy_polling", values::flag);
    let backend_networks = section.list(reader, "backend_networks", values::network);
    let deny_networks = section.list(reader, "deny_networks", values::network);
    check_networks(
        reader,
        "host.deny_networks",
        deny_networks.as_deref().unwrap_or_default(),
    );
    let resolvers = section.list(reader, "resolvers", values::resolver);
    check_resolvers(reader, resolvers.as_deref().unwrap_or_default());
    let probe = section.take(reader, "probe", values::probe_address);
    let access_log = section.take(reader, "access_log", values::text);
    let authorities = section.take(reader, "authorities", values::text);
    let timeouts = section.table(reader, "timeouts", "host.timeouts");
    let timeouts = read_timeouts(reader, timeouts, "host.timeouts.body");
    section.finish(reader);
    Some(Host {
        name: name?,
        group: group.map(|located| located.value),
        addresses: plain(addresses),
        workers: workers.map(|located| located.value),
        busy_polling: busy_polling.map(|located| located.value),
        backend_networks: plain(backend_networks),
        deny_networks: plain(deny_networks),
        resolvers: plain(resolvers),
        probe: probe.map(|located| located.value),
        access_log: access_log.map(|located| located.value),
        authorities: authorities.map(|located| located.value),
        timeouts,
    })
}

fn check_resolvers(reader: &mut Reader<'_>, resolvers: &[Located<SocketAddr>]) {
    if let Some(first_over) = resolvers.get(RESOLVERS_MAX) {
        let what = format!(
            "at most {RESOLVERS_MAX} resolvers (was {})",
            resolvers.len()
        );
        let hint = "keep those that are nearest";
        reader.report(Some(first_over.line), "host.resolvers", what, hint);
    }
}

/// What visitors reach.
const PLANES: [&str; 3] = ["http", "https", "dns"];

pub(super) fn read_listen(reader: &mut Reader<'_>, section: Option<Section<'_>>) -> Listen {
    let example = "[listen] and http = [\"0.0.0.0:80\", \"[::]:80\"]";
    let Some(mut section) = section else {
        reader.report(
            None,
            "listen",
            "one listener is required",
            format!("write {example}"),
        );
        return Listen::default();
    };
    let proxies = section.list(reader, "proxy_protocol_from", values::network);
    check_networks(
        reader,
        "listen.proxy_protocol_from",
        proxies.as_deref().unwrap_or_default(),
    );
    let [http, https, dns] = PLANES.map(|key| section.list(reader, key, values::listener));
    // One that was written and can not be read has its own problem.
    if !PLANES.into_iter().any(|key| section.lists_any(key)) {
        let line = section.line();
        reader.report(
            line,
            "listen",
            "one listener is required",
            format!("write {example}"),
        );
    }
    let listen = Listen {
        http: http.unwrap_or_default(),
        https: https.unwrap_or_default(),
        dns: dns.unwrap_or_default(),
        api: section.take(reader, "api", values::listener),
        metrics: section.take(reader, "metrics", values::listener),
        proxy_protocol_from: plain(proxies),
    };
    check_plane(reader, "listen.http", &listen.http);
    check_plane(reader, "listen.https", &listen.https);
    check_plane(reader, "listen.dns", &listen.dns);
    section.finish(reader);
    listen
}

fn check_networks(reader: &mut Reader<'_>, key: &str, networks: &[Located<IpNet>]) {
    if let Some(first_over) = networks.get(HOST_NETWORKS_MAX) {
        let what = format!(
            "at most {HOST_NETWORKS_MAX} networks (was {})",
            networks.len()
        );
        let hint = "join neighbours into larger networks";
        reader.report(Some(first_over.line), key, what, hint);
    }
}

fn check_plane(reader: &mut Reader<'_>, key: &str, listeners: &[Located<SocketAddr>]) {
    if let Some(first_over) = listeners.get(LISTENERS_MAX) {
        let what = format!(
            "at most {LISTENERS_MAX} listeners (was {})",
            listeners.len()
        );
        reader.report(
            Some(first_over.line),
            key,
            what,
            "listen on 0.0.0.0 or [::]",
        );
    }
}
