//! From the desired state to [`Zones`], and a change of it on top.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::static_records::{Around, add_empty_non_terminals};
use super::wire_name::label_of;
use super::{
    Group, GroupIndex, Host, HostIndex, Lengths, NAME_SERVER_TTL_S, Node, Rrset, Service, Services,
    StaticRecords, WireName, Zone, Zones, parent, rtype,
};
use crate::change::{Change, Object, ObjectName};
use crate::compile::Unusable;
use crate::config_log::{Header, SnapshotParts, decode};
use crate::desired::{self, Desired, Site, SiteName};
use crate::local::Local;
use crate::name::Name;
use crate::parallel;
use crate::problem::{Problem, Problems};

/// How often a secondary asks for the serial; ours have no secondaries (RFC 1912 §2.2), in seconds.
const REFRESH_S: u32 = 3600;
/// How soon it asks again, in seconds.
const RETRY_S: u32 = 600;
/// How long it answers without having been told, in seconds.
const EXPIRE_S: u32 = 14 * 24 * 3600;

impl Zones {
    /// Compiles one revision.
    ///
    /// # Errors
    ///
    /// All that is wrong with its zones. The responder then keeps the revision that it has.
    pub fn compile(local: &Local, desired: &Desired, revision: u64) -> Result<Zones, Problems> {
        let mut zones = Zones::without_sites(local, desired, revision)?;
        for site in &desired.sites {
            zones.put_site(site);
        }
        Ok(zones)
    }

    /// Reads a whole `snapshot.G` and compiles it on the way: of its sites little more than what
    /// answers need is ever held.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, or what [`Zones::compile`] says.
    pub fn read(local: &Local, bytes: &[u8]) -> Result<(Header, Zones), Unusable> {
        let Ok(SnapshotParts {
            header,
            others,
            parts,
            sites: _,
            checksum: _,
        }) = SnapshotParts::new(bytes)
        else {
            return Zones::read_in_order(local, bytes);
        };
        let mut zones = Zones::without_sites(local, &others, header.revision)?;
        let read = |part: &crate::config_log::SitePart<'_>| part.read();
        let all = parallel::each(&parts, read, |sites| {
            sites?.iter().for_each(|site| zones.put_site(site));
            Ok::<(), crate::config_log::LogFault>(())
        });
        match all {
            Ok(()) => Ok((header, zones)),
            Err(_) => Zones::read_in_order(local, bytes),
        }
    }

    /// What is wrong first is told by who goes from the beginning to the end.
    fn read_in_order(local: &Local, bytes: &[u8]) -> Result<(Header, Zones), Unusable> {
        let (header, desired) = decode(bytes)?;
        let zones = Zones::compile(local, &desired, header.revision)?;
        Ok((header, zones))
    }

    /// This revision with a change of tenants and sites on top, at a cost in proportion to the
    /// change; `None` when all is to be compiled anew, because zones, groups or hosts changed.
    pub fn with(&self, change: &Change) -> Option<Zones> {
        let mut zones = self.clone();
        for name in &change.deletes {
            match name {
                ObjectName::Site { tenant, name } => {
                    zones.services.remove(&service_labels(tenant, name));
                }
                ObjectName::Tenant(tenant) => {
                    Arc::make_mut(&mut zones.tenants).remove(&*label_of(tenant));
                }
                ObjectName::Group(_) | ObjectName::Peer(_) | ObjectName::Zone(_) => return None,
                // Neither is a matter of DNS: a suspended site says so itself.
                ObjectName::Certificate { .. } | ObjectName::Suspension(_) => {}
            }
        }
        for object in &change.puts {
            match object {
                Object::Site(site) => zones.put_site(site),
                Object::Tenant(tenant) => {
                    let label = label_of(&tenant.name);
                    if !zones.tenants.contains(&*label) {
                        Arc::make_mut(&mut zones.tenants).insert(label.into());
                    }
                }
                Object::Group(_) | Object::Peer(_) | Object::Zone(_) => return None,
                Object::Certificate(_) | Object::Suspension(_) => {}
            }
        }
        zones.revision = change.revision;
        Some(zones)
    }

    fn without_sites(local: &Local, desired: &Desired, revision: u64) -> Result<Zones, Problems> {
        let (groups, hosts) = places(local, desired);
        let mut problems = Vec::new();
        let mut zones = HashMap::new();
        let mut zone_lengths = Lengths::default();
        for zone in &desired.zones {
            match compile_zone(zone, &hosts) {
                Ok(zone) => {
                    zone_lengths.add(zone.apex.octets().len());
                    zones.insert(zone.apex.clone(), zone);
                }
                Err(faults) => problems.extend(faults),
            }
        }
        Problems::refuse_any(problems)?;
        add_apexes_below(&mut zones);
        let zones = zones.into_iter();
        let tenants = desired.tenants.iter();
        Ok(Zones {
            revision,
            zones: zones.map(|(apex, zone)| (apex, Arc::new(zone))).collect(),
            zone_lengths,
            groups: groups.into(),
            hosts: hosts.into(),
            tenants: Arc::new(tenants.map(|it| label_of(&it.name).into()).collect()),
            services: Services::new(),
        })
    }

    fn put_site(&mut self, site: &Site) {
        let labels = service_labels(&site.tenant, &site.name);
        let service = Service {
            site: site.id,
            steering: site.steering,
            groups: self.groups_of(site),
        };
        // What is the same stays where it is: other parts of a site change more often.
        if self.services.get(&labels) != Some(&service) {
            self.services.insert(labels, service);
        }
    }

    fn groups_of(&self, site: &Site) -> Option<Box<[GroupIndex]>> {
        let mut groups = Vec::new();
        for backend in site.pools.iter().flat_map(|pool| &pool.backends) {
            let group = backend.group.as_ref()?.as_str();
            let place = self.groups.binary_search_by(|it| (*it.name).cmp(group));
            // A group without hosts serves nobody: others do it for it.
            let place = place
                .ok()
                .filter(|&place| !self.groups[place].hosts.is_empty());
            groups.extend(place.map(|place| GroupIndex(place as u16)));
        }
        if groups.is_empty() {
            return None;
        }
        groups.sort_unstable();
        groups.dedup();
        Some(groups.into())
    }
}

/// The labels of a service name below its zone, in wire form.
fn service_labels(tenant: &Name, site: &Name) -> Box<[u8]> {
    [label_of(site), label_of(tenant)].concat().into()
}

/// A host as it is declared: its name, group, addresses, and where it is probed.
type Declared<'d> = (&'d Name, Option<&'d Name>, &'d [IpAddr], Option<SocketAddr>);

/// All groups and hosts, each in the order of the names.
fn places(local: &Local, desired: &Desired) -> (Vec<Group>, Vec<Host>) {
    let mut all: Vec<Declared<'_>> = (desired.peers.iter())
        .map(|peer| {
            let group = peer.group.as_ref();
            (&peer.name, group, &peer.addresses[..], peer.probe)
        })
        .collect();
    let host = &local.host;
    // In the manifests of others this host is a peer.
    all.retain(|(name, ..)| **name != host.name);
    all.push((&host.name, host.group.as_ref(), &host.addresses, host.probe));
    all.sort_unstable_by_key(|(name, ..)| *name);
    // A group exists when it is declared, and also when a host stands in it.
    let of_hosts = all
        .iter()
        .filter_map(|(_, group, ..)| Some(((*group)?, None)));
    let declared = desired
        .groups
        .iter()
        .map(|group| (&group.name, Some(group)));
    let named: BTreeMap<&Name, Option<&desired::Group>> = of_hosts.chain(declared).collect();
    let names: Vec<&Name> = named.keys().copied().collect();
    let hosts: Vec<Host> = all
        .into_iter()
        .map(|(name, group, addresses, probe)| Host {
            name: name.shared(),
            group: group
                .and_then(|group| names.binary_search(&group).ok())
                .map(|place| GroupIndex(place as u16)),
            v4: addresses.iter().filter_map(v4).collect(),
            v6: addresses.iter().filter_map(v6).collect(),
            probe,
        })
        .collect();
    let groups = named
        .into_iter()
        .enumerate()
        .map(|(index, (name, declared))| {
            let here = Some(GroupIndex(index as u16));
            let of_group = |(_, host): &(usize, &Host)| host.group == here;
            let hosts = hosts.iter().enumerate().filter(of_group);
            Group {
                name: name.shared(),
                location: declared.and_then(|group| group.location),
                bias_km: declared.map_or(0, |group| group.bias_km),
                hosts: hosts.map(|(index, _)| HostIndex(index as u16)).collect(),
            }
        });
    (groups.collect(), hosts)
}

fn v4(address: &IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: &IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(*address),
    }
}

fn compile_zone(zone: &desired::Zone, hosts: &[Host]) -> Result<Zone, Vec<Problem>> {
    let desired::Zone {
        owner: _,
        name,
        nameservers,
        ttl,
        negative_ttl,
        contact,
        apex: apex_site,
        records,
    } = zone;
    let problem = |key: &str, what: String, hint: &str| Problem {
        file: String::new(),
        line: None,
        key: format!("zone {name}: {key}"),
        what,
        hint: hint.to_owned(),
    };
    let apex = WireName::from(name);
    let around = Around {
        apex: &apex,
        ttl: *ttl,
        nameservers,
        apex_is_service: apex_site.is_some(),
    };
    let read = StaticRecords::read(around, records).map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|it| problem(&format!("record.{}", it.key), it.what, &it.hint))
            .collect::<Vec<_>>()
    })?;
    let mut nodes = read.nodes;
    let mut names = Vec::new();
    for nameserver in nameservers {
        let host = hosts.iter().find(|host| *host.name == *nameserver.as_str());
        let name = apex.child(nameserver.as_str().as_bytes());
        let (Some(host), Some(name)) = (host, name) else {
            let what = format!("{:?} is no host of the fleet", nameserver.as_str());
            return Err(vec![problem(
                "nameservers",
                what,
                "declare it with [[peer]]",
            )]);
        };
        add_addresses(nodes.entry(name.clone()).or_default(), host);
        names.push(name);
    }
    let Some(primary) = names.first() else {
        let what = String::from("a zone has at least one name server");
        return Err(vec![problem("nameservers", what, "name a host")]);
    };
    let contact = match contact {
        Some(contact) => Some(WireName::from(contact)),
        None => apex.child(b"hostmaster"),
    };
    let Some(contact) = contact else {
        let what = String::from("the zone's name leaves no room for hostmaster in front");
        return Err(vec![problem("contact", what, "set it")]);
    };
    let at_apex = nodes.entry(apex.clone()).or_default();
    at_apex.sets.push(Rrset {
        rtype: rtype::NS,
        ttl: NAME_SERVER_TTL_S,
        data: names.iter().map(|it| it.octets().into()).collect(),
    });
    at_apex.sets.push(Rrset {
        rtype: rtype::SOA,
        ttl: *negative_ttl,
        data: vec![soa_data(primary, &contact, *negative_ttl)],
    });
    at_apex.sets.sort_by_key(|set| set.rtype);
    add_empty_non_terminals(&mut nodes, &apex);
    let node_lengths = lengths_of(&nodes);
    let apex_service = apex_site
        .as_ref()
        .map(|SiteName { tenant, site }| service_labels(tenant, site));
    Ok(Zone {
        apex,
        ttl: *ttl,
        negative_ttl: *negative_ttl,
        apex_service,
        nodes,
        node_lengths,
    })
}

/// Zones of ours that are below another one exist there as well, whether there is a delegation or not: DS of
/// their apexes is asked for there (RFC 4035 §3.1.4.1), and so are the names between.
fn add_apexes_below(zones: &mut HashMap<WireName, Zone>) {
    let mut below: HashMap<WireName, Vec<WireName>> = HashMap::new();
    for apex in zones.keys() {
        let mut above = parent(apex.octets());
        while let Some(name) = above {
            if let Some((zone, _)) = zones.get_key_value(name) {
                below.entry(zone.clone()).or_default().push(apex.clone());
                break;
            }
            above = parent(name);
        }
    }
    for (zone, apexes) in below {
        if let Some(zone) = zones.get_mut(&zone) {
            for apex in apexes {
                zone.nodes.entry(apex).or_default();
            }
            add_empty_non_terminals(&mut zone.nodes, &zone.apex);
            zone.node_lengths = lengths_of(&zone.nodes);
        }
    }
}

fn lengths_of(nodes: &HashMap<WireName, Node>) -> Lengths {
    let mut lengths = Lengths::default();
    for name in nodes.keys() {
        lengths.add(name.octets().len());
    }
    lengths
}

/// The addresses of a name server: there are none of the operator's beside them.
fn add_addresses(node: &mut Node, host: &Host) {
    let of_type = |rtype, data: Vec<Box<[u8]>>| Rrset {
        rtype,
        ttl: NAME_SERVER_TTL_S,
        data,
    };
    let v4 = host.v4.iter().map(|it| it.octets().as_slice().into());
    let v6 = host.v6.iter().map(|it| it.octets().as_slice().into());
    let sets = [
        of_type(rtype::A, v4.collect()),
        of_type(rtype::AAAA, v6.collect()),
    ];
    node.sets
        .extend(sets.into_iter().filter(|set| !set.data.is_empty()));
    node.sets.sort_by_key(|set| set.rtype);
}

/// RDATA of a SOA with a serial of 0 (RFC 1035 §3.3.13).
fn soa_data(primary: &WireName, contact: &WireName, minimum_s: u32) -> Box<[u8]> {
    let mut data = [primary.octets(), contact.octets()].concat();
    for number in [0, REFRESH_S, RETRY_S, EXPIRE_S, minimum_s] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    data.into()
}
