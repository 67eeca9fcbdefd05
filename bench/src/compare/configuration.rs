//! What each server is told: one worker, keep-alive on both sides, X-Forwarded-For set, no
//! access log, and no limit that a case would reach.

use std::net::SocketAddr;
use std::path::Path;

/// The name that requests carry in their Host field.
pub(crate) const HOSTNAME: &str = "bench.example.com";
/// Room beyond the connections of a case: probes, warm-up, the next round's.
const SPARE_CONNECTIONS: u32 = 2048;

/// A tenant's one site.
pub(crate) struct Site {
    /// Names the tenant.
    pub(crate) tenant: &'static str,
    /// What requests carry in their Host field.
    pub(crate) hostname: &'static str,
    pub(crate) backend: SocketAddr,
}

pub(super) fn haproxy(listen: SocketAddr, sites: &[Site], connections: u32) -> String {
    // Without strict limits: it would demand descriptors for as many connections to the backend.
    let most = connections + SPARE_CONNECTIONS;
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
    bind {listen}
"
    );
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
        text.push_str(&format!("backend {tenant}\n    server b1 {backend}\n"));
    }
    text
}

pub(super) fn nginx(
    listen: SocketAddr,
    sites: &[Site],
    connections: u32,
    scratch: &Path,
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
    let mut text = format!(
        "daemon off;
{user}
worker_processes 1;
pid {scratch}/nginx.pid;
events {{ worker_connections {most}; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/nginx-body;
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
        listen {listen}{backlog};
        server_name {hostname};
        location / {{
            proxy_pass http://{tenant};
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

/// `timeouts` as TOML writes a table in a line.
pub(crate) fn meridian(listen: SocketAddr, sites: &[Site], timeouts: &str) -> String {
    let mut text = format!(
        "[host]
name = \"bench\"
workers = 1
backend_networks = [\"127.0.0.0/8\"]
timeouts = {timeouts}

[listen]
http = [\"{listen}\"]
"
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

[[site]]
tenant = \"{tenant}\"
name = \"web\"
hostnames = [\"{hostname}\"]

[[site.backend]]
name = \"b1\"
address = \"{backend}\"
"
        ));
    }
    text
}
