//! `meridianctl check`: all the problems of a manifest, and nothing is changed.

use crate::host::Host;
use serde_json::json;

#[test]
fn a_right_manifest_is_counted() {
    let host = Host::new();
    host.write_manifest(&host.larger_manifest());
    let ended = host.run(&["check", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(
        ended.stdout,
        "h1.toml: right; tenants: 1, sites: 2, backends: 3\n"
    );
    assert!(!host.state().exists(), "check touches no state");
}

#[test]
fn a_right_manifest_is_counted_in_json() {
    let ended = Host::new().run(&["check", "-f", "h1.toml", "--format", "json"]);
    assert_eq!(
        ended.expect(0, &[]).json(),
        json!({
            "file": "h1.toml", "problems": [], "not_available": [],
            "tenants": 1, "sites": 1, "backends": 2, "certificates": 0, "warnings": [],
        })
    );
}

#[test]
fn every_problem_is_shown_with_its_line() {
    let host = Host::new();
    let wrong = host
        .manifest()
        .replace("workers = 2", "workers = 0")
        .replace("name = \"a1\"", "name = \"a1\"\nweihgt = 3");
    host.write_manifest(&wrong);
    let ended = host.run(&["check", "-f", "h1.toml"]).expect(
        1,
        &["h1.toml:3: host.workers", "h1.toml:19: site.backend.weihgt"],
    );
    assert_eq!(ended.stdout, "");

    let problems = host
        .run(&["check", "-f", "h1.toml", "--format", "json"])
        .expect(1, &[])
        .json();
    assert_eq!(problems["exit"], 1);
    assert_eq!(problems["problems"].as_array().unwrap().len(), 2);
    assert_eq!(problems["problems"][0]["line"], 3);
    assert_eq!(problems["problems"][0]["key"], "host.workers");
    assert_eq!(problems["problems"][0]["file"], "h1.toml");
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    let host = Host::new();
    host.run(&["check", "-f", "none.toml"])
        .expect(1, &["none.toml", "No such file"]);
    std::fs::write(host.path("bytes.toml"), b"[host]\nname = \"\xff\"\n").unwrap();
    host.run(&["check", "-f", "bytes.toml"])
        .expect(1, &["bytes.toml:2", "UTF-8"]);
}

#[test]
fn what_is_not_available_yet_is_a_note_for_check_and_a_fault_for_up() {
    let host = Host::new();
    host.write_manifest(
        &host
            .manifest()
            .replace("[listen]\n", "[listen]\napi = \"127.0.0.1:9443\"\n"),
    );
    host.run(&["check", "-f", "h1.toml"])
        .expect(0, &["not available in this version", "listen.api"]);
    let json = host
        .run(&["check", "-f", "h1.toml", "--format", "json"])
        .expect(0, &[])
        .json();
    assert_eq!(json["not_available"].as_array().unwrap().len(), 1);

    let ended = host.run(&["up", "-f", "h1.toml"]);
    ended.expect(1, &["not available in this version", "listen.api"]);
}

#[test]
fn a_geographic_database_is_read_and_what_is_wrong_with_it_told_at_its_line() {
    let host = Host::new();
    let named = |database: &str| {
        host.write_manifest(&format!(
            "{}\n[geo]\ndatabase = {database}\n",
            host.manifest()
        ));
        host.run(&["check", "-f", "h1.toml"])
    };
    let line = host.manifest().lines().count() + 3;
    let line = format!("h1.toml:{line}: geo.database: ");
    std::fs::write(host.path("bytes.mmdb"), b"no database").unwrap();
    named("\"embedded\"").expect(0, &[]);
    named("\"none.mmdb\"").expect(1, &[&line, "/none.mmdb: No such file"]);
    named("\"bytes.mmdb\"").expect(1, &[&line, "/bytes.mmdb: it is no sound database"]);
    named("[\"bytes.mmdb\", \"none.mmdb\"]").expect(1, &[&line, "/none.mmdb: No such file"]);
    let refused = host.run(&["up", "-f", "h1.toml"]);
    refused.expect(1, &[&line, "/none.mmdb: No such file"]);
    std::fs::create_dir(host.path("elsewhere")).unwrap();
    let from_elsewhere = host.run(&["check", "-f", "elsewhere/../h1.toml"]);
    from_elsewhere.expect(1, &["none.mmdb: No such file"]);
}
