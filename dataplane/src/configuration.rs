//! The configuration thread: it follows the config log and swaps the routing.
//!
//! What a revision replaces is kept until every worker has taken up a newer one, and freed here:
//! a worker never holds the last reference to many sites.

use crate::config::Follower;
use crate::routing::Routing;
use crate::shared::Shared;
use meridian_sys::Notifier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

/// How often it looks whether what is old can be freed.
const TICK: Duration = Duration::from_millis(100);

/// Where the configuration thread stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    /// The generation that it follows.
    pub(crate) generation: u64,
    /// The revision that it gave to the workers.
    pub(crate) revision: u64,
    /// Why a newer one is not served.
    pub(crate) fault: Option<String>,
}

/// Asks the configuration thread.
#[derive(Debug)]
pub(crate) struct Configuration {
    requests: mpsc::Sender<Request>,
    asked: AtomicU64,
    answered: Arc<AtomicU64>,
    position: Arc<Mutex<Position>>,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    generation: Option<u64>,
    length: Option<u64>,
}

impl Configuration {
    /// Starts the thread. It ends with the [`Configuration`].
    pub(crate) fn start(
        follower: Follower,
        shared: Arc<Shared>,
        notifiers: Arc<[Notifier]>,
    ) -> Result<Configuration, String> {
        let (requests, receiver) = mpsc::channel();
        let position = Arc::new(Mutex::new(position_of(&follower)));
        let answered = Arc::new(AtomicU64::new(0));
        let configuration = Configuration {
            requests,
            asked: AtomicU64::new(0),
            answered: Arc::clone(&answered),
            position: Arc::clone(&position),
        };
        let mut thread = Thread {
            follower,
            shared,
            notifiers,
            position,
            replaced: Vec::new(),
        };
        std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || {
                loop {
                    match receiver.recv_timeout(TICK) {
                        Ok(request) => {
                            thread.follow(request);
                            answered.fetch_add(1, Ordering::Release);
                        }
                        Err(mpsc::RecvTimeoutError::Timeout) => {}
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                    thread.free_replaced();
                }
            })
            .map_err(|error| format!("starting the configuration thread: {error}"))?;
        Ok(configuration)
    }

    /// Has it take up what was announced. Gives what [`Configuration::is_answered`] wants.
    pub(crate) fn follow(&self, generation: Option<u64>, length: Option<u64>) -> u64 {
        let _ = self.requests.send(Request { generation, length });
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Whether it has done what was asked for.
    pub(crate) fn is_answered(&self, number: u64) -> bool {
        self.answered.load(Ordering::Acquire) >= number
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> Position {
        self.position
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Thread {
    follower: Follower,
    shared: Arc<Shared>,
    notifiers: Arc<[Notifier]>,
    position: Arc<Mutex<Position>>,
    /// With the revision that took the place of each.
    replaced: Vec<(u64, Arc<Routing>)>,
}

impl Thread {
    fn follow(&mut self, request: Request) {
        let changed = self.follower.follow(request.generation, request.length);
        let compiled = self.follower.compiled();
        let current = self.shared.routing.load_full();
        let is_new = compiled.revision() != current.snapshot.revision;
        if is_new || !changed.is_empty() {
            let snapshot = compiled.snapshot().clone();
            let next = current.next(snapshot, &changed, self.shared.workers.len());
            drop(current);
            let old = self.shared.routing.swap(Arc::new(next));
            self.replaced.push((compiled.revision(), old));
            self.notifiers.iter().for_each(Notifier::notify);
        }
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position_of(&self.follower);
    }

    fn free_replaced(&mut self) {
        let workers = &self.shared.workers;
        self.replaced.retain(|(revision, _)| {
            !workers
                .iter()
                .all(|board| board.revision.get() >= *revision || board.ended.get() == 1)
        });
    }
}

fn position_of(follower: &Follower) -> Position {
    Position {
        generation: follower.generation(),
        revision: follower.compiled().revision(),
        fault: follower.fault().map(str::to_owned),
    }
}
