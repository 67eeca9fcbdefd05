//! Metrics under `up`: it owns their listener, so that a scrape is refused by no restart.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use rustix::process::Signal;

use crate::host::{Host, PATIENCE, Running, free_address, kill, wait_for};
use crate::live::{plane_pid, real, up};

/// Asks for the metrics of who listens, or will: the number of one, named with its labels.
pub(crate) fn scrape(address: SocketAddr, metric: &str) -> f64 {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: m\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let value = answer.lines().find_map(|line| line.strip_prefix(metric));
    let value = value.unwrap_or_else(|| panic!("no {metric} in {answer}"));
    value.trim().parse().unwrap()
}

fn directory_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn with_metrics(host: &Host, metrics: SocketAddr) {
    let manifest = host.manifest();
    let listen = format!("[listen]\nmetrics = \"{metrics}\"");
    host.write_manifest(&manifest.replacen("[listen]", &listen, 1));
}

#[test]
fn a_restart_of_the_plane_refuses_no_scrape() {
    let host = Host::new();
    let metrics = free_address();
    with_metrics(&host, metrics);
    let up = up(&host);
    assert_eq!(scrape(metrics, "meridian_ready"), 1.0);
    let started = scrape(metrics, "process_start_time_seconds");
    for _ in 0..3 {
        let pid = plane_pid(&host);
        kill(pid, Signal::KILL);
        // Not only a zombie: its other threads may still be there then, and take connections with them.
        wait_for("its end", || (!directory_of(pid).exists()).then_some(()));
        // Whoever comes now waits in the backlog for the next one.
        assert_eq!(scrape(metrics, "meridian_config_revision"), 1.0);
    }
    assert!(scrape(metrics, "process_start_time_seconds") > started);
    up.stop();
    TcpStream::connect(metrics).expect_err("it is closed with the others");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_key() {
    let host = Host::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    with_metrics(&host, address);
    let mut up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
    let ended = up.wait();
    ended.expect(1, &["listen.metrics", &address.to_string(), "ss -ltnp"]);
}
