//! The bare proxy on glommio's `TcpStream`: a task for each connection.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use crate::message_head::{BodyLength, HEAD_BYTES_MAX, body_length, head_end, status};

/// One read; a head must fit.
const READ_BYTES: usize = 64 * 1024;
const _: () = assert!(HEAD_BYTES_MAX < READ_BYTES);

type Pool = Rc<RefCell<Vec<TcpStream>>>;

pub(super) fn serve(address: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    // Unbound: the core is the one that the bench started this process on.
    LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || accept(address, backend))
        .and_then(|executor| executor.join())
        .map_err(|error| io::Error::other(error.to_string()))?
}

async fn accept(address: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address).map_err(words)?;
    let pool: Pool = Rc::default();
    loop {
        let client = listener.accept().await.map_err(words)?;
        let pool = Rc::clone(&pool);
        glommio::spawn_local(async move {
            // The end of a connection, good or bad, concerns nobody else.
            let _ = converse(client, backend, &pool).await;
        })
        .detach();
    }
}

/// Serves one client until it goes away.
async fn converse(mut client: TcpStream, backend: SocketAddr, pool: &Pool) -> io::Result<()> {
    client.set_nodelay(true).map_err(words)?;
    let mut input = vec![0; READ_BYTES];
    let mut output = vec![0; READ_BYTES];
    let mut filled = 0;
    loop {
        let Some(end) = head_end(&input[..filled]) else {
            match client.read(&mut input[filled..]).await? {
                0 => return Ok(()),
                count => filled += count,
            }
            continue;
        };
        let body_bytes = match body_length(&input[..end]) {
            BodyLength::Known(bytes) => bytes,
            BodyLength::Absent => 0,
            BodyLength::NotUnderstood => return Err(io::ErrorKind::InvalidData.into()),
        };
        let pooled = pool.borrow_mut().pop();
        let mut upstream = match pooled {
            Some(upstream) => upstream,
            None => connect(backend).await?,
        };
        let with_head = end + body_bytes.min((filled - end) as u64) as usize;
        upstream.write_all(&input[..with_head]).await?;
        input.copy_within(with_head..filled, 0);
        filled -= with_head;
        let mut left = body_bytes - (with_head - end) as u64;
        while left > 0 {
            let most = left.min(output.len() as u64) as usize;
            let count = client.read(&mut output[..most]).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            upstream.write_all(&output[..count]).await?;
            left -= count as u64;
        }
        relay_response(&mut upstream, &mut client, &mut output).await?;
        pool.borrow_mut().push(upstream);
    }
}

async fn connect(backend: SocketAddr) -> io::Result<TcpStream> {
    let upstream = TcpStream::connect(backend).await.map_err(words)?;
    upstream.set_nodelay(true).map_err(words)?;
    Ok(upstream)
}

async fn relay_response(
    upstream: &mut TcpStream,
    client: &mut TcpStream,
    bytes: &mut [u8],
) -> io::Result<()> {
    let mut filled = 0;
    let end = loop {
        match upstream.read(&mut bytes[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
        if let Some(end) = head_end(&bytes[..filled]) {
            break end;
        }
    };
    let body_bytes = match body_length(&bytes[..end]) {
        BodyLength::Known(bytes) => bytes,
        BodyLength::Absent if matches!(status(&bytes[..end]), Some(204 | 304)) => 0,
        BodyLength::Absent | BodyLength::NotUnderstood => {
            return Err(io::ErrorKind::InvalidData.into());
        }
    };
    let mut left = body_bytes
        .checked_sub((filled - end) as u64)
        .ok_or(io::ErrorKind::InvalidData)?;
    client.write_all(&bytes[..filled]).await?;
    while left > 0 {
        let count = upstream.read(bytes).await?;
        if count == 0 || count as u64 > left {
            return Err(io::ErrorKind::InvalidData.into());
        }
        client.write_all(&bytes[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

fn words<T: 'static>(error: glommio::GlommioError<T>) -> io::Error {
    io::Error::other(error.to_string())
}
