//! A response's body on its way from the backend to the client.
//!
//! At most two buffers of ours are in use: the one that is being sent and the one that comes
//! next. A client that does not read holds the backend back.

use crate::body::{self, BodyError, BodyReader};
use crate::counters::Cut;
use crate::http::response::ResponseFraming;
use crate::record::Traffic;
use crate::stall::Stall;
use crate::stream::{BackendStream, Stream};
use meridian_model::snapshot::Timeouts;
use meridian_sys::{RecvBuf, SendBuf};
use std::task::Poll;

/// See the module.
#[derive(Debug)]
pub(crate) struct Download {
    reader: BodyReader,
    chunked: bool,
    next: Option<SendBuf>,
    /// When the backend last sent something, or last could have.
    progress_ns: u64,
    stall: Stall,
    /// The backend said no more than it should have, and did not end the connection.
    clean: bool,
}

impl Download {
    /// The body of a response that is framed as `from` and goes on as `to`.
    pub(crate) fn new(
        from: ResponseFraming,
        to: ResponseFraming,
        drops_trailers: bool,
        now_ns: u64,
    ) -> Download {
        Download {
            reader: BodyReader::of_response(from).drop_trailers(drops_trailers),
            chunked: to == ResponseFraming::Chunked,
            next: None,
            progress_ns: now_ns,
            stall: Stall::new(now_ns),
            clean: from != ResponseFraming::UntilClose,
        }
    }

    /// Whether the backend has sent all of it.
    pub(crate) fn is_read(&self) -> bool {
        self.reader.is_done()
    }

    /// Whether the backend's connection is as it should be after a response.
    pub(crate) fn is_clean(&self) -> bool {
        self.clean && self.reader.is_done()
    }

    /// Puts the new head in front of what came of the body with the old one, in the same buffer
    /// where it fits. What comes out is for [`Download::start`].
    pub(crate) fn place(&mut self, head: &[u8], first: RecvBuf) -> Result<SendBuf, BodyError> {
        self.take(first)?;
        if let Some(SendBuf::Received(buffer)) = &mut self.next
            && buffer.prepend(head)
            && let Some(whole) = self.next.take()
        {
            return Ok(whole);
        }
        Ok(SendBuf::Heap(head.to_vec()))
    }

    /// Sends the beginning of the response. What it counts as was counted before; its bytes are
    /// counted when the kernel has taken them, as all are.
    pub(crate) fn start(&self, first: SendBuf, client: &Stream) {
        client.start_send(first, self.next.is_some());
    }

    /// Moves the body on, as far as both sides let it. Says whether all of it was sent.
    pub(crate) fn pump(
        &mut self,
        client: &Stream,
        upstream: &BackendStream,
        traffic: Traffic<'_>,
        now_ns: u64,
    ) -> Result<bool, Cut> {
        loop {
            while self.next.is_none() && !self.reader.is_done() {
                match upstream.poll_recv() {
                    Poll::Pending => break,
                    Poll::Ready(Ok(Some(buffer))) => {
                        self.take(buffer).map_err(|_| Cut::ShortBody)?;
                        self.progress_ns = now_ns;
                    }
                    Poll::Ready(Ok(None)) => {
                        self.reader.end().map_err(|_| Cut::ShortBody)?;
                        self.next = body::frame(&self.reader, self.chunked, None);
                    }
                    Poll::Ready(Err(_)) => return Err(Cut::ShortBody),
                }
            }
            match client.poll_sent() {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(sent)) => traffic.went(sent),
                Poll::Ready(Err(_)) => return Err(Cut::ClientAbort),
            }
            match self.next.take() {
                Some(bytes) => {
                    client.start_send(bytes, false);
                    // While the client was slow the backend was held back: its time begins now.
                    self.progress_ns = now_ns;
                }
                None => return Ok(self.reader.is_done()),
            }
        }
    }

    /// When to look again at the side that is waited for; an error when its time is over.
    pub(crate) fn deadline_ns(
        &mut self,
        client: &Stream,
        timeouts: &Timeouts,
        now_ns: u64,
    ) -> Result<u64, Cut> {
        if client.is_sending() {
            let write_ns = timeouts.write.as_nanos() as u64;
            let deadline_ns = self.stall.deadline_ns(client.socket(), write_ns, now_ns);
            return deadline_ns.ok_or(Cut::WriteTimeout);
        }
        let deadline_ns = self.progress_ns + timeouts.response_gap.as_nanos() as u64;
        if deadline_ns <= now_ns {
            return Err(Cut::ResponseGapTimeout);
        }
        Ok(deadline_ns)
    }

    fn take(&mut self, buffer: RecvBuf) -> Result<(), BodyError> {
        let taken = self.reader.take(buffer)?;
        // More than was announced: whatever it is, it answers no request of ours.
        self.clean &= taken.rest.is_none();
        self.next = body::frame(&self.reader, self.chunked, taken.piece);
        Ok(())
    }
}
