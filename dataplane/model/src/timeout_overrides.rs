//! The timeouts that a host or a site sets, on top of others.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rare::Usual;
use crate::snapshot::{BodyRate, Timeouts};

/// Those of [`Timeouts`] that were set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // each field is the one of `Timeouts` with the same name
pub struct TimeoutOverrides {
    pub head: Option<Duration>,
    pub keep_alive: Option<Duration>,
    pub body: Option<BodyRate>,
    pub write: Option<Duration>,
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub response_gap: Option<Duration>,
    pub upstream_idle: Option<Duration>,
    pub tunnel_idle: Option<Duration>,
    pub drain: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handshake: Option<Duration>,
}

impl Usual for TimeoutOverrides {
    const USUAL: &'static TimeoutOverrides = &TimeoutOverrides {
        head: None,
        keep_alive: None,
        body: None,
        write: None,
        connect: None,
        first_byte: None,
        response_gap: None,
        upstream_idle: None,
        tunnel_idle: None,
        drain: None,
        handshake: None,
    };
}

impl TimeoutOverrides {
    /// `base` with what is set here on top.
    pub fn on(&self, base: &Timeouts) -> Timeouts {
        let TimeoutOverrides {
            head,
            keep_alive,
            body,
            write,
            connect,
            first_byte,
            response_gap,
            upstream_idle,
            tunnel_idle,
            drain,
            handshake,
        } = *self;
        Timeouts {
            head: head.unwrap_or(base.head),
            keep_alive: keep_alive.unwrap_or(base.keep_alive),
            body: body.unwrap_or(base.body),
            write: write.unwrap_or(base.write),
            connect: connect.unwrap_or(base.connect),
            first_byte: first_byte.unwrap_or(base.first_byte),
            response_gap: response_gap.unwrap_or(base.response_gap),
            upstream_idle: upstream_idle.unwrap_or(base.upstream_idle),
            tunnel_idle: tunnel_idle.unwrap_or(base.tunnel_idle),
            drain: drain.unwrap_or(base.drain),
            handshake: handshake.unwrap_or(base.handshake),
        }
    }
}
