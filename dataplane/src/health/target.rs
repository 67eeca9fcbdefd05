//! A backend that is checked.

use super::check::Check;
use super::timers::Due;
use super::verdict::Standing;
use crate::backend_state::BackendState;
use crate::routing::ServedSite;
use meridian_model::address_policy::{AddressPolicy, Refusal};
use meridian_model::snapshot::{BackendKey, HealthCheck, Site, TenantId};
use std::sync::Arc;
use std::time::Instant;

/// The states of a pool's backends that this host uses before those of another group.
pub(super) type Nearer = Arc<[Arc<BackendState>]>;

/// See the module.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: BackendKey,
    pub(super) state: Arc<BackendState>,
    pub(super) how: Arc<HealthCheck>,
    /// As it is served now.
    pub(super) site: Arc<Site>,
    /// Of a backend of another group: it is checked only while it is used.
    nearer: Option<Nearer>,
    /// Requests that it had been given when that was last looked at.
    requests: u64,
    pub(super) standing: Standing,
    pub(super) phase: Phase,
    /// Until then its next check does not come before its time: this host has nothing to make it with.
    pub(super) pauses_until: Option<Instant>,
    /// The timer that is its own: any other of it is outdated.
    pub(super) timer: Option<Due>,
}

/// Where a target stands between two checks.
#[derive(Debug)]
pub(super) enum Phase {
    /// Until its timer.
    Waiting,
    /// For its tenant's turn.
    Ready,
    /// Since then; until its timer at most. The box keeps targets small: most of them wait.
    UnderWay(Box<Check>, Instant),
}

/// What a routing says of a target.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: BackendKey,
    state: Arc<BackendState>,
    how: Arc<HealthCheck>,
    nearer: Option<Nearer>,
}

impl Wanted {
    /// Every backend of a site that is to be checked. A site that is not served has none.
    pub(super) fn of_site(served: &ServedSite) -> Vec<Wanted> {
        let site = served.site();
        let mut wanted = Vec::new();
        if site.suspended.holds() {
            return wanted;
        }
        for pool in &site.pools {
            let Some(how) = &pool.health else { continue };
            let mut nearer: Vec<Arc<BackendState>> = Vec::new();
            for tier in &pool.tiers {
                let before: Option<Nearer> =
                    tier.cross_group.then(|| nearer.iter().cloned().collect());
                for backend in &tier.backends {
                    let Some(state) = served.backend_state(&backend.key) else {
                        continue;
                    };
                    nearer.push(Arc::clone(&state));
                    wanted.push(Wanted {
                        key: backend.key.clone(),
                        state,
                        how: Arc::clone(how),
                        nearer: before.clone(),
                    });
                }
            }
        }
        wanted
    }

    /// A target that nothing is known of.
    pub(super) fn into_target(self, site: &Arc<Site>) -> Target {
        let Wanted {
            key,
            state,
            how,
            nearer,
        } = self;
        Target {
            requests: requests_of(&state),
            key,
            state,
            how,
            site: Arc::clone(site),
            nearer,
            standing: Standing::Unknown,
            phase: Phase::Waiting,
            pauses_until: None,
            timer: None,
        }
    }
}

impl Target {
    /// Whose backend it is.
    pub(super) fn tenant(&self) -> TenantId {
        self.site.tenant_id
    }

    /// What people call it.
    pub(super) fn full_name(&self) -> String {
        let (tenant, site) = (&self.site.tenant, &self.site.name);
        format!("{tenant}/{site}/{}/{}", self.key.pool(), self.key.backend())
    }

    /// Whether its state is the one that `wanted` speaks of.
    pub(super) fn is(&self, wanted: &Wanted) -> bool {
        Arc::ptr_eq(&self.state, &wanted.state)
    }

    /// Takes up what a newer routing says of it. Whether it is checked otherwise than before.
    pub(super) fn take_up(&mut self, wanted: Wanted, site: &Arc<Site>) -> bool {
        let is_changed = self.how != wanted.how;
        self.how = wanted.how;
        self.nearer = wanted.nearer;
        self.site = Arc::clone(site);
        is_changed
    }

    /// Whether this host uses it: it is one of its own, or requests came to it since this was last
    /// asked, or all nearer ones are down.
    pub(super) fn is_used(&mut self) -> bool {
        let Some(nearer) = &self.nearer else {
            return true;
        };
        let before = std::mem::replace(&mut self.requests, requests_of(&self.state));
        self.requests != before || !nearer.iter().any(|it| it.is_usable())
    }

    /// Whether it may be connected to.
    pub(super) fn may_connect(&self, policy: &AddressPolicy) -> Result<(), Refusal> {
        policy.check(&self.site.backend_networks, self.key.address())
    }
}

fn requests_of(state: &BackendState) -> u64 {
    state.sum(|counters| &counters.requests)
}
