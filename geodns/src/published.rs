//! The [`State`] that workers answer from, and its changes: the configuration thread has new zones,
//! tables and keys, the thread of the peers a new health. A revision that takes long to compile keeps
//! no dead host in the answers.
//!
//! Workers take no lock: they are told of each new state over a channel.

use crate::peers::Standing;
use crate::state::State;
use crate::worker::Told;
use crate::workers::Workers;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many old states are kept for workers to let go of them. They do at once when they are told of
/// a newer one.
const REPLACED_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct Published {
    current: Mutex<Current>,
    workers: Workers,
}

#[derive(Debug)]
struct Current {
    state: Arc<State>,
    standing: Standing,
    /// The newest last. They are freed here, not by a worker.
    replaced: Vec<Arc<State>>,
}

impl Published {
    /// Of the state that the workers were started with.
    pub(crate) fn new(state: Arc<State>, workers: Workers) -> Arc<Published> {
        Arc::new(Published {
            current: Mutex::new(Current {
                state,
                standing: Standing::default(),
                replaced: Vec::new(),
            }),
            workers,
        })
    }

    /// What is answered from.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&self.lock().state)
    }

    /// Replaces it with what `make` makes of it, if it makes anything: that holds others up, and should
    /// not take long.
    pub(crate) fn change(&self, make: impl FnOnce(&State) -> Option<State>) {
        let mut current = self.lock();
        let Some(mut state) = make(&current.state) else {
            return;
        };
        // Hosts and sites are named by their places in the zones.
        if !Arc::ptr_eq(&state.zones, &current.state.zones) {
            state.health = Arc::new(current.standing.health(&state.zones));
        }
        self.swap(&mut current, state);
    }

    /// Has it be answered by what is known of the hosts now.
    pub(crate) fn set_standing(&self, standing: Standing) {
        let mut current = self.lock();
        current.standing = standing;
        let mut state = State::clone(&current.state);
        state.health = Arc::new(current.standing.health(&state.zones));
        self.swap(&mut current, state);
    }

    /// Frees what nobody but this has any more.
    pub(crate) fn free_replaced(&self) {
        let mut current = self.lock();
        current.replaced.retain(|it| Arc::strong_count(it) > 1);
    }

    fn swap(&self, current: &mut Current, state: State) {
        let old = std::mem::replace(&mut current.state, Arc::new(state));
        let newest = &current.state;
        self.workers.tell(|| Told::State(Arc::clone(newest)));
        current.replaced.push(old);
        if current.replaced.len() > REPLACED_MAX {
            current.replaced.retain(|it| Arc::strong_count(it) > 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
