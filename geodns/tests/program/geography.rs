//! The geographic database of a running responder: taken up without a restart, and kept when what
//! follows is of no use.

use crate::query::*;
use crate::responder::*;
use crate::seen::read;
use crate::writer;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const AMSTERDAM: (f64, f64) = (52.4, 4.9);
const NEW_YORK: (f64, f64) = (40.7, -74.0);

/// A database of two networks.
fn database(of_80: (f64, f64), of_81: (f64, f64)) -> Vec<u8> {
    let record = |network: &str, (latitude, longitude): (f64, f64)| {
        let network: IpNet = network.parse().expect("a network");
        (
            network,
            json!({"latitude": latitude, "longitude": longitude}),
        )
    };
    writer::write(
        4,
        &[record("80.0.0.0/8", of_80), record("81.0.0.0/8", of_81)],
    )
}

/// As whoever has a newer one does: beside it, then in its place.
fn replace(path: &Path, content: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, content).expect("the directory takes files");
    fs::rename(beside, path).expect("it is on the same file system");
}

fn declared(path: &Path, more: &str) -> Declared {
    Declared {
        more: format!("[geo]\ndatabase = {path:?}\n{more}"),
        ..Declared::default()
    }
}

/// The address for visitors of 80.0.0.0/24 or so, and the scope that it holds for.
fn answer(responder: &Responder, first: u8) -> (String, u8) {
    let subnet = [0, 1, 24, 0, first, 0, 0];
    let seen = read(responder.udp(&with_options(SHOP, A, &[(SUBNET, &subnet)])));
    let options = seen.options.expect("the query has some");
    let (_, option) = options.iter().find(|it| it.0 == SUBNET).expect("its own");
    let [record] = &seen.answer[..] else {
        panic!("one address: {:?}", seen.answer);
    };
    let address = record.rsplit(' ').next().expect("an address");
    (address.to_owned(), option[3])
}

fn await_that(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const OF_AMS: &str = "192.0.2.1";
const OF_NYC: &str = "198.51.100.1";

#[test]
fn another_file_is_taken_up_while_it_runs_and_a_damaged_one_is_not() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    let responder = Responder::start(&declared(&path, ""));
    assert_eq!(answer(&responder, 80), (OF_AMS.to_owned(), 8));
    assert_eq!(answer(&responder, 81), (OF_NYC.to_owned(), 8));
    let geography = |responder: &Responder| responder.status()["geography"].clone();
    let told = geography(&responder);
    assert_eq!(told["database"], json!([path]));
    assert_eq!(
        (&told["fault"], &told["rankings"]),
        (&Value::Null, &json!(3))
    );

    replace(&path, &database(NEW_YORK, AMSTERDAM));
    await_that("the new file is taken up", || {
        answer(&responder, 80).0 == OF_NYC
    });
    assert_eq!(answer(&responder, 81), (OF_AMS.to_owned(), 8));

    let whole = database(AMSTERDAM, AMSTERDAM);
    for damaged in [&whole[..whole.len() / 2], b"", b"no database"] {
        replace(&path, damaged);
        await_that("the damaged file is told of", || {
            geography(&responder)["fault"].is_string()
        });
        let fault = geography(&responder)["fault"].to_string();
        assert!(
            fault.contains("city.mmdb") && fault.contains("no sound database"),
            "{fault}"
        );
        assert_eq!(answer(&responder, 80).0, OF_NYC);
    }
    fs::remove_file(&path).expect("it was there");
    await_that("that it is gone is told", || {
        geography(&responder)["fault"]
            .to_string()
            .contains("No such file")
    });
    assert_eq!(answer(&responder, 80).0, OF_NYC);

    replace(&path, &whole);
    await_that("a sound one heals it", || {
        answer(&responder, 80).0 == OF_AMS
    });
    assert_eq!(geography(&responder)["fault"], Value::Null);
    assert_eq!(answer(&responder, 81), (OF_AMS.to_owned(), 7));
}

#[test]
fn a_change_of_groups_comes_with_a_table_of_its_own() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    let mut responder = Responder::start(&declared(&path, ""));
    assert_eq!(answer(&responder, 80).0, OF_AMS);
    // A group comes before the others, which then have other places; it is the closest to 80/8.
    let more = "[[group]]\nname = \"aaa\"\nlocation = { lat = 52.4, lon = 4.8 }\nbias_km = -50\n\
                [[peer]]\nname = \"aaa-1\"\ngroup = \"aaa\"\naddresses = [\"203.0.113.200\"]\n";
    // What is damaged since stays out of it.
    replace(&path, b"no database");
    let changed = responder.change(&declared(&path, more));
    assert_eq!(changed, json!({ "revision": 2, "generation": 1 }));
    assert_eq!(answer(&responder, 80).0, "203.0.113.200");
    assert_eq!(answer(&responder, 81).0, OF_NYC);
}

#[test]
fn without_a_file_of_use_the_database_in_the_program_is_asked() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    let responder = Responder::start(&declared(&path, ""));
    let geography = responder.status()["geography"].clone();
    assert_eq!(geography["database"], "embedded");
    assert!(
        geography["attribution"]
            .as_str()
            .is_some_and(|it| it.contains("DB-IP"))
    );
    let fault = geography["fault"].as_str().expect("there is no file");
    assert!(fault.contains("city.mmdb: No such file"), "{fault}");
    // Of RIPE NCC, in Amsterdam, and of a university of the United States.
    assert_eq!(answer(&responder, 193).0, OF_AMS);
    assert_eq!(answer(&responder, 18).0, OF_NYC);
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    // 81/8 is of RIPE NCC, too.
    await_that("the file is taken up", || {
        answer(&responder, 81).0 == OF_NYC
    });
    assert_eq!(responder.status()["geography"]["database"], json!([path]));
}

/// Nothing is known of most of the address space: all groups answer, for as much of it as is as
/// unknown.
#[test]
fn ecs_of_an_unknown_place() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    let responder = Responder::start(&declared(&path, ""));
    let subnet = [0, 1, 24, 0, 90, 0, 0];
    let seen = read(responder.udp(&with_options(SHOP, A, &[(SUBNET, &subnet)])));
    assert_eq!(seen.answer.len(), 2);
    let options = seen.options.expect("the query has some");
    let (_, option) = options.iter().find(|it| it.0 == SUBNET).expect("its own");
    // 80/7 lies in 80/4, and 90 in 88/5.
    assert_eq!(option[3], 5);
}

#[test]
fn it_explains_what_it_answers() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    let more = "[[geo.overrides]]\nprefix = \"81.2.0.0/16\"\ngroup = \"ams\"\n";
    let responder = Responder::start(&declared(&path, more));
    let explain = |client: &str| {
        let asked = json!({ "op": "explain", "client": client });
        responder.ask(&asked.to_string())
    };
    let leaf = explain("80.1.2.0/24");
    assert_eq!(leaf["matched"], "80.0.0.0/8");
    assert_eq!(leaf["source"], "database");
    assert_eq!(leaf["place"]["basis"], "coordinates");
    assert_eq!(leaf["ranking"][0]["name"], "ams");
    let km = |row: usize| leaf["ranking"][row]["distance_km"].as_f64().expect("known");
    assert!(km(0) < 10.0 && (5_000.0..7_000.0).contains(&km(1)));
    let office = explain("81.2.3.4");
    assert_eq!(office["source"], json!({ "override": "81.2.0.0/16" }));
    assert_eq!(office["ranking"][0]["name"], "ams");
    assert_eq!(explain("90.0.0.0/24")["source"], "none");
    assert_eq!(
        explain("10.0.0.0/24")["source"],
        json!({ "reserved": "10.0.0.0/8" })
    );
    assert!(
        explain("nowhere")["error"]
            .as_str()
            .is_some_and(|it| it.contains("client"))
    );
}

/// With a name: who is well, and what is answered, which is what a resolver gets.
#[test]
fn it_explains_an_answer_to_a_name() {
    let directory = tempfile::tempdir().expect("there is room for files");
    let path = directory.path().join("city.mmdb");
    fs::write(&path, database(AMSTERDAM, NEW_YORK)).expect("it takes files");
    let mut wanted = declared(&path, "");
    let records = [("alias", "CNAME", "www.acme"), ("text", "TXT", "\"x\"")];
    let records = records.map(|(name, rtype, data)| (name.into(), rtype.into(), data.into()));
    wanted.records.extend(records);
    let responder = Responder::start(&wanted);
    let explain = |name: &str, client: &str| {
        let asked = json!({ "op": "explain", "client": client, "name": name });
        responder.ask(&asked.to_string())
    };
    let shop = explain("Shop.acme.lb.example.net", "81.2.3.4/24");
    assert_eq!(shop["client"], "81.2.3.0/24");
    assert_eq!(
        (&shop["site"], &shop["steering"], &shop["zone"]),
        (
            &"acme/shop".into(),
            &"geo".into(),
            &"lb.example.net.".into()
        )
    );
    assert_eq!(
        (&shop["matched"], &shop["ranking"][0]["name"]),
        (&"81.0.0.0/8".into(), &"nyc".into())
    );
    let nyc = &shop["groups"][1];
    assert_eq!(
        (&nyc["name"], &nyc["hosts_up"], &nyc["hosts"][0]["up"]),
        (&"nyc".into(), &1.into(), &true.into())
    );
    let [v4, v6] = [0, 1].map(|at| &shop["answers"][at]);
    assert_eq!(
        (&v4["addresses"], &v4["group"], &v4["scope"], &v4["ttl"]),
        (&json!([OF_NYC]), &"nyc".into(), &8.into(), &40.into())
    );
    // No host of that group has one: the next closest.
    assert_eq!(
        (&v6["addresses"], &v6["group"]),
        (&json!(["2001:db8::1"]), &"ams".into())
    );
    assert_eq!(answer(&responder, 81), (OF_NYC.to_owned(), 8));
    // Steering "all": where the client is changes nothing.
    let www = explain("www.acme.lb.example.net", "81.2.3.0/24");
    assert_eq!(
        (&www["steering"], &www["answers"][0]["scope"]),
        (&"all".into(), &0.into())
    );
    assert_eq!(
        www["answers"][0]["addresses"].as_array().map(Vec::len),
        Some(2)
    );
    let alias = explain("alias.lb.example.net", "81.2.3.0/24");
    assert_eq!(alias["answers"][0]["alias"], "www.acme.lb.example.net.");
    assert_eq!(
        (&alias["site"], &alias["records"]),
        (&Value::Null, &json!(["CNAME"]))
    );
    let text = explain("text.lb.example.net", "81.2.3.0/24");
    assert_eq!(
        (&text["records"], &text["answers"][0]["addresses"]),
        (&json!(["TXT"]), &json!([]))
    );
    for (name, client, why, absent) in [
        (
            "other.acme.lb.example.net",
            "80.0.0.0/8",
            "no name other.acme",
            json!(true),
        ),
        (
            "shop.example.com",
            "80.0.0.0/8",
            "none of the zones: lb.example.net.",
            json!(true),
        ),
        ("a..b", "80.0.0.0/8", "no domain name", json!(false)),
        ("lb.example.net", "80.0.0.0/33", "client", Value::Null),
        ("lb.example.net", "0.0.0.0/0", "client", Value::Null),
    ] {
        let answer = explain(name, client);
        let fault = answer["error"].as_str().unwrap_or_default();
        assert!(fault.contains(why), "{why:?} is not in {answer}");
        assert_eq!(answer["absent"], absent, "{answer}");
    }
}
