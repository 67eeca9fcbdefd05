//! STATE/run/meridianctl.sock: where a running `up` takes changes and answers questions about the
//! desired state. One JSON object a line in, one out; each connection has a thread.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use meridian_model::certificate::Digest;
use meridian_model::change::{Change, Object, ObjectName};
use meridian_model::limits::{LOCAL_CONNECTIONS_MAX, MANIFEST_BYTES_MAX};
use meridian_model::{Desired, Local, Packed, Problems};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::certificates::keeping::{KEEP_BEGINS, Keeper, Unneeded};
use crate::change_request::{self, Refusal};
use crate::event::Event;
use crate::limits::{ASKER_TIMEOUT, CERTIFICATE_SWEEP, WAIT_MS_MAX, WAITING_MAX};
use crate::lines::Lines;
use crate::output::Output;
use crate::plane_process::{DATAPLANE, GEODNS};
use crate::plane_socket::{self, Followed, NoAnswer};
use crate::store::{Announcement, NotMade, Store};
use crate::suspending;
use crate::usage::bookkeeper::Bookkeeper;
use crate::usage::named_sites;

/// How long a plane is given for one announcement; the asker may wait longer.
const ANNOUNCE_WITHIN: Duration = Duration::from_secs(3);
/// From one announcement to the next while one waits.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(50);

/// What may be asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// Make everything of the manifest's owner equal to it.
    Apply {
        /// The host's settings in the manifest.
        local: Box<Local>,
        /// The rest of it.
        desired: Desired,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Make or replace one object.
    Set {
        /// Its kind.
        kind: String,
        /// Its full name.
        name: String,
        /// Its keys as in a manifest, each `key = value`.
        keys: Vec<String>,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Make or replace one certificate.
    SetCertificate {
        /// Its full name.
        name: String,
        /// What it is to hold, which was sent.
        digest: Digest,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Say which of these contents of certificates are kept. Those that are not are sent by a
    /// question that begins with [`KEEP_BEGINS`].
    KnownCertificates {
        /// Of chains with their keys.
        digests: Vec<Digest>,
    },
    /// Remove one object.
    Delete {
        /// Its kind.
        kind: String,
        /// Its full name.
        name: String,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Have a tenant or a site not served.
    Suspend {
        /// Its kind.
        kind: String,
        /// Its full name.
        name: String,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Have it served again.
    Resume {
        /// Its kind.
        kind: String,
        /// Its full name.
        name: String,
        /// The options of every change.
        #[serde(flatten)]
        how: How,
    },
    /// Show objects.
    Get {
        /// Their kind.
        kind: String,
        /// The full name of one.
        name: Option<String>,
    },
}

/// The options of a change.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct How {
    /// Say what would change, and change nothing.
    pub(crate) dry_run: bool,
    /// The revision that it was decided upon; another one since refuses it.
    pub(crate) on_revision: Option<u64>,
    /// How long to wait until it is live, in milliseconds.
    pub(crate) wait_ms: u64,
}

/// What an object becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Difference {
    /// `create`, `change` or `delete`.
    pub(crate) action: String,
    /// Its kind and name.
    pub(crate) object: String,
}

/// The answer to a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Changed {
    /// The revision that holds it.
    pub(crate) revision: u64,
    /// When that was on the disk (RFC 3339, UTC); none when nothing was to be changed.
    pub(crate) accepted_at: Option<String>,
    /// When every worker was seen to run it.
    pub(crate) live_at: Option<String>,
    /// Who does not run it yet, and why.
    pub(crate) pending: Vec<String>,
    /// What it changed.
    pub(crate) changes: Vec<Difference>,
    /// Local settings that differ and hold from the next start of `up`.
    pub(crate) restart: Vec<String>,
    /// What it did not bring about, and why.
    pub(crate) note: Option<String>,
    /// Whether anything was changed at all.
    pub(crate) dry_run: bool,
}

/// A change that was asked for, with what else the asker is told.
struct Asked {
    change: Change,
    restart: Vec<String>,
    note: Option<String>,
}

impl From<Change> for Asked {
    fn from(change: Change) -> Asked {
        Asked {
            change,
            restart: Vec::new(),
            note: None,
        }
    }
}

/// Why nothing was done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// In words.
    pub(crate) error: String,
    /// The exit code that it means.
    pub(crate) exit: u8,
    /// What is wrong with the input.
    pub(crate) problems: Option<Problems>,
}

/// The server of the socket.
pub(crate) struct ControlSocket {
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

struct Server {
    store: Mutex<Store>,
    keeper: Keeper,
    planes: Sockets,
    bookkeeper: Bookkeeper,
    output: Output,
    /// But for those that only wait for the plane.
    connections: AtomicUsize,
    waiting: AtomicUsize,
    following: Mutex<Following>,
    followed: Condvar,
}

/// Where the planes of this host answer.
pub(crate) struct Sockets {
    pub(crate) dataplane: PathBuf,
    /// None: DNS is not answered here.
    pub(crate) geodns: Option<PathBuf>,
}

impl Sockets {
    /// Announces how far the config log reaches to each plane, and waits `within` at most for each until
    /// it has taken that up. What all of them serve, or something newer.
    ///
    /// # Errors
    /// The first plane that gives no answer, and why.
    fn follow(&self, announced: Announcement, within: Duration) -> Result<Followed, String> {
        let ask = |plane: &str, socket: &Path| {
            let followed = plane_socket::follow(socket, announced, within);
            let mut followed = followed.map_err(|why| format!("{plane}: {why}"))?;
            let revision = followed.revision;
            let error = followed.error.take();
            followed.error = error.map(|it| format!("{plane}: serves revision {revision}: {it}"));
            Ok::<_, String>(followed)
        };
        let served = ask(DATAPLANE, &self.dataplane)?;
        let Some(geodns) = &self.geodns else {
            return Ok(served);
        };
        let answered = ask(GEODNS, geodns)?;
        Ok(Followed {
            revision: served.revision.min(answered.revision),
            error: served.error.or(answered.error),
        })
    }
}

/// What the plane was told and said: one announcement at a time, for all that wait.
#[derive(Default)]
struct Following {
    /// Announcements that were begun.
    begun: u64,
    running: bool,
    /// The last one that ended, by its number.
    last: Option<(u64, Result<Followed, String>)>,
}

/// Starts to answer, with the store that `open` gives: who asks before waits for it. Where it gives
/// none, nobody is answered.
///
/// # Errors
/// When the socket can not be made.
pub(crate) fn start(
    path: &Path,
    open: impl FnOnce() -> Option<Store> + Send + 'static,
    keeper: Keeper,
    planes: Sockets,
    bookkeeper: Bookkeeper,
    output: Output,
) -> io::Result<ControlSocket> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let control = ControlSocket {
        path: path.to_owned(),
    };
    std::thread::Builder::new()
        .name("control".to_string())
        .spawn(move || {
            let Some(store) = open() else {
                return;
            };
            let server = Arc::new(Server {
                store: Mutex::new(store),
                keeper,
                planes,
                bookkeeper,
                output,
                connections: AtomicUsize::new(0),
                waiting: AtomicUsize::new(0),
                following: Mutex::default(),
                followed: Condvar::new(),
            });
            let sweeper = Arc::clone(&server);
            let sweeping = std::thread::Builder::new().name("certificates".to_string());
            if let Err(error) = sweeping.spawn(move || sweeper.sweep_certificates()) {
                let what = format!("no certificate will be removed: starting a thread: {error}");
                server.output.event(&Event::Warning(what));
            }
            accept(&listener, &server);
        })?;
    Ok(control)
}

fn accept(listener: &UnixListener, server: &Arc<Server>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(100));
            continue;
        };
        if server.connections.load(Ordering::Relaxed) >= LOCAL_CONNECTIONS_MAX {
            continue;
        }
        server.connections.fetch_add(1, Ordering::Relaxed);
        let this = Arc::clone(server);
        let spawned = std::thread::Builder::new().spawn(move || {
            // Whoever asked and went away does not want to know.
            let _ = this.converse(stream);
            this.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            server.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Server {
    fn converse(&self, stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(ASKER_TIMEOUT))?;
        stream.set_write_timeout(Some(ASKER_TIMEOUT))?;
        let mut answers = stream.try_clone()?;
        // JSON may be longer than the manifest that it came from.
        let mut questions = Lines::new(stream, 2 * MANIFEST_BYTES_MAX);
        loop {
            let Some(line) = questions.next()? else {
                return Ok(());
            };
            let mut answer = if line.starts_with(KEEP_BEGINS) {
                let kept = self.keeper.keep(&line);
                answered(kept.map(|kept| json!({ "kept": kept })))
            } else {
                match serde_json::from_slice(&line) {
                    Ok(question) => self.answer(question),
                    Err(error) => json!({"error": format!("not understood: {error}"), "exit": 2}),
                }
            }
            .to_string();
            answer.push('\n');
            answers.write_all(answer.as_bytes())?;
            self.compact();
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, question: Question) -> Value {
        answered(match question {
            Question::Apply {
                local,
                mut desired,
                how,
            } => self.change(how, |store| {
                self.keeper.fill(store, &mut desired, how.dry_run)?;
                let restart = change_request::restart_keys(store.local(), &local);
                let change = change_request::apply(store, &local, desired)?;
                Ok(Asked {
                    restart,
                    ..Asked::from(change)
                })
            }),
            Question::Set {
                kind,
                name,
                keys,
                how,
            } => self.change(how, |store| {
                change_request::set(store, &kind, &name, &keys).map(Asked::from)
            }),
            Question::SetCertificate { name, digest, how } => self.change(how, |store| {
                let content = self.keeper.content(store, &digest);
                change_request::set_certificate(store, &name, content).map(Asked::from)
            }),
            Question::KnownCertificates { digests } => {
                let known = self.keeper.known(&self.store(), &digests);
                Ok(json!({ "known": known }))
            }
            Question::Delete { kind, name, how } => self.change(how, |store| {
                change_request::delete(store, &kind, &name).map(Asked::from)
            }),
            Question::Suspend { kind, name, how } => self.change(how, |store| {
                suspending::suspend(store, &kind, &name).map(Asked::from)
            }),
            Question::Resume { kind, name, how } => self.change(how, |store| {
                let (change, note) = suspending::resume(store, &kind, &name)?;
                Ok(Asked {
                    note,
                    ..Asked::from(change)
                })
            }),
            Question::Get { kind, name } => {
                let store = self.store();
                change_request::get(store.local(), store.desired(), &kind, name.as_deref())
                    .map(|objects| json!({ "objects": objects }))
            }
        })
    }

    fn change(
        &self,
        how: How,
        make: impl FnOnce(&Store) -> Result<Asked, Refusal>,
    ) -> Result<Value, Refusal> {
        let mut store = self.store();
        let current = store.announcement();
        if let Some(seen) = how.on_revision.filter(|&seen| seen != current.revision) {
            return Err(Refusal::conflict(format!(
                "somebody else made a change meanwhile: revision {} follows {seen}, which this was \
                 decided upon; look again",
                current.revision
            )));
        }
        let Asked {
            change,
            restart,
            note,
        } = make(&store)?;
        change_request::leave_hostnames_of_others(&store, &change)?;
        change_request::keep_quotas(&store, &change)?;
        let changes = differences(store.desired(), &change);
        let mut answer = Changed {
            revision: current.revision,
            accepted_at: None,
            live_at: None,
            pending: Vec::new(),
            changes,
            restart,
            note,
            dry_run: how.dry_run,
        };
        if how.dry_run {
            store.check(&change).map_err(Refusal::wrong)?;
            return Ok(json!(answer));
        }
        if !change.is_empty() {
            self.keeper.has_all(&change)?;
            let sites = change.puts.iter().filter_map(|object| match object {
                Object::Site(site) => Some(site),
                _ => None,
            });
            let sites = named_sites(sites);
            store.commit(change).map_err(|why| match why {
                NotMade::Wrong(problems) => Refusal::wrong(problems),
                NotMade::Unwritten(error) => Refusal::unwritten(&error),
            })?;
            answer.accepted_at = Some(now());
            self.bookkeeper.name_sites(sites);
        }
        let made = store.announcement();
        drop(store);
        answer.revision = made.revision;
        match self.await_live(made, Duration::from_millis(how.wait_ms.min(WAIT_MS_MAX))) {
            Ok(()) => answer.live_at = Some(now()),
            Err(why) => answer.pending.push(why),
        }
        Ok(json!(answer))
    }

    /// Announces a revision until every worker runs it or a newer one.
    fn await_live(&self, made: Announcement, wait: Duration) -> Result<(), String> {
        let Some(_waiting) = Waiting::begin(self) else {
            return Err(format!("{WAITING_MAX} others wait for it already"));
        };
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let within = left.clamp(Duration::from_millis(100), ANNOUNCE_WITHIN);
            let why = match self.announce(within) {
                Ok(Followed { revision, .. }) if revision >= made.revision => return Ok(()),
                Ok(Followed { revision, error }) => match error {
                    Some(error) => error,
                    None => format!("{DATAPLANE}: serves revision {revision}"),
                },
                Err(why) => why,
            };
            if Instant::now() + ANNOUNCE_AGAIN >= deadline {
                return Err(why);
            }
            std::thread::sleep(ANNOUNCE_AGAIN);
        }
    }

    /// Announces the newest revision, or lets somebody do it who begins after this: the plane is
    /// asked once, however many wait.
    fn announce(&self, within: Duration) -> Result<Followed, String> {
        let lock = || (self.following.lock()).unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + within;
        let mut following = lock();
        let begun_before = following.begun;
        while following.running {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("{DATAPLANE}: {}", NoAnswer::TooSlow(within)));
            }
            following = match self.followed.wait_timeout(following, left) {
                Ok((following, _)) => following,
                Err(poisoned) => poisoned.into_inner().0,
            };
            match &following.last {
                Some((number, answer)) if *number > begun_before => return answer.clone(),
                _ => {}
            }
        }
        following.begun += 1;
        following.running = true;
        let number = following.begun;
        drop(following);
        // A newer one may have come meanwhile, in another generation.
        let newest = self.store().announcement();
        let answer = self.planes.follow(newest, within);
        let mut following = lock();
        following.running = false;
        following.last = Some((number, answer.clone()));
        self.followed.notify_all();
        answer
    }

    /// Removes certificates that nobody needs any more, for as long as the process runs.
    fn sweep_certificates(&self) {
        let mut unneeded = Unneeded::default();
        loop {
            std::thread::sleep(CERTIFICATE_SWEEP);
            let newest = self.store().announcement();
            let followed = self.planes.follow(newest, ANNOUNCE_WITHIN);
            let is_live = followed.is_ok_and(|it| it.revision >= newest.revision);
            let store = self.store();
            // What a plane serves that is behind may be in none of the files any more.
            if is_live && store.announcement() == newest {
                self.keeper.sweep(&store, store.path(), &mut unneeded);
            }
        }
    }

    /// Puts a long journal together, after the asker's change is live.
    fn compact(&self) {
        let mut store = self.store();
        match store.compact() {
            Ok(false) => {}
            Ok(true) => {
                let newest = store.announcement();
                drop(store);
                // Who does not hear of it goes on with the old journal, which holds the same.
                let _ = self.planes.follow(newest, ANNOUNCE_WITHIN);
            }
            Err(error) => self.output.event(&Event::Warning(format!(
                "the journal can not be put together: {error}; it grows until it can"
            ))),
        }
    }
}

fn answered(answer: Result<Value, Refusal>) -> Value {
    answer.unwrap_or_else(|refusal| {
        json!(Refused {
            error: refusal.message,
            exit: refusal.exit as u8,
            problems: refusal.problems,
        })
    })
}

/// Somebody who only waits for the plane: nobody else is kept out by that.
struct Waiting<'a>(&'a Server);

impl<'a> Waiting<'a> {
    fn begin(server: &'a Server) -> Option<Waiting<'a>> {
        if server.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            server.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        server.connections.fetch_sub(1, Ordering::Relaxed);
        Some(Waiting(server))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn differences(before: &Packed, change: &Change) -> Vec<Difference> {
    let puts = change.puts.iter().map(Object::name).map(|name| {
        let is_new = before.owner(&name).is_none();
        (if is_new { "create" } else { "change" }, name)
    });
    let deletes = change.deletes.iter().cloned();
    let deletes = deletes.map(|name: ObjectName| ("delete", name));
    puts.chain(deletes)
        .map(|(action, name)| Difference {
            action: action.to_string(),
            object: name.to_string(),
        })
        .collect()
}

/// The time, to the millisecond.
fn now() -> String {
    let now = Timestamp::now();
    let millis = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    format!("{millis:.3}")
}
