//! HTTPS: handshakes and what is asked for by them, from outside. That requests and responses are the same as
//! without TLS is shown by the conversations (`wire`).

mod bodies;
mod clients;
mod fragments;
mod handshakes;
mod hello;
mod order;
mod resumption;
mod strict;

use crate::support::eventually;
use crate::support::identity;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, End, Peer, answer_each, field, ok, status};
use crate::support::plane::Plane;
use crate::support::secure::{SecurePeer, VERSIONS, config};
use crate::support::told::read_log;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error, SupportedProtocolVersion};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;
use tempfile::TempDir;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// A plane with two sites that show certificates, one that shows none, and a backend that tells each
/// request's forwarding fields.
struct Scene {
    plane: Plane,
    declared: Declared,
    directory: TempDir,
}

fn telling() -> SocketAddr {
    Backend::new().serve(|peer| {
        answer_each(peer, |head| {
            let told = |name: &str| field(head, name).unwrap_or("-").to_owned();
            let told = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-port"].map(told);
            ok(told.join(" ").as_bytes())
        })
    })
}

fn declared(directory: &Path) -> Declared {
    let kind = &PKCS_ECDSA_P256_SHA256;
    let mut declared = Declared::with_backends([telling()]);
    declared.timeouts = "{ upstream_idle = \"1s\" }".to_owned();
    declared.hostnames = vec!["shop.test".to_owned(), "*.shop.test".to_owned()];
    declared.site_keys = "certificates = [\"web\"]\n".to_owned();
    declared.log = Some(directory.join("access.log"));
    declared.more = "[[site]]\ntenant = \"acme\"\nname = \"tea\"\nhostnames = [\"other.test\", \
                     \"exact.shop.test\"]\ncertificates = [\"other\"]\n\
                     [[site]]\ntenant = \"acme\"\nname = \"under\"\nhostnames = [\"plain.test\"]\n"
        .to_owned();
    let names = ["shop.test", "*.shop.test"];
    declared.more += &identity::write(directory, "web", &names, kind);
    let names = ["other.test", "exact.shop.test"];
    declared.more += &identity::write(directory, "other", &names, kind);
    declared
}

impl Scene {
    fn with(change: impl FnOnce(&mut Declared, &Path)) -> Scene {
        let directory = tempfile::tempdir().expect("there is room for files");
        let mut declared = declared(directory.path());
        change(&mut declared, directory.path());
        Scene {
            plane: Plane::start_secure(&declared),
            declared,
            directory,
        }
    }

    fn new() -> Scene {
        Scene::with(|_, _| {})
    }

    fn address(&self) -> SocketAddr {
        self.plane.secure_address()
    }

    fn connect(&self, name: &str, config: &Arc<ClientConfig>) -> SecurePeer {
        SecurePeer::connect(self.address(), name, config)
    }

    /// A client that has made its handshake.
    fn client(&self, name: &str) -> SecurePeer {
        let mut client = self.connect(name, &any());
        client.shake_hands().expect("it is the site's name");
        client
    }

    /// Why there is no handshake.
    fn refusal(&self, name: &str, config: &Arc<ClientConfig>) -> Error {
        let refused = self.connect(name, config).shake_hands();
        refused.expect_err("nobody may show a certificate for it")
    }
}

fn any() -> Arc<ClientConfig> {
    Arc::new(config(VERSIONS))
}

fn of(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    Arc::new(config(&[version]))
}

fn alert(what: AlertDescription) -> Error {
    Error::AlertReceived(what)
}

#[test]
fn a_request_by_each_version_is_told_of_as_one_by_tls() {
    let scene = Scene::new();
    let port = scene.address().port();
    for (version, word) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let mut client = scene.connect("shop.test", &of(version));
        client.shake_hands().expect("both are spoken");
        assert_eq!(client.connection.alpn_protocol(), None);
        for _ in 0..2 {
            client.send(GET);
            let (head, body) = client.receive_response();
            assert_eq!(status(&head), 200);
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(body, format!("127.0.0.1 https {port}"));
        }
        client.notify();
        assert_eq!(client.receive(1), (vec![], End::Closed));
        let log = scene.directory.path().join("access.log");
        let told = eventually(20, || {
            let lines = read_log(&log).unwrap_or_default();
            lines.iter().filter(|line| line["tls"] == word).count() == 2
        });
        assert!(told, "{word}");
    }
    assert_eq!(scene.plane.site("tls_handshakes"), 2);
    assert_eq!(scene.plane.site("connections"), 2);
    assert_eq!(scene.plane.workers("tls_handshakes"), 2);
    scene.plane.finish();
}

#[test]
fn http_1_1_is_agreed_upon_and_nothing_else() {
    let scene = Scene::new();
    let with = |protocols: &[&str]| {
        let mut config = config(VERSIONS);
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        Arc::new(config)
    };
    let mut client = scene.connect("shop.test", &with(&["h2", "http/1.1"]));
    client.shake_hands().expect("one of them is spoken");
    let agreed = client.connection.alpn_protocol();
    assert_eq!(agreed, Some(b"http/1.1".as_slice()));
    client.notify();
    let refusal = scene.refusal("shop.test", &with(&["h2"]));
    assert_eq!(refusal, alert(AlertDescription::NoApplicationProtocol));
    drop(client);
    scene.plane.finish();
}

#[test]
fn a_site_is_found_by_the_name_exactly_before_a_wildcard() {
    let scene = Scene::new();
    for (name, of) in [
        ("shop.test", "web"),
        ("any.shop.test", "web"),
        ("exact.shop.test", "other"),
        ("other.test", "other"),
    ] {
        let mut client = scene.client(name);
        let shown = client
            .connection
            .peer_certificates()
            .expect("it showed one");
        let pem = fs::read_to_string(scene.directory.path().join(format!("{of}.pem")));
        assert_eq!(
            vec![shown[0].to_vec()],
            identity::ders(&pem.unwrap()),
            "{name}"
        );
        client.notify();
    }
    scene.plane.finish();
}

#[test]
fn a_name_without_certificate_gets_an_alert() {
    let scene = Scene::new();
    let mut nameless = config(VERSIONS);
    nameless.enable_sni = false;
    for (name, config) in [
        ("plain.test", any()),
        ("nobody.test", any()),
        ("a.b.shop.test", any()),
        ("127.0.0.1", any()),
        ("shop.test", Arc::new(nameless)),
    ] {
        let refusal = scene.refusal(name, &config);
        assert_eq!(refusal, alert(AlertDescription::UnrecognisedName), "{name}");
    }
    assert_eq!(scene.plane.hits("tls_unknown_name"), 5);
    assert_eq!(scene.plane.workers("tls_handshakes"), 0);
    scene.plane.finish();
}

#[test]
fn a_host_of_another_site_is_misdirected() {
    let scene = Scene::new();
    let mut client = scene.client("shop.test");
    for host in ["other.test", "exact.shop.test", "plain.test", "nobody.test"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let (head, _) = client.receive_response();
        assert_eq!(status(&head), 421, "{host}");
    }
    // The connection is good for its own site, by each of its names.
    for host in ["shop.test", "any.shop.test", "SHOP.TEST:443"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(status(&client.receive_response().0), 200, "{host}");
    }
    client.notify();
    assert_eq!(scene.plane.hits("misdirected"), 4);
    drop(client);
    scene.plane.finish();
}

#[test]
fn a_site_may_want_the_newest_version() {
    let scene = Scene::with(|declared, _| declared.site_keys += "minimum_tls = \"1.3\"\n");
    let refusal = scene.refusal("shop.test", &of(&TLS12));
    assert_eq!(refusal, alert(AlertDescription::ProtocolVersion));
    let mut client = scene.connect("shop.test", &of(&TLS13));
    client.shake_hands().expect("that is the newest");
    client.notify();
    let mut client = scene.connect("other.test", &of(&TLS12));
    client
        .shake_hands()
        .expect("another site has its own rules");
    client.notify();
    assert_eq!(scene.plane.hits("tls_handshake_refused"), 1);
    drop(client);
    scene.plane.finish();
}

/// What `openssl s_client` says of a handshake.
fn s_client(scene: &Scene, options: &[&str]) -> String {
    s_client_says(scene, options, "")
}

/// The same, with what is typed into it.
fn s_client_says(scene: &Scene, options: &[&str], typed: &str) -> String {
    let mut client = Command::new("openssl")
        .args(["s_client", "-connect", &scene.address().to_string()])
        .args(["-servername", "shop.test"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    // Without anything to type it has ended by itself.
    let stdin = client
        .stdin
        .take()
        .map(|mut stdin| stdin.write_all(typed.as_bytes()));
    drop(stdin);
    let ended = client.wait_with_output().expect("it ends");
    let (out, err) = (&ended.stdout, &ended.stderr);
    String::from_utf8_lossy(&[&out[..], err].concat()).into_owned()
}

#[test]
fn keys_of_two_kinds_stand_side_by_side() {
    let scene = Scene::with(|declared, directory| {
        let names = ["shop.test", "*.shop.test"];
        declared.more += &identity::write(directory, "rsa", &names, &PKCS_RSA_SHA256);
        declared.site_keys = "certificates = [\"rsa\", \"web\"]\n".to_owned();
    });
    let both = s_client(&scene, &[]);
    assert!(both.contains("signature type: ECDSA"), "{both}");
    for version in ["-tls1_2", "-tls1_3"] {
        let old = s_client(&scene, &[version, "-sigalgs", "RSA-PSS+SHA256:RSA+SHA256"]);
        assert!(old.contains("signature type: RSA"), "{old}");
    }
    for options in [["-tls1_1"], ["-tls1"]] {
        let refused = s_client(&scene, &[options[0], "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(refused.contains("alert"), "{refused}");
        assert!(!refused.contains("BEGIN CERTIFICATE"), "{refused}");
    }
    scene.plane.finish();
}

#[test]
fn other_content_is_shown_from_then_on_and_nobody_is_cut_off() {
    let mut scene = Scene::new();
    let mut before = scene.client("shop.test");
    let shown = |client: &SecurePeer| {
        client
            .connection
            .peer_certificates()
            .map(|it| it[0].clone())
    };
    let old = shown(&before);
    let names = ["shop.test", "*.shop.test"];
    identity::write(
        scene.directory.path(),
        "web",
        &names,
        &PKCS_ECDSA_P256_SHA256,
    );
    scene.plane.reload(&scene.declared);
    let mut after = scene.client("shop.test");
    assert_ne!(shown(&after), old);
    let unchanged = scene.client("other.test");
    assert!(shown(&unchanged).is_some());
    for client in [&mut before, &mut after] {
        client.send(GET);
        assert_eq!(status(&client.receive_response().0), 200);
        client.notify();
    }
    drop((before, after, unchanged));
    scene.plane.finish();
}

#[test]
fn without_its_file_a_site_has_no_handshakes_until_it_is_back() {
    let scene = Scene::new();
    let directory = scene.plane.state().join("certificates");
    let away = scene.plane.state().join("away");
    fs::rename(&directory, &away).expect("it is there");
    let refusal = scene.refusal("shop.test", &any());
    assert_eq!(refusal, alert(AlertDescription::InternalError));
    assert_eq!(scene.plane.hits("tls_without_certificate"), 1);
    fs::rename(&away, &directory).expect("it was moved");
    let is_back = || scene.connect("shop.test", &any()).shake_hands().is_ok();
    assert!(eventually(20, is_back));
    // What was read once is not read for each handshake.
    fs::rename(&directory, &away).expect("it is there");
    scene.client("shop.test").notify();
    scene.plane.finish();
}

#[test]
fn a_header_of_a_proxy_stands_in_front_of_the_handshake() {
    let scene = Scene::with(|declared, _| {
        declared.listen = "proxy_protocol_from = [\"127.0.0.0/8\"]".to_owned();
    });
    for waits in [false, true] {
        let mut client = scene.connect("shop.test", &any());
        let header = b"PROXY TCP4 192.0.2.7 203.0.113.9 12345 443\r\n";
        client.stream.write_all(header).expect("the plane takes it");
        if waits {
            sleep(Duration::from_millis(50));
        }
        client.shake_hands().expect("it follows the header");
        client.send(GET);
        let (_, body) = client.receive_response();
        assert_eq!(String::from_utf8_lossy(&body), "192.0.2.7 https 443");
        client.notify();
    }
    scene.plane.finish();
}

#[test]
fn a_sticky_cookie_that_was_set_by_tls_stays_there() {
    let scene = Scene::with(|declared, _| {
        declared.site_keys += "pool = { sticky = { cookie = \"MSRV\" } }\n";
    });
    let mut client = scene.client("shop.test");
    client.send(GET);
    let (head, _) = client.receive_response();
    let cookie = field(&head, "set-cookie").expect("it is set");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    client.notify();
    let mut plain = Peer::connect(scene.plane.address());
    plain.send(GET);
    let (head, _) = plain.receive_response();
    assert!(
        !field(&head, "set-cookie")
            .expect("it is set")
            .contains("Secure"),
        "{head}"
    );
    drop((client, plain));
    scene.plane.finish();
}

#[test]
fn idle_connections_hold_no_buffers_and_end_with_the_plane() {
    let scene = Scene::new();
    let mut clients: Vec<SecurePeer> = (0..50)
        .map(|_| {
            let mut client = scene.client("shop.test");
            client.send(GET);
            client.receive_response();
            client
        })
        .collect();
    let is_idle = || {
        scene.plane.workers("idle_connections") == 50 && scene.plane.workers("buffers_in_use") == 0
    };
    assert!(eventually(20, is_idle), "{}", scene.plane.status());
    scene.plane.signal("TERM");
    for client in &mut clients {
        assert_eq!(client.receive(1), (vec![], End::Closed));
    }
    drop(clients);
    let Scene { mut plane, .. } = scene;
    assert_eq!(plane.wait(20).code(), Some(0));
}
