//! DNS from outside, as the Internet sees it: a root and a zone above of the test's own (knotd), a
//! resolver that begins at that root (unbound), and programs that ask it (dig, kdig, delv).
//!
//! Referrals name no port, so all of it answers at port 53 of addresses of loopback that nobody else
//! has. Where that is not allowed, or a program is missing, these tests say so and do nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::dns::free_for_both;
use crate::host::{Host, Running, wait_for};
use crate::live::real;

const NEEDED: [&str; 5] = [
    "/usr/sbin/knotd",
    "/usr/sbin/unbound",
    "/usr/bin/dig",
    "/usr/bin/kdig",
    "/usr/bin/delv",
];

/// A network of a German university, and one of an American one.
const BERLIN: &str = "141.20.0.0/24";
const NEW_YORK: &str = "128.59.0.0/24";

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Three addresses of loopback whose port 53 is free: of the root, of the zone above and of ours.
fn addresses() -> Option<[String; 3]> {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    if let Some(missing) = NEEDED.iter().find(|it| !Path::new(it).exists()) {
        eprintln!("SKIPPED: {missing} is missing; run scripts/setup");
        return None;
    }
    for _ in 0..50 {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        let number = std::process::id().wrapping_mul(31).wrapping_add(taken);
        let [_, _, high, low] = number.to_be_bytes();
        let all = [1, 2, 3].map(|last| format!("127.{}.{low}.{last}", 64 + high % 128));
        let is_free = |address: &String| {
            let at = format!("{address}:53");
            UdpSocket::bind(&at).is_ok() && TcpListener::bind(&at).is_ok()
        };
        if all.iter().all(is_free) {
            return Some(all);
        }
    }
    eprintln!(
        "SKIPPED: port 53 of loopback can not be had: that takes root, or net.ipv4.ip_unprivileged_port_start"
    );
    None
}

/// All of it. Dropped, all of it ends.
struct Internet {
    host: Host,
    /// Of the zone above.
    above: String,
    /// Where the resolver answers.
    resolver: SocketAddr,
    _resolver: Process,
    _servers: [Process; 2],
    up: Option<Running>,
}

impl Internet {
    /// `lb.example.net` is delegated by its parent's records, `glue.net` as a domain at a registrar is.
    fn start() -> Option<Internet> {
        let [root, above, ours] = addresses()?;
        let host = Host::new();
        let delegated = |zone: &str| format!("{zone}. NS ams-1.{zone}.\nams-1.{zone}. A {ours}\n");
        let zone = |apex: &str, rest: &str| {
            let head = "SOA ns.net. hostmaster.net. 1 3600 600 86400 60";
            format!("$ORIGIN .\n$TTL 300\n{apex} {head}\n{rest}")
        };
        let servers = [
            knotd(
                &host.path("root"),
                &root,
                &[(
                    ".",
                    zone(
                        ".",
                        &format!(
                            ". NS a.root.\na.root. A {root}\nnet. NS ns.net.\nns.net. A {above}\n"
                        ),
                    ),
                )],
            ),
            knotd(
                &host.path("above"),
                &above,
                &[
                    (
                        "net.",
                        zone(
                            "net.",
                            &format!(
                                "net. NS ns.net.\nns.net. A {above}\nexample.net. NS ns.net.\n{}",
                                delegated("glue.net")
                            ),
                        ),
                    ),
                    (
                        "example.net.",
                        zone(
                            "example.net.",
                            &format!("example.net. NS ns.net.\n{}", delegated("lb.example.net")),
                        ),
                    ),
                ],
            ),
        ];
        host.write_manifest(&manifest(&host, &ours));
        let up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
        up.line();
        let (process, resolver) = unbound(&host.path("unbound"), &root, &ours);
        let internet = Internet {
            host,
            above,
            resolver,
            _resolver: process,
            _servers: servers,
            up: Some(up),
        };
        wait_for("the resolver", || {
            let said = internet.ask("dig", &["+short", "ns.net", "A"]);
            said.starts_with("127.").then_some(())
        });
        Some(internet)
    }

    /// What a program says that asks the resolver.
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let server = format!("@{}", self.resolver.ip());
        let port = self.resolver.port().to_string();
        let output = Command::new(program)
            .args([&server, "-p", &port])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The addresses that dig is told for a client of this network, and the scope that they hold for.
    fn located(&self, name: &str, subnet: &str) -> (Vec<String>, u8) {
        let said = self.ask("dig", &[&format!("+subnet={subnet}"), name, "A"]);
        assert!(said.contains("status: NOERROR"), "{said}");
        let scope = said
            .lines()
            .find_map(|line| line.strip_prefix("; CLIENT-SUBNET: "));
        let scope = scope.and_then(|it| it.rsplit('/').next()?.trim().parse().ok());
        let answers = said.lines().filter(|line| line.contains("\tIN\tA\t"));
        let address = |line: &str| line.rsplit('\t').next().unwrap_or_default().to_owned();
        let mut addresses: Vec<String> = answers.map(address).collect();
        addresses.sort_unstable();
        (
            addresses,
            scope.unwrap_or_else(|| panic!("no scope in {said}")),
        )
    }

    /// Responses with addresses of hosts by now.
    fn answered(&self) -> u64 {
        let status = self.host.run(&["status", "--format", "json"]).json();
        let counters: &Value = &status["processes"][1]["counters"];
        counters["responses"]["service"].as_u64().expect("a number")
    }
}

fn manifest(host: &Host, ours: &str) -> String {
    let http = format!("http = [\"{}\"]", host.http);
    let manifest = host
        .manifest()
        .replace(&http, &format!("{http}\ndns = [\"{ours}:53\"]"));
    let manifest = manifest.replace(
        "name = \"h1\"\n",
        &format!("name = \"ams-1\"\ngroup = \"ams\"\naddresses = [\"{ours}\"]\n"),
    );
    let manifest = manifest.replace("name = \"shop\"\n", "name = \"shop\"\nsteering = \"geo\"\n");
    host.write_secret();
    manifest
        + "[fleet]\nname = \"example\"\nsecret = \"fleet.key\"\n\
           [[group]]\nname = \"ams\"\nlocation = { lat = 52.37, lon = 4.90 }\n\
           [[group]]\nname = \"nyc\"\nlocation = { lat = 40.71, lon = -74.0 }\n\
           [[peer]]\nname = \"nyc-1\"\ngroup = \"nyc\"\naddresses = [\"198.51.100.1\"]\n\
           [[zone]]\nname = \"lb.example.net\"\nnameservers = [\"ams-1\"]\n\
           [[zone]]\nname = \"glue.net\"\nnameservers = [\"ams-1\"]\napex = \"acme/shop\"\n"
}

/// A server of these zones at port 53 of `address`.
fn knotd(directory: &Path, address: &str, zones: &[(&str, String)]) -> Process {
    fs::create_dir(directory).unwrap();
    let at = directory.display();
    let mut text = format!(
        "server:\n    listen: {address}@53\n    rundir: \"{at}\"\n    pidfile: \"{at}/pid\"\n    \
         udp-workers: 1\n    tcp-workers: 1\n    background-workers: 1\n\
         control:\n    listen: \"{at}/control\"\n\
         database:\n    storage: \"{at}\"\nzone:\n"
    );
    for (number, (zone, content)) in zones.iter().enumerate() {
        fs::write(directory.join(format!("{number}.zone")), content).unwrap();
        text.push_str(&format!(
            "  - domain: \"{zone}\"\n    storage: \"{at}\"\n    file: \"{number}.zone\"\n    \
             zonefile-sync: -1\n    journal-content: none\n"
        ));
    }
    let path = directory.join("knot.conf");
    fs::write(&path, text).unwrap();
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = Command::new("/usr/sbin/knotd");
    let command = command.arg("-c").arg(&path).stdin(Stdio::null());
    let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
    Process(child.unwrap())
}

/// A resolver that begins at `root`, and tells the clients' networks to `ours`.
fn unbound(directory: &Path, root: &str, ours: &str) -> (Process, SocketAddr) {
    fs::create_dir(directory).unwrap();
    let hints = format!(". 300 IN NS a.root.\na.root. 300 IN A {root}\n");
    fs::write(directory.join("hints"), hints).unwrap();
    let address = free_for_both();
    let at = directory.display();
    let text = format!(
        "server:\n interface: {}@{}\n do-daemonize: no\n use-syslog: no\n chroot: \"\"\n \
         username: \"\"\n directory: \"{at}\"\n pidfile: \"\"\n root-hints: \"{at}/hints\"\n \
         do-not-query-localhost: no\n module-config: \"subnetcache iterator\"\n \
         access-control: 127.0.0.0/8 allow\n qname-minimisation: yes\n num-threads: 1\n \
         do-ip6: no\n send-client-subnet: {ours}\n max-client-subnet-ipv4: 24\n \
         local-zone: \"test.\" nodefault\n\
         remote-control:\n control-enable: no\n",
        address.ip(),
        address.port()
    );
    let path = directory.join("unbound.conf");
    fs::write(&path, text).unwrap();
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut command = Command::new("/usr/sbin/unbound");
    let command = command.arg("-d").arg("-c").arg(&path).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(log).spawn();
    (Process(child.unwrap()), address)
}

const SHOP: &str = "shop.acme.lb.example.net";

#[test]
fn a_resolver_finds_both_kinds_of_zones_from_the_root() {
    let Some(mut internet) = Internet::start() else {
        return;
    };
    // By NS records of its parent, and as a domain whose glue a registrar keeps.
    for name in [SHOP, "shop.acme.glue.net", "glue.net"] {
        let (addresses, _) = internet.located(name, NEW_YORK);
        assert_eq!(addresses, ["198.51.100.1"], "{name}");
    }
    let said = internet.ask("kdig", &["+subnet=128.59.0.0/24", SHOP, "A"]);
    assert!(said.contains("198.51.100.1"), "{said}");
    // Nothing here is signed, so it is asked not to validate (-i).
    let said = internet.ask("delv", &["-i", SHOP, "A"]);
    assert!(said.contains("IN\tA\t"), "{said}");
    let said = internet.ask("dig", &["missing.lb.example.net", "A"]);
    assert!(said.contains("status: NXDOMAIN"), "{said}");
    internet.up.take().expect("it runs").stop();
}

/// Behind one resolver: each client gets its group's, for as many of its neighbours as have the same,
/// and for nobody else.
#[test]
fn two_clients_of_one_resolver_get_two_groups_each_for_its_scope_only() {
    let Some(mut internet) = Internet::start() else {
        return;
    };
    let (berlin, berlin_scope) = internet.located(SHOP, BERLIN);
    let (new_york, new_york_scope) = internet.located(SHOP, NEW_YORK);
    assert_eq!(new_york, ["198.51.100.1"]);
    assert_eq!(berlin.len(), 1);
    assert!(berlin[0].starts_with("127."), "{berlin:?}");
    // Both countries have whole networks of these sizes, so there are neighbours.
    assert!((8..24).contains(&berlin_scope), "{berlin_scope}");
    assert!((8..24).contains(&new_york_scope), "{new_york_scope}");
    let before = internet.answered();
    // The neighbour whose bit just behind the scope is another, and the same client again.
    for (subnet, scope, expected) in [
        (BERLIN, berlin_scope, &berlin),
        (NEW_YORK, new_york_scope, &new_york),
    ] {
        let neighbour = flipped(subnet, scope);
        for subnet in [subnet, &neighbour] {
            assert_eq!(&internet.located(SHOP, subnet).0, expected, "{subnet}");
        }
    }
    assert_eq!(internet.answered(), before, "all of it was cached");
    // The one whose last bit within the scope is another is somebody else, and is asked for.
    let other = flipped(BERLIN, berlin_scope - 1);
    internet.located(SHOP, &other);
    assert_eq!(
        internet.answered(),
        before + 1,
        "{other} is not in the scope"
    );
    // By the same rule `explain` says why.
    let why = internet
        .host
        .run(&["explain", SHOP, "--client", BERLIN, "--format", "json"]);
    let why = why.expect(0, &[]).json();
    assert_eq!(why["answers"][0]["scope"], berlin_scope);
    assert_eq!(why["answers"][0]["addresses"][0], berlin[0]);
    internet.up.take().expect("it runs").stop();
}

/// The network with another bit at this place, from 0.
fn flipped(subnet: &str, bit: u8) -> String {
    let (address, length) = subnet.split_once('/').expect("a prefix");
    let address: std::net::Ipv4Addr = address.parse().expect("an address");
    let other = std::net::Ipv4Addr::from(address.to_bits() ^ (1 << (31 - bit)));
    format!("{other}/{length}")
}

/// What `get zone` says of the zone above is what that really holds.
#[test]
fn get_zone_looks_whether_the_zone_above_holds_it() {
    let Some(mut internet) = Internet::start() else {
        return;
    };
    let get = |zone: &str, more: &[&str]| {
        let arguments = ["get", "zone", zone];
        internet.host.run(&[&arguments, more].concat())
    };
    let above = ["--server", internet.above.as_str()];
    for zone in ["lb.example.net", "Glue.net."] {
        let text = get(zone, &above).expect(0, &[]).stdout;
        let rows = text.lines().filter(|line| line.ends_with(" yes")).count();
        assert_eq!(rows, 2, "{text}");
    }
    // Another name server, of which the zone above knows nothing.
    let manifest = fs::read_to_string(internet.host.path("h1.toml")).unwrap();
    let wider = manifest.replace(
        "name = \"lb.example.net\"\nnameservers = [\"ams-1\"]",
        "name = \"lb.example.net\"\nnameservers = [\"ams-1\", \"nyc-1\"]",
    );
    internet.host.write_manifest(&wider);
    internet
        .host
        .run(&["apply", "-f", "h1.toml"])
        .expect(0, &[]);
    let json = get(
        "lb.example.net",
        &["--server", &internet.above, "--format", "json"],
    );
    let json = json.expect(1, &[]).json();
    let zone = &json["objects"][0];
    let standings: Vec<(String, &Value)> = zone["delegation"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(zone["check"]["verdicts"].as_array().expect("a list"))
        .map(|(record, verdict)| {
            let said = format!("{} {}", record["type"], record["data"]);
            (said.replace('"', ""), &verdict["standing"])
        })
        .collect();
    let (there, missing) = (Value::from("there"), Value::from("missing"));
    let last = ["NS ams-1.lb.example.net.", "NS nyc-1.lb.example.net."];
    assert_eq!(
        (
            &*standings[0].0,
            standings[0].1,
            &*standings[1].0,
            standings[1].1
        ),
        (last[0], &there, last[1], &missing)
    );
    assert_eq!(
        (&*standings[3].0, standings[3].1),
        ("A 198.51.100.1", &missing)
    );
    let text = get("lb.example.net", &above).expect(1, &[]).stdout;
    assert!(
        text.contains(&format!("MISSING at {}:53", internet.above)),
        "{text}"
    );
    // The other way round: what the zone above holds too much of.
    let renamed = manifest.replace("nameservers = [\"ams-1\"]", "nameservers = [\"nyc-1\"]");
    internet.host.write_manifest(&renamed);
    internet
        .host
        .run(&["apply", "-f", "h1.toml"])
        .expect(0, &[]);
    let text = get("lb.example.net", &above).expect(1, &[]).stdout;
    assert!(
        text.contains("not ours: lb.example.net. NS ams-1.lb.example.net."),
        "{text}"
    );
    // Who can not know: our own server, and nobody.
    let resolver = internet.resolver.to_string();
    let text = get("glue.net", &["--server", &resolver])
        .expect(3, &[])
        .stdout;
    assert!(text.contains("does not serve the zone above"), "{text}");
    let nobody = free_for_both().to_string();
    let text = get("glue.net", &["--server", &nobody])
        .expect(3, &[])
        .stdout;
    assert!(text.contains("unknown"), "{text}");
    let text = get("glue.net", &["--no-check"]).expect(0, &[]).stdout;
    assert!(text.contains("not looked for"), "{text}");
    get("elsewhere.net", &[]).expect(1, &["there is no zone elsewhere.net"]);
    get("glue.net", &["--server", "nowhere"]).expect(2, &["write an address"]);
    let wrong = internet.host.run(&["get", "site", "--no-check"]);
    wrong.expect(2, &["are for `meridianctl get zone NAME`"]);
    let all = internet.host.run(&["get", "zone"]).expect(0, &[]).stdout;
    assert!(
        all.contains("glue.net") && all.contains("lb.example.net"),
        "{all}"
    );
    internet.up.take().expect("it runs").stop();
}
