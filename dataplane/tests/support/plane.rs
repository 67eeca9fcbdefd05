//! The real binary, started on free loopback ports, watched over its local socket, and looked
//! over at its end: no socket, no buffer and no completion may be left.

use super::eventually;
use super::manifest::{Declared, append_change, write_config, write_local};
use meridian_model::Desired;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_meridian-dataplane");
/// How long a plane may take to be ready, and how long things may take to settle.
const PATIENCE_S: u64 = 20;

/// A port of loopback that nobody else is given as long as this lives, though a plane can bind it.
pub(crate) struct Reserved {
    socket: Socket,
    pub(crate) address: SocketAddr,
}

impl Reserved {
    pub(crate) fn at(ip: IpAddr) -> Reserved {
        let address = SocketAddr::new(ip, 0);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)
            .expect("a socket can be made");
        socket.set_reuse_port(true).expect("ports can be shared");
        socket.bind(&address.into()).expect("loopback has a port");
        let address = socket.local_addr().expect("it is bound");
        Reserved {
            address: address.as_socket().expect("it is of the Internet"),
            socket,
        }
    }

    pub(crate) fn new() -> Reserved {
        Reserved::at(Ipv4Addr::LOCALHOST.into())
    }

    /// Makes it a listener, to be handed over to planes.
    pub(crate) fn listen(&self) -> OwnedFd {
        self.socket.listen(1024).expect("it can listen");
        self.socket.try_clone().expect("it can be shared").into()
    }
}

/// A running plane.
pub(crate) struct Plane {
    child: Option<Child>,
    state: TempDir,
    listeners: Vec<Reserved>,
    /// For HTTPS.
    secure: Option<Reserved>,
    declared: Declared,
    desired: Desired,
    revision: u64,
    generation: u64,
    handed_over: Option<OwnedFd>,
    /// Files that it may have open (RLIMIT_NOFILE), when that is not what the test itself may.
    open_files_max: Option<u64>,
    /// Descriptors that it had open when it was ready.
    descriptors: usize,
}

impl Plane {
    /// Starts a plane on one port of 127.0.0.1.
    pub(crate) fn start(declared: &Declared) -> Plane {
        Plane::start_at(declared, vec![Reserved::new()])
    }

    /// Starts a plane that binds these listeners.
    pub(crate) fn start_at(declared: &Declared, listeners: Vec<Reserved>) -> Plane {
        let mut plane = Plane::prepare(declared, listeners);
        plane.spawn();
        plane
    }

    /// Starts a plane on the config log of `declared` with the local settings of another host.
    pub(crate) fn start_elsewhere(declared: &Declared, local: &Declared) -> Plane {
        let mut plane = Plane::prepare(declared, vec![Reserved::new()]);
        write_local(plane.state.path(), &plane.text(local));
        plane.spawn();
        plane
    }

    /// Starts a plane that is given a listener which the test keeps, too.
    pub(crate) fn start_with_listener_of_ours(declared: &Declared) -> Plane {
        let listeners = vec![Reserved::new()];
        let listener = listeners[0].listen();
        let mut plane = Plane::prepare(declared, listeners);
        plane.handed_over = Some(listener);
        plane.spawn();
        plane
    }

    /// Starts a plane that may have so many files open.
    pub(crate) fn start_with_open_files(declared: &Declared, open_files_max: u64) -> Plane {
        let mut plane = Plane::prepare(declared, vec![Reserved::new()]);
        plane.open_files_max = Some(open_files_max);
        plane.spawn();
        plane
    }

    /// Starts a plane of a fleet with this secret.
    pub(crate) fn start_with_secret(declared: &Declared, secret: &str) -> Plane {
        let mut plane = Plane::prepare(declared, vec![Reserved::new()]);
        let path = plane.state.path().join(meridian_model::fleet_secret::FILE);
        fs::write(path, secret).expect("the state directory takes files");
        plane.spawn();
        plane
    }

    /// Starts a plane with a listener for HTTPS besides.
    pub(crate) fn start_secure(declared: &Declared) -> Plane {
        let mut plane = Plane::made(declared, vec![Reserved::new()], Some(Reserved::new()));
        plane.spawn();
        plane
    }

    fn prepare(declared: &Declared, listeners: Vec<Reserved>) -> Plane {
        Plane::made(declared, listeners, None)
    }

    fn made(declared: &Declared, listeners: Vec<Reserved>, secure: Option<Reserved>) -> Plane {
        let state = tempfile::tempdir().expect("there is room for files");
        let text = text(declared, &listeners, secure.as_ref());
        let desired = write_config(state.path(), &text, 1, 1, None);
        Plane {
            child: None,
            state,
            listeners,
            secure,
            declared: declared.clone(),
            desired,
            revision: 1,
            generation: 1,
            handed_over: None,
            open_files_max: None,
            descriptors: 0,
        }
    }

    /// Starts the process, again when it ended, and waits until it is ready.
    pub(crate) fn spawn(&mut self) {
        self.spawn_unready();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(PATIENCE_S) {
            if self
                .ask(r#"{"op":"status"}"#)
                .is_some_and(|it| it["ready"] == true)
            {
                self.descriptors = self.open_descriptors();
                return;
            }
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("it is our child") {
                panic!("the plane ended with {status} before it was ready");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the plane was not ready in time");
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn_unready(&mut self) {
        let mut command = Command::new("bash");
        let script = if self.handed_over.is_some() {
            "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http-0-0; exec \"$@\""
        } else {
            "exec \"$@\""
        };
        let limit = match self.open_files_max {
            Some(files) => format!("ulimit -n {files} && "),
            None => String::new(),
        };
        command.args(["-c", &format!("{limit}{script}"), "bash"]);
        // Each worker is pinned to the first CPUs that the process may use: planes of tests
        // that run side by side should not all have the same one.
        if self.declared.workers == 1 {
            command.args(["taskset", "-c", &next_cpu().to_string()]);
        }
        command.arg(BINARY).arg("--state").arg(self.state.path());
        command.stdin(match &self.handed_over {
            Some(listener) => listener.try_clone().expect("it can be shared").into(),
            None => Stdio::null(),
        });
        self.child = Some(
            command
                .spawn()
                .expect("bash, taskset and the plane are there"),
        );
    }

    /// Its state directory.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Where it accepts connections.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listeners[0].address
    }

    /// Where it accepts connections by TLS.
    pub(crate) fn secure_address(&self) -> SocketAddr {
        self.secure.as_ref().expect("it has one").address
    }

    /// Where its listener with this index accepts connections.
    pub(crate) fn address_at(&self, index: usize) -> SocketAddr {
        self.listeners[index].address
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.pid().to_string()])
            .status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self, seconds: u64) -> ExitStatus {
        let mut status = None;
        let child = self.child.as_mut().expect("it runs");
        let ended = eventually(seconds, || {
            status = child.try_wait().expect("it is our child");
            status.is_some()
        });
        assert!(
            ended,
            "the plane did not end within {seconds} s: {}",
            self.threads().join(", ")
        );
        self.child = None;
        status.expect("it ended")
    }

    /// Each of its threads that is left, and what that waits for in the kernel.
    fn threads(&self) -> Vec<String> {
        let directory = format!("/proc/{}/task", self.pid());
        let threads = fs::read_dir(directory).into_iter().flatten().flatten();
        let read = |thread: &fs::DirEntry, name| {
            let text = fs::read_to_string(thread.path().join(name)).unwrap_or_default();
            text.trim().to_owned()
        };
        threads
            .map(|it| format!("{} in {}", read(&it, "comm"), read(&it, "wchan")))
            .collect()
    }

    /// One question over the local socket; `None` when nobody answers.
    pub(crate) fn ask(&self, line: &str) -> Option<Value> {
        let socket = self.state.path().join("run/dataplane.sock");
        let mut stream = UnixStream::connect(socket).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(PATIENCE_S)))
            .ok()?;
        writeln!(stream, "{line}").ok()?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> Value {
        self.ask(r#"{"op":"status"}"#)
            .expect("the local socket answers")
    }

    /// A number of the site `acme/shop`.
    pub(crate) fn site(&self, counter: &str) -> u64 {
        number(&self.status()["sites"][0], counter)
    }

    /// How often this cause or limit was hit.
    pub(crate) fn hits(&self, name: &str) -> u64 {
        hits(&self.status(), name)
    }

    /// A number of all workers together.
    pub(crate) fn workers(&self, counter: &str) -> u64 {
        of_workers(&self.status(), counter)
    }

    /// A number of the backend with this index.
    pub(crate) fn backend(&self, index: usize, counter: &str) -> u64 {
        number(&self.status()["backends"][index], counter)
    }

    /// Writes the next revision to the journal and announces it.
    pub(crate) fn reload(&mut self, declared: &Declared) {
        let answer = self.append(declared);
        assert_eq!(
            answer,
            serde_json::json!({ "revision": self.revision, "generation": self.generation })
        );
    }

    /// Writes the next revision to the journal and announces it; what the plane says.
    pub(crate) fn append(&mut self, declared: &Declared) -> Value {
        self.write(declared);
        self.announce()
    }

    /// Writes the next revision to the journal.
    pub(crate) fn write(&mut self, declared: &Declared) {
        self.revision += 1;
        let text = self.text(declared);
        let (state, generation) = (self.state.path(), self.generation);
        self.desired = append_change(state, &text, generation, self.revision, &self.desired);
    }

    /// Writes the next revision to the journal, and its last line but one byte wrong.
    pub(crate) fn write_and_damage(&mut self, declared: &Declared) {
        let from = self.journal_length() as usize;
        self.write(declared);
        let path = self.journal_path();
        let mut bytes = fs::read(&path).expect("it was written");
        let middle = (from + bytes.len()) / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
    }

    /// Appends bytes to the journal.
    pub(crate) fn append_bytes(&self, bytes: &[u8]) {
        let file = fs::File::options().append(true).open(self.journal_path());
        file.and_then(|mut file| file.write_all(bytes))
            .expect("the journal takes bytes");
    }

    fn journal_path(&self) -> std::path::PathBuf {
        let name = format!("config/journal.{}", self.generation);
        self.state.path().join(name)
    }

    /// Bytes of the journal.
    pub(crate) fn journal_length(&self) -> u64 {
        fs::metadata(self.journal_path())
            .expect("it is there")
            .len()
    }

    /// Announces all of the journal; what the plane says.
    pub(crate) fn announce(&self) -> Value {
        let announced = serde_json::json!({
            "op": "follow", "generation": self.generation, "length": self.journal_length(),
        });
        self.ask(&announced.to_string())
            .expect("the local socket answers")
    }

    /// Writes the revision that there is as a generation of its own and announces it.
    pub(crate) fn compact(&mut self) -> Value {
        self.generation += 1;
        let text = self.text(&self.declared);
        self.desired = write_config(
            self.state.path(),
            &text,
            self.generation,
            self.revision,
            Some(&self.desired),
        );
        self.announce()
    }

    /// Kills the process and starts it again.
    pub(crate) fn restart(&mut self) {
        self.signal("KILL");
        self.wait(5);
        self.spawn();
    }

    /// Writes the next revision as a generation of its own and announces it.
    pub(crate) fn reload_anew(&mut self, declared: &Declared) -> Value {
        self.write_next_generation(declared);
        self.ask(r#"{"op":"follow"}"#)
            .expect("the local socket answers")
    }

    fn write_next_generation(&mut self, declared: &Declared) {
        self.revision += 1;
        self.generation += 1;
        let text = self.text(declared);
        self.desired = write_config(
            self.state.path(),
            &text,
            self.generation,
            self.revision,
            Some(&self.desired),
        );
    }

    fn text(&self, declared: &Declared) -> String {
        text(declared, &self.listeners, self.secure.as_ref())
    }

    /// Writes the next revision as a generation of its own, and a byte of it wrong.
    pub(crate) fn damage_next_generation(&mut self) {
        self.write_next_generation(&self.declared.clone());
        self.damage(&format!("snapshot.{}", self.generation));
    }

    /// Makes the byte in the middle of a file of the config log wrong.
    pub(crate) fn damage(&self, name: &str) {
        let path = self.state.path().join("config").join(name);
        let mut bytes = fs::read(&path).expect("it was written");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("it can be written");
    }

    /// Starts a second process on the same state directory and waits for its end.
    pub(crate) fn start_another(&self) -> Output {
        Command::new(BINARY)
            .arg("--state")
            .arg(self.state.path())
            .output()
            .expect("it starts")
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the plane runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("the kernel names it") * 1024
    }

    fn open_descriptors(&self) -> usize {
        let directory = format!("/proc/{}/fd", self.pid());
        fs::read_dir(directory).expect("the plane runs").count()
    }

    /// Waits until nothing is under way and nothing is held. The test has closed its clients and
    /// backends by then.
    pub(crate) fn settle(&self) -> Value {
        let mut left = Vec::new();
        let settled = eventually(PATIENCE_S, || {
            left = leftovers(&self.status());
            left.is_empty()
        });
        assert!(settled, "left behind: {}", left.join(", "));
        // The local socket's own connections come and go.
        let descriptors_max = self.descriptors + 2;
        assert!(
            eventually(5, || self.open_descriptors() <= descriptors_max),
            "{} descriptors are open, {} were at the start",
            self.open_descriptors(),
            self.descriptors
        );
        let status = self.status();
        assert_eq!(hits(&status, "stale_completion"), 0, "stale completions");
        status
    }

    /// Ends it in order, with whatever its backends still hold.
    pub(crate) fn stop(mut self) {
        self.signal("TERM");
        assert_eq!(self.wait(PATIENCE_S).code(), Some(0));
    }

    /// Looks that nothing is left, and ends it in order.
    pub(crate) fn finish(self) {
        self.settle();
        self.stop();
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn text(declared: &Declared, listeners: &[Reserved], secure: Option<&Reserved>) -> String {
    let addresses: Vec<SocketAddr> = listeners.iter().map(|it| it.address).collect();
    let Some(secure) = secure else {
        return declared.text(&addresses);
    };
    let mut declared = declared.clone();
    declared.listen += &format!("\nhttps = [\"{}\"]\n", secure.address);
    declared.text(&addresses)
}

/// A number of an object of the status.
pub(crate) fn number(object: &Value, name: &str) -> u64 {
    object[name]
        .as_u64()
        .unwrap_or_else(|| panic!("no number {name} in {object}"))
}

/// How often this cause or limit was hit, as `status` has it.
pub(crate) fn hits(status: &Value, name: &str) -> u64 {
    let limits = status["limits"].as_array().expect("there are limits");
    let limit = limits.iter().find(|limit| limit["name"] == name);
    number(limit.unwrap_or_else(|| panic!("no limit {name}")), "hits")
}

fn of_workers(status: &Value, counter: &str) -> u64 {
    let workers = status["workers"].as_array().expect("there are workers");
    workers.iter().map(|worker| number(worker, counter)).sum()
}

fn leftovers(status: &Value) -> Vec<String> {
    let mut left = Vec::new();
    for counter in [
        "connections",
        "idle_connections",
        "upstream_connections",
        "buffers_in_use",
    ] {
        let count = of_workers(status, counter);
        if count > 0 {
            left.push(format!("{counter} {count}"));
        }
    }
    for backend in status["backends"].as_array().into_iter().flatten() {
        for counter in ["connections", "in_flight"] {
            let count = number(backend, counter);
            if count > 0 {
                left.push(format!("{counter} {count} of {}", backend["backend"]));
            }
        }
    }
    left
}

fn next_cpu() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .unwrap_or("0");
    let cpus: Vec<usize> = allowed
        .trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<usize>().ok()?..=last.parse().ok()?)
        })
        .flatten()
        .collect();
    let turn = NEXT.fetch_add(1, Ordering::Relaxed);
    cpus.get(turn % cpus.len().max(1)).copied().unwrap_or(0)
}
