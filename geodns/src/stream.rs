//! One connection: messages behind their lengths, one after another (RFC 7766).

use crate::worker::Worker;
use meridian_model::limits::{DNS_TCP_QUERY_BYTES_MAX, GATHERED_RESPONSE_BYTES};
use meridian_sys::{RecvBuf, Socket};
use std::net::IpAddr;
use std::task::Poll;

/// Octets of a length (RFC 1035 §4.2.2).
const LENGTH_BYTES: usize = 2;

/// Something came that is no query, or the client went or does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over;

/// Serves until the client has gone, was silent for too long, or has to make room.
pub(crate) async fn serve(worker: &Worker, socket: &Socket, client: IpAddr, place: usize) {
    let runtime = &worker.runtime;
    worker
        .seats
        .borrow_mut()
        .served_by(place, runtime.current_task());
    let mut connection = Connection {
        worker,
        socket,
        client,
        place,
        begun: Vec::new(),
        responses: Vec::new(),
        idle_at_ns: runtime.deadline(worker.idle()),
    };
    while let Some(received) = connection.receive().await {
        if connection.answer(&received).await.is_err() {
            return;
        }
    }
}

struct Connection<'a> {
    worker: &'a Worker,
    socket: &'a Socket,
    client: IpAddr,
    place: usize,
    /// Of a message that is not whole yet, with its length. Only what came is held.
    begun: Vec<u8>,
    /// What is to be sent.
    responses: Vec<u8>,
    /// When it is closed if no whole message comes: octets alone keep nothing open.
    idle_at_ns: u64,
}

impl Connection<'_> {
    /// What comes next; `None` when the connection is to be closed.
    async fn receive(&mut self) -> Option<RecvBuf> {
        let runtime = &self.worker.runtime;
        loop {
            if let Poll::Ready(received) = self.socket.poll_recv() {
                return received.ok().flatten();
            }
            if self.worker.seats.borrow().is_evicted(self.place) {
                return None;
            }
            let last_word_ns = self.worker.last_word_ns();
            let last_word_ns = last_word_ns.filter(|_| self.begun.is_empty());
            let until_ns = last_word_ns.map_or(self.idle_at_ns, |it| it.min(self.idle_at_ns));
            if runtime.now_ns() >= until_ns {
                self.worker.counts.borrow_mut().idle += 1;
                return None;
            }
            runtime.stirred(until_ns).await;
        }
    }

    /// Answers every message that is whole by now.
    async fn answer(&mut self, received: &[u8]) -> Result<(), Over> {
        let mut rest = received;
        if !self.begun.is_empty() {
            rest = self.complete(rest);
            if is_too_long(&self.begun) {
                return self.refuse().await;
            }
            let begun = std::mem::take(&mut self.begun);
            match whole_message(&begun) {
                Some((message, _)) => self.answer_one(message).await?,
                None => {
                    self.begun = begun;
                    return Ok(());
                }
            }
        }
        loop {
            if is_too_long(rest) {
                return self.refuse().await;
            }
            let Some((message, behind)) = whole_message(rest) else {
                break;
            };
            self.answer_one(message).await?;
            rest = behind;
        }
        self.begun = rest.to_vec();
        self.send().await
    }

    /// A query is too long; what came before is answered all the same.
    async fn refuse(&mut self) -> Result<(), Over> {
        self.worker.counts.borrow_mut().too_long += 1;
        self.send().await?;
        Err(Over)
    }

    /// Adds to the message that has begun what belongs to it, and gives what is behind it.
    fn complete<'b>(&mut self, mut rest: &'b [u8]) -> &'b [u8] {
        while self.begun.len() < LENGTH_BYTES {
            let Some((&octet, behind)) = rest.split_first() else {
                return rest;
            };
            self.begun.push(octet);
            rest = behind;
        }
        if is_too_long(&self.begun) {
            return rest;
        }
        let length = usize::from(u16::from_be_bytes([self.begun[0], self.begun[1]]));
        let missing = (LENGTH_BYTES + length).saturating_sub(self.begun.len());
        let (belongs, behind) = rest.split_at(missing.min(rest.len()));
        self.begun.reserve_exact(missing);
        self.begun.extend_from_slice(belongs);
        behind
    }

    async fn answer_one(&mut self, message: &[u8]) -> Result<(), Over> {
        let runtime = &self.worker.runtime;
        let responses = &mut self.responses;
        let answered = self.worker.answer_stream(message, self.client, |response| {
            responses.extend_from_slice(&(response.len() as u16).to_be_bytes());
            responses.extend_from_slice(response);
        });
        if !answered {
            // A response, or no message at all: who sends that is no client (DNS.md).
            self.send().await?;
            return Err(Over);
        }
        self.idle_at_ns = runtime.deadline(self.worker.idle());
        self.worker.seats.borrow_mut().touch(self.place);
        if self.responses.len() >= GATHERED_RESPONSE_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    /// Sends what was gathered, lengths and messages in one write (RFC 7766 §8).
    async fn send(&mut self) -> Result<(), Over> {
        if self.responses.is_empty() {
            return Ok(());
        }
        let runtime = &self.worker.runtime;
        let stall_ns = self.worker.idle().as_nanos() as u64;
        // What was gathered is not kept: a connection that is silent holds nothing.
        self.socket
            .start_send(std::mem::take(&mut self.responses), false);
        loop {
            if let Poll::Ready(sent) = self.socket.poll_sent() {
                return sent.map(drop).map_err(|_| Over);
            }
            let stalled_ns = self.socket.send_progress_ns().saturating_add(stall_ns);
            let has_to_go = self.worker.seats.borrow().is_evicted(self.place);
            if has_to_go || runtime.now_ns() >= stalled_ns {
                self.socket.reset_on_close();
                return Err(Over);
            }
            runtime.stirred(stalled_ns).await;
        }
    }
}

/// Whether a message that begins like this is longer than any query.
fn is_too_long(begun: &[u8]) -> bool {
    let length = begun.first_chunk().copied().map(u16::from_be_bytes);
    length.is_some_and(|length| usize::from(length) > DNS_TCP_QUERY_BYTES_MAX)
}

/// The message that `octets` begin with, and what is behind it.
fn whole_message(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = octets.split_first_chunk::<LENGTH_BYTES>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(length)))
}
