//! Programs that others wrote: curl and HAProxy in front, nginx behind.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Peer, pattern};
use crate::support::plane::{Plane, Reserved};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const BODY_BYTES: usize = 8 * 1024 * 1024;

/// Whether a program is there; says loudly when it is not.
fn has(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin command -v {program}")])
        .stdout(Stdio::null())
        .status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}

struct Nginx {
    child: Child,
    directory: TempDir,
    address: SocketAddr,
}

impl Nginx {
    /// Serves files below `/`, takes uploads at `/put/`, in the foreground as one process.
    fn start() -> Nginx {
        Nginx::start_with("")
    }

    /// The same with more words behind `listen`.
    fn start_with(listen: &str) -> Nginx {
        let directory = tempfile::tempdir().expect("there is room");
        let place = Reserved::new();
        let address = place.address;
        let path = directory.path().display();
        let text = format!(
            "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
             events {{ worker_connections 512; }}\n\
             http {{\n access_log off; client_max_body_size 64m; gzip on; gzip_min_length 100; gzip_proxied any;\n\
             gzip_types text/plain; types {{ text/plain txt; }}\n\
             client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
             fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi;\n\
             scgi_temp_path {path}/scgi;\n\
             server {{ listen {address} reuseport {listen}; root {path}/files;\n\
             location /put/ {{ dav_methods PUT; create_full_put_path on; }}\n\
             location /who {{ return 200 \"$proxy_protocol_addr:$proxy_protocol_port to \
             $proxy_protocol_server_addr:$proxy_protocol_server_port for $http_x_forwarded_for\"; }} }} }}\n"
        );
        fs::write(directory.path().join("nginx.conf"), text).expect("there is room");
        fs::create_dir(directory.path().join("files")).expect("there is room");
        let child = Command::new("sh")
            .args([
                "-c",
                "PATH=$PATH:/usr/sbin exec nginx -c \"$1\" -e stderr",
                "sh",
            ])
            .arg(directory.path().join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        let nginx = Nginx {
            child,
            directory,
            address,
        };
        assert!(
            eventually(10, || TcpStream::connect(address).is_ok()),
            "nginx does not listen"
        );
        nginx
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("files").join(name)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// curl with the site's name resolved to the plane.
fn curl(plane: &Plane, directory: &Path, arguments: &[&str]) -> Output {
    let address = plane.address();
    let (ip, port) = (address.ip(), address.port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "30"])
        .args(["--noproxy", "*"])
        .args(["--connect-to", &format!("shop.test:80:{ip}:{port}")])
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("curl starts");
    assert!(
        output.status.success(),
        "curl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

#[test]
fn curl_fetches_and_puts_files_of_nginx_intact() {
    if !has("curl") || !has("nginx") {
        return;
    }
    let nginx = Nginx::start();
    let body = pattern(BODY_BYTES);
    fs::write(nginx.file("large.bin"), &body).expect("there is room");
    let text = "a line of text that compresses well\n".repeat(20_000);
    fs::write(nginx.file("text.txt"), &text).expect("there is room");
    let plane = Plane::start(&Declared::with_backends([nginx.address]));
    let here = tempfile::tempdir().expect("there is room");
    let path = here.path();

    // Twice over one connection, and once as HTTP/1.0.
    curl(
        &plane,
        path,
        &[
            "http://shop.test/large.bin",
            "-o",
            "one",
            "http://shop.test/large.bin",
            "-o",
            "two",
        ],
    );
    curl(
        &plane,
        path,
        &["--http1.0", "http://shop.test/large.bin", "-o", "three"],
    );
    for name in ["one", "two", "three"] {
        assert!(
            fs::read(path.join(name)).expect("curl wrote it") == body,
            "{name}"
        );
    }
    // nginx compresses on the fly, so it chunks.
    curl(
        &plane,
        path,
        &[
            "--compressed",
            "http://shop.test/text.txt",
            "-o",
            "text",
            "-D",
            "head",
        ],
    );
    assert!(fs::read_to_string(path.join("text")).expect("curl wrote it") == text);
    let head = fs::read_to_string(path.join("head")).expect("curl wrote it");
    assert!(head.contains("Transfer-Encoding: chunked"), "{head}");
    curl(
        &plane,
        path,
        &[
            "--compressed",
            "--http1.0",
            "http://shop.test/text.txt",
            "-o",
            "text0",
        ],
    );
    assert!(fs::read_to_string(path.join("text0")).expect("curl wrote it") == text);

    // With a length and 100-continue, then chunked.
    curl(
        &plane,
        path,
        &[
            "-T",
            "one",
            "-H",
            "Expect: 100-continue",
            "http://shop.test/put/a",
        ],
    );
    curl(
        &plane,
        path,
        &[
            "-T",
            "one",
            "-H",
            "Transfer-Encoding: chunked",
            "http://shop.test/put/b",
        ],
    );
    for name in ["put/a", "put/b"] {
        assert!(
            fs::read(nginx.file(name)).expect("nginx wrote it") == body,
            "{name}"
        );
    }
    let range = curl(
        &plane,
        path,
        &["-r", "1000-1999", "http://shop.test/large.bin"],
    );
    assert!(range.stdout == body[1000..2000]);
    curl(&plane, path, &["-I", "http://shop.test/large.bin"]);
    assert!(eventually(5, || plane.workers("connections") == 0));
    let report = plane.status();
    assert_eq!(report["sites"][0]["requests"], 9);
    assert_eq!(report["sites"][0]["responses_2xx"], 9);
    assert_eq!(report["sites"][0]["cut"], 0);
    assert!(
        plane.backend(0, "connections") < 9,
        "connections are used again"
    );
    drop(nginx);
    plane.finish();
}

/// nginx drops its idle connections when it is stopped, and a new one listens in its place:
/// clients never notice.
#[test]
fn a_restarted_nginx_is_found_again() {
    if !has("nginx") {
        return;
    }
    let (first, second) = (Nginx::start(), Nginx::start());
    for nginx in [&first, &second] {
        fs::write(nginx.file("a.bin"), b"a").expect("there is room");
    }
    let plane = Plane::start(&Declared::with_backends([first.address, second.address]));
    let mut client = Peer::connect(plane.address());
    let mut ask = || {
        client.send(b"GET /a.bin HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        assert_eq!(client.receive_response().1, b"a");
    };
    (0..4).for_each(|_| ask());
    drop(first);
    (0..4).for_each(|_| ask());
    assert_eq!(plane.site("responses_2xx"), 8);
    assert!(
        plane.site("retries") >= 1,
        "half of the picks met the one that is gone"
    );
    drop(client);
    drop(second);
    plane.finish();
}

/// HAProxy as one process that passes TCP on to the plane.
struct Haproxy {
    child: Child,
    /// Where it listens, one for each kind of header that it sends.
    listeners: Vec<Reserved>,
    _directory: TempDir,
}

impl Haproxy {
    fn start(plane: SocketAddr, server_words: &[&str]) -> Haproxy {
        let directory = tempfile::tempdir().expect("there is room");
        let listeners: Vec<Reserved> = server_words.iter().map(|_| Reserved::new()).collect();
        let mut text = String::from(
            "global\n maxconn 200\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n",
        );
        for (index, (listener, words)) in listeners.iter().zip(server_words).enumerate() {
            let address = listener.address;
            text.push_str(&format!(
                "listen l{index}\n bind {address}\n server s {plane} {words}\n"
            ));
        }
        let path = directory.path().join("haproxy.cfg");
        fs::write(&path, text).expect("there is room");
        let child = Command::new("sh")
            .args([
                "-c",
                "PATH=$PATH:/usr/sbin exec haproxy -db -f \"$1\"",
                "sh",
            ])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy starts");
        Haproxy {
            child,
            listeners,
            _directory: directory,
        }
    }

    fn connect(&self, index: usize) -> Peer {
        let address = self.listeners[index].address;
        assert!(
            eventually(10, || TcpStream::connect(address).is_ok()),
            "haproxy does not listen"
        );
        Peer::connect(address)
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who the client is, from HAProxy in front through the plane to nginx behind, in every pair of
/// versions; and HAProxy's own health checks, which are nobody's connection.
#[test]
fn haproxy_says_whose_connection_it_is_and_nginx_hears_it() {
    if !has("haproxy") || !has("nginx") {
        return;
    }
    let nginx = Nginx::start_with("proxy_protocol");
    for sent in [1, 2] {
        let plane = Plane::start(&Declared {
            listen: "proxy_protocol_from = [\"127.0.0.0/8\"]".to_owned(),
            site_keys: format!("pool = {{ proxy_protocol = {sent} }}\n"),
            ..Declared::with_backends([nginx.address])
        });
        let haproxy = Haproxy::start(
            plane.address(),
            &[
                "send-proxy",
                "send-proxy-v2",
                "send-proxy-v2 proxy-v2-options crc32c",
                "send-proxy-v2 check check-send-proxy inter 100ms",
            ],
        );
        for index in 0..haproxy.listeners.len() {
            let mut client = haproxy.connect(index);
            let own = client.stream.local_addr().expect("it has one");
            for _ in 0..2 {
                client.send(b"GET /who HTTP/1.1\r\nHost: shop.test\r\n\r\n");
                let (_, body) = client.receive_response();
                let listener = haproxy.listeners[index].address;
                let expected = format!("{own} to {listener} for {}", own.ip());
                assert_eq!(String::from_utf8_lossy(&body), expected, "version {sent}");
            }
        }
        let accepted = plane.workers("accepted");
        assert!(
            eventually(10, || plane.workers("accepted") >= accepted + 5),
            "health checks come"
        );
        drop(haproxy);
        assert_eq!(plane.site("responses_2xx"), 8);
        assert_eq!(plane.site("connections"), 4);
        assert_eq!(plane.backend(0, "connections"), 0, "none is kept");
        assert_eq!(plane.hits("bad_proxy_header"), 0);
        assert_eq!(plane.hits("proxy_header_timeout"), 0);
        plane.finish();
    }
}
