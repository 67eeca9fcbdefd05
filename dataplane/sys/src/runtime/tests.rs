//! The runtime against the real kernel, and with faults injected.

use super::*;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;

mod buffers;
mod closing;
mod connecting;
mod datagrams;
mod fairness;
mod idleness;
mod listening;
mod parking;
mod transfer;

/// Faults that a test asks for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Submit no more than this many bytes with one send.
    pub(super) send_bytes_max: Option<usize>,
    /// What the next operations of a kind come to, first come first served: the kernel is
    /// given nothing to do, so no bytes and no descriptors of its are lost by the lie.
    pub(super) results: VecDeque<(Op, i32)>,
    diverted: HashMap<u64, i32>,
}

impl Faults {
    pub(super) fn shorten<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.send_bytes_max.unwrap_or(usize::MAX))]
    }

    pub(super) fn divert(&mut self, submission: &squeue::Entry) -> squeue::Entry {
        let token = submission.get_user_data();
        match self.results.front() {
            Some(&(wanted, result)) if wanted == Token::unpack(token).op => {
                self.results.pop_front();
                self.diverted.insert(token, result);
                opcode::Nop::new().build().user_data(token)
            }
            _ => submission.clone(),
        }
    }

    pub(super) fn alter(&mut self, completion: Completion) -> Completion {
        match self.diverted.remove(&completion.token) {
            Some(result) => Completion {
                result,
                ..completion
            },
            None => completion,
        }
    }
}

/// Nanoseconds of a second.
const SECOND_NS: u64 = 1_000_000_000;

fn runtime() -> Runtime {
    runtime_of(BUFFERS_MAX)
}

fn runtime_of(buffers_max: u16) -> Runtime {
    Runtime::new(RuntimeConfig {
        buffers_max,
        ..RuntimeConfig::default()
    })
    .expect("io_uring is available")
}

fn loopback() -> (OwnedFd, SocketAddr) {
    let listener = listener::bind("127.0.0.1:0".parse().expect("an address")).expect("it binds");
    let address = listener::address_of(&listener).expect("it has an address");
    (listener, address)
}

/// A runtime that listens, and where.
fn listening() -> (Runtime, SocketAddr) {
    listening_by(RuntimeConfig::default())
}

/// A runtime that was made like this and listens, and where.
fn listening_by(config: RuntimeConfig) -> (Runtime, SocketAddr) {
    let (listener, address) = loopback();
    let runtime = Runtime::new(config).expect("io_uring is available");
    runtime.listen(listener);
    (runtime, address)
}

/// A runtime with `count` accepted connections, and their clients.
fn connected(count: usize) -> (Runtime, Vec<Socket>, Vec<TcpStream>) {
    let (runtime, address) = listening();
    let clients = (0..count)
        .map(|_| TcpStream::connect(address).expect("it accepts"))
        .collect();
    let sockets = Rc::new(RefCell::new(VecDeque::new()));
    let (queue, handle) = (Rc::clone(&sockets), runtime.clone());
    runtime
        .run(move |event| {
            if let Event::Accepted(_, socket) = event {
                queue.borrow_mut().push_back(socket);
                if queue.borrow().len() == count {
                    handle.stop();
                }
            }
        })
        .expect("the loop runs");
    let sockets = sockets.take().into_iter().collect();
    (runtime, sockets, clients)
}

fn fail_next(runtime: &Runtime, op: Op, errno: i32) {
    let mut inner = runtime.core.inner.borrow_mut();
    inner.faults.results.push_back((op, -errno));
}

/// Bytes that differ from their neighbours.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// Runs `main` as a task until it ends, giving other events than its own to `on_event`.
fn run_until<T: 'static>(
    runtime: &Runtime,
    main: impl Future<Output = T> + 'static,
    on_event: impl FnMut(Event),
) -> T {
    let output = Rc::new(Cell::new(None));
    let (slot, handle) = (Rc::clone(&output), runtime.clone());
    runtime.spawn(ClassId::UNKNOWN, async move {
        slot.set(Some(main.await));
        handle.stop();
    });
    runtime.run(on_event).expect("the loop runs");
    output.take().expect("the task ended")
}

/// Sleeps without keeping the loop from its work.
async fn pause(runtime: &Runtime, millis: u64) {
    let until_ns = runtime.deadline(Duration::from_millis(millis));
    while runtime.now_ns() < until_ns {
        runtime.stirred(until_ns).await;
    }
}

/// Gives the next accepted connection.
async fn accepted(accepted: &RefCell<VecDeque<Socket>>, runtime: &Runtime) -> Socket {
    let until_ns = runtime.deadline(Duration::from_secs(5));
    while runtime.now_ns() < until_ns {
        let next = accepted.borrow_mut().pop_front();
        if let Some(socket) = next {
            return socket;
        }
        runtime.yield_now().await;
    }
    panic!("nobody connected within 5 s")
}

/// Closes whatever is left and checks that nothing was lost and nothing came that was not due.
fn assert_clean(runtime: &Runtime) {
    runtime.stop_listening();
    for (id, _) in runtime.parked() {
        drop(runtime.unpark(id));
    }
    let handle = runtime.clone();
    run_until(
        runtime,
        async move {
            for _ in 0..200 {
                if handle.statistics().sockets == 0 {
                    break;
                }
                pause(&handle, 10).await;
            }
        },
        drop,
    );
    let numbers = runtime.statistics();
    assert_eq!(numbers.sockets, 0, "sockets left: {numbers:?}");
    assert_eq!(numbers.stale, 0, "stale completions: {numbers:?}");
    assert_eq!(numbers.pool.in_use, 0, "buffers lost: {numbers:?}");
}

/// A seeded generator (xorshift64*): enough to vary a test, and it runs again from its seed.
struct Dice(u64);

impl Dice {
    /// From MERIDIAN_SEED, or from the clock; says which on stderr.
    fn seeded() -> Dice {
        let seed = std::env::var("MERIDIAN_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| {
                let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
                since.as_nanos() as u64 | 1
            });
        eprintln!("MERIDIAN_SEED={seed}");
        Dice(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the structure is ours and outlives the call.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Makes the stream reset the connection when it is dropped.
fn reset_when_dropped(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option value is a linger that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            std::ptr::from_ref(&linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}
