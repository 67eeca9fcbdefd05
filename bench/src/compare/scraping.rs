//! Somebody who asks a server for its metrics, as Prometheus does.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::failure::Failure;

/// From one time to the next: oftener than anybody's, so that it is seen in a few seconds.
const INTERVAL: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// It is asked until this ends.
pub(super) struct Scraping {
    end: Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Scraping {
    pub(super) fn start(address: SocketAddr) -> Scraping {
        let (end, ended) = mpsc::channel();
        let thread = thread::spawn(move || {
            loop {
                scrape(address)?;
                match ended.recv_timeout(INTERVAL) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        });
        Scraping { end, thread }
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// That there was no answer, or another one than metrics.
    pub(super) fn end(self) -> Result<(), Failure> {
        // It has ended by itself where it failed.
        let _ = self.end.send(());
        let asked = self.thread.join();
        let asked = asked.map_err(|_| Failure::new("the thread that asks for metrics failed"))?;
        asked.map_err(Failure::at("metrics"))
    }
}

fn scrape(address: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    write!(
        connection,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let is_told =
        answer.starts_with(b"HTTP/1.1 200 ") && answer.windows(7).any(|it| it == b"# TYPE ");
    is_told.then_some(()).ok_or_else(|| {
        let begin = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        io::Error::other(format!("not what /metrics answers: {begin:?}"))
    })
}
