//! Single questions to a server: whether it serves, and from where.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::message_head::{HEAD_BYTES_MAX, backend_name, head_end, status};
use crate::program::Program;

/// An answer is waited for so long before another connection is made: a server that starts may
/// hold the first ones in its backlog.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// From one refusal to the next try.
const PAUSE: Duration = Duration::from_micros(500);

/// Who answered one request on a connection of its own; `None` when no 200 came.
pub(super) fn ask(address: SocketAddr, hostname: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_LIMIT).ok()?;
    stream.set_read_timeout(Some(ANSWER_LIMIT)).ok()?;
    stream.set_nodelay(true).ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut received = Vec::new();
    let limit = HEAD_BYTES_MAX as u64;
    stream.take(limit).read_to_end(&mut received).ok()?;
    let head = &received[..head_end(&received)?];
    if status(head) != Some(200) {
        return None;
    }
    Some(String::from_utf8_lossy(backend_name(head)?).into_owned())
}

/// Asks until `backend` answers; returns when that was.
pub(super) fn wait_for(
    program: &mut Program,
    address: SocketAddr,
    hostname: &str,
    backend: &str,
    limit: Duration,
) -> Result<Instant, Failure> {
    let begin = Instant::now();
    let mut seen = None;
    while begin.elapsed() < limit {
        seen = ask(address, hostname);
        if seen.as_deref() == Some(backend) {
            return Ok(Instant::now());
        }
        program.check_alive(&format!("answer from {backend}"))?;
        sleep(PAUSE);
    }
    Err(Failure::new(format!(
        "{hostname} at {address} was not served by {backend} within {} s; last seen: {}",
        limit.as_secs(),
        seen.as_deref().unwrap_or("no right answer")
    )))
}
