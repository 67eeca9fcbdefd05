//! What is known of one request, filled as it goes: most of it is never asked for, so that filling
//! it is a store here and there, and the texts stay where they are until somebody wants them.

use crate::access_log::{CutTexts, Entry};
use crate::counters::{Cause, SiteCounters};
use crate::request_id::{RequestIds, RequestNumber};
use crate::upstream::Upstream;
use crate::worker::Worker;
use meridian_model::limits::FAILURE_TEXT_BYTES_MAX;
use meridian_model::snapshot::{SiteId, TlsVersion};
use meridian_model::usage::Column;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

/// See the module. Points in time are on the worker's clock, 0 where they did not come.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// What its id is made of.
    number: Cell<Option<RequestNumber>>,
    /// The id of a trusted peer that was kept instead.
    pub(crate) kept_id: RefCell<Option<Box<[u8]>>>,
    /// Method, target and host, as the first two lines of a head; what a backend got has more.
    head: RefCell<Option<Rc<Vec<u8>>>>,
    /// The revision that it is served under.
    pub(crate) revision: Cell<u64>,
    /// When its head was whole.
    pub(crate) admitted_ns: Cell<u64>,
    /// When a backend was first asked.
    asked_ns: Cell<u64>,
    /// Spent connecting.
    connecting_ns: Cell<u64>,
    /// When the last try had its connection.
    connected_ns: Cell<u64>,
    /// When the backend's final response was begun.
    answered_ns: Cell<u64>,
    /// Of the response that was begun; 0 before that.
    status: Cell<u16>,
    /// Asked last.
    backend: RefCell<Option<Rc<Upstream>>>,
    tries: Cell<u32>,
    reused: Cell<bool>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    cause: Cell<Option<Cause>>,
    told: Cell<bool>,
}

impl Record {
    /// Keeps the head that method, target and host are read from.
    pub(crate) fn keep_head(&self, head: &Rc<Vec<u8>>) {
        self.head.replace(Some(Rc::clone(head)));
    }

    /// Gives the head away.
    pub(crate) fn take_head(&self) -> Option<Rc<Vec<u8>>> {
        self.head.take()
    }

    /// A backend is asked.
    pub(crate) fn begin_try(&self, upstream: &Rc<Upstream>, now_ns: u64) {
        self.backend.replace(Some(Rc::clone(upstream)));
        self.tries.set(self.tries.get() + 1);
        if self.asked_ns.get() == 0 {
            self.asked_ns.set(now_ns);
        }
    }

    /// Connecting to it came to its end, well or not, after so long.
    pub(crate) fn add_connecting(&self, took_ns: u64) {
        self.connecting_ns.set(self.connecting_ns.get() + took_ns);
    }

    /// There is a connection to it, used before if `reused`.
    pub(crate) fn connected(&self, reused: bool, now_ns: u64) {
        self.reused.set(reused);
        self.connected_ns.set(now_ns);
    }

    /// A response of this status is begun.
    pub(crate) fn responded(&self, status: u16) {
        self.status.set(status);
    }

    /// It is the backend's, and came now.
    pub(crate) fn answered(&self, now_ns: u64) {
        self.answered_ns.set(now_ns);
    }

    /// Why it ends badly. `true` the first time: what goes wrong after that follows from it.
    pub(crate) fn fail(&self, cause: Cause) -> bool {
        let first = self.cause.get().is_none();
        if first {
            self.cause.set(Some(cause));
        }
        first
    }

    /// Why it ended badly.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get()
    }

    /// Its number, given now if it had none.
    pub(crate) fn number(&self, ids: &RequestIds) -> RequestNumber {
        let number = self.number.get().unwrap_or_else(|| ids.next());
        self.number.set(Some(number));
        number
    }

    /// Whether this is the first time that it is told of.
    pub(crate) fn tell(&self) -> bool {
        !self.told.replace(true)
    }

    /// Whether it was told of.
    pub(crate) fn is_told(&self) -> bool {
        self.told.get()
    }

    /// Bytes of the client's came that are counted already.
    pub(crate) fn came(&self, bytes: u64) {
        self.bytes_in.set(self.bytes_in.get() + bytes);
    }

    /// Bytes to the client went that are counted already.
    pub(crate) fn went(&self, bytes: u64) {
        self.bytes_out.set(self.bytes_out.get() + bytes);
    }
}

/// Where bytes are counted as they pass: for the bill and for the record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic<'r> {
    pub(crate) counters: &'r SiteCounters,
    pub(crate) record: &'r Record,
}

impl Traffic<'_> {
    /// Bytes came from the client.
    pub(crate) fn came(self, bytes: usize) {
        self.counters.add(Column::BytesIn, bytes as u64);
        self.record.came(bytes as u64);
    }

    /// Bytes went to the client.
    pub(crate) fn went(self, bytes: usize) {
        self.counters.add(Column::BytesOut, bytes as u64);
        self.record.went(bytes as u64);
    }
}

/// What a record does not know by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'c> {
    pub(crate) request_id: &'c [u8],
    /// The site's owner and its name; `-` for none.
    pub(crate) site: (&'c str, &'c str),
    pub(crate) worker: usize,
    pub(crate) client: Option<SocketAddr>,
    /// The wall clock now, in microseconds since 1970.
    pub(crate) wall_us: u64,
    /// When the request began and when it ended.
    pub(crate) span_ns: (u64, u64),
    /// What the kernel took of a send that did not end well.
    pub(crate) sent_bytes: u64,
    /// The version of TLS that the client speaks; none where it speaks none.
    pub(crate) tls: Option<TlsVersion>,
}

impl Record {
    /// Gives `each` what there is to tell.
    pub(crate) fn describe(&self, known: &Circumstances<'_>, each: impl FnOnce(Entry<'_>)) {
        let head = self.head.borrow();
        let asked = Asked::read(head.as_ref().map_or(&[][..], |head| head));
        let backend = self.backend.borrow();
        let key = backend.as_ref().map(|upstream| upstream.key());
        let (began_ns, ended_ns) = known.span_ns;
        let total_us = ended_ns.saturating_sub(began_ns) / 1000;
        each(Entry {
            time_us: known.wall_us.saturating_sub(total_us),
            request_id: known.request_id,
            tenant: known.site.0.as_bytes(),
            site: known.site.1.as_bytes(),
            revision: self.revision.get(),
            worker: known.worker as u64,
            client: known.client,
            method: asked.method,
            host: asked.host,
            path: asked.path,
            status: Some(self.status.get()).filter(|&status| status > 0),
            cause: self.cause.get(),
            pool: key.map_or(&[], |key| key.pool().as_bytes()),
            backend: key.map_or(&[], |key| key.backend().as_bytes()),
            tries: u64::from(self.tries.get()),
            reused: self.reused.get(),
            queue_us: span_us(self.admitted_ns.get(), self.asked_ns.get()),
            connect_us: (self.tries.get() > 0).then(|| self.connecting_ns.get() / 1000),
            first_byte_us: span_us(self.connected_ns.get(), self.answered_ns.get()),
            total_us,
            bytes_in: self.bytes_in.get(),
            bytes_out: self.bytes_out.get() + known.sent_bytes,
            cut: CutTexts::default(),
            tls: known.tls,
        });
    }
}

/// What is told of a tunnel when it ends: all that was known of the request that opened it, as an
/// entry's bytes, since neither the request nor its site is there by then.
#[derive(Debug)]
pub(crate) struct TunnelRecord {
    entry: Box<[u8]>,
    site: SiteId,
    logged: bool,
    began_ns: u64,
}

impl TunnelRecord {
    /// A tunnel that begins with this request, of which the access log is told if `logged`.
    pub(crate) fn new(
        entry: &Entry<'_>,
        site: SiteId,
        logged: bool,
        began_ns: u64,
    ) -> TunnelRecord {
        let mut entry = entry.clone();
        entry.cut_texts(FAILURE_TEXT_BYTES_MAX);
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        TunnelRecord {
            entry: bytes.into_boxed_slice(),
            site,
            logged,
            began_ns,
        }
    }

    /// It ended, badly if there is a cause, after so many bytes in each direction.
    pub(crate) fn end(self, worker: &Worker, cause: Option<Cause>, bytes_in: u64, bytes_out: u64) {
        if !self.logged && cause.is_none() {
            return;
        }
        if let Some(mut entry) = Entry::decode(&self.entry) {
            let took_ns = worker.runtime.clock_ns().saturating_sub(self.began_ns);
            entry.total_us = took_ns / 1000;
            entry.cause = cause;
            entry.bytes_in += bytes_in;
            entry.bytes_out += bytes_out;
            worker.tell(self.site, entry, self.logged);
        }
    }
}

/// From one point in time to a later one, in microseconds, when both came.
fn span_us(from_ns: u64, to_ns: u64) -> Option<u64> {
    (from_ns > 0 && to_ns > 0).then(|| to_ns.saturating_sub(from_ns) / 1000)
}

/// What a request asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'h> {
    method: &'h [u8],
    host: &'h [u8],
    path: &'h [u8],
}

impl<'h> Asked<'h> {
    /// Reads it from the beginning of a head that we wrote: request line, then Host.
    fn read(head: &'h [u8]) -> Asked<'h> {
        let mut lines = head.split(|&byte| byte == b'\n');
        let line = lines.next().unwrap_or_default();
        let host = lines.next().and_then(|line| line.strip_prefix(b"Host: "));
        let host = host.unwrap_or_default().trim_ascii_end();
        let mut words = line.split(|&byte| byte == b' ');
        let method = words.next().unwrap_or_default();
        let target = words.next().unwrap_or_default();
        let path = target.split(|&byte| byte == b'?').next();
        Asked {
            method,
            host: without_port(host),
            path: path.unwrap_or_default(),
        }
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon {
        // Within brackets it is a part of an address.
        Some(colon) if !authority[colon..].contains(&b']') => &authority[..colon],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> [String; 3] {
        let Asked { method, host, path } = Asked::read(head.as_bytes());
        [method, host, path].map(|text| String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn what_was_asked_for_stands_in_two_lines() {
        let head = "GET /a/b?c=d HTTP/1.1\r\nHost: shop.test:8080\r\nCookie: x\r\n\r\n";
        assert_eq!(asked(head), ["GET", "shop.test", "/a/b"]);
        let head = "M-SEARCH / HTTP/1.1\r\nHost: [::1]\r\n\r\n";
        assert_eq!(asked(head), ["M-SEARCH", "[::1]", "/"]);
        let head = "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";
        assert_eq!(asked(head), ["GET", "[::1]", "/"]);
        assert_eq!(asked(""), ["", "", ""]);
    }
}
