//! Certificates of clients: who is let in, what backends are told, and that nothing else is taken for it.

use super::{GET, Scene, alert, any, s_client};
use crate::support::identity;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, answer_each, field, ok, status};
use crate::support::secure::{SecurePeer, VERSIONS, config};
use rcgen::PKCS_ECDSA_P256_SHA256;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, Error, HandshakeKind, RootCertStore, SupportedProtocolVersion,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

const REQUIRED: &str = "required";
const OPTIONAL: &str = "optional";

/// Tells what it was told of the client, and of the names that a client may try.
fn telling() -> SocketAddr {
    Backend::new().serve(|peer| {
        answer_each(peer, |head| {
            let lines = head.lines().filter(|line| {
                let line = line.to_ascii_lowercase().replace('_', "-");
                line.starts_with("x-ssl-client") || line.starts_with("client-cert")
            });
            ok(lines.collect::<Vec<_>>().join("|").as_bytes())
        })
    })
}

fn ask(declared: &mut Declared, directory: &Path, verify: &str) {
    let authorities = identity::write_root(directory, "clients");
    declared.site_keys = format!(
        "certificates = [\"web\"]\nclient_certificates = {{ authorities = {authorities:?}, verify = \"{verify}\" }}\n"
    );
}

/// A site that asks its clients for certificates, and one beside it that does not.
fn scene(verify: &str) -> Scene {
    Scene::with(|declared, directory| {
        let backends = Declared::with_backends([telling()]).backends;
        declared.backends = backends;
        ask(declared, directory, verify);
        // Whose certificate clients show: of the authority that the site names, and of no other.
        identity::write(directory, "alice", &["alice.test"], &PKCS_ECDSA_P256_SHA256);
        identity::write_until(
            directory,
            "late",
            &["late.test"],
            &PKCS_ECDSA_P256_SHA256,
            2020,
        );
    })
}

/// What a client has that shows the certificate `name`.
fn showing(
    scene: &Scene,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let (chain, key) = identity::shown(scene.directory.path(), name);
    let mut roots = RootCertStore::empty();
    let root = identity::authority().root.clone();
    roots.add(root).expect("it is a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("they fit")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("they belong together");
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// How a handshake ends: in TLS 1.3 the client has made its own part before it is judged.
fn end(scene: &Scene, config: &Arc<ClientConfig>) -> Result<SecurePeer, Error> {
    let mut client = scene.connect("shop.test", config);
    client.shake_hands()?;
    client.send(GET);
    match client.try_receive() {
        Some(error) => Err(error),
        None => Ok(client),
    }
}

fn told(client: &mut SecurePeer) -> (u16, String) {
    let (head, body) = client.receive_response();
    (status(&head), String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn who_shows_a_certificate_of_the_authority_is_served_and_told_of() {
    let scene = scene(REQUIRED);
    let own = identity::shown(scene.directory.path(), "alice").0[0].to_vec();
    let digest = meridian_model::sealed_file::digest_of(&own);
    for version in [&TLS12, &TLS13] {
        let config = showing(&scene, "alice", &[version]);
        for _ in 0..2 {
            let mut client = end(&scene, &config).expect("it is of the authority");
            // Each time anew: no session is resumed.
            let kind = client.connection.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
            let (status, body) = told(&mut client);
            assert_eq!(status, 200);
            let wanted =
                format!("X-SSL-Client-DN: CN=rcgen self signed cert|X-SSL-Client-SHA256: {digest}");
            assert_eq!(body, wanted);
            client.notify();
        }
    }
    assert_eq!(scene.plane.workers("tls_resumed"), 0);
    scene.plane.finish();
}

#[test]
fn who_shows_none_or_one_of_nobody_is_refused_and_counted() {
    let scene = scene(REQUIRED);
    for version in [&TLS12, &TLS13] {
        let none = Arc::new(config(&[version]));
        let refusal = end(&scene, &none).err();
        let wanted = alert(AlertDescription::CertificateRequired);
        assert_eq!(refusal, Some(wanted), "{version:?}");
        let late = showing(&scene, "late", &[version]);
        let refusal = end(&scene, &late).err();
        assert_eq!(refusal, Some(alert(AlertDescription::CertificateExpired)));
    }
    assert_eq!(scene.plane.hits("tls_client_certificate_refused"), 4);
    assert_eq!(scene.plane.workers("tls_handshakes"), 0);
    // A site beside it is nobody's but its own.
    let mut other = scene.client("other.test");
    other.notify();
    scene.plane.finish();
}

#[test]
fn who_need_not_show_one_is_served_without_and_nobody_is_told_what_it_says_itself() {
    let scene = scene(OPTIONAL);
    let forged = b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-SSL-Client-DN: CN=alice\r\n\
                   x_ssl_client_dn: CN=alice\r\nX-SSL-Client-Verify: SUCCESS\r\nClient-Cert: :AA==:\r\n\r\n";
    let mut nobody = scene.client("shop.test");
    nobody.send(forged);
    assert_eq!(told(&mut nobody), (200, String::new()));
    nobody.notify();
    let mut plain = Peer::connect(scene.plane.address());
    plain.send(forged);
    let (head, body) = plain.receive_response();
    assert_eq!((status(&head), body), (200, vec![]));
    let mut alice = scene.connect("shop.test", &showing(&scene, "alice", VERSIONS));
    alice.shake_hands().expect("it is of the authority");
    alice.send(forged);
    let (_, body) = told(&mut alice);
    assert_eq!(body.matches("X-SSL-Client-DN").count(), 1, "{body}");
    assert!(!body.contains("alice") && !body.contains("SUCCESS") && !body.contains("Client-Cert:"));
    alice.notify();
    // What is shown has to be right all the same.
    let late = showing(&scene, "late", &[&TLS13]);
    let refusal = end(&scene, &late).err();
    assert_eq!(refusal, Some(alert(AlertDescription::CertificateExpired)));
    drop((nobody, alice, plain));
    scene.plane.finish();
}

#[test]
fn without_tls_and_by_the_handshake_of_another_site_there_is_no_way_in() {
    let scene = scene(REQUIRED);
    let mut plain = Peer::connect(scene.plane.address());
    plain.send(GET);
    let (head, _) = plain.receive_response();
    assert_eq!(
        (status(&head), field(&head, "connection")),
        (403, Some("close"))
    );
    assert_eq!(scene.plane.hits("certificate_required"), 1);
    let mut other = scene.client("other.test");
    other.send(GET);
    assert_eq!(told(&mut other).0, 421);
    other.notify();
    drop((plain, other));
    scene.plane.finish();
}

#[test]
fn a_connection_that_was_made_by_other_rules_is_of_no_use_any_more() {
    let mut scene = scene(OPTIONAL);
    let before = |scene: &Scene| {
        let mut config = ClientConfig::clone(&any());
        config.resumption = Resumption::in_memory_sessions(8);
        let config = Arc::new(config);
        let mut client = scene.connect("shop.test", &config);
        client.shake_hands().expect("nothing is asked for");
        client.send(GET);
        assert_eq!(told(&mut client).0, 200);
        (client, config)
    };
    let (mut optional, _) = before(&scene);
    scene.declared.site_keys = "certificates = [\"web\"]\n".to_owned();
    let declared = scene.declared.clone();
    scene.plane.reload(&declared);
    // It has tickets from when nothing was asked for.
    let (mut unasked, config) = before(&scene);
    let directory = scene.directory.path().to_owned();
    ask(&mut scene.declared, &directory, REQUIRED);
    let declared = scene.declared.clone();
    scene.plane.reload(&declared);
    for client in [&mut optional, &mut unasked] {
        client.send(GET);
        let (head, _) = client.receive_response();
        assert_eq!(
            (status(&head), field(&head, "connection")),
            (421, Some("close"))
        );
    }
    let refusal = end(&scene, &config).err();
    assert_eq!(refusal, Some(alert(AlertDescription::CertificateRequired)));
    drop((optional, unasked));
    scene.plane.finish();
}

#[test]
fn openssl_is_asked_for_a_certificate_of_the_authority() {
    let scene = scene(OPTIONAL);
    let path = |name: &str| scene.directory.path().join(name).display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let said = s_client(
            &scene,
            &[
                version,
                "-cert",
                &path("alice.pem"),
                "-key",
                &path("alice.key"),
            ],
        );
        assert!(
            said.contains("Acceptable client certificate CA names"),
            "{said}"
        );
        assert!(said.contains("CN = rcgen self signed cert"), "{said}");
    }
    scene.plane.finish();
}
