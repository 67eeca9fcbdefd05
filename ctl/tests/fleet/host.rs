//! One host: an `up` with both planes, and what can be done to it.

use crate::place::Place;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Nothing takes this long but on a machine that is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    index: usize,
    directory: PathBuf,
    up: Option<Child>,
}

impl Host {
    /// Writes what it needs below `directory`.
    pub(crate) fn new(index: usize, directory: &Path, manifest: &str) -> Host {
        let directory = directory.join(format!("h{index}"));
        fs::create_dir(&directory).expect("there is room");
        fs::write(directory.join("host.toml"), manifest).expect("there is room");
        let secret = "a secret that the whole fleet of this test has";
        fs::write(directory.join("fleet.key"), secret).expect("there is room");
        Host {
            index,
            directory,
            up: None,
        }
    }

    /// Starts it where it stands, and waits until it serves.
    pub(crate) fn start(&mut self, place: &Place) {
        let mut command = place.command(self.index, env!("CARGO_BIN_EXE_meridianctl"));
        let path = self.directory.join("stderr");
        let log = fs::File::options().create(true).append(true).open(path);
        command
            .args(["up", "-f", "host.toml", "--state", "state"])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("there is room"));
        let mut up = command.spawn().expect("the programs are there");
        let output = up.stdout.take().expect("it is piped");
        let (ready, is_ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = ready.send(line);
            }
        });
        let line = is_ready.recv_timeout(PATIENCE).unwrap_or_default();
        self.up = Some(up);
        assert!(line.starts_with("ready "), "{line:?}: {}", self.said());
    }

    /// What it wrote to stderr.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.directory.join("stderr")).unwrap_or_default()
    }

    /// Whether it runs.
    pub(crate) fn is_running(&self) -> bool {
        self.up.is_some()
    }

    /// `kill -9`: its planes go with it.
    pub(crate) fn kill(&mut self) {
        let planes = ["dataplane", "geodns"].map(|plane| self.pid(plane));
        if let Some(mut up) = self.up.take() {
            up.kill().expect("it is our child");
            up.wait().expect("it is our child");
        }
        let begun = Instant::now();
        let lives = |pid: &i32| Path::new(&format!("/proc/{pid}/exe")).exists();
        while planes.iter().flatten().any(lives) {
            assert!(begun.elapsed() < PATIENCE, "its planes live on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The process that holds a plane's lock.
    fn pid(&self, plane: &str) -> Option<i32> {
        let lock = self.directory.join("state").join(format!("{plane}.lock"));
        fs::read_to_string(lock).ok()?.trim().parse().ok()
    }

    /// Has its proxy hang, or go on.
    pub(crate) fn signal_proxy(&self, signal: Signal) {
        let pid = self.pid("dataplane").and_then(Pid::from_raw);
        kill_process(pid.expect("it runs"), signal).expect("it is there");
    }

    /// What its responder says of itself.
    pub(crate) fn responder(&self) -> Value {
        use std::io::Write;
        let socket = self.directory.join("state/run/geodns.sock");
        let stream = std::os::unix::net::UnixStream::connect(socket);
        let mut stream = stream.expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it is set");
        stream
            .write_all(b"{\"op\":\"status\"}\n")
            .expect("it reads");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("it answers");
        serde_json::from_str(&line).expect("it is JSON")
    }

    /// `meridianctl` with these arguments and its state directory.
    pub(crate) fn call(&self, arguments: &[&str]) -> String {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_meridianctl"))
            .args(arguments)
            .args(["--state", "state"])
            .current_dir(&self.directory)
            .output()
            .expect("it is there");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.up.is_some() {
            if std::thread::panicking() {
                eprintln!("h{} said:\n{}", self.index, self.said());
            }
            self.kill();
        }
        // Page files stand on a tmpfs.
        if let Ok(pages) = fs::read_link(self.directory.join("state/counters/pages")) {
            let _ = fs::remove_dir_all(pages);
        }
    }
}
