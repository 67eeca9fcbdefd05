//! Queries octet by octet, and the numbers and names that tests ask by.

// Types (RFC 1035 §3.2.2, RFC 4034 §5).
pub(crate) const A: u16 = 1;
pub(crate) const NS: u16 = 2;
pub(crate) const CNAME: u16 = 5;
pub(crate) const SOA: u16 = 6;
pub(crate) const TXT: u16 = 16;
pub(crate) const DS: u16 = 43;
pub(crate) const ANY: u16 = 255;

// Options of EDNS, as IANA has them.
pub(crate) const NSID: u16 = 3;
pub(crate) const SUBNET: u16 = 8;
pub(crate) const COOKIE: u16 = 10;
pub(crate) const KEEPALIVE: u16 = 11;

// Response codes, extended ones among them (RFC 6895 §2.3).
pub(crate) const NOERROR: u16 = 0;
pub(crate) const FORMERR: u16 = 1;
pub(crate) const NXDOMAIN: u16 = 3;
pub(crate) const NOTIMP: u16 = 4;
pub(crate) const REFUSED: u16 = 5;
pub(crate) const BADVERS: u16 = 16;
pub(crate) const BADCOOKIE: u16 = 23;

/// The service name of a site of the tests.
pub(crate) const SHOP: &str = "shop.acme.lb.example.net";
/// A client subnet: 203.0.113.0/24.
pub(crate) const V4_24: &[u8] = b"\0\x01\x18\0\xcb\0\x71";

/// A name in wire form.
pub(crate) fn name(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        octets.push(label.len() as u8);
        octets.extend_from_slice(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// A header with RD and these counts.
pub(crate) fn header(counts: [u8; 4]) -> Vec<u8> {
    let mut octets = vec![0x12, 0x34, 0x01, 0];
    for count in counts {
        octets.extend_from_slice(&[0, count]);
    }
    octets
}

pub(crate) fn question(text: &str, rtype: u16, class: u16) -> Vec<u8> {
    [&name(text)[..], &rtype.to_be_bytes(), &class.to_be_bytes()].concat()
}

/// A query in the class IN without EDNS.
pub(crate) fn plain(text: &str, rtype: u16) -> Vec<u8> {
    [header([1, 0, 0, 0]), question(text, rtype, 1)].concat()
}

/// An OPT record: 4096 octets, version 0, DO.
pub(crate) fn opt(options: &[(u16, &[u8])]) -> Vec<u8> {
    opt_of(4096, 0, options)
}

pub(crate) fn opt_of(payload: u16, version: u8, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (code, value) in options {
        data.extend_from_slice(&code.to_be_bytes());
        data.extend_from_slice(&(value.len() as u16).to_be_bytes());
        data.extend_from_slice(value);
    }
    let mut octets = vec![0, 0, 41];
    octets.extend_from_slice(&payload.to_be_bytes());
    // The flags that nobody knows are set, too.
    octets.extend_from_slice(&[0, version, 0xff, 0xff]);
    octets.extend_from_slice(&(data.len() as u16).to_be_bytes());
    octets.extend_from_slice(&data);
    octets
}

/// A query in the class IN with EDNS.
pub(crate) fn with_options(text: &str, rtype: u16, options: &[(u16, &[u8])]) -> Vec<u8> {
    [header([1, 0, 0, 1]), question(text, rtype, 1), opt(options)].concat()
}
