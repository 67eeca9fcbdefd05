//! Programs that the bench starts: pinned to a core, ended by their id, with their last words kept.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cores;
use crate::failure::Failure;
use crate::process_tree;

/// How long a program may take until it serves.
const START_LIMIT: Duration = Duration::from_secs(15);
/// After the first SIGTERM a second follows, then SIGKILL.
const STOP_PATIENCE: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(10);

/// A running program. Dropping it ends it and its descendants.
pub(crate) struct Program {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Starts `command` on `cores`, from `home`; what it prints goes to a file in `directory`.
    pub(crate) fn start(
        name: &str,
        command: Command,
        cores: &[usize],
        home: usize,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let output = directory.join(format!("{}.out", name.replace(' ', "-")));
        let file = File::create(&output).map_err(Failure::at(output.display()))?;
        let errors = file.try_clone().map_err(Failure::at(output.display()))?;
        let mut command = dying_with_us(&command);
        command.stdin(Stdio::null()).stdout(file).stderr(errors);
        cores::keep_to(cores)?;
        let started = command.spawn();
        cores::pin(home)?;
        let child = started.map_err(Failure::at(format!("starting {name}")))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `address` accepts a connection.
    pub(crate) fn wait_for_port(&mut self, address: SocketAddr) -> Result<(), Failure> {
        self.wait_for(&format!("accept on {address}"), |_| {
            TcpStream::connect(address).is_ok().then_some(())
        })
    }

    /// Waits for a line of its output that begins with `prefix`, and returns what follows it.
    pub(crate) fn wait_for_line(&mut self, prefix: &str) -> Result<String, Failure> {
        self.wait_for(&format!("print \"{prefix}\""), |text| {
            let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
            complete
                .lines()
                .find_map(|line| line.strip_prefix(prefix))
                .map(|rest| rest.trim().to_owned())
        })
    }

    fn wait_for<T>(&mut self, what: &str, ready: impl Fn(&str) -> Option<T>) -> Result<T, Failure> {
        let begin = Instant::now();
        while begin.elapsed() < START_LIMIT {
            if let Some(found) = ready(&self.said()) {
                return Ok(found);
            }
            self.check_alive(what)?;
            sleep(POLL);
        }
        Err(Failure::new(format!(
            "{} did not {what} within {} s; it said:\n{}",
            self.name,
            START_LIMIT.as_secs(),
            self.said()
        )))
    }

    /// An error with its last words when it ended before it could do `what`.
    pub(crate) fn check_alive(&mut self, what: &str) -> Result<(), Failure> {
        let Ok(Some(status)) = self.child.try_wait() else {
            return Ok(());
        };
        Err(Failure::new(format!(
            "{} ended with {status} before it could {what}:\n{}",
            self.name,
            self.said()
        )))
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    fn stop(&mut self) -> io::Result<()> {
        // Descendants are listed first: once their parent is gone nobody knows whose they were.
        // The time of start tells each from a later process with the same number.
        let family: Vec<(u32, Option<u64>)> = process_tree::members(self.child.id())
            .unwrap_or_default()
            .into_iter()
            .skip(1)
            .map(|pid| (pid, process_tree::started_ticks(pid)))
            .collect();
        for signal in [Signal::TERM, Signal::TERM, Signal::KILL] {
            if self.child.try_wait()?.is_some() {
                break;
            }
            signal_to(self.child.id(), signal);
            let begin = Instant::now();
            while begin.elapsed() < STOP_PATIENCE && self.child.try_wait()?.is_none() {
                sleep(POLL);
            }
        }
        for (pid, started_ticks) in family {
            if started_ticks.is_some() && process_tree::started_ticks(pid) == started_ticks {
                signal_to(pid, Signal::KILL);
            }
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!(
                "meridian-bench: {} (pid {}) could not be stopped: {error}",
                self.name,
                self.child.id()
            );
        }
    }
}

/// Runs `command` on the core of this process to its end and returns what it printed.
pub(crate) fn output_of(name: &str, mut command: Command) -> Result<String, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(Failure::at(format!("starting {name}")))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "{name} ended with {}:\n{}{}",
        output.status,
        said,
        errors.trim_end()
    )))
}

/// A loopback address whose port was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr, Failure> {
    free_address_at(Ipv4Addr::LOCALHOST)
}

/// The same of another address of loopback.
pub(crate) fn free_address_at(ip: Ipv4Addr) -> Result<SocketAddr, Failure> {
    TcpListener::bind((ip, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(Failure::at("finding a free port"))
}

/// This program itself.
pub(crate) fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::at("path of this program"))
}

/// Where Meridian's programs are: where they were said to be, or beside this one.
pub(crate) fn bin_dir(named: Option<&Path>) -> Result<PathBuf, Failure> {
    match named {
        Some(directory) => Ok(directory.to_owned()),
        None => Ok(this_program()?
            .parent()
            .map(PathBuf::from)
            .unwrap_or_default()),
    }
}

/// Says in words which of others' programs are not installed, and which of Meridian's are not in
/// `bin_dir` when they are wanted; all of it at once.
pub(crate) fn check_present(others: &[&str], bin_dir: Option<&Path>) -> Result<(), Failure> {
    let mut missing: Vec<String> = others
        .iter()
        .filter(|name| find(name).is_none())
        .map(|name| format!("{name} is not installed; on Debian or Ubuntu: apt-get install {name}"))
        .collect();
    let ours = ["meridianctl", "meridian-dataplane"];
    for path in bin_dir.iter().flat_map(|at| ours.map(|name| at.join(name))) {
        if !path.is_file() {
            missing.push(format!(
                "{} is not there; build it (cargo build --release), name another place with --bin-dir, \
                 or leave Meridian out with --variants haproxy,nginx",
                path.display()
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(missing.join("\n")))
}

/// [`find`], or an error that says what is missing.
pub(crate) fn found(name: &str) -> Result<PathBuf, Failure> {
    find(name).ok_or_else(|| Failure::new(format!("{name} is not installed")))
}

/// First program of that name on the PATH or where Debian puts servers.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
}

/// The same command, told by the kernel to end when the bench does, where setpriv of util-linux is there.
fn dying_with_us(command: &Command) -> Command {
    let Some(setpriv) = find("setpriv") else {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args());
        return same;
    };
    let mut wrapped = Command::new(setpriv);
    wrapped
        .args(["--pdeathsig", "TERM", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

/// Sends a signal to a process; one that is gone is passed over.
pub(crate) fn signal_to(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}
