//! What DNS.md demands of answers, line by line.

#[path = "../../fuzz/src/dns_query.rs"]
pub mod dns_query;
#[path = "../support/query.rs"]
mod query;
#[path = "../support/seen.rs"]
mod seen;

mod health;
mod support;

use meridian_geodns::{
    Answerer, Asked, Decision, Geography, Health, Kind, Outcome, RankingId, Unanswered,
};
use meridian_model::geo::{self, Database};
use meridian_model::local::GeoOverride;
use meridian_model::name::Name;
use meridian_model::zones::{GroupIndex, HostIndex};
use proptest::prelude::*;
use query::*;
use seen::Seen;
use std::net::IpAddr;
use std::sync::Arc;
use support::*;

/// Whoever's subnet or address begins with an odd octet is close to nyc.
#[derive(Debug)]
struct ByFirstOctet;

impl Geography for ByFirstOctet {
    fn decide(&self, subnet: Option<(IpAddr, u8)>, resolver: IpAddr) -> Decision {
        let (address, scope) = match subnet {
            Some((address, _)) => (address, 8),
            None => (resolver, 0),
        };
        let first = match address {
            IpAddr::V4(it) => it.octets()[0],
            IpAddr::V6(it) => it.octets()[0],
        };
        Decision {
            ranking: RankingId(u32::from(first % 2)),
            scope,
        }
    }

    fn tier(&self, id: RankingId, from: usize) -> &[GroupIndex] {
        let order = match id.0 {
            0 => &[GroupIndex(0), GroupIndex(1)],
            _ => &[GroupIndex(1), GroupIndex(0)],
        };
        order.get(from..from + 1).unwrap_or_default()
    }
}

fn subnet_of(seen: &Seen) -> Option<&[u8]> {
    let options = seen.options.as_ref()?;
    let found = options.iter().find(|(code, _)| *code == SUBNET)?;
    Some(&found.1)
}

#[test]
fn service_names_have_addresses_of_hosts() {
    let state = state(&[]);
    let seen = ask(&state, &plain(SHOP, A));
    assert_eq!((seen.rcode, seen.aa, seen.tc), (NOERROR, true, false));
    let both = ["198.51.100.1", "192.0.2.1"].map(|it| format!("{SHOP} 40 A {it}"));
    let mut sorted = seen.answer.clone();
    sorted.sort_by(|a, b| b.cmp(a));
    assert_eq!(sorted, both);
    let seen = ask(&state, &plain(SHOP, 28));
    assert_eq!(seen.answer, [format!("{SHOP} 40 AAAA 2001:db8::1")]);
    assert_eq!(ask(&state, &plain("lb.example.net", A)).answer.len(), 2);
}

#[test]
fn addresses_rotate() {
    let state = state(&[]);
    let mut firsts = Vec::new();
    for rotation in [0, 1, 2, u32::MAX] {
        let mut out = vec![0; 512];
        let mut asked = asked("192.0.2.200", UDP);
        asked.rotation = rotation;
        let Outcome::Response { bytes, .. } =
            Answerer::default().answer(&plain(SHOP, A), asked, &state, &mut out)
        else {
            panic!("it is answered");
        };
        // The last is as good as the first of two.
        firsts.push(out[bytes - 4..bytes].to_vec());
    }
    assert_ne!(firsts[0], firsts[1]);
    assert_eq!((&firsts[0], &firsts[1]), (&firsts[2], &firsts[3]));
}

#[test]
fn the_closest_group_answers_and_scope_tells_for_whom() {
    let mut state = state(&[]);
    state.geography = Some(Arc::new(ByFirstOctet));
    let seen = ask(&state, &with_options(SHOP, A, &[(SUBNET, V4_24)]));
    assert_eq!(seen.answer, [format!("{SHOP} 40 A 198.51.100.1")]);
    assert_eq!(subnet_of(&seen), Some(&b"\0\x01\x18\x08\xcb\0\x71"[..]));
    // Who asks, 198, decides without.
    for nothing in [&b"\0\x01\0\0"[..], b"\0\x02\0\0", b"\0\0\0\0"] {
        let seen = ask(&state, &with_options(SHOP, A, &[(SUBNET, nothing)]));
        assert_eq!(seen.answer, [format!("{SHOP} 40 A 192.0.2.1")]);
        assert_eq!(subnet_of(&seen), Some(nothing));
    }
    let seen = ask(&state, &with_options(SHOP, A, &[]));
    assert_eq!(seen.options, Some(vec![]));
}

/// The table of the model, of which nothing but overrides speaks here: the prefixes are reserved.
#[test]
fn the_geographic_table_decides_and_equally_close_groups_answer_together() {
    let mut state = state(&[]);
    let places = Database::Embedded.places().expect("it is in the program");
    let groups = geo::Group::of_zones(&state.zones);
    let to = |prefix: &str, group: &str| GeoOverride {
        prefix: prefix.parse().expect("a prefix"),
        group: Name::parse(group).expect("a name"),
    };
    let overrides = [to("203.0.113.0/24", "nyc"), to("198.51.100.0/24", "ams")];
    let table = geo::Geography::build(&places, groups.clone(), &overrides, 0);
    state.geography = Some(Arc::new(table.expect("there are two groups")));
    let seen = ask(&state, &with_options(SHOP, A, &[(SUBNET, V4_24)]));
    assert_eq!(seen.answer, [format!("{SHOP} 40 A 198.51.100.1")]);
    // Neighbours may have the same ranking, by what the database says of them.
    let scope = subnet_of(&seen).map_or(0, |option| option[3]);
    assert!((16..=24).contains(&scope), "{scope}");
    let seen = ask(&state, &plain(SHOP, A));
    assert_eq!(seen.answer, [format!("{SHOP} 40 A 192.0.2.1")]);
    // Nobody knows where 203.0.113.0/24 is; and on all of the earth the two are equally close.
    for (overrides, tie_km) in [(&overrides[1..], 0), (&[][..], 20_000)] {
        let table = geo::Geography::build(&places, groups.clone(), overrides, tie_km);
        state.geography = Some(Arc::new(table.expect("there are two groups")));
        let mut asked = asked("203.0.113.9", UDP);
        asked.rotation = 1;
        let (seen, _, _) = ask_as(&state, &plain(SHOP, A), asked);
        let mut sorted = seen.answer.clone();
        sorted.sort();
        let both = ["192.0.2.1", "198.51.100.1"].map(|it| format!("{SHOP} 40 A {it}"));
        assert_eq!(sorted, both);
    }
}

#[test]
fn scope_is_0_where_geography_was_not_used() {
    let mut state = state(&[
        ("sub", "NS", "ns.elsewhere.example."),
        ("t", "TXT", "\"x\""),
    ]);
    state.geography = Some(Arc::new(ByFirstOctet));
    for (name, rtype) in [
        ("www.acme.lb.example.net", A),
        ("t.lb.example.net", TXT),
        ("lb.example.net", SOA),
        ("lb.example.net", NS),
        ("missing.lb.example.net", A),
        (SHOP, TXT),
        ("x.sub.lb.example.net", A),
        ("elsewhere.example", A),
    ] {
        let seen = ask(&state, &with_options(name, rtype, &[(SUBNET, V4_24)]));
        assert_eq!(subnet_of(&seen), Some(V4_24), "{name}");
    }
}

#[test]
fn malformed_subnets_are_format_errors() {
    let state = state(&[]);
    for wrong in [
        &b"\0\x01\x18"[..],
        b"\0\x03\x08\0\x01",
        b"\0\x01\x18\x01\xcb\0\x71",
    ] {
        let seen = ask(&state, &with_options(SHOP, A, &[(SUBNET, wrong)]));
        assert_eq!((seen.rcode, seen.questions), (FORMERR, 1));
        assert_eq!(seen.options, Some(vec![]), "OPT without the option");
        assert!(seen.answer.is_empty());
    }
}

#[test]
fn hosts_that_are_down_are_left_out_and_ttl_halves() {
    let mut state = state(&[]);
    let hosts = state.zones.hosts.clone();
    let index = |name: &str| {
        let at = hosts.iter().position(|host| &*host.name == name);
        HostIndex(at.expect("it is there") as u16)
    };
    state.health = Arc::new(Health::new([index("nyc-1")], []));
    let seen = ask(&state, &plain(SHOP, A));
    assert_eq!(seen.answer, [format!("{SHOP} 20 A 192.0.2.1")]);
    // Nobody can be reached: everybody, and for as long as ever.
    state.health = Arc::new(Health::new([index("nyc-1"), index("ams-1")], []));
    let seen = ask(&state, &plain(SHOP, A));
    assert_eq!(seen.answer.len(), 2);
    assert!(seen.answer.iter().all(|it| it.contains(" 40 A ")));
    // The nearest group has nobody: the next one.
    state.geography = Some(Arc::new(ByFirstOctet));
    state.health = Arc::new(Health::new([index("nyc-1")], []));
    let seen = ask(&state, &with_options(SHOP, A, &[(SUBNET, V4_24)]));
    assert_eq!(seen.answer, [format!("{SHOP} 20 A 192.0.2.1")]);
    assert_eq!(
        subnet_of(&seen),
        Some(&b"\0\x01\x18\x08\xcb\0\x71"[..]),
        "health is not in it"
    );
}

#[test]
fn negatives_have_a_soa() {
    let state = state(&[("a.b", "TXT", "\"x\"")]);
    for (name, rtype, rcode) in [
        ("missing.lb.example.net", A, NXDOMAIN),
        (SHOP, TXT, NOERROR),
        ("b.lb.example.net", TXT, NOERROR),
        ("acme.lb.example.net", A, NOERROR),
    ] {
        let seen = ask(&state, &plain(name, rtype));
        assert_eq!((seen.rcode, seen.aa), (rcode, true), "{name}");
        assert!(seen.answer.is_empty());
        let [soa] = &seen.authority[..] else {
            panic!("{:?}", seen.authority);
        };
        assert!(
            soa.starts_with("lb.example.net 20 SOA ams-1.lb.example.net. "),
            "{soa}"
        );
        assert!(soa.contains(" 7 ") && soa.ends_with(" 20"), "{soa}");
    }
}

#[test]
fn aliases_are_followed_within_the_zone() {
    let state = state(&[
        ("one", "CNAME", "two"),
        ("two", "CNAME", "shop.acme"),
        ("gone", "CNAME", "missing"),
        ("out", "CNAME", "www.example.org."),
        ("loop", "CNAME", "pool"),
        ("pool", "CNAME", "loop"),
    ]);
    let seen = ask(&state, &plain("one.lb.example.net", A));
    assert_eq!((seen.answer.len(), seen.rcode), (4, NOERROR));
    assert_eq!(
        seen.answer[1],
        format!("two.lb.example.net 40 CNAME {SHOP}.")
    );
    let seen = ask(
        &state,
        &with_options("one.lb.example.net", A, &[(SUBNET, V4_24)]),
    );
    assert_eq!(
        seen.answer,
        ["one.lb.example.net 40 CNAME two.lb.example.net."]
    );
    let seen = ask(&state, &plain("one.lb.example.net", CNAME));
    assert_eq!(seen.answer.len(), 1);
    let seen = ask(&state, &plain("gone.lb.example.net", A));
    assert_eq!(
        (seen.answer.len(), seen.rcode, seen.authority.len()),
        (1, NXDOMAIN, 1)
    );
    let seen = ask(&state, &plain("out.lb.example.net", A));
    assert_eq!(
        (seen.answer.len(), seen.rcode, seen.authority.len()),
        (1, NOERROR, 0)
    );
    let seen = ask(&state, &plain("loop.lb.example.net", A));
    assert_eq!((seen.answer.len(), seen.rcode), (2, NOERROR));
}

#[test]
fn delegations_are_referred_to_with_glue() {
    let state = state(&[
        ("sub", "NS", "ns.sub"),
        ("sub", "NS", "ns.elsewhere.example."),
        ("ns.sub", "A", "192.0.2.53"),
    ]);
    let seen = ask(&state, &plain("x.sub.lb.example.net", A));
    assert_eq!((seen.rcode, seen.aa), (NOERROR, false));
    assert_eq!((seen.answer.len(), seen.authority.len()), (0, 2));
    assert!(seen.authority[0].starts_with("sub.lb.example.net "));
    assert_eq!(seen.additional, ["ns.sub.lb.example.net 40 A 192.0.2.53"]);
    let seen = ask(&state, &plain("sub.lb.example.net", DS));
    assert_eq!((seen.rcode, seen.aa, seen.answer.len()), (NOERROR, true, 0));
    assert!(seen.authority[0].contains(" SOA "));
}

/// RFC 9471: without its glue a delegation leads nowhere.
#[test]
fn glue_that_does_not_fit_truncates() {
    let addresses: Vec<String> = (0..30).map(|it| format!("192.0.2.{it}")).collect();
    let mut records = vec![("sub", "NS", "ns.sub")];
    records.extend(addresses.iter().map(|it| ("ns.sub", "A", &**it)));
    let state = state(&records);
    let seen = ask(&state, &plain("x.sub.lb.example.net", A));
    assert!(seen.tc && seen.additional.is_empty());
    let seen = ask_over(&state, &plain("x.sub.lb.example.net", A), TCP);
    assert_eq!((seen.tc, seen.additional.len()), (false, 30));
}

#[test]
fn what_does_not_fit_is_left_out_whole() {
    let addresses: Vec<String> = (0..60).map(|it| format!("192.0.2.{it}")).collect();
    let all: Vec<_> = addresses.iter().map(|it| ("big", "A", &**it)).collect();
    let state = state(&all);
    let query = |payload: u16, options: &[(u16, &[u8])]| {
        let opt = opt_of(payload, 0, options);
        [
            header([1, 0, 0, 1]),
            question("big.lb.example.net", A, 1),
            opt,
        ]
        .concat()
    };
    let cookie = ask(&state, &with_options(SHOP, A, &[(COOKIE, b"01234567")]));
    let (_, cookie) = cookie.options.expect("it has one").remove(0);
    for (payload, options, fits) in [
        (4096, &[][..], false),
        (4096, &[(COOKIE, &cookie[..])][..], true),
        (700, &[(COOKIE, &cookie)], false),
        (0, &[(COOKIE, &cookie)], false),
    ] {
        let seen = ask(&state, &query(payload, options));
        assert_eq!(
            (seen.tc, seen.answer.len()),
            (!fits, if fits { 60 } else { 0 })
        );
        assert!(seen.options.is_some(), "OPT stays");
        assert!(seen.octets.len() <= 1232);
    }
    let seen = ask(&state, &plain("big.lb.example.net", A));
    assert!(seen.tc && seen.octets.len() <= 512);
    assert_eq!(
        ask_over(&state, &plain("big.lb.example.net", A), TCP)
            .answer
            .len(),
        60
    );
}

#[test]
fn edns_is_read_strictly() {
    let state = state(&[]);
    let named = [&b"\x01a"[..], &opt(&[])].concat();
    let overrun = {
        let mut opt = opt(&[(NSID, b"")]);
        *opt.last_mut().expect("it has octets") = 9;
        opt
    };
    for (counts, records, has_opt, why) in [
        ([1, 0, 0, 2], [opt(&[]), opt(&[])].concat(), true, "two"),
        ([1, 0, 0, 1], named, false, "a name"),
        ([1, 1, 0, 0], opt(&[]), false, "in the answer section"),
        ([1, 0, 1, 0], opt(&[]), false, "in the authority section"),
        ([1, 0, 0, 1], overrun, true, "an option that overruns"),
        ([1, 0, 0, 1], opt(&[])[..8].to_vec(), false, "cut off"),
    ] {
        let query = [header(counts), question(SHOP, A, 1), records].concat();
        let seen = ask(&state, &query);
        assert_eq!((seen.rcode, seen.questions), (FORMERR, 1), "{why}");
        assert_eq!(seen.options.is_some(), has_opt, "{why}");
    }
    let later = [
        header([1, 0, 0, 1]),
        question(SHOP, A, 1),
        opt_of(4096, 1, &[]),
    ]
    .concat();
    let seen = ask(&state, &later);
    assert_eq!((seen.rcode, seen.answer.len()), (BADVERS, 0));
}

#[test]
fn options_and_flags_that_nobody_knows_are_ignored() {
    let state = state(&[]);
    let seen = ask(
        &state,
        &with_options(SHOP, A, &[(65_001, b"what"), (12, &[0; 9])]),
    );
    assert_eq!((seen.rcode, seen.options), (NOERROR, Some(vec![])));
    // The flags of OPT, which is the last record: DO came, and Z is clear.
    let end = seen.octets.len();
    assert_eq!(seen.octets[end - 4..], [0x80, 0, 0, 0]);
}

#[test]
fn questions_are_one_and_not_compressed() {
    let state = state(&[]);
    let two = [
        header([2, 0, 0, 0]),
        question(SHOP, A, 1),
        question(SHOP, A, 1),
    ]
    .concat();
    let pointer = [&header([1, 0, 0, 0])[..], b"\x03www\xc0\x0c\0\x01\0\x01"].concat();
    let cut = plain(SHOP, A);
    for wrong in [
        &two[..],
        &pointer,
        &header([0; 4]),
        &cut[..cut.len() - 1],
        &cut[..20],
    ] {
        let seen = ask(&state, wrong);
        assert_eq!((seen.rcode, seen.questions), (FORMERR, 0));
        assert_eq!(seen.octets[..2], [0x12, 0x34]);
    }
    // What is behind does not count.
    let behind = [&plain(SHOP, A)[..], b"more"].concat();
    assert_eq!(ask(&state, &behind).rcode, NOERROR);
}

#[test]
fn what_is_no_query_is_not_answered() {
    let state = state(&[]);
    let mut response = plain(SHOP, A);
    response[2] |= 0x80;
    for (octets, why) in [
        (&response[..], Unanswered::Response),
        (&response[..11], Unanswered::NoHeader),
        (b"", Unanswered::NoHeader),
    ] {
        let mut out = [0; 512];
        let outcome = Answerer::default().answer(octets, asked("192.0.2.9", UDP), &state, &mut out);
        assert_eq!(outcome, Outcome::Unanswered(why));
    }
}

#[test]
fn what_is_not_supported_is_said_so() {
    let state = state(&[]);
    for opcode in 1..16 {
        let mut query = plain(SHOP, SOA);
        query[2] |= opcode << 3;
        let seen = ask(&state, &query);
        assert_eq!(seen.rcode, NOTIMP);
        assert_eq!(seen.octets[2] >> 3 & 0xf, opcode);
    }
    for (name, rtype, class, rcode) in [
        ("lb.example.net", 252, 1, NOTIMP),
        ("lb.example.net", 251, 1, NOTIMP),
        (SHOP, 0, 1, FORMERR),
        (SHOP, 41, 1, FORMERR),
        (SHOP, 250, 1, FORMERR),
        (SHOP, 249, 1, NOTIMP),
        (SHOP, 253, 1, NOTIMP),
        (SHOP, 254, 1, NOTIMP),
        (SHOP, A, 4, REFUSED),
        (SHOP, A, 255, REFUSED),
        ("elsewhere.example", A, 1, REFUSED),
    ] {
        let seen = ask(
            &state,
            &[header([1, 0, 0, 0]), question(name, rtype, class)].concat(),
        );
        assert_eq!(
            (seen.rcode, seen.questions, seen.aa),
            (rcode, 1, false),
            "{name} {rtype}"
        );
        assert!(seen.answer.is_empty());
    }
}

#[test]
fn any_gets_one_set_or_hinfo() {
    let state = state(&[("t", "TXT", "\"x\""), ("t", "A", "192.0.2.7")]);
    let seen = ask(&state, &plain("t.lb.example.net", ANY));
    assert_eq!(seen.answer, ["t.lb.example.net 40 A 192.0.2.7"]);
    let seen = ask(&state, &plain(SHOP, ANY));
    let [hinfo] = &seen.answer[..] else {
        panic!("{:?}", seen.answer);
    };
    assert!(
        hinfo.contains("HINFO") && hinfo.contains("RFC8482"),
        "{hinfo}"
    );
}

#[test]
fn the_host_tells_its_name_and_no_version() {
    let state = state(&[]);
    for (name, rcode, count) in [
        ("id.server", NOERROR, 1),
        ("hostname.bind", NOERROR, 1),
        ("version.bind", REFUSED, 0),
        ("version.server", REFUSED, 0),
    ] {
        let seen = ask(
            &state,
            &[header([1, 0, 0, 0]), question(name, TXT, 3)].concat(),
        );
        assert_eq!((seen.rcode, seen.answer.len()), (rcode, count), "{name}");
        assert!(seen.answer.iter().all(|it| it.contains("ams-1")));
    }
    let seen = ask(&state, &with_options(SHOP, A, &[(NSID, b"")]));
    assert_eq!(seen.options, Some(vec![(NSID, b"ams-1".to_vec())]));
}

#[test]
fn cookies_are_given_and_taken() {
    let state = state(&[]);
    let seen = ask(&state, &with_options(SHOP, A, &[(COOKIE, b"01234567")]));
    assert_eq!(seen.rcode, NOERROR);
    assert!(!is_proven(
        &state,
        &with_options(SHOP, A, &[(COOKIE, b"01234567")])
    ));
    let (code, cookie) = seen.options.expect("it has one").remove(0);
    assert_eq!(
        (code, cookie.len(), &cookie[..8]),
        (COOKIE, 24, &b"01234567"[..])
    );
    assert!(is_proven(
        &state,
        &with_options(SHOP, A, &[(COOKIE, &cookie)])
    ));
    // Without a question.
    let alone = |cookie: &[u8]| [header([0, 0, 0, 1]), opt(&[(COOKIE, cookie)])].concat();
    let mut wrong = cookie.clone();
    wrong[23] ^= 1;
    for (cookie, rcode) in [
        (&b"01234567"[..], NOERROR),
        (&cookie, NOERROR),
        (&wrong, BADCOOKIE),
    ] {
        let seen = ask(&state, &alone(cookie));
        assert_eq!((seen.rcode, seen.questions), (rcode, 0));
        assert_eq!(seen.options.map(|it| it[0].1.len()), Some(24));
    }
    let seen = ask(&state, &with_options(SHOP, A, &[(COOKIE, &wrong)]));
    assert_eq!(seen.answer.len(), 2);
    assert!(!is_proven(
        &state,
        &with_options(SHOP, A, &[(COOKIE, &wrong)])
    ));
    for length in [0, 7, 9, 15, 41] {
        let seen = ask(
            &state,
            &with_options(SHOP, A, &[(COOKIE, &vec![7; length])]),
        );
        assert_eq!(seen.rcode, FORMERR, "{length}");
    }
}

/// Who has had enough over UDP is told to ask over TCP, and given nothing that is worth forging for.
#[test]
fn over_the_rate_there_are_no_records() {
    let state = state(&[]);
    let query = with_options(SHOP, A, &[(SUBNET, V4_24), (COOKIE, b"01234567")]);
    let limited = Asked {
        is_over_rate: true,
        ..asked("198.51.100.77", UDP)
    };
    let (seen, _, gist) = ask_as(&state, &query, limited);
    assert_eq!((seen.rcode, seen.tc, seen.questions), (NOERROR, true, 1));
    assert!(seen.answer.is_empty() && seen.authority.is_empty() && seen.additional.is_empty());
    // With the cookie that comes along the next one is not limited.
    assert_eq!(seen.options.map(|it| it.len()), Some(2));
    assert!(gist.is_truncated);
}

#[test]
fn responses_are_counted_by_what_they_say() {
    let mut state = state(&[
        ("one", "CNAME", "shop.acme"),
        ("t", "TXT", "\"x\""),
        ("sub", "NS", "ns.elsewhere.example."),
    ]);
    for (name, rtype, kind, is_of_site) in [
        (SHOP, A, Kind::Service, true),
        (SHOP, TXT, Kind::NoData, true),
        (SHOP, ANY, Kind::Record, true),
        ("one.lb.example.net", A, Kind::Service, true),
        ("one.lb.example.net", CNAME, Kind::Record, false),
        ("t.lb.example.net", TXT, Kind::Record, false),
        ("t.lb.example.net", A, Kind::NoData, false),
        ("lb.example.net", A, Kind::Service, true),
        ("lb.example.net", SOA, Kind::Record, true),
        ("missing.lb.example.net", A, Kind::NoName, false),
        ("x.sub.lb.example.net", A, Kind::Referral, false),
        ("elsewhere.example", A, Kind::Refused, false),
        (SHOP, 0, Kind::FormErr, false),
        (SHOP, 252, Kind::NotImp, false),
    ] {
        let gist = gist(&state, &plain(name, rtype));
        assert_eq!(
            (gist.kind, gist.site.is_some(), gist.has_subnet),
            (kind, is_of_site, false),
            "{name} {rtype}"
        );
    }
    let identity = [header([1, 0, 0, 0]), question("id.server", TXT, 3)].concat();
    assert_eq!(gist(&state, &identity).kind, Kind::Identity);
    let alone = [header([0, 0, 0, 1]), opt(&[(COOKIE, b"01234567")])].concat();
    assert_eq!(gist(&state, &alone).kind, Kind::Cookie);
    let later = [
        header([1, 0, 0, 1]),
        question(SHOP, A, 1),
        opt_of(4096, 1, &[]),
    ]
    .concat();
    assert_eq!(gist(&state, &later).kind, Kind::BadVers);
    state.geography = Some(Arc::new(ByFirstOctet));
    let gist = gist(&state, &with_options(SHOP, A, &[(SUBNET, V4_24)]));
    let group = gist
        .group
        .map(|it| &*state.zones.groups[usize::from(it.0)].name);
    assert_eq!((gist.has_subnet, group), (true, Some("nyc")));
}

#[test]
fn keepalive_is_told_over_tcp_alone() {
    let state = state(&[]);
    let query = with_options(SHOP, A, &[(KEEPALIVE, b"")]);
    let told = ask_over(&state, &query, TCP).options;
    assert_eq!(told, Some(vec![(KEEPALIVE, vec![0, 100])]));
    assert_eq!(ask(&state, &query).options, Some(vec![]));
}

#[test]
fn questions_come_back_in_their_case() {
    let state = state(&[]);
    let query = plain("ShOp.AcMe.lb.EXAMPLE.net", A);
    let seen = ask(&state, &query);
    assert_eq!(seen.octets[12..query.len()], query[12..]);
    assert_eq!(seen.answer.len(), 2);
    // The owner points to it.
    assert_eq!(seen.octets[query.len()..query.len() + 2], [0xc0, 12]);
}

#[test]
fn names_are_octets() {
    let state = state(&[("*", "TXT", "\"any\"")]);
    let name = [&b"\x04\0\xff.\x2a"[..], &name("lb.example.net")].concat();
    let query = [&header([1, 0, 0, 0])[..], &name, b"\0\x10\0\x01"].concat();
    assert_eq!(ask(&state, &query).answer.len(), 1);
}

/// A name is not looked for behind the end of what was written of itself.
#[test]
fn labels_may_repeat() {
    let state = state(&[("*", "MX", "5 a.a.a.a.mx.example.")]);
    let seen = ask(&state, &plain("a.a.a.lb.example.net", 15));
    assert_eq!(
        seen.answer,
        ["a.a.a.lb.example.net 40 MX 5 a.a.a.a.mx.example."]
    );
}

proptest! {
    /// Never a panic, and always a response that is well formed: other octets anywhere.
    #[test]
    fn no_packet_is_too_odd(
        mut query in prop_oneof![
            Just(with_options(SHOP, A, &[(SUBNET, V4_24), (COOKIE, b"01234567"), (NSID, b"")])),
            Just(plain("one.lb.example.net", A)),
            Just([header([0, 0, 0, 1]), opt(&[(COOKIE, b"01234567")])].concat()),
            proptest::collection::vec(any::<u8>(), 0..80),
        ],
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        for (at, octet) in changes {
            if !query.is_empty() {
                let at = at.index(query.len());
                query[at] = octet;
            }
        }
        if is_cut && !query.is_empty() {
            query.truncate(cut.index(query.len()));
        }
        let mut state = state(&[("one", "CNAME", "shop.acme")]);
        state.geography = Some(Arc::new(ByFirstOctet));
        let is_query = query.len() >= 12 && query[2] & 0x80 == 0;
        if is_query {
            let seen = ask(&state, &query);
            prop_assert_eq!(&seen.octets[..2], &query[..2]);
            prop_assert!(seen.octets.len() <= 1232);
        }
    }
}

/// What libFuzzer once found is found again by every run of the tests.
#[test]
fn the_corpus_of_the_fuzz_target_holds() {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/dns_query");
    let mut count = 0;
    for entry in std::fs::read_dir(&corpus).expect("the corpus is part of the sources") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        dns_query::check(&std::fs::read(&path).expect("a readable sample"));
        count += 1;
    }
    assert!(count >= 10, "{} has too few samples", corpus.display());
}
