//! What other people's programs make of our answers.

use crate::query::SHOP;
use crate::responder::*;
use std::fs;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

#[test]
fn dig_understands() {
    let responder = Responder::with_records(&[("t", "TXT", "\"a b\" \"c\"")]);
    let short = responder.dig("dig", &["+short", SHOP, "A"]);
    let mut lines: Vec<&str> = short.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["192.0.2.1", "198.51.100.1"]);
    let text = responder.dig("dig", &["+short", "+tcp", "t.lb.example.net", "TXT"]);
    assert_eq!(text, "\"a b\" \"c\"\n");
    let whole = responder.dig("dig", &["+subnet=203.0.113.0/24", "+nsid", SHOP, "A"]);
    for part in [
        "status: NOERROR",
        "flags: qr aa rd;",
        "; CLIENT-SUBNET: 203.0.113.0/24/24",
        "(\"ams-1\")",
        "; COOKIE: ",
        "(good)",
        "udp: 1232",
    ] {
        assert!(whole.contains(part), "{part} is not in {whole}");
    }
    assert!(
        !whole.contains("WARNING") || whole.contains("recursion requested but not available"),
        "{whole}"
    );
    let missing = responder.dig("dig", &["missing.lb.example.net", "A"]);
    assert!(
        missing.contains("status: NXDOMAIN") && missing.contains("SOA"),
        "{missing}"
    );
    // A server cookie that is not ours, and then a right one, by itself.
    let refused = responder.dig(
        "dig",
        &["+cookie=0123456789abcdef0123456789abcdef", SHOP, "A"],
    );
    assert!(refused.contains("status: NOERROR"), "{refused}");
}

/// What the DNS operators' tests of EDNS compliance ask, in their words (RFC 8906 §8).
#[test]
fn the_compliance_cases_of_edns_pass() {
    let responder = Responder::with_records(&[]);
    for transport in ["+notcp", "+tcp"] {
        for (arguments, wanted, unwanted) in [
            (
                &["+noedns", "+noad", "+norec"][..],
                &["NOERROR", "SOA"][..],
                "OPT PSEUDOSECTION",
            ),
            (
                &["+edns=0", "+nocookie", "+noad", "+norec"],
                &["NOERROR", "EDNS: version: 0"],
                "BADVERS",
            ),
            (
                &["+edns=1", "+noednsneg", "+nocookie", "+noad", "+norec"],
                &["BADVERS", "EDNS: version: 0"],
                "ANSWER SECTION",
            ),
            (
                &["+edns=0", "+ednsopt=100", "+nocookie", "+noad", "+norec"],
                &["NOERROR", "SOA", "EDNS: version: 0"],
                "OPT=100",
            ),
            (
                &[
                    "+edns=0",
                    "+ednsflags=0x0080",
                    "+nocookie",
                    "+noad",
                    "+norec",
                ],
                &["NOERROR", "SOA", "EDNS: version: 0"],
                "MBZ",
            ),
            (
                &["+edns=0", "+dnssec", "+nocookie", "+noad", "+norec"],
                &["NOERROR", "SOA", "flags: do"],
                "BADVERS",
            ),
            (
                &[
                    "+edns=1",
                    "+noednsneg",
                    "+ednsopt=100",
                    "+nocookie",
                    "+noad",
                    "+norec",
                ],
                &["BADVERS", "EDNS: version: 0"],
                "OPT=100",
            ),
            (
                &[
                    "+edns=1",
                    "+noednsneg",
                    "+ednsflags=0x0080",
                    "+nocookie",
                    "+noad",
                    "+norec",
                ],
                &["BADVERS", "EDNS: version: 0"],
                "MBZ",
            ),
            (
                &["+opcode=15", "+noedns", "+norec", "+header-only"],
                &["NOTIMP"],
                "NOERROR",
            ),
            (
                &["+cd", "+noad", "+norec"],
                &["NOERROR", "flags: qr aa cd"],
                "ad;",
            ),
            (&["+ad", "+norec"], &["NOERROR", "SOA"], "aa ad"),
            (&["+zflag", "+noad", "+norec"], &["NOERROR", "SOA"], "MBZ"),
        ] {
            let all = [arguments, &[transport, "lb.example.net", "SOA"]].concat();
            let said = responder.dig("dig", &all);
            for wanted in wanted {
                assert!(said.contains(wanted), "{all:?}: {wanted} is not in\n{said}");
            }
            assert!(
                !said.contains(unwanted),
                "{all:?}: {unwanted} is in\n{said}"
            );
        }
        // A type that nobody knows, and one that nobody asks for by itself.
        let unknown = responder.dig("dig", &[transport, "lb.example.net", "TYPE1000"]);
        assert!(
            unknown.contains("status: NOERROR") && unknown.contains("ANSWER: 0"),
            "{unknown}"
        );
    }
}

#[test]
fn kdig_understands() {
    let responder = Responder::with_records(&[]);
    let said = responder.dig(
        "kdig",
        &["+subnet=203.0.113.0/24", "+nsid", "+cookie", SHOP, "A"],
    );
    for part in [
        "status: NOERROR",
        "203.0.113.0/24/24",
        "\"ams-1\"",
        "192.0.2.1",
        "198.51.100.1",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    // Over one connection that is kept open.
    let kept = responder.dig(
        "kdig",
        &[
            "+tcp",
            "+keepopen",
            "+short",
            SHOP,
            "A",
            "lb.example.net",
            "NS",
        ],
    );
    assert!(
        kept.contains("192.0.2.1") && kept.contains("nyc-1.lb.example.net."),
        "{kept}"
    );
}

/// A resolver, which validates nothing, for no zone of the tests is signed.
struct Unbound {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Unbound {
    /// One that asks `responder` for its zone. The port that it is given may be somebody else's by the
    /// time it comes to it: then another one is tried.
    fn start(responder: &Responder) -> Unbound {
        for _ in 0..10 {
            let mut unbound = Unbound::start_once(responder);
            let is_up = eventually(|| {
                let ended = unbound.child.try_wait().expect("it is our child");
                ended.is_some() || !unbound.dig(&["+short", SHOP, "A"]).contains(";;")
            });
            if is_up && unbound.child.try_wait().expect("it is our child").is_none() {
                return unbound;
            }
        }
        panic!("unbound does not start");
    }

    fn start_once(responder: &Responder) -> Unbound {
        let directory = tempfile::tempdir().expect("there is room for files");
        let free = UdpSocket::bind("127.0.0.1:0").expect("it binds");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        let address = responder.address();
        let text = format!(
            "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n use-syslog: no\n \
             chroot: \"\"\n username: \"\"\n directory: \"{dir}\"\n pidfile: \"\"\n \
             do-not-query-localhost: no\n module-config: \"iterator\"\n \
             access-control: 127.0.0.0/8 allow\n qname-minimisation: yes\n \
             harden-algo-downgrade: no\n use-caps-for-id: yes\n num-threads: 1\n\
             remote-control:\n control-enable: no\n\
             stub-zone:\n name: \"lb.example.net\"\n stub-addr: {ip}@{stub}\n",
            dir = directory.path().display(),
            ip = address.ip(),
            stub = address.port(),
        );
        let path = directory.path().join("unbound.conf");
        fs::write(&path, text).expect("it is written");
        let child = Command::new("/usr/sbin/unbound")
            .arg("-d")
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("unbound: {error}; run scripts/setup"));
        Unbound {
            child,
            port,
            _directory: directory,
        }
    }

    fn dig(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("dig")
            .args(["@127.0.0.1", "-p", &port, "+tries=1", "+time=2"])
            .args(arguments)
            .output()
            .expect("dig is there; else run scripts/setup");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With a query's name in mixed case, as unbound asks here, and by the shortest names that tell it.
#[test]
fn unbound_resolves_through_it() {
    let responder = Responder::with_records(&[
        ("alias", "CNAME", "shop.acme"),
        ("deep.er.name", "TXT", "\"x\""),
    ]);
    let unbound = Unbound::start(&responder);
    let mut said = String::new();
    assert!(
        eventually(|| {
            said = unbound.dig(&[SHOP, "A"]);
            said.contains("status: NOERROR") && said.contains("192.0.2.1")
        }),
        "{said}"
    );
    assert!(said.contains("198.51.100.1"), "{said}");
    let said = unbound.dig(&["alias.lb.example.net", "A"]);
    assert!(
        said.contains("CNAME") && said.contains("198.51.100.1"),
        "{said}"
    );
    let said = unbound.dig(&["deep.er.name.lb.example.net", "TXT"]);
    assert!(said.contains("\"x\""), "{said}");
    let said = unbound.dig(&["missing.lb.example.net", "A"]);
    assert!(said.contains("status: NXDOMAIN"), "{said}");
    let said = unbound.dig(&[SHOP, "TXT"]);
    assert!(
        said.contains("status: NOERROR") && said.contains("ANSWER: 0"),
        "{said}"
    );
    assert_eq!(responder.status()["counters"]["responses"]["formerr"], 0);
}
