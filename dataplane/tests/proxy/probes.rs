//! Probes by other hosts (DESIGN §7): who is answered, with what, and that it is nobody's traffic.

use crate::health::{Server, becomes, checked};
use crate::support::eventually;
use crate::support::manifest::Declared;
use crate::support::peer::{Peer, answer_each, field, ok, status};
use crate::support::plane::{Plane, number};
use meridian_model::name::Name;
use meridian_model::probe::{
    Answer, FIELD, Known, Nonce, PATH, Period, ProbeKeys, Question, Report,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn keys() -> ProbeKeys {
    ProbeKeys::of_secret(SECRET.as_bytes())
}

fn question(to: &str, period: Period, known: Known) -> Question {
    Question {
        from: Name::parse("nyc-1").expect("a name"),
        to: Name::parse(to).expect("a name"),
        nonce: Nonce([9; 16]),
        period,
        known,
    }
}

/// Head and body of what a request with this field is answered.
fn asked(plane: &Plane, field: &str) -> (String, Vec<u8>) {
    let mut peer = Peer::connect(plane.address());
    let request = format!(
        "GET {PATH} HTTP/1.1\r\nHost: 192.0.2.1\r\n{FIELD}: {field}\r\nConnection: close\r\n\r\n"
    );
    peer.send(request.as_bytes());
    peer.receive_response()
}

fn probe(plane: &Plane, period: Period, known: Known) -> Answer {
    let question = question("ams-1", period, known);
    let (head, body) = asked(plane, &question.field(&keys()));
    assert_eq!(status(&head), 200, "{head}");
    let signed = field(&head, FIELD).expect("it is signed");
    assert!(keys().is_answer(question.nonce, signed.as_bytes(), &body));
    assert_eq!(field(&head, "Cache-Control"), Some("no-store"));
    Answer::read(&body).expect("it is an answer")
}

/// What a host says that asked before.
fn report(plane: &Plane, known: Known) -> Report {
    let first = probe(plane, Period::default(), known);
    assert_eq!(first.report, None, "who is not known to ask now");
    let answer = probe(plane, first.period(), known);
    answer.report.expect("it is known to ask now")
}

#[test]
fn a_host_of_the_fleet_is_answered_and_nothing_is_counted() {
    let plane = Plane::start_with_secret(&Declared::default(), SECRET);
    let said = report(&plane, Known::default());
    assert_eq!((said.revision, said.draining, said.view), (1, false, None));
    assert_eq!((&said.sites.lost, said.sites.from), (&vec![], 0));
    // An answer that is played again is to another nonce; a question can be, for as long as its period.
    let old = Period {
        incarnation: 1,
        number: 0,
    };
    assert_eq!(probe(&plane, old, Known::default()).report, None);
    let status = plane.status();
    assert_eq!(status["probes"], 3);
    assert_eq!(
        (plane.hits("probe_old"), plane.hits("probe_forged")),
        (2, 0)
    );
    assert_eq!(plane.workers("requests"), 0);
    assert_eq!(plane.hits("no_site"), 0);
    let usage = plane.ask(r#"{"op":"usage"}"#).expect("it answers");
    assert!(
        usage["sites"]
            .as_array()
            .expect("a list")
            .iter()
            .all(|site| {
                let counters = site["counters"].as_array();
                counters.is_none_or(|counters| counters.iter().all(|it| it == 0))
            }),
        "{usage}"
    );
    plane.finish();
}

/// Whoever does not know the secret is told as much as for any host that is not here.
#[test]
fn anybody_else_gets_what_any_request_gets() {
    let plane = Plane::start_with_secret(&Declared::default(), SECRET);
    let other = ProbeKeys::of_secret(b"the secret of some other fleet!!");
    let mine = question("ams-1", Period::default(), Known::default());
    let to_other = question("fra-1", Period::default(), Known::default());
    let long = "1 ".repeat(600);
    for (field, forged, foreign) in [
        (mine.field(&other), 1, 0),
        (mine.field(&keys()) + "0", 2, 0),
        ("1 a b".to_owned(), 3, 0),
        (long, 4, 0),
        (to_other.field(&keys()), 4, 1),
    ] {
        let (head, body) = asked(&plane, &field);
        assert_eq!(status(&head), 404);
        assert_eq!(body, b"404 Not Found\n");
        assert_eq!(plane.hits("probe_forged"), forged);
        assert_eq!(plane.hits("probe_foreign"), foreign);
    }
    // Without the field, and with another method or another path, nobody looks at it.
    let field = mine.field(&keys());
    for request in [
        format!("GET {PATH} HTTP/1.1\r\nHost: h\r\n\r\n"),
        format!("POST {PATH} HTTP/1.1\r\nHost: h\r\n{FIELD}: {field}\r\nContent-Length: 0\r\n\r\n"),
        format!("GET {PATH}/ HTTP/1.1\r\nHost: h\r\n{FIELD}: {field}\r\n\r\n"),
    ] {
        let mut peer = Peer::connect(plane.address());
        peer.send(request.as_bytes());
        assert_eq!(status(&peer.receive_response().0), 404);
    }
    assert_eq!(plane.hits("no_site"), 8);
    assert_eq!(plane.status()["probes"], 0);
    plane.finish();
}

#[test]
fn the_view_of_this_hosts_responder_is_passed_on_with_its_age() {
    let plane = Plane::start_with_secret(&Declared::default(), SECRET);
    let view = r#"{"op":"view","view":{"age_ms":700,"up":["ams-1"],"down":["nyc-1"]}}"#;
    let taken = plane.ask(view).expect("it answers");
    assert_eq!(taken, serde_json::json!({}));
    let said = report(&plane, Known::default());
    let view = said.view.expect("it was handed over");
    assert!((700..60_000).contains(&view.age_ms), "{view:?}");
    assert_eq!(
        (view.up[0].as_str(), view.down[0].as_str()),
        ("ams-1", "nyc-1")
    );
    let wrong = plane.ask(r#"{"op":"view","view":{"up":["No Name"]}}"#);
    assert!(wrong.expect("it answers")["error"].is_string());
    let kept = report(&plane, Known::default())
        .view
        .expect("the last right one");
    assert_eq!(kept.down.len(), 1);
    plane.finish();
}

/// The last backend goes and comes back: others are told once of each, as changes.
#[test]
fn sites_that_can_not_be_served_are_told_as_changes() {
    let mut server = Server::start(|peer| answer_each(peer, |_| ok(b"1")));
    let health = "{ interval = \"100ms\", timeout = \"100ms\", rise = 1, fall = 1 }";
    let plane = Plane::start_with_secret(&checked(&[server.address()], health), SECRET);
    becomes(&plane, 0, "up");
    let sites = report(&plane, Known::default()).sites;
    assert_eq!((sites.lost.len(), sites.newest), (0, 0));
    server.kill();
    becomes(&plane, 0, "down");
    let lost = report(&plane, Known::default()).sites;
    assert_eq!(
        (lost.lost, lost.back.len()),
        (vec!["acme/shop".to_owned()], 0)
    );
    assert_eq!(number(&plane.status(), "sites_lost"), 1);
    let known = Known {
        list: lost.list,
        sequence: lost.to,
    };
    let nothing = report(&plane, known).sites;
    assert_eq!(
        (nothing.lost.len(), nothing.back.len(), nothing.from),
        (0, 0, known.sequence)
    );
    server.start_again(|peer| answer_each(peer, |_| ok(b"1")));
    becomes(&plane, 0, "up");
    let back = report(&plane, known).sites;
    assert_eq!(
        (back.lost.len(), back.back),
        (0, vec!["acme/shop".to_owned()])
    );
    // Who begins anew knows of none.
    let anew = report(&plane, Known::default()).sites;
    assert_eq!((anew.lost.len(), anew.back.len()), (0, 0));
    // A backend that is drained serves nobody new either.
    for (op, lost) in [("drain", 1), ("ready", 0)] {
        let line = format!("{{\"op\":\"{op}\",\"backend\":\"acme/shop/default/b1\"}}");
        plane.ask(&line).expect("it answers");
        assert_eq!(number(&plane.status(), "sites_lost"), lost);
    }
    plane.finish();
}

/// One that ended is another one: what was known of it is not taken for known.
#[test]
fn a_plane_that_starts_again_has_another_incarnation() {
    let mut plane = Plane::start_with_secret(&Declared::default(), SECRET);
    let before = probe(&plane, Period::default(), Known::default());
    plane.restart();
    let after = probe(&plane, before.period(), Known::default());
    assert_eq!(after.report, None);
    assert_ne!(after.incarnation, before.incarnation);
    assert!(eventually(20, || plane.hits("probe_old") == 1));
    plane.finish();
}
