//! Clients' connections and the workers that have them: as many each, wherever the kernel put them.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, PATIENCE, Peer, answer_each, aside, status};
use crate::support::plane::{Plane, number};
use crate::support::told::read_log;
use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// A plane's pools are empty at the end, so that it can be looked at what is left.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

fn declared(workers: usize) -> Declared {
    let backend = Backend::new().serve(|peer| answer_each(peer, |_| OK.to_vec()));
    Declared {
        workers,
        ..Declared::with_backends([backend])
    }
}

fn by_worker(plane: &Plane, counter: &str) -> Vec<u64> {
    let status = plane.status();
    let workers = status["workers"].as_array().expect("there are workers");
    workers.iter().map(|it| number(it, counter)).collect()
}

/// Waits until so many connections are there, and gives how many each worker has.
fn connections(plane: &Plane, count: usize) -> Vec<u64> {
    let mut each = Vec::new();
    let there = eventually(20, || {
        each = by_worker(plane, "connections");
        each.iter().sum::<u64>() == count as u64
    });
    assert!(there, "{each:?}, {count} are open");
    each
}

/// Each has its share but for a tenth, and one more.
fn check_shares(each: &[u64]) {
    let share = each.iter().sum::<u64>() as f64 / each.len() as f64;
    for &count in each {
        let off = (count as f64 - share).abs();
        assert!(off <= 0.1 * share + 1.0, "{each:?}");
    }
}

/// So many clients at once, from several threads.
fn crowd(address: SocketAddr, count: usize) -> Vec<Peer> {
    const THREADS: usize = 8;
    let connecting: Vec<_> = (0..THREADS)
        .map(|thread| {
            let share = (count + thread) / THREADS;
            aside(move || {
                let clients = (0..share).map(|_| Peer::connect(address));
                clients.collect::<Vec<Peer>>()
            })
        })
        .collect();
    let clients = connecting
        .into_iter()
        .map(|it| it.join().expect("all connect"));
    clients.flatten().collect()
}

fn all_are_served(clients: &mut [Peer]) {
    clients.iter_mut().for_each(|client| client.send(GET));
    for client in clients {
        assert_eq!(client.receive_response().1, b"ok");
    }
}

/// `SPREADING_ROUNDS=100` gives the figures of docs/decisions/0016.
#[test]
fn connections_opened_at_once_are_spread_evenly() {
    let plane = Plane::start(&declared(2));
    let rounds = std::env::var("SPREADING_ROUNDS").map(|it| it.parse().expect("a number"));
    let rounds = rounds.unwrap_or(3);
    let mut served = 0;
    for count in [64, 512] {
        let mut off = Vec::new();
        for _ in 0..rounds {
            let mut clients = crowd(plane.address(), count);
            let each = connections(&plane, count);
            check_shares(&each);
            off.push(200.0 * each[0].abs_diff(each[1]) as f64 / 2.0 / count as f64);
            all_are_served(&mut clients);
            served += count;
            drop(clients);
            connections(&plane, 0);
        }
        off.sort_by(f64::total_cmp);
        let (middle, worst) = (off[rounds / 2], off[rounds - 1]);
        eprintln!("{count} connections: off the mean by {middle:.1} %, at worst {worst:.1} %");
    }
    // Who moved is counted once, where it was accepted and where it was served.
    assert_eq!(plane.workers("accepted"), served as u64);
    assert_eq!(plane.site("connections"), served as u64);
    assert_eq!(plane.site("requests"), served as u64);
    let moved = plane.workers("handed_over");
    eprintln!("{moved} of {served} were handed over");
    assert!(moved > 0, "the kernel can not have been that even");
    assert_eq!(plane.hits("accept_queue_full"), 0);
    plane.finish();
}

#[test]
fn newcomers_go_to_the_worker_whose_connections_have_ended() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let log = directory.path().join("access.log");
    let plane = Plane::start(&Declared {
        log: Some(log.clone()),
        ..declared(2)
    });
    let mut clients = crowd(plane.address(), 64);
    all_are_served(&mut clients);
    let mut workers: HashMap<String, u64> = HashMap::new();
    let told = eventually(20, || {
        let lines = read_log(&log).unwrap_or_default();
        let worker = |line: &serde_json::Value| {
            let client = line["client"].as_str().expect("it is known").to_owned();
            (client, number(line, "worker"))
        };
        workers = lines.iter().map(worker).collect();
        workers.len() == 64
    });
    assert!(told, "{} lines", workers.len());
    let worker_of = |client: &Peer| {
        let address = client.stream.local_addr().expect("it is connected");
        workers[&address.to_string()]
    };
    clients.retain(|client| worker_of(client) == 0);
    let left = clients.len();
    assert_eq!(connections(&plane, left), [left as u64, 0]);
    clients.extend(crowd(plane.address(), 64));
    let each = connections(&plane, left + 64);
    eprintln!("64 more than [{left}, 0]: {each:?}");
    check_shares(&each);
    all_are_served(&mut clients);
    drop(clients);
    plane.finish();
}

#[test]
fn one_worker_hands_nothing_over_and_many_share() {
    for workers in [1, 5] {
        let plane = Plane::start(&declared(workers));
        let mut clients = crowd(plane.address(), 200);
        check_shares(&connections(&plane, 200));
        all_are_served(&mut clients);
        let moved = plane.workers("handed_over");
        assert_eq!(moved > 0, workers > 1, "{moved} were handed over");
        drop(clients);
        plane.finish();
    }
}

/// Limits count a connection where it is served, and who may not come in moves nowhere.
#[test]
fn a_connection_that_moved_counts_once_for_its_tenant() {
    let plane = Plane::start(&Declared {
        tenant_keys: "limits = { connections = 40 }".to_owned(),
        ..declared(2)
    });
    for _ in 0..3 {
        let mut clients = crowd(plane.address(), 64);
        connections(&plane, 64);
        clients.iter_mut().for_each(|client| client.send(GET));
        let answers = clients
            .iter_mut()
            .map(|client| status(&client.receive_response().0));
        let served = answers.filter(|&status| status == 200).count();
        assert_eq!(served, 40);
        drop(clients);
        connections(&plane, 0);
    }
    plane.finish();
    let plane = Plane::start(&Declared {
        host: "deny_networks = [\"127.0.0.0/8\"]".to_owned(),
        ..declared(2)
    });
    for mut client in crowd(plane.address(), 64) {
        assert_ne!(client.receive_all(PATIENCE).1, End::Open);
    }
    assert_eq!(plane.workers("accepted"), 64);
    assert_eq!(plane.hits("client_denied"), 64);
    assert_eq!(plane.workers("handed_over"), 0);
    plane.finish();
}

/// Clients come without a pause while the plane is stopped: each is answered, or its connection
/// ends at once, and the plane does not wait for any that nobody has.
#[test]
fn a_stop_in_the_midst_loses_no_connection_between_workers() {
    for round in 0..5 {
        let mut plane = Plane::start(&declared(2));
        let address = plane.address();
        let answered = Arc::new(AtomicUsize::new(0));
        // These hold the one worker or the other above its share, so that there is much to move.
        let held = crowd(address, 40);
        let coming: Vec<_> = (0..8)
            .map(|_| {
                let answered = Arc::clone(&answered);
                aside(move || {
                    let mut refused = 0;
                    while refused < 20 {
                        match TcpStream::connect_timeout(&address, PATIENCE) {
                            Ok(stream) => {
                                let mut client = Peer::new(stream);
                                let _ = client.stream.write_all(GET);
                                let (bytes, end) = ask_once(&mut client);
                                assert_ne!(end, End::Open, "nobody has it: {bytes:?}");
                                if bytes.ends_with(b"ok") {
                                    answered.fetch_add(1, Ordering::Relaxed);
                                } else {
                                    assert!(bytes.is_empty(), "{bytes:?}");
                                }
                            }
                            Err(_) => refused += 1,
                        }
                    }
                })
            })
            .collect();
        let several = || answered.load(Ordering::Relaxed) > 100 * (1 + round);
        assert!(eventually(20, several), "clients are served");
        plane.signal("TERM");
        let begun = Instant::now();
        assert_eq!(plane.wait(20).code(), Some(0));
        // Of 30 s that a drain has; a connection of the last moment has 2 s.
        assert!(begun.elapsed() < Duration::from_secs(15));
        coming
            .into_iter()
            .for_each(|it| it.join().expect("no connection is lost"));
        for mut client in held {
            assert_ne!(client.receive_all(PATIENCE).1, End::Open);
        }
    }
}

/// One response, or how the connection ended without.
fn ask_once(client: &mut Peer) -> (Vec<u8>, End) {
    let mut bytes = Vec::new();
    loop {
        let (more, end) = client.receive_some();
        let came = !more.is_empty();
        bytes.extend(more);
        if bytes.ends_with(b"ok") {
            return (bytes, End::Closed);
        }
        if !came {
            return (bytes, end);
        }
    }
}
