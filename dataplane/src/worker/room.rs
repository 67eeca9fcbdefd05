//! Who gives way when a worker has about as many connections as it may, and who gets none.
//!
//! What is idle is given up for what is not: of the tenant that has most of it, what was idle
//! longest, whatever time it was promised. What is in use is nobody's to take: tenants share it as
//! it is taken. So many times as many as are left a tenant may have ([`SHARE_OF_LEFT`]): one alone
//! comes to three quarters of all, and each that comes finds room. Connections of which nobody
//! knows yet whose they are count as one tenant's. docs/decisions/0041-shares-of-connections.md.

use super::{Tag, Worker};
use crate::client::ClientConnection;
use crate::http::reject::Reject;
use meridian_model::limits::{IDLE_CLOSED_AT_ONCE_PART, SHARE_OF_LEFT};
use meridian_sys::{ClassId, Origin, SocketId};
use std::rc::Rc;

impl Worker {
    /// Whether a tenant may have one more connection in use. Mostly it takes one comparison.
    pub(crate) fn has_share(&self, class: ClassId) -> bool {
        let busy = self.runtime.busy();
        let may_have = SHARE_OF_LEFT * self.shared.sockets_max.saturating_sub(busy);
        // Nobody has more than all.
        busy < may_have || self.runtime.busy_of(class) < may_have
    }

    /// Makes room for a client that has come, where there are more than may be. Whether it may stay.
    pub(super) fn make_room(self: &Rc<Self>) -> bool {
        if self.connections.get() <= self.shared.client_connections_max {
            return true;
        }
        // Heads that do not end are no reason to close others' connections.
        if !self.has_share(ClassId::UNKNOWN) {
            return false;
        }
        self.close_idle_clients();
        true
    }

    /// Whether there is a descriptor for a connection to a backend of a tenant, which is not kept
    /// for other things: without those nobody could ask what is wrong. Pooled connections make
    /// room, and where there are none, idle clients: in a rush these may be more than there is room
    /// for beside what is in use.
    pub(crate) fn make_room_for_backend(self: &Rc<Self>, class: ClassId) -> Result<(), Reject> {
        if !self.has_share(class) {
            return Err(Reject::ShareLimit);
        }
        if self.runtime.sockets() < self.shared.sockets_max {
            return Ok(());
        }
        let mut closed = 0;
        for (id, tag) in self.idlest(Origin::Opened) {
            if let Tag::Upstream(number) = Tag::unpack(tag)
                && let Some(upstream) = self.upstream(number)
                && let Some(socket) = self.runtime.unpark(id)
            {
                upstream.forget_idle(id, socket);
                closed += 1;
            }
        }
        self.board().upstream_connections_closed.add(closed);
        if closed > 0 || self.close_idle_clients() > 0 {
            return Ok(());
        }
        Err(Reject::Resources)
    }

    /// Closes some, and says how many.
    fn close_idle_clients(self: &Rc<Self>) -> u64 {
        let idlest = self.idlest(Origin::Accepted).into_iter();
        let closed = idlest.filter(|&(id, tag)| self.take_idle_client(id, tag).is_some());
        let closed = closed.count() as u64;
        self.board().client_connections_closed.add(closed);
        closed
    }

    /// Idle connections that go first: a part of them, so that it is not for each that comes that
    /// the tenants that have any are looked at.
    fn idlest(&self, origin: Origin) -> Vec<(SocketId, u64)> {
        let count = self.runtime.idle(origin) / IDLE_CLOSED_AT_ONCE_PART;
        self.runtime.idlest(origin, count.max(1) as usize)
    }

    /// The client's connection that is parked there, if one is.
    pub(super) fn take_idle_client(
        self: &Rc<Self>,
        id: SocketId,
        tag: u64,
    ) -> Option<ClientConnection> {
        let Tag::Client(known) = Tag::unpack(tag) else {
            return None;
        };
        let socket = self.runtime.unpark(id)?;
        Some(ClientConnection::new(Rc::clone(self), socket, known))
    }
}
