//! Visitors that stay with a backend by a cookie.

use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Peer, answer_each, field, ok, status};
use crate::support::plane::Plane;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef\n";

/// So many requests say whether a visitor stays: by chance it would, of three backends, once in
/// half a million times.
const REQUESTS: usize = 12;

/// A backend that answers with `name`, and to `/up` as `is_up` says.
fn named(name: &'static str, is_up: &Arc<AtomicBool>) -> SocketAddr {
    let is_up = Arc::clone(is_up);
    Backend::new().serve(move |peer| {
        let is_up = Arc::clone(&is_up);
        answer_each(peer, move |head| {
            if head.starts_with("GET /up ") && !is_up.load(Ordering::Relaxed) {
                return b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec();
            }
            ok(name.as_bytes())
        });
    })
}

fn three() -> [SocketAddr; 3] {
    let is_up = Arc::new(AtomicBool::new(true));
    ["one", "two", "three"].map(|name| named(name, &is_up))
}

fn sticky(backends: impl IntoIterator<Item = SocketAddr>, more_of_pool: &str) -> Declared {
    let sticky = "sticky = { cookie = \"MSRV\", lifetime = \"1h\" }";
    Declared {
        workers: 2,
        // By lot: in turn, a visitor might come round to the same backend.
        site_keys: format!("pool = {{ algorithm = \"random\", {sticky}{more_of_pool} }}\n"),
        ..Declared::with_backends(backends)
    }
}

/// What a request with these cookies gets: the name of its backend, and the cookie set, whole.
fn ask(client: &mut Peer, cookies: &str) -> (String, Option<String>) {
    let cookies = match cookies {
        "" => String::new(),
        cookies => format!("Cookie: {cookies}\r\n"),
    };
    client.send(format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{cookies}\r\n").as_bytes());
    let (head, body) = client.receive_response();
    assert_eq!(status(&head), 200, "{head}");
    let name = String::from_utf8(body).expect("names are text");
    (name, field(&head, "Set-Cookie").map(str::to_owned))
}

/// The pair that a browser sends back.
fn pair(set: &str) -> String {
    let mut parts = set.split("; ");
    let pair = parts.next().expect("a split has a part").to_owned();
    let rest: Vec<&str> = parts.collect();
    assert_eq!(rest, ["Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=3600"]);
    let value = pair.strip_prefix("MSRV=").expect("it has the pool's name");
    assert_eq!(value.len(), 32, "{value}");
    pair
}

/// A new visitor: its backend, and what its browser sends from then on.
fn arrive(plane: &Plane) -> (String, String) {
    let mut client = Peer::connect(plane.address());
    let (name, set) = ask(&mut client, "");
    (name, pair(&set.expect("a new visitor gets a cookie")))
}

/// Asserts that a visitor with this cookie is with `name`, whichever worker it comes to.
#[track_caller]
fn assert_stays(plane: &Plane, cookie: &str, name: &str) {
    for _ in 0..REQUESTS {
        let mut client = Peer::connect(plane.address());
        let cookies = format!("a=b; {cookie}; c=d");
        assert_eq!(ask(&mut client, &cookies), (name.to_owned(), None));
    }
}

#[test]
fn a_visitor_stays_through_changes_restarts_and_other_hosts() {
    let backends = three();
    let declared = sticky(backends, "");
    let mut plane = Plane::start_with_secret(&declared, SECRET);
    let (name, cookie) = arrive(&plane);
    assert_stays(&plane, &cookie, &name);
    assert_eq!(plane.workers("sticky_kept"), REQUESTS as u64);
    assert_eq!(plane.workers("sticky_set"), 1);
    assert_eq!(plane.hits("sticky_unknown"), 0);
    let address = backends.map(|it| it.port().to_string());
    assert!(!address.iter().any(|port| cookie.ends_with(port.as_str())));

    // Another weight, algorithm and lifetime: the same backend.
    plane.reload(&Declared {
        backend_keys: vec!["weight = 7".to_owned()],
        site_keys: "pool = { sticky = { cookie = \"MSRV\" } }\n".to_owned(),
        ..declared.clone()
    });
    assert_stays(&plane, &cookie, &name);
    plane.reload(&declared);
    plane.restart();
    assert_stays(&plane, &cookie, &name);

    // On another host the site has another id.
    let elsewhere = Declared {
        workers: 1,
        more: "[[site]]\ntenant = \"acme\"\nname = \"another\"\nhostnames = [\"another.test\"]\n"
            .to_owned(),
        ..declared.clone()
    };
    let other = Plane::start_with_secret(&elsewhere, SECRET);
    assert_stays(&other, &cookie, &name);
    let (name, cookie) = arrive(&other);
    assert_stays(&plane, &cookie, &name);
    other.signal("KILL");
    assert_stays(&plane, &cookie, &name);

    // Under another secret it says nothing.
    let foreign = Plane::start_with_secret(&declared, &SECRET.replace('0', "f"));
    let mut client = Peer::connect(foreign.address());
    assert!(ask(&mut client, &cookie).1.is_some());
    assert_eq!(foreign.hits("sticky_unknown"), 1);
}

#[test]
fn cookies_that_are_not_ours_are_ignored() {
    let declared = sticky(three(), "");
    let other_pool = sticky(three(), "");
    let plane = Plane::start_with_secret(&declared, SECRET);
    let foreign = Plane::start_with_secret(&other_pool, SECRET);
    let (_, good) = arrive(&plane);
    let (_, of_other_backend) = arrive(&foreign);
    let changed: String = good
        .char_indices()
        .map(|(at, it)| match (at, it) {
            (20, '0') => '1',
            (20, _) => '0',
            (_, it) => it,
        })
        .collect();
    let lies = [
        "MSRV=",
        "MSRV=127.0.0.1:80",
        "MSRV=b1",
        &good[..good.len() - 1],
        &format!("{good}0"),
        &good.to_ascii_uppercase(),
        &changed,
        &of_other_backend,
    ];
    let mut client = Peer::connect(plane.address());
    for (before, lie) in lies.iter().enumerate() {
        assert_eq!(plane.hits("sticky_unknown"), before as u64);
        let (name, set) = ask(&mut client, lie);
        let new = pair(&set.unwrap_or_else(|| panic!("{lie} was believed")));
        assert_stays(&plane, &new, &name);
        // The good one among them is found, whatever stands before it.
        let (_, set) = ask(&mut client, &format!("{lie}; {good}"));
        assert_eq!(set, None);
    }
    assert_eq!(plane.hits("sticky_unknown"), lies.len() as u64);
    // Somebody else's cookies are none of ours, and a backend gets all of them.
    let (_, set) = ask(&mut client, "msrv=1; XMSRV=2; other=3");
    assert!(set.is_some());
    assert_eq!(plane.hits("sticky_unknown"), lies.len() as u64);
}

#[test]
fn a_visitor_stays_with_a_draining_backend_and_leaves_one_that_is_down() {
    let is_up = ["one", "two"].map(|_| Arc::new(AtomicBool::new(true)));
    let backends = [named("one", &is_up[0]), named("two", &is_up[1])];
    let health =
        ", health = { kind = \"http\", path = \"/up\", interval = \"1s\", rise = 1, fall = 1 }";
    let mut plane = Plane::start_with_secret(&sticky(backends, health), SECRET);
    let state = |plane: &Plane, place: usize, expected: &str| {
        eventually(20, || {
            plane.status()["backends"][place]["state"] == expected
        })
    };
    assert!(state(&plane, 0, "up") && state(&plane, 1, "up"));
    let (name, cookie) = arrive(&plane);
    let (place, other) = match name.as_str() {
        "one" => (0, "two"),
        _ => (1, "one"),
    };
    let backend = format!("acme/shop/default/b{}", place + 1);
    let drain = json!({ "op": "drain", "backend": backend });
    plane.ask(&drain.to_string()).expect("it answers");
    assert_stays(&plane, &cookie, &name);
    for _ in 0..REQUESTS {
        assert_eq!(arrive(&plane).0, other);
    }

    is_up[place].store(false, Ordering::Relaxed);
    assert!(state(&plane, place, "down"));
    let mut client = Peer::connect(plane.address());
    let (went_to, set) = ask(&mut client, &cookie);
    assert_eq!(went_to, other);
    let moved = pair(&set.expect("it is to remember its new backend"));
    // It stays there, though the old one is back.
    is_up[place].store(true, Ordering::Relaxed);
    assert!(state(&plane, place, "draining"));
    let ready = json!({ "op": "ready", "backend": backend });
    plane.ask(&ready.to_string()).expect("it answers");
    assert_stays(&plane, &moved, other);
    // One that is gone is as one that never was.
    plane.reload(&sticky([backends[1 - place]], health));
    let mut client = Peer::connect(plane.address());
    let (went_to, set) = ask(&mut client, &cookie);
    assert_eq!(went_to, other);
    assert!(set.is_some());
}
