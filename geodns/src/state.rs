//! What answers are made from: one immutable value, swapped as a whole.

use crate::cookie::CookieKeys;
use crate::geography::Geography;
use crate::health::Health;
use meridian_model::Zones;
use std::sync::Arc;

/// See the module.
#[derive(Debug, Clone)]
pub struct State {
    /// Which names there are.
    pub zones: Arc<Zones>,
    /// Where visitors are; none: they are nowhere in particular, and get all groups.
    pub geography: Option<Arc<dyn Geography>>,
    /// Who can be handed out.
    pub health: Arc<Health>,
    /// The name of this host: `id.server`, and NSID (RFC 5001).
    identity: Arc<str>,
    cookie_keys: CookieKeys,
}

impl State {
    /// For the host `identity`, with cookies of the fleet whose secret this is, at about `now_s`
    /// (Unix, in seconds).
    ///
    /// # Panics
    ///
    /// When `identity` is longer than a label can be: names of hosts are labels, and in the
    /// shortest response there is room for no more.
    pub fn new(zones: Arc<Zones>, identity: Arc<str>, secret: &[u8], now_s: u32) -> State {
        assert!(identity.len() <= 63, "a host's name is a label");
        State {
            zones,
            geography: None,
            health: Arc::default(),
            identity,
            cookie_keys: CookieKeys::new(secret, now_s),
        }
    }

    /// The same with the cookie keys of the time `now_s`, when they are others.
    pub fn with_keys_of(&self, now_s: u32) -> Option<State> {
        let cookie_keys = self.cookie_keys.at(now_s)?;
        Some(State {
            cookie_keys,
            ..self.clone()
        })
    }

    /// The same with other zones.
    pub(crate) fn with_zones(&self, zones: Arc<Zones>) -> State {
        State {
            zones,
            ..self.clone()
        }
    }

    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    pub(crate) fn cookie_keys(&self) -> &CookieKeys {
        &self.cookie_keys
    }
}
