//! Who gives way when a worker has about as many connections as it may, and who gets none.
//!
//! What is idle is given up for what is not: of the tenant that has most of it, what was idle
//! longest, whatever time it was promised. What is in use is nobody's to take: tenants share it as
//! it is taken. So many times as many as are left a tenant may have ([`SHARE_OF_LEFT`]): one alone
//! comes to three quarters of all, and each that comes finds room. A request that is to be forwarded
//! counts as both its ends from when it is let in, so whoever was let in has both.
//!
//! Connections of which nobody knows yet whose they are count as one tenant's, and what that one may
//! have their lines share in the same way. docs/decisions/0041-shares-of-connections.md and
//! docs/decisions/0046-both-ends.md.

use super::{Tag, Worker};
use crate::client::ClientConnection;
use crate::http::reject::Reject;
use meridian_model::limits::{CLIENT_DESCRIPTORS_PERCENT, IDLE_CLOSED_AT_ONCE_PART, SHARE_OF_LEFT};
use meridian_sys::{ClassId, Origin, SocketId};
use std::rc::Rc;

impl Worker {
    /// Whether who holds a connection that is over, but for the end, may hold it for longer.
    pub(crate) fn has_share(&self, class: ClassId) -> bool {
        let busy = self.runtime.busy();
        let share = share_of_left(self.shared.sockets_max, busy);
        if !class.is_stranger() {
            // Nobody has more than all.
            return busy < share || self.runtime.busy_of(class) < share;
        }
        let share = SHARE_OF_LEFT * share.saturating_sub(self.runtime.busy_strangers());
        self.runtime.busy_of(class) < share
    }

    /// Whether a tenant may have one more request in use, both ends of it, that came over a connection
    /// of class `from`. Mostly it takes one comparison.
    pub(crate) fn has_share_for_request(&self, class: ClassId, from: ClassId) -> bool {
        let busy = self.runtime.busy() + 1;
        let share = share_of_left(self.shared.sockets_max, busy);
        if busy <= share {
            return true;
        }
        // A stranger's connection becomes the tenant's.
        let ends = 1 + u64::from(from != class);
        self.runtime.busy_of(class) + ends <= share
    }

    /// Whether a client whose head is not whole is waited for: heads that do not end are shared as requests
    /// under way are, and by networks as long as nobody knows whose they are. Counts where not.
    pub(crate) fn may_wait_for_head(&self, class: ClassId) -> bool {
        let has_share = self.has_share(class);
        self.board().clients_turned_away.add(u64::from(!has_share));
        has_share
    }

    /// Makes room for a client that has come, in this line, where what is there runs short. Whether it may
    /// stay.
    pub(super) fn make_room(self: &Rc<Self>, line: ClassId) -> bool {
        let is_full = !self.is_room_left();
        let is_over = self.connections.get() > self.shared.client_connections_max;
        let is_short = is_full || is_over && self.has_too_many_idle_clients();
        if !is_short {
            return true;
        }
        // Heads that do not end are no reason to close others' connections.
        if !self.has_share(line) {
            return !is_full;
        }
        let gave_way = is_full && self.close_idle_upstreams() > 0;
        gave_way || self.close_idle_clients(false) > 0 || !is_full
    }

    /// Makes room for a connection to a backend, where there is none that is not kept for other
    /// things: without those nobody could ask what is wrong. Pooled connections give way, and where
    /// there are none, idle clients: in a rush these may be more than there is room for beside what is
    /// in use.
    pub(crate) fn make_room_for_backend(self: &Rc<Self>) -> Result<(), Reject> {
        let is_there = self.runtime.sockets() < self.shared.sockets_max;
        let has_room = is_there
            || self.close_idle_upstreams() > 0
            || self.close_idle_clients(false) > 0
            // Whoever came just now was not let in yet.
            || self.close_idle_clients(true) > 0;
        has_room.then_some(()).ok_or(Reject::Resources)
    }

    /// Whether all that is there and promised is not more than may be.
    fn is_room_left(&self) -> bool {
        let idle = self.runtime.idle(Origin::Accepted) + self.runtime.idle(Origin::Opened);
        self.runtime.busy() + idle <= self.shared.sockets_max
    }

    /// Whether idle clients have more than their part of what is not in use: beside much that is in
    /// use they may be few, and nobody has need of their room.
    fn has_too_many_idle_clients(&self) -> bool {
        let left = (self.shared.sockets_max).saturating_sub(self.runtime.busy());
        self.runtime.idle(Origin::Accepted) * 100 > left * CLIENT_DESCRIPTORS_PERCENT
    }

    /// Closes some pooled connections to backends, and says how many.
    fn close_idle_upstreams(&self) -> u64 {
        let mut closed = 0;
        for (id, tag) in self.idlest(Origin::Opened, true) {
            if let Tag::Upstream(number) = Tag::unpack(tag)
                && let Some(upstream) = self.upstream(number)
                && let Some(socket) = self.runtime.unpark(id)
            {
                upstream.forget_idle(id, socket);
                closed += 1;
            }
        }
        self.board().upstream_connections_closed.add(closed);
        closed
    }

    /// Closes some idle clients, those that have just become so too or not, and says how many.
    fn close_idle_clients(self: &Rc<Self>, fresh: bool) -> u64 {
        let idlest = self.idlest(Origin::Accepted, fresh).into_iter();
        let closed = idlest.filter(|&(id, tag)| self.take_idle_client(id, tag).is_some());
        let closed = closed.count() as u64;
        self.board().client_connections_closed.add(closed);
        closed
    }

    /// Idle connections that go first: a part of them, so that it is not for each that comes that
    /// the tenants that have any are looked at.
    fn idlest(&self, origin: Origin, fresh: bool) -> Vec<(SocketId, u64)> {
        let count = self.runtime.idle(origin) / IDLE_CLOSED_AT_ONCE_PART;
        self.runtime.idlest(origin, count.max(1) as usize, fresh)
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

/// What one may have of `sockets_max` connections of which so many are in use.
fn share_of_left(sockets_max: u64, busy: u64) -> u64 {
    SHARE_OF_LEFT * sockets_max.saturating_sub(busy)
}
