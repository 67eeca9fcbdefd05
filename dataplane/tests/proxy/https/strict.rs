//! Sites that are to be asked for by HTTPS alone: redirects, and Strict-Transport-Security.

use super::Scene;
use crate::support::peer::{Backend, Peer, answer_each, field, status};
use std::net::SocketAddr;

const HSTS: &str = "strict-transport-security";

/// Says of HSTS what it wants, in two lines.
fn saying_its_own() -> SocketAddr {
    Backend::new().serve(|peer| {
        answer_each(peer, |_| {
            b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\n\
              strict-transport-security: max-age=2\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        })
    })
}

fn strict(keys: &str) -> Scene {
    Scene::with(|declared, _| {
        declared.backends = vec![saying_its_own()];
        declared.site_keys += keys;
    })
}

/// The head of an answer without TLS.
fn plain(scene: &Scene, request: &str) -> String {
    let mut peer = Peer::connect(scene.plane.address());
    peer.send(request.as_bytes());
    peer.receive_response().0
}

fn secure(scene: &Scene, request: &str) -> String {
    let mut client = scene.client("shop.test");
    client.send(request.as_bytes());
    let (head, _) = client.receive_response();
    client.notify();
    head
}

fn lines_of<'h>(head: &'h str, name: &str) -> Vec<&'h str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(it, _)| it.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

#[test]
fn what_comes_without_tls_is_sent_to_https_before_routes() {
    let scene = strict(
        "redirect_to_https = true\ntrusted_networks = [\"127.0.0.2/32\"]\n\
         [[site.route]]\nmatch = { path = \"/gone\" }\nrespond = { status = 410 }\n",
    );
    let port = scene.address().port();
    let asked = |line: &str, fields: &str| {
        plain(
            &scene,
            &format!("{line} HTTP/1.1\r\nHost: Shop.test:80\r\n{fields}\r\n"),
        )
    };
    for (line, code, rest) in [
        ("GET /a%2Fb?c=d", 301, "/a%2Fb?c=d"),
        ("HEAD /gone", 301, "/gone"),
        ("DELETE /", 308, "/"),
        (
            "GET /.well-known/acme-challenge/../x",
            301,
            "/.well-known/acme-challenge/../x",
        ),
    ] {
        let mut peer = Peer::connect(scene.plane.address());
        peer.send(format!("{line} HTTP/1.1\r\nHost: Shop.test:80\r\n\r\n").as_bytes());
        let head = peer.receive_head();
        assert_eq!(status(&head), code, "{head}");
        let location = format!("https://Shop.test:{port}{rest}");
        assert_eq!(field(&head, "location"), Some(&*location), "{head}");
        assert_eq!(field(&head, "connection"), None, "{head}");
    }
    // A body that nobody reads ends the connection.
    let head = asked("POST /", "Content-Length: 1\r\n");
    assert_eq!(
        (status(&head), field(&head, "connection")),
        (308, Some("close"))
    );
    assert_eq!(scene.plane.hits("redirected_to_https"), 5);
    // Whom nobody trusts is not believed.
    let head = asked("GET /", "X-Forwarded-Proto: https\r\n");
    assert_eq!(status(&head), 301);
    // An authority finds what it looks for, another site is as it was, and HTTPS goes on.
    let head = asked("GET /.well-known/acme-challenge/aB-_9", "");
    assert_eq!((status(&head), field(&head, "x-kept")), (200, Some("1")));
    let other = plain(&scene, "GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n");
    assert_eq!(status(&other), 503);
    let head = secure(&scene, "GET /gone HTTP/1.1\r\nHost: shop.test\r\n\r\n");
    assert_eq!(status(&head), 410);
    assert_eq!(scene.plane.hits("redirected_to_https"), 6);
    assert_eq!(scene.plane.site("responses_3xx"), 6);
    scene.plane.finish();
}

#[test]
fn who_speaks_tls_to_a_proxy_that_is_believed_is_not_sent_in_circles() {
    let scene = strict("redirect_to_https = true\ntrusted_networks = [\"127.0.0.0/8\"]\n");
    for (proto, code) in [("https", 200), ("http", 301)] {
        let request =
            format!("GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
        assert_eq!(status(&plain(&scene, &request)), code, "{proto}");
    }
    scene.plane.finish();
}

#[test]
fn hsts_is_said_by_tls_alone_and_by_nobody_else() {
    let scene = strict(
        "hsts = { max_age = \"365d\", include_subdomains = true }\n\
         limits = { body = \"1B\" }\n\
         [[site.route]]\nmatch = { path = \"/gone\" }\nrespond = { status = 410 }\n",
    );
    let wanted = vec!["max-age=31536000; includeSubDomains"];
    for (request, code) in [
        ("GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n", 200),
        ("GET /gone HTTP/1.1\r\nHost: shop.test\r\n\r\n", 410),
        (
            "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2\r\n\r\nab",
            413,
        ),
    ] {
        let head = secure(&scene, request);
        assert_eq!(status(&head), code);
        assert_eq!(lines_of(&head, HSTS), wanted, "{head}");
        let head = plain(&scene, request);
        assert_eq!(status(&head), code);
        assert_eq!(lines_of(&head, HSTS), Vec::<&str>::new(), "{head}");
    }
    // It is no other site's.
    let head = secure(&scene, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!((status(&head), field(&head, HSTS)), (421, None));
    scene.plane.finish();
}

#[test]
fn without_hsts_a_backend_says_what_it_wants() {
    let scene = strict("");
    for head in [
        secure(&scene, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
        plain(&scene, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
    ] {
        assert_eq!(lines_of(&head, HSTS), ["max-age=1", "max-age=2"], "{head}");
    }
    scene.plane.finish();
}
