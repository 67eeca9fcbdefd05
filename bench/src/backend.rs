//! `backend`: a small fast web server, so that in a comparison the proxy is what is measured.
//!
//! `/b/<bytes>` answers a body of that many bytes, `/drip/<ms>` one that takes that long to come,
//! every other path one of 100 bytes. Answers are kept ready-made, so a request costs one read,
//! one write and a look for the empty line. With `--name` every answer says who gave it.
//! `--delay` holds every answer back by a fixed time, which gives a load generator's
//! percentiles something known to be checked against.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cores::Cores;
use crate::failure::Failure;
use crate::listener::listen;
use crate::message_head::{BACKEND_FIELD, BodyLength, HEAD_BYTES_MAX, body_length, head_end};
use crate::program::{Program, this_program};
use crate::quantity;
use crate::readiness::{Event, Readiness};
use crate::slab::Slab;

/// Body of any path but `/b/<bytes>`.
const BODY_BYTES_DEFAULT: usize = 100;
/// Largest body that can be asked for.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Ready-made answers kept; further sizes are made for each request.
const ANSWERS_KEPT_MAX: usize = 64;
/// A dripping body is a byte each time.
const DRIP_INTERVAL: Duration = Duration::from_millis(50);
const DRIP_MS_MAX: u64 = 3_600_000;
const READ_BYTES: usize = 64 * 1024;
const LISTENER_TOKEN: u64 = u64::MAX;

/// What `backend` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Hold every answer back by this time, such as 20ms.
    #[arg(long, value_parser = quantity::duration, default_value = "0ms")]
    delay: Duration,
    /// Said in a field X-Backend of every answer.
    #[arg(long, value_parser = name)]
    name: Option<String>,
}

/// Starts one on the core of the load, for a comparison; it says who it is when it has a name.
pub(crate) fn start(
    cores: Cores,
    scratch: &Path,
    name: Option<&str>,
) -> Result<(Program, SocketAddr), Failure> {
    let mut command = Command::new(this_program()?);
    command.arg("backend");
    if let Some(name) = name {
        command.args(["--name", name]);
    }
    let label = name.unwrap_or("backend");
    let mut backend = Program::start(label, command, &[cores.load], cores.load, scratch)?;
    let address = backend.wait_for_line("listening ")?;
    let address = address
        .parse()
        .map_err(Failure::at(format!("backend's address \"{address}\"")))?;
    Ok((backend, address))
}

/// Serves until the process is ended.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let listener =
        listen(options.listen).map_err(Failure::at(format!("--listen {}", options.listen)))?;
    let address = listener.local_addr().map_err(Failure::at("listener"))?;
    println!("listening {address}");
    let readiness = Readiness::new().map_err(Failure::at("epoll"))?;
    readiness
        .watch_listener(&listener, LISTENER_TOKEN)
        .map_err(Failure::at("epoll"))?;
    let mut backend = Backend {
        listener,
        readiness,
        connections: Slab::new(),
        answers: HashMap::new(),
        name: options.name.clone(),
        delay: options.delay,
        delayed: VecDeque::new(),
        dripping: VecDeque::new(),
        drop: Rc::from(&b"."[..]),
        accepted: 0,
    };
    backend.serve().map_err(Failure::at("backend"))
}

struct Backend {
    listener: TcpListener,
    readiness: Readiness,
    connections: Slab<Connection>,
    answers: HashMap<usize, Rc<[u8]>>,
    name: Option<String>,
    delay: Duration,
    /// Answers held back; all by the same time, so in order of when they are due.
    delayed: VecDeque<Delayed>,
    /// Bodies that drip; all at the same interval, so in order of when the next byte is due.
    dripping: VecDeque<Dripping>,
    /// The byte that they are made of.
    drop: Rc<[u8]>,
    accepted: u64,
}

struct Delayed {
    due: Instant,
    connection: usize,
    serial: u64,
    answer: Rc<[u8]>,
}

struct Dripping {
    due: Instant,
    connection: usize,
    serial: u64,
    bytes_left: u64,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Body { bytes: usize },
    Drip { bytes: u64 },
}

struct Connection {
    stream: TcpStream,
    /// Tells a connection from an earlier one with the same number in the slab.
    serial: u64,
    /// A head that has begun and is not complete.
    partial_head: Vec<u8>,
    request_body_left: u64,
    /// What to answer with once the request is complete: an answer before that would make a
    /// proxy give up the connection.
    owed: Option<Asked>,
    /// Answers that the client has not taken yet, the first from `sent_bytes` on.
    unsent: VecDeque<Rc<[u8]>>,
    sent_bytes: usize,
    /// Reading stopped because answers are unsent; there may be bytes.
    held_back: bool,
}

/// What becomes of a connection after it was served for a moment.
#[derive(PartialEq)]
enum Fate {
    Lives,
    Ends,
}

impl Backend {
    fn serve(&mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::new();
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let delayed = self.delayed.front().map(|first| first.due);
            let dripping = self.dripping.front().map(|first| first.due);
            let first_due = delayed.into_iter().chain(dripping).min();
            let until_due = first_due.map(|due| due.saturating_duration_since(Instant::now()));
            self.readiness.wait(until_due, &mut events)?;
            self.send_due();
            self.drip_due();
            for event in &events {
                if event.token == LISTENER_TOKEN {
                    self.accept();
                    continue;
                }
                let number = event.token as usize;
                if self.step(number, event, &mut bytes) == Fate::Ends {
                    self.connections.remove(number);
                }
            }
        }
    }

    fn accept(&mut self) {
        // An error here is a client that went away, or no descriptor left: the next event tries again.
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            self.accepted += 1;
            let number = self.connections.insert(Connection {
                stream,
                serial: self.accepted,
                partial_head: Vec::new(),
                request_body_left: 0,
                owed: None,
                unsent: VecDeque::new(),
                sent_bytes: 0,
                held_back: false,
            });
            let stream = &self
                .connections
                .get_mut(number)
                .expect("just inserted")
                .stream;
            if self.readiness.watch(stream, number as u64).is_err() {
                self.connections.remove(number);
            }
        }
    }

    fn send_due(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.delayed.front().is_some_and(|first| first.due <= now) {
            let Some(first) = self.delayed.pop_front() else {
                break;
            };
            let Some(connection) = self.connections.get_mut(first.connection) else {
                continue;
            };
            if connection.serial == first.serial && connection.send(first.answer) == Fate::Ends {
                self.connections.remove(first.connection);
            }
        }
    }

    fn drip_due(&mut self) {
        if self.dripping.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.dripping.front().is_some_and(|first| first.due <= now) {
            let Some(mut first) = self.dripping.pop_front() else {
                break;
            };
            let Some(connection) = self.connections.get_mut(first.connection) else {
                continue;
            };
            if connection.serial != first.serial {
                continue;
            }
            if connection.send(Rc::clone(&self.drop)) == Fate::Ends {
                self.connections.remove(first.connection);
                continue;
            }
            first.bytes_left -= 1;
            if first.bytes_left > 0 {
                first.due += DRIP_INTERVAL;
                self.dripping.push_back(first);
            }
        }
    }

    fn step(&mut self, number: usize, event: &Event, bytes: &mut [u8]) -> Fate {
        let Some(connection) = self.connections.get_mut(number) else {
            return Fate::Lives;
        };
        let mut readable = event.readable;
        if event.writable {
            if connection.flush() == Fate::Ends {
                return Fate::Ends;
            }
            readable |= std::mem::take(&mut connection.held_back);
        }
        while readable {
            let Some(connection) = self.connections.get_mut(number) else {
                return Fate::Lives;
            };
            if !connection.unsent.is_empty() {
                connection.held_back = true;
                return Fate::Lives;
            }
            let read_bytes = match connection.stream.read(bytes) {
                Ok(0) => return Fate::Ends,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Lives,
                Err(_) => return Fate::Ends,
            };
            if self.take(number, &bytes[..read_bytes]) == Fate::Ends {
                return Fate::Ends;
            }
            // A short read emptied the socket: what comes later makes an event of its own.
            readable = read_bytes == bytes.len();
        }
        Fate::Lives
    }

    /// Takes received bytes: request bodies are dropped, every complete head is answered.
    fn take(&mut self, number: usize, received: &[u8]) -> Fate {
        let Some(connection) = self.connections.get_mut(number) else {
            return Fate::Ends;
        };
        let joined;
        let mut rest = received;
        if !connection.partial_head.is_empty() {
            let mut partial = std::mem::take(&mut connection.partial_head);
            partial.extend_from_slice(received);
            joined = partial;
            rest = &joined;
        }
        while !rest.is_empty() {
            let Some(connection) = self.connections.get_mut(number) else {
                return Fate::Ends;
            };
            if connection.request_body_left > 0 {
                let taken = connection.request_body_left.min(rest.len() as u64);
                connection.request_body_left -= taken;
                rest = &rest[taken as usize..];
                if self.answer_if_complete(number) == Fate::Ends {
                    return Fate::Ends;
                }
                continue;
            }
            let Some(end) = head_end(rest) else {
                if rest.len() > HEAD_BYTES_MAX {
                    return Fate::Ends;
                }
                connection.partial_head = rest.to_vec();
                return Fate::Lives;
            };
            let (head, behind) = rest.split_at(end);
            rest = behind;
            connection.request_body_left = match body_length(head) {
                BodyLength::Known(bytes) => bytes,
                BodyLength::Absent => 0,
                BodyLength::NotUnderstood => return Fate::Ends,
            };
            connection.owed = asked_for(head);
            if connection.owed.is_none() || self.answer_if_complete(number) == Fate::Ends {
                return Fate::Ends;
            }
        }
        Fate::Lives
    }

    fn answer_if_complete(&mut self, number: usize) -> Fate {
        let Some(connection) = self.connections.get_mut(number) else {
            return Fate::Ends;
        };
        if connection.request_body_left > 0 {
            return Fate::Lives;
        }
        let body_bytes = match connection.owed.take() {
            None => return Fate::Lives,
            Some(Asked::Drip { bytes }) => return self.begin_to_drip(number, bytes),
            Some(Asked::Body { bytes }) => bytes,
        };
        let answer = match self.answers.get(&body_bytes) {
            Some(ready) => Rc::clone(ready),
            None => {
                let made = compose(body_bytes, self.name.as_deref());
                if self.answers.len() < ANSWERS_KEPT_MAX {
                    self.answers.insert(body_bytes, Rc::clone(&made));
                }
                made
            }
        };
        let Some(connection) = self.connections.get_mut(number) else {
            return Fate::Ends;
        };
        if self.delay.is_zero() {
            return connection.send(answer);
        }
        let serial = connection.serial;
        let due = Instant::now() + self.delay;
        self.delayed.push_back(Delayed {
            due,
            connection: number,
            serial,
            answer,
        });
        Fate::Lives
    }

    /// Sends the head now and the body in time. A further request on the connection before the
    /// end of it is not waited for: proxies do not pipeline.
    fn begin_to_drip(&mut self, number: usize, bytes: u64) -> Fate {
        let Some(connection) = self.connections.get_mut(number) else {
            return Fate::Ends;
        };
        let head = head(bytes, self.name.as_deref());
        if bytes > 0 {
            self.dripping.push_back(Dripping {
                due: Instant::now() + DRIP_INTERVAL,
                connection: number,
                serial: connection.serial,
                bytes_left: bytes,
            });
        }
        connection.send(head.into_bytes().into())
    }
}

impl Connection {
    fn send(&mut self, answer: Rc<[u8]>) -> Fate {
        self.unsent.push_back(answer);
        if self.unsent.len() > 1 {
            return Fate::Lives;
        }
        self.flush()
    }

    fn flush(&mut self) -> Fate {
        while let Some(first) = self.unsent.front() {
            match self.stream.write(&first[self.sent_bytes..]) {
                Ok(written) => self.sent_bytes += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Lives,
                Err(_) => return Fate::Ends,
            }
            if self.sent_bytes == first.len() {
                self.unsent.pop_front();
                self.sent_bytes = 0;
            }
        }
        Fate::Lives
    }
}

/// What the target of a request asks for; `None` when the request is not one that this server
/// serves.
fn asked_for(head: &[u8]) -> Option<Asked> {
    let line = head.split(|&byte| byte == b'\r').next()?;
    let mut words = line.split(|&byte| byte == b' ');
    let (_method, target, version) = (words.next()?, words.next()?, words.next()?);
    if !version.starts_with(b"HTTP/1.") {
        return None;
    }
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    if let Some(digits) = target.strip_prefix(b"/drip/") {
        let ms = number(digits).filter(|&ms| ms <= DRIP_MS_MAX)?;
        let bytes = ms / DRIP_INTERVAL.as_millis() as u64;
        return Some(Asked::Drip { bytes });
    }
    let Some(digits) = target.strip_prefix(b"/b/") else {
        return Some(Asked::Body {
            bytes: BODY_BYTES_DEFAULT,
        });
    };
    let bytes = number(digits).filter(|&bytes| bytes <= BODY_BYTES_MAX as u64)?;
    Some(Asked::Body {
        bytes: bytes as usize,
    })
}

/// A whole answer. The body counts through the alphabet, so that a reader sees a lost or
/// repeated piece.
fn compose(body_bytes: usize, name: Option<&str>) -> Rc<[u8]> {
    let mut answer = head(body_bytes as u64, name).into_bytes();
    answer.extend((0..body_bytes).map(|index| b'a' + (index % 26) as u8));
    answer.into()
}

fn head(body_bytes: u64, name: Option<&str>) -> String {
    let said = name.map_or(String::new(), |name| format!("{BACKEND_FIELD}: {name}\r\n"));
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\nContent-Type: application/octet-stream\r\n{said}\r\n"
    )
}

fn name(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || !text.bytes().all(is_plain) {
        return Err("write lower-case letters, digits and dashes".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_names_what_is_asked_for() {
        let asked = |target: &str| asked_for(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes());
        assert_eq!(asked("/b/0"), Some(Asked::Body { bytes: 0 }));
        assert_eq!(asked("/b/1048576"), Some(Asked::Body { bytes: 1_048_576 }));
        assert_eq!(asked("/drip/1000"), Some(Asked::Drip { bytes: 20 }));
        let default = Some(Asked::Body {
            bytes: BODY_BYTES_DEFAULT,
        });
        assert_eq!(asked_for(b"GET / HTTP/1.0\r\n\r\n"), default);
        for bad in ["/b/x", "/b/99999999999", "/drip/", "/drip/99999999999"] {
            assert_eq!(asked(bad), None, "{bad}");
        }
        assert_eq!(asked_for(b"GET /\r\n\r\n"), None);
    }
}
