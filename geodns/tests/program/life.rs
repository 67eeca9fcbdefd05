//! Its start, its revisions and its end.

use crate::query::*;
use crate::responder::*;
use std::io::Write;

fn rcode(response: &[u8]) -> u8 {
    response[3] & 0xf
}

#[test]
fn it_says_how_it_goes() {
    let responder = Responder::start(&Declared {
        workers: 2,
        ..Declared::default()
    });
    let status = responder.status();
    assert_eq!(status["program"], "geodns");
    assert_eq!(status["protocol"], 1);
    assert_eq!(status["pid"], responder.pid());
    assert_eq!(
        (&status["ready"], &status["draining"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&status["revision"], &status["generation"]),
        (&1.into(), &1.into())
    );
    assert_eq!(status["listen"][0], responder.address().to_string());
    assert_eq!(status["zones"][0]["zone"], "lb.example.net.");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2));
    let brief = responder.ask(r#"{"op":"status","brief":true}"#);
    assert!(brief.get("zones").is_none() && brief["ready"] == true);
    assert!(responder.ask(r#"{"op":"dance"}"#)["error"].is_string());
    assert!(responder.ask("dance")["error"].is_string());
}

#[test]
fn changes_are_taken_up_when_they_are_announced() {
    let mut responder = Responder::start(&Declared {
        workers: 2,
        ..Declared::default()
    });
    let new = plain("new.acme.lb.example.net", 1);
    assert_eq!(rcode(&responder.udp(&new)), 3);
    // A site more: compiled on top.
    let with_site = Declared {
        more: "[[site]]\ntenant = \"acme\"\nname = \"new\"\nhostnames = [\"new.example.com\"]\n\
               [[site.backend]]\naddress = \"203.0.113.14:80\"\n"
            .to_owned(),
        ..Declared::default()
    };
    let answer = responder.change(&with_site);
    assert_eq!(
        answer,
        serde_json::json!({ "revision": 2, "generation": 1 })
    );
    for _ in 0..20 {
        assert_eq!(rcode(&responder.udp(&new)), 0);
    }
    // A record more: compiled anew. And a serial that grows.
    let mut with_record = Declared::with_records(&[("t", "TXT", "\"hello\"")]);
    with_record.more = with_site.more;
    assert_eq!(responder.change(&with_record)["revision"], 3);
    assert_eq!(rcode(&responder.udp(&plain("t.lb.example.net", 16))), 0);
    assert_eq!(rcode(&responder.udp(&new)), 0);
    assert_eq!(responder.status()["zones"][0]["serial"], 3);
    // Another generation.
    assert_eq!(
        responder.next_generation(&Declared::default())["revision"],
        4
    );
    assert_eq!(rcode(&responder.udp(&new)), 3);
    assert_eq!(responder.change(&with_record)["revision"], 5);
    assert_eq!(rcode(&responder.udp(&new)), 0);
    assert_eq!(responder.revision(), 5);
}

#[test]
fn the_last_good_revision_stays_when_the_log_is_damaged() {
    let mut responder = Responder::with_records(&[("t", "TXT", "\"hello\"")]);
    responder.append(b"00000000 {\"change\":\n");
    let answer = responder.announce();
    assert_eq!(answer["revision"], 1);
    assert!(
        answer["error"]
            .as_str()
            .is_some_and(|it| it.contains("journal.1")),
        "{answer}"
    );
    assert_eq!(rcode(&responder.udp(&plain("t.lb.example.net", 16))), 0);
    assert!(responder.status()["config_fault"].is_string());
    // A newer generation heals it.
    let answer = responder.next_generation(&Declared::default());
    assert_eq!(
        (&answer["revision"], answer.get("error")),
        (&2.into(), None)
    );
    assert_eq!(rcode(&responder.udp(&plain("t.lb.example.net", 16))), 3);
    assert!(responder.status()["config_fault"].is_null());
}

#[test]
fn a_stop_ends_what_is_under_way_first() {
    let mut responder = Responder::start(&Declared {
        workers: 2,
        ..Declared::default()
    });
    let mut silent = responder.connect();
    let mut midway = responder.connect();
    let query = framed(&plain(SHOP, 1));
    midway.write_all(&query[..10]).expect("it reads");
    assert!(eventually(|| {
        let status = responder.status();
        let workers = status["workers"].as_array().expect("a list");
        workers
            .iter()
            .filter_map(|it| it["connections"].as_u64())
            .sum::<u64>()
            == 2
    }));
    responder.signal("TERM");
    // Nobody says anything on it any more.
    assert!(read_framed(&mut silent).is_none());
    midway.write_all(&query[10..]).expect("it reads");
    assert!(read_framed(&mut midway).is_some_and(|it| rcode(&it) == 0));
    assert!(responder.wait().success());
    assert!(!responder.state().join("run/geodns.sock").exists());
    responder.spawn();
    assert_eq!(rcode(&responder.udp(&plain(SHOP, 1))), 0);
}

#[test]
fn one_that_does_not_end_its_message_keeps_nobody() {
    let mut responder = Responder::with_records(&[]);
    let mut midway = responder.connect();
    midway.write_all(&[0]).expect("it reads");
    assert!(eventually(
        || responder.status()["workers"][0]["connections"] == 1
    ));
    responder.signal("TERM");
    assert!(responder.wait().success());
}

#[test]
fn a_second_one_on_the_same_state_leaves() {
    let responder = Responder::with_records(&[]);
    let mut second = responder.command();
    let output = second.stderr(std::process::Stdio::piped()).output();
    let output = output.expect("the program is there");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&format!("held by pid {}", responder.pid())),
        "{said}"
    );
    assert_eq!(rcode(&responder.udp(&plain(SHOP, 1))), 0);
}

#[test]
fn without_an_address_it_says_what_is_missing() {
    let mut responder = Responder::with_records(&[]);
    responder.signal("KILL");
    responder.wait();
    let path = responder.state().join("config/local");
    let nothing = "[host]\nname = \"ams-1\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n";
    let (local, _) = meridian_model::Manifest::parse(nothing, "test.toml")
        .expect("it is right")
        .into_parts();
    std::fs::write(path, meridian_model::config_log::encode_local(&local)).expect("it is written");
    let mut command = responder.command();
    let output = command.stderr(std::process::Stdio::piped()).output();
    let output = output.expect("the program is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("listen.dns"),
        "{said}"
    );
}

/// Cookies of a fleet are those of its secret: they outlive a restart.
#[test]
fn cookies_outlive_a_restart() {
    let mut responder = Responder::with_records(&[]);
    let given = responder.udp(&with_options(SHOP, 1, &[(10, b"01234567")]));
    let cookie = given[given.len() - 24..].to_vec();
    responder.signal("TERM");
    assert!(responder.wait().success());
    responder.spawn();
    let alone = [header([0, 0, 0, 1]), opt(&[(10, &cookie)])].concat();
    assert_eq!(rcode(&responder.udp(&alone)), 0);
    let mut wrong = cookie;
    wrong[23] ^= 1;
    let alone = [header([0, 0, 0, 1]), opt(&[(10, &wrong)])].concat();
    // BADCOOKIE is 23: 7 in the header, 1 in OPT (RFC 6891 §6.1.3).
    assert_eq!(rcode(&responder.udp(&alone)), 7);
}
