//! Tenants and sites that the provider suspends, whoever owns them.

use serde_json::Value;

use crate::host::{Host, Running};
use crate::live::{backend, make_site, plane_pid, served, up};

fn is_shown_suspended(host: &Host, kind: &str, name: &str) -> bool {
    let shown = host.run(&["get", kind, name, "--format", "json"]);
    let shown = shown.expect(0, &[]).json();
    shown["objects"][0]["suspended"].as_bool().expect("a flag")
}

/// Of the sites in `status`, whether each is suspended, by tenant and name.
fn status(host: &Host) -> Vec<(String, bool)> {
    let status = host.run(&["status", "--format", "json"]);
    let status = status.expect(0, &[]).json();
    let sites = status["processes"][0]["sites"].as_array();
    let word = |site: &Value, key: &str| site[key].as_str().expect("a word").to_string();
    let sites = sites.expect("there are sites").iter().map(|site| {
        let name = format!("{}/{}", word(site, "tenant"), word(site, "site"));
        (name, site["suspended"].as_bool().expect("a flag"))
    });
    sites.collect()
}

/// A manifest of tenant acme with a site that has a backend, beside the API's live/shop.
fn start() -> (Host, Running) {
    let host = Host::new();
    let manifest = host
        .manifest()
        .replace("127.0.0.1:9001", &backend("one").to_string());
    let (before, after) = manifest
        .split_once("[[site.backend]]\nname = \"a2\"")
        .expect("two");
    assert!(after.contains("9002"));
    host.write_manifest(before);
    let running = up(&host);
    make_site(&host, backend("two"));
    (host, running)
}

const ACME: &str = "shop.example.com";
const LIVE: &str = "live.test";

#[test]
fn an_owner_can_not_resume_what_the_provider_suspended() {
    let (host, running) = start();
    assert_eq!((served(&host, ACME).0, served(&host, LIVE).0), (200, 200));
    let said = host.run(&["suspend", "tenant", "acme"]).expect(0, &[]);
    assert!(
        said.stdout.contains("create suspension of tenant acme"),
        "{said:?}"
    );
    assert_eq!((served(&host, ACME).0, served(&host, LIVE).0), (503, 200));
    assert!(is_shown_suspended(&host, "tenant", "acme"));
    assert!(is_shown_suspended(&host, "site", "acme/shop"));
    assert!(!is_shown_suspended(&host, "site", "live/shop"));
    let shown = [
        ("acme/shop".to_string(), true),
        ("live/shop".to_string(), false),
    ];
    assert_eq!(status(&host), shown);
    let table = host.run(&["status"]).expect(0, &[]).stdout;
    assert!(table.contains("acme/shop (suspended)"), "{table}");
    let table = host.run(&["get", "tenant"]).expect(0, &[]).stdout;
    assert!(table.contains("suspended"), "{table}");

    // Said twice, it is nothing new.
    let again = host.run(&["suspend", "tenant", "acme"]).expect(0, &[]);
    assert!(again.stdout.contains("nothing to change"), "{again:?}");
    // Its owner applies what it has, applies something else, and takes it away and brings it back.
    let manifest = std::fs::read_to_string(host.path("h1.toml")).unwrap();
    let (nothing, _) = manifest.split_once("[[tenant]]").expect("a tenant");
    let more = format!(
        "{manifest}\n[[site]]\ntenant = \"acme\"\nname = \"new\"\nhostnames = [\"new.test\"]\n"
    );
    for text in [&manifest, &more, nothing, &manifest, &more] {
        host.write_manifest(text);
        host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
        let expected = if text.contains("acme") { 503 } else { 404 };
        assert_eq!(served(&host, ACME).0, expected);
    }
    // A site that was made meanwhile is the tenant's, too.
    assert_eq!(served(&host, "new.test").0, 503);

    // It outlives the plane and `up`.
    crate::host::kill(plane_pid(&host), rustix::process::Signal::KILL);
    plane_pid(&host);
    assert_eq!(served(&host, ACME).0, 503);
    running.stop();
    let running = up(&host);
    assert_eq!(served(&host, ACME).0, 503);

    // One site of it can not be had back alone.
    host.run(&["resume", "site", "acme/shop"]).expect(
        4,
        &["site acme/shop is suspended with its tenant; resume tenant acme"],
    );
    let said = host.run(&["resume", "tenant", "acme"]).expect(0, &[]);
    assert!(
        said.stdout.contains("delete suspension of tenant acme"),
        "{said:?}"
    );
    assert_eq!(served(&host, ACME).0, 200);
    assert!(!is_shown_suspended(&host, "tenant", "acme"));
    let again = host.run(&["resume", "tenant", "acme"]).expect(0, &[]);
    assert!(again.stdout.contains("nothing to change"), "{again:?}");
    running.stop();
}

#[test]
fn sites_are_suspended_one_by_one_and_by_their_owners() {
    let (host, running) = start();
    let revision = |args: &[&str]| host.run(args).expect(0, &[]).json()["revision"].clone();
    let first = revision(&["suspend", "site", "live/shop", "--format", "json"]);
    assert_eq!((served(&host, ACME).0, served(&host, LIVE).0), (200, 503));
    // Both, and one of them ends.
    host.run(&["suspend", "tenant", "live"]).expect(0, &[]);
    host.run(&["resume", "tenant", "live"]).expect(0, &[]);
    assert_eq!(served(&host, LIVE).0, 503);
    let last = revision(&["resume", "site", "live/shop", "--format", "json"]);
    assert!(last.as_u64() > first.as_u64());
    assert_eq!(served(&host, LIVE).0, 200);

    // What the owner says, the owner takes back.
    host.run(&[
        "set",
        "tenant",
        "live",
        "suspended=true",
        "backend_networks=[\"127.0.0.0/8\"]",
    ])
    .expect(0, &[]);
    assert_eq!(served(&host, LIVE).0, 503);
    assert!(is_shown_suspended(&host, "site", "live/shop"));
    host.run(&["resume", "tenant", "live"]).expect(
        4,
        &["tenant live is suspended by api, with its key `suspended`; set it anew"],
    );
    // Its site names who it is, too.
    host.run(&["resume", "site", "live/shop"]).expect(
        4,
        &["site live/shop is suspended with its tenant; tenant live is suspended by api, with"],
    );
    host.run(&[
        "set",
        "tenant",
        "live",
        "backend_networks=[\"127.0.0.0/8\"]",
    ])
    .expect(0, &[]);
    assert_eq!(served(&host, LIVE).0, 200);
    let manifest = std::fs::read_to_string(host.path("h1.toml")).unwrap();
    let suspended = manifest.replace("name = \"shop\"\n", "name = \"shop\"\nsuspended = true\n");
    host.write_manifest(&suspended);
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(served(&host, ACME).0, 503);
    host.run(&["resume", "site", "acme/shop"]).expect(
        4,
        &["site acme/shop is suspended by manifest:h1; change it there"],
    );

    // An order ends, and what is still in its way is said: all of it.
    host.run(&["suspend", "site", "acme/shop"]).expect(0, &[]);
    let said = host.run(&["resume", "site", "acme/shop"]).expect(0, &[]);
    assert_eq!(
        said.stdout.lines().take(2).collect::<Vec<_>>(),
        [
            "delete suspension of site acme/shop",
            "site acme/shop is still suspended by manifest:h1; change it there"
        ]
    );
    host.run(&["suspend", "site", "acme/shop"]).expect(0, &[]);
    host.run(&["suspend", "tenant", "acme"]).expect(0, &[]);
    let said = host.run(&["resume", "site", "acme/shop", "--format", "json"]);
    assert_eq!(
        said.expect(0, &[]).json()["note"],
        "site acme/shop is still suspended by manifest:h1; change it there; and it is suspended with \
         its tenant; resume tenant acme"
    );
    assert_eq!(served(&host, ACME).0, 503);
    let said = host.run(&["resume", "tenant", "acme", "--format", "json"]);
    assert!(said.expect(0, &[]).json()["note"].is_null());

    for (args, code, why) in [
        (["suspend", "tenant", "acne"], 1, "there is no tenant acne"),
        (
            ["suspend", "site", "acme/none"],
            1,
            "there is no site acme/none",
        ),
        (["resume", "tenant", "acne"], 1, "there is no tenant acne"),
        (["suspend", "site", "acme"], 2, "acme"),
        (["suspend", "backend", "a/b/c/d"], 2, "none of the kinds"),
    ] {
        host.run(&args).expect(code, &[why]);
    }
    running.stop();
}
