//! Sessions that are resumed, and those that are not.

use super::Scene;
use crate::support::peer::End;
use crate::support::secure::config;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, SupportedProtocolVersion};
use std::fs;
use std::sync::Arc;

fn remembering(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut config = config(versions);
    config.resumption = Resumption::in_memory_sessions(8);
    Arc::new(config)
}

/// Makes a handshake and a request, so that tickets have come; how that handshake was.
fn kind(scene: &Scene, name: &str, config: &Arc<ClientConfig>) -> HandshakeKind {
    let mut client = scene.connect(name, config);
    client.shake_hands().expect("it is the site's name");
    let host = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    client.send(host.as_bytes());
    client.receive_response();
    client.notify();
    assert_eq!(client.receive(1).1, End::Closed);
    client.connection.handshake_kind().expect("it was made")
}

#[test]
fn a_session_is_resumed_also_by_a_plane_that_was_started_anew() {
    let mut scene = Scene::new();
    let secret = scene.plane.state().join(meridian_model::fleet_secret::FILE);
    fs::create_dir_all(secret.parent().unwrap()).expect("there is room");
    fs::write(secret, "5e".repeat(32)).expect("there is room");
    scene.plane.restart();
    for version in [&TLS12, &TLS13] {
        let versions: &[_] = &[version];
        let config = remembering(versions);
        assert_eq!(kind(&scene, "shop.test", &config), HandshakeKind::Full);
        assert_eq!(kind(&scene, "shop.test", &config), HandshakeKind::Resumed);
        scene.plane.restart();
        assert_eq!(kind(&scene, "shop.test", &config), HandshakeKind::Resumed);
        assert_eq!(scene.plane.workers("tls_resumed"), 1);
        assert_eq!(scene.plane.workers("tls_handshakes"), 1);
    }
    scene.plane.finish();
}

#[test]
fn who_closes_right_behind_its_handshake_has_its_ticket() {
    let scene = Scene::new();
    for version in [&TLS12, &TLS13] {
        let config = remembering(&[version]);
        for wanted in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut client = scene.connect("shop.test", &config);
            client
                .shake_hands_and_notify()
                .expect("it is the site's name");
            assert_eq!(client.receive(1), (vec![], End::Closed), "{version:?}");
            assert_eq!(
                client.connection.handshake_kind(),
                Some(wanted),
                "{version:?}"
            );
        }
    }
    assert_eq!(scene.plane.workers("tls_handshakes"), 4);
    assert_eq!(scene.plane.hits("tls_handshake_aborted"), 0);
    scene.plane.finish();
}

/// Has one drawer for the sessions of all servers, as a client has that wants to be taken for another.
#[derive(Debug)]
struct Drawer(ClientSessionMemoryCache);

fn drawer() -> ServerName<'static> {
    ServerName::try_from("drawer.test").expect("it is a name")
}

impl ClientSessionStore for Drawer {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(drawer(), group);
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(&drawer())
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(drawer(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(&drawer())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&drawer());
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(drawer(), value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&drawer())
    }
}

#[test]
fn a_session_of_one_site_is_none_of_another() {
    let scene = Scene::new();
    for version in [&TLS12, &TLS13] {
        let mut config = config(&[version]);
        config.resumption = Resumption::store(Arc::new(Drawer(ClientSessionMemoryCache::new(8))));
        let config = Arc::new(config);
        assert_eq!(kind(&scene, "shop.test", &config), HandshakeKind::Full);
        assert_eq!(kind(&scene, "other.test", &config), HandshakeKind::Full);
        assert_eq!(
            kind(&scene, "exact.shop.test", &config),
            HandshakeKind::Full
        );
    }
    scene.plane.finish();
}
