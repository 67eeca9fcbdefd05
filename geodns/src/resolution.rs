//! What a query is answered with: codes and records, by name and type, before any octet of a
//! response is written.

use crate::choice::Wish;
use crate::geography::Visitor;
use crate::gist::Kind;
use crate::query::{Options, Query, Question, Rcode, class};
use crate::state::State;
use meridian_model::limits::CNAME_CHAIN_MAX;
use meridian_model::snapshot::SiteId;
use meridian_model::zones::{
    Found, GroupIndex, Node, Referral, Rrset, Service, Zone, is_within, rtype,
};
use std::net::IpAddr;

/// Numbers of types that can only be asked for (IANA "DNS RR TYPEs").
mod qtype {
    /// "A special indicator" (RFC 6895 §3.1).
    pub(super) const RESERVED: u16 = 0;
    /// RFC 9824 §3.4.
    pub(super) const NXNAME: u16 = 128;
    /// RFC 2930.
    pub(super) const TKEY: u16 = 249;
    /// RFC 8945.
    pub(super) const TSIG: u16 = 250;
    pub(super) const IXFR: u16 = 251;
    pub(super) const AXFR: u16 = 252;
    /// Obsolete (RFC 1035 §3.2.3).
    pub(super) const MAILB: u16 = 253;
    pub(super) const MAILA: u16 = 254;
    pub(super) const ANY: u16 = 255;
}

/// CPU and OS of the HINFO that stands for everything (RFC 8482 §4.2).
pub(crate) const HINFO_DATA: &[u8] = b"\x07RFC8482\0";

/// Names in the class CH that tell who this server is.
const IDENTITY_NAMES: [&[u8]; 2] = [b"\x02id\x06server\0", b"\x08hostname\x04bind\0"];

/// See the module.
#[derive(Debug)]
pub(crate) struct Resolution<'a> {
    pub(crate) rcode: Rcode,
    /// AA.
    pub(crate) authoritative: bool,
    /// Of the records.
    pub(crate) class: u16,
    /// SCOPE, for who asked with a subnet.
    pub(crate) scope_bits: u8,
    /// Of the answer section: mostly one.
    pub(crate) answer: Option<Records<'a>>,
    /// Of the answer section, what a CNAME leads to.
    pub(crate) more: Vec<Records<'a>>,
    pub(crate) authority: Option<Records<'a>>,
    /// Addresses of name servers without which a delegation leads nowhere: all of them, or TC (RFC 9471).
    pub(crate) glue: Vec<Records<'a>>,
    /// Of those of other delegations of ours: as many as there is room for.
    pub(crate) sibling_glue: Vec<Records<'a>>,
    /// The site whose service name was asked for, at last.
    pub(crate) site: Option<SiteId>,
    /// The group that was the nearest.
    pub(crate) group: Option<GroupIndex>,
}

/// Records of one name and type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Records<'a> {
    /// In wire form.
    pub(crate) owner: &'a [u8],
    pub(crate) rtype: u16,
    /// In seconds.
    pub(crate) ttl: u32,
    pub(crate) data: Data<'a>,
}

/// Data of records.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Data<'a> {
    /// As the zone has it.
    Stored(&'a Rrset),
    /// A SOA, with this serial.
    Soa(&'a Rrset, u32),
    /// Of hosts.
    Addresses(&'a [IpAddr]),
    /// One record of these octets.
    Octets(&'a [u8]),
    /// One TXT of this string.
    Text(&'a str),
}

/// What an answer depends on besides the question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances {
    /// Who sent it.
    pub(crate) source: IpAddr,
    /// Which of several addresses comes first, modulo their number.
    pub(crate) rotation: u32,
    /// The server cookie that came along was right; none: there was none.
    pub(crate) cookie_is_valid: Option<bool>,
}

impl<'a> Resolution<'a> {
    fn of(rcode: Rcode) -> Resolution<'a> {
        Resolution {
            rcode,
            authoritative: false,
            class: class::IN,
            scope_bits: 0,
            answer: None,
            more: Vec::new(),
            authority: None,
            glue: Vec::new(),
            sibling_glue: Vec::new(),
            site: None,
            group: None,
        }
    }

    /// What it amounts to, to be counted.
    pub(crate) fn kind(&self) -> Kind {
        match self.rcode {
            Rcode::NOERROR => {}
            Rcode::FORMERR => return Kind::FormErr,
            Rcode::NXDOMAIN => return Kind::NoName,
            Rcode::NOTIMP => return Kind::NotImp,
            Rcode::BADVERS => return Kind::BadVers,
            Rcode::BADCOOKIE => return Kind::BadCookie,
            _ => return Kind::Refused,
        }
        if self.class == class::CH {
            return Kind::Identity;
        }
        let last = self.more.last().or(self.answer.as_ref());
        match (last.map(|it| it.data), &self.authority) {
            (Some(Data::Addresses(_)), _) => Kind::Service,
            (None, None) => Kind::Cookie,
            (_, Some(authority)) if authority.rtype == rtype::NS => Kind::Referral,
            (_, Some(_)) => Kind::NoData,
            (Some(_), None) => Kind::Record,
        }
    }

    /// Finds out what `query` is answered with. Addresses of hosts are put into `addresses`.
    pub(crate) fn new(
        state: &'a State,
        query: &'a Query,
        circumstances: Circumstances,
        addresses: &'a mut Vec<IpAddr>,
    ) -> Resolution<'a> {
        if let Some(fault) = query.fault {
            return Resolution::of(fault);
        }
        let Some(question) = &query.question else {
            // A query without a question asks for a cookie (RFC 7873 §5.4).
            return Resolution::of(match circumstances.cookie_is_valid {
                Some(false) => Rcode::BADCOOKIE,
                _ => Rcode::NOERROR,
            });
        };
        if let Some(refusal) = refused(question) {
            return Resolution::of(refusal);
        }
        if question.class == class::CH {
            return identity(state, question);
        }
        let options = query.edns.map(|edns| edns.options).unwrap_or_default();
        let resolving = Resolving {
            state,
            question,
            options,
            circumstances,
        };
        resolving.resolve(addresses)
    }
}

/// What is refused whatever its name is.
fn refused(question: &Question) -> Option<Rcode> {
    match question.rtype {
        // OPT and TSIG stand in the additional section, and nowhere else (RFC 6891 §6.1.1, RFC 8945 §5.1).
        qtype::RESERVED | qtype::NXNAME | rtype::OPT | qtype::TSIG => Some(Rcode::FORMERR),
        // "A server that does not support it" (RFC 2930 §2), and what nobody supports any more.
        qtype::TKEY | qtype::MAILA | qtype::MAILB => Some(Rcode::NOTIMP),
        qtype::AXFR | qtype::IXFR => Some(Rcode::NOTIMP),
        _ if !matches!(question.class, class::IN | class::CH) => Some(Rcode::REFUSED),
        _ => None,
    }
}

/// RFC 4892 §2.
fn identity<'a>(state: &'a State, question: &'a Question) -> Resolution<'a> {
    let is_known = IDENTITY_NAMES.contains(&question.name.octets());
    if !is_known || !matches!(question.rtype, rtype::TXT | qtype::ANY) {
        return Resolution::of(Rcode::REFUSED);
    }
    let mut resolution = Resolution::of(Rcode::NOERROR);
    resolution.authoritative = true;
    resolution.class = class::CH;
    resolution.answer = Some(Records {
        owner: question.name.octets(),
        rtype: rtype::TXT,
        ttl: 0,
        data: Data::Text(state.identity()),
    });
    resolution
}

/// A question that is looked up in the zones.
struct Resolving<'a> {
    state: &'a State,
    question: &'a Question,
    options: Options,
    circumstances: Circumstances,
}

/// Addresses that were put into the list, which is not borrowed yet.
struct Chosen<'a> {
    owner: &'a [u8],
    ttl: u32,
}

impl<'a> Resolving<'a> {
    fn resolve(self, addresses: &'a mut Vec<IpAddr>) -> Resolution<'a> {
        let mut resolution = Resolution::of(Rcode::NOERROR);
        let mut owner = self.question.name.octets();
        // Names in data are as the operator wrote them, and names are found in lower case.
        let mut target;
        let mut name = owner;
        for followed in 0..=CNAME_CHAIN_MAX {
            let found = self.state.zones.find(name, self.question.rtype);
            let is_first = followed == 0;
            match found {
                Found::Outside if is_first => return Resolution::of(Rcode::REFUSED),
                // It goes on elsewhere.
                Found::Outside => break,
                Found::Missing { zone } => {
                    // Of a chain, the last name decides (RFC 6604 §2.1).
                    resolution.rcode = Rcode::NXDOMAIN;
                    self.negative(&mut resolution, zone);
                    break;
                }
                Found::Referral(referral) => {
                    resolution.authoritative = !is_first;
                    self.refer(&mut resolution, owner, referral);
                    break;
                }
                Found::Name {
                    zone,
                    node,
                    service,
                } => {
                    resolution.authoritative = true;
                    let chosen = self.answer(
                        &mut resolution,
                        Place {
                            owner,
                            zone,
                            node,
                            service,
                        },
                        addresses,
                    );
                    match chosen {
                        Answered::Done => break,
                        Answered::Chosen(Chosen { owner, ttl }) => {
                            resolution.add(Records {
                                owner,
                                rtype: self.question.rtype,
                                ttl,
                                data: Data::Addresses(addresses),
                            });
                            return resolution;
                        }
                        Answered::Alias(alias) => {
                            // With a subnet, where the answer depends on it, its own query
                            // is to be asked (RFC 7871 §7.2.1).
                            let stays = is_within(&alias.to_ascii_lowercase(), zone.apex.octets());
                            // A loop is given once.
                            let is_told = resolution.has_answer_of(alias);
                            if !stays || is_told || self.options.subnet.is_some() {
                                break;
                            }
                            owner = alias;
                            target = alias.to_ascii_lowercase();
                            name = &target;
                        }
                    }
                }
            }
        }
        resolution
    }

    /// What a name that exists has of the type.
    fn answer(
        &self,
        resolution: &mut Resolution<'a>,
        place: Place<'a>,
        addresses: &mut Vec<IpAddr>,
    ) -> Answered<'a> {
        let Place {
            owner,
            zone,
            node,
            service,
        } = place;
        let wanted = self.question.rtype;
        resolution.site = service.map(|service| service.site);
        if let Some(set) = node.and_then(|node| node.set(rtype::CNAME)) {
            resolution.add(self.stored(owner, set));
            // Whoever asks for the alias itself gets that (RFC 1034 §3.6.2).
            return match (wanted, set.data.first()) {
                (rtype::CNAME | qtype::ANY, _) | (_, None) => Answered::Done,
                (_, Some(target)) => Answered::Alias(target),
            };
        }
        if wanted == qtype::ANY {
            self.any(resolution, owner, zone, node, service);
            return Answered::Done;
        }
        // What the operator wrote counts more than what a tenant calls its site.
        if let Some(set) = node.and_then(|node| node.set(wanted)) {
            resolution.add(self.stored(owner, set));
            return Answered::Done;
        }
        let is_address = matches!(wanted, rtype::A | rtype::AAAA);
        let has_own = |node: &Node| {
            [rtype::A, rtype::AAAA]
                .iter()
                .any(|it| node.set(*it).is_some())
        };
        if let Some(service) = service
            && is_address
            && !node.is_some_and(has_own)
        {
            let wish = Wish {
                service,
                ttl: zone.ttl,
                rtype: wanted,
                visitor: Visitor {
                    subnet: self.options.subnet,
                    source: self.circumstances.source,
                },
                rotation: self.circumstances.rotation,
            };
            if let Some(choice) = self.state.choose(wish, addresses) {
                resolution.scope_bits = choice.scope_bits;
                resolution.group = choice.group;
                let ttl = choice.ttl;
                return Answered::Chosen(Chosen { owner, ttl });
            }
        }
        self.negative(resolution, zone);
        Answered::Done
    }

    /// One set of records, or that there are some (RFC 8482 §4.1, §4.2).
    fn any(
        &self,
        resolution: &mut Resolution<'a>,
        owner: &'a [u8],
        zone: &'a Zone,
        node: Option<&'a Node>,
        service: Option<&'a Service>,
    ) {
        if let Some(set) = node.and_then(|node| node.sets.first()) {
            resolution.add(self.stored(owner, set));
        } else if service.is_some() {
            resolution.add(Records {
                owner,
                rtype: rtype::HINFO,
                ttl: zone.ttl,
                data: Data::Octets(HINFO_DATA),
            });
        } else {
            self.negative(resolution, zone);
        }
    }

    /// There is no such name, or it has nothing of the type: RFC 2308 §3.
    fn negative(&self, resolution: &mut Resolution<'a>, zone: &'a Zone) {
        resolution.authoritative = true;
        resolution.authority = Some(self.stored(zone.apex.octets(), zone.soa()));
    }

    fn refer(&self, resolution: &mut Resolution<'a>, name: &'a [u8], referral: Referral<'a>) {
        let Referral {
            zone,
            cut_at,
            nameservers,
        } = referral;
        let cut = &name[cut_at..];
        resolution.authority = Some(self.stored(cut, nameservers));
        for target in &nameservers.data {
            let lower = target.to_ascii_lowercase();
            let Some(node) = zone.node(&lower) else {
                continue;
            };
            let is_below = is_within(&lower, &cut.to_ascii_lowercase());
            let sets = [rtype::A, rtype::AAAA]
                .iter()
                .filter_map(|it| node.set(*it));
            let glue = sets.map(|set| self.stored(target, set));
            match is_below {
                true => resolution.glue.extend(glue),
                false => resolution.sibling_glue.extend(glue),
            }
        }
    }

    fn stored(&self, owner: &'a [u8], set: &'a Rrset) -> Records<'a> {
        let data = match set.rtype {
            rtype::SOA => Data::Soa(set, self.state.zones.revision as u32),
            _ => Data::Stored(set),
        };
        Records {
            owner,
            rtype: set.rtype,
            ttl: set.ttl,
            data,
        }
    }
}

/// A name that was found.
#[derive(Clone, Copy)]
struct Place<'a> {
    owner: &'a [u8],
    zone: &'a Zone,
    node: Option<&'a Node>,
    service: Option<&'a Service>,
}

enum Answered<'a> {
    Done,
    /// With the addresses that were chosen.
    Chosen(Chosen<'a>),
    /// With a CNAME to this name.
    Alias(&'a [u8]),
}

impl<'a> Resolution<'a> {
    fn has_answer_of(&self, name: &[u8]) -> bool {
        let mut told = self.answer.iter().chain(&self.more);
        told.any(|records| records.owner.eq_ignore_ascii_case(name))
    }

    fn add(&mut self, records: Records<'a>) {
        match self.answer {
            None => self.answer = Some(records),
            Some(_) => self.more.push(records),
        }
    }
}
