//! `handshakes`: connections that make a handshake by TLS and nothing else, one after the other on
//! each of some places.
//!
//! The client says close_notify once its handshake is made, with TLS 1.3 once a ticket has come too,
//! and waits for the end of the connection, so that whatever is counted was whole at the server, and
//! every server has done the same work. Each whole handshake offers
//! to remember a session, as browsers do, and has none yet; each resumed one takes the ticket of
//! the one before. How a handshake was made is what the server decided, and is counted by that.

use std::io::{self, ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::file_limit;
use crate::quantity::{self, Target};
use crate::readiness::Readiness;
use crate::secure::{SecureClient, TlsOptions, send_records};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a wait for events lasts at the most.
const PAUSE: Duration = Duration::from_millis(100);

/// What `handshakes` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where to connect, such as https://127.0.0.1:8443/.
    #[arg(long, value_parser = quantity::target)]
    url: Target,
    /// Name of the server; left out, that of the URL.
    #[arg(long)]
    host: Option<String>,
    /// Connections at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// For how long.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Resume the session of the connection before.
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    tls: TlsOptions,
    /// Print one line of JSON instead of words.
    #[arg(long)]
    json: bool,
}

/// What became of the handshakes.
#[derive(Serialize, Deserialize, Debug, Default)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    /// Connections that ended otherwise, and how the last one did.
    pub(crate) failed: u64,
    pub(crate) last_failure: Option<String>,
}

impl Report {
    pub(crate) fn made(&self) -> u64 {
        self.full + self.resumed
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    file_limit::raise_to(u64::from(options.connections) + 32)?;
    let report = measure(options)?;
    if options.json {
        let line = serde_json::to_string(&report).map_err(Failure::at("report"))?;
        println!("{line}");
        return Ok(());
    }
    println!(
        "{:.1} s, {} at a time: {} handshakes ({:.0}/s), of them {} resumed; {} failed{}",
        report.seconds,
        options.connections,
        report.made(),
        report.made() as f64 / report.seconds,
        report.resumed,
        report.failed,
        (report.last_failure.as_ref())
            .map_or(String::new(), |what| format!(", the last by: {what}")),
    );
    Ok(())
}

fn measure(options: &Options) -> Result<Report, Failure> {
    let secure = SecureClient::of(&options.url, options.host.as_deref(), &options.tls)?
        .ok_or_else(|| Failure::new(format!("--url {}: handshakes need https", options.url.url)))?;
    let mut readiness = Readiness::new().map_err(Failure::at("epoll"))?;
    let mut places = Vec::new();
    for number in 0..options.connections {
        let client = secure.remembering();
        places.push(Place::open(&options.url, client, &readiness, number)?);
    }
    let mut report = Report::default();
    let mut events = Vec::new();
    let begun = Instant::now();
    let limit = Duration::from_secs(options.seconds);
    while begun.elapsed() < limit {
        let waited = readiness.wait(Some(PAUSE), &mut events);
        waited.map_err(Failure::at("epoll"))?;
        for event in &events {
            let number = event.token as u32;
            let place = &mut places[number as usize];
            let ended = match place.step() {
                Ok(None) => continue,
                Ok(Some(kind)) => Ok(kind),
                Err(error) => Err(error.to_string()),
            };
            report.count(ended);
            let client = if options.resume {
                place.client.clone()
            } else {
                secure.remembering()
            };
            *place = Place::open(&options.url, client, &readiness, number)?;
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

impl Report {
    fn count(&mut self, ended: Result<HandshakeKind, String>) {
        match ended {
            Ok(HandshakeKind::Resumed) => self.resumed += 1,
            Ok(HandshakeKind::Full) => self.full += 1,
            Ok(HandshakeKind::FullWithHelloRetryRequest) => {
                self.failed += 1;
                self.last_failure = Some("the server wants another group".to_owned());
            }
            Err(what) => {
                self.failed += 1;
                self.last_failure = Some(what);
            }
        }
    }
}

/// One connection after the other.
struct Place {
    client: SecureClient,
    stream: TcpStream,
    session: ClientConnection,
    /// How the handshake was made, once close_notify has been said.
    made: Option<HandshakeKind>,
    peer_closed: bool,
}

impl Place {
    fn open(
        target: &Target,
        client: SecureClient,
        readiness: &Readiness,
        number: u32,
    ) -> Result<Self, Failure> {
        let place = || Failure::at(&target.url);
        let opened = || -> io::Result<Self> {
            let mut stream = TcpStream::connect_timeout(&target.address, CONNECT_TIMEOUT)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut session = client.begin()?;
            send_records(&mut session, &mut stream)?;
            readiness.watch(&stream, u64::from(number))?;
            Ok(Self {
                client,
                stream,
                session,
                made: None,
                peer_closed: false,
            })
        };
        opened().map_err(place())
    }

    /// Whether the handshake is made, and what comes with it was received.
    fn has_all(&self) -> bool {
        let is_newest = self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let has_ticket = !is_newest || self.session.tls13_tickets_received() > 0;
        !self.session.is_handshaking() && has_ticket
    }

    /// Does what can be done now; how the handshake was made, once the server has closed.
    fn step(&mut self) -> io::Result<Option<HandshakeKind>> {
        loop {
            send_records(&mut self.session, &mut self.stream)?;
            if self.made.is_none() && self.has_all() {
                self.made = self.session.handshake_kind();
                self.session.send_close_notify();
                continue;
            }
            let read = if self.peer_closed {
                self.stream.read(&mut [0; 64])
            } else {
                self.session.read_tls(&mut self.stream)
            };
            match read {
                Ok(0) if self.made.is_some() => return Ok(self.made),
                Ok(0) => return Err(io::Error::other("closed within the handshake")),
                Ok(_) if self.peer_closed => {}
                Ok(_) => {
                    let state = self.session.process_new_packets();
                    self.peer_closed = state.map_err(io::Error::other)?.peer_has_closed();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
