//! Takes the header of the PROXY protocol off the beginning of a proxy's connection, which from
//! then on is that of the client behind it.

use crate::client::ClientConnection;
use crate::proxy_protocol::{Header, Malformed, Parsed, parse};
use std::io;

/// Waits for the header. Gives the connection when a request has begun behind it; else it waits
/// for one by itself, or was closed: without an answer, for who sends no header speaks something
/// else, and a proxy would pass the answer on to its client.
pub(crate) async fn take(mut connection: ClientConnection) -> Option<ClientConnection> {
    let header = receive(&connection).await?;
    connection.identify(header.ends);
    let worker = connection.worker();
    if let Some(ends) = header.ends {
        let client = ends.source.ip();
        if worker.entrance().denies(client) {
            worker.board().clients_denied.add(1);
            return None;
        }
        // So far it stood in the line of all clients of its proxy.
        let line = worker.entrance().line_of(client);
        connection.socket().set_class(line);
        worker.runtime.set_class(line);
    }
    if connection.socket().is_quiet() {
        let timeouts = worker.with_routing(|routing| routing.snapshot.timeouts);
        let idle = match connection.awaits_handshake() {
            true => timeouts.handshake,
            false => timeouts.keep_alive,
        };
        connection.park(idle);
        return None;
    }
    Some(connection)
}

/// The header, with what came behind it given back to the socket.
async fn receive(connection: &ClientConnection) -> Option<Header> {
    let worker = connection.worker();
    // Set when the connection was accepted: its first byte begins no time of its own.
    let deadline_ns = connection.header_due_ns();
    let mut parts: Vec<u8> = Vec::new();
    loop {
        if !parts.is_empty() && !worker.may_wait_for_head(connection.socket().class()) {
            return None;
        }
        let mut buffer = match connection.socket().recv(deadline_ns).await {
            Ok(Some(buffer)) => buffer,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                worker.board().proxy_headers_late.add(1);
                return None;
            }
            Ok(None) | Err(_) => {
                worker.board().proxy_headers_bad.add(1);
                return None;
            }
        };
        let before = parts.len();
        if before > 0 {
            parts.extend_from_slice(&buffer);
        }
        let bytes: &[u8] = if before > 0 { &parts } else { &buffer };
        match parse(bytes) {
            Ok(Parsed::Complete(header)) => {
                buffer.advance(header.bytes - before);
                connection.socket().unread(buffer);
                return Some(header);
            }
            Ok(Parsed::Partial) if before > 0 => {}
            Ok(Parsed::Partial) => parts.extend_from_slice(&buffer),
            Err(Malformed) => {
                worker.board().proxy_headers_bad.add(1);
                return None;
            }
        }
    }
}
