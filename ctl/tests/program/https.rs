//! HTTPS by the programs that people have: curl, openssl and a browser, through `up`.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use crate::authority::Authority;
use crate::browser::{BROWSER, is_installed};
use crate::certificates::manifest;
use crate::host::{Host, Running, free_address};
use crate::live::{backend, real};

const SITE: &str = "shop.example.com";
const NAMES: &[&str] = &[SITE, "*.shop.example.com"];

/// A host that serves a site by HTTP and by HTTPS.
struct Serving {
    host: Host,
    https: SocketAddr,
    authority: Authority,
    up: Running,
    ready: String,
}

impl Serving {
    fn start() -> Serving {
        let host = Host::new();
        let https = free_address();
        let text = manifest(&host, "web.pem", "web.key")
            .replace("[listen]\n", &format!("[listen]\nhttps = [\"{https}\"]\n"))
            .replace("127.0.0.1:9001", &backend("behind").to_string())
            .replace("127.0.0.1:9002", &backend("behind").to_string());
        host.write_manifest(&text);
        let authority = Authority::new("test");
        std::fs::write(host.path("root.pem"), &authority.root_pem).unwrap();
        authority.write(&host.path(""), "web", NAMES);
        let up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
        let ready = up.line();
        Serving {
            host,
            https,
            authority,
            up,
            ready,
        }
    }

    fn curl(&self, name: &str, options: &[&str]) -> Output {
        let port = self.https.port();
        Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(self.host.path("root.pem"))
            .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
            .args(options)
            .arg(format!("https://{name}:{port}/"))
            .output()
            .expect("curl is installed")
    }

    /// What curl gets of the site.
    fn page(&self, options: &[&str]) -> String {
        let got = self.curl(SITE, options);
        assert!(got.status.success(), "{got:?}");
        String::from_utf8(got.stdout).unwrap()
    }

    /// The fingerprint of what is shown.
    fn fingerprint(&self) -> String {
        let script = format!(
            "openssl s_client -connect {} -servername {SITE} </dev/null 2>/dev/null | \
             openssl x509 -noout -fingerprint -sha256",
            self.https
        );
        let got = Command::new("sh").args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&got.stdout)
            .trim()
            .replace(':', "")
            .to_lowercase()
    }

    fn told_fingerprint(&self) -> String {
        let got = self
            .host
            .run(&["get", "certificate", "acme/web", "--format", "json"]);
        let object = got.expect(0, &[]).json()["objects"][0].clone();
        format!(
            "sha256 fingerprint={}",
            object["fingerprint"].as_str().unwrap()
        )
    }
}

#[test]
fn a_site_is_served_by_https_as_by_http() {
    let serving = Serving::start();
    let (http, https) = (serving.host.http, serving.https);
    assert_eq!(
        serving.ready,
        format!("ready revision=1 http={http} https={https}")
    );
    for version in ["1.2", "1.3"] {
        let lowest = format!("--tlsv{version}");
        assert_eq!(serving.page(&[&lowest, "--tls-max", version]), "behind");
    }
    assert_eq!(
        serving.page(&["--http1.1", "--data-binary", "@/dev/null"]),
        "behind"
    );
    let elsewhere = serving.curl("elsewhere.example.com", &[]);
    assert!(!elsewhere.status.success());
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert!(said.contains("unrecognized name"), "{said}");
    let other = serving.page(&[
        "-H",
        "Host: other.example.com",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]);
    assert_eq!(other, "421");
    serving.up.stop();
}

#[test]
fn a_renewed_certificate_is_shown_when_apply_returns() {
    let serving = Serving::start();
    let before = serving.fingerprint();
    assert_eq!(before, serving.told_fingerprint());
    serving
        .authority
        .write(&serving.host.path(""), "web", NAMES);
    serving.host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    let after = serving.fingerprint();
    assert_ne!(after, before);
    assert_eq!(after, serving.told_fingerprint());
    assert_eq!(serving.page(&[]), "behind");
    serving.up.stop();
}

#[test]
fn a_host_may_listen_for_https_alone() {
    let host = Host::new();
    let https = free_address();
    let text = manifest(&host, "web.pem", "web.key");
    let http = format!("http = [\"{}\"]", host.http);
    host.write_manifest(&text.replace(&http, &format!("https = [\"{https}\"]")));
    Authority::new("test").write(&host.path(""), "web", NAMES);
    let up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
    assert_eq!(up.line(), format!("ready revision=1 https={https}"));
    up.stop();
}

#[test]
fn a_browser_shows_the_site() {
    if !is_installed() {
        return;
    }
    let serving = Serving::start();
    let profile = serving.host.path("profile");
    let shown = |options: &[&str]| {
        let shown = Command::new(BROWSER)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(format!("--host-resolver-rules=MAP {SITE} 127.0.0.1"))
            .args(options)
            .arg(format!("https://{SITE}:{}/", serving.https.port()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&shown.stdout).contains(">behind<")
    };
    // It does not know the authority of the tests, and can be told the key that it is to trust.
    assert!(!shown(&[]));
    let script = format!(
        "openssl x509 -in '{}' -noout -pubkey | openssl pkey -pubin -outform der | \
         openssl dgst -sha256 -binary | openssl base64",
        serving.host.path("web.pem").display()
    );
    let pin = Command::new("sh").args(["-c", &script]).output().unwrap();
    let pin = String::from_utf8(pin.stdout).unwrap();
    let trusted = format!("--ignore-certificate-errors-spki-list={}", pin.trim());
    assert!(shown(&[&trusted]));
    serving.up.stop();
}
