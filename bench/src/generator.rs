//! The load generator: one thread, keep-alive connections, one request at a time on each.
//!
//! Open loop: request `i` is due at `i / rate` whatever became of those before it. When no
//! connection is free it waits for one, and its latency counts from the moment it was due, so
//! a server that stalls is charged for everyone who would have come meanwhile (the opposite
//! is called coordinated omission). Closed loop: each connection sends again as soon as its
//! response is complete.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::histogram::Histogram;
use crate::message_head::{self, BodyLength, HEAD_BYTES_MAX};
use crate::quantity::Target;
use crate::readiness::{Event, Readiness};
use crate::secure::{SecureClient, Wire};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection that ended is opened again and again while that is refused.
const RECONNECT_LIMIT: Duration = Duration::from_secs(3);
const RECONNECT_PAUSE: Duration = Duration::from_millis(1);
const READ_BYTES: usize = 64 * 1024;

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Open { requests_per_second: f64 },
    Closed,
}

/// One run of load.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// How handshakes are made, where the target wants TLS.
    pub(crate) secure: Option<SecureClient>,
    /// Host fields, which take turns; none: the target's authority.
    pub(crate) hosts: Vec<String>,
    pub(crate) pace: Pace,
    pub(crate) connections: usize,
    /// Requests due in this first part are sent and not counted.
    pub(crate) warm_up: Duration,
    /// The part that is counted.
    pub(crate) duration: Duration,
    /// How long an open loop waits for responses that are still due after the last request.
    pub(crate) drain: Duration,
    /// Whether every request is told of by itself.
    pub(crate) keeps_exchanges: bool,
    /// Whether every request has a connection of its own, which ends with its response.
    pub(crate) closes: bool,
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// Which of the plan's hosts was asked.
    pub(crate) host: usize,
    /// When it was to be sent; earlier than `sent` where no connection was free.
    pub(crate) due: Instant,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    /// Of the response that came whole; `None` when none did.
    pub(crate) status: Option<u16>,
    /// First letter of the backend's name, where it gave one.
    pub(crate) backend: Option<u8>,
}

/// What was seen in the counted part.
pub(crate) struct Outcome {
    /// From the moment a request was due to the last byte of its response.
    pub(crate) latency: Histogram,
    /// From the moment a request was due to the moment it was written.
    pub(crate) send_lag: Histogram,
    pub(crate) requests_due: u64,
    pub(crate) responses: u64,
    pub(crate) not_2xx: u64,
    /// Connections that ended with a request in flight.
    pub(crate) broken: u64,
    /// No response within the drain; recorded in `latency` with the age they had reached.
    pub(crate) unanswered: u64,
    /// Of these the ones that no connection became free for.
    pub(crate) never_sent: u64,
    /// Connections that were refused in the place of one that ended.
    pub(crate) refused: u64,
    pub(crate) body_bytes: u64,
    /// In the order in which they ended; where the plan keeps them.
    pub(crate) exchanges: Vec<Exchange>,
}

/// Opens the connections, sends the load, and says what was seen.
pub(crate) fn generate(plan: &Plan) -> Result<Outcome, Failure> {
    generate_until(plan, &AtomicBool::new(false))
}

/// The same, ended early by `stop`.
pub(crate) fn generate_until(plan: &Plan, stop: &AtomicBool) -> Result<Outcome, Failure> {
    // Wake-ups in time matter more here than power; a refusal only makes the pace coarser.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut generator = Generator::new(plan, stop)?;
    generator.run()?;
    Ok(generator.outcome)
}

/// Load that a thread of its own sends.
pub(crate) struct Going {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Outcome, Failure>>,
}

impl Going {
    pub(crate) fn begin(plan: Plan) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&stop);
        let thread = std::thread::spawn(move || generate_until(&plan, &theirs));
        Self { stop, thread }
    }

    /// Nothing is begun any more; what is under way goes on.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends it early.
    pub(crate) fn end(self) -> Result<Outcome, Failure> {
        self.stop();
        self.wait()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(self) -> Result<Outcome, Failure> {
        let ended = self.thread.join();
        ended.map_err(|_| Failure::new("the load ended before its time"))?
    }
}

struct Generator<'a> {
    plan: &'a Plan,
    stop: &'a AtomicBool,
    /// One for each host.
    requests: Vec<Vec<u8>>,
    /// Whose turn is next.
    next_request: usize,
    readiness: Readiness,
    connections: Vec<Connection>,
    /// Connections without a request in flight, the longest idle first.
    free: VecDeque<usize>,
    /// Due times of requests that wait for a connection, in ns since `begin`.
    waiting: VecDeque<u64>,
    begin: Instant,
    counted_from_ns: u64,
    end_ns: u64,
    outcome: Outcome,
}

struct Connection {
    wire: Wire,
    /// Due time of the request in flight.
    due_ns: Option<u64>,
    /// Which request that is, and when it was begun to be sent.
    request: usize,
    sent_ns: u64,
    unsent_bytes: usize,
    partial_head: Vec<u8>,
    /// `Some` once the response's head was read.
    body_left: Option<u64>,
    closes: bool,
    status: u16,
    backend: Option<u8>,
}

impl Connection {
    fn open(plan: &Plan) -> io::Result<Self> {
        let wire = Wire::open(plan.target.address, CONNECT_TIMEOUT, plan.secure.as_ref())?;
        wire.socket().set_nonblocking(true)?;
        Ok(Self {
            wire,
            due_ns: None,
            request: 0,
            sent_ns: 0,
            unsent_bytes: 0,
            partial_head: Vec::new(),
            body_left: None,
            closes: false,
            status: 0,
            backend: None,
        })
    }
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan, stop: &'a AtomicBool) -> Result<Self, Failure> {
        let readiness = Readiness::new().map_err(Failure::at("epoll"))?;
        let mut connections = Vec::with_capacity(plan.connections);
        for number in 0..plan.connections {
            let connection = Connection::open(plan).map_err(Failure::at(format!(
                "connection {} of {} to {}",
                number + 1,
                plan.connections,
                plan.target.address
            )))?;
            readiness
                .watch(&connection.wire, number as u64)
                .map_err(Failure::at("epoll"))?;
            connections.push(connection);
        }
        let end = match plan.closes {
            true => "Connection: close\r\n",
            false => "",
        };
        let request = |host: &String| {
            let path = &plan.target.path;
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{end}\r\n").into_bytes()
        };
        let requests = if plan.hosts.is_empty() {
            vec![request(&plan.target.authority)]
        } else {
            plan.hosts.iter().map(request).collect()
        };
        let counted_from_ns = plan.warm_up.as_nanos() as u64;
        Ok(Self {
            plan,
            stop,
            requests,
            next_request: 0,
            readiness,
            free: (0..connections.len()).collect(),
            connections,
            waiting: VecDeque::new(),
            begin: Instant::now(),
            counted_from_ns,
            end_ns: counted_from_ns + plan.duration.as_nanos() as u64,
            outcome: Outcome {
                latency: Histogram::new(),
                send_lag: Histogram::new(),
                requests_due: 0,
                responses: 0,
                not_2xx: 0,
                broken: 0,
                unanswered: 0,
                never_sent: 0,
                refused: 0,
                body_bytes: 0,
                exchanges: Vec::new(),
            },
        })
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut events = Vec::new();
        let mut bytes = vec![0; READ_BYTES];
        let mut scheduled = 0u64;
        self.begin = Instant::now();
        loop {
            let now_ns = self.now_ns();
            let wake_ns = match self.plan.pace {
                Pace::Open {
                    requests_per_second,
                } => {
                    let due = |index: u64| (index as f64 * 1e9 / requests_per_second) as u64;
                    while due(scheduled) <= now_ns && due(scheduled) < self.end_ns {
                        self.waiting.push_back(due(scheduled));
                        scheduled += 1;
                    }
                    due(scheduled).min(self.end_ns)
                }
                Pace::Closed => self.end_ns,
            };
            if now_ns >= self.end_ns || self.stop.load(Ordering::Relaxed) {
                self.end_ns = self.end_ns.min(now_ns);
                break;
            }
            self.dispatch()?;
            let pause = Duration::from_nanos(wake_ns.saturating_sub(self.now_ns()));
            self.readiness
                .wait(Some(pause), &mut events)
                .map_err(Failure::at("epoll"))?;
            self.take_events(&events, &mut bytes)?;
        }
        if let Pace::Open { .. } = self.plan.pace {
            self.drain(&mut events, &mut bytes)?;
        }
        Ok(())
    }

    /// Lets the responses to requests that were due come in, then counts those that did not.
    fn drain(&mut self, events: &mut Vec<Event>, bytes: &mut [u8]) -> Result<(), Failure> {
        let limit_ns = self.end_ns + self.plan.drain.as_nanos() as u64;
        while self.free.len() < self.connections.len() || !self.waiting.is_empty() {
            let now_ns = self.now_ns();
            if now_ns >= limit_ns {
                break;
            }
            self.dispatch()?;
            let pause = Duration::from_nanos(limit_ns - now_ns);
            self.readiness
                .wait(Some(pause), events)
                .map_err(Failure::at("epoll"))?;
            self.take_events(events, bytes)?;
        }
        let now_ns = self.now_ns();
        let in_flight: Vec<u64> = self
            .connections
            .iter()
            .filter_map(|connection| connection.due_ns)
            .collect();
        for number in 0..self.connections.len() {
            if self.connections[number].due_ns.is_some() {
                self.keep_exchange(number, false);
            }
        }
        let waiting: Vec<u64> = self.waiting.drain(..).collect();
        self.outcome.never_sent = waiting.len() as u64;
        for due_ns in &waiting {
            self.count_due(*due_ns);
        }
        for due_ns in in_flight.into_iter().chain(waiting) {
            if due_ns >= self.counted_from_ns {
                self.outcome.unanswered += 1;
                self.outcome.latency.record(now_ns - due_ns);
            }
        }
        Ok(())
    }

    fn now_ns(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn count_due(&mut self, due_ns: u64) {
        self.outcome.requests_due += u64::from(due_ns >= self.counted_from_ns);
    }

    /// Sends what is due on the connections that are free.
    fn dispatch(&mut self) -> Result<(), Failure> {
        while !self.free.is_empty() {
            let now_ns = self.now_ns();
            let due_ns = match self.plan.pace {
                Pace::Open { .. } => match self.waiting.pop_front() {
                    Some(due_ns) => due_ns,
                    None => return Ok(()),
                },
                Pace::Closed => now_ns,
            };
            let Some(number) = self.free.pop_front() else {
                return Ok(());
            };
            self.count_due(due_ns);
            if due_ns >= self.counted_from_ns {
                self.outcome.send_lag.record(now_ns.saturating_sub(due_ns));
            }
            let connection = &mut self.connections[number];
            connection.due_ns = Some(due_ns);
            connection.sent_ns = now_ns;
            connection.request = self.next_request;
            connection.unsent_bytes = self.requests[self.next_request].len();
            self.next_request = (self.next_request + 1) % self.requests.len();
            if self.send(number).is_err() {
                self.replace(number)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, number: usize) -> io::Result<()> {
        let connection = &mut self.connections[number];
        let request = &self.requests[connection.request];
        while connection.unsent_bytes > 0 {
            let from = request.len() - connection.unsent_bytes;
            match connection.wire.write(&request[from..]) {
                Ok(written) => connection.unsent_bytes -= written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        connection.wire.flush()
    }

    fn take_events(&mut self, events: &[Event], bytes: &mut [u8]) -> Result<(), Failure> {
        for event in events {
            let number = event.token as usize;
            let sent = if event.writable {
                self.send(number)
            } else {
                Ok(())
            };
            let lives =
                sent.is_ok() && (!event.readable || self.receive(number, event.ended, bytes)?);
            if !lives {
                self.replace(number)?;
            }
        }
        Ok(())
    }

    /// Reads what has come. `false`: the connection is of no more use. Whoever ends right behind a
    /// response makes one event of both, so then a short read is not the last.
    fn receive(&mut self, number: usize, ended: bool, bytes: &mut [u8]) -> Result<bool, Failure> {
        loop {
            let count = match self.connections[number].wire.read(bytes) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(_) => return Ok(false),
            };
            if !self.take(number, &bytes[..count])? {
                return Ok(false);
            }
            let is_drained = self.connections[number].wire.is_drained_by_short_read();
            if count < bytes.len() && is_drained && !ended {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, number: usize, received: &[u8]) -> Result<bool, Failure> {
        let connection = &mut self.connections[number];
        if connection.due_ns.is_none() {
            return Err(Failure::new(format!(
                "{} sent bytes that no request asked for",
                self.plan.target.url
            )));
        }
        let mut body = received;
        if connection.body_left.is_none() {
            let joined;
            let mut head_and_more = received;
            if !connection.partial_head.is_empty() {
                connection.partial_head.extend_from_slice(received);
                joined = std::mem::take(&mut connection.partial_head);
                head_and_more = &joined;
            }
            let Some(end) = message_head::head_end(head_and_more) else {
                if head_and_more.len() > HEAD_BYTES_MAX {
                    return Err(Failure::new(format!(
                        "{} sent a head without an end",
                        self.plan.target.url
                    )));
                }
                connection.partial_head = head_and_more.to_vec();
                return Ok(true);
            };
            // Only the last piece can hold bytes behind the head.
            body = &received[received.len() - (head_and_more.len() - end)..];
            let head = &head_and_more[..end];
            let (status, body_bytes) = understand(head, &self.plan.target)?;
            connection.closes = message_head::announces_close(head);
            connection.body_left = Some(body_bytes);
            connection.status = status;
            connection.backend =
                message_head::backend_name(head).and_then(|name| name.first().copied());
            self.outcome.not_2xx += u64::from(!(200..300).contains(&status));
        }
        let connection = &mut self.connections[number];
        let left = connection.body_left.unwrap_or(0);
        let taken = body.len() as u64;
        if taken > left {
            return Err(Failure::new(format!(
                "{} sent more body than it announced",
                self.plan.target.url
            )));
        }
        connection.body_left = Some(left - taken);
        self.outcome.body_bytes += taken;
        if left > taken {
            return Ok(true);
        }
        Ok(self.complete(number))
    }

    /// Counts a complete response. `false`: the server closes this connection.
    fn complete(&mut self, number: usize) -> bool {
        self.keep_exchange(number, true);
        let now_ns = self.now_ns();
        let connection = &mut self.connections[number];
        connection.body_left = None;
        if let Some(due_ns) = connection.due_ns.take()
            && due_ns >= self.counted_from_ns
        {
            self.outcome.responses += 1;
            self.outcome.latency.record(now_ns - due_ns);
        }
        if connection.closes {
            return false;
        }
        self.free.push_back(number);
        true
    }

    fn keep_exchange(&mut self, number: usize, came_whole: bool) {
        if !self.plan.keeps_exchanges {
            return;
        }
        let connection = &self.connections[number];
        self.outcome.exchanges.push(Exchange {
            host: connection.request,
            due: self.begin + Duration::from_nanos(connection.due_ns.unwrap_or(connection.sent_ns)),
            sent: self.begin + Duration::from_nanos(connection.sent_ns),
            ended: Instant::now(),
            status: came_whole.then_some(connection.status),
            backend: connection.backend.filter(|_| came_whole),
        });
    }

    /// Opens a connection anew in the place of one that ended.
    fn replace(&mut self, number: usize) -> Result<(), Failure> {
        if self.connections[number]
            .due_ns
            .is_some_and(|due_ns| due_ns >= self.counted_from_ns)
        {
            self.outcome.broken += 1;
        }
        if self.connections[number].due_ns.is_some() {
            self.keep_exchange(number, false);
        }
        let was_free =
            self.connections[number].due_ns.is_none() && !self.connections[number].closes;
        let place = || {
            Failure::at(format!(
                "{} closed a connection, and a new one",
                self.plan.target.url
            ))
        };
        let connection = self.reconnect().map_err(place())?;
        self.readiness
            .watch(&connection.wire, number as u64)
            .map_err(place())?;
        self.connections[number] = connection;
        if !was_free {
            self.free.push_back(number);
        }
        Ok(())
    }

    /// A server that refuses connections for a moment is charged for it and not given up.
    fn reconnect(&mut self) -> io::Result<Connection> {
        let begin = Instant::now();
        loop {
            match Connection::open(self.plan) {
                Err(_) if begin.elapsed() < RECONNECT_LIMIT => {
                    self.outcome.refused += 1;
                    sleep(RECONNECT_PAUSE);
                }
                opened => return opened,
            }
        }
    }
}

/// Status and length of the body of a response head.
fn understand(head: &[u8], target: &Target) -> Result<(u16, u64), Failure> {
    let status = message_head::status(head)
        .ok_or_else(|| Failure::new(format!("{} did not answer HTTP/1.x", target.url)))?;
    match message_head::body_length(head) {
        BodyLength::Known(bytes) => Ok((status, bytes)),
        BodyLength::Absent if status == 204 || status == 304 => Ok((status, 0)),
        BodyLength::Absent | BodyLength::NotUnderstood => Err(Failure::new(format!(
            "{} answered without a Content-Length, which this generator needs",
            target.url
        ))),
    }
}
