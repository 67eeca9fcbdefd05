//! Which revision `up` serves: the manifest's, or, when that can not be had,
//! the last good one.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::host::{Host, wait_for};

/// Runs `up` until it is ready, stops it, and gives the ready line and what it said besides.
#[track_caller]
fn serve_once(host: &Host) -> (String, String) {
    let up = host.up();
    let ready = up.line();
    (ready, up.stop().stderr)
}

#[track_caller]
fn ready_revision(host: &Host) -> u64 {
    let (ready, _) = serve_once(host);
    let revision = ready.strip_prefix("ready revision=").unwrap();
    revision.split_once(' ').unwrap().0.parse().unwrap()
}

fn config(host: &Host, name: &str) -> PathBuf {
    host.path("state/config").join(name)
}

fn files(host: &Host) -> Vec<String> {
    let mut files: Vec<String> = std::fs::read_dir(host.path("state/config"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // Written when there is time for it.
        .filter(|name| !name.starts_with("applied"))
        .collect();
    files.sort();
    files
}

#[test]
fn the_revision_grows_with_a_change_and_with_nothing_else() {
    let host = Host::new();
    assert_eq!(ready_revision(&host), 1);
    assert_eq!(ready_revision(&host), 1);
    host.write_manifest(&("# only words\n".to_string() + &host.manifest()));
    assert_eq!(ready_revision(&host), 1);
    host.write_manifest(&host.larger_manifest());
    assert_eq!(ready_revision(&host), 2);
    host.write_manifest(&host.manifest());
    assert_eq!(ready_revision(&host), 3);
    assert_eq!(
        files(&host),
        [
            "current",
            "journal.2",
            "journal.3",
            "local",
            "snapshot.2",
            "snapshot.3"
        ],
        "one generation before the current one is kept"
    );
}

#[test]
fn a_change_of_local_settings_is_no_revision_and_holds() {
    let host = Host::new();
    assert_eq!(ready_revision(&host), 1);
    let three = host.manifest().replace("workers = 2", "workers = 3");
    host.write_manifest(&three);
    assert_eq!(ready_revision(&host), 1);
    // Kept, so they are also those of the last good revision.
    host.write_manifest("broken");
    assert_eq!(ready_revision(&host), 1);
    let listeners: Vec<String> = host.noted("listener");
    assert_eq!(listeners.len(), 2 + 3 + 3, "{listeners:?}");
}

#[test]
fn a_wrong_manifest_alone_is_the_end() {
    let host = Host::new();
    host.write_manifest(&host.manifest().replace("workers = 2", "workers = 0"));
    let ended = host.run(&["up", "-f", "h1.toml"]).expect(
        1,
        &["h1.toml:3: host.workers", "no earlier revision to serve"],
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(host.planes(), [0_u32; 0]);
    assert_eq!(files(&host), [""; 0]);

    let ended = host.run(&["up", "-f", "h1.toml", "--format", "json"]);
    let json = ended.expect(1, &[]).json();
    assert_eq!(json["problems"][0]["key"], "host.workers");
    host.run(&["up", "-f", "none.toml"])
        .expect(1, &["none.toml", "no earlier revision to serve"]);
}

#[test]
fn behind_a_wrong_manifest_the_last_good_revision_is_served_and_that_is_said() {
    let host = Host::new();
    serve_once(&host);
    host.write_manifest(&host.larger_manifest().replace("workers = 2", "workers = 0"));
    let (ready, said) = serve_once(&host);
    assert_eq!(ready, format!("ready revision=1 http={}", host.http));
    for part in [
        "h1.toml:3: host.workers",
        "last good revision, 1, is served",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }

    let up = host.up_with(&["--format", "json"]);
    let refused: serde_json::Value = serde_json::from_str(&up.line()).unwrap();
    assert_eq!(refused["event"], "manifest_refused");
    assert_eq!(refused["revision"], 1);
    assert_eq!(refused["problems"][0]["line"], 3);
    assert!(up.line().contains("\"ready\""));
    up.stop();
}

#[test]
fn behind_a_torn_snapshot_is_the_one_before() {
    let host = Host::new();
    serve_once(&host);
    host.write_manifest(&host.larger_manifest());
    serve_once(&host);
    let whole = std::fs::read(config(&host, "snapshot.2")).unwrap();
    std::fs::write(config(&host, "snapshot.2"), &whole[..whole.len() - 9]).unwrap();
    host.write_manifest("broken");
    // What was the first revision is served as one that follows the torn one.
    let (ready, said) = serve_once(&host);
    assert!(ready.starts_with("ready revision=3 "), "{ready}");
    assert!(said.contains("snapshot.2"), "{said}");
    let (ready, said) = serve_once(&host);
    assert!(ready.starts_with("ready revision=3 "), "mended: {ready}");
    assert!(!said.contains("damaged"), "{said}");
}

#[test]
fn a_right_manifest_mends_what_is_torn() {
    for torn in ["snapshot.2", "current", "local"] {
        let host = Host::new();
        serve_once(&host);
        host.write_manifest(&host.larger_manifest());
        serve_once(&host);
        std::fs::write(config(&host, torn), "").unwrap();
        let (ready, said) = serve_once(&host);
        assert!(said.contains(&format!("{torn}: ")), "{torn}: {said}");
        assert!(ready.starts_with("ready "), "{ready}");
        let (again, said) = serve_once(&host);
        assert_eq!(again, ready, "{torn}");
        assert_eq!(said, "", "{torn}");
    }
}

#[test]
fn when_everything_is_torn_that_is_the_end() {
    let host = Host::new();
    serve_once(&host);
    std::fs::write(config(&host, "snapshot.1"), "nothing of ours\n").unwrap();
    host.write_manifest("broken");
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &["snapshot.1: ", "no earlier revision to serve"]);

    let host = Host::new();
    serve_once(&host);
    std::fs::remove_file(config(&host, "local")).unwrap();
    host.write_manifest("broken");
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &["local: ", "local settings are damaged"]);
}

#[test]
fn what_was_written_and_never_announced_does_not_hold() {
    let host = Host::new();
    serve_once(&host);
    host.write_manifest(&host.larger_manifest());
    serve_once(&host);
    // As if the power had gone before `current` was renamed.
    std::fs::write(config(&host, "current"), "1\n").unwrap();
    host.write_manifest("broken");
    let (ready, _) = serve_once(&host);
    assert!(ready.starts_with("ready revision=1 "), "{ready}");
    host.write_manifest(&host.larger_manifest());
    let (ready, _) = serve_once(&host);
    assert!(ready.starts_with("ready revision=2 "), "{ready}");
    assert_eq!(
        files(&host),
        [
            "current",
            "journal.1",
            "journal.3",
            "local",
            "snapshot.1",
            "snapshot.3"
        ]
    );
}

#[test]
fn when_the_new_revision_can_not_be_written_the_last_good_one_goes_on() {
    let host = Host::new();
    serve_once(&host);
    // Stands where the new snapshot is to be written, as a full disk would.
    std::fs::create_dir(config(&host, "snapshot.2.new")).unwrap();
    host.write_manifest(&host.larger_manifest());
    let (ready, said) = serve_once(&host);
    assert!(ready.starts_with("ready revision=1 "), "{ready}");
    assert!(said.contains("can not be written"), "{said}");
    std::fs::remove_dir(config(&host, "snapshot.2.new")).unwrap();
    assert_eq!(ready_revision(&host), 2);

    let host = Host::new();
    std::fs::create_dir_all(config(&host, "snapshot.1.new")).unwrap();
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &["state/config", "can not be written"]);
}

/// Runs `up` until it is ready and the manifest is kept. Gives the ready line, and which file the
/// manifest is kept in: each start that goes through one writes another.
#[track_caller]
fn serve_and_keep(host: &Host, before: Option<u64>) -> (String, u64) {
    let up = host.up();
    let ready = up.line();
    let kept = wait_for("the manifest is kept", || {
        let inode = std::fs::metadata(config(host, "applied")).ok()?.ino();
        (Some(inode) != before).then_some(inode)
    });
    up.stop();
    (ready, kept)
}

#[test]
fn the_manifest_that_was_applied_last_is_not_gone_through_again() {
    let host = Host::new();
    let inode = || std::fs::metadata(config(&host, "applied")).unwrap().ino();
    let (_, first) = serve_and_keep(&host, None);
    let (ready, said) = serve_once(&host);
    assert!(ready.starts_with("ready revision=1 "), "{ready}");
    assert_eq!((inode(), said.as_str()), (first, ""));
    // One byte more is another one, even where it means the same.
    host.write_manifest(&(host.manifest() + "\n"));
    let (ready, second) = serve_and_keep(&host, Some(first));
    assert!(ready.starts_with("ready revision=1 "), "{ready}");
    // It is the last one though another one was applied after it.
    let up = host.up();
    up.line();
    assert_eq!(inode(), second);
    let original = host.manifest() + "\n";
    host.write_manifest(&host.larger_manifest());
    let applied = host.run(&["apply", "-f", "h1.toml", "--yes", "--wait", "0s"]);
    assert!(matches!(applied.code, Some(0 | 5)), "{}", applied.stderr);
    up.stop();
    host.write_manifest(&original);
    let (ready, _) = serve_and_keep(&host, Some(second));
    assert!(ready.starts_with("ready revision=3 "), "{ready}");
    // A log that is damaged is not taken for what came of it.
    let current = std::fs::read_to_string(config(&host, "current")).unwrap();
    let journal = config(&host, &format!("journal.{}", current.trim()));
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let (_, said) = serve_once(&host);
    assert!(said.contains("damaged"), "{said}");
}
