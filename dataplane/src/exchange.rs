//! One request, from the choice of a backend to the end of its response.
//!
//! The request's body ([`crate::upload`]) and the response's ([`crate::download`]) stream at the
//! same time, moved on by the one task that serves the client's connection. How it comes to its
//! backend is in [`picking`].

mod picking;

use crate::backend_state::Outcome;
use crate::client::{self, ClientConnection, Next, Request};
use crate::counters::{BackendCounters, Cause, Cut};
use crate::download::Download;
use crate::health::TrafficFailure;
use crate::http::Version;
use crate::http::answer::AnswerContext;
use crate::http::forward::{
    ResponseContext, write_interim_head, write_response_head, write_switch_head,
};
use crate::http::method::Method;
use crate::http::reject::Reject;
use crate::http::request::may_be_complete;
use crate::http::response::{self, Parsed, ResponseFraming, ResponseHead};
use crate::proxy_protocol::{self, Ends};
use crate::site::Pick;
use crate::sticky::Tag;
use crate::stream::{BackendStream, Stream};
use crate::tunnel::Opening;
use crate::upload::{Pumped, Upload, UploadFault};
use crate::upstream::Upstream;
use crate::worker::Worker;
use meridian_model::limits::{
    IDLE_UPSTREAM_CONNECTIONS_MAX, INTERIM_RESPONSES_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use meridian_model::snapshot::ProxyProtocol;
use meridian_model::usage::Column;
use meridian_sys::{RecvBuf, RecvMode, SendBuf, Socket};
use picking::{Newer, Unpicked};
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// A backend that says how long it keeps a connection is believed less this much.
const KEEP_ALIVE_MARGIN: Duration = Duration::from_secs(1);

/// Why an attempt at a backend ended without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Failed {
    reject: Reject,
    /// The connection had been used before, so it may just have been closed in between.
    reused: bool,
    /// All that was read of the request's body is still here.
    body_held: bool,
    /// The client could have gone on as well as the backend.
    held_by_both: bool,
    /// The backend got nothing of the request.
    unsent: bool,
}

impl Failed {
    /// Whether it says something of the backend: a pooled connection may have been closed in
    /// between, want of descriptors is ours, and who waits for a body may get none.
    fn is_of_backend(&self) -> bool {
        !self.reused
            && !self.held_by_both
            && !matches!(self.reject, Reject::Resources | Reject::BackendTlsUnready)
    }
}

/// How an attempt ended.
enum Attempt {
    /// A response was begun, or an answer of ours was sent; this becomes of the client.
    Over(Next),
    /// There is no response, and the client has got nothing yet.
    Failed(Failed),
    /// The client is to be refused, whatever other backends would say.
    Refused(Reject),
    /// The client went away.
    Gone(Cut),
}

/// How a conversation with a backend ended well.
enum Ended {
    /// With a response. What becomes of the client, and how long the backend's connection may be
    /// pooled (zero: not at all).
    Answered(Next, Duration),
    /// With a 101: a tunnel begins.
    Switched,
}

/// A request that is forwarded, and its response.
pub(crate) struct Exchange<'c> {
    connection: &'c ClientConnection,
    client: &'c Stream,
    worker: &'c Worker,
    request: Request,
    upload: Upload,
    /// Where backends are picked, when that is not the site that it came to any more.
    newer: Option<Box<Newer>>,
    /// What the response is to have the visitor remember.
    new_tag: Option<Tag>,
    /// Until when it may wait for room at backends, in all its tries; 0: it never had to.
    queue_deadline_ns: Cell<u64>,
}

/// Counts a request as in flight at a backend.
struct InFlight<'u>(&'u BackendCounters);

impl<'u> InFlight<'u> {
    fn begin(counters: &'u BackendCounters) -> InFlight<'u> {
        counters.requests.add(1);
        counters.in_flight.add(1);
        InFlight(counters)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.subtract(1);
    }
}

/// A final response head that was read and understood.
struct Begun {
    download: Download,
    status: u16,
    /// How long the backend's connection may be pooled once the body is through.
    keep_for: Duration,
    keep_client: bool,
}

/// What a response head amounts to.
enum Answer {
    /// Another one follows. The status, and the head for the client.
    Interim(u16, Vec<u8>),
    /// The response was begun.
    Final(Begun),
    /// The response is on its way, and with it what came through the tunnel so far.
    Switched,
    /// There is more to come.
    Partial,
}

impl<'c> Exchange<'c> {
    /// What forwards a request of that connection.
    pub(crate) fn new(connection: &'c ClientConnection, request: Request) -> Exchange<'c> {
        let worker = connection.worker();
        let upload = Upload::new(&request, worker.runtime.now_ns());
        Exchange {
            connection,
            client: connection.stream(),
            worker,
            request,
            upload,
            newer: None,
            new_tag: None,
            queue_deadline_ns: Cell::new(0),
        }
    }

    /// Does it, and says what becomes of the client's connection.
    pub(crate) async fn run(&mut self) -> Next {
        let mut tried = Vec::new();
        let mut fresh = false;
        let mut picked = match self.first_pick().await {
            Ok(picked) => picked,
            Err(unpicked) => return self.end_unpicked(unpicked, Reject::NoBackend).await,
        };
        loop {
            let failure = match self.attempt(&mut picked, fresh).await {
                Attempt::Over(next) => return next,
                Attempt::Refused(reject) => {
                    // A client that takes its time with the answer is none of the backend's.
                    drop(picked);
                    return self.refuse(reject).await;
                }
                Attempt::Gone(cut) => return self.cut(cut),
                Attempt::Failed(failure) => failure,
            };
            if failure.is_of_backend() {
                picked.upstream.counters().failures.add(1);
                self.report(&picked.upstream, failure.reject);
            }
            if !self.may_retry(failure) {
                drop(picked);
                return self.refuse(failure.reject).await;
            }
            // A pooled connection that broke says little about its backend: one more try there.
            let stays = failure.reused;
            if !stays {
                tried.push(Rc::clone(&picked.upstream));
            }
            picked = match self.pick_again(picked, stays, &tried).await {
                Ok(picked) => picked,
                Err(unpicked) => return self.end_unpicked(unpicked, failure.reject).await,
            };
            self.count(Column::Retries);
            fresh = true;
        }
    }

    /// Ends a request that comes to no backend; `reject` says why where there is none.
    async fn end_unpicked(&self, unpicked: Unpicked, reject: Reject) -> Next {
        match unpicked {
            Unpicked::Nobody => self.refuse(reject).await,
            Unpicked::Refused(reject) => self.refuse(reject).await,
            Unpicked::ClientGone => self.cut(Cut::ClientAbort),
        }
    }

    /// A connect that failed counts as a check that failed, where the backend is checked.
    fn report(&self, upstream: &Upstream, reject: Reject) {
        let failure = match reject {
            Reject::ConnectRefused => TrafficFailure::Refused,
            Reject::ConnectSlow => TrafficFailure::TimedOut,
            reject if reject.is_of_handshake() => TrafficFailure::Handshake,
            _ => return,
        };
        let (site, pool) = self.home();
        if site.site().pools[pool].health.is_some() {
            self.worker.health().report(upstream.key(), failure);
        }
    }

    /// The retry rule of HTTP.md: any method when nothing was sent; else idempotent methods
    /// whose body is empty or still wholly held.
    fn may_retry(&self, failure: Failed) -> bool {
        match failure.reject {
            Reject::ConnectRefused | Reject::ConnectSlow | Reject::NoBackend => true,
            reject if failure.unsent => reject.is_of_handshake(),
            Reject::Reset | Reject::BackendAlert => {
                self.request.method.is_idempotent() && failure.body_held
            }
            _ => false,
        }
    }

    /// Whether the client's connection may stay open once this request is answered in HTTP.
    ///
    /// What came behind a request to switch before its answer may have been meant for the
    /// tunnel: it must not be read as a request when there is none, for whoever chose those bytes
    /// need not be the one who may ask (RFC 9110 §7.8). A client that waits for the answer, as
    /// RFC 6455 §4.1 wants it, keeps its connection.
    fn may_keep_client(&self) -> bool {
        self.request.keep_alive && (!self.request.upgrade_websocket || self.client.is_quiet())
    }

    async fn refuse(&self, reject: Reject) -> Next {
        let context = AnswerContext {
            client_version: self.request.version,
            keep_alive: self.may_keep_client() && self.upload.is_read(),
            head_only: self.request.method == Method::Head,
        };
        client::refuse(self.connection, reject, context).await
    }

    fn count(&self, column: Column) {
        self.request.site.counters().add(column, 1);
    }

    /// Ends the connection in the middle of something.
    fn cut(&self, cut: Cut) -> Next {
        self.cut_for(Cause::Cut(cut))
    }

    fn cut_for(&self, cause: Cause) -> Next {
        self.connection.fail(cause);
        self.count(Column::Cut);
        Next::Reset
    }

    async fn attempt(&mut self, picked: &mut Pick, fresh: bool) -> Attempt {
        let upstream = Rc::clone(&picked.upstream);
        let in_flight = InFlight::begin(upstream.counters());
        let record = self.connection.record();
        let began_ns = self.worker.runtime.now_ns();
        record.begin_try(&picked.upstream, began_ns);
        self.upload.begin_try();
        let header = upstream.key().proxy_protocol();
        // A connection that began with one client's address is of no use to another.
        let is_shared = header == ProxyProtocol::Off;
        let pooled = if fresh || !is_shared {
            None
        } else {
            upstream.take_idle(&self.worker.runtime)
        };
        let reused = pooled.is_some();
        let stream = match pooled {
            Some(stream) => stream,
            None => match self.connect(&upstream).await {
                Ok(stream) => stream,
                Err(reject) => {
                    let failure = Failed {
                        reject,
                        reused: false,
                        body_held: true,
                        held_by_both: false,
                        unsent: true,
                    };
                    if failure.is_of_backend() {
                        self.observe(picked, Outcome::Failed, began_ns);
                    }
                    return Attempt::Failed(failure);
                }
            },
        };
        record.connected(reused, self.worker.runtime.now_ns());
        let result = self.converse(picked, &stream, began_ns).await;
        drop(in_flight);
        match result {
            Ok(Ended::Answered(next, _)) if !is_shared => {
                upstream.close(stream);
                Attempt::Over(next)
            }
            Ok(Ended::Answered(next, keep_for)) => {
                self.worker.before_pooling(self.request.site.site());
                let tag = Worker::upstream_tag(upstream.number());
                upstream.put_idle(stream, keep_for, tag, IDLE_UPSTREAM_CONNECTIONS_MAX);
                Attempt::Over(next)
            }
            Ok(Ended::Switched) => {
                let load = picked.load.take();
                let opening = Opening::new(&self.request.site, upstream, stream, load);
                Attempt::Over(Next::Tunnel(Box::new(opening)))
            }
            Err(ended) => {
                let held_by_both = self.upload.is_held_by_both();
                let ended = match ended {
                    Attempt::Failed(Failed { reject, .. }) => Attempt::Failed(Failed {
                        reject,
                        reused,
                        body_held: self.upload.take_back(&stream),
                        held_by_both: held_by_both && reject == Reject::FirstByteSlow,
                        unsent: false,
                    }),
                    ended => ended,
                };
                match &ended {
                    Attempt::Failed(failure) if failure.is_of_backend() => {
                        self.observe(picked, Outcome::Failed, began_ns);
                    }
                    Attempt::Gone(_) if !held_by_both => {
                        self.observe(picked, Outcome::Abandoned, began_ns);
                    }
                    _ => {}
                }
                upstream.close(stream);
                ended
            }
        }
    }

    /// Lets the backend's pool know how a try ended that began then. What it waited for the client
    /// says nothing about the backend.
    fn observe(&self, picked: &Pick, outcome: Outcome, began_ns: u64) {
        let now_ns = self.worker.runtime.now_ns();
        let not_its_ns = self.upload.client_ns(now_ns);
        let took_ns = now_ns.saturating_sub(began_ns).saturating_sub(not_its_ns);
        picked.observe(outcome, took_ns, now_ns);
    }

    async fn connect(&self, upstream: &Upstream) -> Result<BackendStream, Reject> {
        let address = upstream.address();
        let may_connect = self.worker.with_routing(|routing| {
            let policy = &routing.snapshot.policy;
            self.home().0.may_connect(policy, address)
        });
        if !may_connect {
            self.worker.board().policy_refusals.add(1);
            return Err(Reject::NoBackend);
        }
        self.connection.worker().make_room_for_backend()?;
        let class = self.request.site.class();
        let runtime = &self.worker.runtime;
        let began_ns = runtime.now_ns();
        let deadline_ns = runtime.deadline(self.request.site.site().timeouts.connect);
        let connected = runtime.connect(address, class, deadline_ns).await;
        let record = self.connection.record();
        if upstream.tls().is_none() || connected.is_err() {
            record.add_connecting(runtime.now_ns() - began_ns);
        }
        let socket = connected.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Reject::ConnectSlow,
            _ if meridian_sys::process::is_want_of_resources(&error) => Reject::Resources,
            _ => Reject::ConnectRefused,
        })?;
        socket.set_mode(RecvMode::Bounded);
        upstream.counters().connections.add(1);
        if upstream.tls().is_none() {
            return Ok(BackendStream::new(socket, None));
        }
        // Large beside what each request needs.
        let secured = Box::pin(self.secure(upstream, socket, deadline_ns)).await;
        record.add_connecting(runtime.now_ns() - began_ns);
        secured
    }

    /// Makes a handshake over a connection that was just made.
    async fn secure(
        &self,
        upstream: &Upstream,
        socket: Socket,
        deadline_ns: u64,
    ) -> Result<BackendStream, Reject> {
        let Some(client) = upstream.tls() else {
            return Ok(BackendStream::new(socket, None));
        };
        let mut first = Vec::new();
        self.write_proxy_header(upstream.key().proxy_protocol(), &mut first);
        let configs = self.worker.backend_tls();
        let made = client.connect(configs, upstream.key(), &socket, first, deadline_ns);
        let made = made.await;
        let mut stream = BackendStream::new(socket, None);
        match made {
            Ok(session) => {
                stream.secure(session);
                Ok(stream)
            }
            Err(reject) => {
                upstream.close(stream);
                Err(reject)
            }
        }
    }

    /// Sends the request over an open connection and passes the response on.
    async fn converse(
        &mut self,
        picked: &Pick,
        upstream: &BackendStream,
        began_ns: u64,
    ) -> Result<Ended, Attempt> {
        let head = self.head_for(&picked.upstream);
        self.new_tag = self.tag_to_set(picked);
        self.upload
            .begin(head, self.client, upstream, self.connection.traffic())
            .map_err(Attempt::from)?;
        let mut begun = self.await_response(upstream).await?;
        self.observe(picked, Outcome::Answered, began_ns);
        if picked.cross_group {
            self.count(Column::CrossGroup);
        }
        match &mut begun {
            Some(begun) => self.relay(upstream, begun).await,
            None => Ok(Ended::Switched),
        }
    }

    /// The request's head, behind a header of the PROXY protocol where the backend wants one and has
    /// not got it before its handshake.
    fn head_for(&self, upstream: &Upstream) -> Rc<Vec<u8>> {
        let version = upstream.key().proxy_protocol();
        if version == ProxyProtocol::Off || upstream.tls().is_some() {
            return Rc::clone(&self.request.head);
        }
        let mut head = Vec::with_capacity(self.request.head.len() + 128);
        self.write_proxy_header(version, &mut head);
        head.extend_from_slice(&self.request.head);
        Rc::new(head)
    }

    fn write_proxy_header(&self, version: ProxyProtocol, out: &mut Vec<u8>) {
        let ends = match (self.client.peer_address(), self.client.local_address()) {
            (Ok(source), Ok(destination)) => Ends::new(source, destination),
            (Err(_), _) | (_, Err(_)) => None,
        };
        proxy_protocol::write(out, version, ends);
    }

    /// Moves the request's body on.
    fn pump_upload(&mut self, upstream: &BackendStream) -> Result<Pumped, UploadFault> {
        let now_ns = self.worker.runtime.now_ns();
        let traffic = self.connection.traffic();
        self.upload.pump(self.client, upstream, traffic, now_ns)
    }

    /// Sends the rest of the request until the final response's head is there. Interim responses
    /// are passed on. `None` when the backend switched protocols.
    async fn await_response(&mut self, upstream: &BackendStream) -> Result<Option<Begun>, Attempt> {
        let timeouts = &self.request.site.site().timeouts;
        let first_byte_ns = timeouts.first_byte.as_nanos() as u64;
        let gap_ns = timeouts.response_gap.as_nanos() as u64;
        let mut collected: Option<Vec<u8>> = None;
        let mut interims = 0;
        let mut deadline_ns = 0;
        loop {
            let now_ns = self.worker.runtime.now_ns();
            let wait_ns = match self.pump_upload(upstream).map_err(Attempt::from)? {
                Pumped::BackendsTurn => {
                    if deadline_ns == 0 {
                        deadline_ns = now_ns + first_byte_ns;
                    }
                    if deadline_ns <= now_ns {
                        return Err(failed(Reject::FirstByteSlow));
                    }
                    deadline_ns
                }
                Pumped::Waiting(look_ns) => {
                    deadline_ns = 0;
                    look_ns
                }
            };
            let buffer = match upstream.poll_recv() {
                Poll::Ready(Ok(Some(buffer))) => buffer,
                Poll::Ready(Ok(None) | Err(_)) => {
                    return Err(failed(if collected.is_some() || interims > 0 {
                        Reject::ResponseHead
                    } else if upstream.is_alerted() {
                        Reject::BackendAlert
                    } else {
                        Reject::Reset
                    }));
                }
                Poll::Pending => {
                    if self.client.is_broken() {
                        return Err(Attempt::Gone(Cut::ClientAbort));
                    }
                    self.worker.runtime.stirred(wait_ns).await;
                    continue;
                }
            };
            if collected.is_none() {
                // Once a byte of a head came, the rest of it has the time of a gap in all.
                deadline_ns = now_ns + gap_ns;
            }
            let mut rest = Some(buffer);
            while let Some(buffer) = rest.take() {
                let (status, head) = match self.take_up_head(buffer, &mut collected, &mut rest)? {
                    Answer::Partial => continue,
                    Answer::Final(begun) => return Ok(Some(begun)),
                    Answer::Switched => return Ok(None),
                    Answer::Interim(status, head) => (status, head),
                };
                interims += 1;
                if status == 100 {
                    self.upload.continued();
                }
                if interims > INTERIM_RESPONSES_MAX {
                    return Err(failed(Reject::ResponseHead));
                }
                // Rare, and large beside what each request needs.
                Box::pin(self.pass_interim(head)).await?;
            }
        }
    }

    async fn pass_interim(&self, head: Vec<u8>) -> Result<(), Attempt> {
        if self.request.version == Version::Http10 {
            return Ok(());
        }
        let stall_ns = self.request.site.site().timeouts.write.as_nanos() as u64;
        self.client
            .send(head, stall_ns)
            .await
            .map(|sent| self.connection.traffic().went(sent))
            .map_err(|error| {
                Attempt::Gone(if error.kind() == io::ErrorKind::TimedOut {
                    Cut::WriteTimeout
                } else {
                    Cut::ClientAbort
                })
            })
    }

    /// Reads a head from `buffer`, joined to what was collected of it before. A final response
    /// begins here: it is counted, and its head starts on its way to the client.
    fn take_up_head(
        &self,
        mut buffer: RecvBuf,
        collected: &mut Option<Vec<u8>>,
        rest: &mut Option<RecvBuf>,
    ) -> Result<Answer, Attempt> {
        let before = collected.as_ref().map_or(0, Vec::len);
        if let Some(bytes) = collected {
            bytes.extend_from_slice(&buffer);
        }
        let bytes: &[u8] = collected.as_deref().unwrap_or(&buffer);
        if before > 0 && bytes.len() <= RESPONSE_HEAD_BYTES_MAX && !may_be_complete(bytes, before) {
            return Ok(Answer::Partial);
        }
        let parsed = if self.request.upgrade_websocket {
            response::parse_after_upgrade(bytes)
        } else {
            response::parse(bytes, self.request.method)
        };
        let head = match parsed {
            Ok(Parsed::Complete(head)) => head,
            Ok(Parsed::Partial) if bytes.len() <= RESPONSE_HEAD_BYTES_MAX => {
                collected.get_or_insert_with(|| buffer.to_vec());
                return Ok(Answer::Partial);
            }
            Ok(Parsed::Partial) | Err(_) => return Err(failed(Reject::ResponseHead)),
        };
        let head_bytes = head.head_bytes;
        if head.is_interim() {
            let mut interim = Vec::new();
            let status = head.status;
            write_interim_head(&mut interim, &head, self.request.site.via());
            *collected = None;
            buffer.advance(head_bytes - before.min(head_bytes));
            *rest = (!buffer.is_empty()).then_some(buffer);
            return Ok(Answer::Interim(status, interim));
        }
        let mut scratch = self.worker.take_scratch();
        let cookie = self.cookie_line();
        if head.is_switch() {
            let fields = &self.request.forward().response_fields;
            write_switch_head(
                &mut scratch,
                &head,
                self.request.site.via(),
                fields,
                &[&cookie, self.connection.hsts_line()].concat(),
            );
            buffer.advance(head_bytes - before.min(head_bytes));
            self.switch(&scratch, buffer);
            self.worker.give_scratch(scratch);
            return Ok(Answer::Switched);
        }
        let mut begun = self.begin(&head, &cookie, &mut scratch);
        buffer.advance(head_bytes - before.min(head_bytes));
        let placed = begun.download.place(&scratch, buffer);
        self.worker.give_scratch(scratch);
        let first = placed.map_err(|_| failed(Reject::ResponseHead))?;
        let counters = self.request.site.counters();
        let now_ns = self.connection.count_response(begun.status, counters);
        self.connection.record().answered(now_ns);
        self.connection.begin_response();
        begun.download.start(first, self.client);
        Ok(Answer::Final(begun))
    }

    /// Counts the answer to a request to switch and sends its head, with what came behind it.
    fn switch(&self, head: &[u8], mut first: RecvBuf) {
        let site = &self.request.site;
        let now_ns = self.connection.count_response(101, site.counters());
        self.connection.record().answered(now_ns);
        let bytes = if first.prepend(head) {
            SendBuf::Received(first)
        } else {
            SendBuf::Heap([head, &first].concat())
        };
        self.client.start_send(bytes, false);
    }

    /// Decides how a response goes to the client and writes its new head.
    fn begin(&self, head: &ResponseHead<'_>, cookie: &[u8], out: &mut Vec<u8>) -> Begun {
        let framing = head.framing_to_client(self.request.version);
        let keep_client = self.may_keep_client()
            && framing != ResponseFraming::UntilClose
            && !self.worker.is_draining()
            && self.upload.is_whole();
        write_response_head(
            out,
            head,
            &ResponseContext {
                client_version: self.request.version,
                keep_alive: keep_client,
                framing,
                via: self.request.site.via(),
                now_date: &self.worker.date(),
                fields: &self.request.forward().response_fields,
                own_lines: [cookie, self.connection.hsts_line()],
            },
        );
        let announced = head.keep_alive_timeout.map_or(Duration::MAX, |seconds| {
            Duration::from_secs(u64::from(seconds)).saturating_sub(KEEP_ALIVE_MARGIN)
        });
        let upstream_idle = self.request.site.site().timeouts.upstream_idle;
        Begun {
            download: Download::new(
                head.framing,
                framing,
                !self.request.forward().response_fields.dropped.is_empty(),
                self.worker.runtime.now_ns(),
            ),
            status: head.status,
            keep_for: if head.reusable {
                upstream_idle.min(announced)
            } else {
                Duration::ZERO
            },
            keep_client,
        }
    }

    /// Passes the rest of a begun response on, with the rest of the request's body beside it.
    async fn relay(
        &mut self,
        upstream: &BackendStream,
        begun: &mut Begun,
    ) -> Result<Ended, Attempt> {
        let download = &mut begun.download;
        if !download.is_read() {
            // Long, and its reader may be slow: what is under way may end, and no more is brought
            // than was asked for.
            upstream.set_mode(RecvMode::OnDemand);
        }
        let site = Rc::clone(&self.request.site);
        let timeouts = &*site.site().timeouts;
        loop {
            let now_ns = self.worker.runtime.now_ns();
            let finished = download
                .pump(self.client, upstream, self.connection.traffic(), now_ns)
                .map_err(|cut| Attempt::Over(self.cut(cut)))?;
            if finished {
                break;
            }
            let upload = self.pump_upload(upstream).map_err(|fault| {
                // Too late for an answer of ours; the cause is the same.
                Attempt::Over(match fault {
                    UploadFault::Refused(reject) => self.cut_for(Cause::Reject(reject)),
                    UploadFault::ClientGone => self.cut(Cut::ClientAbort),
                })
            })?;
            let mut deadline_ns = download
                .deadline_ns(self.client, timeouts, now_ns)
                .map_err(|cut| Attempt::Over(self.cut(cut)))?;
            if let Pumped::Waiting(look_ns) = upload
                && !download.is_read()
            {
                deadline_ns = deadline_ns.min(look_ns);
            }
            if self.client.is_broken() {
                return Err(Attempt::Over(self.cut(Cut::ClientAbort)));
            }
            self.worker.runtime.stirred(deadline_ns).await;
        }
        self.connection.end_response();
        let whole_request = self.upload.is_whole();
        let next = if begun.keep_client && whole_request {
            Next::Keep
        } else {
            Next::Linger
        };
        let reusable = download.is_clean()
            && whole_request
            && matches!(upstream.poll_sent(), Poll::Ready(Ok(_)));
        let keep_for = if reusable {
            begun.keep_for
        } else {
            Duration::ZERO
        };
        Ok(Ended::Answered(next, keep_for))
    }
}

impl From<UploadFault> for Attempt {
    fn from(fault: UploadFault) -> Attempt {
        match fault {
            UploadFault::Refused(reject) => Attempt::Refused(reject),
            UploadFault::ClientGone => Attempt::Gone(Cut::ClientAbort),
        }
    }
}

fn failed(reject: Reject) -> Attempt {
    Attempt::Failed(Failed {
        reject,
        reused: false,
        body_held: false,
        held_by_both: false,
        unsent: false,
    })
}
