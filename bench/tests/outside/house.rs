//! What the tests share: programs of the bench, started on loopback and ended by id.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ALONE: Mutex<()> = Mutex::new(());

/// Held by every test: what measures time is not to be measured beside another.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // A test that failed leaves nothing behind that the next one uses.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A `meridian-bench` that serves; dropping it ends it.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Served {
    pub(crate) fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be ended");
        self.child.wait().expect("a child can be waited for");
    }
}

pub(crate) fn bench() -> Command {
    Command::new(env!("CARGO_BIN_EXE_meridian-bench"))
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    bench()
        .args(arguments)
        .output()
        .expect("meridian-bench runs")
}

/// Runs to success and returns stdout.
pub(crate) fn run_well(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs to a failure with this exit code and returns stderr.
pub(crate) fn run_badly(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
    errors
}

pub(crate) fn backend(delay: &str) -> Served {
    let mut child = bench()
        .args(["backend", "--delay", delay])
        .stdout(Stdio::piped())
        .spawn()
        .expect("backend starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("backend says where it listens");
    let address = line
        .trim()
        .strip_prefix("listening ")
        .expect("an address")
        .parse()
        .expect("an address");
    Served { child, address }
}

pub(crate) fn bare_proxy(engine: &str, backend: SocketAddr) -> Served {
    let address = TcpListener::bind("127.0.0.1:0")
        .and_then(|probe| probe.local_addr())
        .expect("a free port");
    let child = bench()
        .args(["bare-proxy", "--engine", engine])
        .args([
            "--listen",
            &address.to_string(),
            "--backend",
            &backend.to_string(),
        ])
        .spawn()
        .expect("bare proxy starts");
    let served = Served { child, address };
    let begin = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{engine} does not listen"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    served
}

pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|directory| directory.join(name).is_file())
}
