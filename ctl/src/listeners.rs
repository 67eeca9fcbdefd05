//! The listening sockets. The supervisor owns them for life and hands copies
//! to each plane it starts, so that clients wait in the backlog while a plane
//! is away and none is refused.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use meridian_model::local::Listen;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::failure::Failure;
use crate::limits::BACKLOG;

/// The keys of the manifest that have addresses.
const HTTP: &str = "listen.http";
const HTTPS: &str = "listen.https";
const DNS: &str = "listen.dns";
const METRICS: &str = "listen.metrics";

/// How long the port of a plane that was killed may take to be free.
const FREE_WITHIN: Duration = Duration::from_secs(2);

/// From one look to the next.
const FREE_LOOK: Duration = Duration::from_millis(10);

/// One socket for each address and worker, with the name by which the plane knows it.
pub(crate) struct Listeners {
    named: Vec<(String, Socket)>,
}

impl Listeners {
    /// Opens `workers` sockets on each address of `listen.http` and of `listen.https`. The kernel
    /// spreads new connections over them (SO_REUSEPORT). Metrics have one socket.
    ///
    /// # Errors
    /// Names the address, the reason and the remedy.
    pub(crate) fn open(listen: &Listen, workers: usize) -> Result<Listeners, Failure> {
        let kinds = [
            ("http", HTTP, &listen.http),
            ("https", HTTPS, &listen.https),
        ];
        let mut named = Vec::new();
        for (_, key, addresses) in kinds {
            for &address in addresses {
                // SO_REUSEPORT would let us share the port with another program
                // of this user, each getting a part of the clients, and nobody
                // would be told. A socket without it finds that program.
                await_free(address, Kind::Tcp).map_err(|error| refused(key, address, &error))?;
            }
        }
        for (kind, key, addresses) in kinds {
            for (listener, &address) in addresses.iter().enumerate() {
                for worker in 0..workers {
                    let socket =
                        listening(address, true).map_err(|error| refused(key, address, &error))?;
                    named.push((format!("{kind}-{listener}-{worker}"), socket));
                }
            }
        }
        let metrics = listen.metrics;
        if let Some(address) = metrics {
            let socket = await_free(address, Kind::Tcp)
                .and_then(|()| listening(address, false))
                .map_err(|error| refused(METRICS, address, &error))?;
            named.push(("metrics".to_string(), socket));
        }
        Ok(Listeners { named })
    }

    /// Opens a UDP socket and a TCP listener for each of `workers` on each address of `dns`, both by the
    /// name `dns-<listener>-<worker>`.
    ///
    /// # Errors
    /// As [`Listeners::open`].
    pub(crate) fn open_dns(dns: &[SocketAddr], workers: usize) -> Result<Listeners, Failure> {
        let mut named = Vec::with_capacity(2 * dns.len() * workers);
        for &address in dns {
            for kind in [Kind::Udp, Kind::Tcp] {
                await_free(address, kind).map_err(|error| refused(DNS, address, &error))?;
            }
        }
        for (listener, &address) in dns.iter().enumerate() {
            for worker in 0..workers {
                let name = format!("dns-{listener}-{worker}");
                let datagrams = bound(address, Kind::Udp, true);
                for socket in [datagrams, listening(address, true)] {
                    let socket = socket.map_err(|error| refused(DNS, address, &error))?;
                    named.push((name.clone(), socket));
                }
            }
        }
        Ok(Listeners { named })
    }

    /// The names in the order of the sockets, as LISTEN_FDNAMES wants them.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.named.iter().map(|(name, _)| name.as_str()).collect();
        names.join(":")
    }

    /// Closes our descriptors. The sockets end with those of the planes, so
    /// that from then on clients are refused and go elsewhere: in the backlog
    /// of a socket that only we hold they would wait for nobody.
    pub(crate) fn close(&mut self) {
        self.named.clear();
    }

    /// A second descriptor of each socket, for a plane to inherit.
    ///
    /// # Errors
    /// When no more files may be open.
    pub(crate) fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        self.named
            .iter()
            .map(|(_, socket)| socket.try_clone().map(OwnedFd::from))
            .collect()
    }
}

/// Waits until nobody has `address`, or it is clear that somebody keeps it. What a plane that was
/// killed listened on is closed by the kernel a moment after the plane itself is gone, when it
/// has ended the operations of its rings.
fn await_free(address: SocketAddr, kind: Kind) -> io::Result<()> {
    let deadline = Instant::now() + FREE_WITHIN;
    loop {
        match bound(address, kind, false) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(FREE_LOOK);
            }
            bound => return bound.map(drop),
        }
    }
}

/// What an address is bound for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

fn listening(address: SocketAddr, share_port: bool) -> io::Result<Socket> {
    let socket = bound(address, Kind::Tcp, share_port)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bound(address: SocketAddr, kind: Kind, share_port: bool) -> io::Result<Socket> {
    let (of_type, protocol) = match kind {
        Kind::Tcp => (Type::STREAM, Protocol::TCP),
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(address), of_type, Some(protocol))?;
    if address.is_ipv6() {
        // So that 0.0.0.0:80 and [::]:80 can stand side by side.
        socket.set_only_v6(true)?;
    }
    if kind == Kind::Tcp {
        // Connections of an earlier run that linger in TIME_WAIT must not be in the way. (For UDP it
        // would mean to share the port.)
        socket.set_reuse_address(true)?;
        // Inherited by every accepted connection: one system call less for each.
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_reuse_port(share_port)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn refused(key: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let kinds = match key {
        DNS => "-ltunp",
        _ => "-ltnp",
    };
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program has this port: find it with `ss {kinds} 'sport = :{port}'` and stop \
             it, or listen on another port"
        ),
        ErrorKind::PermissionDenied => format!(
            "ports below 1024 are for root: run as root, or allow it with \
             `sysctl net.ipv4.ip_unprivileged_port_start={port}`, or listen on a port from 1024 up"
        ),
        ErrorKind::AddrNotAvailable => {
            "no interface of this host has that address: see `ip address`".to_string()
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            "this kernel is run without that family of addresses: remove the address".to_string()
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            "this process may open no more files: raise the limit with `ulimit -n`".to_string()
        }
        _ => format!("change {key} in the manifest"),
    };
    Failure::input(format!("{key}: {address}: {error}; {remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn free_address(host: &str) -> SocketAddr {
        let free = TcpListener::bind((host, 0)).unwrap();
        free.local_addr().unwrap()
    }

    fn http_and_metrics(http: &[SocketAddr], metrics: Option<SocketAddr>) -> Listen {
        Listen {
            http: http.to_vec(),
            metrics,
            ..Listen::default()
        }
    }

    #[test]
    fn each_worker_has_a_socket_of_its_own_on_each_address() {
        let http = [free_address("127.0.0.1"), free_address("127.0.0.1")];
        let metrics = free_address("127.0.0.1");
        let https = free_address("127.0.0.1");
        let listen = Listen {
            https: vec![https],
            ..http_and_metrics(&http, Some(metrics))
        };
        let listeners = Listeners::open(&listen, 2).unwrap();
        assert_eq!(
            listeners.names(),
            "http-0-0:http-0-1:http-1-0:http-1-1:https-0-0:https-0-1:metrics"
        );
        assert_eq!(listeners.duplicates().unwrap().len(), 7);
        for address in http.into_iter().chain([https, metrics]) {
            TcpStream::connect(address).unwrap();
        }
    }

    #[test]
    fn the_any_address_of_both_families_may_share_a_port() {
        let port = free_address("::1").port();
        let both = [
            SocketAddr::new("0.0.0.0".parse().unwrap(), port),
            SocketAddr::new("::".parse().unwrap(), port),
        ];
        let listeners = Listeners::open(&http_and_metrics(&both, None), 1).unwrap();
        assert!(listeners.named[0].1.tcp_nodelay().unwrap());
    }

    #[test]
    fn a_port_that_shares_itself_counts_as_taken_too() {
        let address = free_address("127.0.0.1");
        let first = Listeners::open(&http_and_metrics(&[address], None), 1).unwrap();
        let refused = Listeners::open(&http_and_metrics(&[address], None), 1)
            .err()
            .unwrap();
        assert!(
            refused.message.contains(&address.to_string()) && refused.message.contains("ss -ltnp"),
            "{}",
            refused.message
        );
        let http = [free_address("127.0.0.1")];
        let refused = Listeners::open(&http_and_metrics(&http, Some(address)), 1)
            .err()
            .unwrap();
        assert!(
            refused.message.starts_with("listen.metrics: "),
            "{}",
            refused.message
        );
        drop(first);
        Listeners::open(&http_and_metrics(&[address], None), 1).unwrap();
    }

    #[test]
    fn dns_has_both_kinds_for_each_worker_and_a_port_of_its_own() {
        let address = free_address("127.0.0.1");
        let listeners = Listeners::open_dns(&[address], 2).unwrap();
        assert_eq!(listeners.names(), "dns-0-0:dns-0-0:dns-0-1:dns-0-1");
        let kinds = listeners.named.iter().map(|(_, socket)| socket.r#type());
        let kinds: Vec<Type> = kinds.map(Result::unwrap).collect();
        let both = [Type::DGRAM, Type::STREAM];
        assert_eq!(kinds, [both, both].concat());
        drop(listeners);
        let udp = std::net::UdpSocket::bind(address).unwrap();
        let refused = Listeners::open_dns(&[address], 1).err().unwrap();
        assert!(
            refused.message.starts_with("listen.dns: ") && refused.message.contains("ss -ltunp"),
            "{}",
            refused.message
        );
        drop(udp);
        Listeners::open_dns(&[address], 1).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_named() {
        let elsewhere = "192.0.2.77:8080".parse().unwrap();
        let refused = Listeners::open(&http_and_metrics(&[elsewhere], None), 1)
            .err()
            .unwrap();
        assert!(
            refused.message.contains("ip address"),
            "{}",
            refused.message
        );
    }
}
