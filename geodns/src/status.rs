//! What the responder says of itself over the local socket.

use crate::configuration::Position;
use crate::control::{Control, PROTOCOL};
use crate::counters::Counts;
use crate::worker::Report;
use meridian_model::Zones;
use meridian_sys::process::kernel_release;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

/// The report; briefly, without what there is one of for each zone.
pub(crate) fn report(
    control: &Control,
    position: &Position,
    reports: &[Report],
    peers: &Value,
    is_brief: bool,
) -> Value {
    let zones = &position.state.zones;
    let stopping = control.stopping.load(Ordering::Acquire);
    let mut sum = Counts::default();
    reports.iter().for_each(|report| sum.add(&report.counts));
    let live = reports.iter().map(|report| report.revision).min();
    let cpus: Vec<usize> = control.workers.cpus().collect();
    let workers = reports.iter().map(|report| {
        let Counts { udp, tcp, .. } = report.counts;
        json!({
            "worker": report.worker,
            "cpu": cpus.get(report.worker),
            "revision": report.revision,
            "queries": udp + tcp,
            "connections": report.connections,
            "accept_failures": report.accept_failures,
        })
    });
    let mut status = json!({
        "program": "geodns",
        "protocol": PROTOCOL,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "revision": live.unwrap_or(zones.revision),
        "generation": position.generation,
        "config_fault": position.fault,
        "ready": reports.len() == control.workers.len() && !stopping,
        "draining": stopping,
        "uptime_s": control.started.elapsed().as_secs(),
        "listen": control.listen,
        "geography": control.geography.standing(),
        "workers": workers.collect::<Vec<_>>(),
        "counters": sum.report(),
        "isolated": peers["isolated"],
        "hosts": peers["hosts"],
        "limits": limits(control, &sum, peers),
        "kernel": { "release": kernel_release(), "features": [] },
    });
    if !is_brief {
        status["zones"] = zones_of(zones);
    }
    status
}

/// Of the workers, then of the health of the hosts.
fn limits(control: &Control, counts: &Counts, peers: &Value) -> Vec<Value> {
    let of = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let usage = &control.usage;
    let of_workers = counts.limits(usage.unbacked(), usage.unwritten());
    [of(&of_workers), of(&peers["limits"])].concat()
}

fn zones_of(zones: &Zones) -> Value {
    let mut all: Vec<String> = zones.all().map(|zone| zone.apex.to_string()).collect();
    all.sort_unstable();
    let serial = zones.revision as u32;
    let rows = all
        .into_iter()
        .map(|name| json!({ "zone": name, "serial": serial }));
    rows.collect()
}

/// `acme/shop` for `4shop4acme`: labels are names of ours.
pub(crate) fn site_name(labels: &[u8]) -> String {
    let Some((&length, rest)) = labels.split_first() else {
        return String::new();
    };
    let (site, tenant) = rest.split_at(usize::from(length).min(rest.len()));
    let tenant = tenant.get(1..).unwrap_or_default();
    format!(
        "{}/{}",
        String::from_utf8_lossy(tenant),
        String::from_utf8_lossy(site)
    )
}

#[cfg(test)]
mod tests {
    use super::site_name;

    #[test]
    fn labels_say_whose_site_it_is() {
        assert_eq!(site_name(b"\x04shop\x04acme"), "acme/shop");
    }
}
