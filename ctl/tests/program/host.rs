//! A host for the tests: a directory with a manifest, a state directory and a
//! stand-in for the dataplane, and the programs that run on it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Nothing in these tests takes this long but on a machine that is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Host {
    directory: tempfile::TempDir,
    pub(crate) http: SocketAddr,
}

impl Host {
    /// A host with a manifest that is right: two workers on one free address.
    pub(crate) fn new() -> Host {
        let host = Host {
            directory: tempfile::tempdir().unwrap(),
            http: free_address(),
        };
        host.write_manifest(&host.manifest());
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    pub(crate) fn manifest(&self) -> String {
        format!(
            r#"[host]
name = "h1"
workers = 2
backend_networks = ["127.0.0.0/8"]

[listen]
http = ["{}"]

[[tenant]]
name = "acme"

[[site]]
tenant = "acme"
name = "shop"
hostnames = ["shop.example.com", "*.shop.example.com"]

[[site.backend]]
name = "a1"
address = "127.0.0.1:9001"

[[site.backend]]
name = "a2"
address = "127.0.0.1:9002"
"#,
            self.http
        )
    }

    /// The manifest with one more site, so that it means something else.
    pub(crate) fn larger_manifest(&self) -> String {
        self.manifest()
            + r#"
[[site]]
tenant = "acme"
name = "blog"
hostnames = ["blog.example.com"]

[[site.backend]]
address = "127.0.0.1:9003"
"#
    }

    pub(crate) fn write_manifest(&self, text: &str) {
        std::fs::write(self.path("h1.toml"), text).unwrap();
    }

    /// The fleet's secret, as `fleet.key` beside the manifest.
    pub(crate) fn write_secret(&self) {
        let path = self.path("fleet.key");
        std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        let owner_alone = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, owner_alone).unwrap();
    }

    /// What the stand-in for the dataplane does from its next start on.
    pub(crate) fn behave(&self, words: &str) {
        std::fs::write(self.path("behaviour"), words).unwrap();
    }

    /// `meridianctl` with these arguments, in this host's surroundings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meridianctl"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("MERIDIAN_STATE", self.state())
            .env("MERIDIAN_DATAPLANE", fake_plane())
            .env("FAKE_PLANE_DIR", self.directory.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Starts `up` on the manifest.
    pub(crate) fn up(&self) -> Running {
        self.up_with(&[])
    }

    pub(crate) fn up_with(&self, more: &[&str]) -> Running {
        let mut command = self.command(&["up", "-f", "h1.toml"]);
        Running::start(command.args(more))
    }

    /// The lines that the stand-in wrote, each as (time in ms, pid, what, detail).
    pub(crate) fn journal(&self) -> Vec<(u64, u32, String, String)> {
        let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
        text.lines()
            .map(|line| {
                let mut parts = line.splitn(4, ' ');
                let mut part = || parts.next().unwrap();
                let (time_ms, pid) = (part().parse().unwrap(), part().parse().unwrap());
                (time_ms, pid, part().to_string(), part().to_string())
            })
            .collect()
    }

    /// The details of the journal's lines of one kind.
    pub(crate) fn noted(&self, what: &str) -> Vec<String> {
        let journal = self.journal().into_iter();
        journal
            .filter(|line| line.2 == what)
            .map(|line| line.3)
            .collect()
    }

    /// The pids of the planes that were started, in order.
    pub(crate) fn planes(&self) -> Vec<u32> {
        let journal = self.journal().into_iter();
        journal
            .filter(|line| line.2 == "start")
            .map(|line| line.1)
            .collect()
    }

    /// Asks for `/` and gives what the plane answered: its pid.
    pub(crate) fn get(&self) -> u32 {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (_, body) = response.split_once("\r\n\r\n").unwrap();
        body.parse().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What stands outside of our directory: page files on a tmpfs.
        if let Ok(pages) = std::fs::read_link(self.state().join("counters/pages")) {
            let _ = std::fs::remove_dir_all(pages);
        }
    }
}

/// A loopback address that nobody has, and that no test gets twice. Below the
/// ports from which the kernel takes those of clients, or else one of them
/// might have it by the time it is listened on.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(taken < COUNT, "no port is free");
        let offset = (std::process::id().wrapping_mul(97).wrapping_add(taken)) % COUNT;
        let port = u16::try_from(FIRST + offset).unwrap();
        if let Ok(free) = TcpListener::bind(("127.0.0.1", port)) {
            return free.local_addr().unwrap();
        }
    }
}

pub(crate) fn fake_plane() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_meridianctl"));
    let example = program.with_file_name("examples").join("fake-plane");
    assert!(
        example.is_file(),
        "{} is missing: build it with `cargo build -p meridianctl --examples`",
        example.display()
    );
    example
}

/// A command that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Checks the exit code and that stderr holds each of these.
    #[track_caller]
    pub(crate) fn expect(self, code: i32, stderr: &[&str]) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in stderr {
            assert!(self.stderr.contains(part), "no {part:?} in {self:?}");
        }
        self
    }

    /// The one JSON value on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A command that runs. It is killed when the test ends without waiting for it.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    stderr_reader: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, stdout) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let collected = Arc::clone(&stderr);
        let stderr_reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *collected.lock().unwrap() += &(line + "\n");
            }
        });
        Running {
            child,
            stdout,
            stderr,
            stderr_reader: Some(stderr_reader),
        }
    }

    /// The next line on stdout.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        match self.stdout.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(_) => panic!("nothing on stdout; stderr: {}", self.stderr()),
        }
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end; all of stderr is read then.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Ended {
        let status = wait_for("the end", || self.child.try_wait().unwrap());
        self.stderr_reader.take().unwrap().join().unwrap();
        Ended {
            code: code(status),
            stdout: self.stdout.try_iter().collect::<Vec<_>>().join("\n"),
            stderr: self.stderr(),
        }
    }

    /// Tells it to stop and waits for a good end.
    #[track_caller]
    pub(crate) fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait().expect(0, &[])
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code().or(status.signal().map(|signal| -signal))
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie that nobody has waited for yet is dead.
    !status.is_empty() && !status.contains(") Z ")
}

pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}
