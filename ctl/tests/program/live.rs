//! Changes while the real plane serves: none drops a request, each holds once it is said to, and
//! nothing that was accepted is lost.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::host::{Ended, Host, PATIENCE, Running, kill, wait_for};

/// The plane that was built beside meridianctl.
fn real_plane() -> PathBuf {
    let plane = Path::new(env!("CARGO_BIN_EXE_meridianctl")).with_file_name("meridian-dataplane");
    assert!(
        plane.is_file(),
        "{} is missing: build it with `cargo build -p meridian-dataplane`",
        plane.display()
    );
    plane
}

pub(crate) fn real(mut command: Command) -> Command {
    command.env("MERIDIAN_DATAPLANE", real_plane());
    command
}

/// Starts `up` with the real plane and waits until it serves.
pub(crate) fn up(host: &Host) -> Running {
    let up = Running::start(&mut real(host.command(&["up", "-f", "h1.toml"])));
    up.line();
    up
}

pub(crate) fn plane_pid(host: &Host) -> u32 {
    // A plane that was just killed may not be there again.
    wait_for("the plane's status", || {
        let status = host.run(&["status", "--format", "json"]);
        (status.code == Some(0)).then(|| status.json()["processes"][0]["pid"].as_u64())
    })
    .expect("it has a pid") as u32
}

/// How long a backend thinks about a request for `/slow`.
const SLOW: Duration = Duration::from_millis(200);

/// Requests for `/slow` that backends have got.
static SLOW_SEEN: AtomicU64 = AtomicU64::new(0);

/// A backend that answers every request with its name.
pub(crate) fn backend(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_all(stream, name));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, name: &str) {
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
        name.len()
    );
    let mut head = Vec::new();
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        head.extend_from_slice(&bytes[..count]);
        while let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
            if head.starts_with(b"GET /slow ") {
                SLOW_SEEN.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(SLOW);
            }
            head.drain(..end + 4);
            if stream.write_all(response.as_bytes()).is_err() {
                return;
            }
        }
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }

    /// Asks for `/` of a host: status and body.
    fn ask(&mut self, host: &str) -> Result<(u16, String), String> {
        self.send("/", host)?;
        self.receive()
    }

    fn send(&mut self, path: &str, host: &str) -> Result<(), String> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let sent = self.0.write_all(request.as_bytes());
        sent.map_err(|error| error.to_string())
    }

    /// Status and body of the next response.
    fn receive(&mut self) -> Result<(u16, String), String> {
        let wrong = |error: std::io::Error| error.to_string();
        let mut response = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&response).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_ascii_lowercase();
                let length = lower
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length
                    .map_or(Ok(0), str::parse)
                    .map_err(|_| head.to_string())?;
                if body.len() >= length {
                    let status = head[9..12].parse().map_err(|_| head.to_string())?;
                    return Ok((status, body.to_string()));
                }
            }
            match self.0.read(&mut bytes).map_err(wrong)? {
                0 => return Err(format!("closed after {text:?}")),
                count => response.extend_from_slice(&bytes[..count]),
            }
        }
    }
}

pub(crate) fn served(host: &Host, name: &str) -> (u16, String) {
    Client::connect(host.http).ask(name).unwrap()
}

fn set_backend(host: &Host, address: SocketAddr) -> Ended {
    let key = format!("address={address}");
    host.run(&["set", "backend", "live/shop/default/b", &key])
}

/// A tenant and a site of the API's, with one backend.
pub(crate) fn make_site(host: &Host, backend: SocketAddr) {
    host.run(&[
        "set",
        "tenant",
        "live",
        "backend_networks=[\"127.0.0.0/8\"]",
    ])
    .expect(0, &[]);
    let backend = format!("backend=[{{ name = \"b\", address = \"{backend}\" }}]");
    host.run(&[
        "set",
        "site",
        "live/shop",
        "hostnames=[\"live.test\"]",
        &backend,
    ])
    .expect(0, &[]);
}

/// wrk with 64 connections that stay open, until it is told to stop.
pub(crate) struct Wrk(Child);

impl Wrk {
    pub(crate) fn start(url: &str, host: &str) -> Wrk {
        let child = Command::new("wrk")
            .args(["-t1", "-c64", "-d600s", "--timeout", "10s"])
            .args(["-H", &format!("Host: {host}"), url])
            .stdout(Stdio::piped())
            .spawn()
            .expect("wrk is installed (scripts/setup)");
        Wrk(child)
    }

    /// Requests that were answered; none failed.
    pub(crate) fn stop(mut self) -> u64 {
        kill(self.0.id(), Signal::INT);
        let mut said = String::new();
        let mut stdout = self.0.stdout.take().expect("it is piped");
        stdout.read_to_string(&mut said).expect("it speaks text");
        assert!(!said.contains("Non-2xx"), "{said}");
        assert!(!said.contains("Socket errors"), "{said}");
        let requests = said
            .lines()
            .find_map(|line| line.split_once(" requests in "));
        let (count, _) = requests.unwrap_or_else(|| panic!("no count of requests in {said}"));
        count.trim().parse().expect("a number")
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_request_fails_under_five_hundred_changes_and_each_holds_once_it_is_said() {
    const CHANGES: usize = 500;
    let host = Host::new();
    let up = up(&host);
    let backends = [(backend("one"), "one"), (backend("two"), "two")];
    make_site(&host, backends[0].0);
    let wrk = Wrk::start(&format!("http://{}/", host.http), "live.test");
    let stop = Arc::new(AtomicBool::new(false));
    let newcomers = Arc::new(AtomicU64::new(0));
    let newcomer = {
        let (stop, newcomers, http) = (Arc::clone(&stop), Arc::clone(&newcomers), host.http);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let (status, body) = Client::connect(http).ask("live.test").expect("none fails");
                assert_eq!(status, 200, "{body}");
                newcomers.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let (mut kept, mut slow) = (Client::connect(host.http), Client::connect(host.http));
    for change in 1..=CHANGES {
        let (old, (address, new)) = (backends[(change - 1) % 2].1, backends[change % 2]);
        let (old, new) = ((200, old.to_string()), (200, new.to_string()));
        // A request that its backend is still busy with does not send the next one there.
        let is_under_way = change % 10 == 0;
        if is_under_way {
            let before = SLOW_SEEN.load(Ordering::SeqCst);
            slow.send("/slow", "live.test").expect("it is sent");
            wait_for("the backend to begin", || {
                (SLOW_SEEN.load(Ordering::SeqCst) > before).then_some(())
            });
        }
        set_backend(&host, address).expect(0, &[]);
        assert_eq!(served(&host, "live.test"), new, "change {change}");
        assert_eq!(kept.ask("live.test").as_ref(), Ok(&new), "change {change}");
        if is_under_way {
            assert_eq!(slow.receive(), Ok(old), "change {change}");
            assert_eq!(slow.ask("live.test").as_ref(), Ok(&new), "change {change}");
            assert_eq!(kept.ask("live.test").as_ref(), Ok(&new), "change {change}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    newcomer.join().expect("no request failed");
    let answered = wrk.stop();
    assert!(answered > CHANGES as u64, "{answered} answers");
    assert!(newcomers.load(Ordering::Relaxed) > CHANGES as u64 / 10);
    up.stop();
}

#[test]
fn owners_keep_what_is_theirs() {
    let host = Host::new();
    let running = up(&host);
    let one = backend("one");
    make_site(&host, one);
    // A manifest does not take what is the API's, and says whose it is.
    let taking = host.larger_manifest()
        + "[[tenant]]\nname = \"live\"\n[[site]]\ntenant = \"live\"\nname = \"shop\"\nhostnames = [\"mine.test\"]\n";
    host.write_manifest(&taking);
    host.run(&["apply", "-f", "h1.toml"]).expect(
        4,
        &[
            "site live/shop: belongs to api",
            "tenant live: belongs to api",
        ],
    );
    // Nor does the API change what is a manifest's.
    host.run(&["delete", "site", "acme/shop"])
        .expect(4, &["belongs to manifest:h1"]);
    host.run(&[
        "set",
        "backend",
        "acme/shop/default/a1",
        "address=127.0.0.1:1",
    ])
    .expect(4, &["belongs to manifest:h1"]);
    // Nor a hostname of another's.
    host.run(&[
        "set",
        "site",
        "live/other",
        "hostnames=[\"shop.example.com\"]",
    ])
    .expect(
        4,
        &[
            "live/other: hostname shop.example.com: is claimed by acme/shop, which belongs to \
             manifest:h1; take it",
        ],
    );
    // Nor a manifest one of the API's. Among one owner's sites it is a mistake.
    let claiming = "[[site]]\ntenant = \"acme\"\nname = \"x\"\nhostnames = [\"live.test\"]\n";
    host.write_manifest(&(host.manifest() + claiming));
    for more in [&[][..], &["--dry-run"]] {
        let args = ["apply", "-f", "h1.toml"].iter().chain(more);
        host.run(&args.copied().collect::<Vec<_>>()).expect(
            4,
            &["acme/x: hostname live.test: is claimed by live/shop, which belongs to api"],
        );
    }
    host.run(&["set", "site", "live/other", "hostnames=[\"live.test\"]"])
        .expect(1, &["is claimed by live/shop too; leave it to one of them"]);
    // A manifest that says less deletes what is its own, and leaves the rest.
    host.write_manifest(&host.larger_manifest());
    let applied = host
        .run(&["apply", "-f", "h1.toml", "--format", "json"])
        .expect(0, &[])
        .json();
    assert_eq!(applied["changes"][0]["object"], "site acme/blog");
    assert_eq!(applied["changes"][0]["action"], "create");
    host.write_manifest(&host.manifest());
    let seen = host
        .run(&["apply", "-f", "h1.toml", "--dry-run"])
        .expect(0, &[]);
    assert!(seen.stdout.contains("delete site acme/blog"), "{seen:?}");
    assert_eq!(served(&host, "blog.example.com").0, 502, "only looked at");
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(served(&host, "blog.example.com").0, 404);
    assert_eq!(served(&host, "live.test"), (200, "one".to_string()));
    // What is the API's survives a start on the manifest.
    running.stop();
    let running = up(&host);
    assert_eq!(served(&host, "live.test"), (200, "one".to_string()));
    let found = host.run(&["get", "backend", "live/shop/default/b", "--format", "json"]);
    assert_eq!(found.expect(0, &[]).json()["objects"][0]["owner"], "api");
    host.run(&["get", "site", "live/none"])
        .expect(1, &["there is no site live/none"]);
    host.run(&["get", "planet"])
        .expect(2, &["none of the kinds"]);
    let none = host
        .run(&["get", "group"])
        .expect(0, &["there is no group"]);
    assert_eq!(none.stdout, "");
    running.stop();
    host.run(&["get", "site"])
        .expect(3, &["no meridianctl up runs"]);
}

/// Routes go through `set`, `get` and `apply` as every other key does, and hold on open connections
/// once a change is said to.
#[test]
fn routes_are_set_shown_and_followed() {
    let host = Host::new();
    let running = up(&host);
    let (one, two) = (backend("one"), backend("two"));
    make_site(&host, one);
    let mut client = Client::connect(host.http);
    let mut ask = |path: &str| {
        client.send(path, "live.test").unwrap();
        client.receive().unwrap()
    };
    assert_eq!(ask("/api/x"), (200, "one".to_string()));
    let backends = format!(
        "backend=[{{ name = \"b\", address = \"{one}\" }}, {{ pool = \"api\", address = \"{two}\" }}]"
    );
    let set = |route: &str| {
        host.run(&[
            "set",
            "site",
            "live/shop",
            "hostnames=[\"live.test\"]",
            "pool=[{ name = \"api\" }]",
            &backends,
            &format!("route=[{route}]"),
        ])
    };
    set("{ match = { path_prefix = \"/api\" }, pool = \"api\", rewrite_prefix = \"/\" }")
        .expect(0, &[]);
    assert_eq!(ask("/api/x"), (200, "two".to_string()));
    assert_eq!(ask("/apix"), (200, "one".to_string()));
    let shown = host.run(&["get", "site", "live/shop", "--format", "json"]);
    let site = &shown.expect(0, &[]).json()["objects"][0];
    assert_eq!(site["routes"][0]["match"]["path_prefix"], "/api");
    assert_eq!(site["routes"][0]["outcome"]["pool"], "api");
    assert_eq!(site["routes"][0]["rewrite_prefix"], "/");
    set("{ match = { path = \"/api\" }, respond = { status = 410, body = \"gone\" } }")
        .expect(0, &[]);
    assert_eq!(ask("/api"), (410, "gone".to_string()));
    assert_eq!(ask("/api/x"), (200, "one".to_string()));
    set("{ match = { path = \"/api\" }, pool = \"apj\" }")
        .expect(1, &["site.route.pool", "did you mean \"api\"?"]);
    assert_eq!(ask("/api"), (410, "gone".to_string()));
    let route = "[[site.route]]\nmatch = { path = \"/x\" }\nrespond = { status = 403 }\n";
    host.write_manifest(&(host.manifest() + route));
    let seen = host.run(&["apply", "-f", "h1.toml", "--dry-run"]);
    assert!(seen.stdout.contains("change site acme/"), "{seen:?}");
    running.stop();
}

#[test]
fn a_backend_may_be_set_by_name() {
    let host = Host::new();
    let running = up(&host);
    let (one, two) = (backend("one"), backend("two"));
    make_site(&host, one);
    assert_eq!(served(&host, "live.test"), (200, "one".to_string()));
    let address = format!("address=LocalHost.:{}", two.port());
    let set = ["set", "backend", "live/shop/default/b", &address];
    host.run(&set).expect(0, &[]);
    // At once: a request waits for the name's first lookup.
    assert_eq!(served(&host, "live.test"), (200, "two".to_string()));
    let set = [
        "set",
        "backend",
        "live/shop/default/b",
        &address,
        "weight=3",
    ];
    host.run(&set).expect(0, &[]);
    let found = host.run(&["get", "backend", "live/shop/default/b", "--format", "json"]);
    let found = found.expect(0, &[]).json();
    let expected = serde_json::json!({ "name": { "host": "localhost", "port": two.port() } });
    assert_eq!(found["objects"][0]["address"], expected);
    let shown = host.run(&["get", "backend"]).expect(0, &[]).stdout;
    assert!(
        shown.contains(&format!("localhost:{} weight=3\n", two.port())),
        "{shown}"
    );
    let status = host.run(&["status"]).expect(0, &[]).stdout;
    let backend = format!("127.0.0.1:{}", two.port());
    for words in ["NAME", "localhost", backend.as_str()] {
        assert!(status.contains(words), "{words} in {status}");
    }
    // What is no name is said to be none.
    let wrong = ["set", "backend", "live/shop/default/b", "address=a..b:80"];
    host.run(&wrong)
        .expect(1, &["\"a..b:80\" is not an address with a port"]);
    running.stop();
}

#[test]
fn a_change_that_is_not_live_in_time_is_accepted_and_says_so() {
    let host = Host::new();
    let running = up(&host);
    let (one, two) = (backend("one"), backend("two"));
    make_site(&host, one);
    let plane = plane_pid(&host);
    kill(plane, Signal::STOP);
    let address = format!("address={two}");
    let set = [
        "set",
        "backend",
        "live/shop/default/b",
        &address,
        "--wait",
        "300ms",
        "--format",
        "json",
    ];
    let late = host.run(&set).expect(5, &[]).json();
    assert!(
        late["live_at"].is_null() && late["accepted_at"].is_string(),
        "{late}"
    );
    let pending = late["pending"][0].as_str().unwrap();
    assert!(pending.starts_with("meridian-dataplane: "), "{pending}");
    kill(plane, Signal::CONT);
    // It is taken up all the same, and the next one says that it is live.
    let again = host.run(&set).expect(0, &[]).json();
    assert_eq!(again["revision"], late["revision"]);
    assert_eq!(again["changes"].as_array().unwrap().len(), 0);
    assert_eq!(served(&host, "live.test"), (200, "two".to_string()));
    running.stop();
}

#[test]
fn whatever_is_killed_what_was_accepted_is_served() {
    let host = Host::new();
    let mut running = up(&host);
    let backends = [(backend("one"), "one"), (backend("two"), "two")];
    make_site(&host, backends[0].0);
    for round in 0..10 {
        let (address, name) = backends[round % 2];
        set_backend(&host, address).expect(0, &[]);
        // A change that is under way when the kill comes may be made or not, but not by half.
        let mut under_way = Running::start(&mut host.command(&[
            "set",
            "backend",
            "live/shop/default/c",
            &format!("address={address}"),
        ]));
        std::thread::sleep(Duration::from_millis(round as u64 * 2));
        if round % 3 == 0 {
            kill(plane_pid(&host), Signal::KILL);
        } else {
            kill(running.pid(), Signal::KILL);
            running.wait();
            running = up(&host);
        }
        under_way.wait();
        let body = wait_for("the plane", || {
            match Client::connect(host.http).ask("live.test") {
                Ok((200, body)) => Some(body),
                _ => None,
            }
        });
        assert_eq!(body, name, "round {round}");
        let found = host.run(&["get", "backend", "live/shop/default/c"]);
        if found.code == Some(0) {
            host.run(&["delete", "backend", "live/shop/default/c"])
                .expect(0, &[]);
        }
    }
    running.stop();
}

/// The journal of the only generation.
fn journal(host: &Host) -> PathBuf {
    host.path("state/config/journal.1")
}

#[test]
fn every_line_of_the_journal_damaged_leaves_the_last_good_revision_and_heals() {
    let host = Host::new();
    let running = up(&host);
    let one = backend("one");
    make_site(&host, one);
    for site in 0..3 {
        let hostname = format!("hostnames=[\"s{site}.test\"]");
        let name = format!("live/s{site}");
        let backend = format!("backend=[{{ address = \"{one}\" }}]");
        host.run(&["set", "site", &name, &hostname, &backend])
            .expect(0, &[]);
    }
    running.stop();
    let whole = std::fs::read(journal(&host)).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
    assert_eq!(lines.len(), 6);
    let state = host.path("kept");
    copy(&host.state().join("config"), &state);
    for damaged in 0..lines.len() {
        let mut bytes = whole.clone();
        let before: usize = lines[..damaged].iter().map(|line| line.len()).sum();
        bytes[before + lines[damaged].len() / 2] ^= 4;
        copy(&state, &host.state().join("config"));
        std::fs::write(journal(&host), bytes).unwrap();
        let running = up(&host);
        let said = wait_for("what is wrong", || {
            let said = running.stderr();
            said.contains("journal.1: line").then_some(said)
        });
        assert!(said.contains(&format!("line {}: ", damaged + 1)), "{said}");
        // Lines 2 and 3 make the tenant and its first site, the others one site each.
        for (site, line) in [
            ("live.test", 2),
            ("s0.test", 3),
            ("s1.test", 4),
            ("s2.test", 5),
        ] {
            let expected = if line < damaged { 200 } else { 404 };
            assert_eq!(
                served(&host, site).0,
                expected,
                "{site}, line {damaged} damaged"
            );
        }
        // It goes on from there, and a revision's number does not come twice.
        let made = host
            .run(&["set", "tenant", "later", "--format", "json"])
            .expect(0, &[])
            .json();
        assert!(made["revision"].as_u64() > Some(6), "{made}");
        running.stop();
        let running = up(&host);
        assert_eq!(running.stderr(), "", "healed");
        running.stop();
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A small file system of its own; unmounted at the end.
pub(crate) struct SmallDisk(pub(crate) PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: PathBuf) -> Option<SmallDisk> {
        std::fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k,mode=700", "none"])
            .arg(&at)
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(SmallDisk(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn on_a_full_disk_nothing_changes_and_it_goes_on_when_there_is_room() {
    let host = Host::new();
    let Some(disk) = SmallDisk::mount(host.state()) else {
        eprintln!("SKIPPED: only root can mount a small disk");
        return;
    };
    let running = up(&host);
    let (one, two) = (backend("one"), backend("two"));
    make_site(&host, one);
    let ballast = disk.0.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    // What stands in the last page of the journal has room still: fill that, too.
    let mut refused = 0;
    for change in 0..200 {
        let address = if change % 2 == 0 { two } else { one };
        let ended = set_backend(&host, address);
        match ended.code {
            Some(0) => {
                let name = if change % 2 == 0 { "two" } else { "one" };
                assert_eq!(served(&host, "live.test"), (200, name.to_string()));
            }
            _ => {
                let ended = ended.expect(1, &["nothing was changed", "No space left"]);
                assert_eq!(ended.stdout, "");
                refused += 1;
                if refused == 3 {
                    break;
                }
            }
        }
    }
    assert_eq!(refused, 3, "the disk never was full");
    assert_eq!(served(&host, "live.test").0, 200);
    // Also from the beginning.
    running.stop();
    host.write_manifest(&host.larger_manifest());
    let running = up(&host);
    wait_for("what is wrong", || {
        running.stderr().contains("No space left").then_some(())
    });
    assert_eq!(served(&host, "live.test").0, 200);
    assert_eq!(served(&host, "blog.example.com").0, 404);
    drop(file);
    std::fs::remove_file(&ballast).unwrap();
    set_backend(&host, two).expect(0, &[]);
    assert_eq!(served(&host, "live.test"), (200, "two".to_string()));
    host.run(&["apply", "-f", "h1.toml"]).expect(0, &[]);
    assert_eq!(served(&host, "blog.example.com").0, 502);
    running.stop();
}

/// Journals are put together while everything is killed again and again.
#[test]
fn a_long_journal_is_put_together_whatever_is_killed_meanwhile() {
    let host = Host::new();
    let mut running = up(&host);
    let one = backend("one");
    make_site(&host, one);
    let mut accepted = 0;
    for round in 0..60_u64 {
        // A line of some 30 KiB, so that a journal is full after some 35 of them.
        let names: Vec<String> = (0..900)
            .map(|n| format!("\"r{round}-n{n}.a-name-that-is-rather-long-for-its-purpose.test\""))
            .collect();
        let hostnames = format!("hostnames=[{}]", names.join(","));
        let backend = format!("backend=[{{ address = \"{one}\" }}]");
        let mut set =
            Running::start(&mut host.command(&["set", "site", "live/big", &hostnames, &backend]));
        if round % 6 == 5 {
            std::thread::sleep(Duration::from_millis(round % 4 * 7));
            kill(running.pid(), Signal::KILL);
            running.wait();
            set.wait();
            running = up(&host);
            continue;
        }
        set.wait().expect(0, &[]);
        accepted = round;
        let name = format!("r{round}-n899.a-name-that-is-rather-long-for-its-purpose.test");
        assert_eq!(served(&host, &name), (200, "one".to_string()));
    }
    // The last was under way when everything was killed: it was made, or it was not.
    let before = served(
        &host,
        &format!("r{accepted}-n0.a-name-that-is-rather-long-for-its-purpose.test"),
    )
    .0;
    let last = served(
        &host,
        "r59-n0.a-name-that-is-rather-long-for-its-purpose.test",
    )
    .0;
    assert!(
        [(200, 404), (404, 200)].contains(&(before, last)),
        "{before} {last}"
    );
    let current = std::fs::read_to_string(host.path("state/config/current")).unwrap();
    assert!(
        current.trim_end().parse::<u64>().unwrap() > 1,
        "no journal was put together"
    );
    assert_eq!(served(&host, "live.test"), (200, "one".to_string()));
    running.stop();
}

/// More askers than the socket takes at a time wait for a plane that is stopped, and keep nobody
/// out.
#[test]
fn who_waits_for_a_plane_keeps_nobody_from_asking() {
    const ASKERS: usize = 70;
    let host = Host::new();
    let running = up(&host);
    let plane = plane_pid(&host);
    kill(plane, Signal::STOP);
    let socket = host.state().join("run/meridianctl.sock");
    let mut waiting = Vec::new();
    for number in 0..ASKERS {
        let mut asker = UnixStream::connect(&socket).unwrap();
        let question = format!(
            "{{\"op\":\"set\",\"kind\":\"tenant\",\"name\":\"t{number}\",\"keys\":[],\
             \"dry_run\":false,\"on_revision\":null,\"wait_ms\":600000}}\n"
        );
        asker.write_all(question.as_bytes()).unwrap();
        waiting.push(asker);
        wait_for("the change is accepted", || {
            let shown = host.run(&["get", "tenant", &format!("t{number}")]);
            (shown.code == Some(0)).then_some(())
        });
    }
    kill(plane, Signal::CONT);
    for asker in &mut waiting {
        asker.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        BufReader::new(asker).read_line(&mut answer).unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert!(answer["live_at"].is_string(), "{answer}");
    }
    running.stop();
}
