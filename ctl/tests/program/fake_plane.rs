//! A stand-in for meridian-dataplane, for the tests of the supervisor.
//!
//! It keeps the same promises towards its supervisor (listeners by
//! inheritance, the local socket, signals) and serves its own process id.
//! FAKE_PLANE_DIR holds two files: `behaviour`, words that a test may write at
//! any time and that are read at each start, and `journal`, to which it
//! appends what happens to it.
//!
//! | word | what it does |
//! | --- | --- |
//! | `dies-at-start` | says so on stderr and ends with code 1 |
//! | `never-ready` | answers, but never that it is ready |
//! | `brief` | ends with code 3 a moment after it said that it is ready |
//! | `deaf` | notes signals and goes on |

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_model::{compile, config_log};
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

fn main() {
    let plane = FakePlane::from_surroundings();
    plane.note("start", &format!("state={}", plane.state.display()));
    if plane.does("dies-at-start") {
        eprintln!("fake plane: told to die");
        std::process::exit(1);
    }
    die_with_supervisor();
    plane.adopt_listeners();
    plane.clone().note_signals();
    plane.answer();
}

#[derive(Clone)]
struct FakePlane {
    directory: PathBuf,
    behaviour: String,
    state: PathBuf,
}

impl FakePlane {
    fn from_surroundings() -> FakePlane {
        let directory = PathBuf::from(std::env::var_os("FAKE_PLANE_DIR").expect("FAKE_PLANE_DIR"));
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [option, state] = arguments.as_slice() else {
            panic!("expected --state DIR, got {arguments:?}");
        };
        assert_eq!(option, "--state");
        FakePlane {
            behaviour: std::fs::read_to_string(directory.join("behaviour")).unwrap_or_default(),
            state: PathBuf::from(state),
            directory,
        }
    }

    fn does(&self, word: &str) -> bool {
        self.behaviour.split_whitespace().any(|each| each == word)
    }

    /// Appends `TIME_MS PID WHAT DETAIL` to the journal.
    fn note(&self, what: &str, detail: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut journal = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.directory.join("journal"))
            .unwrap();
        let line = format!(
            "{} {} {what} {detail}\n",
            now.as_millis(),
            std::process::id()
        );
        journal.write_all(line.as_bytes()).unwrap();
    }

    /// Serves our process id on every inherited listener.
    fn adopt_listeners(&self) {
        let names = std::env::var("LISTEN_FDNAMES").expect("LISTEN_FDNAMES");
        let names: Vec<&str> = names.split(':').collect();
        let mut inherited = listenfd::ListenFd::from_env();
        assert_eq!(inherited.len(), names.len(), "a name for each listener");
        for (index, name) in names.iter().enumerate() {
            let listener = inherited.take_tcp_listener(index).unwrap().unwrap();
            listener.set_nonblocking(false).unwrap();
            let address = listener.local_addr().unwrap();
            self.note("listener", &format!("{name}={address}"));
            std::thread::spawn(move || serve(&listener));
        }
        let sockets = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count();
        self.note("sockets", &sockets.to_string());
    }

    fn note_signals(self) {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP]).unwrap();
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let name = match signal {
                    SIGTERM => "TERM",
                    SIGINT => "INT",
                    _ => "HUP",
                };
                self.note("signal", name);
                if signal != SIGHUP && !self.does("deaf") {
                    std::process::exit(0);
                }
            }
        });
    }

    fn answer(&self) {
        let socket = self.state.join("run/dataplane.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        for stream in listener.incoming() {
            self.answer_one(stream.unwrap());
        }
    }

    fn answer_one(&self, mut stream: UnixStream) {
        let mut question = String::new();
        BufReader::new(&stream).read_line(&mut question).unwrap();
        if question.is_empty() {
            return;
        }
        let question: Value = serde_json::from_str(&question).unwrap();
        assert_eq!(question["op"], "status");
        let ready = !self.does("never-ready");
        let status = json!({
            "program": "dataplane", "protocol": 1, "pid": std::process::id(),
            "revision": self.revision(), "ready": ready, "draining": false, "uptime_s": 61,
            "kernel": {"release": "6.18.1", "features": ["one", "two"]},
            "workers": [{
                "worker": 0, "cpu": 3, "revision": 1, "connections": 12, "idle_connections": 11,
                "upstream_connections": 5, "requests": 1234, "turns": 9, "busy": 0.42, "buffers": 64,
                "buffers_max": 4096,
            }],
            "sites": [{"tenant": "acme", "site": "shop", "requests": 77, "responses_2xx": 70}],
            "backends": [{
                "backend": "acme/shop/default/a1", "address": "127.0.0.1:9001", "state": "up",
                "connections": 1, "in_flight": 0, "requests": 5, "failures": 0,
            }],
            "limits": [{"name": "FIELDS_MAX", "hits": 2}],
        });
        // The asker may have given up.
        let _ = writeln!(stream, "{status}");
        self.note("asked", "");
        if ready && self.does("brief") {
            std::thread::sleep(Duration::from_millis(20));
            std::process::exit(3);
        }
    }

    /// The revision on disk, read and compiled as a plane does it.
    fn revision(&self) -> u64 {
        let read = |name: &str| std::fs::read(self.state.join("config").join(name)).unwrap();
        let generation = String::from_utf8(read("current")).unwrap();
        let snapshot = read(&format!("snapshot.{}", generation.trim_end()));
        let (header, desired) = config_log::decode(&snapshot).unwrap();
        let local = config_log::decode_local(&read("local")).unwrap();
        let compiled = compile(&local, &desired, header.revision).unwrap();
        compiled.revision
    }
}

fn die_with_supervisor() {
    let supervisor = std::env::var("MERIDIAN_SUPERVISOR").expect("MERIDIAN_SUPERVISOR");
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).unwrap();
    let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
    assert_eq!(supervisor, parent.to_string());
}

fn serve(listener: &TcpListener) {
    let pid = std::process::id().to_string();
    let response = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{pid}",
        pid.len()
    );
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(response.as_bytes());
    }
}
