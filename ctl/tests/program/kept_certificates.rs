//! Certificates once they are in: sealed, changed with their files, owned, used, renewed and removed.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustix::process::Signal;
use serde_json::Value;

use crate::authority::{Authority, Leaf};
use crate::certificates::{host_with_certificate, manifest};
use crate::host::{Ended, Host, Running, wait_for};
use crate::live::{SmallDisk, up};

const NAMES: &[&str] = &["shop.example.com", "*.shop.example.com"];

/// A host that serves with a certificate of this authority.
fn serving(authority: &Authority) -> (Host, Running) {
    let host = host_with_certificate();
    authority.write(&host.path(""), "web", NAMES);
    let up = up(&host);
    (host, up)
}

fn apply(host: &Host) -> Ended {
    host.run(&["apply", "-f", "h1.toml"])
}

/// What `get` tells of a certificate.
#[track_caller]
fn get(host: &Host, name: &str) -> Value {
    let got = host.run(&["get", "certificate", name, "--format", "json"]);
    got.expect(0, &[]).json()["objects"][0].clone()
}

fn file_of(host: &Host, certificate: &Value) -> PathBuf {
    let directory = host.state().join("certificates");
    directory.join(certificate["digest"].as_str().unwrap())
}

/// Every file of the state directory with its bytes.
fn state_files(host: &Host) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![host.state()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                files.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// The bytes of a key in DER, without what all keys of its kind begin with.
fn secret(host: &Host, name: &str) -> Vec<u8> {
    let key = KeyPair::from_pem(&std::fs::read_to_string(host.path(name)).unwrap()).unwrap();
    // PKCS #8 of a key on P-256: the 32 bytes of the private value begin there.
    key.serialize_der()[36..68].to_vec()
}

fn revision(host: &Host) -> u64 {
    let status = host.run(&["status", "--format", "json"]).expect(0, &[]);
    status.json()["processes"][0]["revision"].as_u64().unwrap()
}

#[test]
fn a_certificate_is_kept_sealed_and_told_without_its_key() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let got = get(&host, "acme/web");
    assert_eq!(got["owner"], "manifest:h1");
    assert_eq!(got["issuer"], "CN=test");
    assert_eq!(got["key"], "ECDSA P-256");
    assert_eq!(got["state"], "valid");
    assert_eq!(got["not_after"], "2099-01-01T00:00:00Z");
    assert_eq!(got["sites"], serde_json::json!(["acme/shop"]));
    assert_eq!(
        got["names"],
        serde_json::json!(["*.shop.example.com", "shop.example.com"])
    );
    let all = host
        .run(&["get", "certificate", "--format", "json"])
        .expect(0, &[]);
    assert_eq!(all.json()["objects"], serde_json::json!([got]));
    let table = host.run(&["get", "certificate"]).expect(0, &[]).stdout;
    assert!(
        table.contains("acme/web") && table.contains("until 2099-01-01"),
        "{table}"
    );

    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file_of(&host, &got)), 0o600);
    assert_eq!(mode(host.state().join("certificates")), 0o700);
    assert_eq!(mode(host.state().join("keys/host.key")), 0o600);
    let secret = secret(&host, "web.key");
    for (path, bytes) in state_files(&host) {
        let is_there = bytes.windows(secret.len()).any(|it| it == secret);
        assert!(!is_there, "{} has the key", path.display());
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("PRIVATE KEY"), "{}", path.display());
    }
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", up.pid())).unwrap();
    let mut lines = limits.lines();
    let core = lines
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().rev().nth(1), Some("0"), "{core}");
    up.stop();
}

#[test]
fn other_content_of_the_same_files_is_a_change() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let first = get(&host, "acme/web");
    assert_eq!(revision(&host), 1);
    let nothing = apply(&host).expect(0, &[]);
    assert!(nothing.stdout.contains("nothing to change"), "{nothing:?}");
    authority.write(&host.path(""), "web", NAMES);
    let dry = host
        .run(&["apply", "-f", "h1.toml", "--dry-run"])
        .expect(0, &[]);
    assert!(
        dry.stdout.contains("change certificate acme/web"),
        "{dry:?}"
    );
    assert_eq!(get(&host, "acme/web"), first);
    let changed = apply(&host).expect(0, &[]);
    assert!(
        changed.stdout.contains("change certificate acme/web"),
        "{changed:?}"
    );
    let second = get(&host, "acme/web");
    assert_ne!(second["digest"], first["digest"]);
    assert_eq!(revision(&host), 2);
    // A handshake may be about to read the old one.
    assert!(file_of(&host, &first).exists() && file_of(&host, &second).exists());
    up.stop();

    // And at a start, of the same manifest to the byte.
    authority.write(&host.path(""), "web", NAMES);
    let up = self::up(&host);
    assert_eq!(revision(&host), 3);
    let third = get(&host, "acme/web");
    assert!(third["digest"] != second["digest"] && file_of(&host, &third).exists());
    up.stop();
}

/// A start has nothing to find out where the files are as they were; and whether they are can be
/// told only when they were not written a moment before they were read.
#[test]
fn a_start_reads_files_again_when_they_may_have_changed() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let applied = host.state().join("config/applied");
    // It is taken by a store that is open, and that is when the record is written.
    get(&host, "acme/web");
    up.stop();
    assert!(!applied.exists(), "the files were just written");
    std::thread::sleep(Duration::from_millis(3500));
    let up = self::up(&host);
    wait_for("the record", || applied.exists().then_some(()));
    up.stop();
    let kept = std::fs::read(&applied).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("PRIVATE KEY"));
    // The same times and length, as a careful writer leaves them.
    let path = host.path("web.key");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let broken = text.replacen("-----END PRIVATE", "-----END PRIVATF", 1);
    std::fs::write(&path, broken).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(modified).unwrap();
    let up = self::up(&host);
    assert!(up.stderr().contains("certificate.key"), "{}", up.stderr());
    assert_eq!(revision(&host), 1);
    up.stop();
}

#[test]
fn what_is_damaged_is_sealed_anew_from_its_files() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let path = file_of(&host, &get(&host, "acme/web"));
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    apply(&host).expect(0, &[]);
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len());
    up.stop();
    std::fs::write(&path, "torn").unwrap();
    let up = self::up(&host);
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len());
    assert_eq!(revision(&host), 1);
    up.stop();
    // Another key of the host: all of them.
    std::fs::remove_file(host.state().join("keys/host.key")).unwrap();
    let before = std::fs::read(&path).unwrap();
    let up = self::up(&host);
    assert_ne!(std::fs::read(&path).unwrap(), before);
    assert_eq!(revision(&host), 1);
    up.stop();
    // One that is none is left for its owner to mend.
    std::fs::write(host.state().join("keys/host.key"), "nonsense").unwrap();
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &["keys/host.key", "put it back from a backup"]);
}

#[test]
fn a_certificate_of_the_api_is_set_shown_renewed_and_deleted() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let set = |name: &str, file: &str| {
        let (chain, key) = (format!("chain={file}.pem"), format!("key={file}.key"));
        host.run(&["set", "certificate", name, &chain, &key])
    };
    set("acme/web", "web").expect(4, &["belongs to manifest:h1"]);
    set("nobody/web", "web").expect(1, &["there is no tenant nobody"]);
    host.run(&["set", "certificate", "acme/api", "chain=web.pem"])
        .expect(2, &["chain=FILE key=FILE"]);
    set("acme/api", "none").expect(1, &["none.pem: chain: No such file", "none.key: key: "]);
    authority.write(&host.path(""), "one", &["api.example.com"]);
    authority.write(&host.path(""), "other", &["other.example.com"]);
    host.run(&[
        "set",
        "certificate",
        "acme/api",
        "chain=one.pem",
        "key=other.key",
    ])
    .expect(
        1,
        &[
            "other.key: key: the key is not the certificate's",
            "nothing was changed",
        ],
    );
    set("acme/api", "one").expect(0, &[]);
    let first = get(&host, "acme/api");
    assert_eq!(
        (&first["owner"], &first["sites"]),
        (&"api".into(), &serde_json::json!([]))
    );

    // A site of the API shows it, and then it stays.
    let site = |hostname: &str| {
        let hostnames = format!("hostnames=[\"{hostname}\"]");
        let certificates = "certificates=[\"api\"]";
        host.run(&["set", "site", "acme/api", &hostnames, certificates])
    };
    site("www.example.com").expect(
        1,
        &["acme/api: hostname www.example.com: none of the site's certificates is good for it"],
    );
    site("api.example.com").expect(0, &[]);
    assert_eq!(
        get(&host, "acme/api")["sites"],
        serde_json::json!(["acme/api"])
    );
    host.run(&["delete", "certificate", "acme/api"])
        .expect(4, &["certificate acme/api is used by acme/api"]);
    set("acme/api", "other").expect(1, &["none of the site's certificates is good for it"]);
    assert_eq!(get(&host, "acme/api"), {
        let mut same = first.clone();
        same["sites"] = serde_json::json!(["acme/api"]);
        same
    });
    authority.write(&host.path(""), "one", &["api.example.com"]);
    set("acme/api", "one").expect(0, &[]);
    assert_ne!(get(&host, "acme/api")["digest"], first["digest"]);
    // No apply touches it, nor a start.
    apply(&host).expect(0, &[]);
    up.stop();
    let up = self::up(&host);
    assert_eq!(get(&host, "acme/api")["owner"], "api");
    host.run(&["delete", "site", "acme/api"]).expect(0, &[]);
    host.run(&["delete", "certificate", "acme/api"])
        .expect(0, &[]);
    host.run(&["get", "certificate", "acme/api"])
        .expect(1, &["there is no certificate acme/api"]);
    host.run(&["delete", "certificate", "acme/api"])
        .expect(1, &["there is no certificate acme/api"]);
    host.run(&["delete", "certificate", "acme/web"])
        .expect(4, &["is used by acme/shop"]);
    up.stop();
}

#[test]
fn what_is_wrong_with_a_certificate_stops_an_apply_and_not_what_is_served() {
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let before = get(&host, "acme/web");
    authority.write(&host.path(""), "web", &["shop.example.com"]);
    apply(&host).expect(1, &["h1.toml:15: site.hostnames", "*.shop.example.com"]);
    std::fs::write(host.path("web.pem"), "").unwrap();
    apply(&host).expect(1, &["certificate.chain", "holds no certificate"]);
    assert_eq!(
        (get(&host, "acme/web"), revision(&host)),
        (before.clone(), 1)
    );
    up.stop();
    let up = self::up(&host);
    assert!(
        up.stderr().contains("holds no certificate"),
        "{}",
        up.stderr()
    );
    assert!(up.stderr().contains("the last good revision, 1, is served"));
    assert_eq!(get(&host, "acme/web"), before);
    up.stop();
}

fn leaf_for(authority: &Authority, seconds: u64) -> (Leaf, String) {
    let key = KeyPair::generate().unwrap();
    let names = NAMES
        .iter()
        .map(|name| (*name).to_string())
        .collect::<Vec<_>>();
    let mut params = CertificateParams::new(names).unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + now + Duration::from_secs(seconds);
    let leaf = authority.sign(params, &key);
    let chain = authority.chain(&leaf);
    (leaf, chain)
}

/// What was looked at once is not looked at again: a certificate that has expired since keeps
/// nobody from changing something else, or from starting.
#[test]
fn one_that_expires_in_service_is_told_of_and_no_obstacle() {
    let authority = Authority::new("test");
    let host = host_with_certificate();
    let (leaf, chain) = leaf_for(&authority, 5);
    std::fs::write(host.path("web.pem"), chain).unwrap();
    std::fs::write(host.path("web.key"), &leaf.key).unwrap();
    let up = up(&host);
    assert!(
        up.stderr().contains("certificate acme/web expires on "),
        "{}",
        up.stderr()
    );
    wait_for("its end", || {
        (get(&host, "acme/web")["state"] == "expired").then_some(())
    });
    host.run(&["check", "-f", "h1.toml"])
        .expect(1, &["expired on"]);
    let status = host.run(&["status"]).expect(0, &[]).stdout;
    assert!(status.contains("acme/web     expired"), "{status}");
    let more = manifest(&host, "web.pem", "web.key").replace("a2", "a3");
    host.write_manifest(&more);
    apply(&host).expect(0, &["certificate acme/web expired on "]);
    up.stop();
    host.write_manifest(&more.replace("a3", "a4"));
    let up = self::up(&host);
    assert!(
        up.stderr().contains("certificate acme/web expired on "),
        "{}",
        up.stderr()
    );
    assert_eq!(revision(&host), 3);
    // And one that is new is looked at.
    let (leaf, chain) = leaf_for(&authority, 0);
    std::fs::write(host.path("web.pem"), chain).unwrap();
    std::fs::write(host.path("web.key"), &leaf.key).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    apply(&host).expect(1, &["the first certificate expired on "]);
    up.stop();
}

/// Killed at any moment of an apply, what is there afterwards is whole: each certificate that a
/// revision names has its file, and nothing is left beside.
#[test]
fn whenever_it_is_killed_each_certificate_that_is_named_is_there() {
    let authority = Authority::new("test");
    let (host, mut up) = serving(&authority);
    for round in 0..12_u64 {
        authority.write(&host.path(""), "web", NAMES);
        let mut applying = host.command(&["apply", "-f", "h1.toml"]);
        let mut applying = Running::start(&mut applying);
        std::thread::sleep(Duration::from_millis(4 * round));
        up.signal(Signal::KILL);
        up.wait();
        applying.wait();
        // What is there now is served without the manifest's help.
        let good = std::fs::read_to_string(host.path("h1.toml")).unwrap();
        host.write_manifest("broken");
        up = self::up(&host);
        let got = get(&host, "acme/web");
        assert!(file_of(&host, &got).exists(), "round {round}");
        host.write_manifest(&good);
        apply(&host).expect(0, &[]);
        let got = get(&host, "acme/web");
        assert!(file_of(&host, &got).exists(), "round {round}");
    }
    up.stop();
}

#[test]
fn on_a_full_disk_the_certificate_stays_as_it_was() {
    let authority = Authority::new("test");
    let host = host_with_certificate();
    let Some(disk) = SmallDisk::mount(host.state()) else {
        eprintln!("SKIPPED: only root can mount a small disk");
        return;
    };
    authority.write(&host.path(""), "web", NAMES);
    let up = up(&host);
    let before = get(&host, "acme/web");
    let ballast = disk.0.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    authority.write(&host.path(""), "web", NAMES);
    apply(&host).expect(1, &["nothing was changed", "No space left"]);
    assert_eq!(get(&host, "acme/web"), before);
    let directory = std::fs::read_dir(host.state().join("certificates")).unwrap();
    assert_eq!(directory.count(), 1, "nothing is left beside");
    up.stop();
    // Also from the beginning.
    let up = self::up(&host);
    assert!(up.stderr().contains("No space left"), "{}", up.stderr());
    assert_eq!(get(&host, "acme/web"), before);
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    apply(&host).expect(0, &[]);
    let after = get(&host, "acme/web");
    assert!(after != before && file_of(&host, &after).exists());
    up.stop();
}

#[test]
fn many_certificates_come_in_with_one_apply() {
    const COUNT: usize = 500;
    let authority = Authority::new("test");
    let (host, up) = serving(&authority);
    let mut text = manifest(&host, "web.pem", "web.key");
    let key = KeyPair::generate().unwrap();
    std::fs::write(host.path("many.key"), key.serialize_pem()).unwrap();
    for number in 0..COUNT {
        let hostname = format!("m{number}.example.com");
        let params = CertificateParams::new(vec![hostname.clone()]).unwrap();
        let leaf = authority.sign(params, &key);
        std::fs::write(host.path(&format!("m{number}.pem")), authority.chain(&leaf)).unwrap();
        text += &format!(
            "[[certificate]]\ntenant = \"acme\"\nname = \"m{number}\"\nchain = \"m{number}.pem\"\n\
             key = \"many.key\"\n[[site]]\ntenant = \"acme\"\nname = \"m{number}\"\n\
             hostnames = [\"{hostname}\"]\ncertificates = [\"m{number}\"]\n"
        );
    }
    host.write_manifest(&text);
    apply(&host).expect(0, &[]);
    let all = host
        .run(&["get", "certificate", "--format", "json"])
        .expect(0, &[])
        .json();
    let all = all["objects"].as_array().unwrap();
    assert_eq!(all.len(), COUNT + 1);
    assert!(
        all.iter()
            .all(|it| file_of(&host, it).exists() && it["sites"][0].is_string())
    );
    // The next one sends nothing.
    let files = || {
        std::fs::read_dir(host.state().join("certificates"))
            .unwrap()
            .count()
    };
    assert_eq!(files(), COUNT + 1);
    apply(&host).expect(0, &[]);
    assert_eq!(files(), COUNT + 1);
    up.stop();
    let up = self::up(&host);
    assert_eq!(revision(&host), 2);
    up.stop();
}
