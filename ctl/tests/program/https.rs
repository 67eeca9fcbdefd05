//! HTTPS by the programs that people have: curl, openssl and a browser, through `up`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::authority::Authority;
use crate::browser::{BROWSER, is_installed};
use crate::certificates::manifest;
use crate::host::{Host, Running, free_address, wait_for};
use crate::live::{Wrk, backend, real};

pub(crate) const SITE: &str = "shop.example.com";
pub(crate) const NAMES: &[&str] = &[SITE, "*.shop.example.com"];

/// A host that serves a site by HTTP and by HTTPS.
pub(crate) struct Serving {
    pub(crate) host: Host,
    pub(crate) https: SocketAddr,
    authority: Authority,
    pub(crate) up: Running,
    ready: String,
}

impl Serving {
    fn start() -> Serving {
        let authority = Authority::new("test");
        Serving::with(authority, |host, authority, text| {
            authority.write(&host.path(""), "web", NAMES);
            text
        })
    }

    /// With the files of its certificates written by `write`, which may change the manifest too.
    pub(crate) fn with(
        authority: Authority,
        write: impl FnOnce(&Host, &Authority, String) -> String,
    ) -> Serving {
        let host = Host::new();
        let https = free_address();
        let text = manifest(&host, "web.pem", "web.key")
            .replace("[listen]\n", &format!("[listen]\nhttps = [\"{https}\"]\n"))
            .replace("127.0.0.1:9001", &backend("behind").to_string())
            .replace("127.0.0.1:9002", &backend("behind").to_string());
        std::fs::write(host.path("root.pem"), &authority.root_pem).unwrap();
        let text = write(&host, &authority, text);
        host.write_manifest(&text);
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
        curl(self.https, &self.host.path("root.pem"), name, options)
    }

    /// What curl gets of the site.
    fn page(&self, options: &[&str]) -> String {
        page(self.curl(SITE, options))
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

/// Has curl ask for a name, trusting `root`.
fn curl(https: SocketAddr, root: &Path, name: &str, options: &[&str]) -> Output {
    let port = https.port();
    Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(root)
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .args(options)
        .arg(format!("https://{name}:{port}/"))
        .output()
        .expect("curl is installed")
}

fn page(got: Output) -> String {
    assert!(got.status.success(), "{got:?}");
    String::from_utf8(got.stdout).unwrap()
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
fn openssl_resumes_its_session_by_both_versions() {
    let serving = Serving::start();
    for (version, told) in [
        ("-tls1_2", "Reused, TLSv1.2"),
        ("-tls1_3", "Reused, TLSv1.3"),
    ] {
        let kept = serving.host.path(&format!("session{version}"));
        let client = |option: &str| {
            Command::new("openssl")
                .args(["s_client", "-connect", &serving.https.to_string()])
                .args(["-servername", SITE, version, option])
                .arg(&kept)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("openssl is installed")
        };
        // It ends when nothing more is typed, and the ticket of the newer version comes later.
        let first = client("-sess_out");
        wait_for("a ticket", || {
            let session = std::fs::read_to_string(&kept).unwrap_or_default();
            session.contains("-END SSL SESSION").then_some(())
        });
        first.wait_with_output().unwrap();
        let second = client("-sess_in").wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&second.stdout).into_owned();
        assert!(said.contains(told), "{said}");
    }
    serving.up.stop();
}

/// Ends who looks at it, also when the test has failed.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// wrk asks for a name that it can resolve; each of the newcomers verifies.
#[test]
fn no_request_fails_while_certificates_are_renewed_under_load() {
    const RENEWALS: usize = 20;
    let names = [SITE, "localhost"];
    let serving = Serving::with(Authority::new("test"), |host, authority, text| {
        authority.write(&host.path(""), "web", &names);
        text.replace("\"*.shop.example.com\"", "\"localhost\"")
    });
    let url = format!("https://localhost:{}/", serving.https.port());
    let wrk = Wrk::start(&url, "localhost");
    let stop = AtomicBool::new(false);
    let (https, root) = (serving.https, serving.host.path("root.pem"));
    let newcomers = std::thread::scope(|scope| {
        let newcomers = scope.spawn(|| {
            let mut served = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(page(curl(https, &root, SITE, &[])), "behind");
                served += 1;
            }
            served
        });
        let until = Until(&stop);
        let mut shown = serving.fingerprint();
        for renewal in 0..RENEWALS {
            (serving.authority).write(&serving.host.path(""), "web", &names);
            serving.host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
            let before = std::mem::replace(&mut shown, serving.fingerprint());
            assert_ne!(shown, before, "renewal {renewal}");
            assert_eq!(shown, serving.told_fingerprint(), "renewal {renewal}");
        }
        drop(until);
        newcomers.join().expect("none failed")
    });
    let answered = wrk.stop();
    assert!(newcomers >= RENEWALS, "{newcomers} newcomers");
    assert!(answered > RENEWALS as u64, "{answered} answers");
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

/// Has a browser whose home this is trust an authority.
fn trust(home: &Path, root: &Path) -> bool {
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let database = format!("sql:{}", database.display());
    let root = root.display().to_string();
    let calls: [&[&str]; 2] = [
        &["-N", "--empty-password"],
        &["-A", "-n", "test", "-t", "C,,", "-i", &root],
    ];
    calls.iter().all(|arguments| {
        let mut certutil = Command::new("certutil");
        let ended = certutil.args(["-d", &database]).args(*arguments).output();
        let is_missing = ended.is_err();
        if is_missing {
            eprintln!("SKIPPED: certutil is not installed (libnss3-tools)");
        }
        !is_missing && {
            let ended = ended.unwrap();
            assert!(ended.status.success(), "{ended:?}");
            true
        }
    })
}

#[test]
fn a_browser_shows_the_site() {
    if !is_installed() {
        return;
    }
    let serving = Serving::start();
    let home = serving.host.path("home");
    let profile = serving.host.path("profile");
    let shown = |options: &[&str]| {
        let shown = Command::new(BROWSER)
            .env("HOME", &home)
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
    // It verifies the whole chain once it knows the authority.
    if trust(&home, &serving.host.path("root.pem")) {
        assert!(shown(&[]));
    }
    serving.up.stop();
}

/// A certificate of this name, as NAME.pem and NAME.key.
fn client(serving: &Serving, authority: &Authority, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let leaf = authority.sign(params, &key);
    let write = |extension: &str, text: String| {
        std::fs::write(serving.host.path(&format!("{name}.{extension}")), text).unwrap();
    };
    write("pem", authority.chain(&leaf));
    write("key", leaf.key);
}

#[test]
fn a_site_asks_its_clients_for_certificates_of_its_authorities() {
    let serving = Serving::start();
    let at = |name: &str| serving.host.path(name).display().to_string();
    let alice = [
        "--cert".to_string(),
        at("alice.pem"),
        "--key".to_string(),
        at("alice.key"),
    ];
    let alice: Vec<&str> = alice.iter().map(String::as_str).collect();
    let partners = Authority::new("partners");
    client(&serving, &partners, "alice");
    std::fs::write(serving.host.path("ca.pem"), "nothing").unwrap();
    let text = std::fs::read_to_string(serving.host.path("h1.toml")).unwrap();
    let line = "certificates = [\"web\"]\n";
    assert!(text.contains(line), "{text}");
    let asks = "client_certificates = { authorities = \"ca.pem\" }\n";
    serving
        .host
        .write_manifest(&text.replacen(line, &format!("{line}{asks}"), 1));
    let apply = || serving.host.run(&["apply", "-f", "h1.toml", "--yes"]);
    apply().expect(
        1,
        &[
            "site.client_certificates.authorities",
            "ca.pem: holds no certificate",
        ],
    );

    std::fs::write(serving.host.path("ca.pem"), &partners.root_pem).unwrap();
    apply().expect(0, &[]);
    let nobody = serving.curl(SITE, &[]);
    assert!(!nobody.status.success());
    let said = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(said.contains("certificate required"), "{said}");
    assert_eq!(serving.page(&alice), "behind");
    assert_eq!(
        serving.page(&[&alice[..], &["--tls-max", "1.2"]].concat()),
        "behind"
    );

    // Other content of the same file is a change: it ends what the authority before signed.
    let others = Authority::new("others");
    std::fs::write(serving.host.path("ca.pem"), &others.root_pem).unwrap();
    apply().expect(0, &[]);
    assert!(!serving.curl(SITE, &alice).status.success());
    client(&serving, &others, "alice");
    assert_eq!(serving.page(&alice), "behind");
    let refused = serving.host.run(&[
        "set",
        "site",
        "acme/own",
        "hostnames=[\"own.test\"]",
        "client_certificates={authorities=\"ca.pem\"}",
    ]);
    refused.expect(1, &["site.client_certificates"]);
    serving.up.stop();
}

#[test]
fn who_asks_by_http_is_sent_to_https_and_told_to_stay_there() {
    let host = Host::new();
    let https = free_address();
    let text = manifest(&host, "web.pem", "web.key")
        .replace("[listen]\n", &format!("[listen]\nhttps = [\"{https}\"]\n"))
        .replace("127.0.0.1:9001", &backend("behind").to_string())
        .replace("127.0.0.1:9002", &backend("behind").to_string());
    let authority = Authority::new("test");
    std::fs::write(host.path("root.pem"), &authority.root_pem).unwrap();
    authority.write(&host.path(""), "web", NAMES);
    host.write_manifest(&text);
    let up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
    up.line();
    let curl = |options: &[&str]| {
        let (http, https) = (host.http.port(), https.port());
        let got = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(host.path("root.pem"))
            .args(["--resolve", &format!("{SITE}:{http}:127.0.0.1")])
            .args(["--resolve", &format!("{SITE}:{https}:127.0.0.1")])
            .args(options)
            .arg(format!("http://{SITE}:{http}/a?b=c"))
            .output()
            .expect("curl is installed");
        assert!(got.status.success(), "{got:?}");
        String::from_utf8(got.stdout).unwrap()
    };
    assert_eq!(curl(&[]), "behind");
    // It is taken up while it runs.
    let strict = "redirect_to_https = true\nhsts = { max_age = \"1d\" }\n";
    let first = "certificates = [\"web\"]\n";
    assert!(text.contains(first), "{text}");
    host.write_manifest(&text.replacen(first, &format!("{first}{strict}"), 1));
    host.run(&["check", "-f", "h1.toml"]).expect(0, &[]);
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    let written = "%{http_code} %{redirect_url}";
    assert_eq!(
        curl(&["--output", "/dev/null", "--write-out", written]),
        format!("301 https://{SITE}:{}/a?b=c", https.port())
    );
    let followed = curl(&["--location", "--include"]);
    let (redirected, followed) = followed.split_once("\r\n\r\n").unwrap();
    assert!(
        !redirected.contains("Strict-Transport-Security"),
        "{redirected}"
    );
    assert!(
        followed.contains("\r\nStrict-Transport-Security: max-age=86400\r\n"),
        "{followed}"
    );
    assert!(followed.ends_with("\r\n\r\nbehind"), "{followed}");
    up.stop();
}
