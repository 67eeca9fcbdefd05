//! Finding a name (RFC 1034 §4.3.2, RFC 4592).

use super::{Node, Rrset, Service, Zone, Zones, parent, rtype};

/// Labels of the longest name, each of one letter.
const LABELS_MAX: usize = 127;

/// What a name amounts to.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// It is in no zone of ours.
    Outside,
    /// It stands in, or is, a zone that is delegated.
    Referral(Referral<'a>),
    /// There is such a name. Without node and service it is an empty non-terminal.
    Name {
        /// Its zone.
        zone: &'a Zone,
        /// Its static records, or those of the wildcard that covers it.
        node: Option<&'a Node>,
        /// The site whose service name it is.
        service: Option<&'a Service>,
    },
    /// There is no such name.
    Missing {
        /// The zone that it would be in.
        zone: &'a Zone,
    },
}

/// A delegation.
#[derive(Clone, Copy, Debug)]
pub struct Referral<'a> {
    /// The zone that delegates.
    pub zone: &'a Zone,
    /// Where the delegated zone's name begins in the name that was looked for.
    pub cut_at: usize,
    /// Who serves it.
    pub nameservers: &'a Rrset,
}

impl Zones {
    /// Finds `name`, a whole name in wire form and lower case, for a question about `rtype`.
    pub fn find(&self, name: &[u8], rtype: u16) -> Found<'_> {
        let Some((zone, apex_at)) = self.zone_of(name, rtype) else {
            return Found::Outside;
        };
        if apex_at == 0 {
            return self.apex(zone);
        }
        let mut starts = [0_u8; LABELS_MAX];
        let mut count = 0;
        let mut at = 0;
        while at < apex_at && count < LABELS_MAX {
            starts[count] = at as u8;
            count += 1;
            at += 1 + usize::from(name[at]);
        }
        let mut closest = apex_at;
        // From the apex down, so that a delegation is met before what it hides.
        for depth in 1..=count {
            let at = usize::from(starts[count - depth]);
            let node = zone.node(&name[at..]);
            if let Some(node) = node.filter(|node| node.is_cut()) {
                // The parent answers for DS (RFC 4035 §3.1.4.1).
                if let (Some(nameservers), false) =
                    (node.set(rtype::NS), at == 0 && rtype == rtype::DS)
                {
                    return Found::Referral(Referral {
                        zone,
                        cut_at: at,
                        nameservers,
                    });
                }
            }
            let service = match depth {
                2 => self.services.get(&name[at..apex_at]),
                _ => None,
            };
            let is_tenant = depth == 1 && self.tenants.contains(&name[at..apex_at]);
            if node.is_none() && service.is_none() && !is_tenant {
                return self.wildcard(zone, &name[closest..]);
            }
            if at == 0 {
                return Found::Name {
                    zone,
                    node,
                    service,
                };
            }
            closest = at;
        }
        Found::Missing { zone }
    }

    /// The zone with the longest name that `name` ends with, and where that begins in it.
    fn zone_of(&self, name: &[u8], rtype: u16) -> Option<(&Zone, usize)> {
        let mut own = None;
        let mut rest = Some(name);
        while let Some(suffix) = rest {
            let at = name.len() - suffix.len();
            if self.zone_lengths.has(suffix.len())
                && let Some(zone) = self.zones.get(suffix)
            {
                // DS of an apex is the parent's to answer, if it is one of ours.
                if at > 0 || rtype != rtype::DS {
                    return Some((zone, at));
                }
                own = Some((&**zone, at));
            }
            rest = parent(suffix);
        }
        own
    }

    fn apex<'a>(&'a self, zone: &'a Zone) -> Found<'a> {
        let service = zone.apex_service.as_ref();
        Found::Name {
            zone,
            node: zone.node(zone.apex.octets()),
            service: service.and_then(|labels| self.services.get(labels)),
        }
    }

    /// What the wildcard below the closest name that exists has for a name that does not
    /// (RFC 4592 §3.3.1).
    fn wildcard<'a>(&'a self, zone: &'a Zone, closest: &[u8]) -> Found<'a> {
        let mut octets = [0; 257];
        octets[..2].copy_from_slice(b"\x01*");
        let length = 2 + closest.len();
        octets[2..length].copy_from_slice(closest);
        match zone.node(&octets[..length]) {
            Some(node) => Found::Name {
                zone,
                node: Some(node),
                service: None,
            },
            None => Found::Missing { zone },
        }
    }
}
