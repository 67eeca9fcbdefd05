//! A request's body on its way from the client to the backend.
//!
//! At most two buffers of ours are in use: the one that is being sent and the one that comes
//! next. A backend that does not read holds the client back.

use crate::body::{self, BodyError, BodyReader, Piece, RateMeter};
use crate::client::Request;
use crate::http::reject::Reject;
use crate::http::request::BodyFraming;
use crate::record::Traffic;
use crate::stream::{BackendStream, Stream};
use meridian_sys::SendBuf;
use std::rc::Rc;
use std::task::Poll;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upload {
    reader: BodyReader,
    chunked: bool,
    next: Option<SendBuf>,
    /// What the site's limit lets come.
    left_bytes: u64,
    meter: RateMeter,
    write_ns: u64,
    /// The backend takes no more.
    broken: bool,
    /// Pieces that were made of the body so far.
    pieces: u32,
    /// Bytes of the request's head that stand in the same buffer as the first piece.
    head_bytes: usize,
    /// The client waits for the backend to say 100 (Continue): it is not the one who is slow.
    awaits_continue: bool,
    /// Since when the backend has all that came, and the client is to send more; 0: it is not.
    client_since_ns: u64,
    /// How long that was in this try, before.
    client_ns: u64,
}

/// Why the body, and with it the request, cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadFault {
    /// The client or the backend did what gets this answer.
    Refused(Reject),
    /// The client went away.
    ClientGone,
}

/// What a look at the body found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pumped {
    /// The client is to send, or the backend to take; look again at this time at the latest.
    Waiting(u64),
    /// All of the body was handed to the kernel, or all that the backend will get for now: what
    /// comes next is its response.
    BackendsTurn,
}

impl Upload {
    /// The body of a request that begins at `now_ns`.
    pub(crate) fn new(request: &Request, now_ns: u64) -> Upload {
        let site = request.site.site();
        let timeouts = &site.timeouts;
        let mut meter = RateMeter::new(timeouts.body, now_ns);
        // Until there is a backend to take it, it is us who hold the body up.
        meter.hold(now_ns);
        Upload {
            reader: BodyReader::of_request(request.framing)
                .drop_trailers(!request.forward().request_fields.dropped.is_empty()),
            chunked: request.framing == BodyFraming::Chunked,
            next: None,
            left_bytes: (site.limits.as_ref()).map_or(u64::MAX, |limits| limits.body_bytes),
            meter,
            write_ns: timeouts.write.as_nanos() as u64,
            broken: false,
            pieces: 0,
            head_bytes: 0,
            awaits_continue: request.expect_continue,
            client_since_ns: 0,
            client_ns: 0,
        }
    }

    /// Another try begins: nobody has waited in it yet.
    pub(crate) fn begin_try(&mut self) {
        self.client_since_ns = 0;
        self.client_ns = 0;
    }

    /// How long this try has waited for bytes of the client so far, in ns.
    pub(crate) fn client_ns(&self, now_ns: u64) -> u64 {
        match self.client_since_ns {
            0 => self.client_ns,
            since_ns => self.client_ns + now_ns.saturating_sub(since_ns),
        }
    }

    /// Whether the client has sent all of it.
    pub(crate) fn is_read(&self) -> bool {
        self.reader.is_done()
    }

    /// Whether the client waits for a 100 (Continue), and would have sent something to do without:
    /// it may send at any time (RFC 9110 §10.1.1), so a backend that says nothing is not the only one
    /// who could go on.
    pub(crate) fn is_held_by_both(&self) -> bool {
        self.awaits_continue && !self.reader.is_done()
    }

    /// Whether the backend was given all of it.
    pub(crate) fn is_whole(&self) -> bool {
        self.reader.is_done() && self.next.is_none() && !self.broken
    }

    /// The backend said 100 (Continue): the client has no more reason to wait.
    pub(crate) fn continued(&mut self) {
        self.awaits_continue = false;
    }

    /// Sends the head to the backend, with what is already there of the body behind it.
    pub(crate) fn begin(
        &mut self,
        head: Rc<Vec<u8>>,
        client: &Stream,
        upstream: &BackendStream,
        traffic: Traffic<'_>,
    ) -> Result<(), UploadFault> {
        self.broken = false;
        self.fill(client, traffic)?;
        if let Some(SendBuf::Received(buffer)) = &mut self.next
            && buffer.prepend(&head)
            && let Some(bytes) = self.next.take()
        {
            self.head_bytes = head.len();
            upstream.start_send(bytes, false);
        } else {
            upstream.start_send(head, self.next.is_some());
        }
        Ok(())
    }

    /// Takes the body back from a connection that broke, so that it can be sent to another. Says
    /// whether all is here that the client has sent of it so far: a first piece is, since nobody
    /// took the buffer that it was sent in.
    pub(crate) fn take_back(&mut self, upstream: &BackendStream) -> bool {
        match (self.pieces, &self.next) {
            (0, _) | (1, Some(_)) => return true,
            (1, None) => self.next = upstream.take_back(),
            _ => return false,
        }
        if let Some(SendBuf::Received(buffer)) = &mut self.next {
            buffer.advance(std::mem::take(&mut self.head_bytes));
        }
        self.next.is_some()
    }

    /// Moves the body on, as far as both sides let it.
    pub(crate) fn pump(
        &mut self,
        client: &Stream,
        upstream: &BackendStream,
        traffic: Traffic<'_>,
        now_ns: u64,
    ) -> Result<Pumped, UploadFault> {
        if self.client_since_ns != 0 {
            self.client_ns = self.client_ns(now_ns);
            self.client_since_ns = 0;
        }
        loop {
            if !self.broken {
                self.fill(client, traffic)?;
            }
            if upstream.is_sending() {
                if self.reader.is_done() && self.next.is_none() {
                    // Its end need not be waited for: the response tells, and a failure wakes.
                    return Ok(Pumped::BackendsTurn);
                }
                match upstream.poll_sent() {
                    Poll::Pending => {
                        self.meter.hold(now_ns);
                        let stalled_ns = upstream.send_progress_ns() + self.write_ns;
                        if stalled_ns <= now_ns {
                            return Err(UploadFault::Refused(Reject::FirstByteSlow));
                        }
                        return Ok(Pumped::Waiting(stalled_ns));
                    }
                    Poll::Ready(Ok(_)) => {}
                    // The backend closed its receiving side; it may have answered before that.
                    Poll::Ready(Err(_)) => self.broken = true,
                }
            }
            if self.broken {
                return Ok(Pumped::BackendsTurn);
            }
            if let Some(bytes) = self.next.take() {
                upstream.start_send(bytes, false);
                continue;
            }
            if self.reader.is_done() {
                return Ok(Pumped::BackendsTurn);
            }
            if self.awaits_continue {
                self.meter.hold(now_ns);
                return Ok(Pumped::BackendsTurn);
            }
            return match self.meter.wait(now_ns) {
                Some(look_ns) => {
                    self.client_since_ns = now_ns;
                    Ok(Pumped::Waiting(look_ns))
                }
                None => Err(UploadFault::Refused(Reject::BodySlow)),
            };
        }
    }

    /// Makes the next piece ready, when the client has sent it.
    fn fill(&mut self, client: &Stream, traffic: Traffic<'_>) -> Result<(), UploadFault> {
        while self.next.is_none() && !self.reader.is_done() {
            let buffer = match client.poll_recv() {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(Some(buffer))) => buffer,
                Poll::Ready(Ok(None) | Err(_)) => return Err(UploadFault::ClientGone),
            };
            self.awaits_continue = false;
            let received = buffer.len();
            let taken = self.reader.take(buffer).map_err(|error| match error {
                BodyError::Chunk(error) => UploadFault::Refused(error.reject()),
                BodyError::Short => UploadFault::ClientGone,
            })?;
            let rest = taken.rest.as_ref().map_or(0, |rest| rest.len());
            self.meter.note(received - rest);
            traffic.came(received - rest);
            let payload = taken.piece.as_ref().map_or(0, Piece::len) as u64;
            let left = self.left_bytes.checked_sub(payload);
            self.left_bytes = left.ok_or(UploadFault::Refused(Reject::BodyLong))?;
            self.next = body::frame(&self.reader, self.chunked, taken.piece);
            self.pieces += u32::from(self.next.is_some());
            if let Some(rest) = taken.rest {
                client.unread(rest);
            }
        }
        Ok(())
    }
}
