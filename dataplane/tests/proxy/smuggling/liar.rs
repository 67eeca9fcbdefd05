//! A backend that answers as it is told in the request's target, and honestly otherwise.

use super::lies::{self, Lie, Question, Then};
use super::stage::Cuts;
use crate::support::message::{Read, read_request};
use crate::support::peer::{Backend, Peer, ok};
use std::io::{Read as _, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the test and its backends share.
#[derive(Debug, Default)]
struct Shared {
    /// How the next lie is cut.
    cuts: Mutex<Option<Cuts>>,
    /// Connections that ended after a lie: who lied saw it.
    ended: AtomicU64,
}

/// A tenant's server.
#[derive(Debug)]
pub(super) struct Liar {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Liar {
    /// The server of `tenant`.
    pub(super) fn start(tenant: &'static str) -> Liar {
        let shared = Arc::new(Shared::default());
        let kept = Arc::clone(&shared);
        let address = Backend::new().serve(move |peer| serve(peer, tenant, &kept));
        Liar { address, shared }
    }

    /// The next lie is sent in these pieces.
    pub(super) fn cut_next(&self, cuts: Cuts) {
        let mut place = self
            .shared
            .cuts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = Some(cuts);
    }

    /// Connections that ended after a lie.
    pub(super) fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Acquire)
    }
}

/// The lie that a target asks for.
fn asked_for(target: &str) -> Option<&'static Lie> {
    let number = target.strip_prefix("/lie/")?.split('/').next()?;
    lies::all().nth(number.parse().ok()?)
}

fn serve(mut peer: Peer, tenant: &str, shared: &Shared) {
    let mut bytes = Vec::new();
    let mut room = vec![0; 64 * 1024];
    let mut has_lied = false;
    peer.stream.set_read_timeout(None).expect("none is allowed");
    while let Ok(count @ 1..) = peer.stream.read(&mut room) {
        bytes.extend_from_slice(&room[..count]);
        let message = match read_request(&bytes) {
            Read::Whole(message) => message,
            Read::Partial(Some(message)) => message,
            Read::Partial(None) => continue,
            Read::Broken(_) => return,
        };
        let target = message.second_word().to_owned();
        let Some(lie) = asked_for(&target) else {
            bytes.drain(..message.bytes.min(bytes.len()));
            let honest = format!("{tenant} answers {target}");
            let own = format!("OK\r\nX-Tenant: {tenant}\r\nX-Target: {target}");
            let reply = String::from_utf8(ok(honest.as_bytes())).expect("it is text");
            if peer
                .stream
                .write_all(reply.replacen("OK", &own, 1).as_bytes())
                .is_err()
            {
                return;
            }
            continue;
        };
        // Some of a body may have come with the head; the rest never does.
        bytes.clear();
        has_lied |= lie.question == Question::PartOfPost || lie.discarded;
        let cuts = shared
            .cuts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        cuts.unwrap_or_else(Cuts::none)
            .send(&mut peer, &lie.bytes(tenant, &target));
        match lie.then {
            Then::Stays => {}
            Then::Closes => return,
            Then::Resets => return peer.reset(),
        }
    }
    if has_lied {
        shared.ended.fetch_add(1, Ordering::Release);
    }
}
