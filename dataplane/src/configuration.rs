//! The configuration thread: it follows the config log and swaps the routing, for each revision
//! and when the addresses of names changed.
//!
//! What a revision replaces is kept until every worker has taken up a newer one, and freed here:
//! a worker never holds the last reference to many sites.

use crate::renewal::Renewals;
use crate::revision::Follower;
use crate::routing::Routing;
use crate::shared::Shared;
use meridian_follower::Serving;
use meridian_sys::Notifier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How often it looks whether what is old can be freed, and whether it is time for a large site
/// whose names changed.
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

/// Tells where the configuration thread stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing(Arc<Mutex<Position>>);

/// Asks the configuration thread.
#[derive(Debug)]
pub(crate) struct Configuration {
    requests: mpsc::Sender<Request>,
    asked: AtomicU64,
    answered: Arc<AtomicU64>,
    position: Arc<Mutex<Position>>,
}

#[derive(Debug)]
enum Request {
    /// Take up what was announced of the config log.
    Follow {
        generation: Option<u64>,
        length: Option<u64>,
    },
    /// Take up the addresses of names.
    Names,
    /// Have a backend drained, or not any more.
    Drain {
        name: String,
        draining: bool,
        answer: mpsc::SyncSender<Result<Drained, NotDrained>>,
    },
}

/// What came of draining a backend, or of ending that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    /// It was not so before.
    pub(crate) changed: bool,
    /// The backend is not configured (any more).
    pub(crate) absent: bool,
}

/// Why a backend is not drained, or not ready again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotDrained {
    /// There is none of that name.
    NoBackend,
    /// In words.
    Fault(String),
}

/// Tells the configuration thread of names whose addresses changed.
#[derive(Debug)]
pub(crate) struct NameChanges(mpsc::Sender<Request>);

impl NameChanges {
    /// Has it take them up.
    pub(crate) fn announce(&self) {
        // It is gone only when the plane ends.
        let _ = self.0.send(Request::Names);
    }
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
            renewals: Renewals::default(),
            replaced: Vec::new(),
        };
        std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || {
                loop {
                    match receiver.recv_timeout(TICK) {
                        Ok(Request::Follow { generation, length }) => {
                            thread.follow(generation, length);
                            answered.fetch_add(1, Ordering::Release);
                        }
                        Ok(Request::Names) => thread.take_up_names(),
                        Ok(Request::Drain {
                            name,
                            draining,
                            answer,
                        }) => {
                            // Who asked may have gone.
                            let _ = answer.try_send(thread.drain(&name, draining));
                        }
                        Err(mpsc::RecvTimeoutError::Timeout) => thread.try_again(),
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                    thread.renew_sites();
                    thread.free_replaced();
                }
            })
            .map_err(|error| format!("starting the configuration thread: {error}"))?;
        Ok(configuration)
    }

    /// Has it take up what was announced. Gives what [`Configuration::is_answered`] wants.
    pub(crate) fn follow(&self, generation: Option<u64>, length: Option<u64>) -> u64 {
        let _ = self.requests.send(Request::Follow { generation, length });
        self.asked.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Has a backend drained, or not any more. Gives where the answer will be.
    pub(crate) fn drain(
        &self,
        name: &str,
        draining: bool,
    ) -> mpsc::Receiver<Result<Drained, NotDrained>> {
        let (answer, answers) = mpsc::sync_channel(1);
        let name = name.to_owned();
        let _ = self.requests.send(Request::Drain {
            name,
            draining,
            answer,
        });
        answers
    }

    /// How it is told of names whose addresses changed.
    pub(crate) fn name_changes(&self) -> NameChanges {
        NameChanges(self.requests.clone())
    }

    /// Whether it has done what was asked for.
    pub(crate) fn is_answered(&self, number: u64) -> bool {
        self.answered.load(Ordering::Acquire) >= number
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> Position {
        self.standing().position()
    }

    /// The same for others, whenever they ask.
    pub(crate) fn standing(&self) -> Standing {
        Standing(Arc::clone(&self.position))
    }
}

impl Standing {
    /// Where it stands.
    pub(crate) fn position(&self) -> Position {
        self.0
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
    renewals: Renewals,
    /// With the serial of the one that took the place of each.
    replaced: Vec<(u64, Arc<Routing>)>,
}

impl Thread {
    fn follow(&mut self, generation: Option<u64>, length: Option<u64>) {
        let changed = self.follower.follow(generation, length);
        let served = self.follower.served();
        let current = self.shared.routing.load_full();
        let is_new = served.revision() != current.snapshot.revision;
        if is_new || !changed.is_empty() {
            let snapshot = served.snapshot().clone();
            let next = current.next(snapshot, changed, self.shared.joint());
            drop(current);
            self.swap(next);
        }
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = position_of(&self.follower);
    }

    /// What could not be read may be there by now.
    fn try_again(&mut self) {
        if self.follower.is_due(Instant::now()) {
            self.follow(None, None);
        }
    }

    /// It is done here, where routings are made: none is made meanwhile from what was drained before.
    fn drain(&self, name: &str, draining: bool) -> Result<Drained, NotDrained> {
        let routing = self.shared.routing.load();
        let site = name.splitn(3, '/').take(2).collect::<Vec<_>>().join("/");
        let served = routing.served_by_name(&site);
        let states = served.and_then(|served| served.states_of(name));
        if draining && states.is_none() {
            return Err(NotDrained::NoBackend);
        }
        let set = self.shared.drains.set(name, draining);
        let changed = set.map_err(NotDrained::Fault)?;
        let absent = states.is_none();
        if absent && !changed {
            return Err(NotDrained::NoBackend);
        }
        for state in states.unwrap_or_default() {
            state.set_draining(draining);
        }
        if let Some(served) = served {
            self.shared.lost_sites.look_at(served.site().id);
        }
        Ok(Drained { changed, absent })
    }

    fn take_up_names(&mut self) {
        let changed = self.shared.names.take_changed();
        let current = self.shared.routing.load_full();
        self.renewals.add(current.users(&changed));
    }

    fn renew_sites(&mut self) {
        let now = Instant::now();
        let sites = self.renewals.take(now);
        if sites.is_empty() {
            return;
        }
        let current = self.shared.routing.load_full();
        let next = current.resolved(&sites, self.shared.joint());
        drop(current);
        for &id in &sites {
            let size = next.served(id).map_or(0, |served| served.size());
            self.renewals.note(id, size, now);
        }
        self.swap(next);
    }

    fn swap(&mut self, next: Routing) {
        let serial = next.serial;
        let old = self.shared.routing.swap(Arc::new(next));
        self.replaced.push((serial, old));
        self.notifiers.iter().for_each(Notifier::notify);
        self.shared.health.wake();
    }

    fn free_replaced(&mut self) {
        let workers = &self.shared.workers;
        self.replaced.retain(|(serial, _)| {
            !workers
                .iter()
                .all(|board| board.routing.get() >= *serial || board.ended.get() == 1)
        });
    }
}

fn position_of(follower: &Follower) -> Position {
    Position {
        generation: follower.generation(),
        revision: follower.served().revision(),
        fault: follower.fault().map(str::to_owned),
    }
}
