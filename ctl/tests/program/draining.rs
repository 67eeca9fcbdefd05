//! A backend that gets no requests while somebody works on it.

use serde_json::Value;

use crate::host::{Host, Running};
use crate::live::{backend, plane_pid, served, up};

const SHOP: &str = "shop.example.com";
const ONE: &str = "acme/shop/default/a1";
const TWO: &str = "acme/shop/default/a2";

fn start() -> (Host, Running) {
    let host = Host::new();
    let manifest = host.manifest();
    let manifest = manifest
        .replace("127.0.0.1:9001", &backend("one").to_string())
        .replace("127.0.0.1:9002", &backend("two").to_string());
    host.write_manifest(&manifest);
    let running = up(&host);
    (host, running)
}

/// Who answers some requests.
fn answered(host: &Host) -> Vec<String> {
    let answers = (0..8).map(|_| served(host, SHOP));
    let mut bodies: Vec<String> = answers
        .map(|(status, body)| format!("{status} {body}"))
        .collect();
    bodies.sort();
    bodies.dedup();
    bodies
}

fn state(host: &Host, name: &str) -> String {
    let status = host.run(&["status", "--format", "json"]);
    let status = status.expect(0, &[]).json();
    let backends = status["processes"][0]["backends"].as_array();
    let mut backends = backends.expect("there are backends").iter();
    let found = backends.find(|it| it["backend"] == name);
    let word = |it: &Value| it["state"].as_str().expect("a word").to_string();
    found.map(word).expect("it is there")
}

#[test]
fn a_drained_backend_gets_nothing_whatever_is_applied_until_it_is_ready() {
    let (host, running) = start();
    assert_eq!(answered(&host), ["200 one", "200 two"]);
    let said = host.run(&["drain", "backend", ONE]).expect(0, &[]);
    assert!(said.stdout.contains("is drained"), "{said:?}");
    assert_eq!(answered(&host), ["200 two"]);
    assert_eq!(state(&host, ONE), "draining");
    let table = host.run(&["status"]).expect(0, &[]).stdout;
    assert!(table.contains("draining"), "{table}");
    let again = host.run(&["drain", "backend", ONE]).expect(0, &[]);
    assert!(again.stdout.contains("drained already"), "{again:?}");

    // Its owner takes it away and brings it back.
    let manifest = std::fs::read_to_string(host.path("h1.toml")).unwrap();
    let other = manifest.replace("name = \"a1\"", "name = \"a3\"");
    for (text, expected) in [
        (&manifest, &["200 two"][..]),
        (&other, &["200 one", "200 two"]),
        (&manifest, &["200 two"]),
    ] {
        host.write_manifest(text);
        host.run(&["apply", "-f", "h1.toml", "--yes"])
            .expect(0, &[]);
        assert_eq!(answered(&host), expected);
    }

    // The plane dies and comes back.
    let before = plane_pid(&host);
    let killed = std::process::Command::new("kill")
        .args(["-9", &before.to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    assert_eq!(answered(&host), ["200 two"]);
    assert_ne!(plane_pid(&host), before);
    assert_eq!(state(&host, ONE), "draining");

    // All of them: there is nobody to ask.
    host.run(&["drain", "backend", TWO]).expect(0, &[]);
    let refused = served(&host, SHOP);
    assert_eq!(refused.0, 503);
    let said = host.run(&["ready", "backend", ONE]).expect(0, &[]);
    assert!(said.stdout.contains("gets requests again"), "{said:?}");
    assert_eq!(answered(&host), ["200 one"]);
    host.run(&["ready", "backend", TWO]).expect(0, &[]);
    assert_eq!(answered(&host), ["200 one", "200 two"]);
    let again = host.run(&["ready", "backend", TWO]).expect(0, &[]);
    assert!(again.stdout.contains("was not drained"), "{again:?}");
    drop(running);
}

#[test]
fn what_is_no_backend_is_not_drained() {
    let (host, running) = start();
    host.run(&["drain", "backend", "acme/shop/default/none"])
        .expect(1, &["acme/shop/default/none", "status"]);
    host.run(&["ready", "backend", "acme/none/default/a1"])
        .expect(1, &["acme/none/default/a1"]);
    host.run(&["drain", "backend", "acme/shop"])
        .expect(2, &["TENANT/SITE/POOL/BACKEND"]);
    host.run(&["drain", "site", ONE]).expect(2, &["backend"]);
    drop(running);
    host.run(&["drain", "backend", ONE]).expect(3, &[]);
}
