//! Whether the zone above really holds what it has to: its servers are asked, each of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use meridian_model::zones::{WireName, is_within, parent, rtype};
use serde::Serialize;

use super::Delegated;
use super::question::{NoReply, Question, Reply, Told, What};
use crate::limits::{DELEGATION_CHECK, PARENT_ADDRESSES_MAX};

/// The port of DNS.
const PORT: u16 = 53;

/// What codes are called in words (IANA "DNS RCODEs").
const RCODES: [&str; 6] = [
    "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
];
const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// What the servers of the zone above hold.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Check {
    /// The zone above, where it was looked for.
    pub(crate) parent: Option<String>,
    /// The servers that were asked.
    pub(crate) servers: Vec<Server>,
    /// Why nobody was asked.
    pub(crate) fault: Option<String>,
    /// In the order of the records.
    pub(crate) verdicts: Vec<Verdict>,
    /// What some server holds besides: it leads to who does not serve the zone.
    pub(crate) not_ours: Vec<Delegated>,
}

/// A server that was asked.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Why what it said does not count.
    pub(crate) fault: Option<String>,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) standing: Standing,
    /// The servers that do not hold it.
    pub(crate) missing_at: Vec<SocketAddr>,
}

/// See [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// Every server that answered holds it.
    There,
    /// Some server that answered does not.
    Missing,
    /// No server answered.
    Unknown,
}

impl Check {
    /// Whether every record is there, and nothing else.
    pub(crate) fn is_right(&self) -> bool {
        let is_there = |it: &Verdict| it.standing == Standing::There;
        self.verdicts.iter().all(is_there) && self.not_ours.is_empty()
    }

    /// Whether nobody could say.
    pub(crate) fn is_unknown(&self) -> bool {
        self.verdicts
            .iter()
            .all(|it| it.standing == Standing::Unknown)
    }
}

/// Looks whether the zone above holds `records` for `zone`. Its servers are `servers`, or when there
/// are none, those that `resolvers` tell.
pub(crate) fn check(
    zone: &WireName,
    records: &[Delegated],
    servers: &[SocketAddr],
    resolvers: &[SocketAddr],
) -> Check {
    let deadline = Instant::now() + DELEGATION_CHECK;
    let mut check = Check::default();
    let found;
    let servers = match servers {
        [] => {
            let looking = Looking {
                resolvers,
                deadline,
            };
            match looking.servers_above(zone) {
                Ok((above, addresses)) => {
                    check.parent = Some(above.to_string());
                    found = addresses;
                    &found
                }
                Err(fault) => {
                    check.fault = Some(fault);
                    &[][..]
                }
            }
        }
        named => named,
    };
    let question = Question {
        name: zone.clone(),
        rtype: rtype::NS,
        is_recursive: false,
    };
    // All at a time: some may be silent.
    let replies: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = servers
            .iter()
            .map(|&server| {
                let question = &question;
                scope.spawn(move || (server, question.ask(server, deadline)))
            })
            .collect();
        let replies = asked.into_iter().map(|it| it.join());
        replies.flatten().collect()
    });
    check.judge(zone, records, &replies);
    check
}

impl Check {
    fn judge(
        &mut self,
        zone: &WireName,
        records: &[Delegated],
        replies: &[(SocketAddr, Result<Reply, NoReply>)],
    ) {
        let mut held: Vec<(SocketAddr, BTreeSet<Delegated>)> = Vec::new();
        for (server, reply) in replies {
            let (address, holds) = (*server, holds(zone, reply));
            self.servers.push(Server {
                address,
                fault: holds.as_ref().err().cloned(),
            });
            held.extend(holds.ok().map(|holds| (address, holds)));
        }
        self.verdicts = records
            .iter()
            .map(|record| verdict(record, &held))
            .collect();
        let ours: BTreeSet<&Delegated> = records.iter().collect();
        let all: BTreeSet<&Delegated> = held.iter().flat_map(|(_, holds)| holds).collect();
        self.not_ours = all.difference(&ours).map(|it| (*it).clone()).collect();
    }
}

fn verdict(record: &Delegated, held: &[(SocketAddr, BTreeSet<Delegated>)]) -> Verdict {
    let without = held.iter().filter(|(_, holds)| !holds.contains(record));
    let missing_at: Vec<SocketAddr> = without.map(|(server, _)| *server).collect();
    let standing = match (held.is_empty(), missing_at.is_empty()) {
        (true, _) => Standing::Unknown,
        (false, true) => Standing::There,
        (false, false) => Standing::Missing,
    };
    Verdict {
        standing,
        missing_at,
    }
}

/// The delegation that a server holds: its NS records, and the addresses of the names that they name
/// within the zone.
///
/// # Errors
/// Why what it said tells nothing of that.
fn holds(zone: &WireName, reply: &Result<Reply, NoReply>) -> Result<BTreeSet<Delegated>, String> {
    let reply = reply.as_ref().map_err(NoReply::to_string)?;
    // A name that does not exist is not delegated.
    if ![NOERROR, NXDOMAIN].contains(&reply.rcode) {
        let code = RCODES.get(usize::from(reply.rcode));
        let other = || format!("code {}", reply.rcode);
        return Err(format!(
            "answered {}: it does not serve the zone above",
            code.map_or_else(other, |code| (*code).to_owned())
        ));
    }
    if reply.is_authoritative && !name_servers_of(&reply.answer).is_empty() {
        return Err(
            "serves the zone itself, and does not tell what the zone above holds".to_owned(),
        );
    }
    // A referral: what a resolver remembers stands in its answer.
    let name_servers = name_servers_of(&reply.authority);
    let of_zone: Vec<&WireName> = name_servers
        .iter()
        .filter(|(owner, _)| *owner == zone)
        .map(|(_, name)| *name)
        .collect();
    if of_zone.is_empty() && !reply.is_authoritative {
        let elsewhere = name_servers.first();
        let elsewhere = elsewhere.map_or(String::new(), |(owner, _)| {
            format!(" but sends to the servers of {owner}")
        });
        return Err(format!("does not serve the zone above{elsewhere}"));
    }
    let mut holds: BTreeSet<Delegated> = of_zone
        .iter()
        .map(|name| Delegated {
            name: zone.to_string(),
            rtype: "NS".to_owned(),
            data: name.to_string(),
        })
        .collect();
    let glue = reply.additional.iter().filter_map(|told| glue(zone, told));
    holds.extend(glue);
    Ok(holds)
}

/// Owners and names of the NS records.
fn name_servers_of(section: &[Told]) -> Vec<(&WireName, &WireName)> {
    let all = section.iter().filter_map(|told| match &told.what {
        What::NameServer(name) => Some((&told.owner, name)),
        What::Address(_) | What::Soa => None,
    });
    all.collect()
}

fn glue(zone: &WireName, told: &Told) -> Option<Delegated> {
    let What::Address(address) = told.what else {
        return None;
    };
    let rtype = match address {
        IpAddr::V4(_) => "A",
        IpAddr::V6(_) => "AAAA",
    };
    is_within(told.owner.octets(), zone.octets()).then(|| Delegated {
        name: told.owner.to_string(),
        rtype: rtype.to_owned(),
        data: address.to_string(),
    })
}

/// Looks for the servers of the zone above.
struct Looking<'a> {
    resolvers: &'a [SocketAddr],
    deadline: Instant,
}

impl Looking<'_> {
    /// The zone above, and addresses of its servers.
    fn servers_above(&self, zone: &WireName) -> Result<(WireName, Vec<SocketAddr>), String> {
        let mut above = parent(zone.octets()).and_then(WireName::new);
        while let Some(name) = above {
            let reply = self.ask(&name, rtype::NS)?;
            let all = name_servers_of(&reply.answer).into_iter();
            let of_name = all.filter(|(owner, _)| **owner == name);
            let names: Vec<&WireName> = of_name.map(|(_, target)| target).collect();
            if !names.is_empty() {
                let addresses = self.addresses(&names)?;
                return Ok((name, addresses));
            }
            above = parent(name.octets()).and_then(WireName::new);
        }
        Err("the resolver knows no zone above; name its servers with --server".to_owned())
    }

    fn addresses(&self, names: &[&WireName]) -> Result<Vec<SocketAddr>, String> {
        let mut addresses = Vec::new();
        let mut fault = None;
        for name in names {
            for rtype in [rtype::A, rtype::AAAA] {
                if addresses.len() == PARENT_ADDRESSES_MAX {
                    return Ok(addresses);
                }
                match self.ask(name, rtype) {
                    Ok(reply) => {
                        addresses.extend(reply.answer.iter().filter_map(|told| match told.what {
                            What::Address(address) => Some(SocketAddr::new(address, PORT)),
                            What::NameServer(_) | What::Soa => None,
                        }))
                    }
                    Err(why) => fault = Some(why),
                }
            }
        }
        addresses.truncate(PARENT_ADDRESSES_MAX);
        match (addresses.is_empty(), fault) {
            (false, _) => Ok(addresses),
            (true, Some(why)) => Err(why),
            (true, None) => Err("the servers of the zone above have no address".to_owned()),
        }
    }

    /// Asks the resolvers one after another, until one answers.
    fn ask(&self, name: &WireName, rtype: u16) -> Result<Reply, String> {
        let question = Question {
            name: name.clone(),
            rtype,
            is_recursive: true,
        };
        let mut fault =
            "there is no resolver to ask for the servers of the zone above; name them with --server"
                .to_owned();
        for &resolver in self.resolvers {
            match question.ask(resolver, self.deadline) {
                Ok(reply) if [NOERROR, NXDOMAIN].contains(&reply.rcode) => return Ok(reply),
                Ok(reply) => {
                    let code = RCODES.get(usize::from(reply.rcode)).unwrap_or(&"an error");
                    fault = format!(
                        "the resolver {resolver} answered {code} for {name}; name the servers of \
                         the zone above with --server"
                    );
                }
                Err(no_reply) => {
                    fault = format!(
                        "the resolver {resolver} {no_reply}; name the servers of the zone above \
                         with --server"
                    );
                }
            }
        }
        Err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> WireName {
        WireName::parse(text).expect("a name")
    }

    fn ns(owner: &str, target: &str) -> Told {
        Told {
            owner: name(owner),
            what: What::NameServer(name(target)),
        }
    }

    fn host(owner: &str, address: &str) -> Told {
        Told {
            owner: name(owner),
            what: What::Address(address.parse().expect("an address")),
        }
    }

    fn record(name: &str, rtype: &str, data: &str) -> Delegated {
        let [name, rtype, data] = [name, rtype, data].map(str::to_owned);
        Delegated { name, rtype, data }
    }

    fn judged(replies: &[Result<Reply, NoReply>]) -> Check {
        let records = [
            record("lb.test.", "NS", "h1.lb.test."),
            record("h1.lb.test.", "A", "192.0.2.1"),
        ];
        let servers = (1..).map(|port| SocketAddr::from(([192, 0, 2, 53], port)));
        let replies: Vec<_> = servers.zip(replies.iter().cloned()).collect();
        let mut check = Check::default();
        check.judge(&name("lb.test"), &records, &replies);
        check
    }

    fn standings(check: &Check) -> Vec<Standing> {
        check.verdicts.iter().map(|it| it.standing).collect()
    }

    fn referral(more: Vec<Told>) -> Result<Reply, NoReply> {
        Ok(Reply {
            authority: vec![ns("lb.test", "h1.lb.test")],
            additional: more,
            ..Reply::default()
        })
    }

    #[test]
    fn a_referral_with_its_glue_is_right() {
        let check = judged(&[referral(vec![host("h1.lb.test", "192.0.2.1")])]);
        assert!(check.is_right() && !check.is_unknown());
        // Addresses of names elsewhere are nobody's glue.
        let elsewhere = host("ns.test", "192.0.2.9");
        let check = judged(&[referral(vec![host("h1.lb.test", "192.0.2.1"), elsewhere])]);
        assert!(check.is_right());
    }

    #[test]
    fn each_record_has_its_verdict() {
        let check = judged(&[
            referral(vec![host("h1.lb.test", "192.0.2.1")]),
            referral(vec![host("h1.lb.test", "192.0.2.7")]),
            Err(NoReply::Silent),
        ]);
        assert_eq!(standings(&check), [Standing::There, Standing::Missing]);
        assert_eq!(check.verdicts[1].missing_at.len(), 1);
        assert_eq!(check.verdicts[1].missing_at[0].port(), 2);
        assert_eq!(check.not_ours, [record("h1.lb.test.", "A", "192.0.2.7")]);
        assert!(!check.is_right());
        assert_eq!(
            check.servers[2].fault.as_deref(),
            Some("did not answer in time")
        );
    }

    #[test]
    fn a_name_that_is_not_delegated_has_nothing() {
        let reply = |rcode: u8| {
            Ok(Reply {
                rcode,
                is_authoritative: true,
                authority: vec![Told {
                    owner: name("test"),
                    what: What::Soa,
                }],
                ..Reply::default()
            })
        };
        for rcode in [NOERROR, NXDOMAIN] {
            let check = judged(&[reply(rcode)]);
            assert_eq!(standings(&check), [Standing::Missing, Standing::Missing]);
        }
    }

    #[test]
    fn who_can_not_know_is_named_and_not_counted() {
        let code = Reply {
            rcode: 5,
            ..Reply::default()
        };
        let itself = Reply {
            is_authoritative: true,
            answer: vec![ns("lb.test", "h1.lb.test")],
            ..Reply::default()
        };
        let resolver = Reply {
            answer: vec![ns("lb.test", "h1.lb.test")],
            ..Reply::default()
        };
        let above = Reply {
            authority: vec![ns("test", "a.test")],
            ..Reply::default()
        };
        for (reply, why) in [
            (code, "answered REFUSED"),
            (itself, "serves the zone itself"),
            (resolver, "does not serve the zone above"),
            (above, "sends to the servers of test."),
        ] {
            let check = judged(&[Ok(reply)]);
            assert!(check.is_unknown() && !check.is_right());
            let fault = check.servers[0].fault.as_deref().unwrap_or_default();
            assert!(fault.contains(why), "{why:?} is not in {fault:?}");
        }
    }
}
