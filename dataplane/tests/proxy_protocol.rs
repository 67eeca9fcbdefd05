//! Headers of the PROXY protocol, cut at every byte, right and wrong.

use std::net::SocketAddr;

use meridian_dataplane::proxy_protocol::{Ends, Header, Malformed, Parsed, parse, write};
use meridian_model::snapshot::ProxyProtocol;
use proptest::prelude::*;

const V4: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xcb\0\x71\x09\x30\x39\x01\xbb";

fn ends(source: &str, destination: &str) -> Option<Ends> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Some(Ends {
        source: address(source),
        destination: address(destination),
    })
}

/// Parses `header` with bytes of the client's behind it, and each of its beginnings.
fn check(header: &[u8], expected: Option<Ends>) {
    for end in 0..header.len() {
        assert_eq!(parse(&header[..end]), Ok(Parsed::Partial), "{end} bytes");
    }
    let bytes = header.len();
    let complete = Ok(Parsed::Complete(Header {
        ends: expected,
        bytes,
    }));
    for behind in [&b""[..], b"\r\n", b"GET / HTTP/1.1\r\n"] {
        assert_eq!(parse(&[header, behind].concat()), complete);
    }
}

/// Whatever comes behind it, and from some byte on it is known to be wrong.
fn check_wrong(header: &[u8]) {
    let shown = String::from_utf8_lossy(header);
    assert_eq!(parse(header), Err(Malformed), "{shown:?}");
    let mut is_wrong = false;
    for end in 0..header.len() {
        match parse(&header[..end]) {
            Ok(Parsed::Partial) => assert!(!is_wrong, "{shown:?}: right again at {end}"),
            Ok(Parsed::Complete(_)) => panic!("{shown:?}: right at {end}"),
            Err(Malformed) => is_wrong = true,
        }
    }
}

#[test]
fn version_1() {
    check(
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 443\r\n",
        ends("192.0.2.7:12345", "203.0.113.9:443"),
    );
    check(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        ends("255.255.255.255:65535", "255.255.255.255:65535"),
    );
    check(
        b"PROXY TCP6 2001:db8::7 ::1 0 80\r\n",
        ends("[2001:db8::7]:0", "[::1]:80"),
    );
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY TCP6 {full} {full} 65535 65535\r\n");
    let end = format!("[{full}]:65535");
    check(longest.as_bytes(), ends(&end, &end));
    check(b"PROXY UNKNOWN\r\n", None);
    check(b"PROXY UNKNOWN ffff::1 whatever\t1\r\n", None);
    let most = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(most.len(), 107);
    check(most.as_bytes(), None);
}

#[test]
fn what_is_not_version_1() {
    for wrong in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PUT / HTTP/1.1\r\n",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"proxy TCP4 192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY tcp4 192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY UDP4 192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY  TCP4 192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY TCP4  192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 443 \r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 443 1\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 012345 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 00\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 +1 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9  443\r\n",
        b"PROXY TCP4 192.0.2.07 203.0.113.9 12345 443\r\n",
        b"PROXY TCP4 192.0.2 203.0.113.9 12345 443\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 12345 443\r\n",
        b"PROXY TCP6 192.0.2.7 203.0.113.9 12345 443\r\n",
        b"PROXY TCP6 2001:db8::7%eth0 ::1 12345 443\r\n",
        b"PROXY TCP6 [2001:db8::7] ::1 12345 443\r\n",
        b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 443\n",
        b"PROXY TCP4 192.0.2.7\r203.0.113.9 12345 443\r\n",
        b"PROXY UNKNOWN\n",
        b"PROXY UNKNOWN \r \r\n",
        b"PROXY UNKNOWNX\r\n",
    ] {
        check_wrong(wrong);
    }
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(108 - 16));
    check_wrong(long.as_bytes());
    check_wrong(&long.as_bytes()[..107]);
}

/// A header of version 2 with this command, family and block.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let mut bytes = V4[..12].to_vec();
    bytes.extend([command, family]);
    bytes.extend((block.len() as u16).to_be_bytes());
    bytes.extend_from_slice(block);
    bytes
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

#[test]
fn version_2() {
    let v4_ends = ends("192.0.2.7:12345", "203.0.113.9:443");
    check(V4, v4_ends);
    let addresses = &V4[16..];
    let fields = [tlv(0x01, b"h2"), tlv(0x04, b""), tlv(0xea, &[7; 300])].concat();
    check(&v2(0x21, 0x11, &[addresses, &fields].concat()), v4_ends);

    let mut v6 = Vec::new();
    v6.extend(
        "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    v6.extend("::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    v6.extend([0x30, 0x39, 0, 80]);
    check(
        &v2(0x21, 0x21, &v6),
        ends("[2001:db8::7]:12345", "[::1]:80"),
    );
    // Nobody in particular, and somebody on the proxy's own machine.
    check(&v2(0x21, 0x00, &[]), None);
    check(&v2(0x21, 0x00, b"to be ignored"), None);
    check(&v2(0x21, 0x31, &[0; 216]), None);
    // The proxy speaks for itself, whatever stands behind it.
    check(&v2(0x20, 0x00, &[]), None);
    check(&v2(0x20, 0x11, addresses), None);
    check(&v2(0x20, 0xff, b"?"), None);
    // As long as it may be.
    let rest = vec![0; 4096 - 16];
    check(&v2(0x20, 0x00, &rest), None);
}

#[test]
fn what_is_not_version_2() {
    let addresses = &V4[16..];
    for wrong in [
        v2(0x11, 0x11, addresses),
        v2(0x31, 0x11, addresses),
        v2(0x22, 0x11, addresses),
        v2(0x2f, 0x11, addresses),
        v2(0x21, 0x01, addresses),
        v2(0x21, 0x10, addresses),
        v2(0x21, 0x12, addresses),
        v2(0x21, 0x22, &[0; 36]),
        v2(0x21, 0x41, &[0; 300]),
        v2(0x21, 0x11, &addresses[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x31, &[0; 215]),
        v2(0x20, 0x00, &[0; 4096 - 15]),
        // Fields that do not end where the header does.
        v2(0x21, 0x11, &[addresses, b"\x01"].concat()),
        v2(0x21, 0x11, &[addresses, b"\x01\x00"].concat()),
        v2(0x21, 0x11, &[addresses, b"\x01\x00\x01"].concat()),
        v2(0x21, 0x11, &[addresses, b"\x01\x00\x02h"].concat()),
        b"\r\n\r\n\0\r\nQUIT\r\n\x21\x11\0\x0c".to_vec(),
        b"\r\nGET / HTTP/1.1\r\n".to_vec(),
        b"\0".to_vec(),
    ] {
        check_wrong(&wrong);
    }
}

#[test]
fn a_checksum_must_fit() {
    let addresses = &V4[16..];
    let with = |checksum: u32, behind: &[u8]| {
        let field = tlv(0x03, &checksum.to_be_bytes());
        v2(0x21, 0x11, &[addresses, &field, behind].concat())
    };
    let right = |behind: &[u8]| crc32c(&with(0, behind));
    let expected = ends("192.0.2.7:12345", "203.0.113.9:443");
    for behind in [Vec::new(), tlv(0x01, b"h2")] {
        let checksum = right(&behind);
        check(&with(checksum, &behind), expected);
        for bit in 0..32 {
            check_wrong(&with(checksum ^ 1 << bit, &behind));
        }
        let mut changed = with(checksum, &behind);
        changed[20] ^= 1;
        check_wrong(&changed);
    }
    let short = tlv(0x03, &[0; 3]);
    check_wrong(&v2(0x21, 0x11, &[addresses, &short].concat()));
    let twice = tlv(0x03, &[0; 4]);
    check_wrong(&v2(0x21, 0x11, &[addresses, &twice, &twice].concat()));
}

/// By a table, unlike what is tested.
fn crc32c(bytes: &[u8]) -> u32 {
    let table: Vec<u32> = (0..256_u32)
        .map(|byte| {
            (0..8).fold(byte, |it, _| {
                if it & 1 == 1 {
                    it >> 1 ^ 0x82f6_3b78
                } else {
                    it >> 1
                }
            })
        })
        .collect();
    let step = |crc: u32, byte: &u8| table[usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    !bytes.iter().fold(u32::MAX, step)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u16; 8], u16)>().prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

proptest! {
    #[test]
    fn what_is_written_is_read(source in address(), destination in address(), second in any::<bool>()) {
        let version = if second { ProxyProtocol::V2 } else { ProxyProtocol::V1 };
        let ends = Ends::new(source, destination);
        let mut written = Vec::new();
        write(&mut written, version, ends);
        check(&written, ends);
    }

    #[test]
    fn any_bytes_are_something(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..3_usize) {
        let start = [&b""[..], b"PROXY TCP4 ", &V4[..13]][kind];
        let whole = [start, &bytes].concat();
        let mut before = Ok(Parsed::Partial);
        for end in 0..=whole.len() {
            let parsed = parse(&whole[..end]);
            if before != Ok(Parsed::Partial) {
                prop_assert_eq!(parsed, before);
            }
            before = parsed;
        }
    }
}

#[test]
fn nothing_is_written_where_nothing_is_asked_for() {
    let mut out = Vec::new();
    write(&mut out, ProxyProtocol::Off, None);
    assert!(out.is_empty());
    write(&mut out, ProxyProtocol::V1, None);
    assert_eq!(out, b"PROXY UNKNOWN\r\n");
    out.clear();
    write(&mut out, ProxyProtocol::V2, None);
    assert_eq!(out, v2(0x20, 0x00, &[]));
    // A mapped address is the one that it stands for.
    out.clear();
    let mapped = Ends::new(
        "[::ffff:192.0.2.7]:12345".parse().unwrap(),
        "[::ffff:203.0.113.9]:443".parse().unwrap(),
    );
    write(&mut out, ProxyProtocol::V2, mapped);
    assert_eq!(out, V4);
    // One of each family fits no header.
    let mixed = Ends::new("[::1]:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
    assert_eq!(mixed, None);
}
