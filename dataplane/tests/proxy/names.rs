//! Backends that are known by a name.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::name_server::{NameServer, Record, SERVFAIL, Says, address, addresses};
use crate::support::peer::{Backend, End, Peer, answer_each, ok, status};
use crate::support::plane::{Plane, Reserved};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
/// A TTL of zero is taken for 5 s, and a tenth more by chance; then there is a lookup.
const FOLLOWED_WITHIN_S: u64 = 90;

/// Backends on the same port of 127.0.0.1, 127.0.0.2, …
fn on_one_port<const COUNT: usize>() -> [Backend; COUNT] {
    let first = Backend::new();
    let port = first.address.port();
    let mut first = Some(first);
    std::array::from_fn(|index| match first.take() {
        Some(first) => first,
        None => Backend::at(&format!("127.0.0.{}:{port}", index + 1)),
    })
}

/// A site whose one backend is `app.test` at this port, and who knows the name.
fn named(server: &NameServer, port: u16) -> Declared {
    Declared {
        resolvers: vec![server.address],
        more: backend("app", &format!("app.test:{port}")),
        ..Declared::default()
    }
}

fn backend(name: &str, address: &str) -> String {
    format!("[[site.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
}

/// Serves requests with the address that they came to.
fn serve_address(backend: Backend) -> SocketAddr {
    let body = backend.address.ip().to_string();
    backend.serve(move |peer| answer_each(peer, |_| ok(body.as_bytes())))
}

/// Where 127.0.0.1 and 127.0.0.2 answer.
fn on_two_addresses() -> (SocketAddr, SocketAddr) {
    let [first, second] = on_one_port();
    (serve_address(first), serve_address(second))
}

fn get(client: &mut Peer) -> (u16, String) {
    client.send(GET);
    let (head, body) = client.receive_response();
    (status(&head), String::from_utf8_lossy(&body).into_owned())
}

fn name_row(plane: &Plane, name: &str) -> Value {
    let report = plane.status();
    let rows = report["names"].as_array().expect("names are listed");
    let row = rows.iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("no {name} in {rows:?}"))
        .clone()
}

/// Of each backend, its address and state.
fn backends(plane: &Plane) -> Vec<(String, String)> {
    let report = plane.status();
    let rows = report["backends"].as_array().expect("backends are listed");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| (text(&row["address"]), text(&row["state"])))
        .collect()
}

fn await_addresses(plane: &Plane, name: &str, wanted: &[&str]) {
    let wanted = json!(wanted);
    let became = eventually(FOLLOWED_WITHIN_S, || {
        name_row(plane, name)["addresses"] == wanted
    });
    assert!(became, "{} is not {wanted}", name_row(plane, name));
}

fn await_fault(plane: &Plane, name: &str, words: &str) {
    let fault = || name_row(plane, name)["fault"].to_string();
    let came = eventually(FOLLOWED_WITHIN_S, || fault().contains(words));
    assert!(came, "not {words:?} but {}", fault());
}

#[test]
fn the_addresses_of_a_name_take_turns() {
    let backends_of_name = on_one_port::<2>();
    let port = backends_of_name[0].address.port();
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.2", "127.0.0.1"]));
    let plane = Plane::start(&named(&server, port));
    for backend in backends_of_name {
        serve_address(backend);
    }
    let mut client = Peer::connect(plane.address());
    let mut answers: Vec<String> = (0..4)
        .map(|_| {
            let (code, body) = get(&mut client);
            assert_eq!(code, 200);
            body
        })
        .collect();
    answers.sort();
    assert_eq!(
        answers,
        ["127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"]
    );
    let rows = backends(&plane);
    let row = |ip: &str| (format!("{ip}:{port}"), "unchecked".to_owned());
    assert_eq!(rows, [row("127.0.0.1"), row("127.0.0.2")]);
    assert_eq!(plane.backend(0, "requests"), 2);
    assert_eq!(plane.backend(1, "requests"), 2);
    assert_eq!(
        plane.status()["backends"][0]["backend"],
        "acme/shop/default/app"
    );
    let row = name_row(&plane, "app.test");
    assert_eq!(row["addresses"], json!(["127.0.0.1", "127.0.0.2"]));
    assert_eq!(row["fault"], Value::Null);
    assert!(row["resolved_s_ago"].as_f64() < Some(20.0), "{row}");
    assert!(row["next_lookup_s"].as_f64() <= Some(5.5), "{row}");
    assert_eq!(
        (plane.site("requests"), plane.site("responses_2xx")),
        (4, 4)
    );
    assert_eq!((plane.site("retries"), plane.hits("lookup_failed")), (0, 0));
}

/// Neither after a start nor after a change does a request fail because the name server is slower
/// than the client.
#[test]
fn a_request_waits_for_the_first_lookup() {
    let backend = Backend::new();
    let port = backend.address.port();
    let server = NameServer::start();
    let late = Duration::from_millis(600);
    server.say("app.test", Says::Late(late, vec![address("127.0.0.1")]));
    server.say("next.test", Says::Late(late, vec![address("127.0.0.1")]));
    let mut plane = Plane::start(&named(&server, port));
    serve_address(backend);
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client).0, 200);
    let mut renamed = named(&server, port);
    renamed.more = self::backend("app", &format!("next.test:{port}"));
    plane.reload(&renamed);
    let begun = Instant::now();
    assert_eq!(get(&mut client).0, 200);
    assert!(
        begun.elapsed() > Duration::from_millis(300),
        "it was no wait"
    );
    assert_eq!(
        (plane.site("requests"), plane.site("responses_2xx")),
        (2, 2)
    );
    assert_eq!(plane.hits("no_backend"), 0);
}

#[test]
fn a_client_that_leaves_while_its_request_waits_for_a_lookup_is_let_go() {
    let server = NameServer::start();
    server.say("app.test", Says::Nothing);
    let plane = Plane::start(&named(&server, 9));
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    assert!(eventually(5, || plane.site("bytes_in") == GET.len() as u64));
    client.reset();
    assert!(eventually(10, || plane.hits("client_abort") == 1));
    assert_eq!((plane.site("requests"), plane.site("cut")), (0, 1));
    plane.finish();
}

#[test]
fn a_name_without_an_address_is_no_backend() {
    let server = NameServer::start();
    let mut plane = Plane::start(&named(&server, 9001));
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client).0, 503);
    assert_eq!(plane.hits("no_backend"), 1);
    assert_eq!(plane.site("responses_5xx"), 1);
    assert_eq!(plane.site("retries"), 0);
    await_fault(&plane, "app.test", "there is no such name");
    let unresolved = ("app.test:9001".to_owned(), "unresolved".to_owned());
    assert_eq!(backends(&plane), [unresolved]);
    // Once that is known nobody waits for it, and another backend is used as if it were alone.
    let begun = Instant::now();
    assert_eq!(get(&mut client).0, 503);
    assert!(begun.elapsed() < Duration::from_secs(2));
    let other = serve_address(Backend::new());
    let mut declared = named(&server, 9001);
    declared.backends = vec![other];
    plane.reload(&declared);
    for _ in 0..10 {
        assert_eq!(get(&mut client).0, 200);
    }
    assert_eq!((plane.site("requests"), plane.site("retries")), (12, 0));
    // It is looked for again.
    server.say("app.test", addresses(&["127.0.0.1"]));
    await_addresses(&plane, "app.test", &["127.0.0.1"]);
}

#[test]
fn a_name_that_changes_is_followed_and_nothing_returns_to_the_old_address() {
    let [old, new] = on_one_port();
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1"]));
    let plane = Plane::start(&named(&server, old.address.port()));
    let mut idle = Peer::connect(plane.address());
    idle.send(GET);
    let mut busy_server = old.accept();
    busy_server.receive_head();
    let mut other = Peer::connect(plane.address());
    other.send(GET);
    let mut pooled = old.accept();
    pooled.receive_head();
    pooled.send(&ok(b"old"));
    assert_eq!(other.receive_response().1, b"old");

    server.say("app.test", addresses(&["127.0.0.2"]));
    // The pooled connection is closed, the busy one goes on and is not pooled.
    let patience = Duration::from_secs(FOLLOWED_WITHIN_S);
    assert_eq!(pooled.receive_all(patience).1, End::Closed);
    other.send(GET);
    let mut fresh = new.accept();
    fresh.receive_head();
    fresh.send(&ok(b"new"));
    assert_eq!(other.receive_response().1, b"new");
    busy_server.send(&ok(b"late"));
    assert_eq!(idle.receive_response().1, b"late");
    assert_eq!(busy_server.receive_all(patience).1, End::Closed);
    idle.send(GET);
    fresh.receive_head();
    fresh.send(&ok(b"new"));
    assert_eq!(idle.receive_response().1, b"new");
    assert!(old.accept_within(Duration::from_millis(50)).is_none());
    assert_eq!((plane.site("requests"), plane.site("retries")), (4, 0));
    assert_eq!(plane.status()["revision"], 1, "a name is no revision");
    drop((idle, other, fresh, pooled, busy_server));
    plane.finish();
}

/// What stays keeps its connections when another address comes.
#[test]
fn an_address_that_stays_keeps_its_connections() {
    let [first, second] = on_one_port();
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1"]));
    let plane = Plane::start(&named(&server, first.address.port()));
    let mut client = Peer::connect(plane.address());
    client.send(GET);
    let mut kept = first.accept();
    kept.receive_head();
    kept.send(&ok(b"1"));
    client.receive_response();
    server.say("app.test", addresses(&["127.0.0.1", "127.0.0.2"]));
    await_addresses(&plane, "app.test", &["127.0.0.1", "127.0.0.2"]);
    assert!(eventually(5, || backends(&plane).len() == 2));
    assert_eq!(plane.backend(0, "connections"), 1);
    serve_address(second);
    for _ in 0..2 {
        client.send(GET);
        // The two take turns; one of the requests comes over the connection that was kept.
        if plane.backend(0, "in_flight") == 1 {
            kept.receive_head();
            kept.send(&ok(b"2"));
        }
        client.receive_response();
    }
    assert_eq!(plane.backend(0, "requests"), 2);
    assert!(first.accept_within(Duration::from_millis(50)).is_none());
    drop((client, kept));
}

#[test]
fn the_last_addresses_serve_while_name_servers_fail() {
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1"]));
    let backend = Backend::new();
    let plane = Plane::start(&named(&server, backend.address.port()));
    serve_address(backend);
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client).0, 200);
    for (says, words) in [
        (Says::Code(SERVFAIL), "answered SERVFAIL"),
        (Says::Nothing, "no answer within 2000 ms"),
    ] {
        server.say("app.test", says);
        await_fault(&plane, "app.test", words);
        assert_eq!(
            name_row(&plane, "app.test")["addresses"],
            json!(["127.0.0.1"])
        );
        assert_eq!(get(&mut client).0, 200, "{words}");
    }
    let row = name_row(&plane, "app.test");
    assert!(row["resolved_s_ago"].as_f64() > Some(5.0), "{row}");
    assert!(plane.hits("lookup_failed") >= 2);
    assert_eq!(plane.site("responses_2xx"), 3);
}

#[test]
fn the_next_name_server_is_asked() {
    let silent = NameServer::start();
    silent.say("app.test", Says::Nothing);
    let nobody = Reserved::new();
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1"]));
    let backend = Backend::new();
    let mut declared = named(&server, backend.address.port());
    declared.resolvers = vec![nobody.address, silent.address, server.address];
    declared.timeouts = "{ connect = \"30s\" }".to_owned();
    let plane = Plane::start(&declared);
    serve_address(backend);
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client).0, 200);
    let before = silent.asked("app.test");
    assert_eq!(before, 1);
    // Who answered is asked first from now on.
    assert!(eventually(FOLLOWED_WITHIN_S, || server.asked("app.test") >= 2));
    assert_eq!(silent.asked("app.test"), before);
    assert_eq!(plane.hits("lookup_failed"), 0);
}

#[test]
fn aliases_long_answers_and_forgeries() {
    let server = NameServer::start();
    let real: SocketAddr = serve_address(Backend::new());
    let of_real = |ttl_s| Record::AddressOf("real.test", real.ip(), ttl_s);
    let forged = vec![address("127.0.0.66")];
    server.say(
        "alias.test",
        Says::Records(vec![Record::Alias("real.test", 9), of_real(60)]),
    );
    server.say("long.test", Says::OverTcp(vec![address("127.0.0.1")]));
    server.say(
        "forged.test",
        Says::AfterForgeries(forged, vec![address("127.0.0.1")]),
    );
    let mut declared = named(&server, real.port());
    declared.more.clear();
    for name in ["alias", "long", "forged"] {
        declared.more += &backend(name, &format!("{name}.test:{}", real.port()));
    }
    let plane = Plane::start(&declared);
    for name in ["alias.test", "long.test", "forged.test"] {
        await_addresses(&plane, name, &["127.0.0.1"]);
        assert_eq!(name_row(&plane, name)["fault"], Value::Null, "{name}");
    }
    let next_s = name_row(&plane, "alias.test")["next_lookup_s"].as_f64();
    assert!(next_s > Some(5.5) && next_s <= Some(9.9), "{next_s:?}");
    assert!(server.asked_over_tcp() >= 2, "both families come over TCP");
    assert!(eventually(5, || {
        backends(&plane)
            .iter()
            .all(|(_, state)| state == "unchecked")
    }));
    let mut client = Peer::connect(plane.address());
    for _ in 0..6 {
        assert_eq!(get(&mut client), (200, "127.0.0.1".to_owned()));
    }
    let report = plane.status();
    let requests: Vec<u64> = (0..3)
        .map(|index| report["backends"][index]["requests"].as_u64().unwrap_or(0))
        .collect();
    assert_eq!(requests, [2, 2, 2]);
}

#[test]
fn both_families_are_used() {
    let four = Backend::new();
    let six = Backend::at(&format!("[::1]:{}", four.address.port()));
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1", "::1"]));
    let plane = Plane::start(&named(&server, four.address.port()));
    serve_address(four);
    serve_address(six);
    let mut client = Peer::connect(plane.address());
    let mut answers = [get(&mut client).1, get(&mut client).1];
    answers.sort();
    assert_eq!(answers, ["127.0.0.1", "::1"]);
    assert_eq!(plane.site("responses_2xx"), 2);
}

/// A name is the tenant's, and what it stands for may change after it was looked at: no address
/// where no backend may be is ever connected to.
#[test]
fn a_name_does_not_lead_where_no_backend_may_be() {
    let good = Backend::new();
    let port = good.address.port();
    let forbidden = Backend::at(&format!("127.0.0.9:{port}"));
    let server = NameServer::start();
    server.say(
        "app.test",
        addresses(&["169.254.169.254", "127.0.0.9", "127.0.0.1", "10.0.0.1"]),
    );
    let mut declared = named(&server, port);
    declared.backend_networks = vec!["127.0.0.1/32".to_owned()];
    let listener = Reserved::new();
    let own_port = listener.address.port();
    declared.more += &backend("self", &format!("self.test:{own_port}"));
    server.say("self.test", addresses(&["127.0.0.1"]));
    let plane = Plane::start_at(&declared, vec![listener]);
    serve_address(good);
    await_addresses(&plane, "self.test", &["127.0.0.1"]);
    let mut client = Peer::connect(plane.address());
    for _ in 0..8 {
        assert_eq!(get(&mut client), (200, "127.0.0.1".to_owned()));
    }
    // What has no route from here is not even refused.
    assert!(eventually(5, || backends(&plane).len() >= 3));
    for (address, state) in backends(&plane) {
        let is_good = address == format!("127.0.0.1:{port}");
        let wanted = if is_good { "unchecked" } else { "refused" };
        assert_eq!(state, wanted, "{address}");
    }
    let rows = plane.status()["backends"].clone();
    let refused: Vec<(String, String)> = rows
        .as_array()
        .expect("backends are listed")
        .iter()
        .filter(|row| row["state"] == "refused")
        .filter(|row| {
            row["address"]
                .as_str()
                .is_some_and(|it| it.starts_with("127."))
        })
        .map(|row| (row["address"].to_string(), row["reason"].to_string()))
        .collect();
    let row = |address: String, reason: &str| (format!("{address:?}"), format!("{reason:?}"));
    let private = "127.0.0.0/8 is private and not listed in backend_networks";
    assert_eq!(
        refused,
        [
            row(format!("127.0.0.9:{port}"), private),
            row(
                format!("127.0.0.1:{own_port}"),
                "this is one of Meridian's own services"
            ),
        ]
    );
    assert!(plane.hits("backend_refused_by_policy") >= 2);
    // The name turns: nothing is left that may be connected to.
    server.say("app.test", addresses(&["127.0.0.9"]));
    await_addresses(&plane, "app.test", &["127.0.0.9"]);
    assert!(eventually(5, || get(&mut client).0 == 503));
    assert!(forbidden.accept_within(Duration::from_millis(50)).is_none());
    assert!(plane.hits("no_backend") >= 1);
}

#[test]
fn a_pool_of_a_route_may_have_a_name() {
    let server = NameServer::start();
    let (other, of_name) = on_two_addresses();
    let late = Duration::from_millis(300);
    server.say("api.test", Says::Late(late, vec![address("127.0.0.2")]));
    let mut declared = named(&server, of_name.port());
    declared.backends = vec![other];
    declared.more = format!(
        "[[site.pool]]\nname = \"api\"\n\
         [[site.backend]]\npool = \"api\"\naddress = \"api.test:{}\"\n\
         [[site.route]]\nmatch = {{ path_prefix = \"/api/\" }}\npool = \"api\"\n",
        of_name.port()
    );
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    for (path, wanted) in [("/api/x", "127.0.0.2"), ("/", "127.0.0.1")] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: shop.test\r\n\r\n");
        client.send(request.as_bytes());
        let (head, body) = client.receive_response();
        assert_eq!((status(&head), &*body), (200, wanted.as_bytes()), "{path}");
    }
    assert_eq!(plane.site("responses_2xx"), 2);
    assert_eq!((plane.site("retries"), plane.hits("no_backend")), (0, 0));
}

/// One name, many sites: one lookup at a time, whoever uses it.
#[test]
fn a_name_is_looked_up_once_for_all_who_use_it() {
    let server = NameServer::start();
    let backend_address = serve_address(Backend::new());
    let late = Duration::from_millis(200);
    server.say(
        "app.test",
        Says::Late(late, vec![Record::Address(backend_address.ip(), 60)]),
    );
    let mut declared = named(&server, backend_address.port());
    for index in 0..200 {
        let port = backend_address.port();
        write!(
            declared.more,
            "[[site]]\ntenant = \"acme\"\nname = \"s{index}\"\nhostnames = [\"s{index}.test\"]\n\
             backend = [{{ address = \"app.test:{port}\" }}]\n"
        )
        .expect("a String takes every text");
    }
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    for index in [0, 100, 199] {
        let request = format!("GET / HTTP/1.1\r\nHost: s{index}.test\r\n\r\n");
        client.send(request.as_bytes());
        assert_eq!(status(&client.receive_response().0), 200);
    }
    assert_eq!(get(&mut client).0, 200);
    assert_eq!(server.asked("app.test"), 1);
}

/// Names that nobody answers for do not keep others from being looked up.
#[test]
fn silent_names_leave_room_for_others() {
    const SILENT: usize = 300;
    let server = NameServer::start();
    let backend_address = serve_address(Backend::new());
    let mut declared = named(&server, backend_address.port());
    declared.timeouts = "{ connect = \"15s\" }".to_owned();
    declared.more.clear();
    for index in 0..SILENT {
        server.say(&format!("n{index}.test"), Says::Nothing);
        declared.more += &backend(&format!("n{index}"), &format!("n{index}.test:80"));
    }
    let mut plane = Plane::start(&declared);
    assert!(eventually(10, || server.names_asked() >= 32));
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        server.names_asked() <= 32,
        "{} at a time",
        server.names_asked()
    );
    // All of them have had their turn: from now on they have half of the room at most.
    let failed = || {
        let report = plane.status();
        let rows = report["names"].as_array().expect("names are listed");
        rows.iter().filter(|row| row["fault"].is_string()).count()
    };
    assert!(
        eventually(300, || failed() == SILENT),
        "{} failed",
        failed()
    );
    server.say("app.test", addresses(&["127.0.0.1"]));
    declared.more += &backend("app", &format!("app.test:{}", backend_address.port()));
    plane.reload(&declared);
    assert!(
        eventually(15, || server.asked("app.test") > 0),
        "it is kept from being looked up"
    );
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client).0, 200);
    assert!(plane.hits("lookup_failed") >= SILENT as u64);
}

/// What nobody has asked for yet is no different: a tenant's first lookups keep no other tenant's
/// waiting, however many and however silent they are.
#[test]
fn silent_new_names_of_a_tenant_keep_no_other_tenants_waiting() {
    const SILENT: usize = 640;
    let server = NameServer::start();
    let backend_address = serve_address(Backend::new());
    let mut declared = named(&server, backend_address.port());
    declared.more.clear();
    for index in 0..SILENT {
        server.say(&format!("n{index}.test"), Says::Nothing);
        declared.more += &backend(&format!("n{index}"), &format!("n{index}.test:80"));
    }
    server.say("up.test", addresses(&["127.0.0.1"]));
    // It has one name with the silent tenant, who was there first.
    declared.more += &backend("shared", &format!("up.test:{}", backend_address.port()));
    let mut plane = Plane::start(&declared);
    assert!(eventually(10, || server.names_asked() >= 32));
    assert_eq!(server.asked("up.test"), 0);
    let begun = Instant::now();
    write!(
        declared.more,
        "[[tenant]]\nname = \"other\"\n[[site]]\ntenant = \"other\"\nname = \"s\"\n\
         hostnames = [\"other.test\"]\nbackend = [{{ address = \"up.test:{}\" }}]\n",
        backend_address.port()
    )
    .expect("a String takes every text");
    plane.reload(&declared);
    assert!(eventually(30, || server.asked("up.test") > 0));
    let waited = begun.elapsed();
    assert!(waited < Duration::from_secs(5), "asked after {waited:?}");
    let mut client = Peer::connect(plane.address());
    client.send(b"GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(status(&client.receive_response().0), 200);
    assert!(
        server.names_asked() < SILENT / 2,
        "the silent ones have all had their turn: nothing was seen"
    );
}

/// What all names of a site cost together is bounded, and each of them has its share.
#[test]
fn the_names_of_a_site_share_their_addresses() {
    const NAMES: usize = 1000;
    let server = NameServer::start();
    let many: Vec<Record> = (0..64).map(|n| address(&format!("127.0.1.{n}"))).collect();
    server.say("one.test", Says::OverTcp(many));
    server.say("few.test", addresses(&["127.0.0.1", "127.0.0.2"]));
    let mut declared = named(&server, 9);
    declared.more.clear();
    for index in 1..NAMES {
        declared.more += &backend(&format!("b{index}"), &format!("one.test:{}", 2000 + index));
    }
    declared.more += &backend("few", "few.test:9");
    let plane = Plane::start(&declared);
    // Two each, and 48 that can not be shared.
    let used = || {
        let rows = backends(&plane);
        rows.iter()
            .filter(|(_, state)| state == "unchecked")
            .count()
    };
    assert!(eventually(30, || used() == 2048), "{}", used());
    let rows = backends(&plane);
    for port in (2001..2000 + NAMES).chain([9]) {
        let port = format!(":{port}");
        let count = rows.iter().filter(|(at, _)| at.ends_with(&port)).count();
        assert!((2..=3).contains(&count), "{count} at {port}");
    }
    let left_out = 64 * (NAMES as u64 - 1) + 2 - 2048;
    assert!(plane.hits("site_addresses") >= left_out);
    assert_eq!(plane.hits("name_addresses"), 0);
    plane.finish();
}

#[test]
fn a_name_may_have_many_addresses_and_not_any_number() {
    let server = NameServer::start();
    let many: Vec<Record> = (0..100).map(|n| address(&format!("127.0.1.{n}"))).collect();
    server.say("app.test", Says::OverTcp(many));
    let plane = Plane::start(&named(&server, 9));
    let count = || {
        let row = name_row(&plane, "app.test");
        row["addresses"].as_array().map_or(0, Vec::len)
    };
    assert!(eventually(10, || count() == 64), "{}", count());
    assert_eq!(plane.hits("name_addresses") % 36, 0);
    assert!(plane.hits("name_addresses") > 0);
    plane.finish();
}

/// A name that no site has any more is not asked for any more.
#[test]
fn a_name_that_nobody_uses_is_forgotten() {
    let server = NameServer::start();
    server.say("app.test", addresses(&["127.0.0.1"]));
    let other = serve_address(Backend::new());
    let mut plane = Plane::start(&named(&server, 9));
    await_addresses(&plane, "app.test", &["127.0.0.1"]);
    let mut declared = Declared::with_backends([other]);
    declared.resolvers = vec![server.address];
    plane.reload(&declared);
    assert!(eventually(10, || plane.status()["names"] == json!([])));
    let asked = server.asked("app.test");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(server.asked("app.test"), asked);
}

#[test]
fn the_hosts_file_comes_first() {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let has_localhost = hosts.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("127.0.0.1") && words.any(|word| word == "localhost")
    });
    if !has_localhost {
        eprintln!("SKIPPED: /etc/hosts of this machine has no localhost");
        return;
    }
    let server = NameServer::start();
    server.say("localhost", addresses(&["127.0.0.66"]));
    let backend_address = serve_address(Backend::new());
    let mut declared = named(&server, backend_address.port());
    declared.more = backend("app", &format!("LocalHost.:{}", backend_address.port()));
    let plane = Plane::start(&declared);
    let mut client = Peer::connect(plane.address());
    assert_eq!(get(&mut client), (200, "127.0.0.1".to_owned()));
    assert_eq!(server.asked("localhost"), 0);
}

/// A resolver of the world outside in place of the tests' own.
#[test]
fn unbound_is_understood() {
    let Some(unbound) = Unbound::start() else {
        eprintln!("SKIPPED: there is no unbound (scripts/setup)");
        return;
    };
    let backend_address = serve_address(Backend::new());
    let port = backend_address.port();
    let mut declared = Declared {
        resolvers: vec![unbound.address],
        ..Declared::default()
    };
    for name in ["one", "many", "alias", "gone"] {
        declared.more += &backend(name, &format!("{name}.zone.test:{port}"));
    }
    let plane = Plane::start(&declared);
    await_addresses(&plane, "one.zone.test", &["127.0.0.1"]);
    await_addresses(&plane, "alias.zone.test", &["127.0.0.1"]);
    let is_capped = || {
        let row = name_row(&plane, "many.zone.test");
        row["addresses"].as_array().is_some_and(|it| it.len() == 60)
    };
    assert!(
        eventually(10, is_capped),
        "{}",
        name_row(&plane, "many.zone.test")
    );
    await_fault(&plane, "gone.zone.test", "there is no such name");
    assert!(name_row(&plane, "one.zone.test")["next_lookup_s"].as_f64() > Some(5.5));
}

struct Unbound {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Unbound {
    fn start() -> Option<Unbound> {
        let directory = tempfile::tempdir().expect("there is room for files");
        let address = NameServer::free_address();
        let mut zone = String::from(
            "$ORIGIN zone.test.\n$TTL 60\n\
             @ SOA ns.zone.test. hostmaster.zone.test. 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n\
             one A 127.0.0.1\nalias CNAME one\n",
        );
        for n in 0..60 {
            // More than fits a datagram.
            writeln!(zone, "many A 127.0.2.{n}").expect("a String takes every text");
        }
        std::fs::write(directory.path().join("zone.test"), zone).expect("there is room for files");
        let file = directory.path().join("unbound.conf");
        let text = format!(
            "server:\nusername: \"\"\nchroot: \"\"\ndirectory: \"{}\"\npidfile: \"\"\n\
             use-syslog: no\nlogfile: \"\"\ndo-daemonize: no\ninterface: 127.0.0.1@{}\n\
             module-config: \"iterator\"\nlocal-zone: \"test.\" nodefault\n\
             auth-zone:\nname: \"zone.test.\"\nzonefile: \"zone.test\"\n\
             for-downstream: no\nfor-upstream: yes\n\
             remote-control:\ncontrol-enable: no\n",
            directory.path().display(),
            address.port(),
        );
        std::fs::write(&file, text).expect("there is room for files");
        // It stands in /usr/sbin, which is not on everybody's PATH.
        let start = |program| {
            let mut command = Command::new(program);
            command.arg("-c").arg(&file).stderr(Stdio::null());
            command.spawn().ok()
        };
        let child = start("unbound").or_else(|| start("/usr/sbin/unbound"))?;
        Some(Unbound {
            child,
            address,
            _directory: directory,
        })
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
