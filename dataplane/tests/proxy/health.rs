//! Health checks: what backends are taken for, and what requests make of it.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Backlog, PATIENCE, Peer, answer_each, ok, status};
use crate::support::plane::{Plane, Reserved};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// A server that can be killed and started again at its address.
pub(crate) struct Server {
    place: Reserved,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Server {
    pub(crate) fn start(serve: impl Fn(Peer) + Clone + Send + 'static) -> Server {
        let mut server = Server {
            place: Reserved::new(),
            running: None,
        };
        server.start_again(serve);
        server
    }

    pub(crate) fn start_again(&mut self, serve: impl Fn(Peer) + Clone + Send + 'static) {
        let listener = listen_at(self.place.address);
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                stream.set_nonblocking(false).expect("it is a socket");
                let serve = serve.clone();
                std::thread::spawn(move || serve(Peer::new(stream)));
            }
        });
        self.running = Some((stopping, thread));
    }

    pub(crate) fn kill(&mut self) {
        let (stopping, thread) = self.running.take().expect("it runs");
        stopping.store(true, Ordering::Release);
        thread.join().expect("it only accepts");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.place.address
    }
}

fn listen_at(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
    socket.set_reuse_port(true).expect("ports can be shared");
    socket.set_nonblocking(true).expect("it is a socket");
    socket.bind(&address.into()).expect("the place is ours");
    socket.listen(128).expect("it is bound");
    socket.into()
}

/// A site with these backends in one pool that is checked like this.
pub(crate) fn checked(backends: &[SocketAddr], health: &str) -> Declared {
    Declared {
        site_keys: format!("pool = {{ health = {health} }}\n"),
        ..Declared::with_backends(backends.iter().copied())
    }
}

fn rows(plane: &Plane) -> Vec<Value> {
    let status = plane.status();
    status["backends"].as_array().expect("a list").clone()
}

fn text(row: &Value, name: &str) -> String {
    let text = row[name].as_str();
    text.unwrap_or_else(|| panic!("no {name} in {row}"))
        .to_owned()
}

/// Waits until the backend with this index is in this state; why it is.
pub(crate) fn becomes(plane: &Plane, index: usize, state: &str) -> String {
    let mut row = Value::Null;
    let is_so = eventually(30, || {
        row = rows(plane)[index].clone();
        row["state"] == state
    });
    assert!(is_so, "not {state}: {row}");
    text(&row, "reason")
}

fn ask(client: &mut Peer) -> (u16, Vec<u8>) {
    client.send(GET);
    let (head, body) = client.receive_response();
    (status(&head), body)
}

/// Answers with a status, requests as checks.
fn answering(status: u16) -> impl Fn(Peer) + Clone + Send + 'static {
    move |peer| {
        answer_each(peer, move |_| {
            format!("HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok").into_bytes()
        });
    }
}

#[test]
fn a_backend_that_was_killed_gets_no_requests_until_it_is_back() {
    let mut killed = Server::start(|peer| answer_each(peer, |_| ok(b"1")));
    let other = Backend::new().serve(|peer| answer_each(peer, |_| ok(b"2")));
    let health = "{ interval = \"200ms\", timeout = \"200ms\", rise = 2, fall = 2 }";
    let declared = checked(&[killed.address(), other], health);
    let plane = Plane::start(&declared.timeouts("{ upstream_idle = \"50ms\" }"));
    assert_eq!(becomes(&plane, 0, "up"), "connected");
    assert_eq!(becomes(&plane, 1, "up"), "connected");
    let mut client = Peer::connect(plane.address());
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| ask(&mut client).1).collect();
    assert_eq!(bodies.concat().iter().filter(|it| **it == b'1').count(), 2);

    killed.kill();
    assert_eq!(becomes(&plane, 0, "down"), "connection refused");
    let failures = plane.backend(0, "failures");
    for _ in 0..20 {
        assert_eq!(ask(&mut client), (200, b"2".to_vec()));
    }
    assert_eq!(plane.backend(0, "failures"), failures, "nobody tried");
    let row = rows(&plane)[0].clone();
    let since: jiff::Timestamp = text(&row, "changed_at").parse().expect("a time");
    assert!(since.duration_until(jiff::Timestamp::now()).as_secs() < 60);
    assert!(row["check_failures"].as_u64() >= Some(2), "{row}");

    killed.start_again(|peer| answer_each(peer, |_| ok(b"back")));
    assert_eq!(becomes(&plane, 0, "up"), "connected");
    let has_answered = || ask(&mut client) == (200, b"back".to_vec());
    assert!(eventually(10, has_answered));
    drop(client);
    plane.stop();
}

/// The state after each check, by what the backend answers: the first decides at once, then two
/// good ones or three bad ones in a row.
#[test]
fn rise_and_fall_are_exact() {
    const ANSWERS: &[u16] = &[
        200, 500, 500, 200, 503, 503, 503, 200, 503, 200, 200, 500, 200,
    ];
    const UP: &[bool] = &[
        true, true, true, true, true, true, false, false, false, false, true, true, true,
    ];
    let asked = Arc::new(AtomicUsize::new(0));
    let backend = Backend::new().serve(move |peer| {
        let turn = asked.fetch_add(1, Ordering::AcqRel);
        let status = ANSWERS.get(turn).copied().unwrap_or(200);
        answering(status)(peer);
    });
    let health = "{ kind = \"http\", interval = \"500ms\", timeout = \"500ms\" }";
    let plane = Plane::start(&checked(&[backend], health));
    let mut seen = vec![None; ANSWERS.len()];
    let mut reason_down = None;
    let mut last = (0, String::new());
    let is_over = eventually(60, || {
        let row = rows(&plane)[0].clone();
        let checks = row["checks"].as_u64().expect("a number") as usize;
        let now = (checks, text(&row, "state"));
        // A row is read while a check may end: what was seen twice is settled.
        if checks > 0 && checks <= ANSWERS.len() && now == last {
            seen[checks - 1] = Some(now.1 == "up");
            if now.1 == "down" {
                reason_down = Some(text(&row, "reason"));
            }
        }
        last = now;
        checks > ANSWERS.len()
    });
    assert!(is_over, "{last:?}");
    for (turn, (seen, wanted)) in seen.iter().zip(UP).enumerate() {
        assert!(
            seen.is_none_or(|it| it == *wanted),
            "after check {}",
            turn + 1
        );
    }
    let known = seen.iter().flatten().count();
    assert!(
        known >= ANSWERS.len() / 2,
        "only {known} were seen: {seen:?}"
    );
    assert_eq!(reason_down.as_deref(), Some("HTTP 503, expected 200-299"));
    assert_eq!(plane.backend(0, "check_failures"), 7);
    plane.stop();
}

#[test]
fn what_a_check_over_http_asks_and_what_it_takes_for_an_answer() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&heads);
    let good = Backend::new().serve(move |peer| {
        let asked = Arc::clone(&asked);
        answer_each(peer, move |head| {
            asked.lock().expect("nobody panicked").push(head.to_owned());
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
                .to_vec()
        });
    });
    let silent = Backend::new().serve(|mut peer| drop(peer.receive_all(PATIENCE)));
    let slow = Backend::new().serve(|mut peer| {
        peer.receive_head();
        for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            std::thread::sleep(Duration::from_millis(50));
            if peer.stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    let liar = Backend::new().serve(|peer| answer_each(peer, |_| b"SSH-2.0-no\r\n".to_vec()));
    let ends = Backend::new().serve(|mut peer| drop(peer.receive_head()));
    let endless = Backend::new().serve(|mut peer| {
        peer.receive_head();
        while peer
            .stream
            .write_all(b"HTTP/1.1 200 OK\r\nx-filler: 0123456789\r\n")
            .is_ok()
        {
            if peer
                .stream
                .write_all(&b"x-filler: 0123456789\r\n".repeat(1000))
                .is_err()
            {
                return;
            }
        }
    });
    let health = "{ kind = \"http\", path = \"/up?full=1\", host = \"health.test\", \
        status = [200, \"400-404\"], interval = \"1s\", timeout = \"500ms\", rise = 1, fall = 1 }";
    let declared = checked(&[good, silent, slow, liar, ends, endless], health);
    let plane = Plane::start(&declared);
    assert_eq!(becomes(&plane, 0, "up"), "HTTP 404");
    assert_eq!(becomes(&plane, 1, "down"), "no answer in 500ms");
    assert_eq!(becomes(&plane, 2, "down"), "no answer in 500ms");
    let reason = becomes(&plane, 3, "down");
    assert!(reason.starts_with("bad response: "), "{reason}");
    let reason = becomes(&plane, 4, "down");
    assert!(
        ["closed before its answer was whole", "connection reset"].contains(&&*reason),
        "{reason}"
    );
    let reason = becomes(&plane, 5, "down");
    assert!(reason.starts_with("bad response: "), "{reason}");
    let head = heads.lock().expect("nobody panicked")[0].clone();
    assert!(
        head.starts_with("GET /up?full=1 HTTP/1.1\r\nHost: health.test\r\n"),
        "{head}"
    );
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    plane.stop();
}

/// A stopped process: the kernel goes on taking connections for it, which a check by connecting
/// cannot see and a check over HTTP does.
#[test]
fn a_backend_that_hangs_is_down_for_a_check_over_http() {
    let place = Reserved::new();
    let mut server = Python::serve(place.address);
    let health = "{ kind = \"http\", interval = \"1s\", timeout = \"1s\", rise = 1, fall = 2 }";
    let plane = Plane::start(&checked(&[place.address], health));
    assert_eq!(becomes(&plane, 0, "up"), "HTTP 200");
    server.signal("STOP");
    assert_eq!(becomes(&plane, 0, "down"), "no answer in 1s");
    let mut client = Peer::connect(plane.address());
    let begun = Instant::now();
    assert_eq!(ask(&mut client).0, 503);
    // It is said at once, and not when a request has waited in vain.
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(plane.hits("no_backend"), 1);
    server.signal("CONT");
    assert_eq!(becomes(&plane, 0, "up"), "HTTP 200");
    assert_eq!(ask(&mut client).0, 200);
    server.kill();
    assert_eq!(becomes(&plane, 0, "down"), "connection refused");
    drop(client);
    plane.stop();
}

/// A server in a process of its own.
struct Python(Child);

impl Python {
    fn serve(address: SocketAddr) -> Python {
        let program = "import http.server,socket,sys\n\
            class H(http.server.BaseHTTPRequestHandler):\n \
             def do_GET(self):\n  \
              self.send_response(200); self.send_header('Content-Length','2'); self.end_headers(); self.wfile.write(b'ok')\n \
             def log_message(self,*a): pass\n\
            class S(http.server.ThreadingHTTPServer):\n \
             def server_bind(self):\n  \
              self.socket.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1); super().server_bind()\n\
            S(('127.0.0.1',int(sys.argv[1])),H).serve_forever()\n";
        let child = Command::new("python3")
            .args(["-c", program, &address.port().to_string()])
            .stdin(Stdio::null())
            .spawn()
            .expect("python3 is there");
        let server = Python(child);
        let listens = eventually(20, || TcpStream::connect(address).is_ok());
        assert!(listens, "it does not listen");
        server
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Requests that cannot connect count at once: nobody waits for the next check, which is a minute
/// away.
#[test]
fn connects_of_requests_that_fail_count_as_checks() {
    let mut server = Server::start(|peer| answer_each(peer, |_| ok(b"1")));
    let health = "{ interval = \"1m\", timeout = \"1s\", fall = 3 }";
    let declared = checked(&[server.address()], health);
    let plane = Plane::start(&declared.timeouts("{ upstream_idle = \"50ms\" }"));
    assert_eq!(becomes(&plane, 0, "up"), "connected");
    let mut client = Peer::connect(plane.address());
    assert_eq!(ask(&mut client).0, 200);
    server.kill();
    for _ in 0..2 {
        assert!(eventually(10, || plane.workers("upstream_connections") == 0));
        assert_eq!(ask(&mut client).0, 502);
        assert_eq!(text(&rows(&plane)[0], "state"), "up");
    }
    assert_eq!(ask(&mut client).0, 502);
    assert_eq!(becomes(&plane, 0, "down"), "requests could not connect");
    let failures = plane.backend(0, "failures");
    assert_eq!(ask(&mut client).0, 503);
    assert_eq!(plane.backend(0, "failures"), failures, "nobody tried");
    assert_eq!(plane.hits("no_backend"), 1);
    assert_eq!(plane.backend(0, "checks"), 1, "only the first one was made");
    drop(client);
    plane.stop();
}

/// Nor does anybody wait for the first check, which may be ten seconds away: it is made when a
/// request could not connect.
#[test]
fn a_connect_that_fails_before_the_first_check_brings_it_on() {
    let refusing: Vec<Reserved> = (0..8).map(|_| Reserved::new()).collect();
    let backends: Vec<SocketAddr> = refusing.iter().map(|it| it.address).collect();
    let health = "{ interval = \"1m\", timeout = \"1s\" }";
    let plane = Plane::start(&checked(&backends, health));
    let mut client = Peer::connect(plane.address());
    // It tries one after the other.
    let answered = ask(&mut client).0;
    assert!([502, 503].contains(&answered), "{answered}");
    let begun = Instant::now();
    let are_down = eventually(5, || rows(&plane).iter().all(|row| row["state"] == "down"));
    assert!(are_down, "{:?} later: {:#?}", begun.elapsed(), rows(&plane));
    for row in rows(&plane) {
        assert_eq!(row["reason"], "connection refused", "by its check");
        assert_eq!(row["checks"], 1, "{row}");
    }
    assert_eq!(ask(&mut client).0, 503);
    drop(client);
    plane.stop();
}

/// Nobody would say that it is back.
#[test]
fn a_backend_that_nobody_checks_is_never_down() {
    let mut server = Server::start(|peer| answer_each(peer, |_| ok(b"1")));
    let declared = Declared::with_backends([server.address()]);
    let plane = Plane::start(&declared.timeouts("{ upstream_idle = \"50ms\" }"));
    let mut client = Peer::connect(plane.address());
    assert_eq!(ask(&mut client).0, 200);
    server.kill();
    assert!(eventually(10, || plane.workers("upstream_connections") == 0));
    for _ in 0..10 {
        assert_eq!(ask(&mut client).0, 502);
    }
    let row = rows(&plane)[0].clone();
    assert_eq!(text(&row, "state"), "unchecked");
    assert_eq!(
        (&row["checks"], &row["changed_at"]),
        (&0.into(), &Value::Null)
    );
    server.start_again(|peer| answer_each(peer, |_| ok(b"back")));
    assert_eq!(ask(&mut client), (200, b"back".to_vec()));
    drop(client);
    plane.stop();
}

#[test]
fn a_change_keeps_what_is_known_of_backends_that_stay() {
    let [stays, goes, comes] = [(); 3].map(|()| Backend::new().serve(answering(200)));
    let dead = Reserved::new();
    let health = "{ interval = \"300ms\", timeout = \"300ms\" }";
    let mut plane = Plane::start(&checked(&[stays, dead.address, goes], health));
    becomes(&plane, 0, "up");
    becomes(&plane, 1, "down");
    let before = rows(&plane);
    plane.reload(&checked(&[stays, dead.address, comes], health));
    let after = rows(&plane);
    for index in 0..2 {
        assert_eq!(after[index]["state"], before[index]["state"]);
        assert_eq!(after[index]["changed_at"], before[index]["changed_at"]);
        assert!(after[index]["checks"].as_u64() >= before[index]["checks"].as_u64());
    }
    assert_eq!(becomes(&plane, 2, "up"), "connected");
    assert_eq!(text(&rows(&plane)[2], "address"), comes.to_string());

    // Another kind of check: the same backends, looked at anew and soon.
    let http = "{ kind = \"http\", interval = \"300ms\", timeout = \"300ms\", status = [204] }";
    plane.reload(&checked(&[stays, dead.address, comes], http));
    assert_eq!(becomes(&plane, 0, "down"), "HTTP 200, expected 204");

    plane.reload(&Declared::with_backends([stays, dead.address, comes]));
    for index in 0..3 {
        assert_eq!(becomes(&plane, index, "unchecked"), "not checked any more");
    }
    let checks = plane.backend(0, "checks");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(plane.backend(0, "checks"), checks);
    plane.stop();
}

/// A site that is not served has nobody to be well for.
#[test]
fn backends_of_a_suspended_site_are_not_checked() {
    let backend = Backend::new();
    let health = "{ interval = \"200ms\", timeout = \"200ms\", fall = 1 }";
    let declared = checked(&[backend.address], health);
    let suspended = Declared {
        site_keys: format!("suspended = true\n{}", declared.site_keys),
        ..declared.clone()
    };
    let mut plane = Plane::start(&suspended);
    assert!(backend.accept_within(Duration::from_secs(1)).is_none());
    assert_eq!(text(&rows(&plane)[0], "state"), "unchecked");
    plane.reload(&declared);
    assert_eq!(becomes(&plane, 0, "up"), "connected");
    plane.stop();
}

/// Those of other groups are checked while they are used: as long as none of this host's own are up.
#[test]
fn backends_of_other_groups_are_checked_while_they_are_used() {
    let mut own = Server::start(answering(200));
    let far = Backend::new();
    let far_address = far.address;
    let declared = Declared {
        host: "group = \"ams\"\n".to_owned(),
        site_keys: "pool = { health = { interval = \"200ms\", timeout = \"200ms\", rise = 1, fall = 1 } }\n"
            .to_owned(),
        more: format!(
            "[[site.backend]]\nname = \"near\"\naddress = \"{}\"\ngroup = \"ams\"\n\
             [[site.backend]]\nname = \"far\"\naddress = \"{far_address}\"\ngroup = \"nyc\"\n\
             [[group]]\nname = \"ams\"\n[[group]]\nname = \"nyc\"\n",
            own.address()
        ),
        ..Declared::default()
    };
    let plane = Plane::start(&declared);
    becomes(&plane, 0, "up");
    assert!(far.accept_within(Duration::from_secs(1)).is_none());
    assert_eq!(text(&rows(&plane)[1], "state"), "unchecked");
    own.kill();
    becomes(&plane, 0, "down");
    assert_eq!(becomes(&plane, 1, "up"), "connected");
    own.start_again(answering(200));
    becomes(&plane, 0, "up");
    assert_eq!(
        becomes(&plane, 1, "unchecked"),
        "this host does not use its group"
    );
    plane.stop();
}

/// What a check sends is this host's own: UNKNOWN in version 1, LOCAL in version 2.
#[test]
fn a_check_begins_with_a_header_of_the_proxy_protocol_where_requests_do() {
    let bytes_of = |version: u8, kind: &str| {
        let (sent, received) = std::sync::mpsc::channel();
        let backend = Backend::new().serve(move |mut peer| {
            let mut bytes = vec![0; 128];
            let count = peer.stream.read(&mut bytes).unwrap_or_default();
            bytes.truncate(count);
            let _ = sent.send(bytes);
        });
        let declared = Declared {
            site_keys: format!(
                "pool = {{ proxy_protocol = {version}, health = {{ kind = \"{kind}\", \
                 interval = \"300ms\", timeout = \"300ms\" }} }}\n"
            ),
            ..Declared::with_backends([backend])
        };
        let plane = Plane::start(&declared);
        // A check by connecting ends with a reset, which can take what it sent with it.
        let is_there = std::iter::from_fn(|| received.recv_timeout(PATIENCE).ok());
        let bytes = is_there.take(50).find(|bytes| !bytes.is_empty());
        plane.stop();
        bytes.expect("a check comes with a header")
    };
    let v1 = b"PROXY UNKNOWN\r\n";
    assert_eq!(bytes_of(1, "tcp"), v1);
    assert!(bytes_of(1, "http").starts_with(b"PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n"));
    // A record of a handshake (RFC 8446 §5.1).
    assert!(bytes_of(1, "tls").starts_with(b"PROXY UNKNOWN\r\n\x16\x03"));
    let v2 = bytes_of(2, "http");
    assert_eq!(&v2[..12], b"\r\n\r\n\0\r\nQUIT\n");
    assert_eq!(v2[12], 0x20, "version 2, LOCAL");
    let behind = 16 + usize::from(u16::from_be_bytes([v2[14], v2[15]]));
    assert!(v2[behind..].starts_with(b"GET / HTTP/1.1\r\n"));
}

/// Where no backend may be, no check goes either.
#[test]
fn a_backend_where_none_may_be_is_not_connected_to() {
    let backend = Backend::new();
    let health = "{ interval = \"200ms\", timeout = \"200ms\" }";
    let declared = checked(&[backend.address], health);
    let elsewhere = Declared {
        backend_networks: vec!["10.0.0.0/8".to_owned()],
        ..Declared::default()
    };
    let plane = Plane::start_elsewhere(&declared, &elsewhere);
    let reason = becomes(&plane, 0, "down");
    assert!(reason.contains("127.0.0.0/8"), "{reason}");
    assert!(backend.accept_within(Duration::from_millis(500)).is_none());
    plane.stop();
}

/// Nothing stays behind of a check: it is reset, and leaves no TIME_WAIT.
#[test]
fn a_check_ends_with_a_reset() {
    let backend = Backend::new();
    let health = "{ interval = \"200ms\", timeout = \"200ms\" }";
    let plane = Plane::start(&checked(&[backend.address], health));
    let mut peer = backend.accept();
    let mut byte = [0];
    let read = peer.stream.read(&mut byte);
    let error = read.expect_err("it is reset").kind();
    assert_eq!(error, std::io::ErrorKind::ConnectionReset);
    plane.stop();
}

/// Checks of one tenant that hang take half of the connections that checks may have at most, and
/// other tenants' checks come in time.
#[test]
fn backends_that_hang_make_nobody_elses_checks_late() {
    let full = Backlog::full();
    let good = Backend::new().serve(answering(200));
    let hanging = [full.address; 60];
    let mut declared = checked(&hanging, "{ interval = \"2s\", timeout = \"2s\" }");
    declared.more = format!(
        "[[tenant]]\nname = \"quiet\"\n\
         [[site]]\ntenant = \"quiet\"\nname = \"shop\"\nhostnames = [\"quiet.test\"]\n\
         pool = {{ health = {{ interval = \"500ms\", timeout = \"500ms\" }} }}\n\
         [[site.backend]]\naddress = \"{good}\"\n"
    );
    // 272 descriptors for sockets, 13 for checks.
    let plane = Plane::start_with_open_files(&declared, 528);
    let quiet = hanging.len();
    assert_eq!(becomes(&plane, quiet, "up"), "connected");
    assert_eq!(becomes(&plane, 0, "down"), "no connection in 2s");
    let before = plane.backend(quiet, "checks");
    std::thread::sleep(Duration::from_secs(4));
    let made = plane.backend(quiet, "checks") - before;
    assert!(made >= 4, "{made} checks within 4 s of 8");
    assert!(
        plane.hits("health_check_late") > 0,
        "the others had to wait"
    );
    assert_eq!(text(&rows(&plane)[quiet], "state"), "up");
    plane.stop();
}
