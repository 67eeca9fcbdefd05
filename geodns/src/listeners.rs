//! The responder's sockets: adopted from the supervisor, or bound here.

use meridian_sys::datagram::DatagramSocket;
use meridian_sys::listener::{PassedSocket, address_of, bind};
use meridian_sys::supervised::passed_sockets;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Ports of the kernel's choice that are tried until one is free for UDP and for TCP.
const PORT_TRIES: usize = 32;

/// Sockets of one worker.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) datagrams: Vec<DatagramSocket>,
    pub(crate) listeners: Vec<OwnedFd>,
}

/// Sockets by worker.
pub(crate) type ByWorker = Vec<Sockets>;

/// Takes the sockets that LISTEN_FDS and LISTEN_FDNAMES pass (sd_listen_fds(3)); `None` when none
/// are passed to this process.
///
/// Names are `dns-<listener>-<worker>`, each twice: of the UDP socket and of the TCP listener. Call it
/// before anything else opens a descriptor.
pub(crate) fn adopt() -> Result<Option<ByWorker>, String> {
    let Some(passed) = passed_sockets()? else {
        return Ok(None);
    };
    let mut workers: BTreeMap<usize, Sockets> = BTreeMap::new();
    for (name, socket) in passed {
        let worker = worker_of(&name)
            .ok_or_else(|| format!("LISTEN_FDNAMES: {name:?} is not dns-<listener>-<worker>"))?;
        let of_worker = workers.entry(worker).or_default();
        match socket {
            PassedSocket::Datagrams(socket) => of_worker.datagrams.push(socket),
            PassedSocket::Listener(socket) => of_worker.listeners.push(socket),
        }
    }
    if workers.keys().copied().ne(0..workers.len()) {
        return Err("LISTEN_FDNAMES: the workers are not numbered from 0 on".to_owned());
    }
    Ok(Some(workers.into_values().collect()))
}

fn worker_of(name: &str) -> Option<usize> {
    let (listener, worker) = name.strip_prefix("dns-")?.split_once('-')?;
    listener.parse::<usize>().ok()?;
    worker.parse().ok()
}

/// Binds every address once for each worker, for UDP and for TCP.
pub(crate) fn bind_all(addresses: &[SocketAddr], workers: usize) -> Result<ByWorker, String> {
    let mut all: ByWorker = (0..workers).map(|_| Sockets::default()).collect();
    for &address in addresses {
        let mut tries = match address.port() {
            0 => PORT_TRIES,
            _ => 1,
        };
        let bound = loop {
            tries -= 1;
            match bind_both(address, workers) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                bound => break bound,
            }
        };
        let bound = bound.map_err(|error| format!("listen.dns: {address}: {error}"))?;
        for (sockets, (datagrams, listener)) in all.iter_mut().zip(bound) {
            sockets.datagrams.push(datagrams);
            sockets.listeners.push(listener);
        }
    }
    Ok(all)
}

/// A socket of each kind for each worker. Port 0 is the kernel's choice, once, and what is free for
/// UDP may not be for TCP.
fn bind_both(
    mut address: SocketAddr,
    workers: usize,
) -> std::io::Result<Vec<(DatagramSocket, OwnedFd)>> {
    let mut bound = Vec::with_capacity(workers);
    for _ in 0..workers {
        let datagrams = DatagramSocket::bind(address)?;
        address = datagrams.address();
        bound.push((datagrams, bind(address)?));
    }
    Ok(bound)
}

/// Where DNS is answered: each address once.
pub(crate) fn addresses(by_worker: &ByWorker) -> Result<Vec<SocketAddr>, String> {
    let mut all = BTreeSet::new();
    for sockets in by_worker {
        all.extend(sockets.datagrams.iter().map(DatagramSocket::address));
        for listener in &sockets.listeners {
            all.insert(address_of(listener).map_err(|error| error.to_string())?);
        }
    }
    Ok(all.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_sockets() {
        assert_eq!(worker_of("dns-0-3"), Some(3));
        assert_eq!(worker_of("http-0-3"), None);
        assert_eq!(worker_of("dns-0"), None);
        assert_eq!(worker_of("dns-x-3"), None);
    }

    #[test]
    fn each_worker_has_both_on_one_port() {
        let by_worker = bind_all(&["127.0.0.1:0".parse().expect("one")], 3).expect("it binds");
        assert_eq!(by_worker.len(), 3);
        let addresses = addresses(&by_worker).expect("they are bound");
        assert_eq!(addresses.len(), 1);
        assert_ne!(addresses[0].port(), 0);
    }
}
