//! Each prototype carries bodies both ways, keeps connections, and holds idle ones.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::house::{Served, alone, backend, bare_proxy, run_badly, run_well};
use serde_json::Value;

const ENGINES: [&str; 3] = ["epoll", "glommio", "ring"];

fn ask(stream: &mut TcpStream, request: &[u8], body_bytes: usize) -> Vec<u8> {
    stream.write_all(request).unwrap();
    let mut received = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let head = received
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .map(|at| at + 4);
        if let Some(head) = head
            && received.len() >= head + body_bytes
        {
            assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
            assert_eq!(
                received.len(),
                head + body_bytes,
                "nothing comes behind the body"
            );
            return received.split_off(head);
        }
        let count = stream.read(&mut piece).unwrap();
        assert!(
            count > 0,
            "the connection ended after {} bytes",
            received.len()
        );
        received.extend_from_slice(&piece[..count]);
    }
}

fn connect(proxy: &Served) -> TcpStream {
    let stream = TcpStream::connect(proxy.address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
}

#[test]
fn bodies_arrive_intact_on_one_connection() {
    let _alone = alone();
    let backend = backend("0ms");
    for engine in ENGINES {
        let proxy = bare_proxy(engine, backend.address);
        let mut stream = connect(&proxy);
        for body_bytes in [0, 1, 100, 16_384, 3_000_000] {
            let request = format!("GET /b/{body_bytes} HTTP/1.1\r\nHost: a\r\n\r\n");
            let body = ask(&mut stream, request.as_bytes(), body_bytes);
            let whole = body
                .iter()
                .enumerate()
                .all(|(index, &byte)| byte == b'a' + (index % 26) as u8);
            assert!(whole, "{engine}: {body_bytes} bytes came changed");
        }
    }
}

#[test]
fn request_bodies_and_heads_in_pieces_pass() {
    let _alone = alone();
    let backend = backend("0ms");
    for engine in ENGINES {
        let proxy = bare_proxy(engine, backend.address);
        let mut stream = connect(&proxy);
        stream.write_all(b"POST /b/5 HTTP/1.1\r\nHo").unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let mut rest = b"st: a\r\nContent-Length: 500000\r\n\r\n".to_vec();
        rest.extend(std::iter::repeat_n(b'x', 500_000));
        assert_eq!(ask(&mut stream, &rest, 5), b"abcde", "{engine}");
        assert_eq!(
            ask(&mut stream, b"GET /b/3 HTTP/1.1\r\nHost: a\r\n\r\n", 3),
            b"abc",
            "{engine}"
        );
    }
}

#[test]
fn load_and_idle_connections_are_held() {
    let _alone = alone();
    let backend = backend("0ms");
    for engine in ENGINES {
        let proxy = bare_proxy(engine, backend.address);
        let load = run_well(&[
            "load",
            "--json",
            "--url",
            &proxy.url("/"),
            "--rate",
            "500",
            "--seconds",
            "1",
        ]);
        let load: Value = serde_json::from_str(&load).unwrap();
        assert_eq!(load["responses"], 500, "{engine}: {load}");
        assert_eq!(load["not_2xx"], 0, "{engine}: {load}");
        let idle = run_well(&[
            "idle",
            "--json",
            "--url",
            &proxy.url("/"),
            "--pid",
            &proxy.pid(),
            "--connections",
            "1000",
        ]);
        let idle: Value = serde_json::from_str(&idle).unwrap();
        assert_eq!(idle["connections"], 1000);
        assert_eq!(idle["closed_by_server"], 0, "{engine}: {idle}");
        let bytes = idle["private_bytes_per_connection"].as_f64().unwrap();
        // Some pages that the load before used may have been given back meanwhile.
        assert!(
            (-100.0..80_000.0).contains(&bytes),
            "{engine}: {bytes} bytes a connection"
        );
    }
}

#[test]
fn wrong_input_is_refused_in_words() {
    let _alone = alone();
    let errors = run_badly(
        &[
            "bare-proxy",
            "--engine",
            "threads",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "127.0.0.1:1",
        ],
        2,
    );
    assert!(
        errors.contains("epoll") && errors.contains("glommio"),
        "{errors}"
    );
    let errors = run_badly(
        &[
            "bare-proxy",
            "--engine",
            "epoll",
            "--listen",
            "192.0.2.1:1",
            "--backend",
            "127.0.0.1:1",
        ],
        1,
    );
    assert!(errors.contains("192.0.2.1:1"), "{errors}");
    let errors = run_badly(
        &[
            "idle",
            "--url",
            "http://127.0.0.1:1/",
            "--pid",
            "1",
            "--connections",
            "5",
        ],
        1,
    );
    assert!(errors.contains("127.0.0.1:1"), "{errors}");
}
