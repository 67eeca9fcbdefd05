//! What cookies name, and what is found in a Cookie field.

use super::*;
use crate::http::request::{Parsed, parse};
use meridian_model::snapshot::{ProxyProtocol, SiteId};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "MSRV";

fn sticky(lifetime: Option<Duration>) -> Sticky {
    Sticky {
        cookie: NAME.into(),
        lifetime,
    }
}

/// Who asks with these Cookie fields, at a pool with one backend.
fn visitor(cookies: &[&[u8]], known: Tag) -> Visitor {
    let mut head = b"GET / HTTP/1.1\r\nHost: a.test\r\n".to_vec();
    for cookie in cookies {
        head.extend_from_slice(&[b"Cookie: ".as_slice(), cookie, b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    match parse(&head) {
        Ok(Parsed::Complete(head)) => {
            Visitor::new(&sticky(None), head.fields(), |tag| tag.is(known))
        }
        other => panic!("no head: {other:?}"),
    }
}

fn text(tag: Tag) -> String {
    let mut text = Vec::new();
    tag.write(&mut text);
    String::from_utf8(text).expect("digits are ASCII")
}

fn tag_of(secret: &[u8], names: [&str; 4], address: &str) -> Tag {
    let [tenant, name, pool, backend] = names;
    let key = BackendKey::new(
        SiteId(1),
        Arc::from(pool),
        Arc::from(backend),
        address.parse().expect("it is an address"),
        ProxyProtocol::Off.into(),
    );
    StickyKey::of_secret(secret).tag_of_names(tenant, name, &key)
}

const TAG: Tag = Tag(*b"\x01\x23\x45\x67\x89\xab\xcd\xef\xfe\xdc\xba\x98\x76\x54\x32\x10");
/// By Python's hmac: secret and names as below.
const GOLDEN: &str = "63786b1b02b5bbbcacf6e37382ba032c";
const TEXT: &str = "0123456789abcdeffedcba9876543210";

#[test]
fn the_cookie_is_found_among_others_in_any_field() {
    let ours = format!("MSRV={TEXT}");
    let cookie = |text: &str| text.replace("OURS", &ours);
    for good in [
        "OURS",
        "a=b; OURS",
        "OURS; a=b",
        "OURS;a=b",
        ";;OURS ;",
        "MSRV=; OURS",
        "MSRVX=1; XMSRV=2; OURS",
        "MSRV=00000000000000000000000000000000; OURS",
        "MSRV=1; MSRV=2; MSRV=3; OURS",
    ] {
        let good = cookie(good);
        assert_eq!(
            visitor(&[good.as_bytes()], TAG),
            Visitor::Known(TAG),
            "{good}"
        );
    }
    assert_eq!(
        visitor(&[b"a=b", ours.as_bytes()], TAG),
        Visitor::Known(TAG)
    );
    for none in ["a=b", "msrv=1", "MSRV", "MSRV ", "XMSRV=1", "a=MSRV=1", ""] {
        assert_eq!(visitor(&[none.as_bytes()], TAG), Visitor::New, "{none}");
    }
    for (unknown, tag) in [
        ("MSRV=", None),
        ("MSRV=\"OURS\"", None),
        ("MSRV= OURS", None),
        ("OURS0", None),
        (
            "MSRV=01230000000000000000000000000000",
            Tag::of_value(b"01230000000000000000000000000000"),
        ),
        ("MSRV=0123456789ABCDEFFEDCBA9876543210", None),
        // More are not looked at.
        ("MSRV=1; MSRV=2; MSRV=3; MSRV=4; OURS", None),
    ] {
        let unknown = cookie(unknown);
        assert_eq!(
            visitor(&[unknown.as_bytes()], TAG),
            Visitor::Unknown(tag),
            "{unknown}"
        );
    }
}

#[test]
fn whatever_is_cut_or_changed_of_a_tag_is_another_or_none() {
    for length in 0..TEXT.len() {
        assert_eq!(Tag::of_value(&TEXT.as_bytes()[..length]), None);
    }
    assert_eq!(Tag::of_value(TEXT.as_bytes()), Some(TAG));
    for bit in 0..8 * TAG_BYTES {
        let mut other = TAG;
        other.0[bit / 8] ^= 1 << (bit % 8);
        assert!(!other.is(TAG) && !TAG.is(other), "bit {bit}");
    }
}

#[test]
fn a_tag_is_of_one_backend_of_one_pool_of_one_secret() {
    let secret = [b's'; 32];
    let names = ["acme", "shop", "default", "b1"];
    let address = "192.0.2.1:80";
    let tag = tag_of(&secret, names, address);
    assert_eq!(tag, tag_of(&secret, names, address));
    // Worked out apart from this program (HMAC-SHA256 twice, as the module says): hosts of
    // different versions must agree.
    assert_eq!(text(tag), GOLDEN);
    let others = [
        tag_of(&[b't'; 32], names, address),
        tag_of(&secret, ["acme", "shop", "default", "b2"], address),
        tag_of(&secret, ["acme", "shop", "other", "b1"], address),
        tag_of(&secret, ["acme", "shop2", "default", "b1"], address),
        tag_of(&secret, ["acm", "eshop", "default", "b1"], address),
        tag_of(&secret, names, "192.0.2.1:81"),
        tag_of(&secret, names, "192.0.2.2:80"),
        tag_of(&secret, names, "[2001:db8::1]:80"),
    ];
    assert!(others.iter().all(|other| !other.is(tag)));
}

#[test]
fn a_cookie_is_for_the_whole_site_and_for_no_script() {
    let line_by = |lifetime, secure| {
        String::from_utf8(set_cookie_line(&sticky(lifetime), TAG, secure)).unwrap()
    };
    let line = |lifetime| line_by(lifetime, false);
    assert_eq!(
        line_by(Some(Duration::from_secs(5)), true),
        format!("Set-Cookie: MSRV={TEXT}; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=5\r\n")
    );
    assert_eq!(
        line(None),
        format!("Set-Cookie: MSRV={TEXT}; Path=/; HttpOnly; SameSite=Lax\r\n")
    );
    assert_eq!(
        line(Some(Duration::from_secs(3600))),
        format!("Set-Cookie: MSRV={TEXT}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600\r\n")
    );
}

proptest! {
    /// Whatever stands in a Cookie field, only the right tag under the right name is known, and what
    /// is found is what a plain reader finds.
    #[test]
    fn only_the_right_tag_is_known(
        parts in prop::collection::vec(
            prop_oneof![
                Just(format!("MSRV={TEXT}")),
                "MSRV=[0-9a-f]{30,34}",
                "[MSRV]{3,5}=?[ -:<-~]{0,40}",
                "[ -~]{0,20}",
            ],
            0..8,
        ),
        between in "(;|; |;; )",
    ) {
        let value = parts.join(&between);
        let ours: Vec<&str> = value.split(';').map(str::trim_ascii)
            .filter_map(|pair| pair.strip_prefix("MSRV=")).take(STICKY_COOKIES_MAX).collect();
        let found = visitor(&[value.as_bytes()], TAG);
        prop_assert_eq!(found == Visitor::New, ours.is_empty());
        prop_assert_eq!(found == Visitor::Known(TAG), ours.contains(&TEXT));
    }
}
