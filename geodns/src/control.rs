//! The local socket: a line of JSON in, a line of JSON out, a thread for each connection.

use crate::configuration::Configuration;
use crate::explaining::{Subject, Unexplained};
use crate::geography::Asker;
use crate::peers::Peers;
use crate::status;
use crate::usage::Usage;
use crate::workers::Workers;
use ipnet::IpNet;
use meridian_model::geo::Explanation;
use meridian_model::limits::{LOCAL_CONNECTIONS_MAX, LOCAL_LINE_BYTES_MAX};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The version of what is said over the local socket.
pub(crate) const PROTOCOL: u32 = 1;
/// How long an answer waits for the workers.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer waits for a revision to be compiled.
const COMPILED_WITHIN: Duration = Duration::from_secs(60);
/// How long an answer waits for a table to be made, or for a database to be read.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may say nothing.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// What answers are made from.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) configuration: Configuration,
    pub(crate) geography: Asker,
    pub(crate) peers: Peers,
    pub(crate) workers: Workers,
    pub(crate) usage: Arc<Usage>,
    /// Where DNS is answered.
    pub(crate) listen: Vec<SocketAddr>,
    /// A stop was asked for.
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) started: Instant,
}

/// The socket in the file system; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct LocalSocket(PathBuf);

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts to answer at STATE/run/geodns.sock.
pub(crate) fn start(state: &Path, control: Control) -> Result<LocalSocket, String> {
    let path = state.join("run").join("geodns.sock");
    let listener = listen(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let control = Arc::new(control);
    let open = Arc::new(AtomicUsize::new(0));
    std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else {
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                };
                if open.load(Ordering::Relaxed) >= LOCAL_CONNECTIONS_MAX {
                    continue;
                }
                open.fetch_add(1, Ordering::Relaxed);
                let (control, count) = (Arc::clone(&control), Arc::clone(&open));
                let conversation = std::thread::Builder::new()
                    .name("conversation".to_owned())
                    .spawn(move || {
                        // Whoever hangs up needs no answer.
                        let _ = control.converse(stream);
                        count.fetch_sub(1, Ordering::Relaxed);
                    });
                if conversation.is_err() {
                    open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        })
        .map_err(|error| format!("starting the control thread: {error}"))?;
    Ok(LocalSocket(path))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

impl Control {
    /// One line in, one line out, until the other side ends or says what we do not know.
    fn converse(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(SILENT_MAX))?;
        stream.set_write_timeout(Some(SILENT_MAX))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            let most = LOCAL_LINE_BYTES_MAX as u64 + 1;
            reader.by_ref().take(most).read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                return Ok(());
            }
            let (answer, go_on) = self.answer(&line);
            let mut text = answer.to_string();
            text.push('\n');
            writer.write_all(text.as_bytes())?;
            if !go_on {
                return Ok(());
            }
        }
    }

    fn answer(&self, line: &[u8]) -> (Value, bool) {
        let asked: Value = match serde_json::from_slice(line) {
            Ok(asked) => asked,
            Err(error) => return (json!({ "error": format!("not JSON: {error}") }), false),
        };
        let number = |key: &str| match asked.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(json!({ "error": format!("{key}: not a number: {value}") })),
            },
        };
        match asked.get("op").and_then(Value::as_str) {
            Some("status") => {
                let is_brief = asked.get("brief") == Some(&Value::Bool(true));
                (self.status(is_brief), true)
            }
            Some("usage") => (json!(self.usage.answer()), true),
            Some("explain") => (self.explain(&asked), true),
            Some("follow") => match (number("generation"), number("length")) {
                (Ok(generation), Ok(length)) => (self.follow(generation, length), true),
                (Err(fault), _) | (_, Err(fault)) => (fault, false),
            },
            _ => (
                json!({ "error": "op: not one of status, usage, explain, follow" }),
                false,
            ),
        }
    }

    fn status(&self, is_brief: bool) -> Value {
        let Some(position) = self.configuration.position(WORKERS_TIMEOUT) else {
            return json!({ "error": "a revision is still being compiled; ask again" });
        };
        let reports = self.workers.reports(WORKERS_TIMEOUT);
        let peers = self.peers.report(WORKERS_TIMEOUT);
        let peers = peers.unwrap_or_default();
        status::report(self, &position, &reports, &peers, is_brief)
    }

    /// Why a prefix gets its ranking of the groups, and where a name comes along, its answer.
    fn explain(&self, asked: &Value) -> Value {
        let client = asked.get("client").and_then(Value::as_str);
        let Some(client) = client.and_then(prefix) else {
            return json!({ "error": "client: write a prefix, such as \"192.0.2.0/24\"" });
        };
        let Some(name) = asked.get("name") else {
            return match self.located(client) {
                Ok(explanation) => json!(explanation),
                Err(fault) => json!({ "error": fault }),
            };
        };
        let Some(position) = self.configuration.position(WORKERS_TIMEOUT) else {
            return json!({ "error": "a revision is still being compiled; ask again" });
        };
        let subject = match Subject::find(&position.state, name.as_str().unwrap_or_default()) {
            Ok(subject) => subject,
            Err(Unexplained { why, is_absent }) => {
                return json!({ "error": why, "absent": is_absent });
            }
        };
        // Without a table nobody is located, and every group is as close.
        if position.state.geography.is_none() {
            return subject.explain(client, None);
        }
        match self.located(client) {
            Ok(explanation) => subject.explain(client, Some(&explanation)),
            Err(fault) => json!({ "error": fault }),
        }
    }

    fn located(&self, client: IpNet) -> Result<Explanation, String> {
        let (address, bits) = (client.addr(), client.prefix_len());
        self.geography.explain(address, bits, EXPLAINED_WITHIN)
    }

    /// Takes up what was announced; answers when every worker answers from it.
    fn follow(&self, generation: Option<u64>, length: Option<u64>) -> Value {
        let followed = self
            .configuration
            .follow(generation, length, COMPILED_WITHIN);
        let Some(position) = followed else {
            return json!({ "error": "the revision is still being compiled", "revision": 0 });
        };
        let newest = position.state.zones.revision;
        let reports = self.workers.reports(WORKERS_TIMEOUT);
        let live = reports.iter().map(|report| report.revision).min();
        let mut answer = json!({
            "revision": live.unwrap_or(newest),
            "generation": position.generation,
        });
        let is_late = reports.len() < self.workers.len();
        let late = is_late.then(|| "not every worker took the revision up in time".to_owned());
        if let Some(fault) = position.fault.or(late) {
            answer["error"] = fault.into();
        }
        answer
    }
}

/// An address is a prefix of all of its bits. One of none says nothing of where anybody is.
fn prefix(text: &str) -> Option<IpNet> {
    let prefix = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    (prefix.prefix_len() > 0).then(|| prefix.trunc())
}
