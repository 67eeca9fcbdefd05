//! The access log: a line of JSON for each request of a site that asks for it.
//!
//! A worker puts an [`Entry`] into a queue of its own, as bytes; a thread takes the entries out of
//! all queues, makes lines of them and writes them to the file. Nobody waits: an entry that
//! finds no room is counted as lost. The thread comes by itself ten times a second, and is woken
//! when a queue is half full.

mod entry;
mod file;
mod queue;

pub(crate) use entry::{CutTexts, Entry};
pub(crate) use queue::LogQueue;

use file::LogFile;
use meridian_model::limits::{LOG_BATCH_BYTES, LOG_QUEUE_BYTES};
use queue::Taker;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::Thread;
use std::time::Duration;

/// How often the thread looks into the queues by itself.
const TICK: Duration = Duration::from_millis(100);
/// How long the end of the plane waits for the last lines: a disk that hangs does not hold it up.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);

/// How the access log stands: its thread writes, others read and ask.
#[derive(Debug)]
pub(crate) struct LogStanding {
    path: PathBuf,
    lines: AtomicU64,
    fault: Mutex<Option<String>>,
    reopen: AtomicBool,
    ending: AtomicBool,
}

impl LogStanding {
    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lines that the file took.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Why lines can not be written now.
    pub(crate) fn fault(&self) -> Option<String> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Keeps what is wrong, and says it once.
    fn set_fault(&self, fault: Option<String>) {
        let mut standing = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fault) = &fault
            && standing.is_none()
        {
            eprintln!("meridian-dataplane: the access log can not be written: {fault}");
        }
        *standing = fault;
    }
}

/// The access log of a plane.
#[derive(Debug)]
pub(crate) struct AccessLog {
    standing: Arc<LogStanding>,
    thread: Thread,
    ended: mpsc::Receiver<()>,
}

/// Has a log's file opened anew.
#[derive(Debug, Clone)]
pub(crate) struct Reopener {
    standing: Arc<LogStanding>,
    thread: Thread,
}

impl Reopener {
    /// Lines that are written from now on go to whatever has the file's name.
    pub(crate) fn reopen(&self) {
        self.standing.reopen.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl AccessLog {
    /// Starts the thread, which writes to `path`, and gives the queues of `workers` workers.
    pub(crate) fn start(path: &Path, workers: usize) -> Result<(AccessLog, Vec<LogQueue>), String> {
        let standing = Arc::new(LogStanding {
            path: path.to_owned(),
            lines: AtomicU64::new(0),
            fault: Mutex::new(None),
            reopen: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        });
        let (makers, takers): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| queue::pair(LOG_QUEUE_BYTES)).unzip();
        let mut writer = Writer {
            standing: Arc::clone(&standing),
            file: LogFile::new(path),
            queues: takers,
        };
        let (ending, ended) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writer.run();
                drop(ending);
            })
            .map_err(|error| format!("starting the thread of the access log: {error}"))?;
        let thread = thread.thread().clone();
        let queues = makers
            .into_iter()
            .map(|maker| LogQueue::new(maker, thread.clone()));
        let log = AccessLog {
            standing,
            thread: thread.clone(),
            ended,
        };
        Ok((log, queues.collect()))
    }

    /// How it stands.
    pub(crate) fn standing(&self) -> &Arc<LogStanding> {
        &self.standing
    }

    /// What opens its file anew.
    pub(crate) fn reopener(&self) -> Reopener {
        Reopener {
            standing: Arc::clone(&self.standing),
            thread: self.thread.clone(),
        }
    }

    /// Writes what the workers left, if that can be done soon, and ends the thread.
    pub(crate) fn finish(self) {
        self.standing.ending.store(true, Ordering::Release);
        self.thread.unpark();
        let _ = self.ended.recv_timeout(LAST_LINES_TIMEOUT);
    }
}

/// What the thread works with.
struct Writer {
    standing: Arc<LogStanding>,
    file: LogFile,
    queues: Vec<Taker>,
}

impl Writer {
    fn run(&mut self) {
        loop {
            // Looked at first: what was put into a queue before the end is then met.
            let ending = self.standing.ending.load(Ordering::Acquire);
            self.write_all();
            self.standing.set_fault(self.file.fault());
            if ending {
                return;
            }
            std::thread::park_timeout(TICK);
        }
    }

    /// Writes until the queues are empty or the file takes no more.
    fn write_all(&mut self) {
        loop {
            // Under load there is always more, so that this is looked at here.
            if self.standing.reopen.swap(false, Ordering::AcqRel) {
                self.file.reopen();
            }
            if self.file.has_room(LOG_BATCH_BYTES) {
                let file = &mut self.file;
                for queue in &mut self.queues {
                    queue.take(|entry| {
                        file.add_line(|line| entry.write_json(line));
                        file.has_room(LOG_BATCH_BYTES)
                    });
                }
            }
            if self.file.is_done() {
                return;
            }
            let lines = self.file.write();
            self.standing.lines.fetch_add(lines, Ordering::Relaxed);
            if !self.file.is_done() {
                return;
            }
        }
    }
}
