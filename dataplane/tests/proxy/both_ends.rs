//! Requests that have one of their two connections so far: what they count as, and that who was let in
//! gets the other.

use crate::crowding::{GET, GET_QUIET, OPEN_FILES, SOCKETS, ask, beside_quiet, quiet_is_served};
use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Backend, Backlog, Peer, answer_each, ok, status};
use crate::support::plane::Plane;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Requests of one tenant alone, by what there is.
const SHARE: u64 = SOCKETS * 3 / 4 / 2;

fn quiet_clients(plane: &Plane, count: usize) -> Vec<Peer> {
    (0..count).map(|_| Peer::connect(plane.address())).collect()
}

/// Clients that ask, some at a time: until it was looked at a request is nobody's. `seen` says how many
/// were.
fn asking(plane: &Plane, count: u64, seen: impl Fn() -> u64) -> Vec<Peer> {
    let ask = |number| {
        let mut client = Peer::connect(plane.address());
        client.send(GET);
        let is_over = number % 20 == 0 || number == count;
        assert!(!is_over || eventually(20, || seen() == number), "{number}");
        client
    };
    (1..=count).map(ask).collect()
}

/// They have one connection, and are to have two. However many they are, new clients of others find
/// room, and have the time to say what they came for.
#[test]
fn requests_in_line_leave_room_for_others() {
    let backend = Backend::new().serve(|mut peer| {
        peer.receive_all(Duration::from_secs(60));
    });
    let declared = Declared {
        site_keys: "pool = { queue = { requests = 100000, timeout = \"1h\" } }\n".to_owned(),
        backend_keys: vec!["connections = 1".to_owned()],
        ..beside_quiet([backend])
    };
    let plane = Plane::start_with_open_files(
        &declared.timeouts("{ first_byte = \"60s\", drain = \"1s\" }"),
        OPEN_FILES,
    );
    let line = asking(&plane, 230, || {
        1 + plane.workers("waiting") + plane.hits("limit_share")
    });
    let waiting = plane.workers("waiting");
    assert!((SHARE - 5..=SHARE + 5).contains(&waiting), "{waiting} wait");
    let mut quiet = quiet_clients(&plane, 40);
    for client in &mut quiet {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    quiet_is_served(&plane);
    assert_eq!(plane.hits("client_connections"), 0);
    assert_eq!(plane.hits("clients_turned_away"), 0);
    drop((line, quiet));
    plane.stop();
}

/// A backend that answers nobody before it is told to.
fn closed_gate() -> (Arc<(Mutex<bool>, Condvar)>, std::net::SocketAddr) {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let shut = Arc::clone(&gate);
    let backend = Backend::new().serve(move |peer| {
        let gate = Arc::clone(&shut);
        answer_each(peer, move |_| {
            let (open, opened) = &*gate;
            let open = open.lock().expect("nobody panicked");
            drop(opened.wait_while(open, |open| !*open));
            ok(b"ok")
        });
    });
    (gate, backend)
}

/// Who comes last is refused, and nobody who was let in.
#[test]
fn all_of_a_burst_that_are_let_in_are_served() {
    const BURST: usize = 160;
    let (gate, backend) = closed_gate();
    let declared = beside_quiet([backend]).timeouts("{ first_byte = \"60s\", drain = \"1s\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut burst: Vec<Peer> = quiet_clients(&plane, BURST);
    assert!(eventually(10, || plane.workers("connections") == BURST as u64));
    plane.signal("STOP");
    for client in &mut burst {
        client.send(GET);
    }
    plane.signal("CONT");
    assert!(eventually(20, || {
        plane.backend(0, "in_flight") + plane.hits("limit_share") == BURST as u64
    }));
    let refused = plane.hits("limit_share");
    let (open, opened) = &*gate;
    *open.lock().expect("nobody panicked") = true;
    opened.notify_all();
    let statuses = burst.iter_mut().map(|it| status(&it.receive_response().0));
    let served = statuses.filter(|&status| status == 200).count() as u64;
    assert_eq!(served, BURST as u64 - refused);
    // Those that came and were not looked at take room as well.
    assert!(served >= SHARE * 3 / 5, "{served} were served");
    assert_eq!(plane.hits("out_of_resources"), 0);
    assert_eq!(plane.backend(0, "failures"), 0);
    drop(burst);
    plane.stop();
}

/// What is on its way to a backend is the tenant's whose backend it is.
#[test]
fn connects_under_way_leave_room_for_others() {
    let nobody = Backlog::full();
    let declared = beside_quiet([nobody.address]).timeouts("{ connect = \"60s\", drain = \"1s\" }");
    let plane = Plane::start_with_open_files(&declared, OPEN_FILES);
    let mut idle = quiet_clients(&plane, 60);
    for client in &mut idle {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    let connecting = asking(&plane, 150, || {
        plane.backend(0, "in_flight") + plane.hits("limit_share")
    });
    let under_way = plane.backend(0, "in_flight");
    assert!((SHARE - 5..=SHARE + 5).contains(&under_way), "{under_way}");
    // The idle ones are there to give way.
    let mut newcomers = quiet_clients(&plane, 30);
    for client in &mut newcomers {
        assert_eq!(ask(client, GET_QUIET), 200);
    }
    assert_eq!(plane.hits("clients_turned_away"), 0);
    drop((idle, connecting, newcomers));
    plane.stop();
}
