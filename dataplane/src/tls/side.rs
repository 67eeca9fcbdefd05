//! The two sides of a connection: ours as a server of clients, and ours as a client of backends. What
//! passes after the handshake is the same; rustls has a type for each.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedStatus;

/// A connection of rustls.
pub(crate) trait Side {
    /// What it is kept with.
    type Data;

    /// Whether plaintext is kept until it was sent, so that it can be sent elsewhere.
    const KEEPS_SENT: bool;

    /// Has it take what is in front of `records`.
    fn process<'c, 'i>(&'c mut self, records: &'i mut [u8])
    -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether it has something to say.
    fn has_to_say(&self) -> bool;
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    const KEEPS_SENT: bool = false;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ServerConnectionData> {
        self.process_tls_records(records)
    }

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    const KEEPS_SENT: bool = true;

    fn process<'c, 'i>(
        &'c mut self,
        records: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, ClientConnectionData> {
        self.process_tls_records(records)
    }

    fn has_to_say(&self) -> bool {
        self.wants_write()
    }
}
