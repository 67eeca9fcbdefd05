//! Where connections go, and that none is lost between two workers.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A connection, which somebody else can tell from one that is closed.
fn connection() -> (Accepted, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a port");
    let address = listener.local_addr().expect("it is bound");
    let other = TcpStream::connect(address).expect("it listens");
    let (stream, _) = listener.accept().expect("somebody connected");
    let accepted = Accepted {
        descriptor: stream.into(),
        port: 80,
        secure: false,
        arrival: Arrival::Client,
    };
    (accepted, other)
}

fn opened(workers: usize) -> AcceptQueues {
    let queues = AcceptQueues::new(workers);
    for queue in &queues.0 {
        queue.load.store(0, Ordering::SeqCst);
    }
    queues
}

fn loads(queues: &AcceptQueues) -> Vec<u64> {
    let load = |queue: &AcceptQueue| queue.load.load(Ordering::SeqCst);
    queues.0.iter().map(load).collect()
}

/// Where a connection goes that `worker` accepted.
fn place(queues: &AcceptQueues, worker: usize) -> usize {
    queues.claim(worker).unwrap_or_else(|| {
        queues.enter(worker);
        worker
    })
}

#[test]
fn connections_spread_whoever_accepts_them() {
    for (workers, connections) in [(2, 64), (2, 512), (4, 100), (32, 3200)] {
        let queues = opened(workers);
        for _ in 0..connections {
            place(&queues, 0);
        }
        let share = connections as f64 / workers as f64;
        for load in loads(&queues) {
            let off = (load as f64 - share).abs();
            assert!(off <= 0.04 * share + 1.0, "{:?}", loads(&queues));
        }
    }
}

#[test]
fn two_that_are_even_keep_most_of_what_they_accept() {
    let queues = opened(2);
    for turn in 0..1000 {
        assert_eq!(place(&queues, turn % 2), turn % 2);
    }
    // The one may have a little more.
    let more = (0..100).take_while(|_| place(&queues, 0) == 0).count();
    assert_eq!(more as u64, 500 / ACCEPT_MARGIN_PARTS + 1);
}

#[test]
fn one_worker_counts_nothing() {
    let queues = AcceptQueues::new(1);
    assert_eq!(queues.claim(0), None);
    queues.enter(0);
    queues.leave(0);
    queues.empty(0, |_| panic!("there is nobody else"));
    assert!(queues.close(0));
    queues.end(0);
}

#[test]
fn who_has_not_started_or_has_ended_is_handed_nothing() {
    let queues = AcceptQueues::new(2);
    queues.0[0].load.store(5, Ordering::SeqCst);
    assert_eq!(queues.claim(0), None);
    queues.0[1].load.store(0, Ordering::SeqCst);
    assert_eq!(queues.claim(0), Some(1));
    assert!(!queues.close(1), "a connection is on its way");
    queues.leave(1);
    assert!(queues.close(1));
    assert!(queues.close(1), "it is closed already");
    assert_eq!(queues.claim(0), None);
}

#[test]
fn what_does_not_fit_or_comes_too_late_is_given_back() {
    let queues = opened(2);
    queues.0[0].load.store(1 << 20, Ordering::SeqCst);
    let mut others = Vec::new();
    for _ in 0..ACCEPT_QUEUE_MAX.min(256) {
        assert_eq!(queues.claim(0), Some(1));
        let (accepted, other) = connection();
        queues.hand_over(1, accepted).expect("there is room");
        others.push(other);
    }
    // The rest of the room is filled with shares of one descriptor.
    let (accepted, other) = connection();
    while queues.0[1].waiting.len() < ACCEPT_QUEUE_MAX {
        assert_eq!(queues.claim(0), Some(1));
        let share = Accepted {
            descriptor: accepted.descriptor.try_clone().expect("there is room"),
            ..accepted
        };
        queues.hand_over(1, share).expect("there is room");
    }
    assert_eq!(queues.claim(0), Some(1));
    assert!(queues.hand_over(1, accepted).is_err());
    assert_eq!(loads(&queues)[1], ACCEPT_QUEUE_MAX as u64);
    others.push(other);
    // Who ends closes what waits, and what comes afterwards goes back.
    assert_eq!(queues.claim(0), Some(1));
    queues.end(1);
    for other in &mut others {
        let read = std::io::Read::read(other, &mut [0]);
        assert_eq!(read.expect("it is closed in order"), 0);
    }
    let (late, _other) = connection();
    assert!(queues.hand_over(1, late).is_err());
    assert_eq!(loads(&queues)[1], CLOSED | ACCEPT_QUEUE_MAX as u64);
}

/// Two threads hand over to a third one, which ends in the midst: each connection is served by it or
/// comes back, and nobody ends with something on its way.
#[test]
fn nothing_is_lost_when_a_worker_ends_in_the_midst() {
    const EACH: usize = 300;
    for _ in 0..20 {
        let queues = Arc::new(opened(3));
        let kept = Arc::new(AtomicUsize::new(0));
        let acceptors: Vec<_> = (0..2)
            .map(|worker| {
                let (queues, kept) = (Arc::clone(&queues), Arc::clone(&kept));
                queues.0[worker].load.store(1 << 20, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let (accepted, _other) = connection();
                    for _ in 0..EACH {
                        let share = Accepted {
                            descriptor: accepted.descriptor.try_clone().expect("there is room"),
                            ..accepted
                        };
                        let moved =
                            queues.claim(worker) == Some(2) && queues.hand_over(2, share).is_ok();
                        if !moved {
                            kept.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        let mut served = 0;
        loop {
            queues.empty(2, |_| {
                served += 1;
                queues.leave(2);
            });
            if served > EACH / 2 && queues.close(2) {
                break;
            }
            std::thread::yield_now();
        }
        for acceptor in acceptors {
            acceptor.join().expect("it does not panic");
        }
        assert!(queues.0[2].waiting.is_empty());
        assert_eq!(served + kept.load(Ordering::SeqCst), 2 * EACH);
    }
}
