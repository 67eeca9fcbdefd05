//! Every key of the manifest, section by section, with its range and default.

mod fields;
mod fleet;
mod host;
mod limits;
mod pool;
mod route;
mod site;
mod tenant;
mod timeouts;
mod zone;

use toml::de::DeTable;

use super::reader::{Reader, Section};
use super::values;
use super::written::{Host, Lists, Written};

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
    let lists = ListSections::of(reader, &mut root);
    let mut written = Written {
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
        groups: Vec::new(),
        peers: Vec::new(),
        zones: Vec::new(),
        tenants: Vec::new(),
        certificates: Vec::new(),
        sites: Vec::new(),
    };
    written.extend(lists.read(reader));
    root.finish(reader);
    (written, host)
}

/// Reads a part of a document that has nothing but lists; `None` where it has anything else.
pub(super) fn read_lists(reader: &mut Reader<'_>, part: &DeTable<'_>) -> Option<Lists> {
    let mut root = Section::root(part);
    if !root.has_lists_only() {
        return None;
    }
    let lists = ListSections::of(reader, &mut root).read(reader);
    root.finish(reader);
    Some(lists)
}

/// The lists of a document, before they are read.
struct ListSections<'t> {
    groups: Vec<Section<'t>>,
    peers: Vec<Section<'t>>,
    zones: Vec<Section<'t>>,
    tenants: Vec<Section<'t>>,
    certificates: Vec<Section<'t>>,
    sites: Vec<Section<'t>>,
}

impl<'t> ListSections<'t> {
    fn of(reader: &mut Reader<'_>, root: &mut Section<'t>) -> ListSections<'t> {
        ListSections {
            groups: root.tables(reader, "group", "group"),
            peers: root.tables(reader, "peer", "peer"),
            zones: root.tables(reader, "zone", "zone"),
            tenants: root.tables(reader, "tenant", "tenant"),
            certificates: root.tables(reader, "certificate", "certificate"),
            sites: root.tables(reader, "site", "site"),
        }
    }

    fn read(self, reader: &mut Reader<'_>) -> Lists {
        Lists {
            groups: read_each(reader, self.groups, fleet::read_group),
            peers: read_each(reader, self.peers, fleet::read_peer),
            zones: read_each(reader, self.zones, zone::read_zone),
            tenants: read_each(reader, self.tenants, tenant::read_tenant),
            certificates: read_each(reader, self.certificates, tenant::read_certificate),
            sites: read_each(reader, self.sites, |reader, section| {
                site::read_site(reader, section).map(Box::new)
            }),
        }
    }
}

fn read_each<'t, T>(
    reader: &mut Reader<'_>,
    sections: Vec<Section<'t>>,
    read: fn(&mut Reader<'_>, Section<'t>) -> Option<T>,
) -> Vec<T> {
    // No more room than they take: there are very many such lists.
    let mut all = Vec::with_capacity(sections.len());
    let items = sections.into_iter().map(|section| read(reader, section));
    all.extend(items.flatten());
    all
}

/// The values of a list whose lines do not matter any more.
fn plain<T>(items: Option<Vec<super::reader::Located<T>>>) -> Vec<T> {
    let items = items.unwrap_or_default();
    items.into_iter().map(|located| located.value).collect()
}
