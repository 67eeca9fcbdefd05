//! The bare proxy on the io_uring runtime of meridian-sys: a task for each connection,
//! multishot receives, and received buffers sent on as they are.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use meridian_sys::{ClassId, Event, Runtime, RuntimeConfig, SendBuf, Socket};

use crate::listener::listen;
use crate::message_head::{BodyLength, HEAD_BYTES_MAX, body_length, head_end, status};

/// No time limits here: a deadline of 0 is none, and so long a stall does not come.
const NO_DEADLINE_NS: u64 = 0;
const NO_STALL_NS: u64 = u64::MAX;

type Pool = Rc<RefCell<Vec<Socket>>>;

pub(super) fn serve(address: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    let runtime = Runtime::new(RuntimeConfig::default())
        .map_err(|error| io::Error::other(error.to_string()))?;
    runtime.listen(listener.into());
    let class = runtime.add_class();
    let pool: Pool = Rc::default();
    let spawner = runtime.clone();
    runtime.run(move |event| {
        if let Event::Accepted(_, client) = event {
            let (runtime, pool) = (spawner.clone(), Rc::clone(&pool));
            spawner.spawn(class, async move {
                // The end of a connection, good or bad, concerns nobody else.
                let _ = converse(&runtime, &client, backend, &pool).await;
            });
        }
    })
}

/// Serves one client until it goes away.
async fn converse(
    runtime: &Runtime,
    client: &Socket,
    backend: SocketAddr,
    pool: &Pool,
) -> io::Result<()> {
    loop {
        let Some((head, end)) = message(client).await? else {
            return Ok(());
        };
        let body_bytes = match body_length(&head[..end]) {
            BodyLength::Known(bytes) => bytes,
            BodyLength::Absent => 0,
            BodyLength::NotUnderstood => return Err(io::ErrorKind::InvalidData.into()),
        };
        let with_head = end + body_bytes.min((head.len() - end) as u64) as usize;
        let request_left = body_bytes - (with_head - end) as u64;
        let upstream = upstream(runtime, backend, pool).await?;
        forward(client, &upstream, head, with_head).await?;
        relay(client, &upstream, request_left).await?;

        let (response, end) = message(&upstream)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        let body_bytes = match body_length(&response[..end]) {
            BodyLength::Known(bytes) => bytes,
            BodyLength::Absent if matches!(status(&response[..end]), Some(204 | 304)) => 0,
            BodyLength::Absent | BodyLength::NotUnderstood => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        };
        let response_left = body_bytes
            .checked_sub((response.len() - end) as u64)
            .ok_or(io::ErrorKind::InvalidData)?;
        client.send(response, NO_STALL_NS).await?;
        relay(&upstream, client, response_left).await?;
        pool.borrow_mut().push(upstream);
    }
}

/// Bytes that begin with a whole head, and where it ends. Mostly one received buffer, which is
/// not copied. `None`: the peer is done.
async fn message(from: &Socket) -> io::Result<Option<(SendBuf, usize)>> {
    let mut gathered: Vec<u8> = Vec::new();
    loop {
        let Some(received) = from.recv(NO_DEADLINE_NS).await? else {
            return Ok(None);
        };
        if gathered.is_empty()
            && let Some(end) = head_end(&received)
        {
            return Ok(Some((received.into(), end)));
        }
        gathered.extend_from_slice(&received);
        if let Some(end) = head_end(&gathered) {
            return Ok(Some((gathered.into(), end)));
        }
        if gathered.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Sends the first `bytes` of a message; what follows is the client's next request and is put back.
async fn forward(
    client: &Socket,
    upstream: &Socket,
    message: SendBuf,
    bytes: usize,
) -> io::Result<()> {
    if bytes == message.len() {
        upstream.send(message, NO_STALL_NS).await?;
        return Ok(());
    }
    let first = message[..bytes].to_vec();
    match message {
        SendBuf::Received(mut received) => {
            received.advance(bytes);
            client.unread(received);
        }
        // A head in pieces with a next request behind it: not worth code in a prototype.
        SendBuf::Heap(_) | SendBuf::Shared(_) | SendBuf::Static(_) => {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    upstream.send(first, NO_STALL_NS).await?;
    Ok(())
}

async fn relay(from: &Socket, to: &Socket, bytes: u64) -> io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let mut received = from
            .recv(NO_DEADLINE_NS)
            .await?
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        if received.len() as u64 > left {
            let first = received[..left as usize].to_vec();
            received.advance(left as usize);
            from.unread(received);
            to.send(first, NO_STALL_NS).await?;
            return Ok(());
        }
        left -= received.len() as u64;
        to.send(received, NO_STALL_NS).await?;
    }
    Ok(())
}

/// A connection to the backend: a pooled one that is still good, or a new one.
async fn upstream(runtime: &Runtime, backend: SocketAddr, pool: &Pool) -> io::Result<Socket> {
    loop {
        let pooled = pool.borrow_mut().pop();
        match pooled {
            Some(socket) if socket.is_quiet() => return Ok(socket),
            Some(_) => {}
            None => {
                let class = ClassId::UNKNOWN;
                return runtime.connect(backend, class, NO_DEADLINE_NS).await;
            }
        }
    }
}
