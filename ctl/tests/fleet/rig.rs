//! A fleet: its hosts, each a group of its own, and the backends that they use.

use crate::answers::{Answer, ask};
use crate::host::Host;
use crate::place::Place;
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How hosts are probed, in milliseconds.
pub(crate) const INTERVAL_MS: u64 = 500;
pub(crate) const TIMEOUT_MS: u64 = 400;
pub(crate) const FALL: u64 = 2;
pub(crate) const RISE: u64 = 2;

/// How backends are checked.
pub(crate) const CHECK_MS: u64 = 200;
pub(crate) const CHECKS: u64 = 2;

/// Of service names, in seconds.
pub(crate) const TTL_S: u32 = 40;

const HTTP_PORT: u16 = 8080;
const DNS_PORT: u16 = 5353;
const BACKEND_PORT: u16 = 9000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) hosts: Vec<Host>,
    backends: Vec<Option<Backend>>,
    pub(crate) place: Place,
    _directory: tempfile::TempDir,
}

/// The name of the site that every host is handed out for.
pub(crate) const ALL: &str = "www.acme.lb.test";
/// That of the one whose backends have groups.
pub(crate) const GEO: &str = "shop.acme.lb.test";

impl Rig {
    /// Starts a fleet of so many hosts, and waits until each is named by all.
    pub(crate) fn start(place: Place, count: usize) -> Rig {
        for program in ["meridian-dataplane", "meridian-geodns"] {
            let beside = std::path::Path::new(env!("CARGO_BIN_EXE_meridianctl"));
            let path = beside.with_file_name(program);
            assert!(path.is_file(), "{} is missing: build it", path.display());
        }
        let directory = tempfile::tempdir().expect("there is room");
        let manifests = (0..count).map(|host| manifest(&place, host, count));
        let hosts = manifests.enumerate();
        let hosts = hosts.map(|(index, text)| Host::new(index, directory.path(), &text));
        let mut rig = Rig {
            hosts: hosts.collect(),
            backends: (0..count).map(|_| None).collect(),
            place,
            _directory: directory,
        };
        for host in 0..count {
            rig.start_backend(host);
        }
        for host in &mut rig.hosts {
            host.start(&rig.place);
        }
        rig
    }

    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Has the backends of a host's group serve.
    pub(crate) fn start_backend(&mut self, host: usize) {
        let address = SocketAddr::from((self.place.outside(host), BACKEND_PORT));
        self.backends[host] = Some(Backend::start(address));
    }

    /// Has nobody listen there.
    pub(crate) fn stop_backend(&mut self, host: usize) {
        self.backends[host] = None;
    }

    /// Starts a host that was killed.
    pub(crate) fn restart(&mut self, host: usize) {
        self.hosts[host].start(&self.place);
    }

    /// Which hosts a responder names for `name` to visitors who are closest to `near`.
    pub(crate) fn named(
        &self,
        responder: usize,
        name: &str,
        near: usize,
    ) -> Option<BTreeSet<usize>> {
        let answer = self.ask(responder, name, near)?;
        let index = |address| (0..self.len()).find(|&host| self.place.address(host) == address);
        let named = answer.addresses.into_iter();
        Some(
            named
                .map(|address| index(address).expect("a host's"))
                .collect(),
        )
    }

    pub(crate) fn ask(&self, responder: usize, name: &str, near: usize) -> Option<Answer> {
        let server = SocketAddr::from((self.place.dns(responder), DNS_PORT));
        ask(server, name, [203, 0, near as u8])
    }
}

/// Somebody who takes connections and closes them.
#[derive(Debug)]
struct Backend {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Backend {
    fn start(address: SocketAddr) -> Backend {
        let listener = TcpListener::bind(address).expect("the address is ours");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                drop(stream);
            }
        });
        Backend {
            address,
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        let _ = std::net::TcpStream::connect_timeout(&self.address, Duration::from_secs(5));
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(
            ended.is_none_or(|ended| ended.is_ok()),
            "the backend went on"
        );
    }
}

fn manifest(place: &Place, own: usize, count: usize) -> String {
    let address = |host| place.address(host);
    let mut text = format!(
        r#"[host]
name = "h{own}"
group = "g{own}"
addresses = ["{0}"]
workers = 1
busy_polling = false
backend_networks = ["10.0.0.0/8", "127.0.0.0/8"]
probe = "http://{0}:{HTTP_PORT}"

[listen]
http = ["{0}:{HTTP_PORT}"]
dns = ["{1}:{DNS_PORT}"]

[fleet]
name = "test"
secret = "fleet.key"

[probe]
interval = "{INTERVAL_MS}ms"
timeout = "{TIMEOUT_MS}ms"
rise = {RISE}
fall = {FALL}

[[zone]]
name = "lb.test"
nameservers = ["h0"]
ttl = {TTL_S}

[[tenant]]
name = "acme"

[[site]]
tenant = "acme"
name = "www"
hostnames = ["www.example.com"]
[[site.backend]]
address = "{2}:1"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com"]
steering = "geo"
pool = {{ health = {{ kind = "tcp", interval = "{CHECK_MS}ms", timeout = "{CHECK_MS}ms", rise = {CHECKS}, fall = {CHECKS} }} }}
"#,
        address(own),
        place.dns(own),
        place.outside(own),
    );
    for host in 0..count {
        text += &format!(
            "[[site.backend]]\naddress = \"{}:{BACKEND_PORT}\"\ngroup = \"g{host}\"\n",
            place.outside(host)
        );
    }
    for host in 0..count {
        text += &format!(
            "[[geo.overrides]]\nprefix = \"203.0.{host}.0/24\"\ngroup = \"g{host}\"\n\
             [[group]]\nname = \"g{host}\"\nlocation = {{ lat = {}.0, lon = 0.0 }}\n",
            10 * host * host
        );
        if host != own {
            text += &format!(
                "[[peer]]\nname = \"h{host}\"\ngroup = \"g{host}\"\naddresses = [\"{0}\"]\n\
                 probe = \"http://{0}:{HTTP_PORT}\"\n",
                address(host)
            );
        }
    }
    text
}
