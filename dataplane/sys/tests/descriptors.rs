//! No descriptor is left behind, whatever was under way when a runtime ended.

use meridian_sys::{ClassId, Event, Runtime, RuntimeConfig, listener};
use std::cell::RefCell;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("the kernel tells")
        .count()
}

/// A runtime that ends with connections accepted, parked, sending, connecting, and waiting to
/// be accepted.
fn end_in_the_middle(turns: u32) {
    let socket = listener::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener::address_of(&socket).expect("it has an address");
    let runtime = Runtime::new(RuntimeConfig::default()).expect("io_uring is available");
    runtime.listen(socket);
    let mut clients: Vec<TcpStream> = Vec::new();
    let handle = runtime.clone();
    runtime.spawn(ClassId::UNKNOWN, async move {
        for _ in 0..turns {
            clients.extend((0..5).map(|_| TcpStream::connect(address).expect("it accepts")));
            let _opens = handle
                .start_connect(address, ClassId::UNKNOWN)
                .expect("it starts");
            handle.yield_now().await;
        }
        handle.stop();
    });
    let kept = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&kept);
    let mut seen = 0;
    runtime
        .run(move |event| {
            if let Event::Accepted(_, socket) = event {
                seen += 1;
                match seen % 3 {
                    0 => drop(socket),
                    1 => drop(socket.park(0, 0)),
                    _ => {
                        socket.start_send(vec![7; 8 << 20], false);
                        keep.borrow_mut().push(socket);
                    }
                }
            }
        })
        .expect("the loop runs");
    assert!(turns < 5 || seen_any(&runtime), "nothing was under way");
    // These were accepted by nobody when the ring ends, or at that very moment by the kernel.
    let _late = [(); 3].map(|()| TcpStream::connect(address).expect("the backlog takes it"));
    drop(runtime);
    drop(kept);
}

fn seen_any(runtime: &Runtime) -> bool {
    runtime.statistics().sockets > 0
}

#[test]
fn an_ended_runtime_leaves_no_descriptor_open() {
    end_in_the_middle(2);
    let before = open_descriptors();
    for turns in 0..12 {
        end_in_the_middle(turns);
    }
    // A ring's own descriptors may be given up by the kernel a moment later.
    let mut after = open_descriptors();
    for _ in 0..100 {
        if after <= before {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
        after = open_descriptors();
    }
    assert_eq!(after, before);
}
