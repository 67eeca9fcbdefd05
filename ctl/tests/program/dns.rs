//! `up` with DNS: the real responder and the real plane, as one.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::host::{Host, PATIENCE, Running, free_address, is_alive, kill, wait_for};
use crate::live::real;

/// An address that is free for UDP as well.
fn free_for_both() -> SocketAddr {
    loop {
        let address = free_address();
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

struct DnsHost {
    host: Host,
    dns: SocketAddr,
}

impl DnsHost {
    fn new() -> DnsHost {
        let program =
            Path::new(env!("CARGO_BIN_EXE_meridianctl")).with_file_name("meridian-geodns");
        assert!(
            program.is_file(),
            "{} is missing: build it with `cargo build -p meridian-geodns`",
            program.display()
        );
        let host = Host::new();
        let dns = free_for_both();
        let all = DnsHost { host, dns };
        all.host.write_manifest(&all.manifest(""));
        all
    }

    /// With these records of the zone more.
    fn manifest(&self, records: &str) -> String {
        let http = format!("http = [\"{}\"]", self.host.http);
        let both = format!("{http}\ndns = [\"{}\"]", self.dns);
        let manifest = self.host.manifest().replace(&http, &both);
        let named = manifest.replace(
            "name = \"h1\"\n",
            "name = \"h1\"\naddresses = [\"192.0.2.1\", \"2001:db8::1\"]\n",
        );
        named + "[[zone]]\nname = \"lb.example.net\"\nnameservers = [\"h1\"]\n" + records
    }

    fn up(&self) -> Running {
        let mut command = real(self.host.command(&["up", "-f", "h1.toml"]));
        Running::start(&mut command)
    }

    /// The code of the response and how many answers it has; none: nothing answers.
    fn ask(&self, name: &str, rtype: u8) -> Option<(u8, u16)> {
        let mut query = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, rtype, 0, 1]);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(self.dns).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send(&query).ok()?;
        let mut got = [0; 512];
        client.recv(&mut got).ok()?;
        Some((got[3] & 0xf, u16::from_be_bytes([got[6], got[7]])))
    }

    fn responder(&self) -> serde_json::Value {
        let status = self.host.run(&["status", "--format", "json"]).json();
        status["processes"][1].clone()
    }

    fn responder_pid(&self) -> u32 {
        let pid = wait_for("the responder", || self.responder()["pid"].as_u64());
        u32::try_from(pid).unwrap()
    }
}

const SHOP: &str = "shop.acme.lb.example.net";
const A: u8 = 1;
const TXT: u8 = 16;

#[test]
fn up_answers_dns_as_soon_as_it_is_ready() {
    let host = DnsHost::new();
    let up = host.up();
    let ready = up.line();
    assert_eq!(
        ready,
        format!("ready revision=1 http={} dns={}", host.host.http, host.dns)
    );
    assert_eq!(host.ask(SHOP, A), Some((0, 1)));
    assert_eq!(host.ask("elsewhere.example", A), Some((5, 0)));
    let status = host.responder();
    assert_eq!(
        (&status["program"], &status["ready"]),
        (&"geodns".into(), &true.into())
    );
    let text = host.host.run(&["status"]).expect(0, &[]).stdout;
    for part in [
        "geodns ready, revision 1",
        "lb.example.net.",
        "service",
        "refused",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let pid = host.responder_pid();
    up.stop();
    assert!(!is_alive(pid));
    // Nobody has the port any more.
    UdpSocket::bind(host.dns).unwrap();
}

/// A command that returned 0 means that every answer from now on is by the new state.
#[test]
fn a_change_is_answered_from_when_its_command_returns() {
    let host = DnsHost::new();
    let up = host.up();
    up.line();
    for n in 0..5 {
        let name = format!("t{n}.lb.example.net");
        assert_eq!(host.ask(&name, TXT), Some((3, 0)));
        let record = format!("[[zone.record]]\nname = \"t{n}\"\ntype = \"TXT\"\ndata = '\"x\"'\n");
        host.host.write_manifest(&host.manifest(&record));
        host.host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
        assert_eq!(host.ask(&name, TXT), Some((0, 1)));
    }
    // A site by the API, whose name is answered in every zone.
    host.host
        .run(&["set", "site", "acme/new", "hostnames=[\"new.example.com\"]"])
        .expect(0, &[]);
    assert_eq!(host.ask("new.acme.lb.example.net", A), Some((0, 1)));
    host.host
        .run(&["delete", "site", "acme/new"])
        .expect(0, &[]);
    assert_eq!(host.ask("new.acme.lb.example.net", A), Some((3, 0)));
    up.stop();
}

#[test]
fn a_killed_responder_is_started_again_and_queries_wait_for_it() {
    let host = DnsHost::new();
    let up = host.up();
    up.line();
    let (first, plane) = (host.responder_pid(), crate::live::plane_pid(&host.host));
    kill(first, Signal::KILL);
    // Asked of a socket that `up` holds: what comes meanwhile is answered by the next one.
    for _ in 0..20 {
        assert_eq!(host.ask(SHOP, A), Some((0, 1)));
        std::thread::sleep(Duration::from_millis(10));
    }
    wait_for("the news", || {
        let news = "meridian-geodns serves again revision=1";
        up.stderr().contains(news).then_some(())
    });
    assert_ne!(host.responder_pid(), first);
    assert_eq!(
        crate::live::plane_pid(&host.host),
        plane,
        "the proxy went on"
    );
    kill(plane, Signal::KILL);
    wait_for("the proxy", || {
        let news = "meridian-dataplane serves again revision=1";
        up.stderr().contains(news).then_some(())
    });
    assert_eq!(host.ask(SHOP, A), Some((0, 1)));
    up.stop();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let host = DnsHost::new();
    let _taken = UdpSocket::bind(host.dns).unwrap();
    let mut up = host.up();
    up.wait().expect(1, &["listen.dns", "ss -ltunp"]);
}

#[test]
fn without_an_address_for_dns_nobody_answers_it() {
    let host = DnsHost::new();
    let up = host.up();
    up.line();
    up.stop();
    host.host.write_manifest(&host.host.manifest());
    let up = host.up();
    assert!(!up.line().contains("dns="));
    assert!(host.responder().is_null());
    up.stop();
}
