//! What the access log and the failures tell of one request, as plain data: bytes for the way
//! from a worker to another thread, and JSON for whoever reads it.

use crate::counters::Cause;
use jiff::Timestamp;
use meridian_model::snapshot::TlsVersion;
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Numbers of an entry in bytes.
const NUMBERS: usize = 18;
/// Texts of an entry in bytes.
const TEXTS: usize = 8;
/// What a text that was cut ends with.
const CUT_MARK: &[u8] = b"...";

/// Which texts were longer than they may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CutTexts {
    method: bool,
    host: bool,
    path: bool,
}

impl CutTexts {
    fn bits(self) -> u64 {
        u64::from(self.method) | u64::from(self.host) << 1 | u64::from(self.path) << 2
    }

    fn of_bits(bits: u64) -> CutTexts {
        CutTexts {
            method: bits & 1 != 0,
            host: bits >> 1 & 1 != 0,
            path: bits >> 2 & 1 != 0,
        }
    }
}

/// See the module. The names of its fields in JSON are a promise (HTTP.md "Access log").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// When the request's first byte came, in microseconds since 1970.
    pub(crate) time_us: u64,
    /// Its id: what the backend was told in X-Request-Id.
    pub(crate) request_id: &'a [u8],
    /// The site's owner; `-` for what belongs to no site.
    pub(crate) tenant: &'a [u8],
    /// The site; `-` for none.
    pub(crate) site: &'a [u8],
    /// The revision that it was served under.
    pub(crate) revision: u64,
    /// The worker that served it.
    pub(crate) worker: u64,
    /// The client; none when it was gone before it could be asked for.
    pub(crate) client: Option<SocketAddr>,
    /// The method; empty where the head was not understood, as host and path are.
    pub(crate) method: &'a [u8],
    /// The host that was asked for, without port.
    pub(crate) host: &'a [u8],
    /// The path without its query, which may hold what is nobody's business.
    pub(crate) path: &'a [u8],
    /// The status of the response that was begun.
    pub(crate) status: Option<u16>,
    /// Why it ended badly.
    pub(crate) cause: Option<Cause>,
    /// The pool of the backend that was asked last; empty where none was, as `backend` is.
    pub(crate) pool: &'a [u8],
    /// That backend's name.
    pub(crate) backend: &'a [u8],
    /// How often a backend was asked.
    pub(crate) tries: u64,
    /// Whether the last of them was asked over a connection that had been used before.
    pub(crate) reused: bool,
    /// From the end of the head until a backend was asked, in microseconds.
    pub(crate) queue_us: Option<u64>,
    /// What connecting took, all tries together.
    pub(crate) connect_us: Option<u64>,
    /// From the connection of the last try to its response.
    pub(crate) first_byte_us: Option<u64>,
    /// From the first byte to the end.
    pub(crate) total_us: u64,
    /// What came from the client.
    pub(crate) bytes_in: u64,
    /// What the client's side of the kernel took.
    pub(crate) bytes_out: u64,
    /// Of method, host and path.
    pub(crate) cut: CutTexts,
    /// The version of TLS that the client spoke; none where it spoke none.
    pub(crate) tls: Option<TlsVersion>,
}

impl<'a> Entry<'a> {
    /// Cuts texts that a client could make long.
    pub(crate) fn cut_texts(&mut self, bytes_max: usize) {
        for (text, cut) in [
            (&mut self.method, &mut self.cut.method),
            (&mut self.host, &mut self.cut.host),
            (&mut self.path, &mut self.cut.path),
        ] {
            *cut |= text.len() > bytes_max;
            *text = &text[..text.len().min(bytes_max)];
        }
    }

    /// Appends its bytes.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (address, port) = match self.client {
            None => (0, 0),
            Some(client) => {
                let address = match client.ip() {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                };
                (u128::from(address), u64::from(client.port()) + 1)
            }
        };
        let numbers: [u64; NUMBERS] = [
            self.time_us,
            self.revision,
            self.worker,
            (address >> 64) as u64,
            address as u64,
            port,
            optional(self.status.map(u64::from)),
            optional(self.cause.map(|cause| cause.place() as u64)),
            self.tries,
            u64::from(self.reused),
            optional(self.queue_us),
            optional(self.connect_us),
            optional(self.first_byte_us),
            self.total_us,
            self.bytes_in,
            self.bytes_out,
            self.cut.bits(),
            tls_number(self.tls),
        ];
        let texts: [&[u8]; TEXTS] = [
            self.request_id,
            self.tenant,
            self.site,
            self.method,
            self.host,
            self.path,
            self.pool,
            self.backend,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for text in texts {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        }
        for text in texts {
            out.extend_from_slice(text);
        }
    }

    /// Reads what [`Entry::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (numbers, rest) = bytes.split_at_checked(NUMBERS * 8)?;
        let (lengths, mut rest) = rest.split_at_checked(TEXTS * 4)?;
        let mut words = numbers.chunks_exact(8);
        let mut number = || Some(u64::from_le_bytes(words.next()?.try_into().ok()?));
        let mut lengths = lengths.chunks_exact(4);
        let mut text = || {
            let length = u32::from_le_bytes(lengths.next()?.try_into().ok()?);
            let (text, behind) = rest.split_at_checked(length as usize)?;
            rest = behind;
            Some(text)
        };
        Some(Entry {
            time_us: number()?,
            revision: number()?,
            worker: number()?,
            client: client(number()?, number()?, number()?),
            status: given(number()?).map(|status| status as u16),
            cause: given(number()?).and_then(|place| Cause::at(place as usize)),
            tries: number()?,
            reused: number()? == 1,
            queue_us: given(number()?),
            connect_us: given(number()?),
            first_byte_us: given(number()?),
            total_us: number()?,
            bytes_in: number()?,
            bytes_out: number()?,
            cut: CutTexts::of_bits(number()?),
            tls: tls_of(number()?),
            request_id: text()?,
            tenant: text()?,
            site: text()?,
            method: text()?,
            host: text()?,
            path: text()?,
            pool: text()?,
            backend: text()?,
        })
    }

    /// Appends it as a JSON object, on one line and without a line end.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        let time = i64::try_from(self.time_us).map(Timestamp::from_microsecond);
        out.extend_from_slice(b"{\"time\":");
        match time {
            Ok(Ok(time)) => {
                write!(out, "\"{time:.6}\"").expect("a Vec takes every byte");
            }
            _ => out.extend_from_slice(b"null"),
        }
        write_text(out, "request_id", self.request_id);
        write_text(out, "tenant", self.tenant);
        write_text(out, "site", self.site);
        write_number(out, "revision", Some(self.revision));
        write_number(out, "worker", Some(self.worker));
        let client = self.client.map(|client| client.to_string());
        write_text(out, "client", client.unwrap_or_default().as_bytes());
        write_cut_text(out, "method", self.method, self.cut.method);
        write_cut_text(out, "host", self.host, self.cut.host);
        write_cut_text(out, "path", self.path, self.cut.path);
        write_number(out, "status", self.status.map(u64::from));
        let cause = self.cause.map_or("", Cause::word);
        write_text(out, "cause", cause.as_bytes());
        let fault = self.cause.map_or("", |cause| cause.fault().word());
        write_text(out, "fault", fault.as_bytes());
        self.write_backend(out);
        write_number(out, "tries", Some(self.tries));
        let reused: &[u8] = if self.reused { b"true" } else { b"false" };
        out.extend_from_slice(b",\"reused\":");
        out.extend_from_slice(reused);
        write_number(out, "queue_us", self.queue_us);
        write_number(out, "connect_us", self.connect_us);
        write_number(out, "first_byte_us", self.first_byte_us);
        write_number(out, "total_us", Some(self.total_us));
        write_number(out, "bytes_in", Some(self.bytes_in));
        write_number(out, "bytes_out", Some(self.bytes_out));
        let tls = self.tls.map_or("", tls_word);
        write_text(out, "tls", tls.as_bytes());
        out.push(b'}');
    }

    /// The backend's full name, as `status` has it.
    fn write_backend(&self, out: &mut Vec<u8>) {
        if self.backend.is_empty() {
            return write_text(out, "backend", b"");
        }
        let name = [self.tenant, self.site, self.pool, self.backend].join(&b'/');
        write_text(out, "backend", &name);
    }
}

/// A version of TLS, as OpenSSL calls it.
fn tls_word(version: TlsVersion) -> &'static str {
    match version {
        TlsVersion::V1_2 => "TLSv1.2",
        TlsVersion::V1_3 => "TLSv1.3",
    }
}

fn tls_number(version: Option<TlsVersion>) -> u64 {
    match version {
        None => 0,
        Some(TlsVersion::V1_2) => 1,
        Some(TlsVersion::V1_3) => 2,
    }
}

fn tls_of(number: u64) -> Option<TlsVersion> {
    match number {
        1 => Some(TlsVersion::V1_2),
        2 => Some(TlsVersion::V1_3),
        _ => None,
    }
}

/// A number that may be missing, as one.
fn optional(number: Option<u64>) -> u64 {
    number.unwrap_or(u64::MAX)
}

fn given(number: u64) -> Option<u64> {
    (number != u64::MAX).then_some(number)
}

fn client(high: u64, low: u64, port: u64) -> Option<SocketAddr> {
    let port = port.checked_sub(1)?;
    let address = Ipv6Addr::from(u128::from(high) << 64 | u128::from(low));
    Some(SocketAddr::new(address.to_canonical(), port as u16))
}

fn write_number(out: &mut Vec<u8>, name: &str, number: Option<u64>) {
    match number {
        Some(number) => write!(out, ",\"{name}\":{number}"),
        None => write!(out, ",\"{name}\":null"),
    }
    .expect("a Vec takes every byte");
}

/// A text, or null where there is none. What is not ASCII stands as `%XX`, as it could stand in a
/// URL: a log is read in terminals, and bytes of a path are of no particular encoding.
fn write_text(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    write_cut_text(out, name, text, false);
}

/// The same, with a mark where it was cut.
fn write_cut_text(out: &mut Vec<u8>, name: &str, text: &[u8], is_cut: bool) {
    write!(out, ",\"{name}\":").expect("a Vec takes every byte");
    if text.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => write!(out, "\\u{byte:04x}").expect("a Vec takes every byte"),
            0x20..0x7f => out.push(byte),
            0x80.. => write!(out, "%{byte:02X}").expect("a Vec takes every byte"),
        }
    }
    if is_cut {
        out.extend_from_slice(CUT_MARK);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Cut;
    use crate::http::reject::Reject;
    use proptest::prelude::*;
    use serde_json::Value;

    fn entry() -> Entry<'static> {
        Entry {
            time_us: 1_795_544_898_000_001,
            request_id: b"0123",
            tenant: b"acme",
            site: b"shop",
            revision: 7,
            worker: 1,
            client: Some("192.0.2.1:5000".parse().expect("an address")),
            method: b"GET",
            host: b"shop.test",
            path: b"/a",
            status: Some(502),
            cause: Some(Cause::Reject(Reject::Reset)),
            pool: b"default",
            backend: b"b1",
            tries: 2,
            reused: false,
            queue_us: Some(3),
            connect_us: Some(40),
            first_byte_us: None,
            total_us: 500,
            bytes_in: 60,
            bytes_out: 70,
            cut: CutTexts::default(),
            tls: None,
        }
    }

    fn json(entry: &Entry<'_>) -> String {
        let mut out = Vec::new();
        entry.write_json(&mut out);
        String::from_utf8(out).expect("it is ASCII")
    }

    #[test]
    fn the_names_and_their_order_are_those_that_were_promised() {
        assert_eq!(
            json(&entry()),
            r#"{"time":"2026-11-24T18:28:18.000001Z","request_id":"0123","tenant":"acme","site":"shop","revision":7,"worker":1,"client":"192.0.2.1:5000","method":"GET","host":"shop.test","path":"/a","status":502,"cause":"reset","fault":"backend","backend":"acme/shop/default/b1","tries":2,"reused":false,"queue_us":3,"connect_us":40,"first_byte_us":null,"total_us":500,"bytes_in":60,"bytes_out":70,"tls":null}"#
        );
    }

    #[test]
    fn what_is_not_known_is_null() {
        let nothing = Entry {
            client: None,
            method: b"",
            status: None,
            cause: None,
            backend: b"",
            ..entry()
        };
        let text = json(&nothing);
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        for name in ["client", "method", "status", "cause", "fault", "backend"] {
            assert!(value[name].is_null(), "{name} in {text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_through_and_are_json(
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 6),
            numbers in proptest::collection::vec(0..u64::MAX, 8),
            address: [u8; 16],
            v4: bool,
            cause in 0..Cause::all().count(),
        ) {
            let ip = match v4 {
                true => IpAddr::from([address[0], address[1], address[2], address[3]]),
                false => IpAddr::from(address).to_canonical(),
            };
            let entry = Entry {
                time_us: numbers[0] >> 14,
                request_id: &texts[0],
                method: &texts[1],
                host: &texts[2],
                path: &texts[3],
                pool: &texts[4],
                backend: &texts[5],
                client: Some(SocketAddr::new(ip, numbers[1] as u16)),
                status: (numbers[2] % 2 == 0).then_some(numbers[2] as u16),
                cause: Cause::at(cause),
                queue_us: Some(numbers[3]),
                total_us: numbers[4],
                bytes_in: numbers[5],
                ..entry()
            };
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            prop_assert_eq!(Entry::decode(&bytes), Some(entry.clone()));
            for end in 0..bytes.len() {
                prop_assert_eq!(Entry::decode(&bytes[..end]), None);
            }
            let text = json(&entry);
            prop_assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{}", text);
            let value: Value = serde_json::from_str(&text).expect("it is JSON");
            let plain: String = entry.path.iter().map(|&byte| match byte {
                0x80.. => format!("%{byte:02X}"),
                byte => char::from(byte).to_string(),
            }).collect();
            prop_assert_eq!(value["path"].as_str().unwrap_or_default(), plain);
        }
    }

    #[test]
    fn long_texts_are_cut_and_marked() {
        let mut entry = Entry {
            path: &[b'x'; 3000],
            cause: Some(Cause::Cut(Cut::ClientAbort)),
            ..entry()
        };
        entry.cut_texts(1024);
        assert_eq!((entry.path.len(), entry.host), (1024, &b"shop.test"[..]));
        let mut bytes = Vec::new();
        // Once it was cut it stays marked, as short as it is by then.
        entry.cut_texts(2048);
        entry.encode(&mut bytes);
        let text = json(&Entry::decode(&bytes).expect("whole"));
        let wanted = format!(r#""host":"shop.test","path":"{}...","#, "x".repeat(1024));
        assert!(text.contains(&wanted), "{text}");
    }
}
