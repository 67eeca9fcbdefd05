//! `idle`: how much memory of a server one idle keep-alive connection holds, plain or by TLS.
//!
//! Connections are opened one after the other, each asks once and stays open. The server's
//! memory is read before and after; a few connections made earlier have warmed its allocator
//! and its connections to the backend. What the kernel keeps for a socket is not in it: it is
//! the same for every server.

use std::io::{self, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::file_limit;
use crate::message_head::{BodyLength, HEAD_BYTES_MAX, body_length, head_end, status};
use crate::process_tree;
use crate::quantity::{self, Target};
use crate::secure::{SecureClient, TlsOptions, Wire};

const WARM_CONNECTIONS: u32 = 16;
const WARM_REQUESTS: u32 = 50;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_millis(700);

/// What `idle` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to connect, such as http://127.0.0.1:8080/.
    #[arg(long, value_parser = quantity::target)]
    url: Target,
    /// Connections to hold. One client address has about 28,000 ports.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=25_000))]
    connections: u32,
    /// The server: its memory and that of its descendants is read.
    #[arg(long)]
    pid: u32,
    /// Host field, and by https the name of the server; left out, the authority of the URL.
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    tls: TlsOptions,
    /// Print one line of JSON instead of words.
    #[arg(long)]
    json: bool,
}

/// Memory before and after, in bytes; per connection in user space.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Report {
    pub(crate) connections: u32,
    /// Connections that the server had closed by the end; they are in no figure's favour.
    pub(crate) closed_by_server: u32,
    pub(crate) rss_bytes_before: u64,
    pub(crate) rss_bytes_after: u64,
    pub(crate) rss_bytes_per_connection: f64,
    pub(crate) pss_bytes_per_connection: f64,
    pub(crate) private_bytes_per_connection: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    file_limit::raise_to(u64::from(options.connections + WARM_CONNECTIONS) + 32)?;
    let report = measure(options)?;
    if options.json {
        println!(
            "{}",
            serde_json::to_string(&report).map_err(Failure::at("report"))?
        );
    } else {
        println!(
            "{} idle connections: {:.0} bytes of resident memory each ({:.0} private, {:.0} proportional); {} closed by the server",
            report.connections,
            report.rss_bytes_per_connection,
            report.private_bytes_per_connection,
            report.pss_bytes_per_connection,
            report.closed_by_server
        );
    }
    Ok(())
}

fn measure(options: &Options) -> Result<Report, Failure> {
    let host = options.host.as_deref().unwrap_or(&options.url.authority);
    let request = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", options.url.path);
    let secure = SecureClient::of(&options.url, options.host.as_deref(), &options.tls)?;
    let open = || open_and_ask(&options.url, secure.as_ref(), &request);
    let mut warm = Vec::new();
    for _ in 0..WARM_CONNECTIONS {
        warm.push(open()?);
    }
    for wire in &mut warm {
        for _ in 0..WARM_REQUESTS {
            ask(wire, &request).map_err(Failure::at(&options.url.url))?;
        }
    }
    sleep(SETTLE);
    let pids = process_tree::members(options.pid)?;
    let before = process_tree::memory(&pids)?;
    let mut held = Vec::with_capacity(options.connections as usize);
    for number in 1..=options.connections {
        let wire = open().map_err(Failure::at(format!(
            "connection {number} of {}",
            options.connections
        )))?;
        held.push(wire);
    }
    sleep(SETTLE);
    let after = process_tree::memory(&pids)?;
    let per_connection =
        |before: u64, after: u64| (after as f64 - before as f64) / f64::from(options.connections);
    Ok(Report {
        connections: options.connections,
        closed_by_server: held.iter().filter(|wire| !is_open(wire)).count() as u32,
        rss_bytes_before: before.rss_bytes,
        rss_bytes_after: after.rss_bytes,
        rss_bytes_per_connection: per_connection(before.rss_bytes, after.rss_bytes),
        pss_bytes_per_connection: per_connection(before.pss_bytes, after.pss_bytes),
        private_bytes_per_connection: per_connection(before.private_bytes, after.private_bytes),
    })
}

fn open_and_ask(
    target: &Target,
    secure: Option<&SecureClient>,
    request: &str,
) -> Result<Wire, Failure> {
    let place = || Failure::at(target.url.as_str());
    let mut wire = Wire::open(target.address, ANSWER_LIMIT, secure).map_err(place())?;
    let socket = wire.socket();
    let limited = socket.set_read_timeout(Some(ANSWER_LIMIT));
    limited.map_err(place())?;
    ask(&mut wire, request).map_err(place())?;
    Ok(wire)
}

/// One request and its whole response.
fn ask(stream: &mut Wire, request: &str) -> io::Result<()> {
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        let count = stream.read(&mut piece)?;
        received.extend_from_slice(&piece[..count]);
        if let Some(end) = head_end(&received) {
            break end;
        }
        if count == 0 || received.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("no complete response head came"));
        }
    };
    let head = &received[..end];
    if status(head) != Some(200) {
        let first_line = String::from_utf8_lossy(head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        return Err(io::Error::other(format!(
            "answered \"{first_line}\" where 200 was expected"
        )));
    }
    let BodyLength::Known(body_bytes) = body_length(head) else {
        return Err(io::Error::other("answered without a Content-Length"));
    };
    let mut have = (received.len() - end) as u64;
    while have < body_bytes {
        match stream.read(&mut piece)? {
            0 => return Err(io::Error::other("the response ended early")),
            count => have += count as u64,
        }
    }
    Ok(())
}

fn is_open(wire: &Wire) -> bool {
    let mut byte = [0];
    let stream = wire.socket();
    stream.set_nonblocking(true).is_ok()
        && matches!(stream.peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
