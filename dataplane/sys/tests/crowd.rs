//! Very many connections that all speak at the same moment: more completions than the queue
//! holds and more receives than there are buffers.

use meridian_sys::process::{Limit, raise_limit};
use meridian_sys::{ClassId, Event, Runtime, RuntimeConfig, Stir, listener};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

#[test]
fn a_crowd_that_speaks_at_once_is_answered() {
    let files = raise_limit(Limit::OpenFiles).expect("it can be raised");
    // Both ends of each connection are here.
    let count = 9_000.min((files as usize - 100) / 2);
    let socket = listener::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener::address_of(&socket).expect("it has an address");
    let runtime = Runtime::new(RuntimeConfig {
        buffers_max: 512,
        ..RuntimeConfig::default()
    })
    .expect("io_uring is available");
    runtime.listen(socket);
    let notifier = runtime.notifier();
    // The worker sleeps from the first notice until it is told that all have spoken.
    let (spoken, all_spoke) = mpsc::channel();
    let clients = std::thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..count)
            .map(|_| TcpStream::connect(address).expect("it accepts"))
            .collect();
        notifier.notify();
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&n.to_le_bytes()).expect("it writes");
        }
        spoken.send(()).expect("the worker waits");
        for (n, stream) in streams.iter_mut().enumerate() {
            let mut got = [0; 8];
            stream.read_exact(&mut got).expect("it is answered");
            assert_eq!(usize::from_le_bytes(got), n);
        }
    });
    let (handle, left) = (runtime.clone(), Rc::new(Cell::new(count)));
    runtime
        .run(move |event| match event {
            Event::Accepted(_, socket) => {
                socket.park(0, 0);
            }
            Event::Notified => all_spoke.recv().expect("the clients speak"),
            Event::Readable(_) => {}
            Event::Stirred {
                why: Stir::Ended, ..
            } => {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    handle.stop();
                }
            }
            Event::Stirred { socket, .. } => handle.spawn(ClassId::UNKNOWN, async move {
                let runtime = socket.runtime();
                while let Poll::Ready(Ok(Some(bytes))) = socket.poll_recv() {
                    // Held for a while, as one that waits for a backend would be.
                    let until_ns = runtime.deadline(Duration::from_millis(5));
                    runtime.stirred(until_ns).await;
                    socket.send(bytes, 10_000_000_000).await.expect("it goes");
                }
                socket.park(0, 0);
            }),
        })
        .expect("the loop runs");
    clients.join().expect("all were answered");
    let numbers = runtime.statistics();
    assert_eq!(numbers.pool.buffers_max, 512);
    assert!(numbers.starved + numbers.over_share > 0, "{numbers:?}");
    assert_eq!((numbers.stale, numbers.pool.in_use), (0, 0), "{numbers:?}");
}
