//! The configuration thread: it follows the config log, keeps the wall clock, rolls cookie keys over
//! and has each new [`State`] published. What a state replaces is freed here, not by a worker.

use crate::geography::{Tables, as_geography};
use crate::published::Published;
use crate::revision::Follower;
use crate::state::State;
use meridian_model::geo::Group;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

/// How often the clock is set.
const TICK: Duration = Duration::from_millis(100);

/// Where the thread stands.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    /// What is served.
    pub(crate) state: Arc<State>,
    /// The generation that it follows.
    pub(crate) generation: u64,
    /// Why a newer revision is not served.
    pub(crate) fault: Option<String>,
}

#[derive(Debug)]
enum Request {
    /// Take up what was announced of the config log, and say where you stand.
    Follow {
        announced: Option<(Option<u64>, Option<u64>)>,
        answer: mpsc::SyncSender<Position>,
    },
}

/// Asks the configuration thread; it ends with the last of these.
#[derive(Debug, Clone)]
pub(crate) struct Configuration(mpsc::Sender<Request>);

/// Seconds since 1970, in the form of DNS cookies (RFC 9018 §4.3).
pub(crate) fn wall_s() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as u32)
}

impl Configuration {
    /// Starts the thread.
    pub(crate) fn start(
        follower: Follower,
        published: Arc<Published>,
        tables: Tables,
        now_s: Arc<AtomicU32>,
    ) -> Result<Configuration, String> {
        let (requests, receiver) = mpsc::channel();
        let mut thread = Thread {
            groups: Group::of_zones(follower.served().zones()),
            follower,
            tables,
            published,
            now_s,
        };
        std::thread::Builder::new()
            .name("configuration".to_owned())
            .spawn(move || {
                let mut tick_at = Instant::now() + TICK;
                loop {
                    let left = tick_at.saturating_duration_since(Instant::now());
                    match receiver.recv_timeout(left) {
                        Ok(Request::Follow { announced, answer }) => {
                            if let Some((generation, length)) = announced {
                                thread.follow(generation, length);
                            }
                            // Who asked may have gone.
                            let _ = answer.try_send(thread.position());
                        }
                        Err(mpsc::RecvTimeoutError::Timeout) => {}
                        Err(mpsc::RecvTimeoutError::Disconnected) => return,
                    }
                    // However often it is asked for something.
                    if Instant::now() >= tick_at {
                        thread.tick();
                        tick_at = Instant::now() + TICK;
                    }
                }
            })
            .map_err(|error| format!("starting the configuration thread: {error}"))?;
        Ok(Configuration(requests))
    }

    /// Has it take up what was announced: a generation and bytes of its journal. Gives where it stands
    /// then; `None` when that takes longer than `within`.
    pub(crate) fn follow(
        &self,
        generation: Option<u64>,
        length: Option<u64>,
        within: Duration,
    ) -> Option<Position> {
        self.ask(Some((generation, length)), within)
    }

    /// Where it stands.
    pub(crate) fn position(&self, within: Duration) -> Option<Position> {
        self.ask(None, within)
    }

    fn ask(
        &self,
        announced: Option<(Option<u64>, Option<u64>)>,
        within: Duration,
    ) -> Option<Position> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.0.send(Request::Follow { announced, answer }).ok()?;
        answers.recv_timeout(within).ok()
    }
}

struct Thread {
    follower: Follower,
    tables: Tables,
    /// Those of the zones that are served, as tables are made for them.
    groups: Vec<Group>,
    published: Arc<Published>,
    now_s: Arc<AtomicU32>,
}

impl Thread {
    fn follow(&mut self, generation: Option<u64>, length: Option<u64>) {
        self.follower.follow(generation, length);
        let zones = self.follower.served().zones();
        if !Arc::ptr_eq(zones, &self.published.state().zones) {
            let zones = Arc::clone(zones);
            let groups = Group::of_zones(&zones);
            // A table names groups by their places: it comes with its zones.
            let ranked = (groups != self.groups).then(|| self.tables.rank(groups.clone()));
            self.groups = groups;
            self.published.change(|state| {
                let mut state = state.with_zones(zones);
                if let Some(table) = ranked {
                    state.geography = table.map(as_geography);
                }
                Some(state)
            });
        }
    }

    fn tick(&mut self) {
        if self.follower.is_due(Instant::now()) {
            self.follow(None, None);
        }
        let now_s = wall_s();
        self.now_s.store(now_s, Ordering::Relaxed);
        self.published.change(|state| state.with_keys_of(now_s));
        if let Some(table) = self.tables.newer(&self.groups) {
            self.published.change(|state| {
                let mut state = State::clone(state);
                state.geography = Some(as_geography(table));
                Some(state)
            });
        }
        self.published.free_replaced();
    }

    fn position(&self) -> Position {
        Position {
            state: self.published.state(),
            generation: self.follower.generation(),
            fault: self.follower.fault().map(str::to_owned),
        }
    }
}
