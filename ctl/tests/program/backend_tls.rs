//! TLS to backends through `up`, with programs that others wrote as backends: nginx and openssl.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::authority::Authority;
use crate::host::{Host, Running, free_address, wait_for};
use crate::live::{real, served};

const SITE: &str = "shop.example.com";

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn listens(address: SocketAddr) {
    wait_for("the backend", || TcpStream::connect(address).ok());
}

/// nginx that tells of each request how its connection was made, with these words in its server.
fn nginx(directory: &Path, address: SocketAddr, words: &str) -> Program {
    let path = directory.display();
    let text = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
         events {{ worker_connections 512; }}\n\
         http {{\n access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
         fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
         server {{ listen {address} ssl; ssl_certificate {path}/back.pem; ssl_certificate_key {path}/back.key;\n\
         {words}\n\
         location / {{ return 200 \"$ssl_protocol $ssl_server_name $ssl_client_verify $ssl_session_reused\"; }} }} }}\n"
    );
    std::fs::write(directory.join("nginx.conf"), text).unwrap();
    let child = Command::new("sh")
        .args([
            "-c",
            "PATH=$PATH:/usr/sbin exec nginx -c \"$1\" -e stderr",
            "sh",
        ])
        .arg(directory.join("nginx.conf"))
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx is installed");
    listens(address);
    Program(child)
}

/// openssl that answers each request with its own page.
fn s_server(directory: &Path, address: SocketAddr, options: &[&str]) -> Program {
    let child = Command::new("openssl")
        .args([
            "s_server", "-quiet", "-www", "-cert", "back.pem", "-key", "back.key",
        ])
        .args(["-cert_chain", "back.pem", "-accept", &address.to_string()])
        .args(options)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed");
    listens(address);
    Program(child)
}

struct Scene {
    host: Host,
    authority: Authority,
    backend: SocketAddr,
}

impl Scene {
    fn new() -> Scene {
        let host = Host::new();
        let authority = Authority::new("back");
        authority.write(&host.path(""), "back", &["back.internal", "127.0.0.1"]);
        std::fs::write(host.path("ca.pem"), &authority.root_pem).unwrap();
        Scene {
            host,
            authority,
            backend: free_address(),
        }
    }

    /// Writes the manifest whose site has these words of TLS.
    fn write(&self, tls: &str, more: &str) {
        let backend = self.backend.to_string();
        let first = "[[site.backend]]\nname = \"a1\"";
        let text = self.host.manifest();
        assert!(text.contains(first), "{text}");
        let text = text
            .replacen(
                first,
                &format!("pool = {{ tls = {{ {tls} }} }}\n\n{first}"),
                1,
            )
            .replace("127.0.0.1:9001", &backend)
            .replace("127.0.0.1:9002", &backend);
        self.host.write_manifest(&(text + more));
    }

    fn up(&self) -> Running {
        let up = Running::start(&mut real(self.host.command(&["up", "-f", "h1.toml"])));
        up.line();
        up
    }

    fn apply(&self) {
        self.host
            .run(&["apply", "-f", "h1.toml", "--yes"])
            .expect(0, &[]);
    }

    /// The cause of the last failure, with its backend.
    fn failure(&self) -> (String, String) {
        let told = self
            .host
            .run(&["failures", "acme/shop", "--format", "json"]);
        let told = told.expect(0, &[]).json();
        let all = told["failures"].as_array().unwrap().iter();
        let last: &Value = all.max_by_key(|it| it["time"].as_str()).unwrap();
        let word = |name: &str| last[name].as_str().unwrap_or_default().to_owned();
        (word("cause"), word("backend"))
    }
}

const OWN_CA: &str = "authorities = \"ca.pem\", name = \"back.internal\"";

#[test]
fn nginx_is_a_backend_by_each_version_and_gets_our_certificate() {
    let scene = Scene::new();
    let at = scene.host.path("");
    scene.authority.write(&at, "ours", &["lb.internal"]);
    let more = "\n[[certificate]]\ntenant = \"acme\"\nname = \"ours\"\nchain = \"ours.pem\"\nkey = \"ours.key\"\n";
    scene.write(&format!("{OWN_CA}, certificate = \"ours\""), more);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let words = format!(
            "ssl_protocols {version}; ssl_client_certificate {}; ssl_verify_client on; ssl_verify_depth 2;",
            scene.host.path("ca.pem").display()
        );
        let _nginx = nginx(&at, scene.backend, &words);
        let up = scene.up();
        let told = served(&scene.host, SITE);
        assert_eq!(told, (200, format!("{version} back.internal SUCCESS .")));
        up.stop().expect(0, &[]);
    }
}

#[test]
fn openssl_is_a_backend_by_its_address() {
    let scene = Scene::new();
    scene.write("authorities = \"ca.pem\"", "");
    let _server = s_server(&scene.host.path(""), scene.backend, &["-tls1_3"]);
    let up = scene.up();
    let (status, page) = served(&scene.host, SITE);
    assert_eq!(status, 200);
    assert!(page.contains("TLSv1.3"), "{page}");
    up.stop().expect(0, &[]);
}

#[test]
fn a_handshake_that_fails_is_told_with_backend_and_reason() {
    let scene = Scene::new();
    let at = scene.host.path("");
    let other = Authority::new("other");
    std::fs::write(scene.host.path("other.pem"), &other.root_pem).unwrap();
    let _nginx = nginx(&at, scene.backend, "");
    scene.write(OWN_CA, "");
    let up = scene.up();
    assert_eq!(served(&scene.host, SITE).0, 200);
    for (tls, cause) in [
        (
            "authorities = \"other.pem\", name = \"back.internal\"",
            "backend_untrusted",
        ),
        // Whom the host trusts, which our authority is not one of.
        ("name = \"back.internal\"", "backend_untrusted"),
        (
            "authorities = \"ca.pem\", name = \"front.internal\"",
            "backend_wrong_name",
        ),
    ] {
        scene.write(tls, "");
        scene.apply();
        assert_eq!(served(&scene.host, SITE).0, 502, "{tls}");
        let (told, backend) = scene.failure();
        assert_eq!(told, cause, "{tls}");
        assert!(backend.starts_with("acme/shop/default/"), "{backend}");
    }
    // The file is read anew: another authority in it is a change.
    scene.write("authorities = \"other.pem\", name = \"back.internal\"", "");
    std::fs::copy(scene.host.path("ca.pem"), scene.host.path("other.pem")).unwrap();
    scene.apply();
    assert_eq!(served(&scene.host, SITE).0, 200);
    up.stop().expect(0, &[]);
}

#[test]
fn what_is_wrong_with_authorities_is_told_and_what_is_not_verified_is_warned_of() {
    let scene = Scene::new();
    let check = || scene.host.run(&["check", "-f", "h1.toml"]);
    scene.write("authorities = \"none.pem\"", "");
    check().expect(1, &["site.pool.tls.authorities", "none.pem: No such file"]);
    std::fs::write(scene.host.path("none.pem"), "nothing").unwrap();
    check().expect(1, &["none.pem: holds no certificate"]);
    scene.write("certificate = \"missing\"", "");
    check().expect(1, &["site.pool.tls.certificate", "missing"]);
    scene.write("verify = false", "");
    check().expect(0, &["tls.verify = false", "acme/shop/default"]);
    scene.write("", "");
    let text = std::fs::read_to_string(scene.host.path("h1.toml")).unwrap();
    let text = text.replace("[host]\n", "[host]\nauthorities = \"gone.pem\"\n");
    scene.host.write_manifest(&text);
    check().expect(0, &["gone.pem: No such file", "acme/shop/default"]);
}
