//! `meridianctl up` from its call to its ready line, and what it leaves on disk.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::host::{Host, Running, free_address, kill, wait_for};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn it_says_when_it_is_ready_and_drains_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let host = Host::new();
        let mut up = host.up();
        assert_eq!(up.line(), format!("ready revision=1 http={}", host.http));
        assert_eq!(host.get(), host.planes()[0]);
        up.signal(signal);
        let ended = up.wait().expect(0, &[]);
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
        assert_eq!(
            host.noted("signal"),
            ["TERM"],
            "one signal, whichever we got"
        );
    }
}

#[test]
fn it_says_so_in_json() {
    let host = Host::new();
    let up = host.up_with(&["--format", "json"]);
    let ready: serde_json::Value = serde_json::from_str(&up.line()).unwrap();
    let http = host.http.to_string();
    assert_eq!(
        ready,
        json!({"event": "ready", "revision": 1, "http": [http], "https": []})
    );
    up.stop();
}

#[test]
fn the_plane_inherits_a_listener_for_each_worker_and_nothing_more() {
    let host = Host::new();
    let second = free_address();
    let first = host.http;
    host.write_manifest(&host.manifest().replace(
        &format!("\"{first}\""),
        &format!("\"{first}\", \"{second}\""),
    ));
    let up = host.up();
    assert_eq!(up.line(), format!("ready revision=1 http={first},{second}"));
    assert_eq!(
        host.noted("listener"),
        [
            format!("http-0-0={first}"),
            format!("http-0-1={first}"),
            format!("http-1-0={second}"),
            format!("http-1-1={second}"),
        ]
    );
    assert_eq!(host.noted("sockets"), ["4"]);
    up.stop();
}

#[test]
fn without_a_number_there_are_as_many_workers_as_cpus() {
    let host = Host::new();
    host.write_manifest(&host.manifest().replace("workers = 2\n", ""));
    let up = host.up();
    up.line();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(host.noted("listener").len(), cpus);
    up.stop();
}

#[test]
fn what_it_keeps_is_for_its_owner_alone() {
    let host = Host::new();
    let up = host.up();
    up.line();
    // Kept for the next start, once this one serves.
    wait_for("what was applied", || {
        host.path("state/config/applied").exists().then_some(())
    });
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for directory in ["state", "state/config", "state/run"] {
        assert_eq!(mode(&host.path(directory)), 0o700, "{directory}");
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(host.path("state/config")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        files.push(path.file_name().unwrap().to_str().unwrap().to_string());
    }
    files.sort();
    assert_eq!(
        files,
        ["applied", "current", "journal.1", "local", "snapshot.1"]
    );
    assert_eq!(mode(&host.path("state/meridianctl.lock")), 0o600);
    up.stop();
}

#[test]
fn a_second_one_names_the_first() {
    let host = Host::new();
    let up = host.up();
    up.line();
    let pid = format!("(pid {})", up.pid());
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &["another meridianctl up", &pid, "--state"]);
    assert_eq!(host.get(), host.planes()[0], "the first goes on");
    up.stop();
}

#[test]
fn a_port_in_use_is_named_with_the_remedy() {
    let host = Host::new();
    let _other = TcpListener::bind(host.http).unwrap();
    let address = host.http.to_string();
    host.run(&["up", "-f", "h1.toml"])
        .expect(1, &[&address, "in use", "ss -ltnp"]);
    assert_eq!(host.planes(), [0_u32; 0]);
}

#[test]
fn two_hosts_can_not_share_a_port_by_accident() {
    let host = Host::new();
    let up = host.up();
    up.line();
    host.run(&["up", "-f", "h1.toml", "--state", "other"])
        .expect(1, &["in use"]);
    up.stop();
}

#[test]
fn a_state_directory_that_can_not_be_made_is_named() {
    let host = Host::new();
    host.run(&["up", "-f", "h1.toml", "--state", "h1.toml/state"])
        .expect(1, &["h1.toml/state", "--state"]);
}

#[test]
fn without_the_planes_program_it_says_where_it_looked() {
    let host = Host::new();
    let ended = host
        .command(&["up", "-f", "h1.toml"])
        .env("MERIDIAN_DATAPLANE", "/nowhere/plane")
        .output()
        .unwrap();
    crate::host::Ended::from(ended).expect(1, &["/nowhere/plane", "MERIDIAN_DATAPLANE"]);
}

#[test]
fn a_plane_that_dies_before_it_is_ready_ends_it_with_the_planes_words() {
    let host = Host::new();
    host.behave("dies-at-start");
    let ended = host.run(&["up", "-f", "h1.toml"]).expect(
        1,
        &[
            "fake plane: told to die",
            "meridian-dataplane ended before it was ready (exit status: 1)",
        ],
    );
    assert_eq!(ended.stdout, "");
    assert_eq!(host.planes().len(), 1, "it was not tried again");
}

#[test]
fn a_plane_that_is_not_ready_is_waited_for_and_can_be_stopped() {
    let host = Host::new();
    host.behave("never-ready");
    let mut up = host.up();
    wait_for("the listeners", || host.noted("sockets").pop());
    std::thread::sleep(std::time::Duration::from_millis(300));
    host.run(&["status"]).expect(0, &[]);
    up.signal(Signal::TERM);
    let ended = up.wait().expect(0, &[]);
    assert_eq!(ended.stdout, "", "never said to be ready");
}

#[test]
fn a_plane_of_an_earlier_run_is_not_taken_for_ours() {
    let host = Host::new();
    host.up().line();
    // Dropped, so killed; its plane died with it and left a socket.
    let up = host.up();
    up.line();
    assert_eq!(host.get(), host.planes()[1]);
    up.stop();
}

#[test]
fn it_limits_the_plane_to_the_hard_limit_on_files() {
    let host = Host::new();
    let mut shell = std::process::Command::new("sh");
    let real = host.command(&[]);
    shell.args([
        "-c",
        "ulimit -Sn 64 && ulimit -Hn 777 && exec \"$0\" up -f h1.toml",
    ]);
    shell.arg(real.get_program()).current_dir(host.path(""));
    for (name, value) in real.get_envs() {
        shell.env(name, value.unwrap());
    }
    let up = Running::start(&mut shell);
    up.line();
    let limits = format!("/proc/{}/limits", host.planes()[0]);
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files: Vec<&str> = files.unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["777", "777"]);
    up.stop();
}

#[test]
fn neither_it_nor_its_plane_has_huge_pages() {
    let host = Host::new();
    let up = host.up();
    up.line();
    let plane = host.planes()[0];
    for pid in [up.pid(), plane] {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        // A kernel without them does not name them.
        let enabled = status
            .lines()
            .find_map(|line| line.strip_prefix("THP_enabled:"));
        assert_eq!(enabled.map_or("0", str::trim), "0");
    }
    up.stop();
}

#[test]
fn it_outlives_the_reader_of_its_output() {
    let host = Host::new();
    let mut command = host.command(&["up", "-f", "h1.toml"]);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = command
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    drop(command);
    drop(reader);
    let first = wait_for("the first plane", || host.planes().first().copied());
    wait_for("readiness", || host.noted("asked").pop());
    // Its death and its return are told to nobody.
    kill(first, Signal::KILL);
    wait_for("the second plane", || host.planes().get(1).copied());
    assert!(child.try_wait().unwrap().is_none());
    kill(child.id(), Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_host_has_a_secret_of_its_own_until_one_is_named() {
    let host = Host::new();
    let key = host.state().join("fleet.key");
    let serve_once = || {
        let up = host.up();
        up.line();
        up.stop();
    };
    serve_once();
    let made = std::fs::read(&key).unwrap();
    assert_eq!(made.trim_ascii().len(), 64);
    // The same at the next start, and again when somebody removed it, though nothing else is new.
    serve_once();
    assert_eq!(std::fs::read(&key).unwrap(), made);
    std::fs::remove_file(&key).unwrap();
    serve_once();
    let anew = std::fs::read(&key).unwrap();
    assert!(anew.len() == made.len() && anew != made);

    let named = host.manifest() + "\n[fleet]\nname = \"f1\"\nsecret = \"shared.key\"\n";
    host.write_manifest(&named);
    // The last good revision is served, with the secret that it had.
    serve_once();
    assert_eq!(std::fs::read(&key).unwrap(), anew);
    let shared = "what all hosts of this fleet share";
    std::fs::write(host.path("shared.key"), shared).unwrap();
    serve_once();
    assert_eq!(std::fs::read(&key).unwrap(), shared.as_bytes());
    let mode = std::fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_secret_that_is_none_is_named_with_what_to_do() {
    let host = Host::new();
    let named = host.manifest() + "\n[fleet]\nname = \"f1\"\nsecret = \"shared.key\"\n";
    host.write_manifest(&named);
    let ended = host.run(&["up", "-f", "h1.toml"]);
    ended.expect(1, &["fleet.secret", "shared.key: No such file", "openssl"]);
    std::fs::write(host.path("shared.key"), "too short").unwrap();
    let ended = host.run(&["up", "-f", "h1.toml"]);
    ended.expect(1, &["fleet.secret", "32 to 1024 bytes", "openssl"]);
}
