//! What each server is told: one worker, keep-alive on both sides, X-Forwarded-For set, and no
//! limit that a case would reach; no access log but where it is told to do `Everything`.

use std::net::SocketAddr;
use std::path::Path;

use crate::identity::Identity;

/// The name that requests carry in their Host field.
pub(crate) const HOSTNAME: &str = "bench.example.com";
/// Room beyond the connections of a case: probes, warm-up, the next round's.
const SPARE_CONNECTIONS: u32 = 2048;

/// How much of it a server is told to do beside forwarding.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Configured<'a> {
    /// Nothing.
    Plain,
    /// What an operator of many tenants has on, as far as the server has it: a sticky cookie, health
    /// checks by HTTP, limits of connections and of requests that are never reached, one of a hundred
    /// requests in the access log, and metrics at this address.
    Everything { metrics: SocketAddr },
    /// TLS on the side of the clients, of both versions, with AES-128-GCM alone.
    Secure(&'a Identity),
}

/// A tenant's one site.
pub(crate) struct Site {
    /// Names the tenant.
    pub(crate) tenant: &'static str,
    /// What requests carry in their Host field.
    pub(crate) hostname: &'static str,
    pub(crate) backend: SocketAddr,
}

/// Of TLS 1.2, as OpenSSL names it; see [`crate::secure`].
const CIPHER: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";
/// Of TLS 1.3.
const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// What is asked for by health checks.
const CHECKED: &str = "/b/100";

/// One of a hundred requests is logged, and each is counted to its site.
const HAPROXY_FRONTEND: &str = "    log stdout format raw sample 1:100 local0
    option httplog
    stick-table type string len 64 size 1k expire 10s store http_req_rate(1s)
    http-request track-sc0 hdr(host)
    http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
";

/// Of the server of a site. It checks nothing by itself, and the cookie that it sets is nobody's.
const NGINX_LOCATION: &str = "            limit_req zone=requests burst=100000 nodelay;
            limit_conn connections 60000;
            add_header Set-Cookie \"SRV=b1; path=/; HttpOnly; SameSite=Lax\";
";

pub(super) fn haproxy(
    listen: SocketAddr,
    sites: &[Site],
    connections: u32,
    configured: Configured<'_>,
) -> String {
    // Without strict limits: it would demand descriptors for as many connections to the backend.
    let most = connections + SPARE_CONNECTIONS;
    let by_tls = match configured {
        Configured::Secure(identity) => format!(
            " ssl crt {} ssl-min-ver TLSv1.2 ciphers {CIPHER} ciphersuites {SUITE} alpn http/1.1",
            identity.both.display()
        ),
        Configured::Plain | Configured::Everything { .. } => String::new(),
    };
    let mut text = format!(
        "global
    nbthread 1
    maxconn {most}
    no strict-limits
defaults
    mode http
    maxconn {most}
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend web
    bind {listen}{by_tls}
"
    );
    if let Configured::Everything { .. } = configured {
        text.push_str(HAPROXY_FRONTEND);
    }
    for (
        number,
        Site {
            tenant, hostname, ..
        },
    ) in sites.iter().enumerate()
    {
        // The first is everybody's who names none of the others.
        text.push_str(&match number {
            0 => format!("    default_backend {tenant}\n"),
            _ => format!("    use_backend {tenant} if {{ hdr(host) -i {hostname} }}\n"),
        });
    }
    for Site {
        tenant, backend, ..
    } in sites
    {
        text.push_str(&match configured {
            Configured::Plain | Configured::Secure(_) => {
                format!("backend {tenant}\n    server b1 {backend}\n")
            }
            Configured::Everything { .. } => format!(
                "backend {tenant}
    cookie SRV insert indirect httponly attr \"SameSite=Lax\"
    option httpchk GET {CHECKED}
    server b1 {backend} cookie b1 check inter 2s
"
            ),
        });
    }
    if let Configured::Everything { metrics } = configured {
        text.push_str(&format!(
            "frontend metrics
    bind {metrics}
    http-request use-service prometheus-exporter
"
        ));
    }
    text
}

pub(super) fn nginx(
    listen: SocketAddr,
    sites: &[Site],
    connections: u32,
    scratch: &Path,
    configured: Configured<'_>,
) -> String {
    // Twice: nginx counts connections to the backend too.
    let most = 2 * connections + SPARE_CONNECTIONS;
    // As root it would drop to a user that may not reach the scratch directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root root;"
    } else {
        ""
    };
    let scratch = scratch.display();
    let everything = matches!(configured, Configured::Everything { .. });
    let (by_tls, certificate) = nginx_tls(configured);
    let log = match everything {
        false => String::from("    access_log off;\n"),
        true => format!(
            "    split_clients $request_id $is_logged {{ 1% 1; * 0; }}
    access_log {scratch}/nginx-access.log combined if=$is_logged;
    limit_req_zone $host zone=requests:1m rate=1000000r/s;
    limit_conn_zone $host zone=connections:1m;
"
        ),
    };
    let location = if everything { NGINX_LOCATION } else { "" };
    let mut text = format!(
        "daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
events {{ worker_connections {most}; }}
http {{
{log}    client_body_temp_path {scratch}/nginx-body;
    proxy_temp_path {scratch}/nginx-proxy;
    fastcgi_temp_path {scratch}/nginx-fastcgi;
    uwsgi_temp_path {scratch}/nginx-uwsgi;
    scgi_temp_path {scratch}/nginx-scgi;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
"
    );
    for (number, site) in sites.iter().enumerate() {
        let Site {
            tenant,
            hostname,
            backend,
        } = site;
        // The backlog is the socket's, which all of them share.
        let backlog = if number == 0 { " backlog=4096" } else { "" };
        text.push_str(&format!(
            "    upstream {tenant} {{
        server {backend};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen {listen}{by_tls}{backlog};
        server_name {hostname};
{certificate}        location / {{
{location}            proxy_pass http://{tenant};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
"
        ));
    }
    text + "}\n"
}

/// What stands behind an address to listen at, and what in the block of a server.
fn nginx_tls(configured: Configured<'_>) -> (&'static str, String) {
    let Configured::Secure(identity) = configured else {
        return <(&str, String)>::default();
    };
    let (chain, key) = (identity.chain.display(), identity.key.display());
    let block = format!(
        "        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_ciphers {CIPHER};
        ssl_conf_command Ciphersuites {SUITE};
"
    );
    (" ssl", block)
}

/// `timeouts` as TOML writes a table in a line.
pub(crate) fn meridian(
    listen: SocketAddr,
    sites: &[Site],
    timeouts: &str,
    configured: Configured<'_>,
) -> String {
    let (log, metrics, of_tenant, of_site) = match configured {
        Configured::Plain => <(&str, String, &str, String)>::default(),
        Configured::Secure(_) => (
            "",
            String::new(),
            "",
            String::from("certificates = [\"web\"]\n"),
        ),
        Configured::Everything { metrics } => (
            "access_log = \"meridian-access.log\"\n",
            format!("metrics = \"{metrics}\"\n"),
            "limits = { connections = 60000, requests_per_second = 1000000 }\n",
            format!(
                "limits = {{ connections = 60000, requests_per_second = 1000000 }}
access_log = {{ sample = 0.01 }}
pool = {{ sticky = {{ cookie = \"SRV\" }}, health = {{ kind = \"http\", path = \"{CHECKED}\" }} }}
"
            ),
        ),
    };
    let by_what = match configured {
        Configured::Secure(_) => "https",
        Configured::Plain | Configured::Everything { .. } => "http",
    };
    let mut text = format!(
        "[host]
name = \"bench\"
workers = 1
backend_networks = [\"127.0.0.0/8\"]
timeouts = {timeouts}
{log}
[listen]
{by_what} = [\"{listen}\"]
{metrics}"
    );
    for site in sites {
        let Site {
            tenant,
            hostname,
            backend,
        } = site;
        text.push_str(&format!(
            "
[[tenant]]
name = \"{tenant}\"
{of_tenant}
[[site]]
tenant = \"{tenant}\"
name = \"web\"
hostnames = [\"{hostname}\"]
{of_site}
[[site.backend]]
name = \"b1\"
address = \"{backend}\"
"
        ));
        if let Configured::Secure(identity) = configured {
            let (chain, key) = (identity.chain.display(), identity.key.display());
            text.push_str(&format!(
                "
[[certificate]]
tenant = \"{tenant}\"
name = \"web\"
chain = \"{chain}\"
key = \"{key}\"
"
            ));
        }
    }
    text
}
