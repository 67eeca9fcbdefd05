//! TLS to backends, from outside: whom the plane takes for one, what it shows and remembers, and what
//! becomes of requests where there is no handshake. That requests and responses are the same as without
//! is shown by the conversations (`wire`).

mod refusals;
mod sessions;

use crate::health::becomes;
use crate::support::identity;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, PATIENCE, Peer, field, ok, pattern, status};
use crate::support::plane::Plane;
use crate::support::secure::{VERSIONS, serving};
use crate::support::told::failures_of;
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

type Stream = StreamOwned<ServerConnection, TcpStream>;

/// What a backend shows.
fn shown(directory: &Path, names: &[&str]) -> ServerConfig {
    identity::write(directory, "own", names, &PKCS_ECDSA_P256_SHA256);
    serving(VERSIONS, identity::shown(directory, "own"))
}

/// A backend that makes a handshake on each connection, and leaves the rest to `then`.
fn backend(config: ServerConfig, then: impl Fn(Stream) + Clone + Send + 'static) -> SocketAddr {
    let config = Arc::new(config);
    Backend::new().serve(move |peer| {
        peer.stream.set_read_timeout(None).expect("none is allowed");
        let connection = ServerConnection::new(Arc::clone(&config));
        let mut stream = StreamOwned::new(connection.expect("it is good"), peer.stream);
        while stream.conn.is_handshaking() {
            if stream.conn.complete_io(&mut stream.sock).is_err() {
                // The alert is out; who reads it is not in time for a reset.
                let _ = stream.sock.shutdown(std::net::Shutdown::Write);
                let _ = stream.sock.read(&mut [0; 4096]);
                return;
            }
        }
        then(stream);
    })
}

fn read_head(stream: &mut Stream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

/// Answers each request with what is known of its connection.
fn telling(mut stream: Stream) {
    while read_head(&mut stream).is_some() {
        let connection = &stream.conn;
        let told = format!(
            "{} {} {:?} {:?} {}",
            connection.server_name().unwrap_or("-"),
            String::from_utf8_lossy(connection.alpn_protocol().unwrap_or(b"-")),
            connection.protocol_version().expect("it is made"),
            connection.handshake_kind().expect("it is made"),
            connection.peer_certificates().map_or(0, <[_]>::len),
        );
        if stream.write_all(&ok(told.as_bytes())).is_err() {
            return;
        }
    }
}

/// A site whose pool speaks TLS with these keys besides.
fn declared(backends: &[SocketAddr], directory: &Path, keys: &str) -> Declared {
    let authorities = identity::write_root(directory, "authorities");
    let mut declared = Declared::with_backends(backends.iter().copied());
    let comma = if keys.is_empty() { "" } else { ", " };
    declared.site_keys =
        format!("pool = {{ tls = {{ authorities = {authorities:?}{comma}{keys} }} }}\n");
    declared
}

const NAMED: &str = "name = \"backend.test\"";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

fn room() -> TempDir {
    tempfile::tempdir().expect("there is room for files")
}

/// The body of the answer to a request.
fn told(client: &mut Peer) -> String {
    client.send(GET);
    let (head, body) = client.receive_response();
    assert_eq!(status(&head), 200, "{head}");
    String::from_utf8_lossy(&body).into_owned()
}

#[test]
fn a_backend_is_asked_for_by_name_and_its_connection_is_used_again() {
    for (version, word) in [(&TLS12, "TLSv1_2"), (&TLS13, "TLSv1_3")] {
        let directory = room();
        identity::write(
            directory.path(),
            "own",
            &["backend.test"],
            &PKCS_ECDSA_P256_SHA256,
        );
        let config = || {
            let mut config = serving(&[version], identity::shown(directory.path(), "own"));
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            config
        };
        let address = backend(config(), telling);
        let plane = Plane::start(&declared(&[address], directory.path(), NAMED));
        let mut client = Peer::connect(plane.address());
        for _ in 0..3 {
            let wanted = format!("backend.test http/1.1 {word} Full 0");
            assert_eq!(told(&mut client), wanted);
        }
        assert_eq!(plane.backend(0, "connections"), 1);
        assert_eq!(plane.backend(0, "requests"), 3);
        plane.stop();
    }
}

#[test]
fn a_backend_that_is_known_by_its_address_is_to_have_it_in_its_certificate() {
    let directory = room();
    let address = backend(shown(directory.path(), &["127.0.0.1"]), telling);
    let plane = Plane::start(&declared(&[address], directory.path(), ""));
    let told = told(&mut Peer::connect(plane.address()));
    // An address is never sent (RFC 6066 §3).
    assert!(
        told.starts_with("- http/1.1 ") || told.starts_with("- - "),
        "{told}"
    );
    plane.stop();
}

#[test]
fn anybody_is_taken_for_a_backend_where_that_is_said() {
    let directory = room();
    let own = rcgen::generate_simple_self_signed(vec!["elsewhere.test".to_owned()]);
    let own = own.expect("a certificate can be made");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
    let config = serving(VERSIONS, (vec![own.cert.der().clone()], key));
    let address = backend(config, telling);
    let mut declared = declared(&[address], directory.path(), "");
    declared.site_keys = "pool = { tls = { verify = false, name = \"shop.test\" } }\n".to_owned();
    let plane = Plane::start(&declared);
    let told = told(&mut Peer::connect(plane.address()));
    assert!(told.starts_with("shop.test "), "{told}");
    plane.stop();
}

/// A backend that asks for a certificate of the authority's.
fn asking(directory: &Path) -> ServerConfig {
    identity::write(directory, "own", &["backend.test"], &PKCS_ECDSA_P256_SHA256);
    let (chain, key) = identity::shown(directory, "own");
    let mut roots = RootCertStore::empty();
    roots
        .add(identity::authority().root.clone())
        .expect("it is a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they fit")
        .with_client_cert_verifier(verifier.build().expect("it is good"))
        .with_single_cert(chain, key)
        .expect("the key fits")
}

#[test]
fn a_backend_that_asks_for_a_certificate_gets_the_tenants() {
    let directory = room();
    let address = backend(asking(directory.path()), |mut stream| {
        while read_head(&mut stream).is_some() {
            let shown = stream.conn.peer_certificates().map(|it| it[0].to_vec());
            let sum: u64 = shown.iter().flatten().map(|it| u64::from(*it)).sum();
            if stream.write_all(&ok(sum.to_string().as_bytes())).is_err() {
                return;
            }
        }
    });
    let keys = format!("{NAMED}, certificate = \"ours\"");
    let mut declared = declared(&[address], directory.path(), &keys);
    let write = || {
        let kind = &PKCS_ECDSA_P256_SHA256;
        identity::write(directory.path(), "ours", &["lb.test"], kind)
    };
    let sum = || {
        let (chain, _) = identity::shown(directory.path(), "ours");
        chain[0]
            .iter()
            .map(|it| u64::from(*it))
            .sum::<u64>()
            .to_string()
    };
    declared.more = write();
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    assert_eq!(told(&mut client), sum());
    // Another content under the same name: what was connected with the one before is not used.
    write();
    plane.reload(&declared);
    assert_eq!(told(&mut client), sum());
    plane.stop();
}

#[test]
fn long_bodies_pass_both_ways_whole() {
    const BYTES: usize = 6 * 1024 * 1024;
    let directory = room();
    let config = shown(directory.path(), &["backend.test"]);
    let address = backend(config, |mut stream| {
        let head = read_head(&mut stream).expect("a request comes");
        let length = field(&head, "content-length").expect("it has a body");
        let length: usize = length.parse().expect("it is a number");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        stream
            .write_all(head.as_bytes())
            .expect("the plane takes it");
        let mut piece = vec![0; 50_000];
        let mut left = length;
        while left > 0 {
            let read = stream.read(&mut piece).expect("the body comes");
            stream
                .write_all(&piece[..read])
                .expect("the plane takes it");
            left -= read;
        }
        let _ = stream.read(&mut piece);
    });
    let plane = Plane::start(&declared(&[address], directory.path(), NAMED));
    let client = Peer::connect(plane.address());
    let sent = pattern(BYTES);
    let mut sender = client.stream.try_clone().expect("it can be shared");
    let body = sent.clone();
    let sending = std::thread::spawn(move || {
        let head = format!("PUT / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: {BYTES}\r\n\r\n");
        sender
            .write_all(head.as_bytes())
            .expect("the plane takes it");
        sender.write_all(&body).expect("the plane takes it");
    });
    let mut client = Peer::new(client.stream);
    let head = client.receive_head();
    assert_eq!(status(&head), 200);
    let got = client.receive(BYTES, 6 * PATIENCE);
    assert!(got == sent, "{} of {BYTES} bytes", got.len());
    sending.join().expect("all was sent");
    drop(client);
    plane.stop();
}

/// A response that ends with its connection is whole when TLS was ended in order, and no sooner (RFC 8446
/// §6.1): anybody on the way can end the connection.
#[test]
fn what_ends_with_its_connection_is_whole_by_close_notify_alone() {
    for in_order in [true, false] {
        let directory = room();
        let config = shown(directory.path(), &["backend.test"]);
        let address = backend(config, move |mut stream| {
            read_head(&mut stream).expect("a request comes");
            stream
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nas much as there is")
                .expect("the plane takes it");
            if in_order {
                stream.conn.send_close_notify();
                stream.flush().expect("the plane takes it");
            }
            let _ = stream.sock.shutdown(std::net::Shutdown::Write);
            let _ = stream.sock.read(&mut [0; 64]);
        });
        let plane = Plane::start(&declared(&[address], directory.path(), NAMED));
        let mut client = Peer::connect(plane.address());
        client.send(GET);
        let (bytes, end) = client.receive_all(PATIENCE);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        match in_order {
            true => {
                assert!(text.ends_with("0\r\n\r\n"), "{text}");
                assert_eq!(plane.site("cut"), 0);
            }
            false => {
                assert!(!text.ends_with("0\r\n\r\n"), "{text}");
                assert_eq!(end, End::Reset);
                assert_eq!(plane.site("cut"), 1);
            }
        }
        plane.stop();
    }
}

#[test]
fn checks_make_the_handshake_that_requests_make() {
    let directory = room();
    let good = backend(shown(directory.path(), &["backend.test"]), telling);
    let misnamed = backend(shown(directory.path(), &["other.test"]), telling);
    let plain = Backend::new().serve(|mut peer| {
        let _ = peer.receive(1, PATIENCE);
    });
    for (kind, good_reason) in [
        ("http", "HTTP 200"),
        ("tls", "TLS 1.3"),
        ("tcp", "connected"),
    ] {
        let mut declared = declared(&[good, misnamed, plain], directory.path(), NAMED);
        let health = format!(
            "pool = {{ health = {{ kind = \"{kind}\", interval = \"300ms\", timeout = \"300ms\" }}, "
        );
        declared.site_keys = declared.site_keys.replace("pool = { ", &health);
        let plane = Plane::start(&declared);
        assert_eq!(becomes(&plane, 0, "up"), good_reason, "{kind}");
        if kind != "tcp" {
            assert_eq!(
                becomes(&plane, 1, "down"),
                "tls: its certificate is for other names"
            );
            assert!(becomes(&plane, 2, "down").starts_with("tls: "));
        }
        plane.stop();
    }
}
