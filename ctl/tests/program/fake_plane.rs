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
//! | `secretive` | does not answer what it has counted |
//!
//! It counts what it is told to on its local socket, and leaves it where a plane does:
//! `{"op":"count","worker":0,"site":1,"tally":[13 numbers]}` adds to a site, and
//! `{"op":"close","next":7}` closes the open slot of time and opens that one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    Answer, AnswerRow, COLUMNS, Epoch, SLOT_BYTES, Tally, closed_slot, header, slots_header,
};
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
    plane.answer(&mut Counting::start(&plane.state));
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

    fn answer(&self, counting: &mut Counting) {
        let socket = self.state.join("run/dataplane.sock");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        for stream in listener.incoming() {
            self.answer_one(stream.unwrap(), counting);
        }
    }

    fn answer_one(&self, mut stream: UnixStream, counting: &mut Counting) {
        let mut question = String::new();
        BufReader::new(&stream).read_line(&mut question).unwrap();
        if question.is_empty() {
            return;
        }
        let question: Value = serde_json::from_str(&question).unwrap();
        match question["op"].as_str().unwrap() {
            "status" => {}
            "usage" if self.does("secretive") => {
                let _ = writeln!(stream, "{}", json!({"error": "no"}));
                return;
            }
            counts => {
                let _ = writeln!(stream, "{}", counting.answer(counts, &question));
                return;
            }
        }
        let ready = !self.does("never-ready");
        let status = json!({
            "program": "dataplane", "protocol": 1, "pid": std::process::id(),
            "revision": self.revision(), "ready": ready, "draining": false, "uptime_s": 61,
            "kernel": {"release": "6.18.1", "features": ["one", "two"]},
            "workers": [{
                "worker": 0, "cpu": 3, "revision": 1, "connections": 12, "idle_connections": 11,
                "upstream_connections": 5, "requests": 1234, "turns": 9, "busy": 0.42, "buffers": 64,
                "buffers_max": 4096,
                "headroom": {"time": 0.63, "connections": 0.9, "buffers": 0.8},
            }],
            "sites": [{"tenant": "acme", "site": "shop", "requests": 77, "responses_2xx": 70}],
            "backends": [{
                "backend": "acme/shop/default/a1", "address": "127.0.0.1:9001", "state": "up",
                "connections": 1, "in_flight": 0, "requests": 5, "failures": 0,
            }],
            "names": [{
                "name": "app.internal", "addresses": ["127.0.0.1", "127.0.0.2"],
                "resolved_s_ago": 75.5, "next_lookup_s": 4.2, "fault": "answered SERVFAIL",
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

/// What was counted since the start, and the files that have it.
struct Counting {
    epoch: Epoch,
    open_slot: u64,
    pages: [BTreeMap<u64, Tally>; 2],
    closed: BTreeMap<u64, Tally>,
    set: PathBuf,
    slots: File,
    _lock: File,
}

/// Where a plane that is not told otherwise begins: 2026-11-24T10:00:00Z.
const FIRST_SLOT: u64 = 5_985_048;

impl Counting {
    fn start(state: &Path) -> Counting {
        let mut epoch = [0; 16];
        let mut random = File::open("/dev/urandom").unwrap();
        random.read_exact(&mut epoch).unwrap();
        let epoch = Epoch(epoch);
        let counters = state.join("counters");
        let (unnamed, set) = ["new-dataplane", "dataplane"]
            .map(|name| counters.join(format!("pages/{name}-{epoch}")))
            .into();
        std::fs::create_dir_all(&unnamed).unwrap();
        let lock = File::create(unnamed.join("lock")).unwrap();
        lock.try_lock().unwrap();
        std::fs::rename(&unnamed, &set).unwrap();
        let path = counters.join(format!("dataplane-{epoch}.slots"));
        let mut slots = File::create(path.with_extension("new")).unwrap();
        slots.try_lock().unwrap();
        let header = slots_header("dataplane", "h1", epoch);
        slots.write_all(header.as_bytes()).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
        let mut counting = Counting {
            epoch,
            open_slot: FIRST_SLOT,
            pages: Default::default(),
            closed: BTreeMap::new(),
            set,
            slots,
            _lock: lock,
        };
        counting.write_pages();
        counting
    }

    fn sums(&self) -> BTreeMap<u64, Tally> {
        let mut sums: BTreeMap<u64, Tally> = BTreeMap::new();
        for (&site, tally) in self.pages.iter().flatten() {
            let sum = sums.entry(site).or_default();
            *sum = sum.plus(tally);
        }
        sums
    }

    fn write_pages(&mut self) {
        for (worker, sites) in self.pages.iter().enumerate() {
            let mut bytes = header(self.epoch, worker as u64, self.open_slot).to_vec();
            for (site, tally) in sites {
                let mut slot = [0; SLOT_BYTES / 8];
                slot[0] = *site;
                slot[1..=COLUMNS].copy_from_slice(&tally.0);
                bytes.extend(slot.iter().flat_map(|word| word.to_le_bytes()));
            }
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(self.set.join(format!("w{worker}")))
                .unwrap();
            file.write_all_at(&bytes, 0).unwrap();
        }
    }

    fn answer(&mut self, op: &str, question: &Value) -> Value {
        match op {
            "usage" => {
                let row = |(site, now): (u64, Tally)| AnswerRow {
                    site: SiteId(site),
                    now,
                    closed: self.closed.get(&site).copied().unwrap_or_default(),
                };
                return json!(Answer {
                    epoch: self.epoch,
                    host: "h1".to_string(),
                    open_slot: self.open_slot,
                    sites: self.sums().into_iter().map(row).collect(),
                });
            }
            "count" => {
                let number = |of: &Value| of.as_u64().unwrap();
                let tally: Vec<u64> = question["tally"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(number)
                    .collect();
                let sites = &mut self.pages[number(&question["worker"]) as usize];
                let sum = sites.entry(number(&question["site"])).or_default();
                *sum = sum.plus(&Tally(tally.try_into().unwrap()));
            }
            "close" => {
                let slot = self.open_slot;
                self.open_slot = question["next"].as_u64().unwrap();
                self.write_pages();
                let sums = self.sums();
                let changed = sums
                    .iter()
                    .filter(|(site, sum)| self.closed.get(site) != Some(sum));
                let changed: Vec<_> = changed.map(|(&site, &sum)| (SiteId(site), sum)).collect();
                let lines = closed_slot(slot, &changed);
                self.slots.write_all(lines.as_bytes()).unwrap();
                self.closed = sums;
            }
            other => panic!("{other} is no question"),
        }
        self.write_pages();
        json!({"done": true})
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
