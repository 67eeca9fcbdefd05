//! Sessions that are resumed, and those that are not.

use super::{NAMED, backend, declared, read_head, room, shown};
use crate::support::identity;
use crate::support::peer::{Peer, status};
use crate::support::plane::Plane;
use crate::support::secure::serving;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::server::ServerSessionMemoryCache;
use rustls::version::{TLS12, TLS13};
use std::io::Write;

/// Answers one request with how its handshake was, and ends.
fn telling_once(mut stream: super::Stream) {
    if read_head(&mut stream).is_none() {
        return;
    }
    let kind = format!("{:?}", stream.conn.handshake_kind().expect("it is made"));
    let length = kind.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{kind}");
    let _ = stream.write_all(answer.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn kind(plane: &Plane, host: &str) -> String {
    let mut client = Peer::connect(plane.address());
    client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    let (head, body) = client.receive_response();
    assert_eq!(status(&head), 200, "{head}");
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn a_session_is_resumed_with_its_backend_and_for_its_site_alone() {
    for version in [&TLS12, &TLS13] {
        let directory = room();
        identity::write(
            directory.path(),
            "own",
            &["backend.test"],
            &PKCS_ECDSA_P256_SHA256,
        );
        let mut config = serving(&[version], identity::shown(directory.path(), "own"));
        config.session_storage = ServerSessionMemoryCache::new(64);
        let address = backend(config, telling_once);
        let mut declared = declared(&[address], directory.path(), NAMED);
        // The same backend of somebody else, in the same words.
        let pool = declared.site_keys.clone();
        declared.more = format!(
            "[[tenant]]\nname = \"emca\"\n[[site]]\ntenant = \"emca\"\nname = \"tea\"\n\
             hostnames = [\"tea.test\"]\n{pool}[[site.backend]]\naddress = \"{address}\"\n"
        );
        let plane = Plane::start(&declared);
        assert_eq!(kind(&plane, "shop.test"), "Full");
        assert_eq!(kind(&plane, "shop.test"), "Resumed");
        assert_eq!(kind(&plane, "tea.test"), "Full");
        assert_eq!(kind(&plane, "tea.test"), "Resumed");
        assert_eq!(kind(&plane, "shop.test"), "Resumed");
        plane.stop();
    }
}

/// Who is trusted may change: what was agreed upon before counts for nothing then.
#[test]
fn a_revision_that_trusts_others_uses_no_connection_and_no_session_of_before() {
    let directory = room();
    let address = backend(shown(directory.path(), &["backend.test"]), super::telling);
    let mut declared = declared(&[address], directory.path(), NAMED);
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    assert!(super::told(&mut client).contains("Full"));
    assert_eq!(plane.backend(0, "connections"), 1);
    let other = rcgen::generate_simple_self_signed(vec!["other.test".to_owned()]);
    let other = other.expect("a certificate can be made").cert.pem();
    let path = directory.path().join("others.pem");
    std::fs::write(&path, other).expect("there is room");
    declared.site_keys = format!("pool = {{ tls = {{ authorities = {path:?}, {NAMED} }} }}\n");
    plane.reload(&declared);
    client.send(super::GET);
    let (head, _) = client.receive_response();
    assert_eq!(status(&head), 502, "{head}");
    assert_eq!(plane.hits("backend_untrusted"), 1);
    plane.stop();
}
