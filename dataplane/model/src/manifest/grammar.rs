//! Every key of the manifest, section by section, with its range and default.

mod fields;
mod fleet;
mod host;
mod pool;
mod route;
mod site;
mod tenant;
mod timeouts;
mod zone;

use toml::de::DeTable;

use super::reader::{Reader, Section};
use super::values;
use super::written::{Host, Written};

/// Reads a document. What is wrong is reported and left out, so that everything else
/// can still be checked; the host is none when `[host]` lacks its name.
pub(super) fn read(reader: &mut Reader<'_>, document: &DeTable<'_>) -> (Written, Option<Host>) {
    let mut root = Section::root(document);
    let manifest = root.take(reader, "manifest", values::name);
    let host = match root.table(reader, "host", "host") {
        Some(section) => host::read_host(reader, section),
        None if root.contains("host") => None,
        None => {
            reader.report(
                None,
                "host.name",
                "required",
                "write [host] and name = \"ams-1\"",
            );
            None
        }
    };
    let listen = root.table(reader, "listen", "listen");
    let fleet = root.table(reader, "fleet", "fleet");
    let probe = root.table(reader, "probe", "probe");
    let geo = root.table(reader, "geo", "geo");
    let dns = root.table(reader, "dns", "dns");
    let groups = root.tables(reader, "group", "group");
    let peers = root.tables(reader, "peer", "peer");
    let zones = root.tables(reader, "zone", "zone");
    let tenants = root.tables(reader, "tenant", "tenant");
    let certificates = root.tables(reader, "certificate", "certificate");
    let sites = root.tables(reader, "site", "site");
    let written = Written {
        manifest: manifest.map(|located| located.value),
        listen: host::read_listen(reader, listen),
        fleet: fleet
            .map(|section| fleet::read_fleet(reader, section))
            .unwrap_or_default(),
        probe: probe
            .map(|section| fleet::read_probe(reader, section))
            .unwrap_or_default(),
        geo: geo
            .map(|section| zone::read_geo(reader, section))
            .unwrap_or_default(),
        dns: dns
            .map(|section| zone::read_dns(reader, section))
            .unwrap_or_default(),
        groups: read_each(reader, groups, fleet::read_group),
        peers: read_each(reader, peers, fleet::read_peer),
        zones: read_each(reader, zones, zone::read_zone),
        tenants: read_each(reader, tenants, tenant::read_tenant),
        certificates: read_each(reader, certificates, tenant::read_certificate),
        sites: read_each(reader, sites, site::read_site),
    };
    root.finish(reader);
    (written, host)
}

fn read_each<'t, T>(
    reader: &mut Reader<'_>,
    sections: Vec<Section<'t>>,
    read: fn(&mut Reader<'_>, Section<'t>) -> Option<T>,
) -> Vec<T> {
    let items = sections.into_iter().map(|section| read(reader, section));
    items.flatten().collect()
}

/// The values of a list whose lines do not matter any more.
fn plain<T>(items: Option<Vec<super::reader::Located<T>>>) -> Vec<T> {
    let items = items.unwrap_or_default();
    items.into_iter().map(|located| located.value).collect()
}
