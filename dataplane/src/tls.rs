//! TLS towards clients and backends, one worker's part of it.
//!
//! ```text
//! handshake   from the first byte to the session: a task of its own, bounded in time and in bytes
//! hello       which site the client asks for (SNI), and what it is told where that is none
//! configs     what a site's handshakes are made with, read when they are first needed
//! clients     whose certificates clients show, and what backends are told of them
//! session     what passes afterwards
//! records     in what it passes
//! tickets     how a client's session is resumed
//! side        what differs between the two
//!
//! backend_handshake  from a connection to a backend to the session
//! backend_configs    what these are made with
//! ```
//!
//! What a handshake costs before it is known whose it is goes to the line of the client's network,
//! and to the site's tenant from then on: many handshakes delay those of a network and of a tenant, and
//! nobody else's. How many one client, and one network, can have under way is bounded as well (`under_way`).

pub(crate) mod backend_configs;
pub(crate) mod backend_handshake;
mod clients;
mod configs;
pub(crate) mod handshake;
mod hello;
mod records;
mod session;
mod side;
mod tickets;
mod under_way;

pub(crate) use backend_configs::BackendConfigs;
pub(crate) use configs::Loader;
pub(crate) use session::{BackendSession, Session, SessionOf};
pub(crate) use side::Side;
pub(crate) use tickets::TicketSecret;

use crate::limits::Seat;
use configs::{Kept, Pending};
use meridian_model::snapshot::{Site, SiteId, SiteTls};
use meridian_sys::{Runtime, TaskId};
use rustls::ServerConfig;
use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;
use under_way::{Entered, UnderWay};

/// A session whose connection is parked, with what the connection's tag has no room for.
#[derive(Debug)]
pub(crate) struct Parked {
    /// The session.
    pub(crate) session: Box<RefCell<Session>>,
    /// As which the connection is counted.
    pub(crate) seat: Option<Seat>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Terminator {
    loader: Loader,
    parked: RefCell<Places>,
    under_way: RefCell<UnderWay>,
    kept: RefCell<Kept>,
    waiting: RefCell<Vec<(TaskId, Arc<Pending>)>>,
}

/// Sessions of parked connections, by number.
#[derive(Debug, Default)]
struct Places {
    sessions: Vec<Option<Parked>>,
    free: Vec<u32>,
}

impl Terminator {
    /// Of a worker.
    pub(crate) fn new(loader: Loader) -> Terminator {
        Terminator {
            loader,
            parked: RefCell::default(),
            under_way: RefCell::default(),
            kept: RefCell::default(),
            waiting: RefCell::default(),
        }
    }

    /// Keeps the session of a connection that is parked. Where it is, for [`Terminator::unpark`].
    pub(crate) fn park(&self, parked: Parked) -> u32 {
        let mut places = self.parked.borrow_mut();
        match places.free.pop() {
            Some(place) => {
                places.sessions[place as usize] = Some(parked);
                place
            }
            None => {
                places.sessions.push(Some(parked));
                places.sessions.len() as u32 - 1
            }
        }
    }

    /// Gives the session back. Panics when there is none in that place.
    pub(crate) fn unpark(&self, place: u32) -> Parked {
        let mut places = self.parked.borrow_mut();
        let parked = places.sessions[place as usize].take();
        places.free.push(place);
        parked.expect("the session of a parked connection is kept")
    }

    /// A handshake of a client at `address` begins; none where it may not.
    fn enter(&self, address: IpAddr) -> Option<Entered<'_>> {
        UnderWay::enter(&self.under_way, address)
    }

    /// What handshakes of a site are made with, where it is kept.
    fn kept(&self, id: SiteId, tls: &Arc<SiteTls>) -> Option<Arc<ServerConfig>> {
        self.kept.borrow_mut().get(id, tls)
    }

    /// A site changed or is gone: keys that it does not have any more are not kept for it.
    pub(crate) fn forget(&self, id: SiteId) {
        self.kept.borrow_mut().forget(id);
    }

    /// Has it loaded. The current task is woken when it is.
    fn load(&self, runtime: &Runtime, site: &Arc<Site>, tls: &Arc<SiteTls>) -> Arc<Pending> {
        let mut waiting = self.waiting.borrow_mut();
        let asked = waiting.iter().map(|(_, pending)| pending);
        let asked = asked.rev().find(|it| it.is_of(tls) && it.site() == site.id);
        let pending = match asked {
            Some(pending) => Arc::clone(pending),
            None => self.loader.ask(site, tls, runtime.notifier()),
        };
        waiting.push((runtime.current_task(), Arc::clone(&pending)));
        pending
    }

    /// The current task waits no more for what [`Terminator::load`] gave.
    fn end_waiting(&self, runtime: &Runtime, pending: &Arc<Pending>) {
        let mut waiting = self.waiting.borrow_mut();
        let task = runtime.current_task();
        let is_it = |(it, of): &(TaskId, Arc<Pending>)| *it == task && Arc::ptr_eq(of, pending);
        if let Some(place) = waiting.iter().position(is_it) {
            waiting.swap_remove(place);
        }
    }

    /// Wakes those whose site was loaded.
    pub(crate) fn wake_waiting(&self, runtime: &Runtime) {
        for (task, pending) in self.waiting.borrow().iter() {
            if pending.answer().is_some() {
                runtime.wake(*task);
            }
        }
    }
}
