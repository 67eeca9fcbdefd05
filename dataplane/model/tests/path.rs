//! The one form of a path: what is changed, what is refused, what is below what.

use meridian_model::path::{EncodedSlashes, PathFault, below, is_at, normal_form};
use proptest::prelude::*;

const REFUSED: EncodedSlashes = EncodedSlashes::Refused;
const PASSED: EncodedSlashes = EncodedSlashes::Passed;

fn form_with(path: &str, slashes: EncodedSlashes) -> Result<String, PathFault> {
    let mut room = Vec::new();
    let form = normal_form(path.as_bytes(), slashes, &mut room)?;
    Ok(String::from_utf8(form.to_vec()).expect("text"))
}

fn form(path: &str) -> Result<String, PathFault> {
    form_with(path, REFUSED)
}

#[test]
fn what_means_the_same_gets_one_form() {
    for (path, expected) in [
        ("/", "/"),
        ("//", "/"),
        ("/a/b", "/a/b"),
        ("//a///b//", "/a/b/"),
        ("/%61dmin", "/admin"),
        ("/%41%7e%2D%5f%30", "/A~-_0"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%20b%3f%23", "/a%20b%3F%23"),
        // Once: what is a percent sign stays one.
        ("/%2561dmin", "/%2561dmin"),
        ("/%252e%252e/", "/%252e%252e/"),
        // A name may hold dots, and may hold dots alone when they are three.
        ("/.well-known/x", "/.well-known/x"),
        ("/..a/a../.a./...", "/..a/a../.a./..."),
        ("/a;v=1/b;jsessionid=2", "/a;v=1/b;jsessionid=2"),
        ("/a%3Bb", "/a%3Bb"),
        ("/a/;jsessionid=1", "/a/;jsessionid=1"),
        ("/A", "/A"),
    ] {
        assert_eq!(form(path).as_deref(), Ok(expected), "{path}");
    }
    assert_eq!(form_with("/a%2fb%5c", PASSED).as_deref(), Ok("/a%2Fb%5C"));
}

#[test]
fn what_could_be_read_as_another_path_has_none() {
    for (path, fault) in [
        ("/%", PathFault::Percent),
        ("/%4", PathFault::Percent),
        ("/%zz", PathFault::Percent),
        ("/%u0061", PathFault::Percent),
        ("/a%00b", PathFault::Nul),
        ("/a\\b", PathFault::Backslash),
        ("/a%2Fb", PathFault::EncodedSlash),
        ("/a%2fb", PathFault::EncodedSlash),
        ("/a%5cb", PathFault::EncodedSlash),
        ("/.", PathFault::DotSegment),
        ("/..", PathFault::DotSegment),
        ("/a/./b", PathFault::DotSegment),
        ("/a/../b", PathFault::DotSegment),
        ("/a/..", PathFault::DotSegment),
        ("/a//../b", PathFault::DotSegment),
        ("/a/%2e%2E/b", PathFault::DotSegment),
        ("/a/.%2e/b", PathFault::DotSegment),
        ("/a/..;/b", PathFault::DotSegment),
        ("/a/..;v=1/b", PathFault::DotSegment),
        ("/a/.;/b", PathFault::DotSegment),
        ("/a/..%3b/b", PathFault::DotSegment),
        ("/;x/admin", PathFault::EmptySegment),
        ("/a/;x/admin", PathFault::EmptySegment),
        ("/a//;x/admin", PathFault::EmptySegment),
    ] {
        assert_eq!(form(path), Err(fault), "{path}");
    }
    for path in [
        "/a/..%2Fb",
        "/a%2f..%2fb",
        "/a%5C../b",
        "/a/%2e%2e%5cb",
        "/%2F.",
        "/a%2f.;x",
    ] {
        assert_eq!(
            form_with(path, PASSED),
            Err(PathFault::DotSegment),
            "{path}"
        );
    }
}

#[test]
fn a_prefix_is_whole_segments() {
    let rest = |path: &'static str, prefix: &str| {
        below(path.as_bytes(), prefix.as_bytes()).map(|rest| std::str::from_utf8(rest).unwrap())
    };
    assert_eq!(rest("/api/x", "/api"), Some("/x"));
    assert_eq!(rest("/api/", "/api"), Some("/"));
    assert_eq!(rest("/api", "/api"), Some(""));
    assert_eq!(rest("/apix", "/api"), None);
    assert_eq!(rest("/ap", "/api"), None);
    assert_eq!(rest("/API", "/api"), None);
    assert_eq!(rest("/x/api", "/api"), None);
    assert_eq!(rest("/", ""), Some("/"));
    // Parameters are passed over, whosever segment they are of.
    assert_eq!(rest("/api;v=1/x;w", "/api"), Some("/x;w"));
    assert_eq!(rest("/api;v=1", "/api"), Some(""));
    assert_eq!(rest("/a;1/b;2/c", "/a/b"), Some("/c"));
    assert_eq!(rest("/api;v=1x", "/apix"), None);
    assert_eq!(rest("/a;/pi", "/api"), None);
}

#[test]
fn an_exact_path_is_all_of_it() {
    let at = |path: &str, wanted: &str| is_at(path.as_bytes(), wanted.as_bytes());
    assert!(at("/a", "/a") && at("/a/", "/a/") && at("/", "/"));
    assert!(at("/a;v=1", "/a") && at("/a;v=1/b;w", "/a/b") && at("/a/;v", "/a/"));
    assert!(!at("/a/", "/a") && !at("/a", "/a/") && !at("/ab", "/a") && !at("/a/b", "/a"));
}

/// A server as there are many: it decodes once, takes backslashes and encoded slashes for
/// slashes where `loose`, cuts parameters off, skips empty segments and climbs.
fn served(path: &str, loose: bool) -> Vec<Vec<u8>> {
    let mut place: Vec<Vec<u8>> = Vec::new();
    let cut: String = path
        .split('/')
        .map(|segment| segment.split(';').next().unwrap())
        .collect::<Vec<_>>()
        .join("/");
    let decoded = decode(cut.as_bytes());
    for segment in decoded.split(|&byte| byte == b'/' || (loose && byte == b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(place.pop()),
            segment => place.push(segment.to_vec()),
        }
    }
    place
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let octet = digits
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(octet.unwrap_or(bytes[at]));
        at += if octet.is_some() { 3 } else { 1 };
    }
    out
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("//"),
        Just("."),
        Just(".."),
        Just("a"),
        Just("b"),
        Just("admin"),
        Just(";"),
        Just(";v=1"),
        Just("%2e"),
        Just("%2E"),
        Just("%2f"),
        Just("%5C"),
        Just("\\"),
        Just("%61"),
        Just("%3b"),
        Just("%25"),
        Just("%00"),
        Just("%"),
        Just("%C3%a9"),
        Just("~"),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_form_is_its_own_form(path in pieces(), passed in any::<bool>()) {
        let slashes = if passed { PASSED } else { REFUSED };
        if let Ok(once) = form_with(&path, slashes) {
            prop_assert!(once.starts_with('/'));
            prop_assert_eq!(form_with(&once, slashes), Ok(once.clone()));
        }
    }

    /// The point of it all: a server that sees the form is at the very place that the routes saw,
    /// and at no other, whatever of the usual liberties it takes.
    #[test]
    fn a_server_is_where_the_routes_were(path in pieces()) {
        let Ok(form) = form(&path) else { return Ok(()) };
        let seen: Vec<Vec<u8>> = form[1..]
            .split('/')
            .map(|segment| decode(segment.split(';').next().unwrap().as_bytes()))
            .collect();
        let seen: Vec<Vec<u8>> = seen.into_iter().filter(|it| !it.is_empty()).collect();
        for loose in [false, true] {
            prop_assert_eq!(&served(&form, loose), &seen, "{} of {}", form, path);
            // And it is the place that the client's own spelling meant.
            prop_assert_eq!(&served(&path, loose), &seen, "{}", path);
        }
        let protected = seen.first().is_some_and(|first| first == b"admin");
        prop_assert_eq!(below(form.as_bytes(), b"/admin").is_some(), protected, "{}", form);
    }

    #[test]
    fn below_agrees_with_splitting(path in pieces(), wanted in "(/(a|b|admin)){1,2}") {
        let Ok(form) = form(&path) else { return Ok(()) };
        let cut = |text: &str| -> Vec<String> {
            text[1..].split('/').map(|it| it.split(';').next().unwrap().to_owned()).collect()
        };
        let (segments, prefix) = (cut(&form), cut(&wanted));
        let expected = segments.len() >= prefix.len() && segments[..prefix.len()] == prefix[..];
        prop_assert_eq!(below(form.as_bytes(), wanted.as_bytes()).is_some(), expected, "{}", form);
        prop_assert_eq!(is_at(form.as_bytes(), wanted.as_bytes()), segments == prefix, "{}", form);
    }
}
