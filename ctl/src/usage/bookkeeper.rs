//! The thread of `up` that keeps the ledger: it writes down what sites are called, and folds what
//! planes counted, at the start, when a plane died, once a minute and at the end. Nobody waits
//! for it but the end of `up`, and that not for long: what it did not get to, the next one does.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use super::counters_directory::{CountersDirectory, PROGRAMS};
use super::folding::Fold;
use crate::event::Event;
use crate::ledger::{Ledger, LedgerFault, NamedSite};
use crate::memory;
use crate::output::Output;

/// From one fold to the next.
const FOLD_EVERY: Duration = Duration::from_secs(60);

/// How long the end of `up` waits for the last fold.
const LAST_FOLD_WITHIN: Duration = Duration::from_secs(1);

/// The names of so many are worth giving back: a start tells of all, a change of few.
const MANY_SITES: usize = 1000;

enum News {
    /// These sites are called so.
    Sites(Vec<NamedSite>),
    /// A plane ended.
    PlaneDied,
    /// Nothing more is to come.
    End,
}

/// The thread, for who has news for it.
#[derive(Clone)]
pub(crate) struct Bookkeeper {
    news: Sender<News>,
}

/// The thread, for who ends it.
pub(crate) struct LastFold {
    news: Sender<News>,
    stopping: Arc<AtomicBool>,
    ended: Receiver<()>,
}

impl Bookkeeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be no thread.
    pub(crate) fn start(
        ledger: PathBuf,
        counters: CountersDirectory,
        host: String,
        output: Output,
    ) -> io::Result<(Bookkeeper, LastFold)> {
        let (news, from_others) = channel();
        let (ending, ended) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let books = Books {
            path: ledger,
            ledger: None,
            counters,
            host,
            output,
            unnamed: Vec::new(),
            said: HashSet::new(),
            stopping: Arc::clone(&stopping),
        };
        std::thread::Builder::new()
            .name("bookkeeper".to_string())
            .spawn(move || {
                books.keep(&from_others);
                drop(ending);
            })?;
        let last_fold = LastFold {
            news: news.clone(),
            stopping,
            ended,
        };
        Ok((Bookkeeper { news }, last_fold))
    }

    /// Has it write down what sites are called.
    pub(crate) fn name_sites(&self, sites: Vec<NamedSite>) {
        if !sites.is_empty() {
            // It ends after us.
            let _ = self.news.send(News::Sites(sites));
        }
    }

    /// Has it fold what a plane left.
    pub(crate) fn plane_died(&self) {
        let _ = self.news.send(News::PlaneDied);
    }
}

impl LastFold {
    /// Waits for a last fold, but not for long.
    pub(crate) fn wait(self) {
        let _ = self.news.send(News::End);
        let _ = self.ended.recv_timeout(LAST_FOLD_WITHIN);
        // What is under way ends at its next step.
        self.stopping.store(true, Ordering::Relaxed);
    }
}

struct Books {
    path: PathBuf,
    /// Opened when it is first needed, and again after an error.
    ledger: Option<Ledger>,
    counters: CountersDirectory,
    host: String,
    output: Output,
    /// Sites that could not be written down yet.
    unnamed: Vec<NamedSite>,
    /// What was warned of the last time.
    said: HashSet<String>,
    stopping: Arc<AtomicBool>,
}

impl Books {
    fn keep(mut self, news: &Receiver<News>) {
        let mut fold_at = Instant::now();
        loop {
            match news.recv_timeout(fold_at.saturating_duration_since(Instant::now())) {
                Ok(News::Sites(sites)) => {
                    self.unnamed.extend(sites);
                    if self.write_names().is_err() {
                        // The next fold tries again, and says why when it fails.
                        self.ledger = None;
                    }
                }
                Ok(News::PlaneDied) => fold_at = Instant::now(),
                Err(RecvTimeoutError::Timeout) => {
                    self.fold();
                    fold_at = Instant::now() + FOLD_EVERY;
                }
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return self.fold(),
            }
        }
    }

    fn fold(&mut self) {
        let faults = match self.try_fold() {
            Ok(faults) => faults,
            Err(fault) => {
                self.ledger = None;
                vec![format!(
                    "{fault}; what was served is kept in {} until the ledger takes it",
                    self.counters.path().display()
                )]
            }
        };
        for fault in faults.iter().filter(|fault| !self.said.contains(*fault)) {
            self.output
                .event(&Event::Warning(format!("usage: {fault}")));
        }
        self.said = faults.into_iter().collect();
    }

    fn try_fold(&mut self) -> Result<Vec<String>, LedgerFault> {
        self.write_names()?;
        let stopping = Arc::clone(&self.stopping);
        let mut faults = Vec::new();
        for program in PROGRAMS {
            let mut fold = Fold {
                ledger: open(&mut self.ledger, &self.path)?,
                counters: &self.counters.of(program),
                host: &self.host,
                go_on: &mut || !stopping.load(Ordering::Relaxed),
                faults: Vec::new(),
            };
            fold.run();
            faults.extend(fold.faults);
        }
        Ok(faults)
    }

    fn write_names(&mut self) -> Result<(), LedgerFault> {
        if !self.unnamed.is_empty() {
            open(&mut self.ledger, &self.path)?.name_sites(&self.unnamed)?;
            let named = std::mem::take(&mut self.unnamed).len();
            if named >= MANY_SITES {
                memory::give_back();
            }
        }
        Ok(())
    }
}

fn open<'a>(
    ledger: &'a mut Option<Ledger>,
    path: &std::path::Path,
) -> Result<&'a mut Ledger, LedgerFault> {
    match ledger {
        Some(ledger) => Ok(ledger),
        None => Ok(ledger.insert(Ledger::open(path)?)),
    }
}
