//! What each server is told of its sites: each site its own hostname and its own backend, as an
//! operator of that server would write it.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Sites of one tenant of Meridian.
const SITES_PER_TENANT: u32 = 50;
/// Connections of clients: load, long responses, probes.
const CONNECTIONS_MOST: u32 = 8192;

/// What a server serves.
pub(super) struct Sites {
    pub(super) count: u32,
    pub(super) workers: u32,
    pub(super) listen: SocketAddr,
    /// Where all of them are at first.
    pub(super) old: SocketAddr,
    /// Where the one that changes goes.
    pub(super) new: SocketAddr,
    /// Where the files stand.
    pub(super) directory: PathBuf,
}

impl Sites {
    pub(super) fn hostname(&self, site: u32) -> String {
        format!("s{site}.bench.example.com")
    }

    /// The one that changes: the last.
    pub(super) fn changing(&self) -> u32 {
        self.count - 1
    }

    /// Every site with its backend.
    fn with_backends(&self, changing_at: SocketAddr) -> impl Iterator<Item = (u32, SocketAddr)> {
        (0..self.count).map(move |site| {
            let is_changing = site == self.changing();
            (site, if is_changing { changing_at } else { self.old })
        })
    }

    pub(super) fn haproxy_map_path(&self) -> PathBuf {
        self.directory.join("hosts.map")
    }

    pub(super) fn haproxy_socket(&self) -> PathBuf {
        self.directory.join("haproxy.sock")
    }
}

/// One frontend that finds the backend of a host in a map; a backend for each site.
pub(super) fn haproxy(sites: &Sites, changing_at: SocketAddr) -> String {
    let Sites {
        workers,
        listen,
        new,
        ..
    } = sites;
    let mut text = format!(
        "global
    nbthread {workers}
    maxconn {CONNECTIONS_MOST}
    no strict-limits
    stats socket {} mode 600 level admin expose-fd listeners
defaults
    mode http
    maxconn {CONNECTIONS_MOST}
    timeout connect 5s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 300s
    option http-keep-alive
    option forwardfor
    http-reuse always
frontend web
    bind {listen}
    use_backend %[req.hdr(host),lower,map_str({})]
backend spare
    server b1 {new}
",
        sites.haproxy_socket().display(),
        sites.haproxy_map_path().display()
    );
    for (site, backend) in sites.with_backends(changing_at) {
        put(
            &mut text,
            format_args!("backend s{site}\n    server b1 {backend}\n"),
        );
    }
    text
}

pub(super) fn haproxy_map(sites: &Sites) -> String {
    let mut text = String::new();
    for site in 0..sites.count {
        put(
            &mut text,
            format_args!("{} s{site}\n", sites.hostname(site)),
        );
    }
    text
}

/// A server block and an upstream for each site.
pub(super) fn nginx(sites: &Sites, changing_at: SocketAddr) -> String {
    // As root it would drop to a user that may not reach the directory.
    let user = if rustix::process::geteuid().is_root() {
        "user root root;"
    } else {
        ""
    };
    let directory = sites.directory.display();
    let (workers, listen) = (sites.workers, sites.listen);
    let mut text = format!(
        "daemon off;
{user}
worker_processes {workers};
pid {directory}/nginx.pid;
events {{ worker_connections {CONNECTIONS_MOST}; }}
http {{
    access_log off;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    server_names_hash_max_size 1048576;
    server_names_hash_bucket_size 128;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    server {{ listen {listen} default_server backlog=4096; return 404; }}
"
    );
    for (site, backend) in sites.with_backends(changing_at) {
        let hostname = sites.hostname(site);
        put(
            &mut text,
            format_args!(
                "upstream s{site} {{ server {backend}; keepalive 16; }}
server {{ listen {listen}; server_name {hostname}; location / {{ proxy_pass http://s{site}; }} }}
"
            ),
        );
    }
    text.push_str("}\n");
    text
}

/// The manifest. `None`: the site that changes is not in it, since the API will own it.
pub(super) fn meridian(sites: &Sites, changing_at: Option<SocketAddr>) -> String {
    let (workers, listen) = (sites.workers, sites.listen);
    let mut text = format!(
        "[host]
name = \"bench\"
workers = {workers}
backend_networks = [\"127.0.0.0/8\"]
timeouts = {{ keep_alive = \"300s\", upstream_idle = \"300s\" }}

[listen]
http = [\"{listen}\"]
"
    );
    for tenant in 0..sites.count.div_ceil(SITES_PER_TENANT) {
        put(
            &mut text,
            format_args!("\n[[tenant]]\nname = \"t{tenant}\"\n"),
        );
    }
    for (site, backend) in sites.with_backends(changing_at.unwrap_or(sites.old)) {
        if site == sites.changing() && changing_at.is_none() {
            continue;
        }
        let (tenant, hostname) = (site / SITES_PER_TENANT, sites.hostname(site));
        put(
            &mut text,
            format_args!(
                "
[[site]]
tenant = \"t{tenant}\"
name = \"s{site}\"
hostnames = [\"{hostname}\"]

[[site.backend]]
name = \"b1\"
address = \"{backend}\"
"
            ),
        );
    }
    text
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes all");
}
