//! The access log from outside: what its lines say, and that it harms no traffic whatever its file
//! is like.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, PATIENCE, Peer, answer_each, field, ok, status};
use crate::support::plane::{Plane, Reserved, number};
use crate::support::told::{check_failures, failures_of, read_line, read_log};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const GET: &[u8] = b"GET /a?secret=1 HTTP/1.1\r\nHost: shop.test:81\r\n\r\n";

struct Place {
    directory: TempDir,
    log: PathBuf,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("there is room for files");
        let log = directory.path().join("access.log");
        Place { directory, log }
    }

    fn declared(&self, backend: SocketAddr) -> Declared {
        Declared {
            log: Some(self.log.clone()),
            ..Declared::with_backends([backend])
        }
    }
}

fn backend() -> SocketAddr {
    Backend::new().serve(|peer| answer_each(peer, |_| ok(b"ok")))
}

fn lines_eventually(log: &Path, count: usize) -> Vec<Value> {
    let mut lines = Vec::new();
    let came = eventually(20, || {
        lines = read_log(log).unwrap_or_default();
        lines.len() >= count
    });
    assert!(came, "{} lines of {count}: {lines:#?}", lines.len());
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn log_fault(plane: &Plane) -> Option<String> {
    let status = plane.status();
    status["access_log"]["fault"].as_str().map(str::to_owned)
}

#[test]
fn a_line_tells_who_asked_what_and_what_became_of_it() {
    let place = Place::new();
    let backend = Backend::new();
    let plane = Plane::start(&place.declared(backend.address));
    let mut client = Peer::connect(plane.address());
    let address = client.stream.local_addr().expect("it is connected");
    client.send(GET);
    let mut server = backend.accept();
    let first = server.receive_head();
    server.send(&ok(b"one"));
    client.receive_response();
    client.send(b"POST /b HTTP/1.1\r\nHost: shop.test\r\nX-Request-Id: mine\r\nContent-Length: 3\r\n\r\nabc");
    let second = server.receive_head();
    server.receive(3, PATIENCE);
    std::thread::sleep(Duration::from_millis(20));
    server.send(&ok(b"two"));
    client.receive_response();
    let lines = lines_eventually(&place.log, 2);
    for (line, head) in lines.iter().zip([&first, &second]) {
        let id = field(head, "x-request-id").expect("the backend is told the id");
        assert_eq!(line["request_id"], id);
        assert!(
            id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{id}"
        );
        assert_eq!(head.matches("X-Request-Id").count(), 1, "{head}");
        assert_eq!(line["client"], address.to_string());
        for (name, wanted) in [
            ("tenant", "acme"),
            ("site", "shop"),
            ("host", "shop.test"),
            ("backend", "acme/shop/default/b1"),
        ] {
            assert_eq!(line[name], wanted, "{name}");
        }
        for (name, wanted) in [
            ("status", 200),
            ("tries", 1),
            ("revision", 1),
            ("worker", 0),
        ] {
            assert_eq!(number(line, name), wanted, "{name}");
        }
        for name in ["cause", "fault", "tls"] {
            assert!(line[name].is_null(), "{name}");
        }
        let parts = ["queue_us", "connect_us", "first_byte_us"].map(|name| number(line, name));
        assert!(
            parts.iter().sum::<u64>() <= number(line, "total_us"),
            "{line}"
        );
    }
    assert_ne!(lines[0]["request_id"], lines[1]["request_id"]);
    let shown = |name| [&lines[0][name], &lines[1][name]];
    assert_eq!(shown("method"), ["GET", "POST"]);
    assert_eq!(shown("path"), ["/a", "/b"]);
    assert_eq!(shown("reused"), [false, true]);
    assert_eq!(number(&lines[1], "connect_us"), 0);
    assert!(number(&lines[1], "first_byte_us") >= 20_000, "{}", lines[1]);
    assert_eq!(number(&lines[0], "bytes_in"), GET.len() as u64);
    drop((client, server));
    plane.finish();
}

#[test]
fn tries_are_told_with_the_backend_that_answered() {
    let place = Place::new();
    let refusing = Reserved::new();
    let mut declared = place.declared(refusing.address);
    declared.backends.push(backend());
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(status(&client.receive_response().0), 200);
    }
    let lines = lines_eventually(&place.log, 2);
    // Each that began with the first backend went on to the second.
    let tries = lines.iter().map(|line| number(line, "tries"));
    assert_eq!(tries.sum::<u64>(), 2 + plane.backend(0, "failures"));
    assert!(plane.backend(0, "failures") > 0);
    for line in &lines {
        assert_eq!(line["backend"], "acme/shop/default/b2");
        assert!(line["cause"].is_null());
    }
    assert!(failures_of(&plane, "acme/shop").is_empty());
    drop(client);
    plane.stop();
}

#[test]
fn a_site_gets_the_share_of_lines_that_it_asks_for_and_every_failure_is_remembered() {
    let place = Place::new();
    let declared = Declared {
        log_sample: 0.1,
        ..place.declared(backend())
    };
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    for _ in 0..500 {
        client.send(GET);
        client.receive_response();
    }
    let bad = b"GET / HTTP/1.1\r\nHost: shop.test\r\nVia: 1.1 meridian-wire\r\n\r\n";
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        client.send(bad);
        let (head, _) = client.receive_response();
        assert_eq!(status(&head), 508);
        let id = field(&head, "x-request-id").expect("our own errors name it");
        ids.insert(id.to_owned());
    }
    drop(client);
    let failures = failures_of(&plane, "acme/shop");
    let told = failures.iter().filter_map(|it| it["request_id"].as_str());
    assert_eq!(told.map(str::to_owned).collect::<BTreeSet<_>>(), ids);
    assert!(
        failures
            .iter()
            .all(|it| it["cause"] == "loop" && it["fault"] == "operator")
    );
    let times: Vec<&str> = failures
        .iter()
        .filter_map(|it| it["time"].as_str())
        .collect();
    assert!(times.is_sorted_by(|one, next| one >= next), "{times:?}");
    plane.stop();
    let lines = read_log(&place.log).expect("whole lines");
    assert!(
        (54..=56).contains(&lines.len()),
        "{} lines of 550",
        lines.len()
    );
}

#[test]
fn a_site_that_does_not_ask_for_lines_has_none() {
    let place = Place::new();
    let mut declared = place.declared(backend());
    declared.more = format!(
        "[[site]]\ntenant = \"acme\"\nname = \"quiet\"\nhostnames = [\"quiet.test\"]\n\
         [[site.backend]]\naddress = \"{}\"\n",
        declared.backends[0]
    );
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(b"GET / HTTP/1.1\r\nHost: quiet.test\r\n\r\n");
    client.receive_response();
    client.send(GET);
    client.receive_response();
    drop(client);
    plane.stop();
    let lines = read_log(&place.log).expect("whole lines");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["site"], "shop");
}

#[test]
fn failures_of_no_site_and_of_an_unknown_one() {
    let plane = Plane::start(&Declared::with_backends([backend()]));
    let mut client = Peer::connect(plane.address());
    client.send(b"GET /x HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    assert_eq!(status(&client.receive_response().0), 404);
    client.send(b"GARBAGE\r\n\r\n");
    assert_eq!(status(&client.receive_response().0), 400);
    drop(client);
    check_failures(&failures_of(&plane, "-/-"), &plane.status()).expect("both");
    let failures = failures_of(&plane, "-/-");
    assert_eq!(failures[1]["host"], "nobody.test");
    assert_eq!(failures[1]["path"], "/x");
    assert_eq!(failures[0]["cause"], "bad_request_line");
    assert!(failures[0]["path"].is_null());
    let answer = plane.ask(r#"{"op":"failures","site":"acme/none"}"#);
    let answer = answer.expect("it answers");
    assert_eq!(answer["error"], "no site acme/none is served here");
    plane.stop();
}

#[test]
fn want_of_descriptors_is_our_fault_and_no_backends() {
    let backend = Backend::new();
    let plane = Plane::start(&Declared::with_backends([backend.address]));
    let mut client = Peer::connect(plane.address());
    // Whoever has connected already needs no descriptor any more.
    client.send(b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n");
    client.receive_response();
    let pid = plane.pid().to_string();
    let limit_open_files = |limit: &str| {
        let status = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={limit}:")])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "prlimit");
    };
    limit_open_files("3");
    client.send(GET);
    let (head, _) = client.receive_response();
    limit_open_files("1024");
    assert_eq!(status(&head), 503);
    let failures = failures_of(&plane, "acme/shop");
    assert_eq!(failures.len(), 1, "{failures:#?}");
    assert_eq!(failures[0]["cause"], "out_of_resources");
    assert_eq!(failures[0]["fault"], "us");
    assert_eq!(plane.hits("out_of_resources"), 1);
    assert_eq!(plane.backend(0, "failures"), 0);
    drop(client);
    plane.finish();
}

#[test]
fn a_tunnel_is_told_of_when_it_ends_with_all_of_its_bytes() {
    const ASK: &[u8] =
        b"GET /ws HTTP/1.1\r\nHost: shop.test\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    let place = Place::new();
    let backend = Backend::new();
    let declared = place
        .declared(backend.address)
        .timeouts("{ drain = \"200ms\" }");
    let mut plane = Plane::start(&declared);
    let open = || {
        let mut client = Peer::connect(plane.address());
        client.send(ASK);
        let mut server = backend.accept();
        server.receive_head();
        server.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        let head_bytes = client.receive_head().len() as u64;
        client.send(&[b'u'; 1000]);
        assert_eq!(server.receive(1000, PATIENCE).len(), 1000);
        server.send(&[b'd'; 3000]);
        assert_eq!(client.receive(3000, PATIENCE).len(), 3000);
        (client, server, head_bytes)
    };
    let (client, server, head_bytes) = open();
    let _still_open = open();
    drop((client, server));
    let line = &lines_eventually(&place.log, 1)[0];
    assert_eq!(
        (&line["path"], number(line, "status")),
        (&"/ws".into(), 101)
    );
    assert!(line["cause"].is_null(), "{line}");
    assert_eq!(number(line, "bytes_in"), ASK.len() as u64 + 1000);
    assert_eq!(number(line, "bytes_out"), head_bytes + 3000);
    assert!(number(line, "total_us") > number(line, "first_byte_us"));
    plane.signal("TERM");
    assert_eq!(plane.wait(10).code(), Some(0));
    let lines = read_log(&place.log).expect("whole lines");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[1]["cause"], "drain_timeout");
    assert_eq!(number(&lines[1], "bytes_out"), head_bytes + 3000);
}

#[test]
fn a_request_that_a_stop_cuts_off_is_told_of() {
    let place = Place::new();
    let backend = Backend::new();
    let declared = place
        .declared(backend.address)
        .timeouts("{ drain = \"200ms\" }");
    let mut plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut server = backend.accept();
    server.receive_head();
    server.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    client.receive_head();
    plane.signal("TERM");
    assert_eq!(plane.wait(10).code(), Some(0));
    let lines = read_log(&place.log).expect("whole lines");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!(lines[0]["cause"], "drain_timeout");
    assert_eq!(lines[0]["fault"], "operator");
    assert_eq!(lines[0]["path"], "/a");
    assert_eq!(number(&lines[0], "status"), 200);
}

/// Clients that ask as fast as they are answered, until it is enough. How often each asked.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<std::thread::JoinHandle<usize>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut client = Peer::connect(address);
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    client.send(GET);
                    client.receive_response();
                    asked += 1;
                }
                asked
            })
        });
        Load {
            clients: clients.collect(),
            stop,
        }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let asked = self
            .clients
            .into_iter()
            .map(|it| it.join().expect("it is answered"));
        asked.sum()
    }
}

#[test]
fn rotation_under_load_loses_no_line_and_tears_none() {
    const ROTATIONS: usize = 20;
    let place = Place::new();
    let plane = Plane::start(&place.declared(backend()));
    let load = Load::start(plane.address(), 4);
    let mut files = vec![place.log.clone()];
    for number in 0..ROTATIONS {
        std::thread::sleep(Duration::from_millis(20));
        let old = place.directory.path().join(format!("old.{number}"));
        fs::rename(&place.log, &old).expect("it can be moved");
        files.push(old);
        plane.signal("HUP");
        assert!(eventually(10, || place.log.exists()), "no fresh log");
    }
    let asked = load.end();
    plane.stop();
    let mut ids = BTreeSet::new();
    let mut with_lines = 0;
    for file in &files {
        let lines = read_log(file).expect("whole lines");
        with_lines += usize::from(!lines.is_empty());
        let told = lines.iter().filter_map(|line| line["request_id"].as_str());
        ids.extend(told.map(str::to_owned));
    }
    assert_eq!(ids.len(), asked);
    assert!(with_lines > 2, "{asked} requests in {with_lines} files");
}

/// What keeps the file of the log from taking lines does not keep clients from being served.
fn ask_with_long_paths(plane: &Plane, count: usize) {
    let request = format!(
        "GET /{} HTTP/1.1\r\nHost: shop.test\r\n\r\n",
        "x".repeat(7000)
    );
    let mut client = Peer::connect(plane.address());
    for _ in 0..count {
        client.send(request.as_bytes());
        assert_eq!(status(&client.receive_response().0), 200);
    }
}

#[test]
fn a_fifo_that_nobody_reads_holds_nobody_up_and_its_lines_are_counted() {
    let place = Place::new();
    let made = Command::new("mkfifo").arg(&place.log).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo");
    let plane = Plane::start(&place.declared(backend()));
    ask_with_long_paths(&plane, 400);
    assert_eq!(plane.site("requests"), 400);
    assert!(
        log_fault(&plane).is_some(),
        "{}",
        plane.status()["access_log"]
    );
    let lost = plane.hits("access_log_lost");
    assert!((100..400).contains(&lost), "{lost} lines lost");
    // Whoever reads now gets what was kept, and what comes from now on.
    let mut reader = fs::File::options()
        .read(true)
        .custom_flags(0o4000)
        .open(&place.log)
        .expect("it can be read");
    let mut text = Vec::new();
    let came = eventually(20, || {
        let mut room = vec![0; 1 << 20];
        if let Ok(count) = reader.read(&mut room) {
            text.extend_from_slice(&room[..count]);
        }
        let lines = text.iter().filter(|&&byte| byte == b'\n').count() as u64;
        lines + lost == 400
    });
    let text = String::from_utf8(text).expect("it is ASCII");
    assert!(came, "{} lines and {lost} lost", text.lines().count());
    text.lines().for_each(|line| {
        read_line(line).expect("a whole line");
    });
    assert!(eventually(5, || log_fault(&plane).is_none()));
    plane.stop();
}

#[test]
fn a_path_that_can_not_be_written_is_said_and_used_once_it_can() {
    let mut place = Place::new();
    place.log = place.directory.path().join("later/access.log");
    let plane = Plane::start(&place.declared(backend()));
    ask_with_long_paths(&plane, 3);
    let fault = log_fault(&plane).expect("it says why");
    assert!(fault.ends_with("; make its directory"), "{fault}");
    fs::create_dir(place.directory.path().join("later")).expect("it can be made");
    lines_eventually(&place.log, 3);
    assert!(eventually(5, || log_fault(&plane).is_none()));
    assert_eq!(plane.hits("access_log_lost"), 0);
    plane.stop();
}

/// A file system of its own, as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<SmallDisk> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|it| it.status.success())
            .then(|| SmallDisk(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_said_tears_no_line_and_is_used_again_when_there_is_room() {
    let place = Place::new();
    let Some(_disk) = SmallDisk::mount(place.directory.path()) else {
        eprintln!("SKIPPED: mounting a file system takes root");
        return;
    };
    let filler = place.directory.path().join("filler");
    fs::write(&filler, vec![0; 30_000]).expect("there is room for it");
    let plane = Plane::start(&place.declared(backend()));
    ask_with_long_paths(&plane, 10);
    assert!(eventually(10, || log_fault(&plane).is_some()));
    let fault = log_fault(&plane).expect("it says why");
    assert!(fault.ends_with("; make room on that disk"), "{fault}");
    let whole = |text: &str| text.lines().filter(|line| read_line(line).is_ok()).count();
    let text = fs::read_to_string(&place.log).expect("it is there");
    assert!(whole(&text) < 10, "the disk holds all of it");
    fs::remove_file(&filler).expect("it can be removed");
    // Not all of it fits even now, but every line is whole, whatever it was that was written last.
    assert!(eventually(20, || {
        let text = fs::read_to_string(&place.log).unwrap_or_default();
        whole(&text) >= 8
    }));
    let old = place.directory.path().join("old");
    fs::rename(&place.log, &old).expect("it can be moved");
    plane.signal("HUP");
    assert!(eventually(10, || place.log.exists()), "no fresh log");
    // The old one is left after the new one was opened.
    let mut first = 0;
    let whole_lines = eventually(10, || {
        read_log(&old).map(|lines| first = lines.len()).is_ok()
    });
    assert!(whole_lines, "a line is torn");
    fs::remove_file(&old).expect("it can be removed");
    lines_eventually(&place.log, 10 - first);
    assert_eq!(plane.hits("access_log_lost"), 0);
    plane.stop();
}
