//! A backend that keeps what it is sent, and answers each request with whose it is.

use crate::support::message::{Message, Read, read_request};
use crate::support::peer::{Backend, Peer};
use http_desync_guardian::request_analyzer::HttpRequestData;
use http_desync_guardian::{ClassificationReason, RequestSafetyTier};
use std::io::{Read as _, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A request that a backend saw.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The target, which names the request.
    pub(super) target: String,
    pub(super) body: Vec<u8>,
    /// All of it came.
    pub(super) whole: bool,
}

/// What came, in its order, and what should never have come.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) seen: Vec<Seen>,
    pub(super) faults: Vec<String>,
}

/// A tenant's server.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) address: SocketAddr,
    record: Arc<Mutex<Record>>,
}

impl Recorder {
    /// The server of `tenant`, whose site is `host`.
    pub(super) fn start(tenant: &'static str, host: &'static str) -> Recorder {
        let record = Arc::new(Mutex::new(Record::default()));
        let kept = Arc::clone(&record);
        let address = Backend::new().serve(move |peer| {
            serve(peer, tenant, host, &kept);
        });
        Recorder { address, record }
    }

    /// What came since the last time.
    pub(super) fn take(&self) -> Record {
        std::mem::take(&mut *self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn serve(mut peer: Peer, tenant: &str, host: &str, record: &Mutex<Record>) {
    let note = |result: Result<Seen, String>| {
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(seen) => record.seen.push(seen),
            Err(fault) => record.faults.push(format!("{tenant}: {fault}")),
        }
    };
    let mut bytes = Vec::new();
    let mut room = vec![0; 64 * 1024];
    peer.stream.set_read_timeout(None).expect("none is allowed");
    while let Ok(count @ 1..) = peer.stream.read(&mut room) {
        bytes.extend_from_slice(&room[..count]);
        loop {
            let message = match read_request(&bytes) {
                Read::Partial(_) => break,
                Read::Broken(fault) => return note(Err(fault)),
                Read::Whole(message) => message,
            };
            bytes.drain(..message.bytes);
            if let Some(fault) = fault_of(&message, host) {
                note(Err(fault));
            }
            let reply = reply_to(&message, tenant);
            note(Ok(seen(message, true)));
            if peer.stream.write_all(&reply).is_err() {
                return;
            }
        }
    }
    match read_request(&bytes) {
        _ if bytes.is_empty() => {}
        Read::Partial(Some(message)) => {
            if let Some(fault) = fault_of(&message, host) {
                note(Err(fault));
            }
            note(Ok(seen(message, false)));
        }
        _ => note(Err(format!(
            "half a head {:?}",
            String::from_utf8_lossy(&bytes)
        ))),
    }
}

fn seen(message: Message, whole: bool) -> Seen {
    Seen {
        target: message.second_word().to_owned(),
        body: message.body,
        whole,
    }
}

/// Why a tenant's server should never have got this.
fn fault_of(message: &Message, host: &str) -> Option<String> {
    let head = || String::from_utf8_lossy(&message.head).into_owned();
    for name in ["host", "x-forwarded-host"] {
        let sent = message.field(name).unwrap_or_default();
        let sent = sent.split(':').next().unwrap_or_default();
        if sent.trim_end_matches('.').to_ascii_lowercase() != host {
            return Some(format!("{name} is not {host} in {:?}", head()));
        }
    }
    let verdict = HttpRequestData::analyze_raw_request(&message.head);
    // A body of a GET is allowed and has no meaning (RFC 9110 §9.3.1): where it ends is clear.
    let bodily = ["GET ", "HEAD "]
        .iter()
        .any(|it| message.line.starts_with(it))
        && matches!(
            verdict.reason,
            ClassificationReason::GetHeadZeroContentLength
                | ClassificationReason::UndefinedContentLengthSemantics
                | ClassificationReason::UndefinedTransferEncodingSemantics
        );
    if verdict.tier != RequestSafetyTier::Compliant && !bodily {
        return Some(format!(
            "{:?}: {:?} in {:?}",
            verdict.tier,
            verdict.message,
            head()
        ));
    }
    None
}

/// Whose server it was, which request it answers, and something that is the tenant's alone.
fn reply_to(message: &Message, tenant: &str) -> Vec<u8> {
    let target = message.second_word();
    let body = format!("{tenant} answers {target} with secret-{tenant}\n");
    let head = format!("HTTP/1.1 200 OK\r\nX-Tenant: {tenant}\r\nX-Target: {target}\r\n");
    let length = body.len();
    if message.line.starts_with("HEAD ") {
        return format!("{head}Content-Length: {length}\r\n\r\n").into_bytes();
    }
    match target.len() % 2 {
        0 => format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes(),
        _ => format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{length:x};by={tenant}\r\n{body}\r\n0\r\n\r\n"
        )
        .into_bytes(),
    }
}
