//! `meridianctl status`: what the plane says, and what is said when it says nothing.

use std::os::unix::net::UnixListener;

use crate::host::{Host, is_alive, kill, wait_for};
use rustix::process::Signal;

#[test]
fn a_plane_that_does_not_run_is_exit_3_with_the_way_to_start_it() {
    let host = Host::new();
    let state = host.state().display().to_string();
    host.run(&["status"]).expect(
        3,
        &["no meridian-dataplane runs on", &state, "meridianctl up -f"],
    );

    // A plane that was killed leaves its socket behind.
    std::fs::create_dir_all(host.path("state/run")).unwrap();
    drop(UnixListener::bind(host.path("state/run/dataplane.sock")).unwrap());
    let json = host
        .run(&["status", "--format", "json"])
        .expect(3, &[])
        .json();
    assert_eq!(json["exit"], 3);
    let error = json["error"].as_str().unwrap();
    assert!(error.contains("no meridian-dataplane runs"), "{error}");
}

#[test]
fn a_running_plane_is_shown_in_tables_and_in_json() {
    let host = Host::new();
    let up = host.up();
    up.line();
    let plane = host.planes()[0];

    let text = host.run(&["status"]).expect(0, &[]).stdout;
    let squeezed: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        format!("dataplane ready, revision 1, pid {plane}, up 1m01s").as_str(),
        "kernel 6.18.1 with one, two",
        "0 3 1 12 11 5 1234 42 % 63 % 64/4096",
        "acme/shop 77 70 0 0 0 0 0 0 0 0 0",
        "acme/shop/default/a1 127.0.0.1:9001 up 1 0 5 0",
        "app.internal 127.0.0.1 127.0.0.2 1m15s ago 4s answered SERVFAIL",
        "FIELDS_MAX 2",
    ] {
        assert!(
            squeezed.iter().any(|each| each == line),
            "no {line:?} in {text}"
        );
    }

    let json = host
        .run(&["status", "--format", "json"])
        .expect(0, &[])
        .json();
    assert_eq!(json["state"], host.state().to_str().unwrap());
    let process = &json["processes"][0];
    assert_eq!(process["pid"], plane);
    assert_eq!(process["workers"][0]["turns"], 9, "passed on whole");
    up.stop();
    host.run(&["status"]).expect(3, &[]);
}

#[test]
fn a_plane_that_was_killed_a_moment_ago_is_waited_for() {
    let host = Host::new();
    let up = host.up();
    up.line();
    let first = host.planes()[0];
    host.behave("dies-at-start");
    kill(first, Signal::KILL);
    wait_for("the death of another one", || {
        (host.planes().len() >= 2).then_some(())
    });
    host.behave("");
    let json = host
        .run(&["status", "--format", "json"])
        .expect(0, &[])
        .json();
    let asked = u32::try_from(json["processes"][0]["pid"].as_u64().unwrap()).unwrap();
    assert_eq!(host.planes().last(), Some(&asked));
    assert_ne!(asked, first);

    host.behave("dies-at-start");
    kill(asked, Signal::KILL);
    wait_for("its end", || (!is_alive(asked)).then_some(()));
    host.run(&["status"]).expect(
        3,
        &["no meridian-dataplane runs on", "yet", "is starting it"],
    );
    up.stop();
}
