//! `meridianctl failures` and the access log with the real plane: for each way in which a backend
//! can fail, the command line alone names the backend and the cause.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Host, PATIENCE, free_address, wait_for};
use crate::live::{real, up};

/// What a backend of the tests does with a connection on which a request came.
type Misbehaviour = fn(TcpStream);

fn serve(misbehave: Misbehaviour) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => return,
                    }
                }
                misbehave(stream);
            });
        }
    });
    address
}

fn say(mut stream: TcpStream, answer: &[u8]) {
    let _ = stream.write_all(answer);
}

fn hang(mut stream: TcpStream) {
    let _ = stream.read(&mut [0]);
}

fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

fn lie_about_length(stream: TcpStream) {
    say(
        stream,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    );
}

fn trickle(mut stream: TcpStream) {
    for byte in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
        if stream.write_all(&[*byte]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(40));
    }
}

fn say_no_head(stream: TcpStream) {
    say(stream, b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
}

fn stop_within(mut stream: TcpStream) {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort";
    let _ = stream.write_all(head);
    let _ = stream.read(&mut [0]);
}

/// A host with a site for each fault, each with one backend of that name.
fn host_of_faults(faults: &[(&str, SocketAddr)], log: &str) -> Host {
    let host = Host::new();
    let mut manifest = host.manifest().replace(
        "backend_networks",
        "access_log = \"LOG\"\ntimeouts = { connect = \"500ms\", first_byte = \"400ms\", response_gap = \"400ms\" }\nbackend_networks",
    );
    manifest = manifest.replace("LOG", log);
    for (name, address) in faults {
        manifest += &format!(
            "[[site]]\ntenant = \"acme\"\nname = \"{name}\"\nhostnames = [\"{name}.example.com\"]\n\
             access_log = {{}}\n[[site.backend]]\nname = \"{name}-1\"\naddress = \"{address}\"\n"
        );
    }
    host.write_manifest(&manifest);
    host
}

/// Asks for `/path` of a host and reads to whatever end there is.
fn ask(host: &Host, name: &str) {
    let mut stream = TcpStream::connect(host.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request =
        format!("GET /path HTTP/1.1\r\nHost: {name}.example.com\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

#[test]
fn for_each_fault_of_a_backend_the_command_line_names_it_and_the_cause() {
    let refusing = free_address();
    let faults = [
        ("refused", refusing, "connect_refused"),
        ("hung", serve(hang), "first_byte_timeout"),
        ("resetting", serve(reset), "reset"),
        ("lying", serve(lie_about_length), "cut_short_body"),
        ("trickling", serve(trickle), "first_byte_timeout"),
        ("strange", serve(say_no_head), "bad_response_head"),
        ("stopping", serve(stop_within), "response_gap_timeout"),
    ];
    let places: Vec<(&str, SocketAddr)> = faults.iter().map(|it| (it.0, it.1)).collect();
    let host = host_of_faults(&places, "access.log");
    let up = up(&host);
    for (name, _, cause) in faults {
        ask(&host, name);
        let site = format!("acme/{name}");
        let backend = format!("acme/{name}/default/{name}-1");
        let shown = host.run(&["failures", &site]).expect(0, &[]).stdout;
        let row = shown.lines().nth(1).unwrap_or_else(|| panic!("{shown}"));
        for word in [
            cause,
            "backend",
            &backend,
            &format!("GET {name}.example.com/path"),
        ] {
            assert!(row.contains(word), "no {word} in\n{shown}");
        }
        let json = host.run(&["failures", &site, "--format", "json"]).json();
        let failures = json["failures"].as_array().unwrap();
        assert_eq!(failures.len(), 1, "{json}");
        assert_eq!(failures[0]["cause"], cause, "{json}");
        assert_eq!(failures[0]["fault"], "backend", "{json}");
        assert_eq!(failures[0]["backend"], backend, "{json}");
        let total_us = failures[0]["total_us"].as_u64().unwrap();
        if cause.ends_with("_timeout") {
            assert!(total_us >= 400_000, "{json}");
        }
    }
    up.stop();
    // A relative path begins where the manifest is, and the log has what the failures have.
    let log = std::fs::read_to_string(host.path("access.log")).unwrap();
    let lines: Vec<Value> = log
        .lines()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    let told = |value: &Value| value["cause"].as_str().unwrap().to_owned();
    // Lines of several workers come in no order.
    let mut told: Vec<String> = lines.iter().map(told).collect();
    told.sort_unstable();
    let mut wanted = faults.map(|fault| fault.2);
    wanted.sort_unstable();
    assert_eq!(told, wanted);
}

#[test]
fn failures_of_what_is_not_there() {
    let host = Host::new();
    host.run(&["failures", "shop"]).expect(2, &["TENANT/SITE"]);
    host.run(&["failures", "acme/shop"])
        .expect(3, &["no meridian-dataplane runs on"]);
    let up = up(&host);
    host.run(&["failures", "acme/none"])
        .expect(1, &["no site acme/none is served here"]);
    let none = host.run(&["failures", "acme/shop"]).expect(0, &[]);
    assert!(
        none.stdout
            .starts_with("no request of acme/shop ended badly")
    );
    ask(&host, "nobody");
    let shown = host.run(&["failures", "-/-"]).expect(0, &[]).stdout;
    assert!(
        shown.contains("no_site") && shown.contains("nobody.example.com/path"),
        "{shown}"
    );
    up.stop();
}

#[test]
fn a_hangup_of_up_has_the_log_opened_anew_and_apply_does_not_take_the_path_for_another() {
    let host = host_of_faults(&[("hung", serve(hang))], "log/access.log");
    std::fs::create_dir(host.path("log")).unwrap();
    let up = up(&host);
    ask(&host, "hung");
    let (log, old) = (host.path("log/access.log"), host.path("log/old"));
    wait_for("a line", || {
        std::fs::metadata(&log).ok().filter(|it| it.len() > 0)
    });
    std::fs::rename(&log, &old).unwrap();
    up.signal(Signal::HUP);
    wait_for("a fresh log", || log.exists().then_some(()));
    ask(&host, "hung");
    wait_for("a line", || {
        std::fs::metadata(&log).ok().filter(|it| it.len() > 0)
    });
    let status = host.run(&["status", "--format", "json"]).json();
    let shown = &status["processes"][0]["access_log"];
    assert_eq!(shown["path"], log.display().to_string());
    assert_eq!(
        (&shown["lines"], shown["fault"].is_null()),
        (&2.into(), true)
    );
    let shown = host.run(&["status"]).expect(0, &[]).stdout;
    assert!(shown.contains("access.log, 2 lines\n"), "{shown}");
    // From another directory, by another name of the same file.
    let manifest = host.path("h1.toml").display().to_string();
    let mut apply = real(host.command(&["apply", "-f", &manifest, "--format", "json"]));
    apply.current_dir("/");
    let applied = crate::host::Ended::from(apply.output().unwrap()).expect(0, &[]);
    assert_eq!(
        applied.json()["restart"],
        serde_json::json!([]),
        "{applied:?}"
    );
    up.stop();
}
