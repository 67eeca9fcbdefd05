//! States of backends that a revision took away while requests are still at them.
//!
//! A backend that comes back meanwhile, by a change or because its name leads there again, is the
//! same backend: what is counted at it goes on, and who ends there ends on the state that it began
//! on.

use crate::backend_state::BackendState;
use meridian_model::snapshot::BackendKey;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// See the module. Holds none of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Departed {
    states: HashMap<BackendKey, Weak<BackendState>>,
}

impl Departed {
    /// A backend is in no revision any more.
    pub(crate) fn add(&mut self, key: &BackendKey, state: &Arc<BackendState>) {
        self.states.insert(key.clone(), Arc::downgrade(state));
    }

    /// The state of one that comes back, while somebody has it.
    pub(crate) fn find(&self, key: &BackendKey) -> Option<Arc<BackendState>> {
        self.states.get(key)?.upgrade()
    }

    /// Forgets those that nobody has.
    pub(crate) fn forget_unused(&mut self) {
        self.states.retain(|_, state| state.strong_count() > 0);
    }
}
