//! The runtime against the real kernel, and with faults injected.

use super::*;

/// Faults that a test asks for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Submit no more than this many bytes with one send.
    pub(super) send_bytes_max: Option<usize>,
    /// Answers to give instead of the kernel's, by kind of operation, first come first served.
    pub(super) results: VecDeque<(Op, i32)>,
}

impl Faults {
    pub(super) fn shorten<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.send_bytes_max.unwrap_or(usize::MAX))]
    }

    pub(super) fn alter(&mut self, completion: Completion) -> Completion {
        let op = Token::unpack(completion.token).op;
        match self.results.front() {
            Some(&(wanted, result)) if wanted == op => {
                self.results.pop_front();
                Completion {
                    result,
                    ..completion
                }
            }
            _ => completion,
        }
    }
}

fn runtime() -> Runtime {
    Runtime::new(RuntimeConfig::default()).expect("io_uring is available")
}

fn loopback() -> (OwnedFd, SocketAddr) {
    let listener = listener::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener::address_of(&listener).expect("it has an address");
    (listener, address)
}

/// Sends back what comes in, parking between messages, until `clients` connections have ended.
fn echo_until(runtime: &Runtime, clients: usize) {
    let left = Rc::new(Cell::new(clients));
    let handle = runtime.clone();
    runtime
        .run(move |event| match event {
            Event::Accepted(_, socket) => {
                socket.park(0, 7);
            }
            Event::Stirred { socket, tag, why, .. } => {
                assert_eq!(tag, 7);
                if why == Stir::Ended {
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        handle.stop();
                    }
                    return;
                }
                handle.spawn(ClassId::UNKNOWN, async move {
                    while let Poll::Ready(Ok(Some(bytes))) = socket.poll_recv() {
                        socket.send(bytes, 1_000_000_000).await.expect("the client reads");
                    }
                    socket.park(0, 7);
                });
            }
            Event::Notified => {}
        })
        .expect("the loop runs");
}

#[test]
fn bytes_come_back_as_they_went() {
    let (listener, address) = loopback();
    let client = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).expect("it accepts");
        for size in [1, 100, 31_000, 200_000, 3] {
            let sent: Vec<u8> = (0..size).map(|n: u32| (n * 7) as u8).collect();
            let mut writer = stream.try_clone().expect("a second handle");
            let copy = sent.clone();
            let writing = std::thread::spawn(move || writer.write_all(&copy));
            let mut got = vec![0; sent.len()];
            stream.read_exact(&mut got).expect("it all comes back");
            writing.join().expect("no panic").expect("it writes");
            assert_eq!(got, sent);
        }
    });
    let runtime = runtime();
    runtime.listen(listener);
    echo_until(&runtime, 1);
    client.join().expect("the client saw its bytes");
    let numbers = runtime.statistics();
    assert_eq!(numbers.stale, 0);
    assert_eq!(numbers.pool.in_use, 0);
}
