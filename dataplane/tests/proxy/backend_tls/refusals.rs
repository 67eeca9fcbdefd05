//! Handshakes that are not made, and what is told of them.

use super::{GET, NAMED, asking, backend, declared, failures_of, room, shown, telling};
use crate::support::identity;
use crate::support::peer::{Backend, PATIENCE, Peer, ok, status};
use crate::support::plane::Plane;
use crate::support::secure::{VERSIONS, serving};
use rcgen::PKCS_ECDSA_P256_SHA256;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

fn untrusted() -> SocketAddr {
    let own = rcgen::generate_simple_self_signed(vec!["backend.test".to_owned()]);
    let own = own.expect("a certificate can be made");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = serving(VERSIONS, (vec![own.cert.der().clone()], key));
    backend(config, telling)
}

fn expired(directory: &Path) -> SocketAddr {
    let names = ["backend.test"];
    identity::write_until(directory, "old", &names, &PKCS_ECDSA_P256_SHA256, 2020);
    backend(
        serving(VERSIONS, identity::shown(directory, "old")),
        telling,
    )
}

/// Answers the first record with these bytes, and ends.
fn saying(bytes: &'static [u8]) -> SocketAddr {
    Backend::new().serve(move |mut peer| {
        let _ = peer.stream.read(&mut [0; 4096]);
        let _ = peer.stream.write_all(bytes);
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        let _ = peer.stream.read(&mut [0; 4096]);
    })
}

fn silent() -> SocketAddr {
    Backend::new().serve(|mut peer| {
        let _ = peer.receive(100_000, 6 * PATIENCE);
    })
}

#[test]
fn each_reason_is_told_with_the_backend() {
    let directory = room();
    let at = directory.path();
    let alert = &[21, 3, 3, 0, 2, 2, 40];
    let cases: [(SocketAddr, &str, u16); 8] = [
        (untrusted(), "backend_untrusted", 502),
        (expired(at), "backend_expired", 502),
        (
            backend(shown(at, &["other.test"]), telling),
            "backend_wrong_name",
            502,
        ),
        (backend(asking(at), telling), "backend_alert", 502),
        (saying(alert), "backend_alert", 502),
        (
            saying(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "backend_handshake",
            502,
        ),
        (saying(b""), "backend_handshake", 502),
        (silent(), "backend_handshake_timeout", 504),
    ];
    for (index, (address, cause, wanted)) in cases.into_iter().enumerate() {
        let mut declared = declared(&[address], at, NAMED);
        declared.timeouts = "{ connect = \"700ms\" }".to_owned();
        let plane = Plane::start(&declared);
        let mut client = Peer::connect(plane.address());
        client.send(GET);
        let (head, _) = client.receive_response();
        assert_eq!(status(&head), wanted, "{index} {cause}");
        let failures = failures_of(&plane, "acme/shop");
        assert_eq!(failures.len(), 1, "{index} {cause}");
        let failure = &failures[0];
        assert_eq!(failure["cause"], cause, "{index}");
        assert_eq!(failure["fault"], "backend", "{index}");
        assert_eq!(
            failure["backend"], "acme/shop/default/b1",
            "{index} {failure}"
        );
        assert_eq!(plane.hits(cause), 1);
        assert_eq!(plane.backend(0, "failures"), 1, "{index} {cause}");
        drop(client);
        plane.stop();
    }
}

#[test]
fn a_request_of_which_nothing_was_sent_goes_to_another_backend() {
    let directory = room();
    let good = backend(shown(directory.path(), &["backend.test"]), |mut stream| {
        while super::read_head(&mut stream).is_some() {
            let mut body = [0; 5];
            if stream.read_exact(&mut body).is_err() || stream.write_all(&ok(&body)).is_err() {
                return;
            }
        }
    });
    for bad in [untrusted(), saying(b"SSH-2.0-x\r\n"), silent()] {
        let mut declared = declared(&[bad, good], directory.path(), NAMED);
        declared.timeouts = "{ connect = \"700ms\" }".to_owned();
        declared.site_keys += "retry = { percent = 100 }\n";
        let plane = Plane::start(&declared);
        let mut client = Peer::connect(plane.address());
        for _ in 0..2 {
            client.send(b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 5\r\n\r\nhello");
            let (head, body) = client.receive_response();
            assert_eq!((status(&head), &body[..]), (200, &b"hello"[..]));
        }
        assert!(plane.site("retries") >= 1);
        assert_eq!(plane.site("responses_5xx"), 0);
        drop(client);
        plane.stop();
    }
}

/// By default the host's own authorities vouch for backends, and where those can not be read nobody does.
#[test]
fn who_vouches_where_a_pool_names_nobody_is_said_by_the_host() {
    let directory = room();
    let address = backend(shown(directory.path(), &["backend.test"]), telling);
    let mut declared = declared(&[address], directory.path(), NAMED);
    declared.site_keys = format!("pool = {{ tls = {{ {NAMED} }} }}\n");
    let request = |declared: &super::Declared| {
        let plane = Plane::start(declared);
        let mut client = Peer::connect(plane.address());
        client.send(GET);
        let status = status(&client.receive_response().0);
        drop(client);
        let causes = failures_of(&plane, "acme/shop");
        let cause = causes
            .first()
            .map(|it| it["cause"].as_str().unwrap_or("").to_owned());
        plane.stop();
        (status, cause.unwrap_or_default())
    };
    let mut with = |path: &Path| {
        declared.host = format!("authorities = {path:?}\n");
        request(&declared)
    };
    let own = identity::write_root(directory.path(), "roots");
    assert_eq!(with(&own), (200, String::new()));
    let none = directory.path().join("none.pem");
    assert_eq!(with(&none), (503, "backend_tls_unready".to_owned()));
    let other = rcgen::generate_simple_self_signed(vec!["other.test".to_owned()]);
    std::fs::write(&none, other.expect("it can be made").cert.pem()).expect("there is room");
    assert_eq!(with(&none), (502, "backend_untrusted".to_owned()));
}
