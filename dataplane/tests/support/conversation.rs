//! Plays a conversation against a plane of its own, and looks at what was counted.

use super::identity;
use super::manifest::Declared;
use super::peer::{Backend, End, PATIENCE, Peer};
use super::plane::{Plane, Reserved, hits, number};
use super::script::{Act, Reachable, Script, Step, Who};
use super::secure::{self, BackendBridge, Bridge};
use super::told;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// How long nothing must come where nothing may come.
const QUIET: Duration = Duration::from_millis(100);
/// The form of a date (RFC 9110 §5.6.7), for its length.
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
/// The form of a request's id, for its length.
const ID: &str = "00000000000000000000000000000000";

const SITE_COUNTERS: [&str; 9] = [
    "requests",
    "responses_2xx",
    "responses_3xx",
    "responses_4xx",
    "responses_5xx",
    "connections",
    "retries",
    "refused",
    "cut",
];
/// Numbers among the limits that say nothing of what was asked.
const NOT_COUNTED: [&str; 2] = ["receive_without_buffer", "receive_over_share"];

/// How clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Plain,
    /// By TLS.
    Secure,
    /// Plainly; it is the backends that are spoken to by TLS.
    SecureBackends,
}

/// Plays it; the error says what was seen instead.
pub(crate) fn play(script: &Script, way: Way) -> Result<(), String> {
    let backends = script.backends.iter();
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let backends: Vec<Place> = match way {
        Way::Plain | Way::Secure => backends.map(|(_, it)| Place::new(*it)).collect(),
        Way::SecureBackends => {
            let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
            identity::write(directory.path(), "backend", &["backend.test"], kind);
            backends
                .map(|(_, it)| Place::new(*it).behind_tls(directory.path()))
                .collect()
        }
    };
    let log = directory.path().join("access.log");
    let mut declared = Declared {
        log: Some(log.clone()),
        timeouts: script.timeouts.clone(),
        site_timeouts: script.site_timeouts.clone(),
        hostnames: script.hostnames.clone(),
        backends: backends.iter().map(Place::address).collect(),
        pools: (script.backends.iter())
            .map(|(pool, _)| pool.clone())
            .collect(),
        site_keys: script.site_keys.clone(),
        backend_keys: script.backend_keys.clone(),
        host: script.host.clone(),
        listen: script.listen.clone(),
        ..Declared::default()
    };
    let plane = match way {
        Way::Plain => Plane::start(&declared),
        Way::SecureBackends => {
            declared.site_keys = with_tls(&declared.site_keys, directory.path());
            Plane::start(&declared)
        }
        Way::Secure => {
            let names: Vec<&str> = script.hostnames.iter().map(String::as_str).collect();
            let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
            declared.more += &identity::write(directory.path(), "web", &names, kind);
            declared.site_keys = format!("certificates = [\"web\"]\n{}", declared.site_keys);
            Plane::start_secure(&declared)
        }
    };
    let (door, port) = match way {
        Way::Plain | Way::SecureBackends => (plane.address(), plane.address().port()),
        Way::Secure => {
            let name = script.hostnames[0].replace('*', "any");
            let plane = plane.secure_address();
            let bridge = Bridge::to(plane, &name, secure::config(secure::VERSIONS));
            (bridge.address, plane.port())
        }
    };
    let mut stage = Stage {
        way,
        door,
        port,
        backends,
        peers: BTreeMap::new(),
        sent: 0,
        received: 0,
    };
    for (line, step) in &script.steps {
        stage
            .step(step)
            .map_err(|what| format!("line {line}: {what}"))?;
    }
    stage.leave()?;
    let (sent, received) = (stage.sent, stage.received);
    stage.peers.clear();
    let status = plane.settle();
    let mut wanted = script.counters.clone();
    if way == Way::Secure
        && let Some(count) = wanted.remove("no_site")
    {
        wanted.insert("misdirected".to_owned(), count);
    }
    check_counters(wanted, &status, sent, received)?;
    let failures = told::failures(&plane)?;
    told::check_failures(&failures, &status)?;
    plane.finish();
    told::check_log(&log, &failures, &status)
}

/// The keys of a site, each of whose pools speaks TLS.
fn with_tls(keys: &str, directory: &Path) -> String {
    let authorities = identity::write_root(directory, "authorities");
    let tls = format!("tls = {{ authorities = {authorities:?}, name = \"backend.test\" }}");
    if keys.contains("pool = [{") {
        let keys = keys.replace("{ name = ", &format!("{{ {tls}, name = "));
        return keys.replace("pool = [{", &format!("pool = [{{ {tls} }}, {{"));
    }
    match keys.contains("pool = {") {
        true => keys.replace("pool = {", &format!("pool = {{ {tls},")),
        false => format!("pool = {{ {tls} }}\n{keys}"),
    }
}

enum Place {
    Listening(Backend),
    /// Where the plane connects to.
    BehindTls(Backend, SocketAddr),
    Refused(Reserved),
}

impl Place {
    fn new(reachable: Reachable) -> Place {
        match reachable {
            Reachable::Listening => Place::Listening(Backend::new()),
            Reachable::Refused => Place::Refused(Reserved::new()),
        }
    }

    /// The same, if it listens, behind TLS.
    fn behind_tls(self, directory: &Path) -> Place {
        match self {
            Place::Listening(backend) => {
                let shown = identity::shown(directory, "backend");
                let config = secure::serving(secure::VERSIONS, shown);
                let bridge = BackendBridge::to(backend.address, config);
                Place::BehindTls(backend, bridge.address)
            }
            other => other,
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            Place::BehindTls(_, address) => *address,
            Place::Listening(backend) => backend.address,
            Place::Refused(reserved) => reserved.address,
        }
    }
}

struct Stage {
    way: Way,
    /// Where clients connect to.
    door: SocketAddr,
    /// Of the listener.
    port: u16,
    backends: Vec<Place>,
    peers: BTreeMap<Who, Peer>,
    /// By clients.
    sent: u64,
    /// By clients.
    received: u64,
}

impl Stage {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::WaitMs(ms) => std::thread::sleep(Duration::from_millis(*ms)),
            Step::Peer(who, act) => self.act(*who, act)?,
        }
        Ok(())
    }

    fn act(&mut self, who: Who, act: &Act) -> Result<(), String> {
        let is_client = matches!(who, Who::Client(_));
        match act {
            Act::Sends(bytes) => {
                let bytes = self.fill_in(bytes);
                self.peer(who)?.send(&bytes);
                if is_client {
                    self.sent += bytes.len() as u64;
                }
            }
            Act::Receives(bytes) => {
                let wanted = self.fill_in(bytes);
                let got = self.peer(who)?.receive(wanted.len(), PATIENCE);
                if is_client {
                    self.received += got.len() as u64;
                }
                if !is_as_wanted(&got, &wanted) {
                    let more = self.peer(who)?.receive(4096, QUIET);
                    return Err(format!(
                        "wanted\n{}\ngot\n{}\nand then\n{}",
                        show(&wanted),
                        show(&got),
                        show(&more)
                    ));
                }
            }
            Act::Ends => self.peer(who)?.end(),
            Act::Closes => drop(self.taken(who)?),
            Act::Resets => self.taken(who)?.reset(),
            Act::SeesEnd => self.see(who, End::Closed, PATIENCE)?,
            Act::SeesReset => self.see(who, End::Reset, PATIENCE)?,
            Act::SeesNothing => match self.peers.contains_key(&who) {
                true => self.see(who, End::Open, QUIET)?,
                false => {
                    if self.accept(who, QUIET).is_ok() {
                        return Err("a connection came".to_owned());
                    }
                }
            },
            Act::Accepts => {
                let peer = self.accept(who, PATIENCE)?;
                self.peers.insert(who, peer);
            }
        }
        Ok(())
    }

    fn see(&mut self, who: Who, wanted: End, patience: Duration) -> Result<(), String> {
        let (bytes, end) = self.peer(who)?.receive_all(patience);
        if !bytes.is_empty() {
            return Err(format!("further bytes\n{}", show(&bytes)));
        }
        // Who gives a backend's connection up has no reason to say close_notify, and that is no end in order.
        let is_given_up = self.way == Way::SecureBackends
            && matches!(who, Who::Backend(_))
            && (wanted, end) == (End::Closed, End::Reset);
        if end != wanted && !is_given_up {
            return Err(format!("wanted it {wanted:?}, it is {end:?}"));
        }
        if end != End::Open {
            self.peers.remove(&who);
        }
        Ok(())
    }

    /// The peer's connection: a client makes it, a backend takes it.
    fn peer(&mut self, who: Who) -> Result<&mut Peer, String> {
        if !self.peers.contains_key(&who) {
            let peer = match who {
                Who::Client(_) => Peer::connect(self.door),
                Who::Backend(_) => self.accept(who, PATIENCE)?,
            };
            self.peers.insert(who, peer);
        }
        Ok(self.peers.get_mut(&who).expect("it is there by now"))
    }

    fn taken(&mut self, who: Who) -> Result<Peer, String> {
        self.peer(who)?;
        Ok(self.peers.remove(&who).expect("it is there by now"))
    }

    fn accept(&self, who: Who, patience: Duration) -> Result<Peer, String> {
        match who {
            Who::Backend(index) => match self.backends.get(index) {
                Some(Place::Listening(backend) | Place::BehindTls(backend, _)) => backend
                    .accept_within(patience)
                    .ok_or_else(|| "no connection came".to_owned()),
                Some(Place::Refused(_)) | None => Err("no such backend listens".to_owned()),
            },
            Who::Client(_) => Err("a client accepts nothing".to_owned()),
        }
    }

    /// Every client that is left ends its side and must see the end, with nothing before it;
    /// then the backends go.
    fn leave(&mut self) -> Result<(), String> {
        for (who, peer) in &mut self.peers {
            if let Who::Client(index) = who {
                let index = index + 1;
                peer.end();
                let (bytes, end) = peer.receive_all(PATIENCE);
                if !bytes.is_empty() || end != End::Closed {
                    return Err(format!(
                        "at the end client {index} saw {end:?} after\n{}",
                        show(&bytes)
                    ));
                }
            }
        }
        Ok(())
    }

    fn fill_in(&self, bytes: &[u8]) -> Vec<u8> {
        let port = self.port.to_string();
        let proto = match self.way {
            Way::Plain | Way::SecureBackends => "http",
            Way::Secure => "https",
        };
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some(open) = rest.iter().position(|&byte| byte == b'{') {
            out.extend_from_slice(&rest[..open]);
            let close = rest.iter().position(|&byte| byte == b'}').expect("parsed");
            let word = std::str::from_utf8(&rest[open + 1..close]).expect("parsed");
            rest = &rest[close + 1..];
            let text = match word.split_once(' ') {
                Some(("forwarding", host)) => format!(
                    "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: {proto}\r\n\
                     X-Forwarded-Host: {host}\r\nX-Forwarded-Port: {port}\r\n\
                     Forwarded: for=127.0.0.1;host={host};proto={proto}\r\nVia: 1.1 meridian-wire\r\n\
                     X-Request-Id: {ID}"
                ),
                Some(("answer", status)) => self.own_answer(status, ""),
                Some(("keeping", status)) => self.own_answer(status, "Connection: keep-alive\r\n"),
                Some(("closing", status)) => self.own_answer(status, "Connection: close\r\n"),
                None if word == "proto" => proto.to_owned(),
                None if word == "port" => port.clone(),
                None if word == "date" => "{date}".to_owned(),
                None if word == "id" => ID.to_owned(),
                None if word == "backend" => self.backends[0].address().to_string(),
                _ => panic!("{{{word}}}?"),
            };
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(rest);
        // As long as what will stand there.
        replace(&out, b"{date}", DATE.as_bytes())
    }

    /// An answer of the proxy itself; its body is one line, the status. By TLS a host that no site has
    /// is answered as one of another site.
    fn own_answer(&self, status: &str, connection: &str) -> String {
        let status = match (self.way, status) {
            (Way::Secure, "404 Not Found") => "421 Misdirected Request",
            _ => status,
        };
        let length = status.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nDate: {{date}}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nX-Request-Id: {ID}\r\n{connection}\r\n{status}\n"
        )
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(from) {
            out.extend_from_slice(to);
            at += from.len();
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    out
}

/// Equal, but for dates where [`DATE`] stands, and ids where [`ID`] does.
fn is_as_wanted(got: &[u8], wanted: &[u8]) -> bool {
    if got.len() != wanted.len() {
        return false;
    }
    let mut at = 0;
    while at < wanted.len() {
        if wanted[at..].starts_with(DATE.as_bytes()) {
            let date = std::str::from_utf8(&got[at..at + DATE.len()]);
            if !date.is_ok_and(|date| httpdate::parse_http_date(date).is_ok()) {
                return false;
            }
            at += DATE.len();
        } else if wanted[at..].starts_with(ID.as_bytes()) {
            let id = &got[at..at + ID.len()];
            if !id.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
                return false;
            }
            at += ID.len();
        } else if got[at] == wanted[at] {
            at += 1;
        } else {
            return false;
        }
    }
    true
}

fn show(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(3000)];
    let text = String::from_utf8_lossy(head);
    let lines = text.replace('\r', "\\r").replace('\n', "\\n\n    ");
    format!("    {lines} ({} bytes)", bytes.len())
}

fn check_counters(
    mut wanted: BTreeMap<String, u64>,
    status: &Value,
    sent: u64,
    received: u64,
) -> Result<(), String> {
    let site = &status["sites"][0];
    let mut wrong = Vec::new();
    let mut compare = |name: &str, got: u64, wanted: u64| {
        if got != wanted {
            wrong.push(format!("{name} is {got}, not {wanted}"));
        }
    };
    let routed = number(site, "requests") > 0;
    for (name, all) in [("bytes_in", sent), ("bytes_out", received)] {
        let wanted = wanted.remove(name).unwrap_or(if routed { all } else { 0 });
        compare(name, number(site, name), wanted);
    }
    for name in SITE_COUNTERS {
        compare(name, number(site, name), wanted.remove(name).unwrap_or(0));
    }
    let limits = status["limits"].as_array().expect("there are limits");
    for name in limits.iter().filter_map(|limit| limit["name"].as_str()) {
        if !NOT_COUNTED.contains(&name) {
            compare(name, hits(status, name), wanted.remove(name).unwrap_or(0));
        }
    }
    if let Some(name) = wanted.keys().next() {
        return Err(format!("no counter {name}"));
    }
    let classes: u64 = SITE_COUNTERS[1..5]
        .iter()
        .map(|name| number(site, name))
        .sum();
    compare("the sum of the classes", classes, number(site, "requests"));
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("counters: {}", wrong.join(", "))),
    }
}
