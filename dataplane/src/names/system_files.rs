//! What the system's own files say of names: /etc/hosts, and who is asked (/etc/resolv.conf).
//!
//! Search lists and options of resolv.conf mean nothing here: a backend's name is whole, and the
//! time for an answer is a limit of ours.

use meridian_model::limits::RESOLVERS_MAX;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

const DNS_PORT: u16 = 53;

/// Addresses by name, in lower case.
type Hosts = HashMap<String, Vec<IpAddr>>;

/// See the module.
#[derive(Debug)]
pub(super) struct SystemFiles {
    hosts_file: Watched,
    hosts: Hosts,
    resolv_conf: Option<Watched>,
    servers: Arc<[SocketAddr]>,
}

/// A file that is read again when it is another than before.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    seen: Option<Version>,
    was_read: bool,
}

/// Modification time in seconds and nanoseconds, length and inode.
type Version = (i64, i64, u64, u64);

impl SystemFiles {
    /// The files of this system. `configured` name servers are asked instead of its own.
    pub(super) fn new(configured: &[SocketAddr]) -> SystemFiles {
        let own = configured.is_empty();
        SystemFiles {
            hosts_file: Watched::new("/etc/hosts"),
            hosts: Hosts::new(),
            resolv_conf: own.then(|| Watched::new("/etc/resolv.conf")),
            servers: configured.into(),
        }
    }

    /// Reads again what changed.
    pub(super) fn refresh(&mut self) {
        if let Some(text) = self.hosts_file.changed_text() {
            self.hosts = parse_hosts(&text);
        }
        if let Some(text) = self.resolv_conf.as_mut().and_then(Watched::changed_text) {
            self.servers = parse_resolv_conf(&text).into();
        }
    }

    /// The name servers to ask.
    pub(super) fn servers(&self) -> &Arc<[SocketAddr]> {
        &self.servers
    }

    /// The addresses that the hosts file has for a name; none when it is not there.
    pub(super) fn addresses(&self, host: &str) -> &[IpAddr] {
        self.hosts.get(host).map_or(&[], Vec::as_slice)
    }
}

impl Watched {
    fn new(path: &str) -> Watched {
        Watched {
            path: PathBuf::from(path),
            seen: None,
            was_read: false,
        }
    }

    /// The file's text when it is not the one that was read last. A file that is not there is
    /// empty; one that can not be read is looked at again the next time.
    fn changed_text(&mut self) -> Option<String> {
        let version = fs::metadata(&self.path).ok().map(|it| version_of(&it));
        if self.was_read && version == self.seen {
            return None;
        }
        let text = match version {
            Some(_) => String::from_utf8_lossy(&fs::read(&self.path).ok()?).into_owned(),
            None => String::new(),
        };
        self.seen = version;
        self.was_read = true;
        Some(text)
    }
}

fn version_of(metadata: &Metadata) -> Version {
    (
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len(),
        metadata.ino(),
    )
}

/// hosts(5): an address and its names a line.
fn parse_hosts(text: &str) -> Hosts {
    let mut hosts = Hosts::new();
    for line in text.lines() {
        let mut words = words(line);
        // An address with a zone is on a link of its own: no backend may be there.
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        for name in words {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            hosts.entry(name).or_default().push(address);
        }
    }
    hosts
}

/// resolv.conf(5): its name servers; where there are none, the one on this machine.
fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = words(line);
        let is_server = words.next() == Some("nameserver");
        let address = words.next().filter(|_| is_server)?.parse::<IpAddr>().ok()?;
        Some(SocketAddr::new(address, DNS_PORT))
    };
    let mut servers: Vec<SocketAddr> = text.lines().filter_map(server).collect();
    servers.truncate(RESOLVERS_MAX);
    if servers.is_empty() {
        servers.push((Ipv4Addr::LOCALHOST, DNS_PORT).into());
    }
    servers
}

/// The words of a line before its comment.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let text = line.split(['#', ';']).next().unwrap_or_default();
    text.split_ascii_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn hosts_have_several_names_and_names_several_addresses() {
        let hosts = parse_hosts(
            "# a comment\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost # and more\n\
             10.0.0.5 App.Internal. app\n\nfe80::1%eth0 link\nnot-an-address x\n10.0.0.6 app\n",
        );
        let of = |name: &str| -> Vec<String> {
            let found = hosts.get(name).map_or(&[][..], Vec::as_slice);
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(of("localhost"), ["127.0.0.1", "::1"]);
        assert_eq!(of("app.internal"), ["10.0.0.5"]);
        assert_eq!(of("app"), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(of("link"), [""; 0]);
        assert_eq!(of("x"), [""; 0]);
    }

    #[test]
    fn name_servers_of_resolv_conf() {
        let servers = |text: &str| -> Vec<String> {
            let servers = parse_resolv_conf(text);
            servers.iter().map(ToString::to_string).collect()
        };
        let text = "; by hand\nsearch example.net\nnameserver 192.0.2.53 # first\n\
                    options timeout:1\n nameserver 2001:db8::53\nnameserver fe80::1%eth0\n";
        assert_eq!(servers(text), ["192.0.2.53:53", "[2001:db8::53]:53"]);
        assert_eq!(servers("search example.net\n"), ["127.0.0.1:53"]);
        assert_eq!(servers(&"nameserver 192.0.2.1\n".repeat(9)).len(), 8);
    }

    #[test]
    fn a_file_is_read_again_when_it_is_another() {
        let mut file = tempfile::NamedTempFile::new().expect("there is room for files");
        let mut watched = Watched::new(file.path().to_str().expect("it is text"));
        assert_eq!(watched.changed_text().as_deref(), Some(""));
        assert_eq!(watched.changed_text(), None);
        file.write_all(b"10.0.0.1 a\n").expect("it takes bytes");
        assert_eq!(watched.changed_text().as_deref(), Some("10.0.0.1 a\n"));
        assert_eq!(watched.changed_text(), None);
        file.close().expect("it can be removed");
        assert_eq!(watched.changed_text().as_deref(), Some(""));
    }
}
