//! A client's connection, as far as HTTP/1.1 framing goes: where requests begin and end, what
//! is answered without a backend, and when the connection stays open.
//!
//! What forwards a request is in [`crate::exchange`]; it sees a [`Request`] and the connection's
//! body, and nothing of how the head was framed.

use crate::access_log::Entry;
use crate::counters::{Cause, Cut, SiteCounters};
use crate::exchange::Exchange;
use crate::http::Version;
use crate::http::answer::{
    AnswerContext, write_options_answer, write_probe_answer, write_reject, write_route_answer,
};
use crate::http::field::FieldName;
use crate::http::forward::{RequestContext, TargetParts, write_asked, write_request_head};
use crate::http::method::Method;
use crate::http::redirect;
use crate::http::reject::Reject;
use crate::http::request::{self, BodyFraming, Parsed, RequestHead, Target};
use crate::limits::{self, Refusal, Seat};
use crate::proxy_header;
use crate::proxy_protocol::Ends;
use crate::record::{Circumstances, Record, Traffic, TunnelRecord};
use crate::request_id::REQUEST_ID_BYTES;
use crate::route::{Routed, route};
use crate::site::LocalSite;
use crate::sticky::Visitor;
use crate::stream::Stream;
use crate::tls::{self, Parked, Session};
use crate::tunnel::Opening;
use crate::worker::Worker;
use meridian_model::limits::{
    HOSTNAME_BYTES_MAX, LINGER_BYTES_MAX, LINGER_MS, REQUEST_ID_BYTES_MAX,
};
use meridian_model::probe::PATH;
use meridian_model::snapshot::{Forward, HostField, SiteId};
use meridian_model::usage::{Column, NO_SITE};
use meridian_sys::{Promise, RecvBuf, Runtime, Socket};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

/// How long a connection that ends may take.
const LINGER: Duration = Duration::from_millis(LINGER_MS);

/// What happens to a connection after a request.
#[derive(Debug)]
pub(crate) enum Next {
    /// It waits for the next request.
    Keep,
    /// It ends in order: our side first, then what the client still sends is read for a while.
    Linger,
    /// It ends at once.
    Close,
    /// It ends with a reset, so that nobody takes what was sent for complete.
    Reset,
    /// It is HTTP no longer: whatever comes goes through a tunnel.
    Tunnel(Box<Opening>),
}

/// What is known of a client's connection between its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The port that the client connected to.
    pub(crate) port: u16,
    /// It was counted to a site already.
    pub(crate) counted: bool,
    /// How far it is with TLS.
    pub(crate) tls: Tls,
    /// Until then a header of the PROXY protocol must come before anything else, in milliseconds
    /// on the worker's clock; 0 where none must.
    pub(crate) header_due_ms: u64,
    /// Whose connection it is, once it carried a request of a site.
    pub(crate) seat: Option<Seat>,
}

/// How far a client's connection is with TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    /// It speaks none.
    Off,
    /// It begins with a handshake, which was not made yet.
    Awaited,
    /// Its handshake was made. While it is parked, this is where its session is.
    Session(u32),
}

/// A client's connection with what is known of it.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    worker: Rc<Worker>,
    /// There until the connection is parked or dropped.
    stream: Option<Stream>,
    known: Known,
    /// Whose it is by now.
    seat: Cell<Option<Seat>>,
    /// The site of the current request, once it is known.
    site: Option<Rc<LocalSite>>,
    /// When the current request's task first ran, on the worker's clock.
    began_ns: u64,
    /// A response was begun and has not ended.
    responding: Cell<bool>,
    /// What there is to tell of the current request.
    record: Record,
}

impl ClientConnection {
    /// A connection of which so much is known.
    pub(crate) fn new(worker: Rc<Worker>, socket: Socket, mut known: Known) -> ClientConnection {
        let session = match known.tls {
            Tls::Session(place) => {
                let parked = worker.tls().unpark(place);
                known.seat = parked.seat;
                Some(parked.session)
            }
            Tls::Off | Tls::Awaited => None,
        };
        ClientConnection {
            began_ns: worker.runtime.now_ns(),
            worker,
            stream: Some(Stream::new(socket, session)),
            seat: Cell::new(known.seat),
            known,
            site: None,
            responding: Cell::new(false),
            record: Record::default(),
        }
    }

    /// The beginning of a response is on its way.
    pub(crate) fn begin_response(&self) {
        self.responding.set(true);
    }

    /// The response was sent whole.
    pub(crate) fn end_response(&self) {
        self.responding.set(false);
    }

    /// Its worker.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// What its requests come from and its responses go to.
    pub(crate) fn stream(&self) -> &Stream {
        self.stream
            .as_ref()
            .expect("a connection has its socket until it is parked")
    }

    /// What stands below that: whoever reads and writes there speaks no TLS.
    pub(crate) fn socket(&self) -> &Socket {
        self.stream().socket()
    }

    /// Whether a handshake must come before anything else.
    pub(crate) fn awaits_handshake(&self) -> bool {
        self.known.tls == Tls::Awaited && self.stream().session().is_none()
    }

    /// Its handshake is over: from here on it speaks TLS.
    pub(crate) fn secure(&mut self, session: Session) {
        self.began_ns = self.worker.runtime.now_ns();
        if let Some(stream) = &mut self.stream {
            stream.secure(session);
        }
    }

    /// Whether its requests come by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.known.tls != Tls::Off
    }

    /// The field by which the current request's site asks to be asked for by HTTPS alone: only by that
    /// (RFC 6797 §7.2).
    pub(crate) fn hsts_line(&self) -> &[u8] {
        match &self.site {
            Some(site) if self.is_secure() => hsts_line_of(site),
            _ => b"",
        }
    }

    /// When the header that its proxy owes must be whole, on the worker's clock.
    pub(crate) fn header_due_ns(&self) -> u64 {
        self.known.header_due_ms * 1_000_000
    }

    /// A proxy said whose connection it is; without `ends`, the proxy's own.
    pub(crate) fn identify(&mut self, ends: Option<Ends>) {
        self.known.header_due_ms = 0;
        self.began_ns = self.worker.runtime.now_ns();
        if let Some(ends) = ends {
            self.known.port = ends.destination.port();
            self.socket()
                .assume_addresses(ends.source, ends.destination);
        }
    }

    /// Leaves it to the runtime until its next byte, for `keep_alive` at most.
    pub(crate) fn park(mut self, keep_alive: Duration) {
        // It was accepted when a drain had begun, or said since then whose it is: its request may
        // be on its way. If none is, nothing else would end it before the drain's time is over.
        let keep_alive = match self.worker.is_draining() {
            true => keep_alive.min(LINGER),
            false => keep_alive,
        };
        let deadline_ns = self.worker.runtime.deadline(keep_alive);
        if let Some(session) = self.stream().session() {
            session.borrow_mut().idle_until_ns = deadline_ns;
        }
        if !self.is_idle() {
            // The runtime knows only of what it has itself.
            let worker = Rc::clone(&self.worker);
            let seat = self.seat.get();
            return worker.serve(ClientConnection {
                known: Known { seat, ..self.known },
                site: None,
                responding: Cell::new(false),
                record: Record::default(),
                began_ns: worker.runtime.now_ns(),
                seat: Cell::new(seat),
                stream: self.stream.take(),
                worker: Rc::clone(&worker),
            });
        }
        self.park_until(deadline_ns);
    }

    /// Whether something of a request has come by TLS; what did not is taken in. May wait for a
    /// buffer.
    async fn has_come(&self) -> bool {
        poll_fn(|_| match self.stream().poll_recv() {
            Poll::Ready(Ok(Some(buffer))) => {
                self.stream().unread(buffer);
                Poll::Ready(true)
            }
            // Parked it would not be looked at again.
            Poll::Pending if self.has_unread() => Poll::Pending,
            Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => Poll::Ready(false),
        })
        .await
    }

    /// Whether something came by TLS that the runtime has given out.
    fn has_unread(&self) -> bool {
        let has_unread = |session: &RefCell<Session>| session.borrow().has_unread();
        self.stream().session().is_some_and(has_unread)
    }

    /// Whether it is for the runtime to say when there is something to do.
    fn is_idle(&self) -> bool {
        let is_open = |session: &RefCell<Session>| session.borrow().is_open();
        !self.has_unread() && self.stream().session().is_none_or(is_open)
    }

    /// What came by TLS is no part of a request, or not enough of a record: it waits for as long as it
    /// would have without that, and for the rest of a record no longer than for a head. It ends where that
    /// was the client's end.
    async fn wait_on(mut self) {
        let (idle_until_ns, partial_since_ns) = match self.stream().session() {
            Some(session) if session.borrow().is_open() => {
                let session = session.borrow();
                (session.idle_until_ns, session.partial_since_ns())
            }
            _ => return linger(self.stream(), &self.worker.runtime).await,
        };
        let head = (self.worker).with_routing(|routing| routing.snapshot.timeouts.head);
        let whole_until_ns = partial_since_ns.map_or(u64::MAX, |since| {
            since.saturating_add(head.as_nanos() as u64)
        });
        self.park_until(idle_until_ns.min(whole_until_ns));
    }

    /// Leaves it to the runtime until its next byte, or until then.
    fn park_until(&mut self, deadline_ns: u64) {
        if let Some(stream) = self.stream.take() {
            let (socket, session) = stream.into_parts();
            let mut known = Known {
                seat: self.seat.get(),
                ..self.known
            };
            if let Some(session) = session {
                let seat = known.seat.take();
                known.tls = Tls::Session(self.worker.tls().park(Parked { session, seat }));
            }
            socket.park(deadline_ns, Worker::client_tag(known));
        }
    }

    /// Gives its socket and its seat away; what becomes of these, and that it is closed one day
    /// ([`Worker::connection_closed`]), is somebody else's business from now on.
    fn into_stream(mut self) -> (Stream, Option<Seat>) {
        let stream = self.stream.take();
        let stream = stream.expect("a connection has its socket until it is parked");
        (stream, self.seat.get())
    }

    /// As which it is counted.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.seat.get()
    }

    /// From here on it is one of the connections of `seat`; `false` where there may be no more of
    /// those.
    pub(crate) fn take_seat(&self, seat: Seat) -> bool {
        let seats = self.worker.seats();
        if let Some(before) = self.seat.take() {
            seats.leave(before);
        }
        let taken = seats.take(seat);
        self.seat.set(taken.then_some(seat));
        taken
    }

    fn serve_site(&mut self, site: &Rc<LocalSite>, head_bytes: usize) {
        self.site = Some(Rc::clone(site));
        self.traffic().came(head_bytes);
        if !self.known.counted {
            self.known.counted = true;
            site.counters().add(Column::Connections, 1);
            if self.is_secure() {
                site.counters().add(Column::TlsHandshakes, 1);
            }
        }
    }

    /// Where the current request is counted: with what belongs to no site, until it has one.
    fn counters(&self) -> &SiteCounters {
        match &self.site {
            Some(site) => site.counters(),
            None => self.worker.counters_of_no_site(),
        }
    }

    /// Where the bytes of the current request are counted.
    pub(crate) fn traffic(&self) -> Traffic<'_> {
        Traffic {
            counters: self.counters(),
            record: &self.record,
        }
    }

    /// What there is to tell of the current request.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Counts the final response to the current request, just before its head is submitted, with
    /// the time since the turn in which its first byte had come. Gives the time.
    pub(crate) fn count_response(&self, status: u16, counters: &SiteCounters) -> u64 {
        let now_ns = self.worker.runtime.clock_ns();
        counters.count_response(status, now_ns.saturating_sub(self.began_ns));
        self.worker.board().requests.add(1);
        self.record.responded(status);
        now_ns
    }

    /// Counts why the current request ends badly. A request has one cause, the first: what goes
    /// wrong later follows from it.
    pub(crate) fn fail(&self, cause: Cause) {
        if self.record.fail(cause) {
            self.worker.causes().count(cause);
        }
    }

    /// The id that we gave to the current request.
    fn own_request_id(&self) -> [u8; REQUEST_ID_BYTES] {
        let ids = self.worker.request_ids();
        ids.text(self.record.number(ids))
    }

    /// The current request is over: the access log and the failures get to know of it, where
    /// they want to.
    fn finish(&self) {
        if !self.record.tell() {
            return;
        }
        let logged = self.is_logged();
        if logged || self.record.cause().is_some() {
            self.describe(|site, entry| self.worker.tell(site, entry, logged));
        }
        self.give_head_back();
    }

    /// The current request goes on as a tunnel: what is to be told when that ends.
    fn finish_later(&self) -> TunnelRecord {
        self.record.tell();
        let mut told_later = None;
        self.describe(|site, entry| {
            told_later = Some(TunnelRecord::new(
                &entry,
                site,
                self.is_logged(),
                self.began_ns,
            ));
        });
        self.give_head_back();
        told_later.expect("it was described")
    }

    fn give_head_back(&self) {
        if let Some(head) = self.record.take_head() {
            self.worker.give_head(head);
        }
    }

    /// Whether the access log gets the current request.
    fn is_logged(&self) -> bool {
        self.site.as_ref().is_some_and(|site| {
            let number = self.record.number(self.worker.request_ids());
            site.site().log_share.takes(number.lot()) && self.worker.has_log()
        })
    }

    /// Gives `each` what there is to tell, with the site that it is of.
    #[inline(never)]
    fn describe(&self, each: impl FnOnce(SiteId, Entry<'_>)) {
        let own_id = self.own_request_id();
        let kept_id = self.record.kept_id.borrow();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let site = self.site.as_ref().map(|site| site.site());
        let known = Circumstances {
            request_id: kept_id.as_deref().unwrap_or(&own_id),
            site: site.map_or(("-", "-"), |site| (&site.tenant, &site.name)),
            worker: self.worker.index,
            client: self.stream().peer_address().ok(),
            wall_us: wall.map_or(0, |since| since.as_micros() as u64),
            span_ns: (self.began_ns, self.worker.runtime.clock_ns()),
            sent_bytes: self.stream().sent_bytes(),
            tls: self.stream().tls().map(|(_, version)| version),
        };
        let id = site.map_or(NO_SITE, |site| site.id);
        self.record.describe(&known, |entry| each(id, entry));
    }
}

impl ClientConnection {
    /// A request that the end of a drain meets under way.
    fn end_unfinished(&self) {
        if !self.record.is_told() {
            self.fail(Cause::Cut(Cut::DrainTimeout));
            self.finish();
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        if self.site.is_some() && self.stream.is_some() {
            self.end_unfinished();
        }
        if let Some(stream) = self.stream.take() {
            // Of a send that did not end well, what the kernel took has gone all the same.
            let counters = match &self.site {
                Some(site) => site.counters(),
                None => self.worker.counters_of_no_site(),
            };
            counters.add(Column::BytesOut, stream.sent_bytes());
            if self.responding.get() {
                // Whatever ended it, a stop of the plane too: nobody may take it for complete.
                stream.reset_on_close();
            }
            drop(stream);
            if let Some(seat) = self.seat.get() {
                self.worker.seats().leave(seat);
            }
            self.worker.connection_closed();
        }
    }
}

/// A request that was understood and has a site.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its site.
    pub(crate) site: Rc<LocalSite>,
    /// The place in the site's forwards of the way that it goes.
    pub(crate) forward: usize,
    /// Its method.
    pub(crate) method: Method,
    /// The client's version.
    pub(crate) version: Version,
    /// Whether the client lets its connection stay open.
    pub(crate) keep_alive: bool,
    /// Where its body ends.
    pub(crate) framing: BodyFraming,
    /// Whether the client waits for a 100 (Continue) before it sends the body.
    pub(crate) expect_continue: bool,
    /// Whether the client asks to switch to WebSocket.
    pub(crate) upgrade_websocket: bool,
    /// Who asks, where the pool's visitors stay with their backends.
    pub(crate) visitor: Option<Visitor>,
    /// The head that a backend gets.
    pub(crate) head: Rc<Vec<u8>>,
}

impl Request {
    /// The way that it goes.
    pub(crate) fn forward(&self) -> &Forward {
        &self.site.site().forwards[self.forward]
    }
}

/// What a head amounts to.
enum Admitted {
    /// The client reset the connection already.
    Gone,
    Forward(Request),
    /// OPTIONS that goes no further.
    Options(AnswerContext),
    /// Another host asks how this one is: the whole answer.
    Probe(Vec<u8>),
    /// A route of the site answers, with these bytes.
    Answered {
        site: Rc<LocalSite>,
        status: u16,
        answer: Vec<u8>,
        keep_alive: bool,
    },
    Refused {
        refusal: Refusal,
        site: Option<Rc<LocalSite>>,
        context: AnswerContext,
    },
}

impl Admitted {
    /// Whose request it is.
    fn site(&self) -> Option<&Rc<LocalSite>> {
        match self {
            Admitted::Forward(request) => Some(&request.site),
            Admitted::Answered { site, .. } => Some(site),
            Admitted::Refused { site, .. } => site.as_ref(),
            Admitted::Gone | Admitted::Options(_) | Admitted::Probe(_) => None,
        }
    }

    /// Who was let in gets a connection to a backend, also where others come meanwhile.
    fn promise_other_end(&self, runtime: &Runtime) -> Option<Promise> {
        match self {
            Admitted::Forward(request) => Some(runtime.promise(request.site.class())),
            _ => None,
        }
    }
}

/// Closes a connection by TLS at once and in order: the client is to know that it was us. What it
/// sends meanwhile is lost, as it is without TLS.
pub(crate) async fn end(connection: ClientConnection) {
    end_stream(connection.stream(), &connection.worker.runtime).await;
}

/// As [`end`]. Whoever closes it behind that closes it in order.
pub(crate) async fn end_stream(stream: &Stream, runtime: &Runtime) {
    let _ = shut_down(stream, runtime.deadline(LINGER), runtime).await;
}

/// Serves one request of a connection whose first byte has arrived.
///
/// A task's state is in nobody's cache when something comes for it, so it is kept small: an `async
/// fn` would hold its argument twice.
#[expect(clippy::manual_async_fn, reason = "see above")]
pub(crate) fn serve(mut connection: ClientConnection) -> impl Future<Output = ()> {
    async move {
        if connection.known.header_due_ms != 0 {
            // Once for a connection, and large beside what each request needs.
            match Box::pin(proxy_header::take(connection)).await {
                Some(identified) => connection = identified,
                None => return,
            }
        }
        if connection.awaits_handshake() {
            match Box::pin(tls::handshake::make(connection)).await {
                Some(secured) => connection = secured,
                None => return,
            }
        } else if connection.is_secure() && !connection.has_come().await {
            // Once for what is no part of a request.
            return Box::pin(connection.wait_on()).await;
        }
        let next = serve_request(&mut connection).await;
        let worker = Rc::clone(connection.worker());
        if let Next::Tunnel(opening) = next {
            let told_later = connection.finish_later();
            let (stream, seat) = connection.into_stream();
            return opening.open(worker, stream, seat, told_later);
        }
        connection.finish();
        match next {
            Next::Keep if !worker.is_draining() => {
                let keep_alive = match &connection.site {
                    Some(site) => site.site().timeouts.keep_alive,
                    None => worker.with_routing(|routing| routing.snapshot.timeouts.keep_alive),
                };
                connection.park(keep_alive);
            }
            // Nor has who waits for the end more than its share.
            Next::Keep | Next::Linger if worker.has_share(connection.stream().class()) => {
                linger(connection.stream(), &worker.runtime).await;
            }
            Next::Keep | Next::Linger | Next::Close if connection.is_secure() => {
                Box::pin(end(connection)).await;
            }
            Next::Keep | Next::Linger | Next::Close => {}
            Next::Reset => connection.stream().reset_on_close(),
            Next::Tunnel(_) => unreachable!("looked at before"),
        }
    }
}

async fn serve_request(connection: &mut ClientConnection) -> Next {
    let (admitted, rest, head_bytes) = match receive_head(connection).await {
        Ok(received) => received,
        Err(next) => return next,
    };
    if enter_class(connection, admitted.site(), rest) {
        let runtime = &connection.worker().runtime;
        let other_end = admitted.promise_other_end(runtime);
        // So far the class of the unknown has paid; the rest waits for its tenant's turn.
        runtime.yield_now().await;
        drop(other_end);
    }
    match admitted.site() {
        Some(site) => connection.serve_site(site, head_bytes),
        // What hosts ask each other is nobody's traffic.
        None if matches!(admitted, Admitted::Probe(_)) => {}
        None => count_in(connection, head_bytes),
    }
    let connection = &*connection;
    // Looked at where it is: what is moved has two places in the state of a task.
    match &mut Course::begin(connection, admitted) {
        Course::Forward(exchange) => exchange.run().await,
        Course::Answer(answer, keep_alive) => {
            send_answer(connection, mem::take(answer), *keep_alive).await
        }
        Course::Probe(answer) => send_probe_answer(connection, mem::take(answer)).await,
        Course::Refuse(refusal, context) => refuse(connection, *refusal, *context).await,
        Course::Close => Next::Close,
    }
}

/// Receives until there is a whole head, and decides what it amounts to. With what came behind it,
/// and its length; or with what becomes of the connection where there is none.
async fn receive_head(connection: &ClientConnection) -> Result<(Admitted, RecvBuf, usize), Next> {
    let worker = connection.worker();
    let head_timeout = worker.with_routing(|routing| routing.snapshot.timeouts.head);
    let deadline_ns = worker.runtime.deadline(head_timeout);
    // A head that comes in parts is copied together: while the next part is waited for, none of
    // the worker's buffers is held.
    let mut parts: Vec<u8> = Vec::new();
    loop {
        if !parts.is_empty() && !worker.may_wait_for_head(connection.stream().class()) {
            count_in(connection, parts.len());
            return Err(Next::Close);
        }
        let received = connection.stream().recv(deadline_ns).await;
        if !matches!(received, Ok(Some(_))) {
            // They never became a request, and have no site.
            count_in(connection, parts.len());
        }
        let mut buffer = match received {
            Ok(Some(buffer)) => buffer,
            // An empty line alone is no request (RFC 9112 §2.2).
            Ok(None) | Err(_) if parts == b"\r\n" => return Err(Next::Close),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let context = AnswerContext::NOT_UNDERSTOOD;
                return Err(refuse(connection, Reject::HeadSlow, context).await);
            }
            Ok(None) | Err(_) => {
                if !parts.is_empty() {
                    connection.fail(Cause::Cut(Cut::ClientAbort));
                }
                return Err(Next::Close);
            }
        };
        let before = parts.len();
        if before > 0 {
            parts.extend_from_slice(&buffer);
            if !request::may_be_complete(&parts, before) {
                continue;
            }
        }
        let bytes: &[u8] = if before > 0 { &parts } else { &buffer };
        let (admitted, head_bytes) = match request::parse(bytes) {
            Ok(Parsed::Complete(head)) => (admit(connection, &head), head.head_bytes),
            Ok(Parsed::Partial) if before > 0 => continue,
            Ok(Parsed::Partial) => {
                parts.extend_from_slice(&buffer);
                continue;
            }
            Err(reject) => {
                count_in(connection, bytes.len());
                drop(buffer);
                let context = AnswerContext::NOT_UNDERSTOOD;
                return Err(refuse(connection, reject, context).await);
            }
        };
        // A head ends in the last buffer: before that came, it had no end.
        buffer.advance(head_bytes.saturating_sub(before).min(buffer.len()));
        return Ok((admitted, buffer, head_bytes));
    }
}

fn count_in(connection: &ClientConnection, bytes: usize) {
    connection.traffic().came(bytes);
}

/// Decides what is to become of a request by its head alone.
fn admit(connection: &ClientConnection, head: &RequestHead<'_>) -> Admitted {
    let worker = connection.worker();
    // A body that nobody reads would be taken for the next request, and so would what a client
    // sends ahead through the tunnel that it will not get.
    let keep_alive = head.keep_alive
        && head.framing.is_empty()
        && !head.upgrade_websocket
        && !worker.is_draining();
    let context = AnswerContext {
        client_version: head.version,
        keep_alive,
        head_only: head.method == Method::Head,
    };
    if let Err(reject) = head.check_scheme(connection.is_secure()) {
        return refused(connection, head, context, reject.into(), None);
    }
    if head.target == Target::Asterisk || head.max_forwards == Some(0) {
        return Admitted::Options(context);
    }
    if head.method == Method::Get
        && head.target == Target::Origin(PATH.as_bytes())
        && let Some((signed, body)) = worker.probed(head)
    {
        let mut answer = Vec::new();
        write_probe_answer(&mut answer, &signed, &body, &worker.date());
        return Admitted::Probe(answer);
    }
    let site = match (site_of(worker, head.host), connection.stream().tls()) {
        (Some(site), None) => site,
        (Some(site), Some((asked_for, _))) if site.site().id == asked_for => site,
        // Whether another tenant has this name is nobody's business.
        (_, Some(_)) => {
            return refused(connection, head, context, Reject::Misdirected.into(), None);
        }
        (None, None) => return refused(connection, head, context, Reject::NoSite.into(), None),
    };
    let Ok(client) = connection.stream().peer_address() else {
        keep_asked(connection, head);
        return Admitted::Gone;
    };
    let client = client.ip().to_canonical();
    if let Err(refusal) = check_site(connection, &site, client, head) {
        return refused(connection, head, context, refusal, Some(site));
    }
    let asker = Asker {
        address: client,
        trusted: site.site().trusted_networks.contains(client),
    };
    if let Some(answered) = redirect(connection, &site, head, asker, context) {
        return answered;
    }
    if let Err(reject) = check_certificate(connection, &site) {
        // By this connection it will not be better.
        let context = AnswerContext {
            keep_alive: false,
            ..context
        };
        return refused(connection, head, context, reject.into(), Some(site));
    }
    let mut room = Vec::new();
    let (forward, target) = match route(site.site(), head, asker.trusted, &mut room) {
        Ok(Routed::Forward(forward, target)) => (forward, target),
        Ok(Routed::Answer(answer, location)) => {
            let mut bytes = Vec::new();
            let own_lines = match connection.is_secure() {
                true => hsts_line_of(&site),
                false => b"",
            };
            let date = worker.date();
            write_route_answer(&mut bytes, answer, location, own_lines, &date, context);
            keep_asked(connection, head);
            return Admitted::Answered {
                status: answer.status,
                answer: bytes,
                keep_alive,
                site: Rc::clone(&site),
            };
        }
        Err(reject) => {
            let site = Some(Rc::clone(&site));
            return refused(connection, head, context, reject.into(), site);
        }
    };
    let way = &site.site().forwards[forward];
    let forwarded = write_forwarded(connection, asker, &site, head, way, target);
    let visitor = site.visitor(way.pool, head.fields());
    Admitted::Forward(Request {
        visitor,
        site,
        forward,
        method: head.method,
        version: head.version,
        keep_alive: head.keep_alive,
        framing: head.framing,
        expect_continue: head.expect_continue,
        upgrade_websocket: head.upgrade_websocket,
        head: forwarded,
    })
}

/// The site with this hostname, however it is written.
fn site_of(worker: &Worker, host: &[u8]) -> Option<Rc<LocalSite>> {
    if !host.iter().any(u8::is_ascii_uppercase) {
        return worker.site(host);
    }
    let mut lower = [0; HOSTNAME_BYTES_MAX];
    let lower = lower.get_mut(..host.len())?;
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    worker.site(lower)
}

fn hsts_line_of(site: &LocalSite) -> &[u8] {
    let tls = site.site().tls.as_deref();
    tls.and_then(|tls| tls.rules.hsts.as_deref()).unwrap_or(b"")
}

/// The answer to a request that came without TLS, of a site that wants none such.
fn redirect(
    connection: &ClientConnection,
    site: &Rc<LocalSite>,
    head: &RequestHead<'_>,
    asker: Asker,
    context: AnswerContext,
) -> Option<Admitted> {
    let tls = site.site().tls.as_deref()?;
    if !tls.rules.redirect_to_https
        || connection.is_secure()
        || !redirect::applies(head, asker.trusted)
    {
        return None;
    }
    let worker = connection.worker();
    let port = worker.with_routing(|routing| routing.snapshot.https_port);
    let mut answer = Vec::new();
    let status = redirect::write(&mut answer, head, port, &worker.date(), context);
    worker.board().redirects_to_https.add(1);
    keep_asked(connection, head);
    Some(Admitted::Answered {
        status,
        answer,
        keep_alive: context.keep_alive,
        site: Rc::clone(site),
    })
}

/// Whether a site serves a request at all, whatever it asks for.
fn check_site(
    connection: &ClientConnection,
    site: &LocalSite,
    client: IpAddr,
    head: &RequestHead<'_>,
) -> Result<(), Refusal> {
    if head.via_contains(site.via()) {
        return Err(Reject::Loop.into());
    }
    if site.site().suspended.holds() {
        return Err(Reject::Suspended.into());
    }
    if site.site().deny_networks.contains(client) {
        return Err(Reject::Denied.into());
    }
    limits::admit(connection, site, head)
}

/// Whether the client showed a certificate where the site wants one: in a handshake that was made by the
/// rules that the site has now.
fn check_certificate(connection: &ClientConnection, site: &LocalSite) -> Result<(), Reject> {
    let rules = site.site().tls.as_ref();
    let Some(rules) = rules.and_then(|tls| tls.rules.clients.as_ref()) else {
        return Ok(());
    };
    match connection.stream().session() {
        None if rules.required => Err(Reject::CertificateRequired),
        None => Ok(()),
        Some(session) => {
            let session = session.borrow();
            let client = session.client();
            let is_under = client.is_some_and(|client| client.is_under(rules));
            is_under.then_some(()).ok_or(Reject::Misdirected)
        }
    }
}

/// A request that is refused, by its site where it has one.
fn refused(
    connection: &ClientConnection,
    head: &RequestHead<'_>,
    context: AnswerContext,
    refusal: Refusal,
    site: Option<Rc<LocalSite>>,
) -> Admitted {
    keep_asked(connection, head);
    let client = connection.stream().peer_address();
    if let (Some(site), Ok(client)) = (&site, client)
        && (site.site().trusted_networks).contains(client.ip().to_canonical())
    {
        keep_request_id(connection.record(), head);
    }
    Admitted::Refused {
        refusal,
        site,
        context,
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy)]
struct Asker {
    address: IpAddr,
    /// It is a proxy whose forwarding fields the site believes.
    trusted: bool,
}

/// The head that a backend gets of a request that goes this way.
#[inline]
fn write_forwarded(
    connection: &ClientConnection,
    asker: Asker,
    site: &LocalSite,
    head: &RequestHead<'_>,
    way: &Forward,
    target: Option<TargetParts<'_>>,
) -> Rc<Vec<u8>> {
    let record = connection.record();
    record.admitted_ns.set(connection.worker().runtime.now_ns());
    record
        .revision
        .set(connection.worker().board().revision.get());
    let own_id = connection.own_request_id();
    let keeps_id = asker.trusted && keep_request_id(record, head);
    let mut forwarded = connection.worker().take_head();
    let session = connection.stream().session().map(RefCell::borrow);
    let client = session.as_ref().and_then(|session| session.client());
    if let Some(bytes) = Rc::get_mut(&mut forwarded) {
        let context = RequestContext {
            client: asker.address,
            trusted: asker.trusted,
            forwarded_proto: match connection.is_secure() {
                true => "https",
                false => "http",
            },
            listener_port: connection.known.port,
            via: site.via(),
            request_id: match keeps_id {
                true => None,
                false => std::str::from_utf8(&own_id).ok(),
            },
            target,
            host: match &way.host {
                HostField::Asked => None,
                HostField::Fixed(host) => Some(host),
            },
            fields: &way.request_fields,
            client_certificate: client.map_or(b"", |client| client.lines()),
        };
        write_request_head(bytes, head, &context);
    }
    if target.is_none() && way.host == HostField::Asked {
        record.keep_head(&forwarded);
    } else {
        keep_asked(connection, head);
    }
    forwarded
}

/// Keeps what was asked for, of a request that goes no further or not as it was asked for.
fn keep_asked(connection: &ClientConnection, head: &RequestHead<'_>) {
    let worker = connection.worker();
    let record = connection.record();
    record.revision.set(worker.board().revision.get());
    let mut asked = worker.take_head();
    if let Some(bytes) = Rc::get_mut(&mut asked) {
        write_asked(bytes, head);
    }
    record.keep_head(&asked);
}

/// Keeps the id of a request that has one which can be passed on and looked for. Whether it has.
fn keep_request_id(record: &Record, head: &RequestHead<'_>) -> bool {
    let mut ids = head.fields().values(FieldName::XRequestId);
    let (Some(id), None) = (ids.next(), ids.next()) else {
        return false;
    };
    let is_good =
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    if is_good {
        record.kept_id.replace(Some(id.into()));
    }
    is_good
}

/// What is done with a request. It stays where it is made: the largest is what most are.
#[expect(clippy::large_enum_variant, reason = "see above")]
enum Course<'c> {
    Forward(Exchange<'c>),
    /// These bytes are the answer, and then the connection may stay open.
    Answer(Vec<u8>, bool),
    /// So is this, and is not counted.
    Probe(Vec<u8>),
    Refuse(Refusal, AnswerContext),
    Close,
}

impl<'c> Course<'c> {
    /// Begins what was decided.
    fn begin(connection: &'c ClientConnection, admitted: Admitted) -> Course<'c> {
        match admitted {
            Admitted::Gone => {
                connection.fail(Cause::Cut(Cut::ClientAbort));
                Course::Close
            }
            Admitted::Forward(request) => {
                request.site.earn_retry();
                Course::Forward(Exchange::new(connection, request))
            }
            Admitted::Answered {
                site,
                status,
                answer,
                keep_alive,
            } => {
                connection.count_response(status, site.counters());
                Course::Answer(answer, keep_alive)
            }
            Admitted::Options(context) => {
                let mut answer = Vec::new();
                write_options_answer(&mut answer, &connection.worker().date(), context);
                connection.count_response(204, connection.counters());
                Course::Answer(answer, context.keep_alive)
            }
            Admitted::Probe(answer) => Course::Probe(answer),
            Admitted::Refused {
                refusal, context, ..
            } => Course::Refuse(refusal, context),
        }
    }
}

/// Lets the tenant of a request pay for it from here on, and whoever is refused by a site is its
/// tenant's; `rest` is what came behind the head. Whether the connection is new to its tenant.
fn enter_class(connection: &ClientConnection, site: Option<&Rc<LocalSite>>, rest: RecvBuf) -> bool {
    let Some(class) = site.map(|site| site.class()) else {
        connection.stream().unread(rest);
        return false;
    };
    rest.charge(class);
    connection.stream().unread(rest);
    if connection.stream().class() == class {
        return false;
    }
    connection.worker().runtime.set_class(class);
    connection.stream().set_class(class);
    true
}

/// Answers a request with an error of ours.
pub(crate) async fn refuse(
    connection: &ClientConnection,
    refusal: impl Into<Refusal>,
    context: AnswerContext,
) -> Next {
    let worker = connection.worker();
    let Refusal {
        reject,
        retry_after_s,
    } = refusal.into();
    if reject.is_limit() {
        connection.counters().add(Column::Refused, 1);
    }
    connection.fail(Cause::Reject(reject));
    let keep_alive = context.keep_alive && !reject.closes() && !worker.is_draining();
    let own_id = connection.own_request_id();
    let kept_id = connection.record().kept_id.take();
    let mut answer = Vec::new();
    write_reject(
        &mut answer,
        reject,
        retry_after_s,
        kept_id.as_deref().unwrap_or(&own_id),
        connection.hsts_line(),
        &worker.date(),
        AnswerContext {
            keep_alive,
            ..context
        },
    );
    connection.record().kept_id.replace(kept_id);
    connection.count_response(reject.status(), connection.counters());
    send_answer(connection, answer, keep_alive).await
}

async fn send_answer(connection: &ClientConnection, answer: Vec<u8>, keep_alive: bool) -> Next {
    let worker = connection.worker();
    let write = match &connection.site {
        Some(site) => site.site().timeouts.write,
        None => worker.with_routing(|routing| routing.snapshot.timeouts.write),
    };
    match connection
        .stream()
        .send(answer, write.as_nanos() as u64)
        .await
    {
        Ok(sent) => {
            connection.traffic().went(sent);
            if keep_alive { Next::Keep } else { Next::Linger }
        }
        Err(error) => {
            let cut = if error.kind() == io::ErrorKind::TimedOut {
                Cut::WriteTimeout
            } else {
                Cut::ClientAbort
            };
            connection.fail(Cause::Cut(cut));
            Next::Reset
        }
    }
}

/// Answers another host, which closes when it has read that.
async fn send_probe_answer(connection: &ClientConnection, answer: Vec<u8>) -> Next {
    let worker = connection.worker();
    let write = worker.with_routing(|routing| routing.snapshot.timeouts.write);
    let stream = connection.stream();
    match stream.send(answer, write.as_nanos() as u64).await {
        Ok(_) => Next::Linger,
        Err(_) => Next::Reset,
    }
}

/// Ends our side and reads on for a while: a client that still sends would otherwise get a reset
/// that takes our last answer with it (RFC 9112 §9.6).
pub(crate) async fn linger(stream: &Stream, runtime: &Runtime) {
    let deadline_ns = runtime.deadline(LINGER);
    if shut_down(stream, deadline_ns, runtime).await.is_err() {
        return;
    }
    let mut left = LINGER_BYTES_MAX;
    // What comes is not looked at.
    while let Ok(Some(bytes)) = stream.socket().recv(deadline_ns).await {
        left = left.saturating_sub(bytes.len());
        if left == 0 {
            return;
        }
    }
}

/// Ends our side.
async fn shut_down(stream: &Stream, deadline_ns: u64, runtime: &Runtime) -> io::Result<()> {
    poll_fn(|_| runtime.or_timeout(deadline_ns, stream.poll_shutdown().map(Ok))).await
}
