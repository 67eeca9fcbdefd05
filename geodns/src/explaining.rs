//! Why a client gets the answer that it gets, for who asks over the local socket: who is well of each
//! group, and what the answers are, beside what the geographic table says of the prefix.

use crate::client_subnet::ClientSubnet;
use crate::query::{Edns, Options, Query, Question, QuestionName, Rcode, class};
use crate::resolution::{Circumstances, Data, Resolution};
use crate::state::State;
use crate::status::site_name;
use ipnet::IpNet;
use meridian_model::desired::Steering;
use meridian_model::geo::Explanation;
use meridian_model::limits::UDP_RESPONSE_BYTES_MAX;
use meridian_model::zones::{Found, Group, GroupIndex, Node, Service, WireName, rtype};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Why there is nothing to explain.
#[derive(Debug)]
pub(crate) struct Unexplained {
    /// What was seen, and what there is instead.
    pub(crate) why: String,
    /// There is no such name, as opposed to a text that is none.
    pub(crate) is_absent: bool,
}

/// What `name` is, and what of each group can be handed out for it.
pub(crate) struct Subject<'a> {
    state: &'a State,
    name: WireName,
    zone: &'a WireName,
    node: Option<&'a Node>,
    service: Option<&'a Service>,
}

impl<'a> Subject<'a> {
    /// Finds the name.
    pub(crate) fn find(state: &'a State, text: &str) -> Result<Subject<'a>, Unexplained> {
        let Some(name) = WireName::parse(text) else {
            return Err(Unexplained {
                why: format!("{text:?} is no domain name; write one like shop.acme.lb.example.net"),
                is_absent: false,
            });
        };
        let why = match state.zones.find(name.octets(), rtype::A) {
            Found::Name {
                zone,
                node,
                service,
            } => {
                return Ok(Subject {
                    state,
                    zone: &zone.apex,
                    name,
                    node,
                    service,
                });
            }
            Found::Missing { zone } => format!(
                "there is no name {name} in the zone {}; service names there are SITE.TENANT.{}",
                zone.apex, zone.apex
            ),
            Found::Referral(referral) => {
                let cut = WireName::new(&name.octets()[referral.cut_at..]);
                let cut = cut.map_or(String::new(), |it| it.to_string());
                format!("{cut} is delegated by a record of yours: others answer for {name}")
            }
            Found::Outside => {
                let mut zones: Vec<String> =
                    state.zones.all().map(|it| it.apex.to_string()).collect();
                zones.sort_unstable();
                match zones.is_empty() {
                    true => format!("{name} is in no zone: there is none"),
                    false => format!("{name} is in none of the zones: {}", zones.join(", ")),
                }
            }
        };
        Err(Unexplained {
            why,
            is_absent: true,
        })
    }

    /// All of it; `explanation` is of `client`, and of none when nobody is located.
    pub(crate) fn explain(&self, client: IpNet, explanation: Option<&Explanation>) -> Value {
        let service = self.service;
        let labels = service.and_then(|service| self.labels_of(service));
        let mut answer = explanation.map_or_else(|| json!({}), |it| json!(it));
        answer["revision"] = self.state.zones.revision.into();
        answer["name"] = self.name.to_string().into();
        answer["zone"] = self.zone.to_string().into();
        answer["site"] = labels.map(site_name).into();
        answer["steering"] = service
            .map(|service| match service.steering {
                Steering::Geo => "geo",
                Steering::All => "all",
            })
            .into();
        answer["records"] = self.node.map_or_else(Vec::new, types).into();
        answer["client"] = client.to_string().into();
        answer["groups"] = service.map_or_else(Vec::new, |it| self.groups(it)).into();
        let types = [rtype::A, rtype::AAAA];
        answer["answers"] = types.map(|rtype| self.answered(rtype, client)).into();
        answer
    }

    fn labels_of(&self, service: &Service) -> Option<&'a [u8]> {
        let mut services = self.state.zones.services().iter();
        services
            .find(|(_, it)| it.site == service.site)
            .map(|(labels, _)| labels)
    }

    /// Who is well of each group, and of the hosts without one.
    fn groups(&self, service: &Service) -> Vec<Value> {
        let zones = &self.state.zones;
        let all = (0_u16..).zip(zones.groups.iter());
        let mut rows: Vec<Value> = all
            .map(|(index, Group { name, .. })| {
                self.group(service, Some(GroupIndex(index)), Some(name))
            })
            .collect();
        if zones.hosts.iter().any(|host| host.group.is_none()) {
            rows.push(self.group(service, None, None));
        }
        rows
    }

    fn group(&self, service: &Service, group: Option<GroupIndex>, name: Option<&str>) -> Value {
        let hosts = (0_u16..).zip(self.state.zones.hosts.iter());
        let hosts = hosts.filter(|(_, host)| host.group == group);
        let rows: Vec<Value> = hosts
            .map(|(index, host)| {
                let is_up = self
                    .state
                    .health
                    .is_up(meridian_model::zones::HostIndex(index), service.site);
                let v4 = host.v4.iter().map(|&it| IpAddr::V4(it));
                let addresses = v4.chain(host.v6.iter().map(|&it| IpAddr::V6(it)));
                json!({
                    "name": host.name,
                    "addresses": addresses.collect::<Vec<_>>(),
                    "up": is_up,
                })
            })
            .collect();
        let up = rows.iter().filter(|row| row["up"] == true).count();
        json!({
            "name": name,
            "has_backends": service.is_served_by(group),
            "hosts_up": up,
            "hosts": rows,
        })
    }

    /// What a resolver is answered that tells the client's prefix: made by what answers queries.
    fn answered(&self, rtype: u16, client: IpNet) -> Value {
        let name = QuestionName::parse(self.name.octets());
        let query = Query {
            id: 0,
            flags: 0,
            question: name.map(|name| Question {
                name,
                rtype,
                class: class::IN,
            }),
            edns: Some(Edns {
                payload_bytes: UDP_RESPONSE_BYTES_MAX as u16,
                version: 0,
                dnssec_ok: false,
                options: Options {
                    subnet: Some(ClientSubnet::of(client)),
                    ..Options::default()
                },
            }),
            fault: None,
        };
        let circumstances = Circumstances {
            source: client.network(),
            rotation: 0,
            cookie_is_valid: None,
        };
        let mut addresses = Vec::new();
        let resolution = Resolution::new(self.state, &query, circumstances, &mut addresses);
        let records = resolution.answer.as_ref();
        let groups = &self.state.zones.groups;
        let group = resolution.group.and_then(|it| groups.get(it.index()));
        json!({
            "type": mnemonic(rtype),
            "rcode": rcode(resolution.rcode),
            "ttl": records.map(|it| it.ttl),
            "scope": resolution.scope_bits,
            "group": group.map(|it| &it.name),
            "addresses": records.map_or_else(Vec::new, |it| addresses_of(it.data)),
            "alias": records.filter(|it| it.rtype == rtype::CNAME).and_then(|it| alias(it.data)),
        })
    }
}

fn addresses_of(data: Data<'_>) -> Vec<IpAddr> {
    match data {
        Data::Addresses(addresses) => addresses.to_vec(),
        Data::Stored(set) => set.data.iter().filter_map(|it| address(it)).collect(),
        Data::Soa(..) | Data::Octets(_) | Data::Text(_) => Vec::new(),
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn alias(data: Data<'_>) -> Option<String> {
    let Data::Stored(set) = data else {
        return None;
    };
    let target = WireName::new(set.data.first()?)?;
    Some(target.to_string())
}

/// What a node has besides what is answered for a service name.
fn types(node: &Node) -> Vec<String> {
    node.sets.iter().map(|set| mnemonic(set.rtype)).collect()
}

fn mnemonic(rtype: u16) -> String {
    let known = match rtype {
        rtype::A => "A",
        rtype::NS => "NS",
        rtype::CNAME => "CNAME",
        rtype::SOA => "SOA",
        rtype::MX => "MX",
        rtype::TXT => "TXT",
        rtype::AAAA => "AAAA",
        rtype::SRV => "SRV",
        rtype::HTTPS => "HTTPS",
        rtype::CAA => "CAA",
        // RFC 3597 §5.
        other => return format!("TYPE{other}"),
    };
    known.to_owned()
}

fn rcode(rcode: Rcode) -> &'static str {
    match rcode {
        Rcode::NOERROR => "NOERROR",
        Rcode::NXDOMAIN => "NXDOMAIN",
        _ => "REFUSED",
    }
}
