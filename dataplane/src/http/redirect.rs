//! From HTTP to the same by HTTPS.

use super::answer::{AnswerContext, push_uri, write_answer};
use super::field::FieldName;
use super::method::Method;
use super::request::RequestHead;
use super::syntax::push_decimal;

/// Where authorities look for the answers to their challenges (RFC 8555 §8.3): a site that has no
/// certificate yet that anybody trusts, or none that holds, must answer there without one.
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// Whether a request that came without TLS is sent to HTTPS: not where it asks for the answer to a
/// challenge, nor where a proxy that the site believes (`trusted`) says that the client spoke TLS to it.
#[must_use]
pub fn applies(head: &RequestHead<'_>, trusted: bool) -> bool {
    !(is_challenge(head.target.path()) || trusted && came_by_https(head))
}

/// Appends the answer, and gives its status: who follows it repeats the method, but for GET and HEAD
/// nobody need know the newer status for that (RFC 9110 §15.4.2, §15.4.9). `port` is where HTTPS is
/// spoken; none is the scheme's own.
pub fn write(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    port: Option<u16>,
    date: &[u8],
    context: AnswerContext,
) -> u16 {
    let status = match head.method {
        Method::Get | Method::Head => 301,
        _ => 308,
    };
    let mut location = Vec::with_capacity(head.head_bytes + 32);
    location.extend_from_slice(b"https://");
    location.extend_from_slice(head.host);
    if let Some(port) = port {
        location.push(b':');
        push_decimal(&mut location, u64::from(port));
    }
    push_uri(&mut location, head.target.path());
    push_uri(&mut location, head.target.query());
    let fields = [("Location", location.as_slice())];
    write_answer(out, status, &fields, b"", date, context);
    status
}

/// What follows is a token of base64url (RFC 8555 §8.1) and nothing that could lead out of there.
fn is_challenge(path: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    path.strip_prefix(CHALLENGES)
        .is_some_and(|token| !token.is_empty() && token.iter().all(is_digit))
}

/// Of several proxies the first has seen the client.
fn came_by_https(head: &RequestHead<'_>) -> bool {
    let first = head.fields().values(FieldName::XForwardedProto).next();
    let first = first.and_then(|value| value.split(|&byte| byte == b',').next());
    first.is_some_and(|proto| proto.trim_ascii().eq_ignore_ascii_case(b"https"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Version;
    use crate::http::request::{self, Parsed};

    fn with_head<T>(text: &str, look: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        match request::parse(text.as_bytes()) {
            Ok(Parsed::Complete(head)) => look(&head),
            _ => panic!("no head: {text:?}"),
        }
    }

    #[test]
    fn challenges_and_what_came_by_https_go_on() {
        let applies_to = |path: &str, field: &str, trusted| {
            let text = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{field}\r\n");
            with_head(&text, |head| applies(head, trusted))
        };
        assert!(applies_to("/", "", true));
        assert!(!applies_to("/.well-known/acme-challenge/aZ09-_", "", false));
        for near in ["", "a/../../x", "a%2f", "a/", "%61"] {
            let path = format!("/.well-known/acme-challenge/{near}");
            assert!(applies_to(&path, "", false), "{path}");
        }
        for (value, is_https) in [
            ("https", true),
            ("HTTPS", true),
            ("https, http", true),
            ("http, https", false),
            ("http", false),
            ("httpsx", false),
        ] {
            let field = format!("X-Forwarded-Proto: {value}\r\n");
            assert_eq!(applies_to("/", &field, true), !is_https, "{value}");
            assert!(applies_to("/", &field, false), "{value}");
        }
    }

    #[test]
    fn the_same_is_asked_for_by_https() {
        let context = AnswerContext {
            client_version: Version::Http11,
            keep_alive: true,
            head_only: false,
        };
        for (line, host, port, status, location) in [
            ("GET /", "A.test:8080", None, 301, "https://A.test/"),
            (
                "HEAD /a?b=<c>",
                "a.test.",
                Some(8443),
                301,
                "https://a.test:8443/a?b=%3Cc%3E",
            ),
            (
                "POST /a//b?",
                "[::1]:80",
                Some(1),
                308,
                "https://[::1]:1/a//b?",
            ),
            (
                "GET http://b.test/x",
                "a.test",
                None,
                301,
                "https://b.test/x",
            ),
        ] {
            let text = format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let mut out = Vec::new();
            let given = with_head(&text, |head| write(&mut out, head, port, b"now", context));
            let out = String::from_utf8(out).unwrap();
            assert_eq!(given, status, "{line}");
            assert!(out.starts_with(&format!("HTTP/1.1 {status} ")), "{out}");
            assert!(
                out.contains(&format!("\r\nLocation: {location}\r\n")),
                "{out}"
            );
        }
    }
}
