//! `[fleet]`, `[probe]`, `[[group]]` and `[[peer]]`.

use std::time::Duration;

use super::plain;
use crate::local::Probe;
use crate::location::Location;
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values;
use crate::manifest::written::{Fleet, Group, Peer};
use crate::quantity::shown_duration;

/// A check that failed this often in a row says nothing new.
const CHECKS_IN_A_ROW_MAX: u32 = 100;

pub(super) fn read_fleet(reader: &mut Reader<'_>, mut section: Section<'_>) -> Fleet {
    let name = section.take(reader, "name", values::name);
    let secret = section.take(reader, "secret", values::text);
    section.finish(reader);
    Fleet {
        name: name.map(|located| located.value),
        secret: secret.map(|located| located.value),
    }
}

pub(super) fn read_probe(reader: &mut Reader<'_>, section: Section<'_>) -> Probe {
    let Probe {
        interval,
        timeout,
        rise,
        fall,
    } = Probe::default();
    let defaults = Cadence {
        interval: (interval, "1s"),
        timeout: (timeout, "500ms"),
        rise: (rise, "2"),
        fall: (fall, "2"),
    };
    let mut section = section;
    let (interval, timeout, rise, fall) = read_cadence(reader, &mut section, &defaults, "probe");
    section.finish(reader);
    Probe {
        interval,
        timeout,
        rise,
        fall,
    }
}

/// Defaults of a repeated check, each with the form in which a hint names it.
pub(super) struct Cadence {
    pub(super) interval: (Duration, &'static str),
    pub(super) timeout: (Duration, &'static str),
    pub(super) rise: (u32, &'static str),
    pub(super) fall: (u32, &'static str),
}

/// Reads interval, timeout, rise and fall of a repeated check.
pub(super) fn read_cadence(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    defaults: &Cadence,
    path: &str,
) -> (Duration, Duration, u32, u32) {
    let pause = || values::duration(100, 60 * 60 * 1000);
    let count = || values::integer(1, CHECKS_IN_A_ROW_MAX);
    let interval = section.take_or(reader, "interval", pause(), defaults.interval);
    let timeout = section.take_or(reader, "timeout", pause(), defaults.timeout);
    let rise = section.take_or(reader, "rise", count(), defaults.rise);
    let fall = section.take_or(reader, "fall", count(), defaults.fall);
    if timeout > interval {
        let hint = "a check must have ended before the next one begins";
        let key = format!("{path}.timeout");
        let (timeout, interval) = (shown_duration(timeout), shown_duration(interval));
        let what = format!("must be at most the interval of {interval} (is {timeout})");
        reader.report(section.line(), &key, what, hint);
    }
    (interval, timeout, rise, fall)
}

pub(super) fn read_group(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Group> {
    let name = section.require(reader, "name", values::name, "name = \"ams\"");
    let location = section.table(reader, "location", "group.location");
    let location = location.and_then(|section| read_location(reader, section));
    let bias_km = values::integer(-20_000, 20_000);
    let bias_km = section.take_or(reader, "bias_km", bias_km, (0, "0"));
    section.finish(reader);
    Some(Group {
        name: name?,
        location,
        bias_km,
    })
}

fn read_location(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Location> {
    let lat = section.require(reader, "lat", values::number(-90.0, 90.0), "lat = 52.37");
    let lon = section.require(reader, "lon", values::number(-180.0, 180.0), "lon = 4.90");
    section.finish(reader);
    Some(Location {
        lat: lat?.value,
        lon: lon?.value,
    })
}

pub(super) fn read_peer(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Peer> {
    let name = section.require(reader, "name", values::name, "name = \"nyc-1\"");
    let group = section.take(reader, "group", values::name);
    let addresses = section.list(reader, "addresses", values::ip_address);
    let probe = section.take(reader, "probe", values::probe_address);
    section.finish(reader);
    Some(Peer {
        name,
        group: group.map(|located| located.value),
        addresses: plain(addresses),
        probe: probe.map(|located| located.value),
    })
}
