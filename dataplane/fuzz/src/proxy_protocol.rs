//! What must hold for any bytes that are said to begin with a header of the PROXY protocol.

use meridian_dataplane::proxy_protocol::{
    Malformed, PROXY_HEADER_BYTES_MAX, Parsed, ProxyProtocol, parse, write,
};

/// Panics when something does not hold.
pub fn check(input: &[u8]) {
    let whole = parse(input);
    let mut before = Ok(Parsed::Partial);
    // No header is longer, so what comes later changes nothing.
    for end in 0..=input.len().min(PROXY_HEADER_BYTES_MAX + 1) {
        let parsed = parse(&input[..end]);
        if before != Ok(Parsed::Partial) {
            assert_eq!(parsed, before, "at {end}");
        }
        if let Ok(Parsed::Complete(header)) = parsed {
            assert!(header.bytes <= end && header.bytes <= PROXY_HEADER_BYTES_MAX);
        }
        before = parsed;
    }
    assert_eq!(before, whole);
    match whole {
        Ok(Parsed::Partial) => assert!(input.len() < PROXY_HEADER_BYTES_MAX),
        Ok(Parsed::Complete(header)) => {
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let mut written = Vec::new();
                write(&mut written, version, header.ends);
                let Ok(Parsed::Complete(again)) = parse(&written) else {
                    panic!("{written:?} is no header");
                };
                assert_eq!(again.ends, header.ends);
                assert_eq!(again.bytes, written.len());
            }
        }
        Err(Malformed) => {}
    }
}
