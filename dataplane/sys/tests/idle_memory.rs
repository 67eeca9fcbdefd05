//! What an open connection costs that waits for its next request, in memory of this process.

use meridian_sys::process::{Limit, raise_limit};
use meridian_sys::{ClassId, Event, Runtime, RuntimeConfig, listener};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The budget, in bytes.
const BYTES_MAX: u64 = 600;

/// Memory that this process has to itself and has written to, in bytes.
fn private_dirty() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("the kernel tells");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"))
        .expect("it is there");
    let kilobytes: u64 = line
        .trim_end_matches("kB")
        .trim()
        .parse()
        .expect("a number");
    kilobytes * 1024
}

/// Connects `count` clients and runs until as many sockets are parked.
fn park(runtime: &Runtime, address: SocketAddr, clients: &mut Vec<TcpStream>, count: usize) {
    let target = runtime.parked().len() + count;
    let handle = runtime.clone();
    let connecting = std::thread::spawn(move || {
        (0..count)
            .map(|_| TcpStream::connect(address).expect("it accepts"))
            .collect::<Vec<_>>()
    });
    runtime.spawn(ClassId::UNKNOWN, async move {
        while handle.statistics().sockets < target as u64 {
            handle
                .stirred(handle.deadline(Duration::from_millis(20)))
                .await;
        }
        handle.stop();
    });
    let deadline_ns = runtime.deadline(Duration::from_secs(60));
    runtime
        .run(|event| {
            if let Event::Accepted(_, socket) = event {
                socket.park(deadline_ns, 1);
            }
        })
        .expect("the loop runs");
    clients.extend(connecting.join().expect("all connect"));
    assert_eq!(runtime.parked().len(), target);
}

#[test]
fn an_idle_connection_costs_little_memory() {
    let files = raise_limit(Limit::OpenFiles).expect("it can be raised");
    // Both ends of each connection are here.
    let count = 10_000.min((files as usize - 100) / 2);
    let socket = listener::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener::address_of(&socket).expect("it has an address");
    let runtime = Runtime::new(RuntimeConfig::default()).expect("io_uring is available");
    runtime.listen(socket);
    let mut clients = Vec::with_capacity(count);
    park(&runtime, address, &mut clients, 50);
    let before = private_dirty();
    park(&runtime, address, &mut clients, count - 50);
    let each = private_dirty().saturating_sub(before) / (count as u64 - 50);
    eprintln!("{count} idle connections, {each} bytes each");
    assert!(each <= BYTES_MAX, "{each} bytes each");
    assert!(each >= 64, "{each} bytes each can not be right");
    assert_eq!(runtime.statistics().stale, 0);
}
