//! The local socket of a plane: one JSON line out, one JSON line back.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use meridian_model::usage;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::limits::ANSWER_BYTES_MAX;
use crate::plane_status::{PROTOCOL, PlaneStatus};
use crate::store::Announcement;

const ANSWER_CHUNK_BYTES: usize = 64 * 1024;

/// What a plane answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The whole of it, fields unknown to this version included.
    pub(crate) json: Value,
    /// The part that this version reads.
    pub(crate) status: PlaneStatus,
}

/// Why a plane did not answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// No process listens there.
    NotRunning,
    /// This user may not ask.
    NotAllowed,
    /// It was asked and said nothing in time.
    TooSlow(Duration),
    /// It speaks another version of the protocol.
    OtherProtocol(u64),
    /// It hung up, or what it said is no answer.
    Broken(String),
}

/// Asks the plane behind `socket` for its status, waiting `within` at most.
///
/// # Errors
/// [`NoAnswer`] says why there is none.
pub(crate) fn status(socket: &Path, within: Duration) -> Result<Answer, NoAnswer> {
    ask_status(socket, b"{\"op\":\"status\"}\n", within)
}

/// Asks for the same without what there is one of for each site: quickly answered.
///
/// # Errors
/// As [`status`].
pub(crate) fn summary(socket: &Path, within: Duration) -> Result<Answer, NoAnswer> {
    ask_status(socket, b"{\"op\":\"status\",\"brief\":true}\n", within)
}

fn ask_status(socket: &Path, question: &[u8], within: Duration) -> Result<Answer, NoAnswer> {
    let line = exchange(socket, question, Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    let not_understood = |error: serde_json::Error| NoAnswer::Broken(error.to_string());
    let json: Value = serde_json::from_slice(&line).map_err(not_understood)?;
    // Before anything else, for another version may have other fields.
    match json.get("protocol").and_then(Value::as_u64) {
        Some(PROTOCOL) => {}
        Some(other) => return Err(NoAnswer::OtherProtocol(other)),
        None => return Err(NoAnswer::Broken("it names no protocol".to_string())),
    }
    let status = PlaneStatus::deserialize(&json).map_err(not_understood)?;
    Ok(Answer { json, status })
}

/// Asks the plane behind `socket` for what it has counted, waiting `within` at most.
///
/// # Errors
/// [`NoAnswer`] says why there is none.
pub(crate) fn usage(socket: &Path, within: Duration) -> Result<usage::Answer, NoAnswer> {
    let line = exchange(socket, b"{\"op\":\"usage\"}\n", Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    serde_json::from_slice(&line).map_err(|error| NoAnswer::Broken(error.to_string()))
}

/// What a plane remembers of a site.
#[derive(Debug, Deserialize)]
pub(crate) struct Failures {
    /// One object each, the newest first.
    #[serde(default)]
    pub(crate) failures: Vec<Value>,
    /// How many workers did not say what they remember.
    #[serde(default)]
    pub(crate) workers_missing: u64,
    /// Why there is no answer.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// Asks the plane behind `socket` for the last failures of a site, waiting `within` at most.
///
/// # Errors
/// [`NoAnswer`] says why there is none.
pub(crate) fn failures(socket: &Path, site: &str, within: Duration) -> Result<Failures, NoAnswer> {
    let question = format!("{}\n", json!({ "op": "failures", "site": site }));
    let line = exchange(socket, question.as_bytes(), Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    serde_json::from_slice(&line).map_err(|error| NoAnswer::Broken(error.to_string()))
}

/// Asks the responder behind `socket` why a client gets its answer of `name`, waiting `within` at
/// most. The answer is passed on as it came.
///
/// # Errors
/// [`NoAnswer`] says why there is none.
pub(crate) fn explain(
    socket: &Path,
    name: &str,
    client: &str,
    within: Duration,
) -> Result<Value, NoAnswer> {
    let question = format!(
        "{}\n",
        json!({ "op": "explain", "name": name, "client": client })
    );
    let line = exchange(socket, question.as_bytes(), Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    serde_json::from_slice(&line).map_err(|error| NoAnswer::Broken(error.to_string()))
}

/// What came of draining a backend, or of ending that.
#[derive(Debug, Deserialize)]
pub(crate) struct Drained {
    /// It was not so before.
    #[serde(default)]
    pub(crate) changed: bool,
    /// The backend is not configured.
    #[serde(default)]
    pub(crate) absent: bool,
    /// Why nothing came of it.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// Has the plane behind `socket` drain a backend, or end that, waiting `within` at most.
///
/// # Errors
/// [`NoAnswer`] says why it is not known whether it did.
pub(crate) fn drain(
    socket: &Path,
    backend: &str,
    draining: bool,
    within: Duration,
) -> Result<Drained, NoAnswer> {
    let op = if draining { "drain" } else { "ready" };
    let question = format!("{}\n", json!({ "op": op, "backend": backend }));
    let line = exchange(socket, question.as_bytes(), Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    serde_json::from_slice(&line).map_err(|error| NoAnswer::Broken(error.to_string()))
}

/// What a plane answered to an announcement.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Followed {
    /// What every worker runs, or something newer.
    pub(crate) revision: u64,
    /// Why it is not what was announced.
    #[serde(default)]
    pub(crate) error: Option<String>,
}

/// Announces how far the config log reaches, and waits `within` at most until every worker has
/// taken it up.
///
/// # Errors
/// [`NoAnswer`] says why there is no answer.
pub(crate) fn follow(
    socket: &Path,
    announced: Announcement,
    within: Duration,
) -> Result<Followed, NoAnswer> {
    let Announcement {
        revision: _,
        generation,
        length,
    } = announced;
    let question =
        format!("{{\"op\":\"follow\",\"generation\":{generation},\"length\":{length}}}\n");
    let line = exchange(socket, question.as_bytes(), Instant::now() + within)
        .map_err(|error| NoAnswer::of(&error, within))?;
    serde_json::from_slice(&line).map_err(|error| NoAnswer::Broken(error.to_string()))
}

impl NoAnswer {
    /// What an error of [`exchange`] means.
    pub(crate) fn of(error: &io::Error, within: Duration) -> NoAnswer {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {
                NoAnswer::NotRunning
            }
            ErrorKind::PermissionDenied => NoAnswer::NotAllowed,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => NoAnswer::TooSlow(within),
            _ => NoAnswer::Broken(error.to_string()),
        }
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NotRunning => f.write_str("does not run"),
            NoAnswer::NotAllowed => f.write_str("may not be asked by this user"),
            NoAnswer::TooSlow(within) => {
                write!(f, "said nothing within {:.1} s", within.as_secs_f64())
            }
            NoAnswer::OtherProtocol(other) => write!(f, "speaks protocol {other}"),
            NoAnswer::Broken(what) => write!(f, "did not answer rightly: {what}"),
        }
    }
}

/// Whether any process listens on `socket`.
pub(crate) fn somebody_listens(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// One line to `socket`, one line back.
///
/// # Errors
/// Of the socket; TimedOut after `deadline`.
pub(crate) fn exchange(socket: &Path, question: &[u8], deadline: Instant) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(question)?;
    let mut line = Vec::new();
    let mut chunk = vec![0; ANSWER_CHUNK_BYTES];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let read = match stream.read(&mut chunk) {
            Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it hung up")),
            Ok(read) => &chunk[..read],
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(end) = read.iter().position(|&byte| byte == b'\n') {
            line.extend_from_slice(&read[..end]);
            return Ok(line);
        }
        line.extend_from_slice(read);
        if line.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "its answer does not end",
            ));
        }
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A plane that answers one question with `answer` and hangs up.
    fn asked_of(answer: &'static str) -> Result<Answer, NoAnswer> {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let plane = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 16];
            stream.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"{\"op\":\"status\"}\n");
            for byte in answer.bytes() {
                stream.write_all(&[byte]).unwrap();
            }
        });
        let got = status(&socket, Duration::from_secs(10));
        plane.join().unwrap();
        got
    }

    #[test]
    fn an_answer_in_pieces_is_read_and_passed_on_whole() {
        let answer = asked_of(
            "{\"program\":\"dataplane\",\"protocol\":1,\"pid\":7,\"revision\":3,\"ready\":true,\"later\":1}\n",
        )
        .unwrap();
        assert_eq!((answer.status.pid, answer.status.revision), (7, 3));
        assert_eq!(answer.json["later"], 1);
    }

    #[test]
    fn half_an_answer_another_protocol_and_nonsense_are_told_apart() {
        assert!(matches!(asked_of("{\"prog"), Err(NoAnswer::Broken(_))));
        assert!(matches!(asked_of("hello\n"), Err(NoAnswer::Broken(_))));
        assert!(matches!(
            asked_of("{\"protocol\":2}\n"),
            Err(NoAnswer::OtherProtocol(2))
        ));
    }

    #[test]
    fn a_socket_that_nobody_serves_is_not_running() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let ask = || status(&socket, Duration::from_secs(1));
        assert!(matches!(ask(), Err(NoAnswer::NotRunning)));
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(ask(), Err(NoAnswer::NotRunning)));
        assert!(!somebody_listens(&socket));
    }

    #[test]
    fn a_plane_that_says_nothing_is_too_slow() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert!(matches!(
            status(&socket, Duration::from_millis(30)),
            Err(NoAnswer::TooSlow(_))
        ));
        assert!(somebody_listens(&socket));
    }
}
