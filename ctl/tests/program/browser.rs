//! A browser that keeps its cookies, in front of hosts that change, end and are others.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::Host;
use crate::live::{backend, up};

pub(crate) const BROWSER: &str = "chromium";
const SITE: &str = "shop.example.com";
const BACKENDS: [&str; 3] = ["one", "two", "three"];

pub(crate) fn is_installed() -> bool {
    let asked = Command::new(BROWSER).arg("--version").output();
    let is_installed = asked.is_ok_and(|asked| asked.status.success());
    if !is_installed {
        eprintln!("SKIPPED: {BROWSER} is not installed");
    }
    is_installed
}

/// Which backend's page the browser with this profile shows.
fn page(profile: &Path, host: &Host) -> &'static str {
    let shown = Command::new(BROWSER)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--host-resolver-rules=MAP {SITE} 127.0.0.1"))
        .arg(format!("http://{SITE}:{}/", host.http.port()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&shown.stdout);
    let mut names = (BACKENDS.into_iter()).filter(|name| text.contains(&format!(">{name}<")));
    names.next().unwrap_or_else(|| panic!("{shown:?}"))
}

/// A host of a fleet whose hosts have the same secret and the same site.
fn host_of_fleet(site: &str) -> Host {
    let host = Host::new();
    std::fs::write(host.path("fleet.key"), [b'k'; 48]).unwrap();
    host.write_manifest(&manifest(&host, site));
    host
}

fn manifest(host: &Host, site: &str) -> String {
    let manifest = host.manifest();
    let (settings, _) = manifest.split_once("[[site]]").unwrap();
    format!("{settings}[fleet]\nname = \"f1\"\nsecret = \"fleet.key\"\n{site}")
}

#[test]
fn a_browser_stays_with_its_backend_through_apply_a_restart_and_on_another_host() {
    if !is_installed() {
        return;
    }
    let addresses = BACKENDS.map(|name| (name, backend(name)));
    let site = |without: &str| {
        let mut text = format!(
            "[[site]]\ntenant = \"acme\"\nname = \"shop\"\nhostnames = [\"{SITE}\"]\n\
             pool = {{ sticky = {{ cookie = \"SRV\", lifetime = \"1h\" }} }}\n"
        );
        for (name, address) in addresses.iter().filter(|(name, _)| *name != without) {
            text += &format!("[[site.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n");
        }
        text
    };
    let (host, other) = (host_of_fleet(&site("")), host_of_fleet(&site("")));
    let (running, _other) = (up(&host), up(&other));
    let profile = host.path("profile");
    let first = page(&profile, &host);
    assert_eq!([page(&profile, &host), page(&profile, &host)], [first; 2]);

    let apply = |text: &str| {
        host.write_manifest(text);
        host.run(&["apply", "-f", "h1.toml", "--yes"])
            .expect(0, &[]);
    };
    let blog = "[[site]]\ntenant = \"acme\"\nname = \"blog\"\nhostnames = [\"blog.example.com\"]\n\
                [[site.backend]]\naddress = \"127.0.0.1:9\"\n";
    apply(&(manifest(&host, &site("")) + blog));
    assert_eq!(page(&profile, &host), first);
    running.stop();
    let _running = up(&host);
    assert_eq!(page(&profile, &host), first);
    assert_eq!([page(&profile, &other), page(&profile, &other)], [first; 2]);

    // Its backend goes: it has another one then, and stays there when the first is back.
    apply(&manifest(&host, &site(first)));
    let second = page(&profile, &host);
    assert_ne!(second, first);
    apply(&manifest(&host, &site("")));
    assert_eq!([page(&profile, &host), page(&profile, &host)], [second; 2]);
}
