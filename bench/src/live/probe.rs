//! Single questions to a server: whether it serves, and from where.

use std::io::{Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::configuration::Sites;
use crate::failure::Failure;
use crate::message_head::{HEAD_BYTES_MAX, backend_name, head_end, status};
use crate::program::Program;
use crate::secure::Wire;

/// An answer is waited for so long before another connection is made: a server that starts may
/// hold the first ones in its backlog.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// From one refusal to the next try.
const PAUSE: Duration = Duration::from_micros(500);

/// Who answered one request on a connection of its own; `None` when no 200 came.
pub(super) fn ask(sites: &Sites, site: u32) -> Option<String> {
    let hostname = sites.hostname(site);
    let secure = match &sites.certified {
        Some(certified) => Some(certified.client.named(&hostname).ok()?),
        None => None,
    };
    let mut stream = Wire::open(sites.listen, ANSWER_LIMIT, secure.as_ref()).ok()?;
    (stream.socket().set_read_timeout(Some(ANSWER_LIMIT))).ok()?;
    let request = format!("GET / HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut received = Vec::new();
    let limit = HEAD_BYTES_MAX as u64;
    let read = stream.take(limit).read_to_end(&mut received);
    // nginx ends a connection by TLS without close_notify; the response has a length.
    if read.is_err() && sites.certified.is_none() {
        return None;
    }
    let head = &received[..head_end(&received)?];
    if status(head) != Some(200) {
        return None;
    }
    Some(String::from_utf8_lossy(backend_name(head)?).into_owned())
}

/// Asks until `backend` answers; returns when that was.
pub(super) fn wait_for(
    program: &mut Program,
    sites: &Sites,
    site: u32,
    backend: &str,
    limit: Duration,
) -> Result<Instant, Failure> {
    let begin = Instant::now();
    let mut seen = None;
    while begin.elapsed() < limit {
        seen = ask(sites, site);
        if seen.as_deref() == Some(backend) {
            return Ok(Instant::now());
        }
        program.check_alive(&format!("answer from {backend}"))?;
        sleep(PAUSE);
    }
    Err(Failure::new(format!(
        "{} at {} was not served by {backend} within {} s; last seen: {}",
        sites.hostname(site),
        sites.listen,
        limit.as_secs(),
        seen.as_deref().unwrap_or("no right answer")
    )))
}
