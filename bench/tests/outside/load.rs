//! The generator against a backend whose delay is known.

use crate::house::{alone, backend, run_badly, run_well};
use serde_json::Value;

fn load(arguments: &[&str]) -> Value {
    let all = [&["load", "--json"], arguments].concat();
    serde_json::from_str(&run_well(&all)).expect("a line of JSON")
}

fn number(report: &Value, pointer: &str) -> f64 {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{pointer} in {report}"))
}

#[test]
fn an_open_loop_sees_the_delay_and_keeps_its_rate() {
    let _alone = alone();
    let backend = backend("20ms");
    let report = load(&[
        "--url",
        &backend.url("/b/100"),
        "--rate",
        "200",
        "--connections",
        "32",
        "--seconds",
        "1",
    ]);
    assert_eq!(number(&report, "/requests_due"), 200.0);
    assert_eq!(number(&report, "/responses"), 200.0);
    assert_eq!(number(&report, "/body_bytes"), 20_000.0);
    for pointer in ["/not_2xx", "/broken", "/unanswered"] {
        assert_eq!(number(&report, pointer), 0.0, "{pointer}");
    }
    let (p50, p99, max) = (
        number(&report, "/latency_us/p50"),
        number(&report, "/latency_us/p99"),
        number(&report, "/latency_us/max"),
    );
    // The lower bound is exact but for the 1 % of a bucket; the upper leaves room for a busy machine.
    assert!((19_800.0..40_000.0).contains(&p50), "p50 {p50} us");
    assert!(p50 <= p99 && p99 <= max, "{report}");
}

#[test]
fn waiting_for_a_free_connection_counts_as_latency() {
    let _alone = alone();
    let backend = backend("50ms");
    // One connection serves 20 a second where 100 are due: the queue grows by 80 a second, and
    // whoever counts from the moment of sending would still report 50 ms.
    let report = load(&[
        "--url",
        &backend.url("/"),
        "--rate",
        "100",
        "--connections",
        "1",
        "--seconds",
        "1",
    ]);
    assert_eq!(number(&report, "/requests_due"), 100.0);
    assert!(number(&report, "/latency_us/p50") > 300_000.0, "{report}");
    assert!(number(&report, "/send_lag_us/p50") > 250_000.0, "{report}");
    let (responses, unanswered) = (
        number(&report, "/responses"),
        number(&report, "/unanswered"),
    );
    assert!(
        unanswered > 0.0,
        "two seconds of drain are too short for the rest: {report}"
    );
    assert_eq!(responses + unanswered, 100.0, "{report}");
}

#[test]
fn a_closed_loop_is_paced_by_its_answers() {
    let _alone = alone();
    let backend = backend("20ms");
    let report = load(&[
        "--url",
        &backend.url("/b/10"),
        "--connections",
        "4",
        "--seconds",
        "1",
    ]);
    let responses = number(&report, "/responses");
    assert!(
        (60.0..=200.0).contains(&responses),
        "4 connections of 50 a second: {responses}"
    );
    assert!(number(&report, "/latency_us/p50") >= 19_800.0, "{report}");
    assert_eq!(report["mode"], "closed");
}

#[test]
fn warm_up_is_not_counted() {
    let _alone = alone();
    let backend = backend("0ms");
    let report = load(&[
        "--url",
        &backend.url("/"),
        "--rate",
        "500",
        "--warm-up",
        "500ms",
        "--seconds",
        "1",
    ]);
    assert_eq!(number(&report, "/requests_due"), 500.0);
    assert_eq!(number(&report, "/responses"), 500.0);
}

#[test]
fn large_bodies_arrive_whole() {
    let _alone = alone();
    let backend = backend("0ms");
    let report = load(&[
        "--url",
        &backend.url("/b/1048576"),
        "--connections",
        "4",
        "--rate",
        "20",
        "--seconds",
        "1",
    ]);
    assert_eq!(number(&report, "/body_bytes"), 20.0 * 1_048_576.0);
}

#[test]
fn a_body_that_drips_takes_as_long_as_was_asked() {
    let _alone = alone();
    let backend = backend("0ms");
    let report = load(&[
        "--url",
        &backend.url("/drip/300"),
        "--rate",
        "20",
        "--seconds",
        "1",
    ]);
    assert_eq!(number(&report, "/responses"), 20.0, "{report}");
    assert_eq!(number(&report, "/body_bytes"), 20.0 * 6.0, "50 ms a byte");
    assert!(number(&report, "/latency_us/p50") >= 297_000.0, "{report}");
    for pointer in ["/broken", "/unanswered", "/refused"] {
        assert_eq!(number(&report, pointer), 0.0, "{pointer}");
    }
}

#[test]
fn wrong_input_is_refused_in_words() {
    let _alone = alone();
    for (arguments, code, words) in [
        (&["load", "--url", "ftp://127.0.0.1/"][..], 2, "http://"),
        (
            &["load", "--url", "http://127.0.0.1:1/", "--connections", "0"],
            2,
            "connections",
        ),
        (
            &["load", "--url", "http://127.0.0.1:1/", "--rate", "0"],
            1,
            "--rate 0",
        ),
        (
            &["load", "--url", "http://127.0.0.1:1/", "--seconds", "1"],
            1,
            "127.0.0.1:1",
        ),
        (&["backend", "--delay", "20"], 2, "20ms"),
    ] {
        let errors = run_badly(arguments, code);
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}

#[test]
fn a_server_that_does_not_speak_http_is_named() {
    let _alone = alone();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).unwrap() > 0);
        stream.write_all(b"220 mail.example.com\r\n\r\n").unwrap();
        // Held open until the generator has given up.
        let _ = stream.read(&mut request);
    });
    let url = format!("http://{address}/");
    let errors = run_badly(
        &[
            "load",
            "--url",
            &url,
            "--connections",
            "1",
            "--seconds",
            "1",
        ],
        1,
    );
    assert!(errors.contains("did not answer HTTP/1.x"), "{errors}");
    server.join().unwrap();
}
