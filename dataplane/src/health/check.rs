//! One check of one backend: a connection, what is asked over it, and what to make of the answer.
//!
//! The connection is reset at its end, as HAProxy does it after a check: an orderly close would
//! leave a minute of TIME_WAIT behind with each, and the backend is not waiting for more.

use super::handshake::{Counterpart, Handshake, TlsClient, Turn};
use super::tls_failure::TlsFailure;
use super::verdict::{Failure, Success};
use crate::http::method::Method;
use crate::http::response::{self, Parsed};
use crate::proxy_protocol;
use crate::tls::BackendConfigs;
use meridian_model::limits::INTERIM_RESPONSES_MAX;
use meridian_model::snapshot::{BackendKey, CheckHost, CheckKind, HealthCheck, HttpCheck};
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

/// What is read at a time, in bytes.
const READ_BYTES: usize = 4096;

/// A check that is under way.
#[derive(Debug)]
pub(super) struct Check {
    stream: TcpStream,
    how: Arc<HealthCheck>,
    /// What is sent once it is connected; may be nothing.
    request: Vec<u8>,
    /// Of a check by TLS, or of a pool with TLS. The box keeps other checks small.
    handshake: Option<Box<Handshake>>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    /// So many bytes of the request are gone.
    Sending(usize),
    Receiving {
        bytes: Vec<u8>,
        interim: usize,
    },
    ShakingHands,
}

/// What became of a check so far.
#[derive(Debug)]
pub(super) enum Progress {
    /// It waits for one of these.
    Waits(EventFlags),
    /// It has passed, unless the backend says otherwise, and waits for that or for its end, for
    /// [`meridian_model::limits::HEALTH_TLS_CLOSE_MS`] from now on.
    Closes(EventFlags),
    /// It is over.
    Over(Result<Success, Failure>),
}

/// What a stage came to.
enum Step {
    /// The next one.
    Next,
    Waits(EventFlags),
    Closes(EventFlags),
    Passed(Success),
}

impl Check {
    /// Begins to connect to a backend. The check then waits for [`EventFlags::OUT`].
    pub(super) fn begin(
        how: &Arc<HealthCheck>,
        key: &BackendKey,
        tls: &TlsClient,
        configs: &BackendConfigs,
    ) -> Result<Check, Failure> {
        let address = key.address();
        let with = Counterpart::of(&how.kind, key, tls, configs);
        let with = with.map_err(|()| Failure::Resources)?;
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(not_connected)?;
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).map_err(not_connected)?;
        match connect(&socket, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(not_connected(errno)),
        }
        let mut request = Vec::new();
        // The connection is this host's own.
        proxy_protocol::write(&mut request, key.proxy_protocol(), None);
        let question = question(how, address);
        let handshake = match with {
            Some(with) => {
                let begun = Handshake::begin(with, &mut request, &question);
                Some(Box::new(begun.ok_or(Failure::Resources)?))
            }
            None => {
                request.extend_from_slice(&question);
                None
            }
        };
        Ok(Check {
            stream: TcpStream::from(socket),
            how: Arc::clone(how),
            request,
            handshake,
            stage: Stage::Connecting,
        })
    }

    /// Goes on as far as it can.
    pub(super) fn advance(&mut self) -> Progress {
        loop {
            let step = match &self.stage {
                Stage::Connecting => self.connected(),
                Stage::Sending(_) => self.send(),
                Stage::Receiving { .. } => self.receive(),
                Stage::ShakingHands => self.shake_hands(),
            };
            match step {
                Ok(Step::Next) => {}
                Ok(Step::Waits(what)) => return Progress::Waits(what),
                Ok(Step::Closes(what)) => return Progress::Closes(what),
                Ok(Step::Passed(success)) => return Progress::Over(Ok(success)),
                Err(failure) => return Progress::Over(Err(failure)),
            }
        }
    }

    /// Its time is over: a last look, for it may be this thread that is late.
    pub(super) fn conclude(&mut self) -> Result<Success, Failure> {
        let timeout = self.how.timeout;
        let is_connecting = matches!(self.stage, Stage::Connecting);
        if is_connecting && !self.is_writable() {
            return Err(Failure::NoConnection(timeout));
        }
        match self.advance() {
            Progress::Over(over) => over,
            Progress::Waits(_) | Progress::Closes(_) => match &self.handshake {
                None => Err(Failure::NoAnswer(timeout)),
                Some(handshake)
                    if matches!(self.stage, Stage::Receiving { .. })
                        && !handshake.is_under_way() =>
                {
                    Err(Failure::NoAnswer(timeout))
                }
                Some(handshake) => {
                    let concluded = handshake.conclude(timeout).map_err(Failure::Tls);
                    concluded.map(|()| Success::Handshake(handshake.version()))
                }
            },
        }
    }

    /// How long it may take in all.
    pub(super) fn timeout(&self) -> Duration {
        self.how.timeout
    }

    fn is_writable(&self) -> bool {
        let mut interest = [PollFd::new(&self.stream, PollFlags::OUT)];
        let at_once = Timespec::default();
        poll(&mut interest, Some(&at_once)).is_ok_and(|met| met > 0)
    }

    fn connected(&mut self) -> Result<Step, Failure> {
        let error = sockopt::socket_error(&self.stream).map_err(not_connected)?;
        error.map_err(not_connected)?;
        self.stage = Stage::Sending(0);
        Ok(Step::Next)
    }

    fn send(&mut self) -> Result<Step, Failure> {
        let Stage::Sending(sent) = &mut self.stage else {
            return Ok(Step::Next);
        };
        while *sent < self.request.len() {
            match self.stream.write(&self.request[*sent..]) {
                Ok(bytes) => *sent += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Step::Waits(EventFlags::OUT));
                }
                Err(error) => return Err(Failure::Broken(error.kind())),
            }
        }
        match &self.how.kind {
            CheckKind::Tcp => Ok(Step::Passed(Success::Connected)),
            CheckKind::Http(_) => {
                self.stage = Stage::Receiving {
                    bytes: Vec::new(),
                    interim: 0,
                };
                Ok(Step::Next)
            }
            CheckKind::Tls(_) => {
                self.stage = Stage::ShakingHands;
                Ok(Step::Next)
            }
        }
    }

    fn shake_hands(&mut self) -> Result<Step, Failure> {
        let Some(handshake) = &mut self.handshake else {
            return Err(Failure::Resources);
        };
        let turn = handshake.advance(&mut self.stream);
        Ok(match turn.map_err(Failure::Tls)? {
            Turn::Waits(what) => Step::Waits(what),
            Turn::Closes(what) => Step::Closes(what),
            Turn::Over => Step::Passed(Success::Handshake(handshake.version())),
        })
    }

    fn receive(&mut self) -> Result<Step, Failure> {
        let Stage::Receiving { bytes, interim } = &mut self.stage else {
            return Ok(Step::Next);
        };
        match &mut self.handshake {
            None => {
                let mut piece = [0; READ_BYTES];
                match self.stream.read(&mut piece) {
                    Ok(0) => return Err(Failure::Ended),
                    Ok(read) => bytes.extend_from_slice(&piece[..read]),
                    Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Step::Next),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Step::Waits(EventFlags::IN));
                    }
                    Err(error) => return Err(Failure::Broken(error.kind())),
                }
            }
            Some(handshake) => match handshake.read(&mut self.stream, bytes) {
                Ok(None) => {}
                Ok(Some(what)) => return Ok(Step::Waits(what)),
                Err(TlsFailure::Ended) if !handshake.is_under_way() => return Err(Failure::Ended),
                Err(failure) => return Err(Failure::Tls(failure)),
            },
        }
        // The parser bounds what is collected: a head that is too long is a bad one.
        while let Parsed::Complete(head) =
            response::parse(bytes, Method::Get).map_err(Failure::BadResponse)?
        {
            if !head.is_interim() {
                return judge(&self.how, head.status).map(Step::Passed);
            }
            *interim += 1;
            if *interim > INTERIM_RESPONSES_MAX {
                return Err(Failure::InterimMany);
            }
            let read = head.head_bytes;
            bytes.drain(..read);
        }
        Ok(Step::Next)
    }
}

impl AsFd for Check {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn not_connected(errno: Errno) -> Failure {
    Failure::of_connect(&errno.into())
}

/// What a backend is asked; may be nothing.
fn question(how: &HealthCheck, address: SocketAddr) -> Vec<u8> {
    let mut text = String::new();
    if let CheckKind::Http(http) = &how.kind {
        write_get(&mut text, http, address);
    }
    text.into_bytes()
}

fn write_get(text: &mut String, http: &HttpCheck, address: SocketAddr) {
    let HttpCheck { path, host, .. } = http;
    // A String takes every text.
    let _ = write!(text, "GET {path} HTTP/1.1\r\nHost: ");
    let _ = match host {
        CheckHost::Address => write!(text, "{address}"),
        CheckHost::Fixed(host) => write!(text, "{host}"),
    };
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(
        text,
        "\r\nUser-Agent: Meridian/{version} (health check)\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
}

fn judge(how: &HealthCheck, status: u16) -> Result<Success, Failure> {
    match &how.kind {
        CheckKind::Http(http) if !http.statuses.contain(status) => Err(Failure::Status {
            status,
            expected: http.statuses.clone(),
        }),
        CheckKind::Http(_) | CheckKind::Tcp | CheckKind::Tls(_) => Ok(Success::Status(status)),
    }
}
