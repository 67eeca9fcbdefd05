//! Health checks by TLS: real servers, good ones and bad ones, and what is said of each.

use crate::health::{Server, becomes, checked};
use crate::support::eventually;
use crate::support::peer::Peer;
use crate::support::plane::{Plane, Reserved};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerConnection, WebPkiClientVerifier};
use rustls::sign;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// A check each 300 ms that decides alone.
const OFTEN: &str =
    "{ kind = \"tls\", interval = \"300ms\", timeout = \"300ms\", rise = 1, fall = 1 }";
/// One that gives a server on a busy machine time.
const PATIENT: &str = "{ kind = \"tls\", host = \"Shop.example.com\", interval = \"5s\", \
     timeout = \"5s\", rise = 1, fall = 1 }";

/// What a server saw of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    name: Option<String>,
    has_notified: bool,
}

type Log = Arc<Mutex<Vec<Seen>>>;

fn self_signed() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(["nobody.asks.test".to_owned()]).expect("a key can be made")
}

fn key_of(own: &CertifiedKey<KeyPair>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("it is a key")
}

fn of_versions(
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    builder.with_protocol_versions(versions).expect("they fit")
}

fn secure(versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let own = self_signed();
    let chain = vec![own.cert.der().clone()];
    let builder = of_versions(versions).with_no_client_auth();
    let config = builder.with_single_cert(chain, key_of(&own));
    Arc::new(config.expect("the key fits"))
}

/// Serves a connection until its client has closed, and says what it saw.
fn serve(config: &Arc<ServerConfig>, stream: &mut TcpStream) -> Seen {
    let connection = ServerConnection::new(Arc::clone(config));
    let mut connection = connection.expect("the configuration is good");
    let mut has_notified = false;
    loop {
        while connection.wants_write() && connection.write_tls(stream).is_ok() {}
        if has_notified || !connection.read_tls(stream).is_ok_and(|read| read > 0) {
            break;
        }
        match connection.process_new_packets() {
            Ok(state) => has_notified = state.peer_has_closed(),
            Err(_) => {
                while connection.wants_write() && connection.write_tls(stream).is_ok() {}
                break;
            }
        }
        if has_notified {
            connection.send_close_notify();
        }
    }
    Seen {
        name: connection.server_name().map(str::to_owned),
        has_notified,
    }
}

/// A server of `config` that notes what it saw.
fn serving(config: Arc<ServerConfig>, log: &Log) -> impl Fn(Peer) + Clone + Send + 'static {
    let log = Arc::clone(log);
    move |mut peer| {
        let seen = serve(&config, &mut peer.stream);
        log.lock().expect("nobody panicked").push(seen);
    }
}

/// Reads the first message of a client.
fn hello(peer: &mut Peer) {
    let mut bytes = [0; 4096];
    let _ = peer.stream.read(&mut bytes);
}

#[test]
fn a_backend_that_makes_a_handshake_is_up() {
    let log = Log::default();
    let newest = Server::start(serving(secure(&[&TLS13, &TLS12]), &log));
    let older_log = Log::default();
    let older = Server::start(serving(secure(&[&TLS12]), &older_log));
    let plane = Plane::start(&checked(&[newest.address(), older.address()], OFTEN));
    assert_eq!(becomes(&plane, 0, "up"), "TLS 1.3");
    assert_eq!(becomes(&plane, 1, "up"), "TLS 1.2");
    let have_closed = || {
        [&log, &older_log].into_iter().all(|log| {
            let seen = log.lock().expect("nobody panicked");
            assert!(seen.iter().all(|it| it.name.is_none()), "{seen:?}");
            seen.iter().filter(|it| it.has_notified).count() >= 3
        })
    };
    assert!(eventually(30, have_closed));
    plane.stop();
}

#[test]
fn a_name_is_asked_for_where_one_is_given() {
    let log = Log::default();
    let server = Server::start(serving(secure(&[&TLS13]), &log));
    let plane = Plane::start(&checked(&[server.address()], PATIENT));
    assert_eq!(becomes(&plane, 0, "up"), "TLS 1.3");
    plane.stop();
    let seen = log.lock().expect("nobody panicked")[0].clone();
    assert_eq!(seen.name.as_deref(), Some("shop.example.com"));
}

/// What a backend does wrong, what is said of it, and that it is up once it is mended.
#[test]
fn each_fault_has_its_own_reason() {
    type Fault = fn(Peer);
    let faults: [(Fault, &[&str]); 7] = [
        (speaks_http, &["tls: not TLS"]),
        (says_nothing, &["tls: no handshake in 500ms"]),
        (sends_an_alert, &["tls: alert unrecognized_name"]),
        (sends_an_unknown_alert, &["tls: alert 213"]),
        (trickles, &["tls: no handshake in 500ms"]),
        (floods, &["tls: handshake of more than 32768 bytes"]),
        (
            ends_in_the_midst,
            &[
                "tls: closed before its handshake was whole",
                "tls: connection reset",
            ],
        ),
    ];
    let mut servers: Vec<Server> = faults
        .iter()
        .map(|(fault, _)| Server::start(*fault))
        .collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
    let health =
        "{ kind = \"tls\", interval = \"500ms\", timeout = \"500ms\", rise = 1, fall = 3 }";
    let plane = Plane::start(&checked(&addresses, health));
    for (index, (_, reasons)) in faults.iter().enumerate() {
        let reason = becomes(&plane, index, "down");
        assert!(reasons.contains(&&*reason), "{index}: {reason}");
    }
    assert!(plane.hits("health_check_too_long") >= 1);
    let config = secure(&[&TLS13]);
    let log = Log::default();
    for server in &mut servers {
        server.kill();
        server.start_again(serving(Arc::clone(&config), &log));
    }
    for index in 0..faults.len() {
        assert_eq!(becomes(&plane, index, "up"), "TLS 1.3", "{index}");
    }
    plane.stop();
}

fn speaks_http(mut peer: Peer) {
    hello(&mut peer);
    let _ = peer
        .stream
        .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

fn says_nothing(mut peer: Peer) {
    let _ = peer.stream.read_to_end(&mut Vec::new());
}

/// A record of two bytes: fatal, and which (RFC 8446 §6).
fn sends_an_alert(mut peer: Peer) {
    hello(&mut peer);
    let _ = peer.stream.write_all(&[21, 3, 3, 0, 2, 2, 112]);
}

fn sends_an_unknown_alert(mut peer: Peer) {
    hello(&mut peer);
    let _ = peer.stream.write_all(&[21, 3, 3, 0, 2, 2, 213]);
}

/// A record of 16 KiB, a byte at a time.
fn trickles(mut peer: Peer) {
    hello(&mut peer);
    let record = [22, 3, 3, 0x40, 0, 2, 0, 0xff, 0xff];
    let bytes = record.into_iter().chain(std::iter::repeat(0));
    for byte in bytes {
        if peer.stream.write_all(&[byte]).is_err() {
            return;
        }
        sleep(Duration::from_millis(5));
    }
}

/// A ServerHello of 64 KiB in records of 1 KiB, again and again.
fn floods(mut peer: Peer) {
    hello(&mut peer);
    let mut record = [0; 5 + 1024];
    record[..9].copy_from_slice(&[22, 3, 3, 4, 0, 2, 0, 0xff, 0xff]);
    while peer.stream.write_all(&record).is_ok() {
        record[5..9].fill(0);
    }
}

fn ends_in_the_midst(mut peer: Peer) {
    hello(&mut peer);
    let _ = peer
        .stream
        .write_all(&[22, 3, 3, 0, 100, 2, 0, 0, 96, 3, 3]);
}

/// The certificate is one key's, and another one signs.
#[test]
fn whoever_does_not_hold_the_key_of_its_certificate_is_down() {
    #[derive(Debug)]
    struct Swapped(Arc<sign::CertifiedKey>);
    impl ResolvesServerCert for Swapped {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let (shown, held) = (self_signed(), self_signed());
    let key = aws_lc_rs::sign::any_supported_type(&key_of(&held)).expect("it signs");
    let chain: Vec<CertificateDer<'static>> = vec![shown.cert.der().clone()];
    let swapped = Arc::new(Swapped(Arc::new(sign::CertifiedKey::new(chain, key))));
    let with = |version: &'static SupportedProtocolVersion| {
        let builder = of_versions(&[version]).with_no_client_auth();
        let config = Arc::new(builder.with_cert_resolver(swapped.clone()));
        Server::start(serving(config, &Log::default()))
    };
    let servers = [with(&TLS13), with(&TLS12)];
    let plane = Plane::start(&checked(&servers.each_ref().map(Server::address), OFTEN));
    for index in 0..2 {
        let expected = "tls: its certificate's key did not sign the handshake";
        assert_eq!(becomes(&plane, index, "down"), expected);
    }
    plane.stop();
}

/// With TLS 1.3 the client is through before its server misses a certificate, and hears of it only
/// then.
#[test]
fn a_backend_that_wants_a_certificate_is_down_by_either_version() {
    let own = self_signed();
    let mut roots = RootCertStore::empty();
    roots
        .add(own.cert.der().clone())
        .expect("it is a certificate");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().expect("there is a root");
    let with = |version: &'static SupportedProtocolVersion| {
        let builder = of_versions(&[version]).with_client_cert_verifier(Arc::clone(&verifier));
        let config = builder.with_single_cert(vec![own.cert.der().clone()], key_of(&own));
        let config = Arc::new(config.expect("the key fits"));
        Server::start(serving(config, &Log::default()))
    };
    let servers = [with(&TLS13), with(&TLS12)];
    let health = PATIENT.replace("5s", "1s");
    let plane = Plane::start(&checked(&servers.each_ref().map(Server::address), &health));
    assert_eq!(
        becomes(&plane, 0, "down"),
        "tls: alert certificate_required"
    );
    let older = becomes(&plane, 1, "down");
    let names = ["handshake_failure", "certificate_required"];
    assert!(
        names.iter().any(|it| older == format!("tls: alert {it}")),
        "{older}"
    );
    plane.stop();
}

/// Whether and how a backend closes after the handshake changes nothing, and keeps no check waiting.
#[test]
fn a_backend_need_not_close() {
    let config = secure(&[&TLS13]);
    let stays = Server::start(move |mut peer: Peer| {
        let connection = ServerConnection::new(Arc::clone(&config));
        let mut connection = connection.expect("the configuration is good");
        let _ = connection.complete_io(&mut peer.stream);
        // It speaks first, and more than a handshake may take.
        let _ = connection.writer().write_all(&[b'x'; 60_000]);
        while connection.wants_write() && connection.write_tls(&mut peer.stream).is_ok() {}
        sleep(Duration::from_secs(20));
    });
    let plane = Plane::start(&checked(&[stays.address()], &PATIENT.replace("5s", "1s")));
    assert_eq!(becomes(&plane, 0, "up"), "TLS 1.3");
    let are_made = || plane.backend(0, "checks") >= 4;
    assert!(eventually(20, are_made));
    assert_eq!(plane.backend(0, "check_failures"), 0);
    plane.stop();
}

/// A TLS of other people, which finds each connection closed in order.
#[test]
fn openssl_is_a_backend_like_others() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let own = self_signed();
    let [certificate, key] = ["certificate", "key"].map(|name| directory.path().join(name));
    fs::write(&certificate, own.cert.der()).expect("there is room");
    fs::write(&key, own.signing_key.serialize_der()).expect("there is room");
    let place = Reserved::new();
    let plane = Plane::start(&checked(&[place.address], OFTEN));
    assert_eq!(becomes(&plane, 0, "down"), "connection refused");
    for (version, told) in [("TLSv1_3", "TLS 1.3"), ("TLSv1_2", "TLS 1.2")] {
        let mut server = Openssl::start(place.address, version, &certificate, &key);
        assert_eq!(becomes(&plane, 0, "up"), told);
        assert!((0..50).any(|_| server.told() == "b''"));
        drop(server);
        assert_eq!(becomes(&plane, 0, "down"), "connection refused");
    }
    plane.stop();
}

/// Python's `ssl` is OpenSSL. What it tells of each connection is what it read last: nothing where
/// close_notify came, an exception where the connection ended without.
struct Openssl(Child, BufReader<ChildStdout>);

impl Openssl {
    fn start(address: SocketAddr, version: &str, certificate: &Path, key: &Path) -> Openssl {
        let program = "import base64,socket,ssl,sys\n\
            port,version,*files=sys.argv[1:]\n\
            for path,what in zip(files,('CERTIFICATE','PRIVATE KEY')):\n \
             text=base64.encodebytes(open(path,'rb').read()).decode()\n \
             open(path+'.pem','w').write(f'-----BEGIN {what}-----\\n{text}-----END {what}-----\\n')\n\
            context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
            context.load_cert_chain(*(path+'.pem' for path in files))\n\
            context.minimum_version=context.maximum_version=ssl.TLSVersion[version]\n\
            listener=socket.socket()\n\
            listener.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)\n\
            listener.bind(('127.0.0.1',int(port)))\n\
            listener.listen()\n\
            while True:\n \
             plain,_=listener.accept()\n \
             try:\n  \
              with context.wrap_socket(plain,server_side=True) as secure: last=secure.recv(1)\n \
             except OSError as error: last=error\n \
             print(repr(last),flush=True)\n";
        let mut child = Command::new("python3")
            .args(["-c", program, &address.port().to_string(), version])
            .args([certificate, key])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is there");
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        Openssl(child, told)
    }

    fn told(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("it tells something");
        line.trim_end().to_owned()
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
