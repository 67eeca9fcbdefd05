//! Handing this responder's view of the hosts to the proxy of this host, which gives it to who probes
//! this host. Over the local socket of the proxy, by a thread that may wait for it.

use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long the proxy may take: a view is worth nothing after that.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The hosts that this responder sees, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OwnView {
    pub(crate) up: Vec<String>,
    pub(crate) down: Vec<String>,
}

/// Starts the thread, which ends with what it gives: each view is handed over, the newest of
/// several that wait. The proxy may be away.
///
/// # Errors
///
/// When there can be no further thread.
pub(crate) fn start(socket: PathBuf) -> io::Result<mpsc::Sender<(Instant, OwnView)>> {
    let (sender, views) = mpsc::channel::<(Instant, OwnView)>();
    std::thread::Builder::new()
        .name("view".to_owned())
        .spawn(move || {
            let mut connection = None;
            while let Ok(first) = views.recv() {
                let newest = views.try_iter().last().unwrap_or(first);
                // One try more, for a connection that ended meanwhile.
                let _ = hand_over(&socket, &mut connection, &newest)
                    .or_else(|_| hand_over(&socket, &mut connection, &newest));
            }
        })?;
    Ok(sender)
}

fn hand_over(
    socket: &PathBuf,
    connection: &mut Option<BufReader<UnixStream>>,
    (at, view): &(Instant, OwnView),
) -> io::Result<()> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            BufReader::new(stream)
        }
    };
    let OwnView { up, down } = view;
    let age_ms = at.elapsed().as_millis() as u64;
    let line = json!({ "op": "view", "view": { "age_ms": age_ms, "up": up, "down": down } });
    writeln!(open.get_mut(), "{line}")?;
    let mut answer = String::new();
    open.read_line(&mut answer)?;
    let answer: Value = serde_json::from_str(&answer)?;
    if answer.get("error").is_none() {
        *connection = Some(open);
    }
    Ok(())
}
