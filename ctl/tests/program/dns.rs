//! `up` with DNS: the real responder and the real plane, as one.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Host, PATIENCE, Running, free_address, is_alive, kill, wait_for};
use crate::live::real;
use crate::metrics::scrape;

/// An address that is free for UDP as well.
pub(crate) fn free_for_both() -> SocketAddr {
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

/// A change of a zone has the snapshot read again. That it could not be read for a moment is no fault of
/// what comes after it.
#[test]
fn what_can_not_be_read_for_a_moment_is_taken_up_when_it_can() {
    let host = DnsHost::new();
    let up = host.up();
    up.line();
    let config = host.host.path("state/config");
    let current = std::fs::read_to_string(config.join("current")).unwrap();
    let snapshot = config.join(format!("snapshot.{}", current.trim()));
    let away = config.join("away");
    std::fs::rename(&snapshot, &away).unwrap();
    for n in 0..2 {
        let record = format!("[[zone.record]]\nname = \"t{n}\"\ntype = \"TXT\"\ndata = '\"x\"'\n");
        host.host.write_manifest(&host.manifest(&record));
        host.host.run(&["apply", "-f", "h1.toml"]);
        assert_eq!(host.ask(&format!("t{n}.lb.example.net"), TXT), Some((3, 0)));
    }
    let fault = host.responder()["config_fault"].clone();
    assert!(
        fault.as_str().is_some_and(|it| it.contains("snapshot.")),
        "{fault}"
    );
    std::fs::rename(&away, &snapshot).unwrap();
    wait_for("the second change", || {
        (host.ask("t1.lb.example.net", TXT) == Some((0, 1))).then_some(())
    });
    assert!(host.responder()["config_fault"].is_null());
    up.stop();
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

/// What `usage` tells of a site's queries.
fn queries(host: &Host, site: &str) -> u64 {
    let usage = host.run(&["usage", "--format", "json"]).expect(0, &[]);
    let usage = usage.json();
    let rows = usage["rows"].as_array().expect("a list").iter();
    let (tenant, site) = site.split_once('/').expect("a full name");
    let of_site = rows.filter(|row| row["tenant"] == tenant && row["site"] == site);
    let queries = of_site.map(|row| row["dns_queries"].as_u64().expect("a number"));
    queries.sum()
}

/// Whatever dies meanwhile: what was answered is billed, and nothing twice.
#[test]
fn queries_are_billed_over_kills_and_restarts() {
    let host = DnsHost::new();
    let mut up = host.up();
    up.line();
    let mut asked = 0;
    for round in 0..4 {
        for _ in 0..10 {
            assert_eq!(host.ask(SHOP, A), Some((0, 1)));
            asked += 1;
        }
        // Without a site: of nobody.
        assert_eq!(host.ask("lb.example.net", TXT), Some((0, 0)));
        assert_eq!(queries(&host.host, "acme/shop"), asked, "round {round}");
        assert_eq!(queries(&host.host, "-/-"), round + 1);
        match round {
            0 => kill(host.responder_pid(), Signal::KILL),
            1 => {
                kill(up.pid(), Signal::KILL);
                up.wait();
                assert_eq!(queries(&host.host, "acme/shop"), asked, "with nobody there");
                up = host.up();
                up.line();
            }
            2 => {
                up.stop();
                assert_eq!(queries(&host.host, "acme/shop"), asked, "after a stop");
                up = host.up();
                up.line();
            }
            _ => {}
        }
        assert_eq!(queries(&host.host, "acme/shop"), asked);
    }
    up.stop();
    assert_eq!(queries(&host.host, "acme/shop"), asked);
    let csv = host.host.run(&["usage", "--format", "csv"]).expect(0, &[]);
    let line = csv
        .stdout
        .lines()
        .find(|line| line.starts_with("acme,shop,"));
    let cells: Vec<&str> = line.expect("it has a row").split(',').collect();
    assert_eq!(cells[14], asked.to_string());
}

#[test]
fn explain_says_why_a_client_gets_its_answer() {
    let host = DnsHost::new();
    let geo = host
        .manifest("")
        .replace("name = \"shop\"\n", "name = \"shop\"\nsteering = \"geo\"\n");
    host.host.write_secret();
    let groups = "[fleet]\nname = \"example\"\nsecret = \"fleet.key\"\n\
                  [[group]]\nname = \"ams\"\nlocation = { lat = 52.37, lon = 4.90 }\n\
                  [[group]]\nname = \"nyc\"\nlocation = { lat = 40.71, lon = -74.0 }\n\
                  [[peer]]\nname = \"nyc-1\"\ngroup = \"nyc\"\naddresses = [\"198.51.100.1\"]\n\
                  [[geo.overrides]]\nprefix = \"203.0.113.0/24\"\ngroup = \"nyc\"\n";
    let geo = geo.replace("name = \"h1\"\n", "name = \"h1\"\ngroup = \"ams\"\n");
    host.host.write_manifest(&(geo + groups));
    let up = host.up();
    up.line();
    let explain = |name: &str, client: &str, more: &[&str]| {
        let arguments = ["explain", name, "--client", client];
        host.host.run(&[&arguments, more].concat())
    };
    // A network of a German university.
    let text = explain(SHOP, "141.20.0.0/16", &[]).expect(0, &[]).stdout;
    for part in [
        "is the service name of acme/shop: the closest healthy group",
        "by the centre of its country",
        "DE\n",
        "1 of 1",
        "192.0.2.1\n",
        "2001:db8::1\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    let (ams, nyc) = (text.find("\nams "), text.find("\nnyc "));
    assert!(ams < nyc && ams.is_some(), "the closest first: {text}");
    let office = explain(SHOP, "203.0.113.7", &[]).expect(0, &[]).stdout;
    assert!(office.contains("override of 203.0.113.0/24"), "{office}");
    let json = explain(SHOP, "203.0.113.7", &["--format", "json"])
        .expect(0, &[])
        .json();
    assert_eq!(
        (
            &json["source"]["override"],
            &json["answers"][0]["addresses"][0]
        ),
        (&"203.0.113.0/24".into(), &"198.51.100.1".into())
    );
    explain("no.acme.lb.example.net", "203.0.113.7", &[])
        .expect(1, &["there is no name no.acme.lb.example.net.", "get zone"]);
    explain("shop.example.com", "203.0.113.7", &[])
        .expect(1, &["none of the zones: lb.example.net."]);
    explain("a..b", "203.0.113.7", &[]).expect(2, &["no domain name"]);
    for wrong in [
        "nowhere",
        "192.0.2.0/33",
        "0.0.0.0/0",
        "2001:db8::/129",
        "1.2.3/8",
    ] {
        explain(SHOP, wrong, &[]).expect(2, &["write a prefix"]);
    }
    up.stop();
    explain(SHOP, "203.0.113.7", &[]).expect(3, &["no meridian-geodns runs on"]);
    host.host.write_manifest(&host.host.manifest());
    let up = host.up();
    up.line();
    explain(SHOP, "203.0.113.7", &[]).expect(3, &["has no listen.dns"]);
    up.stop();
}

/// What the responder counts is told where the proxy's numbers are.
#[test]
fn metrics_tell_of_dns() {
    let host = DnsHost::new();
    let metrics = free_address();
    let listen = format!("[listen]\nmetrics = \"{metrics}\"");
    let manifest = host.manifest("").replacen("[listen]", &listen, 1);
    host.host.write_manifest(&manifest);
    let up = host.up();
    up.line();
    for _ in 0..3 {
        assert_eq!(host.ask(SHOP, A), Some((0, 1)));
    }
    assert_eq!(host.ask("missing.lb.example.net", A), Some((3, 0)));
    for (series, value) in [
        ("meridian_dns_up", 1.0),
        ("meridian_dns_config_revision", 1.0),
        ("meridian_dns_queries_total{transport=\"udp\"}", 4.0),
        ("meridian_dns_responses_total{kind=\"service\"}", 3.0),
        ("meridian_dns_responses_total{kind=\"nxdomain\"}", 1.0),
        (
            "meridian_dns_limit_hits_total{limit=\"dns_rate_dropped\"}",
            0.0,
        ),
        (
            "meridian_dns_limit_hits_total{limit=\"counters_unbacked\"}",
            0.0,
        ),
        (
            "meridian_dns_site_queries_total{tenant=\"acme\",site=\"shop\"}",
            3.0,
        ),
        (
            "meridian_dns_site_queries_total{tenant=\"-\",site=\"-\"}",
            1.0,
        ),
    ] {
        assert_eq!(scrape(metrics, series), value, "{series}");
    }
    // A responder that hangs costs its numbers, and not those of the proxy.
    let responder = Pid::from_raw(host.responder_pid().cast_signed()).expect("a pid");
    kill_process(responder, Signal::STOP).unwrap();
    assert_eq!(scrape(metrics, "meridian_dns_up"), 0.0);
    assert_eq!(scrape(metrics, "meridian_ready"), 1.0);
    kill_process(responder, Signal::CONT).unwrap();
    assert_eq!(scrape(metrics, "meridian_dns_up"), 1.0);
    up.stop();
}
