//! The grammar as a whole: every key is there, nothing else is, and nothing that can be
//! written breaks the reader.

use std::collections::BTreeSet;

use meridian_model::availability::unavailable;
use meridian_model::config_log::{FORMAT, Header, decode, decode_local, encode, encode_local};
use meridian_model::limits::{HOST_NETWORKS_MAX, SITE_NETWORKS_MAX};
use meridian_model::{Manifest, compile};

const EVERY_KEY: &str = include_str!("fixtures/every_key.toml");

/// Each key that can be set, and the behaviour that it sets. Those of HTTP and DNS that
/// an RFC fixes have none.
const KEYS: &[(&str, &str)] = &[
    ("manifest", "owner of what the file declares"),
    ("host.name", "name of the host, CHAOS id.server and NSID"),
    (
        "host.group",
        "which backends come first, which answers name the host",
    ),
    ("host.addresses", "what DNS hands out for the host"),
    ("host.workers", "worker threads"),
    ("host.busy_polling", "whether an idle worker may poll"),
    (
        "host.backend_networks",
        "private networks where backends may be",
    ),
    ("host.deny_networks", "clients that are not let in"),
    (
        "host.resolvers",
        "name servers for backends that are known by a name",
    ),
    ("host.probe", "where hosts probe this one"),
    ("host.access_log", "where the access log is written"),
    (
        "host.authorities",
        "who vouches for backends that pools name nobody for",
    ),
    ("host.timeouts.head", "408 for a slow head"),
    ("host.timeouts.keep_alive", "idle client connections"),
    ("host.timeouts.body.bytes_per_second", "slow bodies"),
    ("host.timeouts.body.window", "slow bodies"),
    ("host.timeouts.write", "readers that stopped"),
    ("host.timeouts.connect", "backends that can not be reached"),
    ("host.timeouts.first_byte", "504 for a slow backend"),
    (
        "host.timeouts.response_gap",
        "backends that stop in a response",
    ),
    ("host.timeouts.upstream_idle", "pooled connections"),
    ("host.timeouts.tunnel_idle", "silent tunnels"),
    ("host.timeouts.drain", "graceful stop"),
    ("host.timeouts.handshake", "TLS handshake"),
    ("listen.http", "HTTP listeners"),
    ("listen.https", "HTTPS listeners"),
    ("listen.dns", "DNS listeners over UDP and TCP"),
    ("listen.api", "API and UI"),
    ("listen.metrics", "metrics apart from the API"),
    (
        "listen.proxy_protocol_from",
        "PROXY protocol accepted from listed ranges",
    ),
    ("fleet.name", "pseudonym in Via"),
    (
        "fleet.secret",
        "probes, sticky cookies, tickets, DNS cookies shared by the fleet",
    ),
    ("probe.interval", "when a dead host leaves the answers"),
    ("probe.timeout", "when a dead host leaves the answers"),
    ("probe.rise", "when a host comes back"),
    ("probe.fall", "when a dead host leaves the answers"),
    ("geo.database", "where visitors are"),
    ("geo.overrides.prefix", "operator's overrides"),
    ("geo.overrides.group", "operator's overrides"),
    ("geo.tie_km", "tie band of distances"),
    ("dns.rate.responses_per_second", "response-rate limiting"),
    ("dns.rate.slip", "response-rate limiting"),
    ("dns.rate.exempt", "response-rate limiting"),
    ("dns.tcp.idle", "limits of DNS over TCP"),
    ("dns.tcp.connections", "limits of DNS over TCP"),
    ("dns.tcp.connections_per_client", "limits of DNS over TCP"),
    ("group.name", "groups"),
    ("group.location.lat", "distance of groups"),
    ("group.location.lon", "distance of groups"),
    ("group.bias_km", "bias of a group"),
    ("peer.name", "other hosts"),
    ("peer.group", "other hosts"),
    ("peer.addresses", "other hosts"),
    ("peer.probe", "other hosts"),
    ("zone.name", "zones"),
    ("zone.nameservers", "NS with glue"),
    ("zone.ttl", "TTL of service names"),
    ("zone.negative_ttl", "TTL of NXDOMAIN and NODATA"),
    ("zone.contact", "RNAME of the SOA"),
    ("zone.apex", "the apex of a domain as a service name"),
    ("zone.record.name", "static records"),
    ("zone.record.type", "static records"),
    ("zone.record.ttl", "static records"),
    ("zone.record.data", "static records"),
    ("tenant.name", "tenants"),
    ("tenant.limits.sites", "quota of sites"),
    ("tenant.limits.connections", "503 over the limit"),
    ("tenant.limits.requests_per_second", "429 over the limit"),
    ("tenant.limits.burst", "429 over the limit"),
    ("tenant.limits.head", "431 over the limit"),
    ("tenant.limits.body", "413 over the limit"),
    (
        "tenant.backend_networks",
        "private networks where the tenant's backends may be",
    ),
    ("tenant.suspended", "503 while it holds"),
    ("certificate.tenant", "certificates"),
    ("certificate.name", "certificates"),
    ("certificate.chain", "certificates"),
    ("certificate.key", "certificates"),
    ("site.tenant", "sites"),
    ("site.name", "sites, service names"),
    ("site.hostnames", "host matching, exact and wildcard"),
    ("site.suspended", "503 while it holds"),
    ("site.certificates", "certificates by SNI"),
    ("site.minimum_tls", "the lowest version of TLS"),
    (
        "site.client_certificates.authorities",
        "clients' certificates",
    ),
    ("site.client_certificates.verify", "clients' certificates"),
    ("site.redirect_to_https", "redirect to HTTPS"),
    ("site.hsts.max_age", "HSTS"),
    ("site.hsts.include_subdomains", "HSTS"),
    ("site.steering", "how the service name is answered"),
    ("site.timeouts.head", "408 for a slow head"),
    ("site.timeouts.keep_alive", "idle client connections"),
    ("site.timeouts.body.bytes_per_second", "slow bodies"),
    ("site.timeouts.body.window", "slow bodies"),
    ("site.timeouts.write", "readers that stopped"),
    ("site.timeouts.connect", "backends that can not be reached"),
    ("site.timeouts.first_byte", "504 for a slow backend"),
    (
        "site.timeouts.response_gap",
        "backends that stop in a response",
    ),
    ("site.timeouts.upstream_idle", "pooled connections"),
    ("site.timeouts.tunnel_idle", "silent tunnels"),
    ("site.timeouts.drain", "graceful stop"),
    ("site.timeouts.handshake", "TLS handshake"),
    ("site.limits.connections", "503 over the limit"),
    ("site.limits.requests_per_second", "429 over the limit"),
    ("site.limits.burst", "429 over the limit"),
    ("site.limits.head", "431 over the limit"),
    ("site.limits.body", "413 over the limit"),
    (
        "site.trusted_networks",
        "forwarding fields and request ids that are believed",
    ),
    ("site.deny_networks", "403 for clients of these networks"),
    ("site.access_log.sample", "access log per site, sampling"),
    ("site.retry.percent", "retry budget"),
    ("site.pool.name", "pools"),
    ("site.pool.algorithm", "balancing"),
    ("site.pool.hash", "balancing by a consistent hash"),
    ("site.pool.health.kind", "health checks"),
    ("site.pool.health.interval", "health checks"),
    ("site.pool.health.timeout", "health checks"),
    ("site.pool.health.rise", "health checks"),
    ("site.pool.health.fall", "health checks"),
    ("site.pool.health.path", "health checks over HTTP"),
    ("site.pool.health.host", "health checks over HTTP"),
    ("site.pool.health.status", "health checks over HTTP"),
    ("site.pool.sticky.cookie", "sticky cookie"),
    ("site.pool.sticky.lifetime", "sticky cookie"),
    ("site.pool.tls.verify", "TLS to backends"),
    ("site.pool.tls.name", "TLS to backends"),
    ("site.pool.tls.authorities", "TLS to backends"),
    (
        "site.pool.tls.certificate",
        "client certificate shown to backends",
    ),
    (
        "site.pool.proxy_protocol",
        "PROXY protocol sent to backends",
    ),
    ("site.pool.slow_start", "slow start"),
    ("site.pool.queue.requests", "bounded queue of a backend"),
    ("site.pool.queue.timeout", "bounded queue of a backend"),
    ("site.backend.name", "backends"),
    ("site.backend.pool", "backends"),
    ("site.backend.address", "backends"),
    ("site.backend.group", "which hosts use a backend"),
    ("site.backend.weight", "weights"),
    ("site.backend.connections", "connection limit of a backend"),
    ("site.backend.backup", "backup backends"),
    (
        "site.encoded_slashes",
        "400 for %2F where routes go by path",
    ),
    (
        "site.request_headers.set.host",
        "Host of requests to backends",
    ),
    ("site.request_headers.set.x-set", "fields of requests"),
    ("site.request_headers.add.x-add", "fields of requests"),
    ("site.request_headers.remove", "fields of requests"),
    ("site.response_headers.set.x-set", "fields of responses"),
    ("site.response_headers.add.x-add", "fields of responses"),
    ("site.response_headers.remove", "fields of responses"),
    ("site.route.match.path", "routes"),
    ("site.route.match.path_prefix", "routes"),
    ("site.route.match.methods", "routes"),
    ("site.route.match.headers.x-beta", "routes"),
    ("site.route.match.query.v", "routes"),
    ("site.route.pool", "routes"),
    ("site.route.redirect.to", "redirects"),
    ("site.route.redirect.status", "redirects"),
    ("site.route.redirect.keep_path", "redirects"),
    ("site.route.rewrite_prefix", "paths that backends get"),
    ("site.route.request_headers.set.x-set", "fields of requests"),
    ("site.route.request_headers.add.x-add", "fields of requests"),
    ("site.route.request_headers.remove", "fields of requests"),
    (
        "site.route.response_headers.set.x-set",
        "fields of responses",
    ),
    (
        "site.route.response_headers.add.x-add",
        "fields of responses",
    ),
    ("site.route.response_headers.remove", "fields of responses"),
    ("site.route.respond.status", "answers of our own"),
    ("site.route.respond.body", "answers of our own"),
    ("site.route.respond.content_type", "answers of our own"),
];

#[test]
fn resolvers_are_addresses_with_a_port_or_53() {
    let local = |resolvers: &str| {
        let text = format!(
            "[host]\nname = \"ams-1\"\nresolvers = {resolvers}\n[listen]\nhttp = [\"0.0.0.0:80\"]\n"
        );
        Manifest::parse(&text, "ams.toml").map(|manifest| manifest.into_parts().0.host.resolvers)
    };
    let taken = local("[\"192.0.2.53\", \"[2001:db8::53]:5353\", \"2001:db8::1\"]").unwrap();
    let taken: Vec<String> = taken.iter().map(ToString::to_string).collect();
    assert_eq!(
        taken,
        ["192.0.2.53:53", "[2001:db8::53]:5353", "[2001:db8::1]:53"]
    );
    for wrong in ["dns.example", "192.0.2.53:0", "0.0.0.0"] {
        let problems = local(&format!("[{wrong:?}]")).unwrap_err().to_string();
        let expected = format!(
            "ams.toml:3: host.resolvers: {wrong:?} is not the address of a name server; write its \
             address, like \"192.0.2.53\" or \"[2001:db8::53]:5353\""
        );
        assert_eq!(problems, expected);
    }
    let nine = format!("{:?}", ["192.0.2.53"; 9]);
    let problems = local(&nine).unwrap_err().to_string();
    assert!(
        problems.contains("at most 8 resolvers (was 9)"),
        "{problems}"
    );
}

#[test]
fn every_key_is_listed_and_understood() {
    Manifest::parse(EVERY_KEY, "every_key.toml").unwrap_or_else(|all| panic!("{all}"));
    let mut used = BTreeSet::new();
    collect_paths(
        &toml::Value::Table(EVERY_KEY.parse().unwrap()),
        "",
        &mut used,
    );
    let listed: BTreeSet<String> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(used, listed);
    assert_eq!(listed.len(), KEYS.len(), "a key is listed twice");
}

/// The paths of every value that is no table.
fn collect_paths(value: &toml::Value, path: &str, paths: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let separator = if path.is_empty() { "" } else { "." };
                collect_paths(value, &format!("{path}{separator}{key}"), paths);
            }
        }
        toml::Value::Array(items) if items.first().is_some_and(toml::Value::is_table) => {
            items
                .iter()
                .for_each(|item| collect_paths(item, path, paths));
        }
        _ => {
            paths.insert(path.to_owned());
        }
    }
}

#[test]
fn an_unknown_key_is_refused_in_every_table() {
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    let mut tables = 0;
    for (index, line) in lines.iter().enumerate() {
        // After a header, and inside every inline table.
        let inserted = if line.starts_with('[') {
            format!("{line}\nzzz = 1")
        } else if line.contains("{ ") {
            line.replacen("{ ", "{ zzz = 1, ", 1)
        } else {
            continue;
        };
        // Here the operator's own keys stand.
        tables += 1;
        let mut changed = lines.clone();
        changed[index] = &inserted;
        let all = Manifest::parse(&changed.join("\n"), "f.toml")
            .expect_err(line)
            .to_string();
        assert!(
            all.contains(".zzz: unknown key; known here: "),
            "{line}: {all}"
        );
    }
    assert!(tables > 30, "{tables} tables were tried");
    let all = Manifest::parse(&format!("zzz = 1\n{EVERY_KEY}"), "f.toml").unwrap_err();
    assert!(
        all.to_string()
            .starts_with("f.toml:1: zzz: unknown key; known here: manifest, ")
    );
}

/// Whatever one line is changed to, the reader ends, every problem names a line of the
/// file, and what is accepted goes all the way through.
#[test]
fn no_change_of_a_line_breaks_the_reader() {
    let values = [
        "0", "-1", "1.5", "nan", "\"\"", "\"x\"", "true", "[]", "[[]]", "{}", "[{}]",
    ];
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let mut changed = lines.clone();
        changed.remove(index);
        go_through(&changed.join("\n"));
        let Some((key, _)) = line.split_once(" = ") else {
            continue;
        };
        for value in values {
            let other = format!("{key} = {value}");
            changed = lines.clone();
            changed[index] = &other;
            go_through(&changed.join("\n"));
        }
    }
}

fn go_through(text: &str) {
    let manifest = match Manifest::parse(text, "f.toml") {
        Ok(manifest) => manifest,
        Err(all) => {
            let last = text.lines().count() as u32;
            for problem in &all {
                assert!(
                    problem.line.is_none_or(|line| (1..=last).contains(&line)),
                    "{problem}"
                );
                assert!(!problem.what.is_empty());
                assert!(!problem.hint.is_empty(), "{problem}: and now?");
            }
            return;
        }
    };
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    assert_eq!(
        decode_local(encode_local(&local).as_bytes()).as_ref(),
        Ok(&local)
    );
    let header = Header {
        format: FORMAT,
        store: String::new(),
        revision: 1,
        generation: 1,
    };
    let decoded = decode(encode(&header, &desired).as_bytes());
    assert_eq!(decoded, Ok((header, desired.clone())));
    // Most of the keys are not built yet: they are refused, not ignored.
    if let Ok(snapshot) = compile(&local, &desired, 1) {
        assert_eq!(snapshot.sites.len(), desired.sites.len());
    }
}

/// A list of networks is as long as it may be, and not longer.
#[test]
fn lists_of_networks_end_somewhere() {
    let manifest = |key: &str, count: usize| {
        let networks: Vec<String> = (0..count)
            .map(|at| format!("\"10.{}.{}.{}/32\"", at >> 16, at >> 8 & 255, at & 255))
            .collect();
        let line = |of: &str| match key.strip_prefix(of) {
            Some(key) => format!("{key} = [{}]", networks.join(", ")),
            None => String::new(),
        };
        let (host, listen, site) = (line("host."), line("listen."), line("site."));
        format!(
            "[host]\nname = \"h\"\n{host}\n[listen]\nhttp = [\"127.0.0.1:80\"]\n{listen}\n\
             [[tenant]]\nname = \"t\"\n[[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"a.test\"]\n{site}\n"
        )
    };
    for (key, most) in [
        ("host.deny_networks", HOST_NETWORKS_MAX),
        ("listen.proxy_protocol_from", HOST_NETWORKS_MAX),
        ("site.deny_networks", SITE_NETWORKS_MAX),
        ("site.trusted_networks", SITE_NETWORKS_MAX),
    ] {
        Manifest::parse(&manifest(key, most), "f.toml").unwrap_or_else(|all| panic!("{all}"));
        let all = Manifest::parse(&manifest(key, most + 1), "f.toml").expect_err(key);
        let all = all.to_string();
        assert!(all.contains(&format!("{key}: at most {most}")), "{all}");
    }
}

/// A check that no answer passes is a slip: the pool would never be up.
#[test]
fn a_check_expects_some_status() {
    let manifest = |status: &str| {
        let text = format!(
            "[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n[[tenant]]\nname = \"t\"\n\
             [[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"a.test\"]\n\
             pool = {{ health = {{ kind = \"http\", status = {status} }} }}\n"
        );
        Manifest::parse(&text, "f.toml")
    };
    manifest("[204]").unwrap_or_else(|all| panic!("{all}"));
    assert_eq!(
        manifest("[]").expect_err("none").to_string(),
        "f.toml:11: site.pool.health.status: names no status, so no backend would ever be up; name \
         one, or remove the line for the default of \"200-299\""
    );
}

/// Each kind of check takes the keys that mean something to it, and SNI takes DNS names alone.
#[test]
fn a_check_by_tls_takes_a_dns_name() {
    let problems_of = |health: &str| {
        let text = format!(
            "[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n[[tenant]]\nname = \"t\"\n\
             [[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"a.test\"]\n\
             pool = {{ health = {{ {health} }} }}\n"
        );
        match Manifest::parse(&text, "f.toml") {
            Ok(manifest) => {
                assert_eq!(unavailable(&manifest), []);
                let (local, mut desired) = manifest.into_parts();
                desired.assign_ids(None);
                compile(&local, &desired, 1).expect("it is built");
                String::new()
            }
            Err(all) => all.to_string(),
        }
    };
    for fine in [
        "kind = \"tls\"",
        "kind = \"tls\", host = \"Shop.Example.com.\"",
        "kind = \"tls\", host = \"_internal.10.test\"",
        "kind = \"http\", host = \"192.0.2.1\"",
    ] {
        assert_eq!(problems_of(fine), "", "{fine}");
    }
    for address in ["192.0.2.1", "shop.1", "1"] {
        assert_eq!(
            problems_of(&format!("kind = \"tls\", host = \"{address}\"")),
            format!(
                "f.toml:11: site.pool.health.host: \"{address}\" is no DNS name, and SNI takes no \
                 other (RFC 6066); write it like \"www.example.com\", or remove it: then no name is \
                 asked for"
            )
        );
    }
    for no_name in [
        "2001:db8::1",
        "*.example.com",
        "a b",
        "",
        "m\u{fc}nchen.test",
    ] {
        let problems = problems_of(&format!("kind = \"tls\", host = \"{no_name}\""));
        assert!(
            problems.starts_with("f.toml:11: site.pool.health.host: "),
            "{no_name}: {problems}"
        );
    }
    assert_eq!(
        problems_of("kind = \"tls\", path = \"/up\", status = [200]"),
        "f.toml:11: site.pool.health.path: only kind = \"http\" takes it; remove it, or write kind = \
         \"http\"\nf.toml:11: site.pool.health.status: only kind = \"http\" takes it; remove it, or \
         write kind = \"http\""
    );
    assert_eq!(
        problems_of("host = \"shop.example.com\""),
        "f.toml:11: site.pool.health.host: only kind = \"http\" and kind = \"tls\" take it; remove \
         it, or write one of these"
    );
}

#[test]
fn what_is_for_https_alone_needs_it_and_is_said_once() {
    let problems_of = |listen: &str, keys: &str| {
        let text = format!(
            "[host]\nname = \"h\"\n[listen]\nhttp = [\"0.0.0.0:80\"]\n{listen}\n\
             [[tenant]]\nname = \"t\"\n[[certificate]]\ntenant = \"t\"\nname = \"c\"\n\
             chain = \"c.pem\"\nkey = \"c.key\"\n\
             [[site]]\ntenant = \"t\"\nname = \"s\"\nhostnames = [\"a.test\"]\n{keys}\n"
        );
        match Manifest::parse(&text, "f.toml") {
            Ok(_) => String::new(),
            Err(all) => all.to_string(),
        }
    };
    let https = "https = [\"0.0.0.0:443\"]";
    let secure = |keys: &str| problems_of(https, &format!("certificates = [\"c\"]\n{keys}"));
    for max_age in ["0s", "1s", "365d", "3650d"] {
        let keys = format!("redirect_to_https = true\nhsts = {{ max_age = {max_age:?} }}");
        assert_eq!(secure(&keys), "", "{max_age}");
    }
    for (keys, wanted) in [
        (
            "hsts = {}",
            "f.toml:18: site.hsts.max_age: required; write max_age = \"365d\"",
        ),
        (
            "hsts = { max_age = \"1500ms\" }",
            "f.toml:18: site.hsts.max_age: must be of whole seconds; write it like \"365d\"",
        ),
        (
            "hsts = { max_age = \"36500d\" }",
            "f.toml:18: site.hsts.max_age: must be 0ms to 3650d (was 36500d); write it like max_age \
             = \"365d\"",
        ),
        (
            "hsts = { max_age = 31536000 }",
            "f.toml:18: site.hsts.max_age: must be a duration (was 31536000); write an integer and \
             ms, s, m, h or d, as in \"10s\"",
        ),
        (
            "hsts = { max_age = \"1d\" }\nresponse_headers = { set = { Strict-Transport-Security = \
             \"max-age=1\" } }",
            "f.toml:13: site.hsts: response_headers say Strict-Transport-Security, too; say it here \
             alone, or there alone",
        ),
    ] {
        assert_eq!(secure(keys), wanted, "{keys}");
    }
    for (key, value) in [
        ("redirect_to_https", "true"),
        ("hsts", "{ max_age = \"1d\" }"),
    ] {
        assert_eq!(
            problems_of(https, &format!("{key} = {value}")),
            format!(
                "f.toml:13: site.{key}: the site has no certificates; give the site its \
                 certificates, or remove the key"
            )
        );
    }
    assert_eq!(
        problems_of("", "certificates = [\"c\"]\nredirect_to_https = true"),
        "f.toml:15: site.redirect_to_https: the host has no listener to redirect to; write [listen] \
         https = [\"0.0.0.0:443\"], or remove the key"
    );
}
