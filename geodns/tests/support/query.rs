//! Queries octet by octet.

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
