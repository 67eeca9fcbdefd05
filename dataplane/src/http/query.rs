//! Parameters of a query, as forms write them (WHATWG URL §5): `name=value`, apart by `&`.

/// Whether a parameter of `query`, which begins with `?` or is empty, has this name and value once
/// both are decoded: `%HH` is an octet, `+` a space. A percent sign without digits is itself. A
/// name without `=` has the empty value.
#[must_use]
pub fn has_parameter(query: &[u8], name: &[u8], value: &[u8]) -> bool {
    let Some((b'?', parameters)) = query.split_first() else {
        return false;
    };
    parameters.split(|&byte| byte == b'&').any(|parameter| {
        let end = parameter.iter().position(|&byte| byte == b'=');
        let (its_name, its_value) = match end {
            Some(end) => (&parameter[..end], &parameter[end + 1..]),
            None => (parameter, &b""[..]),
        };
        decodes_to(its_name, name) && decodes_to(its_value, value)
    })
}

/// Whether `encoded` stands for `plain`. Nothing is written anywhere.
fn decodes_to(mut encoded: &[u8], plain: &[u8]) -> bool {
    for &wanted in plain {
        let (octet, rest) = match *encoded {
            [b'%', high, low, ref rest @ ..] => match octet(high, low) {
                Some(octet) => (octet, rest),
                None => (b'%', &encoded[1..]),
            },
            [b'+', ref rest @ ..] => (b' ', rest),
            [byte, ref rest @ ..] => (byte, rest),
            [] => return false,
        };
        if octet != wanted {
            return false;
        }
        encoded = rest;
    }
    encoded.is_empty()
}

fn octet(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_is_found_wherever_it_stands_and_however_it_is_encoded() {
        for query in [
            "?v=2",
            "?a=b&v=2",
            "?v=1&v=2&v=3",
            "?&&v=2&",
            "?%76=%32",
            "?v=%32",
        ] {
            assert!(has_parameter(query.as_bytes(), b"v", b"2"), "{query}");
        }
        assert!(has_parameter(b"?q=a+b%2Bc%26", b"q", b"a b+c&"));
        assert!(has_parameter(b"?q=100%&r", b"q", b"100%"));
        assert!(has_parameter(b"?flag", b"flag", b""));
        assert!(has_parameter(b"?a=b=c", b"a", b"b=c"));
        assert!(has_parameter(b"?q=%zz%4", b"q", b"%zz%4"));
        assert!(has_parameter(b"?q=caf%C3%A9", b"q", "caf\u{e9}".as_bytes()));
    }

    #[test]
    fn what_is_no_such_parameter() {
        for query in [
            "", "?", "?v", "?v=", "?v=22", "?v=2;w=3", "?vv=2", "?V=2", "?x=v=2", "?v%3D2",
            "?v=2%00", "v=2",
        ] {
            assert!(!has_parameter(query.as_bytes(), b"v", b"2"), "{query}");
        }
    }

    proptest! {
        /// Against a decoder that writes everything out.
        #[test]
        fn it_agrees_with_decoding_first(
            query in "[ab=&+%26zv]{0,24}",
            name in "[ab +&v]{0,3}",
            value in "[ab +&v%]{0,3}",
        ) {
            let decoded = |text: &str| {
                let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
                while at < bytes.len() {
                    let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
                    match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                        Some(octet) => { out.push(octet); at += 3; }
                        None => { out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] }); at += 1; }
                    }
                }
                out
            };
            let wanted = query.split('&').any(|parameter| {
                let (its_name, its_value) = parameter.split_once('=').unwrap_or((parameter, ""));
                decoded(its_name) == name.as_bytes() && decoded(its_value) == value.as_bytes()
            });
            let found = has_parameter(format!("?{query}").as_bytes(), name.as_bytes(), value.as_bytes());
            prop_assert_eq!(found, wanted);
        }
    }
}
