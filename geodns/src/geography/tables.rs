//! The thread that makes geographic tables: of the database that the host's settings name, and of the
//! groups of the revision that is answered from. It looks after the files, and takes up what has
//! changed; whatever is wrong with a new file, the last good one stays.

use crate::geography::files::{Files, Identity};
use meridian_model::Problem;
use meridian_model::geo::{Database, EMBEDDED_ATTRIBUTION, Explanation, Geography, Group};
use meridian_model::local::{Geo, GeoDatabase};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How often the files are looked after.
const LOOK: Duration = Duration::from_secs(2);

/// Asks the thread, which ends with it.
#[derive(Debug)]
pub(crate) struct Tables {
    asker: Asker,
    newer: mpsc::Receiver<Arc<Geography>>,
}

/// Asks the thread for what changes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    requests: mpsc::Sender<Request>,
    standing: Arc<Mutex<Value>>,
}

#[derive(Debug)]
enum Request {
    /// Make a table for these groups.
    Rank {
        groups: Vec<Group>,
        answer: mpsc::SyncSender<Option<Arc<Geography>>>,
    },
    /// Say why a prefix gets its ranking.
    Explain {
        prefix: IpAddr,
        bits: u8,
        answer: mpsc::SyncSender<Result<Explanation, String>>,
    },
}

impl Tables {
    /// Starts the thread, and waits for its first table. Where the files are of no use, that is one
    /// of the database in the program.
    pub(crate) fn start(
        settings: Geo,
        groups: Vec<Group>,
    ) -> Result<(Tables, Option<Arc<Geography>>), String> {
        let (requests, receiver) = mpsc::channel();
        let (newer_sender, newer) = mpsc::channel();
        let standing = Arc::new(Mutex::new(Value::Null));
        let shared = Arc::clone(&standing);
        let (first, firsts) = mpsc::sync_channel(1);
        let run = move || {
            let mut thread = Thread::new(settings, groups, shared);
            let _ = first.try_send(thread.table.clone());
            let mut looked = Instant::now();
            loop {
                match receiver.recv_timeout(LOOK.saturating_sub(looked.elapsed())) {
                    Ok(request) => thread.answer(request),
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        if let Some(table) = thread.look() {
                            // Who asked for tables may have gone.
                            let _ = newer_sender.send(table);
                        }
                        looked = Instant::now();
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new()
            .name("geography".to_owned())
            .spawn(run)
            .map_err(|error| format!("starting the thread of geography: {error}"))?;
        let table = firsts.recv().map_err(|_| "the thread of geography ended")?;
        let asker = Asker { requests, standing };
        Ok((Tables { asker, newer }, table))
    }

    /// The table for `groups`, as soon as it is made: that takes some tenths of a second at most.
    pub(crate) fn rank(&self, groups: Vec<Group>) -> Option<Arc<Geography>> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.asker
            .requests
            .send(Request::Rank { groups, answer })
            .ok()?;
        answers.recv().ok()?
    }

    /// A table of newer files, for the groups that were named last; once. One for groups that
    /// were named before is passed over: theirs was made of the same files.
    pub(crate) fn newer(&self, groups: &[Group]) -> Option<Arc<Geography>> {
        let last = self.newer.try_iter().last()?;
        (last.groups() == groups).then_some(last)
    }

    /// See [`Asker`].
    pub(crate) fn asker(&self) -> Asker {
        self.asker.clone()
    }
}

impl Asker {
    /// What the tables are made of, for `status`.
    pub(crate) fn standing(&self) -> Value {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.clone()
    }

    /// Why the first `bits` of `prefix` get their ranking.
    pub(crate) fn explain(
        &self,
        prefix: IpAddr,
        bits: u8,
        within: Duration,
    ) -> Result<Explanation, String> {
        let (answer, answers) = mpsc::sync_channel(1);
        let asked = Request::Explain {
            prefix,
            bits,
            answer,
        };
        let gone = |_| "the thread of geography ended".to_owned();
        self.requests.send(asked).map_err(|_| gone(()))?;
        let late = |_| "a table is still being made; ask again".to_owned();
        answers.recv_timeout(within).map_err(late)?
    }
}

struct Thread {
    settings: Geo,
    groups: Vec<Group>,
    table: Option<Arc<Geography>>,
    /// What the table was made of; none: of the database in the program.
    files: Option<Files>,
    /// What was found at the paths when they were looked at last.
    seen: Vec<Option<Identity>>,
    /// Why not everything is as it was asked for.
    fault: Option<String>,
    standing: Arc<Mutex<Value>>,
}

impl Thread {
    fn new(settings: Geo, groups: Vec<Group>, standing: Arc<Mutex<Value>>) -> Thread {
        let mut thread = Thread {
            settings,
            groups,
            table: None,
            files: None,
            seen: Vec::new(),
            fault: None,
            standing,
        };
        if thread.paths().is_empty() || thread.look().is_none() {
            let fault = thread.fault.take();
            thread.make(None);
            thread.fault = fault.or(thread.fault.take());
            thread.tell();
        }
        if let Some(fault) = &thread.fault {
            eprintln!("meridian-geodns: {fault}");
        }
        thread
    }

    fn paths(&self) -> Vec<String> {
        match &self.settings.database {
            GeoDatabase::Embedded => vec![],
            GeoDatabase::File(file) => vec![file.clone()],
            GeoDatabase::Pair { v4, v6 } => vec![v4.clone(), v6.clone()],
        }
    }

    /// A table of the files, when they are others than at the last look and of use.
    fn look(&mut self) -> Option<Arc<Geography>> {
        let paths = self.paths();
        let seen: Vec<_> = paths.iter().map(|path| Identity::at(path)).collect();
        if seen == self.seen {
            return None;
        }
        self.seen = seen;
        let opened = Files::open(&paths);
        let made = match opened {
            Ok(files) => self.make(Some(files)),
            Err(fault) => {
                self.fault = Some(fault);
                false
            }
        };
        self.tell();
        self.table.clone().filter(|_| made)
    }

    /// Makes a table; whether it could be. It is kept with what it was made of.
    fn make(&mut self, files: Option<Files>) -> bool {
        match table(files.as_ref(), &self.groups, &self.settings) {
            Ok(table) => {
                self.table = Some(Arc::new(table));
                self.files = files;
                self.fault = None;
                true
            }
            Err(fault) => {
                self.fault = Some(fault);
                false
            }
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Rank { groups, answer } => {
                self.rank(groups);
                // Who asked may have gone; so below.
                let _ = answer.try_send(self.table.clone());
            }
            Request::Explain {
                prefix,
                bits,
                answer,
            } => {
                let _ = answer.try_send(self.explain(prefix, bits));
            }
        }
    }

    /// Makes a table for other groups, of the files as they were when they were good last. Where they
    /// were written over since, they are read anew at the next look.
    fn rank(&mut self, groups: Vec<Group>) {
        self.groups = groups;
        let known = self.fault.take();
        let files = self.files.take();
        if files.is_none() || !self.make(files) {
            let of_files = self.fault.take();
            if !self.make(None) {
                self.table = None;
            }
            self.fault = self.fault.take().or(of_files);
            self.seen.clear();
        }
        self.fault = self.fault.take().or(known);
        self.tell();
    }

    fn explain(&self, prefix: IpAddr, bits: u8) -> Result<Explanation, String> {
        let table = self.table.as_ref().ok_or("no groups are ranked")?;
        let explained = |database: Database<'_>| table.explain(database, prefix, bits);
        let said = match &self.files {
            None => explained(Database::Embedded),
            Some(files) => files.with(explained)?,
        };
        said.map_err(|problem| problem.to_string())
    }

    fn tell(&self) {
        let mut standing = json!({
            "database": match &self.files {
                Some(files) => json!(files.paths()),
                None => json!("embedded"),
            },
            "fault": self.fault,
        });
        if self.files.is_none() {
            standing["attribution"] = EMBEDDED_ATTRIBUTION.into();
        }
        if let Some(table) = &self.table {
            let [v4, v6] = table.ranges();
            let [v4_bytes, v6_bytes] = table.bytes();
            standing["rankings"] = table.rankings().into();
            standing["v4"] = json!({ "ranges": v4, "bytes": v4_bytes });
            standing["v6"] = json!({ "ranges": v6, "bytes": v6_bytes });
            let not_used = table.not_used().iter();
            standing["overrides_not_used"] = not_used.map(|it| json!(it.to_string())).collect();
        }
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

fn table(files: Option<&Files>, groups: &[Group], settings: &Geo) -> Result<Geography, String> {
    let said = |problem: Problem| problem.to_string();
    let places = match files {
        None => Database::Embedded.places().map_err(said)?,
        Some(files) => files
            .with(|database| database.places())?
            .map_err(|problem| format!("{}: {problem}", files.paths().join(", ")))?,
    };
    Geography::build(
        &places,
        groups.to_vec(),
        &settings.overrides,
        settings.tie_km,
    )
    .map_err(said)
}
