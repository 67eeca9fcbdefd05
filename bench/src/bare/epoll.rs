//! The bare proxy on edge-triggered readiness: two tables of connections and what each waits for.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::listener::listen;
use crate::message_head::{BodyLength, HEAD_BYTES_MAX, body_length, head_end, status};
use crate::readiness::{Event, Readiness};
use crate::slab::Slab;

const READ_BYTES: usize = 64 * 1024;
const LISTENER_TOKEN: u64 = u64::MAX;

pub(super) fn serve(address: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    let readiness = Readiness::new()?;
    readiness.watch_listener(&listener, LISTENER_TOKEN)?;
    let mut proxy = Proxy {
        listener,
        readiness,
        backend,
        clients: Slab::new(),
        upstreams: Slab::new(),
        pool: Vec::new(),
    };
    let mut events = Vec::new();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        proxy.readiness.wait(None, &mut events)?;
        for event in &events {
            proxy.step(event, &mut bytes);
        }
    }
}

struct Proxy {
    listener: TcpListener,
    readiness: Readiness,
    backend: SocketAddr,
    clients: Slab<Client>,
    upstreams: Slab<Upstream>,
    /// Upstreams without a request, the one used last on top.
    pool: Vec<usize>,
}

struct Client {
    stream: TcpStream,
    /// Begun heads, and requests that came before the one ahead of them was answered.
    input: Vec<u8>,
    unsent: Vec<u8>,
    upstream: Option<usize>,
    request_body_left: u64,
    /// Not read because the upstream does not drain.
    held_back: bool,
}

struct Upstream {
    stream: TcpStream,
    partial_head: Vec<u8>,
    unsent: Vec<u8>,
    client: Option<usize>,
    /// `Some` once the response's head was forwarded.
    response_body_left: Option<u64>,
    /// Not read because the client does not drain.
    held_back: bool,
}

/// The connection is of no more use; its owner removes it and its partner.
struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self
    }
}

impl Proxy {
    fn step(&mut self, event: &Event, bytes: &mut [u8]) {
        if event.token == LISTENER_TOKEN {
            self.accept();
            return;
        }
        let number = (event.token / 2) as usize;
        if event.token.is_multiple_of(2) {
            if self.step_client(number, event, bytes).is_err() {
                self.end_client(number);
            }
        } else if self.step_upstream(number, event, bytes).is_err() {
            self.end_upstream(number);
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() || stream.set_nodelay(true).is_err() {
                continue;
            }
            let number = self.clients.insert(Client {
                stream,
                input: Vec::new(),
                unsent: Vec::new(),
                upstream: None,
                request_body_left: 0,
                held_back: false,
            });
            let stream = &self.clients.get_mut(number).expect("just inserted").stream;
            if self.readiness.watch(stream, number as u64 * 2).is_err() {
                self.clients.remove(number);
            }
        }
    }

    fn step_client(&mut self, number: usize, event: &Event, bytes: &mut [u8]) -> Result<(), Ended> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        if event.writable && !client.unsent.is_empty() {
            flush(&mut client.stream, &mut client.unsent)?;
            if client.unsent.is_empty()
                && let Some(upstream) = client.upstream
            {
                self.read_on_upstream(upstream, bytes);
            }
        }
        if event.readable {
            self.read_client(number, bytes)?;
        }
        Ok(())
    }

    fn read_client(&mut self, number: usize, bytes: &mut [u8]) -> Result<(), Ended> {
        loop {
            let Some(client) = self.clients.get_mut(number) else {
                return Ok(());
            };
            let upstream = client
                .upstream
                .and_then(|upstream| self.upstreams.get_mut(upstream));
            if upstream.is_some_and(|upstream| !upstream.unsent.is_empty())
                || client.input.len() > HEAD_BYTES_MAX
            {
                client.held_back = true;
                return Ok(());
            }
            let count = match client.stream.read(bytes) {
                Ok(0) => return Err(Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ended),
            };
            if client.input.is_empty() {
                self.take_requests(number, &bytes[..count])?;
            } else {
                client.input.extend_from_slice(&bytes[..count]);
                self.take_input(number)?;
            }
            if count < bytes.len() {
                return Ok(());
            }
        }
    }

    fn take_input(&mut self, number: usize) -> Result<(), Ended> {
        let Some(client) = self.clients.get_mut(number) else {
            return Ok(());
        };
        let input = std::mem::take(&mut client.input);
        self.take_requests(number, &input)
    }

    /// Forwards what belongs to the request at hand, begins the next, keeps the rest.
    fn take_requests(&mut self, number: usize, received: &[u8]) -> Result<(), Ended> {
        let mut rest = received;
        while !rest.is_empty() {
            let client = self.clients.get_mut(number).ok_or(Ended)?;
            if let Some(upstream) = client.upstream {
                let taken = client.request_body_left.min(rest.len() as u64) as usize;
                if taken == 0 {
                    client.input.extend_from_slice(rest);
                    return Ok(());
                }
                client.request_body_left -= taken as u64;
                let upstream = self.upstreams.get_mut(upstream).ok_or(Ended)?;
                send(&mut upstream.stream, &mut upstream.unsent, &rest[..taken])?;
                rest = &rest[taken..];
                continue;
            }
            let Some(end) = head_end(rest) else {
                if rest.len() > HEAD_BYTES_MAX {
                    return Err(Ended);
                }
                client.input.extend_from_slice(rest);
                return Ok(());
            };
            let body_bytes = match body_length(&rest[..end]) {
                BodyLength::Known(bytes) => bytes,
                BodyLength::Absent => 0,
                BodyLength::NotUnderstood => return Err(Ended),
            };
            let with_head = end + body_bytes.min((rest.len() - end) as u64) as usize;
            client.request_body_left = body_bytes - (with_head - end) as u64;
            let upstream_number = self.upstream_for(number)?;
            let upstream = self.upstreams.get_mut(upstream_number).ok_or(Ended)?;
            send(
                &mut upstream.stream,
                &mut upstream.unsent,
                &rest[..with_head],
            )?;
            rest = &rest[with_head..];
        }
        Ok(())
    }

    fn upstream_for(&mut self, client_number: usize) -> Result<usize, Ended> {
        let upstream_number = match self.pool.pop() {
            Some(number) => number,
            None => {
                // Blocking: on loopback a connect ends at once, and the pool makes it rare.
                let stream = TcpStream::connect(self.backend)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let number = self.upstreams.insert(Upstream {
                    stream,
                    partial_head: Vec::new(),
                    unsent: Vec::new(),
                    client: None,
                    response_body_left: None,
                    held_back: false,
                });
                let stream = &self.upstreams.get_mut(number).ok_or(Ended)?.stream;
                self.readiness.watch(stream, number as u64 * 2 + 1)?;
                number
            }
        };
        self.upstreams.get_mut(upstream_number).ok_or(Ended)?.client = Some(client_number);
        self.clients.get_mut(client_number).ok_or(Ended)?.upstream = Some(upstream_number);
        Ok(upstream_number)
    }

    fn step_upstream(
        &mut self,
        number: usize,
        event: &Event,
        bytes: &mut [u8],
    ) -> Result<(), Ended> {
        let Some(upstream) = self.upstreams.get_mut(number) else {
            return Ok(());
        };
        if event.writable && !upstream.unsent.is_empty() {
            flush(&mut upstream.stream, &mut upstream.unsent)?;
            let client = upstream.client.filter(|_| upstream.unsent.is_empty());
            if let Some(client_number) = client
                && self
                    .clients
                    .get_mut(client_number)
                    .is_some_and(|client| std::mem::take(&mut client.held_back))
                && self.read_client(client_number, bytes).is_err()
            {
                self.end_client(client_number);
                return Ok(());
            }
        }
        if event.readable {
            self.read_upstream(number, bytes)?;
        }
        Ok(())
    }

    fn read_on_upstream(&mut self, number: usize, bytes: &mut [u8]) {
        let held_back = self
            .upstreams
            .get_mut(number)
            .is_some_and(|upstream| std::mem::take(&mut upstream.held_back));
        if held_back && self.read_upstream(number, bytes).is_err() {
            self.end_upstream(number);
        }
    }

    fn read_upstream(&mut self, number: usize, bytes: &mut [u8]) -> Result<(), Ended> {
        loop {
            let Some(upstream) = self.upstreams.get_mut(number) else {
                return Ok(());
            };
            let client = upstream
                .client
                .and_then(|client| self.clients.get_mut(client));
            if client.is_some_and(|client| !client.unsent.is_empty()) {
                upstream.held_back = true;
                return Ok(());
            }
            let count = match upstream.stream.read(bytes) {
                Ok(0) => return Err(Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Ended),
            };
            self.take_response(number, &bytes[..count])?;
            if count < bytes.len() {
                return Ok(());
            }
        }
    }

    fn take_response(&mut self, number: usize, received: &[u8]) -> Result<(), Ended> {
        let upstream = self.upstreams.get_mut(number).ok_or(Ended)?;
        let client_number = upstream.client.ok_or(Ended)?;
        let joined;
        let mut message = received;
        let left = match upstream.response_body_left {
            Some(left) => left.checked_sub(received.len() as u64).ok_or(Ended)?,
            None => {
                if !upstream.partial_head.is_empty() {
                    upstream.partial_head.extend_from_slice(received);
                    joined = std::mem::take(&mut upstream.partial_head);
                    message = &joined;
                }
                let Some(end) = head_end(message) else {
                    upstream.partial_head = message.to_vec();
                    return if message.len() > HEAD_BYTES_MAX {
                        Err(Ended)
                    } else {
                        Ok(())
                    };
                };
                let body_bytes = response_body_bytes(&message[..end]).ok_or(Ended)?;
                body_bytes
                    .checked_sub((message.len() - end) as u64)
                    .ok_or(Ended)?
            }
        };
        upstream.response_body_left = Some(left);
        let client = self.clients.get_mut(client_number).ok_or(Ended)?;
        let sent = send(&mut client.stream, &mut client.unsent, message);
        if sent.is_err() {
            self.end_client(client_number);
            return Ok(());
        }
        if left == 0 {
            self.finish(number, client_number)?;
        }
        Ok(())
    }

    /// A response is complete: its connection goes to the pool, and a request that waited begins.
    fn finish(&mut self, upstream_number: usize, client_number: usize) -> Result<(), Ended> {
        let client = self.clients.get_mut(client_number).ok_or(Ended)?;
        if client.request_body_left > 0 {
            // Answered before the request was complete: neither connection is in step any more.
            return Err(Ended);
        }
        client.upstream = None;
        let waits = !client.input.is_empty();
        let upstream = self.upstreams.get_mut(upstream_number).ok_or(Ended)?;
        upstream.client = None;
        upstream.response_body_left = None;
        self.pool.push(upstream_number);
        if waits && self.take_input(client_number).is_err() {
            self.end_client(client_number);
        }
        Ok(())
    }

    fn end_client(&mut self, number: usize) {
        if let Some(client) = self.clients.remove(number)
            && let Some(upstream) = client.upstream
        {
            self.upstreams.remove(upstream);
        }
    }

    fn end_upstream(&mut self, number: usize) {
        let Some(upstream) = self.upstreams.remove(number) else {
            return;
        };
        match upstream.client {
            Some(client) => drop(self.clients.remove(client)),
            None => self.pool.retain(|&pooled| pooled != number),
        }
    }
}

/// Length of the body behind a response head; `None` when it can not be relayed.
fn response_body_bytes(head: &[u8]) -> Option<u64> {
    match body_length(head) {
        BodyLength::Known(bytes) => Some(bytes),
        BodyLength::Absent => matches!(status(head)?, 204 | 304).then_some(0),
        BodyLength::NotUnderstood => None,
    }
}

/// Writes what the socket takes and keeps the rest in `unsent`, behind what is there.
fn send(stream: &mut TcpStream, unsent: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let mut rest = bytes;
    while unsent.is_empty() && !rest.is_empty() {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    unsent.extend_from_slice(rest);
    Ok(())
}

fn flush(stream: &mut TcpStream, unsent: &mut Vec<u8>) -> io::Result<()> {
    let waiting = std::mem::take(unsent);
    send(stream, unsent, &waiting)
}
