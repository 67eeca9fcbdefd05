//! The bill of the real plane under load: whoever is killed and whatever the wall clock does, what
//! clients got is counted, and once.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::host::{Ended, Host, PATIENCE, Running, kill, wait_for};
use crate::live;
use crate::usage::{usage, wait_until_folded};

/// Requests that clients have sent, and those whose response they have got whole.
#[derive(Default)]
struct Book {
    sent: AtomicU64,
    complete: AtomicU64,
    ended: AtomicBool,
}

/// Clients that ask for the site of `live::make_site`, one request after the other, on connections
/// that break as planes are killed.
struct Load {
    book: Arc<Book>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(clients: usize, http: SocketAddr) -> Load {
        let book = Arc::new(Book::default());
        let client = || {
            let book = Arc::clone(&book);
            std::thread::spawn(move || ask_until_told(http, &book))
        };
        Load {
            clients: (0..clients).map(|_| client()).collect(),
            book,
        }
    }

    fn complete(&self) -> u64 {
        self.book.complete.load(Ordering::SeqCst)
    }

    fn sent(&self) -> u64 {
        self.book.sent.load(Ordering::SeqCst)
    }

    /// Asserts the promise: what clients have got is billed, and nothing that they did not send.
    #[track_caller]
    fn check(&self, host: &Host, when: &str) {
        let complete = self.complete();
        let billed = billed(host);
        let sent = self.sent();
        assert!(
            complete <= billed && billed <= sent,
            "{complete} <= {billed} <= {sent} {when}"
        );
    }

    /// Waits until clients have got something.
    fn wait(&self) {
        wait_for("some load", || (self.complete() > 20).then_some(()));
    }

    /// Lets what is under way come to its end.
    fn end(&mut self) {
        self.book.ended.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().expect("each answer was right");
        }
    }
}

fn ask_until_told(http: SocketAddr, book: &Book) {
    let request = b"GET / HTTP/1.1\r\nHost: live.test\r\n\r\n";
    while !book.ended.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(http) else {
            continue;
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut room = [0; 4096];
        while !book.ended.load(Ordering::Relaxed) {
            book.sent.fetch_add(1, Ordering::SeqCst);
            if stream.write_all(request).is_err() {
                break;
            }
            let mut length = 0;
            // A response ends with the name of its backend.
            while !room[..length].ends_with(b"\r\n\r\none") {
                match stream.read(&mut room[length..]) {
                    Ok(count @ 1..) => length += count,
                    _ => break,
                }
            }
            if !room[..length].ends_with(b"one") {
                break;
            }
            assert!(room.starts_with(b"HTTP/1.1 200 "));
            book.complete.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Long before and long after whatever a test does to the clock.
const ALWAYS: [&str; 6] = [
    "--tenant",
    "live",
    "--from",
    "2020-01-01",
    "--format",
    "json",
];

/// The rows of the bill, over all of time up to now or cut up.
fn rows(host: &Host, more: &[&str]) -> Vec<Value> {
    let json = usage(host, &[&ALWAYS[..], more].concat())
        .expect(0, &[])
        .json();
    json["rows"].as_array().unwrap().clone()
}

fn requests(rows: &[Value]) -> u64 {
    let requests = rows.iter().map(|row| row["requests"].as_u64().unwrap());
    requests.sum()
}

fn billed(host: &Host) -> u64 {
    requests(&rows(host, &[]))
}

fn wait_until_ready(host: &Host) {
    wait_for("another plane", || {
        host.run(&["status"]).stdout.contains("ready").then_some(())
    });
}

#[test]
fn under_load_and_kills_of_the_real_plane_and_its_supervisor_the_bill_is_right() {
    const KILLS: u64 = 12;
    let host = Host::new();
    let mut up = live::up(&host);
    live::make_site(&host, live::backend("one"));
    let mut load = Load::start(4, host.http);
    for round in 0..KILLS {
        let when = format!("after {round} kills");
        std::thread::sleep(Duration::from_millis(100 + 31 * round));
        load.check(&host, &when);
        let plane = live::plane_pid(&host);
        match round % 3 {
            0 => kill(plane, Signal::KILL),
            1 => {
                up.signal(Signal::KILL);
                up.wait();
            }
            _ => {
                up.signal(Signal::KILL);
                kill(plane, Signal::KILL);
                up.wait();
            }
        }
        load.check(&host, &when);
        if round % 3 > 0 {
            up = live::up(&host);
        }
        wait_until_ready(&host);
    }
    load.end();
    let (complete, sent) = (load.complete(), load.sent());
    println!("{complete} <= {} <= {sent}", billed(&host));
    assert!(complete > 1000, "hardly any load: {complete}");
    load.check(&host, "at the end");
    let last = billed(&host);
    up.stop();
    assert_eq!(billed(&host), last);
    wait_until_folded(&host);
    assert_eq!(billed(&host), last);
}

/// A wall clock that a test sets, for `up` and what it starts; the monotonic one goes on.
struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    fn new(host: &Host) -> Clock {
        let library = fs::read_dir("/usr/lib")
            .expect("there are libraries")
            .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketimeMT.so.1")))
            .find(|path| path.is_file())
            .expect("faketime is installed (scripts/setup)");
        let clock = Clock {
            library,
            offset: host.path("clock"),
        };
        clock.set("+0");
        clock
    }

    fn set(&self, offset: &str) {
        let beside: &Path = &self.offset.with_extension("new");
        fs::write(beside, offset).unwrap();
        fs::rename(beside, &self.offset).unwrap();
    }

    fn govern(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.offset)
            .env("FAKETIME_NO_CACHE", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }

    fn up(&self, host: &Host) -> Running {
        let mut command = live::real(host.command(&["up", "-f", "h1.toml"]));
        self.govern(&mut command);
        let up = Running::start(&mut command);
        up.line();
        up
    }
}

/// Day and hour that the plane writes into Date.
fn date(host: &Host) -> String {
    let mut stream = TcpStream::connect(host.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let date = answer.lines().find_map(|line| line.strip_prefix("Date: "));
    date.expect("every answer has a Date")[..19].to_owned()
}

#[test]
fn a_step_of_the_wall_clock_by_an_hour_loses_nothing_and_counts_nothing_twice() {
    let host = Host::new();
    let clock = Clock::new(&host);
    let mut up = clock.up(&host);
    live::make_site(&host, live::backend("one"));
    let mut load = Load::start(4, host.http);
    for (step, offset) in ["+1h", "-1h", "+0", "+1h", "-1h"].into_iter().enumerate() {
        let before = date(&host);
        clock.set(offset);
        wait_for("the step to be seen", || {
            (date(&host) != before).then_some(())
        });
        std::thread::sleep(Duration::from_millis(300));
        load.check(&host, offset);
        // The next life of the plane, and of everything, begins under another clock.
        match step {
            1 => kill(live::plane_pid(&host), Signal::KILL),
            3 => {
                up.stop();
                up = clock.up(&host);
            }
            _ => {}
        }
        wait_until_ready(&host);
        load.check(&host, offset);
    }
    load.end();
    clock.set("+2h");
    load.check(&host, "at the end");
    let in_all = billed(&host);
    assert!(in_all > 100, "hardly any load: {in_all}");
    up.stop();
    wait_until_folded(&host);
    let mut command = host.command(&["usage"]);
    clock.govern(command.args(ALWAYS).args(["--by", "hour"]));
    let told = Ended::from(command.output().unwrap()).expect(0, &[]);
    let by_hour = told.json()["rows"].as_array().unwrap().clone();
    assert_eq!(requests(&by_hour), in_all, "{by_hour:?}");
    let mut hours: Vec<_> = by_hour.iter().map(|row| row["from"].to_string()).collect();
    hours.dedup();
    assert_eq!(hours.len(), by_hour.len(), "an hour has one row: {hours:?}");
}

#[test]
fn where_nothing_was_in_flight_the_count_is_exact() {
    let host = Host::new();
    let mut up = live::up(&host);
    live::make_site(&host, live::backend("one"));
    for round in 0..6 {
        let mut load = Load::start(2, host.http);
        load.wait();
        load.end();
        let before = billed(&host);
        let plane = live::plane_pid(&host);
        if round % 2 == 0 {
            kill(plane, Signal::KILL);
        } else {
            up.signal(Signal::KILL);
            up.wait();
            up = live::up(&host);
        }
        wait_until_ready(&host);
        assert_eq!(billed(&host), before, "after kill {round}");
        let mut load_after = Load::start(1, host.http);
        load_after.wait();
        load_after.end();
        assert_eq!(billed(&host), before + load_after.complete());
        assert_eq!(load_after.complete(), load_after.sent());
    }
    up.stop();
}
