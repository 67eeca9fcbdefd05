//! The plane's listeners: adopted from the supervisor, or bound here.

use crate::worker::WorkerListener;
use meridian_model::local::Listen;
use meridian_sys::listener::{PassedSocket, address_of, bind};
use meridian_sys::supervised::passed_sockets;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Listeners by worker.
pub(crate) type ByWorker = Vec<Vec<WorkerListener>>;

/// The name of the listener for metrics.
const METRICS: &str = "metrics";

/// Listeners that were passed to this process.
#[derive(Debug)]
pub(crate) struct Passed {
    /// For HTTP and HTTPS.
    pub(crate) by_worker: ByWorker,
    /// For metrics.
    pub(crate) metrics: Option<OwnedFd>,
}

/// Takes the listeners that LISTEN_FDS and LISTEN_FDNAMES pass (sd_listen_fds(3)); `None` when
/// none are passed to this process.
///
/// Names are `http-<listener>-<worker>`, `https-<listener>-<worker>` and `metrics`. Call it before anything else opens a descriptor.
pub(crate) fn adopt() -> Result<Option<Passed>, String> {
    let Some(passed) = passed_sockets()? else {
        return Ok(None);
    };
    let mut workers: BTreeMap<usize, Vec<WorkerListener>> = BTreeMap::new();
    let mut metrics = None;
    for (name, socket) in passed {
        let PassedSocket::Listener(socket) = socket else {
            return Err(format!("LISTEN_FDNAMES: {name:?} is a UDP socket"));
        };
        if name == METRICS {
            metrics = Some(socket);
            continue;
        }
        let (secure, worker) = worker_of(&name).ok_or_else(|| {
            format!(
                "LISTEN_FDNAMES: {name:?} is neither http-<listener>-<worker> nor \
                 https-<listener>-<worker> nor {METRICS}"
            )
        })?;
        let address = address_of(&socket).map_err(|error| format!("listener {name}: {error}"))?;
        workers.entry(worker).or_default().push(WorkerListener {
            socket,
            address,
            secure,
        });
    }
    if workers.keys().copied().ne(0..workers.len()) {
        return Err("LISTEN_FDNAMES: the workers are not numbered from 0 on".to_owned());
    }
    Ok(Some(Passed {
        by_worker: workers.into_values().collect(),
        metrics,
    }))
}

/// Whether a listener of this name is for TLS, and whose it is.
fn worker_of(name: &str) -> Option<(bool, usize)> {
    let (kind, rest) = name.split_once('-')?;
    let secure = match kind {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (listener, worker) = rest.split_once('-')?;
    listener.parse::<usize>().ok()?;
    Some((secure, worker.parse().ok()?))
}

/// Binds every address once for each worker.
pub(crate) fn bind_all(listen: &Listen, workers: usize) -> Result<ByWorker, String> {
    let of = |secure: bool, addresses: &[SocketAddr]| -> Vec<(bool, SocketAddr)> {
        addresses.iter().map(|&address| (secure, address)).collect()
    };
    let all = [of(false, &listen.http), of(true, &listen.https)].concat();
    let bound = |&(secure, address): &(bool, SocketAddr)| {
        let key = if secure { "https" } else { "http" };
        let fault = |error| format!("listen.{key}: {address}: {error}");
        let socket = bind(address).map_err(fault)?;
        // Port 0 is the kernel's choice.
        let address = address_of(&socket).map_err(fault)?;
        Ok(WorkerListener {
            socket,
            address,
            secure,
        })
    };
    (0..workers)
        .map(|_| all.iter().map(bound).collect())
        .collect()
}

/// Binds the address for metrics.
pub(crate) fn bind_metrics(address: SocketAddr) -> Result<OwnedFd, String> {
    bind(address).map_err(|error| format!("listen.metrics: {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::worker_of;

    #[test]
    fn names_of_listeners() {
        assert_eq!(worker_of("http-0-3"), Some((false, 3)));
        assert_eq!(worker_of("https-1-3"), Some((true, 3)));
        assert_eq!(worker_of("httpx-0-3"), None);
        assert_eq!(worker_of("http-0"), None);
        assert_eq!(worker_of("http-x-3"), None);
    }
}
