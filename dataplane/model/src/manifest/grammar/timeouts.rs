//! `timeouts` of a host or a site (HTTP.md "Timeouts").

use std::time::Duration;

use crate::desired::TimeoutOverrides;
use crate::limits::TIMEOUT_MS_MAX;
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values;
use crate::snapshot::BodyRate;

/// `body_path` is what the table `body` is called in problems.
pub(super) fn read_timeouts(
    reader: &mut Reader<'_>,
    section: Option<Section<'_>>,
    body_path: &'static str,
) -> TimeoutOverrides {
    let Some(mut section) = section else {
        return TimeoutOverrides::default();
    };
    let timeouts = TimeoutOverrides {
        head: read_one(reader, &mut section, "head"),
        keep_alive: read_one(reader, &mut section, "keep_alive"),
        body: read_body(reader, &mut section, body_path),
        write: read_one(reader, &mut section, "write"),
        connect: read_one(reader, &mut section, "connect"),
        first_byte: read_one(reader, &mut section, "first_byte"),
        response_gap: read_one(reader, &mut section, "response_gap"),
        upstream_idle: read_one(reader, &mut section, "upstream_idle"),
        tunnel_idle: read_one(reader, &mut section, "tunnel_idle"),
        drain: read_one(reader, &mut section, "drain"),
        handshake: read_one(reader, &mut section, "handshake"),
    };
    section.finish(reader);
    timeouts
}

fn read_one(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
) -> Option<Duration> {
    let timeout = section.take(reader, key, values::duration(1, TIMEOUT_MS_MAX));
    timeout.map(|located| located.value)
}

fn read_body(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    path: &'static str,
) -> Option<BodyRate> {
    let mut section = section.table(reader, "body", path)?;
    let default = BodyRate::default();
    let rate = values::integer(1, u32::MAX);
    let window = values::duration(1000, TIMEOUT_MS_MAX);
    let body = BodyRate {
        bytes_per_second: section.take_or(
            reader,
            "bytes_per_second",
            rate,
            (default.bytes_per_second, "500"),
        ),
        window: section.take_or(reader, "window", window, (default.window, "10s")),
    };
    section.finish(reader);
    Some(body)
}
