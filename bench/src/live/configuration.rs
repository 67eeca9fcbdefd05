//! What each server is told of its sites: each site its own hostname and its own backend, as an
//! operator of that server would write it.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::failure::Failure;
use crate::identity::Authority;
use crate::secure::SecureClient;

/// Sites of one tenant of Meridian.
const SITES_PER_TENANT: u32 = 50;
/// Every site's name is below it.
const DOMAIN: &str = "bench.example.com";
/// Connections of clients: load, long responses, probes.
const CONNECTIONS_MOST: u32 = 8192;

/// What a server serves.
#[derive(Clone)]
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
    /// Where clients speak TLS.
    pub(super) certified: Option<Certified>,
}

/// A certificate of its own for each site, as files.
#[derive(Clone)]
pub(super) struct Certified {
    directory: PathBuf,
    authority: Arc<Authority>,
    /// Trusts who has signed them.
    pub(super) client: SecureClient,
}

impl Certified {
    /// Makes them, for the first so many sites.
    pub(super) fn make(directory: PathBuf, sites: u32) -> Result<Self, Failure> {
        fs::create_dir_all(&directory).map_err(Failure::at(directory.display()))?;
        let authority = Authority::new(&directory)?;
        let client = SecureClient::trusting(&authority.root, DOMAIN)?;
        let certified = Self {
            directory,
            authority: Arc::new(authority),
            client,
        };
        for site in 0..sites {
            certified.write(site)?;
        }
        let mut list = String::new();
        for site in 0..sites {
            put(
                &mut list,
                format_args!("{}\n", certified.path(site, "pem").display()),
            );
        }
        let path = certified.haproxy_list();
        fs::write(&path, list).map_err(Failure::at(path.display()))?;
        Ok(certified)
    }

    /// Makes another certificate for a site, in the place of the one before; it in DER.
    pub(super) fn renew(&self, site: u32) -> Result<Vec<u8>, Failure> {
        let chain = self.write(site)?;
        let der = CertificateDer::from_pem_slice(chain.as_bytes());
        Ok(der.map_err(Failure::at(hostname(site)))?.to_vec())
    }

    fn write(&self, site: u32) -> Result<String, Failure> {
        let (chain, key) = self.authority.sign(&hostname(site))?;
        let both = format!("{chain}{key}");
        for (kind, text) in [("crt", &chain), ("key", &key), ("pem", &both)] {
            let path = self.path(site, kind);
            fs::write(&path, text).map_err(Failure::at(path.display()))?;
        }
        Ok(chain)
    }

    /// A site's chain (`crt`), key (`key`), or both in one file (`pem`).
    pub(super) fn path(&self, site: u32, kind: &str) -> PathBuf {
        self.directory.join(format!("s{site}.{kind}"))
    }

    fn haproxy_list(&self) -> PathBuf {
        self.directory.join("list.txt")
    }
}

fn hostname(site: u32) -> String {
    format!("s{site}.{DOMAIN}")
}

impl Sites {
    pub(super) fn hostname(&self, site: u32) -> String {
        hostname(site)
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
    let by_tls = (sites.certified.as_ref()).map_or(String::new(), |certified| {
        let list = certified.haproxy_list();
        format!(" ssl crt-list {} strict-sni", list.display())
    });
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
    bind {listen}{by_tls}
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
    let (by_tls, rejects) = match sites.certified {
        // Of itself this nginx speaks no TLS 1.3.
        Some(_) => (
            " ssl",
            "ssl_protocols TLSv1.2 TLSv1.3; ssl_reject_handshake on; ",
        ),
        None => ("", ""),
    };
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
    server {{ listen {listen}{by_tls} default_server backlog=4096; {rejects}return 404; }}
"
    );
    for (site, backend) in sites.with_backends(changing_at) {
        let hostname = sites.hostname(site);
        let shown = (sites.certified.as_ref()).map_or(String::new(), |certified| {
            let (chain, key) = (certified.path(site, "crt"), certified.path(site, "key"));
            let (chain, key) = (chain.display(), key.display());
            format!("ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {chain}; ssl_certificate_key {key}; ")
        });
        put(
            &mut text,
            format_args!(
                "upstream s{site} {{ server {backend}; keepalive 16; }}
server {{ listen {listen}{by_tls}; server_name {hostname}; {shown}location / {{ proxy_pass http://s{site}; }} }}
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
    let (by_what, shows) = match sites.certified {
        Some(_) => ("https", true),
        None => ("http", false),
    };
    let mut text = format!(
        "[host]
name = \"bench\"
workers = {workers}
backend_networks = [\"127.0.0.0/8\"]
timeouts = {{ keep_alive = \"300s\", upstream_idle = \"300s\" }}

[listen]
{by_what} = [\"{listen}\"]
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
        let shown = if shows {
            format!("certificates = [\"s{site}\"]\n")
        } else {
            String::new()
        };
        put(
            &mut text,
            format_args!(
                "
[[site]]
tenant = \"t{tenant}\"
name = \"s{site}\"
hostnames = [\"{hostname}\"]
{shown}
[[site.backend]]
name = \"b1\"
address = \"{backend}\"
"
            ),
        );
        if let Some(certified) = &sites.certified {
            let (chain, key) = (certified.path(site, "crt"), certified.path(site, "key"));
            let (chain, key) = (chain.display(), key.display());
            put(
                &mut text,
                format_args!(
                    "
[[certificate]]
tenant = \"t{tenant}\"
name = \"s{site}\"
chain = \"{chain}\"
key = \"{key}\"
"
                ),
            );
        }
    }
    text
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a String takes all");
}
