//! UDP sockets by the ring.

use super::*;
use crate::datagram::{Batch, DatagramSocket};
use crate::limits::DATAGRAMS_MAX;
use std::net::UdpSocket;

/// Answers everything with itself until `count` were answered.
fn echo(runtime: &Runtime, socket: &Rc<DatagramSocket>, count: usize, looks_again: bool) {
    let id = runtime.watch(Rc::clone(socket));
    let mut batch = Batch::new(64);
    let mut left = count;
    let (handle, socket) = (runtime.clone(), Rc::clone(socket));
    runtime
        .run(move |event| {
            if !matches!(event, Event::Readable(which) if which == id) {
                return;
            }
            loop {
                let received = batch.receive(&socket).expect("it can be read");
                batch.answer(received, |_, query, room| {
                    room[..query.len()].copy_from_slice(query);
                    Some(query.len())
                });
                left -= batch.send(&socket).sent;
                if left == 0 {
                    handle.stop();
                }
                if received < DATAGRAMS_MAX {
                    break;
                }
                if looks_again {
                    handle.look_again(id);
                    break;
                }
            }
        })
        .expect("the loop runs");
}

#[test]
fn the_ring_tells_of_datagrams() {
    let runtime = runtime();
    let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
    let socket = Rc::new(socket);
    let address = socket.address();
    let client = std::thread::spawn(move || {
        let client = UdpSocket::bind("127.0.0.1:0").expect("it binds");
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("it is set");
        // One after the other: each comes to a runtime that sleeps.
        for n in 0..100_u8 {
            client.send_to(&[n], address).expect("it goes");
            let mut got = [0; 8];
            assert_eq!(client.recv(&mut got).expect("it is answered"), 1);
            assert_eq!(got[0], n);
        }
    });
    echo(&runtime, &socket, 100, false);
    client.join().expect("the client got all");
}

#[test]
fn what_was_left_is_told_of_when_that_is_asked_for() {
    let runtime = runtime();
    let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
    let socket = Rc::new(socket);
    let client = UdpSocket::bind("127.0.0.1:0").expect("it binds");
    // All of them before the runtime looks for the first time.
    let count = 3 * DATAGRAMS_MAX;
    for n in 0..count {
        client
            .send_to(&n.to_be_bytes(), socket.address())
            .expect("it goes");
    }
    echo(&runtime, &socket, count, true);
}

#[test]
fn a_poll_that_ends_is_begun_again() {
    let runtime = runtime();
    let fault = (Op::Readable, -libc::ENOMEM);
    let mut inner = runtime.core.inner.borrow_mut();
    inner.faults.results.push_back(fault);
    drop(inner);
    let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
    let socket = Rc::new(socket);
    let client = UdpSocket::bind("127.0.0.1:0").expect("it binds");
    let address = socket.address();
    let sending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        client.send_to(b"late", address).expect("it goes");
    });
    echo(&runtime, &socket, 1, false);
    sending.join().expect("it was sent");
}

#[test]
fn nothing_is_told_of_a_socket_that_is_not_watched_any_more() {
    let runtime = runtime();
    let socket = DatagramSocket::bind("127.0.0.1:0".parse().expect("one")).expect("it binds");
    let address = socket.address();
    runtime.watch(Rc::new(socket));
    let client = UdpSocket::bind("127.0.0.1:0").expect("it binds");
    client.send_to(b"early", address).expect("it goes");
    runtime.notifier().notify();
    let handle = runtime.clone();
    let mut noted = 0;
    runtime
        .run(|event| {
            noted += 1;
            match event {
                Event::Readable(id) => {
                    handle.stop_watching();
                    handle.look_again(id);
                    handle.stop();
                }
                _ => assert!(noted < 3),
            }
        })
        .expect("the loop runs");
    let handle = runtime.clone();
    handle.notifier().notify();
    runtime
        .run(|event| {
            assert!(!matches!(event, Event::Readable(_)));
            handle.stop();
        })
        .expect("the loop runs");
    // The address is free.
    UdpSocket::bind(address).expect("it binds");
}
