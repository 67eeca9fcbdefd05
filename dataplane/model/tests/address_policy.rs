//! Where a backend may be, row by row.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use meridian_model::address_policy::{AddressPolicy, Refusal, common_networks};

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn addresses<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn policy() -> AddressPolicy {
    let listeners: Vec<SocketAddr> =
        addresses(&["0.0.0.0:80", "[::]:80", "192.0.2.9:443", "127.0.0.1:8600"]);
    let own: Vec<IpAddr> = addresses(&["192.0.2.1", "2001:db8::1", "10.0.0.1"]);
    let services: Vec<SocketAddr> = addresses(&["198.51.100.1:9000"]);
    AddressPolicy::new(&listeners, &own, &services)
}

/// Each address, what is said with no network listed, and what with every one listed.
const TABLE: &[(&str, Option<Refusal>, Option<Refusal>)] = &[
    // Public.
    ("203.0.113.10:80", None, None),
    ("9.255.255.255:80", None, None),
    ("11.0.0.0:80", None, None),
    ("172.15.255.255:80", None, None),
    ("172.32.0.0:80", None, None),
    ("100.63.255.255:80", None, None),
    ("100.128.0.0:80", None, None),
    ("198.17.255.255:80", None, None),
    ("198.20.0.0:80", None, None),
    ("192.0.1.0:80", None, None),
    ("223.255.255.255:80", None, None),
    ("[2001:db8::10]:80", None, None),
    ("[2600::1]:80", None, None),
    (
        "203.0.113.10:0",
        Some(Refusal::NoPort),
        Some(Refusal::NoPort),
    ),
    // Private: only where listed.
    (
        "127.0.0.1:9001",
        Some(Refusal::Private("127.0.0.0/8")),
        None,
    ),
    (
        "127.255.255.255:9001",
        Some(Refusal::Private("127.0.0.0/8")),
        None,
    ),
    (
        "10.255.255.255:80",
        Some(Refusal::Private("10.0.0.0/8")),
        None,
    ),
    (
        "172.16.0.0:80",
        Some(Refusal::Private("172.16.0.0/12")),
        None,
    ),
    (
        "172.31.255.255:80",
        Some(Refusal::Private("172.16.0.0/12")),
        None,
    ),
    (
        "192.168.0.1:80",
        Some(Refusal::Private("192.168.0.0/16")),
        None,
    ),
    (
        "100.64.0.0:80",
        Some(Refusal::Private("100.64.0.0/10")),
        None,
    ),
    (
        "100.127.255.255:80",
        Some(Refusal::Private("100.64.0.0/10")),
        None,
    ),
    (
        "198.18.0.0:80",
        Some(Refusal::Private("198.18.0.0/15")),
        None,
    ),
    (
        "198.19.255.255:80",
        Some(Refusal::Private("198.18.0.0/15")),
        None,
    ),
    ("192.0.0.1:80", Some(Refusal::Private("192.0.0.0/24")), None),
    ("[::1]:9001", Some(Refusal::Private("::1")), None),
    ("[fc00::1]:80", Some(Refusal::Private("fc00::/7")), None),
    (
        "[fdff:ffff::1]:80",
        Some(Refusal::Private("fc00::/7")),
        None,
    ),
    // Never.
    (
        "0.0.0.0:9001",
        Some(Refusal::Unspecified),
        Some(Refusal::Unspecified),
    ),
    (
        "0.1.2.3:80",
        Some(Refusal::Unspecified),
        Some(Refusal::Unspecified),
    ),
    (
        "[::]:80",
        Some(Refusal::Unspecified),
        Some(Refusal::Unspecified),
    ),
    (
        "169.254.1.1:80",
        Some(Refusal::LinkLocal),
        Some(Refusal::LinkLocal),
    ),
    (
        "169.254.169.254:80",
        Some(Refusal::LinkLocal),
        Some(Refusal::LinkLocal),
    ),
    (
        "[fe80::1]:80",
        Some(Refusal::LinkLocal),
        Some(Refusal::LinkLocal),
    ),
    (
        "[febf::1]:80",
        Some(Refusal::LinkLocal),
        Some(Refusal::LinkLocal),
    ),
    (
        "[fec0::1]:80",
        Some(Refusal::LinkLocal),
        Some(Refusal::LinkLocal),
    ),
    (
        "100.100.100.200:80",
        Some(Refusal::Metadata),
        Some(Refusal::Metadata),
    ),
    (
        "168.63.129.16:80",
        Some(Refusal::Metadata),
        Some(Refusal::Metadata),
    ),
    (
        "192.0.0.192:80",
        Some(Refusal::Metadata),
        Some(Refusal::Metadata),
    ),
    (
        "[fd00:ec2::254]:80",
        Some(Refusal::Metadata),
        Some(Refusal::Metadata),
    ),
    (
        "[fd20:ce::254]:80",
        Some(Refusal::Metadata),
        Some(Refusal::Metadata),
    ),
    (
        "224.0.0.1:80",
        Some(Refusal::Multicast),
        Some(Refusal::Multicast),
    ),
    (
        "239.255.255.255:80",
        Some(Refusal::Multicast),
        Some(Refusal::Multicast),
    ),
    (
        "[ff02::1]:80",
        Some(Refusal::Multicast),
        Some(Refusal::Multicast),
    ),
    (
        "240.0.0.1:80",
        Some(Refusal::Reserved),
        Some(Refusal::Reserved),
    ),
    (
        "255.255.255.254:80",
        Some(Refusal::Reserved),
        Some(Refusal::Reserved),
    ),
    (
        "255.255.255.255:80",
        Some(Refusal::Broadcast),
        Some(Refusal::Broadcast),
    ),
    // Forms that hide an IPv4 address, whatever it is.
    (
        "[::ffff:203.0.113.10]:80",
        Some(Refusal::Embedded("a v4-mapped")),
        Some(Refusal::Embedded("a v4-mapped")),
    ),
    (
        "[::ffff:127.0.0.1]:9001",
        Some(Refusal::Embedded("a v4-mapped")),
        Some(Refusal::Embedded("a v4-mapped")),
    ),
    (
        "[::ffff:0:7f00:1]:80",
        Some(Refusal::Embedded("a v4-translated")),
        Some(Refusal::Embedded("a v4-translated")),
    ),
    (
        "[::127.0.0.1]:80",
        Some(Refusal::Embedded("a v4-compatible")),
        Some(Refusal::Embedded("a v4-compatible")),
    ),
    (
        "[64:ff9b::7f00:1]:80",
        Some(Refusal::Embedded("a NAT64")),
        Some(Refusal::Embedded("a NAT64")),
    ),
    (
        "[64:ff9b:1::7f00:1]:80",
        Some(Refusal::Embedded("a NAT64")),
        Some(Refusal::Embedded("a NAT64")),
    ),
    (
        "[2002:7f00:1::]:80",
        Some(Refusal::Embedded("a 6to4")),
        Some(Refusal::Embedded("a 6to4")),
    ),
    (
        "[2001:0:4136:e378::1]:80",
        Some(Refusal::Embedded("a Teredo")),
        Some(Refusal::Embedded("a Teredo")),
    ),
    // Our own: the port of any listener under any address of ours, services exactly.
    (
        "127.0.0.1:80",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "127.0.0.2:8600",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "[::1]:443",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "192.0.2.1:80",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "192.0.2.1:443",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "192.0.2.9:80",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "10.0.0.1:80",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    (
        "[2001:db8::1]:80",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    ("192.0.2.1:81", None, None),
    ("192.0.2.2:80", None, None),
    (
        "198.51.100.1:9000",
        Some(Refusal::OwnService),
        Some(Refusal::OwnService),
    ),
    ("198.51.100.1:9001", None, None),
    ("198.51.100.1:80", None, None),
];

#[test]
fn every_row_is_decided_as_written() {
    let policy = policy();
    let everything = networks(&["0.0.0.0/0", "::/0"]);
    for (address, unlisted, listed) in TABLE {
        let parsed: SocketAddr = address.parse().unwrap();
        assert_eq!(
            policy.check(&[], parsed).err(),
            *unlisted,
            "{address}, nothing listed"
        );
        assert_eq!(
            policy.check(&everything, parsed).err(),
            *listed,
            "{address}, all listed"
        );
    }
}

#[test]
fn a_listed_network_allows_itself_only() {
    let policy = policy();
    let listed = networks(&["10.7.0.0/16", "127.0.0.0/8"]);
    let check = |address: &str| policy.check(&listed, address.parse().unwrap());
    assert_eq!(check("10.7.255.255:80"), Ok(()));
    assert_eq!(check("127.0.0.1:9001"), Ok(()));
    assert_eq!(check("10.8.0.0:80"), Err(Refusal::Private("10.0.0.0/8")));
    assert_eq!(
        check("192.168.0.1:80"),
        Err(Refusal::Private("192.168.0.0/16"))
    );
}

#[test]
fn addresses_learned_later_are_ours_too() {
    let policy = policy();
    let address: SocketAddr = "203.0.113.77:80".parse().unwrap();
    assert_eq!(policy.check(&[], address), Ok(()));
    let policy = policy.with_own_addresses(&addresses(&["203.0.113.77"]));
    assert_eq!(policy.check(&[], address), Err(Refusal::OwnService));
    assert_eq!(
        policy.check(&[], "192.0.2.1:80".parse().unwrap()),
        Err(Refusal::OwnService)
    );
}

#[test]
fn of_two_lists_the_narrower_networks_are_common() {
    let host = networks(&["10.0.0.0/8", "127.0.0.0/8", "fc00::/7"]);
    let tenant = networks(&["10.7.0.0/16", "0.0.0.0/1", "192.168.0.0/16"]);
    let common = common_networks(&host, &tenant);
    assert_eq!(
        common,
        networks(&["10.7.0.0/16", "10.0.0.0/8", "127.0.0.0/8"])
    );
    assert_eq!(common_networks(&host, &[]), []);
}
