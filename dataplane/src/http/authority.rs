//! The authority of a request: its host and port (RFC 9110 §4.2, §7.2).

use meridian_model::limits::HOSTNAME_BYTES_MAX;

use super::syntax::decimal;

/// Digits of the largest port. More are zeros in front that nobody writes.
const PORT_DIGITS_MAX: usize = 5;

/// An authority that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'b> {
    /// All of it, as sent.
    pub text: &'b [u8],
    /// The host as sent, without port and without one trailing dot. An IPv6
    /// address keeps its brackets.
    pub host: &'b [u8],
}

/// Parses `host [":" port]`. The host is a name of letters, digits, `-`, `.`, `_`
/// and `~`, or an IPv6 address in brackets: RFC 3986 allows more (percent-encoding,
/// sub-delimiters), but no hostname of a site has it, and software behind us would
/// read it in ways of its own. `None` for anything else: an empty host, a list,
/// userinfo, a port that is no number up to 65535.
#[must_use]
pub fn parse(text: &[u8]) -> Option<Authority<'_>> {
    let (host, port) = if text.first() == Some(&b'[') {
        let end = text.iter().position(|&byte| byte == b']')? + 1;
        let inside = &text[1..end - 1];
        let address = core::str::from_utf8(inside).ok()?;
        address.parse::<std::net::Ipv6Addr>().ok()?;
        (&text[..end], &text[end..])
    } else {
        let end = text
            .iter()
            .position(|&byte| !is_name_byte(byte))
            .unwrap_or(text.len());
        let name = &text[..end];
        (name.strip_suffix(b".").unwrap_or(name), &text[end..])
    };
    // The authority is told to a backend in four fields: it must not be large.
    if host.is_empty() || host.len() > HOSTNAME_BYTES_MAX {
        return None;
    }
    match port {
        [] => {}
        [b':', digits @ ..] => {
            if digits.len() > PORT_DIGITS_MAX || decimal(digits)? > u64::from(u16::MAX) {
                return None;
            }
        }
        _ => return None,
    }
    Some(Authority { text, host })
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_without_port_and_one_trailing_dot() {
        for (text, host) in [
            ("example.com", "example.com"),
            ("Example.COM:8080", "Example.COM"),
            ("example.com.", "example.com"),
            ("example.com.:80", "example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[::1]:65535", "[::1]"),
            ("a_b.example:0080", "a_b.example"),
        ] {
            let authority = parse(text.as_bytes()).unwrap();
            assert_eq!(authority.host, host.as_bytes());
            assert_eq!(authority.text, text.as_bytes());
        }
    }

    #[test]
    fn a_host_is_as_long_as_dns_allows() {
        let longest = "a".repeat(HOSTNAME_BYTES_MAX);
        assert!(parse(longest.as_bytes()).is_some());
        assert!(parse(format!("{longest}.:80").as_bytes()).is_some());
        assert!(parse(format!("{longest}a").as_bytes()).is_none());
    }

    #[test]
    fn what_is_no_authority() {
        for text in [
            "",
            ".",
            ":80",
            "a:",
            "a:b",
            "a:8 0",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:80:80",
            "a:000080",
            "a,b",
            "a, b",
            "u@a",
            "u:p@a",
            "a b",
            "a/",
            "a?b",
            "a#b",
            "a%41",
            "a\\b",
            "[::1",
            "[]",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[127.0.0.1]",
            "::1",
            "a\tb",
            "\u{e9}",
            "a;b",
            "a'b",
            "a..b..:x",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}
