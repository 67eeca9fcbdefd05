//! One request, from the choice of a backend to the end of its response.
//!
//! Both bodies stream at once, each with at most two buffers of ours: the one that is being
//! sent and the one that comes next. A side that does not read holds the other back.

use crate::body::{self, BodyError, BodyReader, Piece, RateMeter};
use crate::client::{self, ClientConnection, Next, Request};
use crate::counters::{BackendCounters, Cause, Cut};
use crate::http::Version;
use crate::http::forward::{ResponseContext, write_interim_head, write_response_head};
use crate::http::reject::Reject;
use crate::http::request::BodyFraming;
use crate::http::response::{self, Parsed, ResponseFraming, ResponseHead};
use crate::site::Pick;
use crate::upstream::Upstream;
use crate::worker::Worker;
use meridian_model::limits::{
    IDLE_UPSTREAM_CONNECTIONS_MAX, INTERIM_RESPONSES_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use meridian_sys::{RecvBuf, SendBuf, Socket};
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
    /// Nothing of the request was sent.
    unsent: bool,
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

/// Forwards a request and its response.
pub(crate) async fn run(connection: &ClientConnection, request: Request) -> Next {
    let mut exchange = Exchange::new(connection, request);
    let next = exchange.run().await;
    let Exchange { request, .. } = exchange;
    connection.worker().give_head(request.head);
    next
}

struct Exchange<'c> {
    connection: &'c ClientConnection,
    client: &'c Socket,
    worker: &'c Worker,
    request: Request,
    upload: Upload,
}

/// The request's body on its way.
struct Upload {
    reader: BodyReader,
    chunked: bool,
    next: Option<SendBuf>,
    meter: RateMeter,
    /// Some of the body was given to a backend.
    begun: bool,
    /// The backend takes no more.
    broken: bool,
    /// The client waits for the backend to say 100 (Continue): it is not the one who is slow.
    awaits_continue: bool,
}

/// The response's body on its way.
struct Download {
    reader: BodyReader,
    framing: ResponseFraming,
    next: Option<SendBuf>,
    /// When the backend last sent something, or last could have.
    progress_ns: u64,
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

/// What a look at the upload found.
enum Pumped {
    /// The client is to send, or the backend to take; look again at this time at the latest.
    Waiting(u64),
    /// All of the body was handed to the kernel, or all that the backend will get for now: what
    /// comes next is its response.
    BackendsTurn,
}

/// A whole response head, read and written anew.
struct Begun {
    download: Download,
    /// The new head, in front of the body that came with the old one when there was any.
    first: SendBuf,
    /// A second piece, when the head did not fit in front of the body.
    second: Option<SendBuf>,
    status: u16,
    /// The backend's connection can be used again once the body is through.
    reusable: bool,
    keep_for: Duration,
    keep_client: bool,
}

enum Answer {
    Interim(u16, Vec<u8>),
    Final(Begun),
    Partial,
}

impl<'c> Exchange<'c> {
    fn new(connection: &'c ClientConnection, request: Request) -> Exchange<'c> {
        let worker = connection.worker();
        let timeouts = &request.site.site().timeouts;
        let upload = Upload {
            reader: BodyReader::of_request(request.framing),
            chunked: request.framing == BodyFraming::Chunked,
            next: None,
            meter: RateMeter::new(timeouts.body, worker.runtime.now_ns()),
            begun: false,
            broken: false,
            awaits_continue: request.expect_continue,
        };
        Exchange {
            connection,
            client: connection.socket(),
            worker,
            request,
            upload,
        }
    }

    async fn run(&mut self) -> Next {
        let mut tried = Vec::new();
        let mut failed: Option<Failed> = None;
        let mut pick = self.request.site.pick(&tried);
        loop {
            let Some(picked) = pick else {
                let reject = failed.map_or(Reject::NoBackend, |failed| failed.reject);
                return self.refuse(reject).await;
            };
            let fresh = failed.is_some();
            let failure = match self.attempt(&picked, fresh).await {
                Attempt::Over(next) => return next,
                Attempt::Refused(reject) => return self.refuse(reject).await,
                Attempt::Gone(cut) => return self.cut(cut),
                Attempt::Failed(failure) => failure,
            };
            picked.upstream.counters().failures.add(1);
            if !self.may_retry(failure) {
                return self.refuse(failure.reject).await;
            }
            // A pooled connection that broke says little about its backend: one more try there.
            pick = if failure.reused {
                Some(picked)
            } else {
                tried.push(picked.upstream.number());
                self.request.site.pick(&tried)
            };
            failed = Some(failure);
            if pick.is_none() {
                continue;
            }
            if !self.request.site.spend_retry() {
                self.worker.board().retries_refused.add(1);
                self.request.site.counters().refused.add(1);
                return self.refuse(failure.reject).await;
            }
            self.request.site.counters().retries.add(1);
        }
    }

    /// The retry rule of HTTP.md: any method when nothing was sent; else idempotent methods
    /// whose body is empty.
    fn may_retry(&self, failure: Failed) -> bool {
        match failure.reject {
            Reject::ConnectRefused | Reject::ConnectSlow | Reject::NoBackend => true,
            Reject::Reset if failure.unsent => true,
            Reject::Reset => {
                self.request.method.is_idempotent()
                    && matches!(
                        self.request.framing,
                        BodyFraming::None | BodyFraming::Length(0)
                    )
            }
            _ => false,
        }
    }

    async fn refuse(&self, reject: Reject) -> Next {
        let keep_alive = self.request.keep_alive && self.upload.reader.is_done();
        let head_only = self.request.method == crate::http::method::Method::Head;
        client::refuse(
            self.connection,
            reject,
            Some(&self.request.site),
            head_only,
            keep_alive,
        )
        .await
    }

    /// Ends the connection in the middle of something.
    fn cut(&self, cut: Cut) -> Next {
        self.cut_for(Cause::Cut(cut))
    }

    fn cut_for(&self, cause: Cause) -> Next {
        self.worker.causes().count(cause);
        self.request.site.counters().cut.add(1);
        Next::Reset
    }

    async fn attempt(&mut self, picked: &Pick, fresh: bool) -> Attempt {
        let upstream = &*picked.upstream;
        let in_flight = InFlight::begin(upstream.counters());
        let pooled = if fresh {
            None
        } else {
            upstream.take_idle(&self.worker.runtime)
        };
        let reused = pooled.is_some();
        let socket = match pooled {
            Some(socket) => socket,
            None => match self.connect(upstream).await {
                Ok(socket) => socket,
                Err(reject) => {
                    return Attempt::Failed(Failed {
                        reject,
                        reused: false,
                        unsent: true,
                    });
                }
            },
        };
        let result = self.converse(picked, &socket).await;
        drop(in_flight);
        match result {
            Ok((next, keep_for)) => {
                let tag = Worker::upstream_tag(upstream.number());
                upstream.put_idle(socket, keep_for, tag, IDLE_UPSTREAM_CONNECTIONS_MAX);
                Attempt::Over(next)
            }
            Err(ended) => {
                upstream.close(socket);
                match ended {
                    Attempt::Failed(failed) => Attempt::Failed(Failed { reused, ..failed }),
                    ended => ended,
                }
            }
        }
    }

    async fn connect(&self, upstream: &Upstream) -> Result<Socket, Reject> {
        let address = upstream.address();
        if !self.request.site.may_connect(address) {
            self.worker.board().policy_refusals.add(1);
            return Err(Reject::NoBackend);
        }
        let runtime = &self.worker.runtime;
        let deadline_ns = runtime.deadline(self.request.site.site().timeouts.connect);
        let socket = runtime
            .connect(address, deadline_ns)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => Reject::ConnectSlow,
                _ => Reject::ConnectRefused,
            })?;
        socket.set_class(self.request.site.class());
        upstream.counters().connections.add(1);
        Ok(socket)
    }

    /// Sends the request over an open connection and passes the response on. Gives how long the
    /// connection may be pooled (zero: not at all).
    async fn converse(
        &mut self,
        picked: &Pick,
        upstream: &Socket,
    ) -> Result<(Next, Duration), Attempt> {
        self.send_head(upstream)?;
        let begun = self.await_response(upstream).await?;
        if picked.cross_group {
            self.request.site.counters().cross_group.add(1);
        }
        self.relay(upstream, begun).await
    }

    /// Sends the head, with what is already there of the body behind it.
    fn send_head(&mut self, upstream: &Socket) -> Result<(), Attempt> {
        let head = Rc::clone(&self.request.head);
        if self.upload.reader.is_done() {
            upstream.start_send(head, false);
            return Ok(());
        }
        self.fill_upload()?;
        if let Some(SendBuf::Received(buffer)) = &mut self.upload.next
            && buffer.prepend(&head)
        {
            self.upload.begun = true;
            if let Some(bytes) = self.upload.next.take() {
                upstream.start_send(bytes, false);
            }
        } else {
            upstream.start_send(head, self.upload.next.is_some());
        }
        Ok(())
    }

    /// Makes the next piece of the body ready, when the client has sent it.
    fn fill_upload(&mut self) -> Result<(), Attempt> {
        let upload = &mut self.upload;
        while upload.next.is_none() && !upload.reader.is_done() {
            let buffer = match self.client.poll_recv() {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Some(buffer))) => buffer,
                Poll::Ready(Ok(None) | Err(_)) => return Err(Attempt::Gone(Cut::ClientAbort)),
            };
            upload.awaits_continue = false;
            let received = buffer.len();
            let taken = upload.reader.take(buffer).map_err(|error| match error {
                BodyError::Chunk(error) => Attempt::Refused(error.reject()),
                BodyError::Short => Attempt::Gone(Cut::ClientAbort),
            })?;
            let rest = taken.rest.as_ref().map_or(0, |rest| rest.len());
            upload.meter.note(received - rest);
            self.request
                .site
                .counters()
                .bytes_in
                .add((received - rest) as u64);
            let last = upload.reader.is_done();
            upload.next = if upload.chunked {
                (taken.piece.is_some() || last)
                    .then(|| body::chunk(taken.piece, last.then(|| upload.reader.trailers())))
            } else {
                taken.piece.map(body::plain)
            };
            if let Some(rest) = taken.rest {
                self.client.unread(rest);
            }
        }
        Ok(())
    }

    /// Moves the request's body on, as far as both sides let it.
    fn pump_upload(&mut self, upstream: &Socket) -> Result<Pumped, Attempt> {
        let now_ns = self.worker.runtime.now_ns();
        let write_ns = self.request.site.site().timeouts.write.as_nanos() as u64;
        loop {
            if !self.upload.broken {
                self.fill_upload()?;
            }
            if upstream.is_sending() {
                if self.upload.reader.is_done() && self.upload.next.is_none() {
                    // Its end need not be waited for: the response tells, and a failure wakes.
                    return Ok(Pumped::BackendsTurn);
                }
                match upstream.poll_sent() {
                    Poll::Pending => {
                        self.upload.meter.hold(now_ns);
                        let stalled_ns = upstream.send_progress_ns() + write_ns;
                        if stalled_ns <= now_ns {
                            return Err(Attempt::Refused(Reject::FirstByteSlow));
                        }
                        return Ok(Pumped::Waiting(stalled_ns));
                    }
                    Poll::Ready(Ok(_)) => {}
                    // The backend closed its receiving side; it may have answered before that.
                    Poll::Ready(Err(_)) => self.upload.broken = true,
                }
            }
            if self.upload.broken {
                return Ok(Pumped::BackendsTurn);
            }
            if let Some(bytes) = self.upload.next.take() {
                self.upload.begun = true;
                upstream.start_send(bytes, false);
                continue;
            }
            if self.upload.reader.is_done() {
                return Ok(Pumped::BackendsTurn);
            }
            if self.upload.awaits_continue {
                self.upload.meter.hold(now_ns);
                return Ok(Pumped::BackendsTurn);
            }
            return match self.upload.meter.wait(now_ns) {
                Some(look_ns) => Ok(Pumped::Waiting(look_ns)),
                None => Err(Attempt::Refused(Reject::BodySlow)),
            };
        }
    }

    /// Sends the rest of the request until the final response's head is there. Interim responses
    /// are passed on.
    async fn await_response(&mut self, upstream: &Socket) -> Result<Begun, Attempt> {
        let timeouts = self.request.site.site().timeouts;
        let first_byte_ns = timeouts.first_byte.as_nanos() as u64;
        let mut collected: Option<Vec<u8>> = None;
        let mut interims = 0;
        let mut deadline_ns = 0;
        loop {
            let now_ns = self.worker.runtime.now_ns();
            let wait_ns = match self.pump_upload(upstream)? {
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
            // Once a byte came, the rest of the head has the time of a gap.
            deadline_ns = now_ns + timeouts.response_gap.as_nanos() as u64;
            let mut rest = Some(buffer);
            while let Some(buffer) = rest.take() {
                match self.read_head(buffer, &mut collected, &mut rest)? {
                    Answer::Partial => {}
                    Answer::Final(begun) => return Ok(begun),
                    Answer::Interim(status, head) => {
                        interims += 1;
                        self.upload.awaits_continue &= status != 100;
                        if interims > INTERIM_RESPONSES_MAX {
                            return Err(failed(Reject::ResponseHead));
                        }
                        self.pass_interim(head).await?;
                    }
                }
            }
        }
    }

    async fn pass_interim(&self, head: Vec<u8>) -> Result<(), Attempt> {
        if self.request.version == Version::Http10 {
            return Ok(());
        }
        self.request
            .site
            .counters()
            .bytes_out
            .add(head.len() as u64);
        let stall_ns = self.request.site.site().timeouts.write.as_nanos() as u64;
        self.client
            .send(head, stall_ns)
            .await
            .map(drop)
            .map_err(|error| {
                Attempt::Gone(if error.kind() == io::ErrorKind::TimedOut {
                    Cut::WriteTimeout
                } else {
                    Cut::ClientAbort
                })
            })
    }

    /// Reads a head from `buffer`, joined to what was collected of it before.
    fn read_head(
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
        let head = match response::parse(bytes, self.request.method) {
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
        let mut begun = self.begin(&head, &mut scratch);
        buffer.advance(head_bytes - before.min(head_bytes));
        let placed = Self::place_head(&mut begun, &scratch, buffer);
        self.worker.give_scratch(scratch);
        placed.map(|()| Answer::Final(begun))
    }

    /// Decides how a response goes to the client and writes its new head.
    fn begin(&self, head: &ResponseHead<'_>, out: &mut Vec<u8>) -> Begun {
        let framing = head.framing_to_client(self.request.version);
        let whole_request =
            self.upload.reader.is_done() && self.upload.next.is_none() && !self.upload.broken;
        let keep_client = self.request.keep_alive
            && framing != ResponseFraming::UntilClose
            && !self.worker.is_draining()
            && whole_request;
        write_response_head(
            out,
            head,
            &ResponseContext {
                client_version: self.request.version,
                keep_alive: keep_client,
                framing,
                via: self.request.site.via(),
                now_date: &self.worker.date(),
            },
        );
        let announced = head.keep_alive_timeout.map_or(Duration::MAX, |seconds| {
            Duration::from_secs(u64::from(seconds)).saturating_sub(KEEP_ALIVE_MARGIN)
        });
        Begun {
            download: Download {
                reader: BodyReader::of_response(head.framing),
                framing,
                next: None,
                progress_ns: self.worker.runtime.now_ns(),
            },
            first: SendBuf::Static(&[]),
            second: None,
            status: head.status,
            reusable: head.reusable && head.framing != ResponseFraming::UntilClose,
            keep_for: self
                .request
                .site
                .site()
                .timeouts
                .upstream_idle
                .min(announced),
            keep_client,
        }
    }

    /// Puts the new head in front of what came of the body, in the same buffer where it fits.
    fn place_head(begun: &mut Begun, head: &[u8], buffer: RecvBuf) -> Result<(), Attempt> {
        let taken = begun
            .download
            .reader
            .take(buffer)
            .map_err(|_| failed(Reject::ResponseHead))?;
        if taken.rest.is_some() {
            // More than was announced: whatever it is, it answers no request of ours.
            begun.reusable = false;
        }
        let mut body = begun.download.frame(taken.piece);
        if let Some(SendBuf::Received(buffer)) = &mut body
            && buffer.prepend(head)
            && let Some(whole) = body.take()
        {
            begun.first = whole;
        } else {
            begun.first = SendBuf::Heap(head.to_vec());
            begun.second = body;
        }
        Ok(())
    }

    /// Passes a begun response on, with the rest of the request's body beside it.
    async fn relay(
        &mut self,
        upstream: &Socket,
        begun: Begun,
    ) -> Result<(Next, Duration), Attempt> {
        let Begun {
            mut download,
            first,
            second,
            status,
            mut reusable,
            keep_for,
            keep_client,
        } = begun;
        let counters = self.request.site.counters();
        counters.count_response(status);
        counters.bytes_out.add(first.len() as u64);
        self.worker.board().requests.add(1);
        let more_follows = second.is_some();
        download.next = second;
        self.client.start_send(first, more_follows);
        loop {
            let finished = self.pump_download(upstream, &mut download, &mut reusable)?;
            if finished {
                break;
            }
            let upload_ns = match self.pump_upload(upstream) {
                Ok(Pumped::Waiting(_)) if download.reader.is_done() => 0,
                Ok(Pumped::BackendsTurn) => 0,
                Ok(Pumped::Waiting(look_ns)) => look_ns,
                // Too late for an answer of ours; the cause is the same.
                Err(Attempt::Refused(reject) | Attempt::Failed(Failed { reject, .. })) => {
                    return Err(Attempt::Over(self.cut_for(Cause::Reject(reject))));
                }
                Err(Attempt::Gone(cut)) => return Err(Attempt::Over(self.cut(cut))),
                Err(over) => return Err(over),
            };
            let deadline_ns = self.download_deadline_ns(&download)?;
            let deadline_ns = if upload_ns == 0 {
                deadline_ns
            } else {
                deadline_ns.min(upload_ns)
            };
            self.worker.runtime.stirred(deadline_ns).await;
        }
        let whole_request =
            self.upload.reader.is_done() && self.upload.next.is_none() && !self.upload.broken;
        let next = if keep_client && whole_request {
            Next::Keep
        } else {
            Next::Linger
        };
        let reusable =
            reusable && whole_request && matches!(upstream.poll_sent(), Poll::Ready(Ok(_)));
        Ok((next, if reusable { keep_for } else { Duration::ZERO }))
    }

    /// Until when the slower side has time; an error when that is over.
    fn download_deadline_ns(&self, download: &Download) -> Result<u64, Attempt> {
        let timeouts = &self.request.site.site().timeouts;
        let (deadline_ns, cut) = if self.client.is_sending() {
            (
                self.client.send_progress_ns() + timeouts.write.as_nanos() as u64,
                Cut::WriteTimeout,
            )
        } else {
            (
                download.progress_ns + timeouts.response_gap.as_nanos() as u64,
                Cut::ResponseGapTimeout,
            )
        };
        if deadline_ns <= self.worker.runtime.now_ns() {
            return Err(Attempt::Over(self.cut(cut)));
        }
        Ok(deadline_ns)
    }

    /// Moves the response's body on, as far as both sides let it. Says whether all of it was sent.
    fn pump_download(
        &self,
        upstream: &Socket,
        download: &mut Download,
        reusable: &mut bool,
    ) -> Result<bool, Attempt> {
        let counters = self.request.site.counters();
        loop {
            if download.next.is_none() && !download.reader.is_done() {
                match upstream.poll_recv() {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Some(buffer))) => {
                        let taken = download
                            .reader
                            .take(buffer)
                            .map_err(|_| Attempt::Over(self.cut(Cut::ShortBody)))?;
                        *reusable &= taken.rest.is_none();
                        download.next = download.frame(taken.piece);
                        download.progress_ns = self.worker.runtime.now_ns();
                        if download.next.is_none() && !download.reader.is_done() {
                            continue;
                        }
                    }
                    Poll::Ready(Ok(None)) => {
                        *reusable = false;
                        download
                            .reader
                            .end()
                            .map_err(|_| Attempt::Over(self.cut(Cut::ShortBody)))?;
                        download.next = download.frame(None);
                    }
                    Poll::Ready(Err(_)) => return Err(Attempt::Over(self.cut(Cut::ShortBody))),
                }
            }
            match self.client.poll_sent() {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Err(Attempt::Over(self.cut(Cut::ClientAbort))),
            }
            match download.next.take() {
                Some(bytes) => {
                    counters.bytes_out.add(bytes.len() as u64);
                    self.client.start_send(bytes, false);
                    // While the client was slow the backend was held back: its time begins now.
                    download.progress_ns = self.worker.runtime.now_ns();
                }
                None => return Ok(download.reader.is_done()),
            }
        }
    }
}

impl Download {
    /// Puts payload into the framing that the client gets.
    fn frame(&self, piece: Option<Piece>) -> Option<SendBuf> {
        match self.framing {
            ResponseFraming::Chunked => {
                let last = self.reader.is_done();
                (piece.is_some() || last)
                    .then(|| body::chunk(piece, last.then(|| self.reader.trailers())))
            }
            ResponseFraming::None | ResponseFraming::Length(_) | ResponseFraming::UntilClose => {
                piece.map(body::plain)
            }
        }
    }
}

fn failed(reject: Reject) -> Attempt {
    Attempt::Failed(Failed {
        reject,
        reused: false,
        unsent: false,
    })
}
