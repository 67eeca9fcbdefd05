//! What goes on to the other side: every byte of it.

use meridian_dataplane::http::Version;
use meridian_dataplane::http::answer::{
    AnswerContext, write_options_answer, write_reject, write_route_answer,
};
use meridian_dataplane::http::field::{FieldName, classify};
use meridian_dataplane::http::forward::{
    RequestContext, ResponseContext, TargetParts, write_interim_head, write_request_head,
    write_response_head,
};
use meridian_dataplane::http::method::Method;
use meridian_dataplane::http::reject::Reject;
use meridian_dataplane::http::request::{self, BodyFraming};
use meridian_dataplane::http::response::{self, ResponseFraming};
use meridian_model::fields::{self, FieldKind};
use meridian_model::snapshot::{Answer, FieldChange, Location};
use proptest::prelude::*;
use std::sync::LazyLock;

static NO_CHANGE: LazyLock<FieldChange> = LazyLock::new(FieldChange::default);
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn context(client: &str) -> RequestContext<'_> {
    RequestContext {
        client: client.parse().expect("an address"),
        trusted: false,
        forwarded_proto: "http",
        listener_port: 8080,
        via: "meridian",
        request_id: None,
        target: None,
        host: None,
        fields: &NO_CHANGE,
        client_certificate: b"",
    }
}

fn forward_with(input: &str, context: &RequestContext<'_>) -> String {
    let head = match request::parse(input.as_bytes()) {
        Ok(request::Parsed::Complete(head)) => head,
        other => panic!("{other:?} of {input:?}"),
    };
    let mut out = Vec::new();
    write_request_head(&mut out, &head, context);
    String::from_utf8(out).expect("text")
}

fn forward(input: &str) -> String {
    forward_with(input, &context("192.0.2.7"))
}

/// The forwarding fields for a.example and the context above.
const ADDED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Host: a.example\r\nX-Forwarded-Port: 8080\r\n\
    Forwarded: for=192.0.2.7;host=a.example;proto=http\r\nVia: 1.1 meridian\r\n";

#[test]
fn a_request_is_written_anew() {
    assert_eq!(
        forward("GET /x?y HTTP/1.1\r\nAccept:*/*\r\nHost: a.example\r\nCookie: a=b\r\n\r\nrest"),
        format!("GET /x?y HTTP/1.1\r\nHost: a.example\r\nAccept:*/*\r\nCookie: a=b\r\n{ADDED}\r\n")
    );
}

#[test]
fn an_absolute_target_becomes_origin_form_and_its_authority_host() {
    let out = forward("GET http://b.example:81?q HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(
        out.starts_with("GET /?q HTTP/1.1\r\nHost: b.example:81\r\n"),
        "{out}"
    );
    assert!(
        out.contains("\r\nX-Forwarded-Host: b.example:81\r\n"),
        "{out}"
    );
    assert!(out.contains(";host=\"b.example:81\";"), "{out}");
    assert!(!out.contains("a.example"), "{out}");
}

#[test]
fn the_length_is_written_anew() {
    let out =
        forward("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 00012\r\nA: b\r\n\r\n");
    assert_eq!(
        out,
        format!("POST / HTTP/1.1\r\nHost: a.example\r\nA: b\r\n{ADDED}Content-Length: 12\r\n\r\n")
    );
    let out = forward("POST / HTTP/1.1\r\nHost: a.example\r\ntransfer-encoding:CHUNKED\r\n\r\n");
    assert_eq!(
        out,
        format!("POST / HTTP/1.1\r\nHost: a.example\r\n{ADDED}Transfer-Encoding: chunked\r\n\r\n")
    );
}

#[test]
fn fields_of_one_hop_and_those_that_connection_names_end_here() {
    let out = forward(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, X-Gone,\tfoo\r\nA: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: x\r\n\
         x-gone: 1\r\nUpgrade: websocket\r\nHTTP2-Settings: AAA\r\nX-Gone-Not: 2\r\nTE: gzip\r\nX-GONE: 3\r\n\r\n",
    );
    assert_eq!(
        out,
        format!("GET / HTTP/1.1\r\nHost: a.example\r\nA: 1\r\nX-Gone-Not: 2\r\n{ADDED}\r\n")
    );
}

#[test]
fn a_request_to_switch_to_websocket_goes_on_as_one_and_any_other_as_none() {
    let fields = "Upgrade: WebSocket\r\nSec-WebSocket-Key: eA==\r\nHTTP2-Settings: AAA\r\n";
    let out = forward(&format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nconnection: upgrade, HTTP2-Settings\r\n{fields}\r\n"
    ));
    assert_eq!(
        out,
        format!(
            "GET / HTTP/1.1\r\nHost: a.example\r\nSec-WebSocket-Key: eA==\r\n{ADDED}\
             Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
    );
    let out = forward(&format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nTE: trailers\r\n{fields}\r\n"
    ));
    assert!(
        out.ends_with("TE: trailers\r\nUpgrade: websocket\r\nConnection: Upgrade, TE\r\n\r\n"),
        "{out}"
    );
    for (line, more) in [
        ("GET / HTTP/1.0", ""),
        ("POST / HTTP/1.1", ""),
        ("HEAD / HTTP/1.1", ""),
        ("GET / HTTP/1.1", "Content-Length: 1\r\n"),
        ("GET / HTTP/1.1", "Transfer-Encoding: chunked\r\n"),
        ("GET / HTTP/1.1", "Upgrade: h2c\r\n"),
    ] {
        let out = forward(&format!(
            "{line}\r\nHost: a.example\r\nConnection: upgrade\r\n{fields}{more}\r\n"
        ));
        assert!(!out.contains("Upgrade"), "{line} {more}: {out}");
        assert!(!out.contains("Connection"), "{line} {more}: {out}");
    }
}

#[test]
fn a_client_can_not_name_away_what_matters() {
    let out = forward(
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Host, Content-Length, Cookie, Via, Expect, \
         X-Forwarded-For, X-Forwarded-Proto, Forwarded, X-Request-Id\r\nContent-Length: 3\r\n\
         Cookie: a=b\r\nVia: 1.0 x\r\nExpect: 100-continue\r\nX-Request-Id: 7\r\n\r\n",
    );
    assert_eq!(
        out,
        format!(
            "POST / HTTP/1.1\r\nHost: a.example\r\nCookie: a=b\r\nVia: 1.0 x\r\nExpect: 100-continue\r\n\
             X-Request-Id: 7\r\n{ADDED}Content-Length: 3\r\n\r\n"
        )
    );
}

#[test]
fn forwarding_fields_of_the_client_are_dropped_in_either_spelling() {
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "True-Client-IP",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-Prefix",
        "X-Forwarded",
        "Forwarded-For",
        "Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "CF-Connecting-IP",
        "Fastly-Client-IP",
        "X-Original-Forwarded-For",
    ] {
        for spelt in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.replace('-', "_"),
            name.replacen('-', "_", 1),
        ] {
            let out = forward(&format!(
                "GET / HTTP/1.1\r\nHost: a.example\r\n{spelt}: evil\r\nA: b\r\n\r\n"
            ));
            assert!(!out.contains("evil"), "{spelt}: {out}");
            assert!(out.contains("\r\nA: b\r\n"), "{out}");
        }
    }
}

fn forward_trusted(fields: &str) -> String {
    let mut context = context("192.0.2.7");
    context.trusted = true;
    let input = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n");
    let out = forward_with(&input, &context);
    let rest = out.strip_prefix("GET / HTTP/1.1\r\nHost: a.example\r\n");
    let rest = rest.and_then(|rest| rest.strip_suffix("Via: 1.1 meridian\r\n\r\n"));
    rest.expect("it is written anew").to_owned()
}

#[test]
fn a_trusted_peer_that_says_nothing_is_as_any_other() {
    let mut context = context("192.0.2.7");
    context.trusted = true;
    let input = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(forward_with(input, &context), forward(input));
}

#[test]
fn what_a_trusted_peer_says_is_kept_and_we_stand_behind_it() {
    let out = forward_trusted(
        "X-Forwarded-For: 203.0.113.9, 10.0.0.1\r\nX-Real-IP: 203.0.113.9\r\n\
         x-forwarded-for: 10.0.0.2\r\nX-Forwarded-Host: b.example\r\nX-Forwarded-Port: 443\r\n\
         X-Forwarded-Proto: https\r\nForwarded: for=203.0.113.9;proto=https\r\n\
         X-Forwarded-Prefix: /a\r\nForwarded: for=\"[2001:db8::1]\"\r\nTrue-Client-IP: 203.0.113.9\r\n",
    );
    assert_eq!(
        out,
        "X-Real-IP: 203.0.113.9\r\nX-Forwarded-Host: b.example\r\nX-Forwarded-Port: 443\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /a\r\nTrue-Client-IP: 203.0.113.9\r\n\
         X-Forwarded-For: 203.0.113.9, 10.0.0.1, 10.0.0.2, 192.0.2.7\r\n\
         Forwarded: for=203.0.113.9;proto=https, for=\"[2001:db8::1]\", \
         for=192.0.2.7;host=a.example;proto=http\r\n"
    );
}

#[test]
fn a_scheme_of_a_trusted_peer_does_not_stand_beside_our_own_port() {
    let out = forward_trusted("X-Forwarded-Proto: https\r\n");
    assert!(!out.contains("X-Forwarded-Port"), "{out}");
    assert!(out.contains("X-Forwarded-Host: a.example\r\n"), "{out}");
    assert_eq!(out.matches("X-Forwarded-Proto").count(), 1);
    let out = forward_trusted("X-Forwarded-For: 10.0.0.1\r\n");
    assert!(out.contains("X-Forwarded-Port: 8080\r\n"), "{out}");
    assert!(out.contains("X-Forwarded-Proto: http\r\n"), "{out}");
}

#[test]
fn underscores_and_open_quotes_are_not_kept_of_a_trusted_peer_either() {
    let out = forward_trusted(
        "X_Forwarded_For: evil\r\nx_real_ip: evil\r\nForwarded: for=\"evil\r\nForwarded: for=10.0.0.1\r\n\
         X-Forwarded-For:\r\nProxy: evil\r\n",
    );
    assert!(!out.contains("evil"), "{out}");
    assert!(out.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{out}");
    let own = "for=192.0.2.7;host=a.example;proto=http";
    assert!(
        out.contains(&format!("Forwarded: for=10.0.0.1, {own}\r\n")),
        "{out}"
    );
}

#[test]
fn proxy_goes_no_further() {
    let out = forward("GET / HTTP/1.1\r\nHost: a.example\r\nProxy: evil\r\npRoXy: evil\r\n\r\n");
    assert!(!out.contains("evil"), "{out}");
}

#[test]
fn ipv6_clients_and_hosts_are_quoted() {
    let input = "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n";
    let out = forward_with(input, &context("2001:db8::7"));
    assert!(out.contains("X-Forwarded-For: 2001:db8::7\r\n"), "{out}");
    assert!(
        out.contains("Forwarded: for=\"[2001:db8::7]\";host=\"[2001:db8::1]:80\";proto=http\r\n"),
        "{out}"
    );
    // A v4 address in the clothes of a v6 one.
    let out = forward_with(input, &context("::ffff:192.0.2.7"));
    assert!(out.contains("X-Forwarded-For: 192.0.2.7\r\n"), "{out}");
    assert!(out.contains("Forwarded: for=192.0.2.7;"), "{out}");
}

#[test]
fn via_is_appended_with_the_version_that_was_received() {
    let out = forward("GET / HTTP/1.0\r\nHost: a.example\r\nVia: 1.1 x, 1.1 y\r\n\r\n");
    let theirs = out.find("Via: 1.1 x, 1.1 y\r\n").expect("theirs");
    let ours = out.find("Via: 1.0 meridian\r\n").expect("ours");
    assert!(theirs < ours);
    assert!(out.starts_with("GET / HTTP/1.1\r\n"));
}

#[test]
fn max_forwards_goes_down_for_options_alone() {
    let out = forward("OPTIONS / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 007\r\n\r\n");
    assert!(out.contains("\r\nMax-Forwards: 6\r\n"), "{out}");
    assert_eq!(out.matches("Max-Forwards").count(), 1);
    let out = forward("GET / HTTP/1.1\r\nHost: a.example\r\nMax-Forwards: 7\r\n\r\n");
    assert!(out.contains("\r\nMax-Forwards: 7\r\n"), "{out}");
}

#[test]
fn te_says_trailers_or_nothing() {
    let out = forward(
        "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: TE\r\nTE: gzip, trailers\r\n\r\n",
    );
    assert!(
        out.ends_with("TE: trailers\r\nConnection: TE\r\n\r\n"),
        "{out}"
    );
    let out = forward("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: TE\r\nTE: gzip\r\n\r\n");
    assert!(!out.contains("TE:"), "{out}");
}

#[test]
fn expect_is_passed_on_but_not_from_http_1_0() {
    let out = forward("POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n");
    assert!(out.contains("\r\nExpect: 100-continue\r\n"), "{out}");
    let out = forward("POST / HTTP/1.0\r\nHost: a.example\r\nExpect: 100-continue\r\n\r\n");
    assert!(!out.contains("Expect"), "{out}");
}

#[test]
fn a_request_id_of_ours_replaces_the_clients() {
    let mut context = context("192.0.2.7");
    context.request_id = Some("ours");
    let input = "GET / HTTP/1.1\r\nHost: a.example\r\nX-Request-ID: theirs\r\n\r\n";
    let out = forward_with(input, &context);
    assert!(out.contains("\r\nX-Request-Id: ours\r\n"), "{out}");
    assert!(!out.contains("theirs"), "{out}");
}

fn change(dropped: &[&str], added: &str) -> FieldChange {
    FieldChange {
        dropped: dropped.iter().map(|name| name.as_bytes().into()).collect(),
        added: added.as_bytes().into(),
    }
}

#[test]
fn a_site_changes_target_host_and_fields_and_the_client_is_still_told_of() {
    let fields = change(&["x-a", "cookie"], "X-A: ours\r\nX-New: 1\r\n");
    let context = RequestContext {
        target: Some(TargetParts {
            base: b"/v2",
            rest: b"/x",
            query: b"?y",
        }),
        host: Some(b"inner.example:81"),
        fields: &fields,
        ..context("192.0.2.7")
    };
    let input = "GET /api/x?y HTTP/1.1\r\nHost: a.example\r\nx-A: theirs\r\nCookie: c=d\r\nX_A: 1\r\n\
        X-Ab: 2\r\nX-a:3\r\nConnection: x-named\r\nX-Named: 4\r\n\r\n";
    assert_eq!(
        forward_with(input, &context),
        format!(
            "GET /v2/x?y HTTP/1.1\r\nHost: inner.example:81\r\nX-Ab: 2\r\n\
             X-A: ours\r\nX-New: 1\r\n{ADDED}\r\n"
        )
    );
}

/// Every name that the wire knows, but for Host.
const NAMES: &[&str] = &[
    "Connection",
    "Content-Length",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "HTTP2-Settings",
    "Keep-Alive",
    "Max-Forwards",
    "Proxy",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Set-Cookie",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Real-IP",
    "True-Client-IP",
    "X-Forwarded",
    "Forwarded-For",
    "Client-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Original-Forwarded-For",
    "X-Request-Id",
    "X-SSL-Client-DN",
    "X-SSL-Client-SHA256",
    "Client-Cert",
    "Client-Cert-Chain",
];

/// What a tenant may do with a name that is this to the wire; `None` where that is told by the
/// name alone.
fn kind_of(known: FieldName) -> Option<FieldKind> {
    match known {
        FieldName::Other | FieldName::Cookie | FieldName::SetCookie => Some(FieldKind::Free),
        FieldName::Host => Some(FieldKind::Host),
        FieldName::Underscored | FieldName::FramingLookalike => Some(FieldKind::Lookalike),
        FieldName::ClientCertificate
        | FieldName::Connection
        | FieldName::ContentLength
        | FieldName::Date
        | FieldName::Expect
        | FieldName::Forwarded
        | FieldName::Http2Settings
        | FieldName::KeepAlive
        | FieldName::MaxForwards
        | FieldName::ProxyAuthentication
        | FieldName::ProxyConnection
        | FieldName::Te
        | FieldName::Trailer
        | FieldName::TransferEncoding
        | FieldName::Upgrade
        | FieldName::Via
        | FieldName::Proxy
        | FieldName::XForwardedFor
        | FieldName::XForwardedHost
        | FieldName::XForwardedPort
        | FieldName::XForwardedProto
        | FieldName::XRequestId => Some(FieldKind::Reserved),
        FieldName::XForwarded => None,
    }
}

#[test]
fn whatever_name_the_wire_knows_the_manifest_knows() {
    for name in NAMES {
        let known = classify(name.as_bytes());
        assert_ne!(known, FieldName::Other, "{name}");
        if let Some(kind) = kind_of(known) {
            assert_eq!(fields::kind(name), kind, "{name}");
        }
    }
    for name in ["X-Forwarded-Anything", "X-Real-IP", "True-Client-IP"] {
        assert_eq!(fields::kind(name), FieldKind::Reserved, "{name}");
    }
    assert_eq!(fields::kind("HOST"), FieldKind::Host);
    for name in ["Accept", "X-Forward", "Hosts", "Server", "Origin"] {
        assert_eq!(fields::kind(name), FieldKind::Free, "{name}");
    }
}

/// A name that the wire knows or nearly so: in any case, with something else for its hyphens and
/// behind its end.
fn nearly_known_name() -> impl Strategy<Value = String> {
    let letters = (prop::sample::select(NAMES), any::<u64>());
    let spelt = letters.prop_map(|(name, upper)| {
        let letters = name.chars().enumerate();
        let spelt: String = letters
            .map(|(place, letter)| match upper >> place & 1 {
                0 => letter.to_ascii_lowercase(),
                _ => letter.to_ascii_uppercase(),
            })
            .collect();
        spelt
    });
    let hyphen = prop::sample::select(&["-", "-", "_", "_", ".", "", "--"][..]);
    let end = prop::sample::select(&["", "", "", "s", "!", "_", "-"][..]);
    (spelt, prop::collection::vec(hyphen, 4), end).prop_map(|(name, hyphens, end)| {
        let mut spelt = String::new();
        for (place, part) in name.split('-').enumerate() {
            if place > 0 {
                spelt.push_str(hyphens[place - 1]);
            }
            spelt.push_str(part);
        }
        spelt + end
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// What a name is to the wire and what a tenant may do with it are said in two places.
    #[test]
    fn the_wire_and_the_manifest_agree_on_names(name in nearly_known_name()) {
        let (kind, known) = (fields::kind(&name), classify(name.as_bytes()));
        match kind_of(known) {
            Some(expected) => prop_assert_eq!(kind, expected, "{} is {:?}", name, known),
            None => prop_assert_ne!(kind, FieldKind::Lookalike, "{}", name),
        }
    }

    /// Whoever sends a field that a tenant may set or remove: it is set or removed.
    #[test]
    fn what_a_tenant_may_change_is_changed(
        name in nearly_known_name(),
        set in any::<bool>(),
        trusted in any::<bool>(),
    ) {
        prop_assume!(fields::kind(&name) == FieldKind::Free);
        let ours = match set {
            true => format!("{name}: ours\r\n"),
            false => String::new(),
        };
        let fields = change(&[&name.to_ascii_lowercase()], &ours);
        let context = RequestContext {
            trusted,
            fields: &fields,
            ..context("192.0.2.7")
        };
        let input = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{name}: theirs\r\n\r\n");
        let out = forward_with(&input, &context);
        prop_assert!(!out.contains("theirs"), "{}", out);
        prop_assert_eq!(out.contains(": ours\r\n"), set, "{}", out);
    }
}

fn answered(answer: &Answer, context: AnswerContext) -> String {
    let mut out = Vec::new();
    write_route_answer(&mut out, answer, None, b"", DATE, context);
    String::from_utf8(out).expect("text")
}

#[test]
fn the_answer_of_a_route_is_framed_by_its_status_method_and_version() {
    let context = AnswerContext {
        client_version: Version::Http11,
        keep_alive: true,
        head_only: false,
    };
    let answer = |status: u16, body: &str| Answer {
        status,
        location: Location::Absent,
        fields: b"X-A: 1\r\n".as_slice().into(),
        body: body.as_bytes().into(),
    };
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(
        answered(&answer(418, "tea"), context),
        format!("HTTP/1.1 418 \r\n{date}X-A: 1\r\nContent-Length: 3\r\n\r\ntea")
    );
    let head_only = AnswerContext {
        head_only: true,
        keep_alive: false,
        ..context
    };
    assert_eq!(
        answered(&answer(200, "tea"), head_only),
        format!(
            "HTTP/1.1 200 OK\r\n{date}X-A: 1\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        )
    );
    for (status, reason) in [(204, "No Content"), (304, "Not Modified")] {
        assert_eq!(
            answered(&answer(status, ""), context),
            format!("HTTP/1.1 {status} {reason}\r\n{date}X-A: 1\r\n\r\n")
        );
    }
    let old = AnswerContext {
        client_version: Version::Http10,
        ..context
    };
    assert_eq!(
        answered(&answer(205, ""), old),
        format!(
            "HTTP/1.1 205 Reset Content\r\n{date}X-A: 1\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"
        )
    );
    let allowed = answered(&answer(405, ""), context);
    assert!(allowed.contains("\r\nAllow: GET, HEAD,"), "{allowed}");
    let own = Answer {
        fields: b"X-A: 1\r\nallow: GET\r\n".as_slice().into(),
        ..answer(405, "")
    };
    let allowed = answered(&own, context);
    assert_eq!(
        allowed.to_ascii_lowercase().matches("allow:").count(),
        1,
        "{allowed}"
    );
}

#[test]
fn a_location_holds_only_what_a_uri_may() {
    let context = AnswerContext {
        client_version: Version::Http11,
        keep_alive: true,
        head_only: false,
    };
    let location = TargetParts {
        base: b"https://www.example.com",
        rest: b"/a\"<b>^`{|}~",
        query: b"?q=\\[1]'",
    };
    let answer = Answer {
        status: 308,
        location: Location::Absent,
        fields: Box::default(),
        body: Box::default(),
    };
    let mut out = Vec::new();
    write_route_answer(&mut out, &answer, Some(location), b"", DATE, context);
    let out = String::from_utf8(out).expect("text");
    let wanted = "\r\nLocation: https://www.example.com/a%22%3Cb%3E%5E%60%7B%7C%7D~?q=%5C[1]'\r\nContent-Length: 0\r\n\r\n";
    assert!(out.ends_with(wanted), "{out}");
}

fn to_client(input: &str, method: Method, client_version: Version, keep_alive: bool) -> String {
    let head = match response::parse(input.as_bytes(), method) {
        Ok(response::Parsed::Complete(head)) => head,
        other => panic!("{other:?} of {input:?}"),
    };
    let mut out = Vec::new();
    let context = ResponseContext {
        client_version,
        keep_alive,
        framing: head.framing_to_client(client_version),
        via: "meridian",
        now_date: DATE,
        fields: &NO_CHANGE,
        own_lines: [b"", b""],
    };
    write_response_head(&mut out, &head, &context);
    String::from_utf8(out).expect("text")
}

const OURS: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nVia: 1.1 meridian\r\n";

#[test]
fn a_site_changes_the_fields_of_a_response() {
    let input =
        "HTTP/1.1 200 OK\r\nServer: x\r\nX-A: 1\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let head = match response::parse(input.as_bytes(), Method::Get) {
        Ok(response::Parsed::Complete(head)) => head,
        other => panic!("{other:?}"),
    };
    let context = ResponseContext {
        client_version: Version::Http11,
        keep_alive: true,
        framing: head.framing_to_client(Version::Http11),
        via: "meridian",
        now_date: DATE,
        fields: &change(&["server", "set-cookie"], "Set-Cookie: c=d\r\n"),
        own_lines: [b"", b""],
    };
    let mut out = Vec::new();
    write_response_head(&mut out, &head, &context);
    assert_eq!(
        String::from_utf8(out).expect("text"),
        format!("HTTP/1.1 200 OK\r\nX-A: 1\r\nSet-Cookie: c=d\r\n{OURS}Content-Length: 0\r\n\r\n")
    );
}

#[test]
fn a_response_is_written_anew() {
    let input = "HTTP/1.1 201 Made It\r\nServer: x\r\nContent-Length: 007\r\nConnection: X-A, Set-Cookie, close\r\n\
        Keep-Alive: timeout=5\r\nx-a: 1\r\nSet-Cookie: a=b\r\nUpgrade: h2c\r\nProxy-Authenticate: x\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Get, Version::Http11, true),
        format!(
            "HTTP/1.1 201 Made It\r\nServer: x\r\nSet-Cookie: a=b\r\n{OURS}Content-Length: 7\r\n\r\n"
        )
    );
    assert_eq!(
        to_client(input, Method::Get, Version::Http11, false),
        format!(
            "HTTP/1.1 201 Made It\r\nServer: x\r\nSet-Cookie: a=b\r\n{OURS}Content-Length: 7\r\n\
             Connection: close\r\n\r\n"
        )
    );
}

#[test]
fn a_date_of_the_backend_is_kept() {
    let input =
        "HTTP/1.0 200 OK\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Get, Version::Http11, true),
        "HTTP/1.1 200 OK\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\nVia: 1.0 meridian\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn the_body_is_framed_for_the_client() {
    for input in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        assert_eq!(
            to_client(input, Method::Get, Version::Http11, true),
            format!("HTTP/1.1 200 OK\r\n{OURS}Transfer-Encoding: chunked\r\n\r\n")
        );
        // Even when it was to be kept: the body ends with the connection.
        assert_eq!(
            to_client(input, Method::Get, Version::Http10, true),
            format!("HTTP/1.1 200 OK\r\n{OURS}Connection: close\r\n\r\n")
        );
    }
    let input = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Get, Version::Http10, true),
        format!("HTTP/1.1 200 OK\r\n{OURS}Content-Length: 3\r\nConnection: keep-alive\r\n\r\n")
    );
}

#[test]
fn a_response_without_a_body_frames_none() {
    let input = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Head, Version::Http11, true),
        format!("HTTP/1.1 200 OK\r\n{OURS}Content-Length: 3\r\n\r\n")
    );
    let input = "HTTP/1.1 304\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Get, Version::Http11, true),
        format!("HTTP/1.1 304 Not Modified\r\n{OURS}\r\n")
    );
    let input = "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        to_client(input, Method::Get, Version::Http11, true),
        format!("HTTP/1.1 204 No Content\r\n{OURS}\r\n")
    );
}

#[test]
fn an_interim_response_has_no_framing() {
    let input =
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
    let Ok(response::Parsed::Complete(head)) = response::parse(input.as_bytes(), Method::Get)
    else {
        panic!("no head");
    };
    let mut out = Vec::new();
    write_interim_head(&mut out, &head, "meridian");
    assert_eq!(
        out,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 meridian\r\n\r\n"
    );
}

fn refused(reject: Reject, context: AnswerContext) -> String {
    let mut out = Vec::new();
    write_reject(&mut out, reject, None, b"an-id", b"", DATE, context);
    String::from_utf8(out).expect("text")
}

#[test]
fn our_answers_have_a_date_a_length_and_say_what_becomes_of_the_connection() {
    let kept = AnswerContext {
        client_version: Version::Http11,
        keep_alive: true,
        head_only: false,
    };
    let old = AnswerContext {
        client_version: Version::Http10,
        ..kept
    };
    let head = "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Length: 14\r\nX-Request-Id: an-id\r\n";
    assert_eq!(
        refused(Reject::NoSite, kept),
        format!("{head}\r\n404 Not Found\n")
    );
    let head_only = AnswerContext {
        head_only: true,
        ..kept
    };
    assert_eq!(refused(Reject::NoSite, head_only), format!("{head}\r\n"));
    assert_eq!(
        refused(Reject::NoSite, old),
        format!("{head}Connection: keep-alive\r\n\r\n404 Not Found\n")
    );
    for reject in Reject::ALL {
        let text = refused(reject, AnswerContext::NOT_UNDERSTOOD);
        let parsed = response::parse(text.as_bytes(), Method::Get);
        let Ok(response::Parsed::Complete(head)) = parsed else {
            panic!("{parsed:?} of {text:?}");
        };
        assert_eq!(head.status, reject.status());
        assert!(!head.reason.is_empty(), "{reject:?} has no name");
        let body_bytes = (text.len() - head.head_bytes) as u64;
        assert_eq!(head.framing, ResponseFraming::Length(body_bytes));
        assert!(head.connection().close);
        assert!(head.fields().contains(FieldName::Date));
        let is_405 = reject.status() == 405;
        assert_eq!(is_405, text.contains("\r\nAllow: GET, "), "{text}");
        for context in [kept, old] {
            let closes = refused(reject, context).contains("\r\nConnection: close\r\n");
            assert_eq!(closes, reject.closes(), "{reject:?}");
        }
    }
    for (context, connection) in [
        (kept, ""),
        (old, "Connection: keep-alive\r\n"),
        (AnswerContext::NOT_UNDERSTOOD, "Connection: close\r\n"),
    ] {
        let mut out = Vec::new();
        write_options_answer(&mut out, DATE, context);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            format!(
                "HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n{connection}\r\n"
            )
        );
    }
}

/// A field that a client may send and that means nothing to a proxy.
fn field() -> impl Strategy<Value = (String, String)> {
    (
        "[A-Za-z!#$%&'*+.^`|~-]{1,20}",
        "([!-~]([ -~\t]{0,30}[!-~])?)?",
    )
        .prop_map(|(name, value)| {
            // No name of a field that a proxy knows begins with a dot.
            (format!(".{name}"), value)
        })
}

proptest! {
    /// What was parsed, written and parsed again means the same.
    #[test]
    fn any_request_round_trips(
        fields in prop::collection::vec((field(), "[ \t]{0,3}", "[ \t]{0,3}"), 0..40),
        path in "/[!-\"$-~]{0,60}",
        length in prop::option::of(any::<u64>()),
        close in any::<bool>(),
    ) {
        let mut text = format!("POST {path} HTTP/1.1\r\n");
        for ((name, value), before, after) in &fields {
            text.push_str(&format!("{name}:{before}{value}{after}\r\n"));
        }
        text.push_str("Host: a.example\r\n");
        if let Some(length) = length {
            text.push_str(&format!("Content-Length: {length}\r\n"));
        }
        if close {
            text.push_str("Connection: close\r\n");
        }
        text.push_str("\r\n");
        let Ok(request::Parsed::Complete(head)) = request::parse(text.as_bytes()) else {
            panic!("no head: {text:?}");
        };
        prop_assert_eq!(head.keep_alive, !close);
        let mut out = Vec::new();
        write_request_head(&mut out, &head, &context("192.0.2.7"));
        let Ok(request::Parsed::Complete(again)) = request::parse(&out) else {
            panic!("no head: {:?}", String::from_utf8_lossy(&out));
        };
        prop_assert_eq!(again.head_bytes, out.len());
        prop_assert_eq!(again.target, head.target);
        prop_assert_eq!(again.framing, length.map_or(BodyFraming::None, BodyFraming::Length));
        let others: Vec<_> = again
            .fields()
            .iter()
            .filter(|field| field.name == FieldName::Other)
            .map(|field| (field.name_text.to_vec(), field.value.to_vec()))
            .collect();
        let sent: Vec<_> = fields
            .iter()
            .map(|((name, value), _, _)| (name.clone().into_bytes(), value.clone().into_bytes()))
            .collect();
        prop_assert_eq!(others, sent);
    }
}
