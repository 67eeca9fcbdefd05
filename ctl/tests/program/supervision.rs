//! What happens to a plane after it was ready once: deaths, back-off, signals.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use crate::host::{Host, PATIENCE, Running, is_alive, kill, wait_for};
use rustix::process::{Pid, Signal, kill_process_group};

#[test]
fn a_killed_plane_is_started_again_and_no_client_is_refused() {
    let host = Host::new();
    let up = host.up();
    up.line();
    let first = host.planes()[0];
    kill(first, Signal::KILL);
    let killed = Instant::now();
    // Every one of these connects, before, while and after the second plane comes.
    let mut served = Vec::new();
    while served.len() < 50 {
        served.push(ask_until_answered(&host));
    }
    assert!(killed.elapsed() < Duration::from_secs(5));
    let second = host.planes()[1];
    assert_eq!(served.last(), Some(&second.to_string()));
    wait_for("the news", || {
        up.stderr().contains("serves again").then_some(())
    });
    let said = up.stop().stderr;
    assert!(
        said.contains("SIGKILL") && said.contains("starting it again"),
        "{said}"
    );
    assert!(said.contains("serves again revision=1"), "{said}");
}

/// Connects, which must never fail, and asks; a connection that the killed
/// plane had taken is lost with it, and its client asks again.
fn ask_until_answered(host: &Host) -> String {
    loop {
        let mut stream = TcpStream::connect(host.http).expect("never refused");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let asked = stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
        let mut response = String::new();
        if asked.is_ok() && stream.read_to_string(&mut response).is_ok() && !response.is_empty() {
            return response.split_once("\r\n\r\n").unwrap().1.to_string();
        }
    }
}

#[test]
fn a_plane_that_keeps_dying_is_started_after_ever_longer_waits() {
    let host = Host::new();
    host.behave("brief");
    let up = host.up();
    up.line();
    wait_for("six starts", || (host.planes().len() >= 6).then_some(()));
    let starts_ms: Vec<u64> = host
        .journal()
        .iter()
        .filter(|line| line.2 == "start")
        .map(|line| line.0)
        .collect();
    let gaps_ms: Vec<u64> = starts_ms.windows(2).map(|two| two[1] - two[0]).collect();
    // Each gap holds the plane's short life, and then the wait.
    let waits_ms = [0, 100, 200, 400, 800];
    for (gap_ms, wait_ms) in gaps_ms.iter().zip(waits_ms) {
        assert!(*gap_ms >= wait_ms, "{gaps_ms:?}");
        assert!(*gap_ms < wait_ms + 5000, "{gaps_ms:?}");
    }
    let said = up.stop().stderr;
    for part in [
        "starting it again\n",
        "in 0.1 s",
        "in 0.2 s",
        "in 0.4 s",
        "in 0.8 s",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn a_stop_while_it_waits_to_start_a_plane_is_immediate() {
    let host = Host::new();
    host.behave("brief");
    let mut up = host.up();
    up.line();
    wait_for("a long wait", || {
        up.stderr().contains("in 3.2 s").then_some(())
    });
    let stopped = Instant::now();
    up.signal(Signal::TERM);
    up.wait().expect(0, &[]);
    assert!(stopped.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_plane_that_can_not_be_started_anew_is_tried_again() {
    let host = Host::new();
    let program = host.path("plane");
    std::fs::copy(crate::host::fake_plane(), &program).unwrap();
    let mut command = host.command(&["up", "-f", "h1.toml"]);
    let up = Running::start(command.env("MERIDIAN_DATAPLANE", &program));
    up.line();
    let away = host.path("away");
    std::fs::rename(&program, &away).unwrap();
    kill(host.planes()[0], Signal::KILL);
    wait_for("a failed start", || {
        up.stderr().contains("could not be started").then_some(())
    });
    std::fs::rename(&away, &program).unwrap();
    wait_for("the return", || {
        up.stderr().contains("serves again").then_some(())
    });
    assert_eq!(host.get(), host.planes()[1]);
    up.stop();
}

#[test]
fn a_draining_plane_has_its_listeners_for_itself() {
    let host = Host::new();
    host.behave("deaf");
    let mut up = host.up();
    up.line();
    let (ours, planes) = (up.pid(), host.planes()[0]);
    let shared = || {
        let planes = sockets(planes);
        sockets(ours)
            .into_iter()
            .filter(|each| planes.contains(each))
            .count()
    };
    assert_eq!(shared(), 2);
    up.signal(Signal::TERM);
    wait_for("the listeners' release", || (shared() == 0).then_some(()));
    up.signal(Signal::TERM);
    up.wait().expect(0, &[]);
    TcpStream::connect(host.http).unwrap_err();
}

/// The sockets that a process has open, by their numbers in the kernel.
fn sockets(pid: u32) -> Vec<String> {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| target.starts_with("socket:"))
        .collect()
}

#[test]
fn a_second_signal_stops_now() {
    let host = Host::new();
    host.behave("deaf");
    let mut up = host.up();
    up.line();
    let plane = host.planes()[0];
    up.signal(Signal::TERM);
    wait_for("the signal", || {
        (host.noted("signal") == ["TERM"]).then_some(())
    });
    assert_eq!(host.get(), plane, "it drains as long as it wants");
    up.signal(Signal::INT);
    up.wait().expect(0, &[]);
    assert!(!is_alive(plane));
}

#[test]
fn a_plane_that_overstays_its_drain_is_killed() {
    let host = Host::new();
    host.write_manifest(
        &host
            .manifest()
            .replace("workers = 2", "workers = 2\ntimeouts = { drain = \"1s\" }"),
    );
    host.behave("deaf");
    let mut up = host.up();
    up.line();
    let plane = host.planes()[0];
    up.signal(Signal::TERM);
    up.wait().expect(0, &["was still there 6 s after"]);
    assert!(!is_alive(plane));
}

#[test]
fn ctrl_c_at_a_terminal_reaches_the_plane_once() {
    let host = Host::new();
    host.behave("deaf");
    // A terminal signals the whole group of processes in its foreground.
    let mut command = host.command(&["up", "-f", "h1.toml"]);
    let mut up = Running::start(command.process_group(0));
    up.line();
    let group = Pid::from_raw(up.pid().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    wait_for("the signal", || host.noted("signal").pop());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        host.noted("signal"),
        ["TERM"],
        "a second one would stop it now"
    );
    up.signal(Signal::INT);
    up.wait().expect(0, &[]);
}

#[test]
fn a_hangup_is_passed_on() {
    let host = Host::new();
    let up = host.up();
    up.line();
    up.signal(Signal::HUP);
    wait_for("the signal", || {
        (host.noted("signal") == ["HUP"]).then_some(())
    });
    up.stop();
    assert_eq!(host.noted("signal"), ["HUP", "TERM"]);
}

#[test]
fn the_plane_dies_with_a_killed_supervisor() {
    let host = Host::new();
    let mut up = host.up();
    up.line();
    let plane = host.planes()[0];
    up.signal(Signal::KILL);
    up.wait().expect(-9, &[]);
    wait_for("the plane's end", || (!is_alive(plane)).then_some(()));
}
