//! The control thread: the wall clock and the local socket.
//!
//! It runs on glommio. A timer of its own comes round every [`TICK`], so that a wake-up that is
//! lost heals, and so that Date is right to the second.

use crate::configuration::{Configuration, NotDrained};
use crate::failures::Question;
use crate::headroom::{self, Readings};
use crate::shared::Shared;
use crate::status::{self, Facts};
use futures_lite::{AsyncBufReadExt, AsyncWriteExt};
use glommio::net::{UnixListener, UnixStream};
use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement};
use meridian_model::limits::{LOCAL_CONNECTIONS_MAX, LOCAL_LINE_BYTES_MAX, PROBED_HOSTS_MAX};
use meridian_model::probe::View;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::NO_SITE;
use meridian_sys::Notifier;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// How often the control thread looks around.
const TICK: Duration = Duration::from_millis(100);
/// How long an answer waits for the workers.
const WORKERS_TIMEOUT: Duration = Duration::from_secs(2);
/// The version of what is said over the local socket.
pub(crate) const PROTOCOL: u32 = 1;

/// The running control thread.
#[derive(Debug)]
pub(crate) struct Control {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    socket: PathBuf,
}

impl Control {
    /// Ends the thread and removes the local socket.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.thread.join();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Seconds since 1970.
pub(crate) fn wall_seconds(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

struct ControlThread {
    shared: Arc<Shared>,
    notifiers: Arc<[Notifier]>,
    configuration: Configuration,
    cpus: Vec<usize>,
    started: Instant,
    local_connections: Cell<usize>,
    readings: RefCell<Readings>,
}

/// Starts the control thread and waits until the local socket answers.
pub(crate) fn start(
    state: &Path,
    shared: Arc<Shared>,
    notifiers: Arc<[Notifier]>,
    configuration: Configuration,
    cpus: Vec<usize>,
) -> Result<Control, String> {
    let socket = state.join("run").join("dataplane.sock");
    let stopping = Arc::new(AtomicBool::new(false));
    let (report, reports) = mpsc::sync_channel::<Result<(), String>>(1);
    let thread = {
        let (socket, stopping) = (socket.clone(), Arc::clone(&stopping));
        let spawned = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let executor = LocalExecutorBuilder::new(Placement::Unbound)
                    .name("control")
                    .io_memory(64 * 1024)
                    .ring_depth(32)
                    .make();
                match executor {
                    Ok(executor) => executor.run(async move {
                        let control = Rc::new(ControlThread {
                            shared,
                            notifiers,
                            configuration,
                            cpus,
                            started: Instant::now(),
                            local_connections: Cell::new(0),
                            readings: RefCell::default(),
                        });
                        control.run(&socket, &stopping, &report).await;
                    }),
                    Err(error) => {
                        let _ = report.send(Err(format!("starting the control thread: {error}")));
                    }
                }
            });
        spawned.map_err(|error| format!("starting the control thread: {error}"))?
    };
    match reports.recv() {
        Ok(Ok(())) => Ok(Control {
            stopping,
            thread,
            socket,
        }),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err("the control thread ended before it was ready".to_owned()),
    }
}

impl ControlThread {
    async fn run(
        self: Rc<Self>,
        socket: &Path,
        stopping: &AtomicBool,
        report: &mpsc::SyncSender<Result<(), String>>,
    ) {
        match listen(socket) {
            Ok(listener) => {
                let this = Rc::clone(&self);
                glommio::spawn_local(async move { this.accept(listener).await }).detach();
            }
            Err(fault) => {
                let _ = report.send(Err(fault));
                return;
            }
        }
        let _ = report.send(Ok(()));
        {
            let this = Rc::clone(&self);
            glommio::spawn_local(async move { this.take_readings().await }).detach();
        }
        while !stopping.load(Ordering::Acquire) {
            self.shared
                .wall_seconds
                .store(wall_seconds(SystemTime::now()), Ordering::Relaxed);
            sleep(TICK).await;
        }
    }

    async fn take_readings(self: Rc<Self>) {
        loop {
            sleep(headroom::WINDOW).await;
            let _ = self.hear_from_workers().await;
            let headroom = self.readings.borrow().headroom(&self.shared);
            self.shared
                .peers
                .set_load(headroom::used_percent(&headroom));
            self.readings.borrow_mut().take(&self.shared.workers);
        }
    }

    async fn accept(self: Rc<Self>, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    if self.local_connections.get() >= LOCAL_CONNECTIONS_MAX {
                        continue;
                    }
                    self.local_connections.set(self.local_connections.get() + 1);
                    let this = Rc::clone(&self);
                    glommio::spawn_local(async move {
                        this.converse(stream).await;
                        this.local_connections.set(this.local_connections.get() - 1);
                    })
                    .detach();
                }
                Err(_) => sleep(TICK).await,
            }
        }
    }

    /// One line in, one line out, until the other side ends or says what we do not know.
    async fn converse(&self, stream: UnixStream) {
        let mut stream = stream.buffered();
        loop {
            let Some(line) = read_line(&mut stream).await else {
                return;
            };
            let (answer, go_on) = self.answer(&line).await;
            let mut text = answer.to_string();
            text.push('\n');
            if stream.write_all(text.as_bytes()).await.is_err()
                || stream.flush().await.is_err()
                || !go_on
            {
                return;
            }
        }
    }

    async fn answer(&self, line: &str) -> (Value, bool) {
        let asked: Value = match serde_json::from_str(line) {
            Ok(asked) => asked,
            Err(error) => return (json!({ "error": format!("not JSON: {error}") }), false),
        };
        match asked.get("op").and_then(Value::as_str) {
            Some("status") => {
                let brief = asked.get("brief") == Some(&Value::Bool(true));
                (self.status(brief).await, true)
            }
            Some("usage") => (self.usage().await, true),
            Some("failures") => match asked.get("site").and_then(Value::as_str) {
                Some(site) => (self.failures(site).await, true),
                None => (json!({ "error": "site: not a name TENANT/SITE" }), false),
            },
            Some(op @ ("drain" | "ready")) => match asked.get("backend").and_then(Value::as_str) {
                Some(backend) => (self.drain(backend, op == "drain").await, true),
                None => (json!({ "error": "backend: not a name" }), false),
            },
            Some("view") => (self.take_view(&asked), true),
            Some("follow") => match (number(&asked, "generation"), number(&asked, "length")) {
                (Ok(generation), Ok(length)) => (self.follow(generation, length).await, true),
                (Err(fault), _) | (_, Err(fault)) => (json!({ "error": fault }), false),
            },
            _ => (
                json!({ "error": "op: not one of status, usage, failures, follow, drain, ready, view" }),
                false,
            ),
        }
    }

    /// What was served up to the moment of the question.
    async fn usage(&self) -> Value {
        // What a worker had heard of when it answers first is counted when it answers again.
        let _ = self.hear_from_workers().await && self.hear_from_workers().await;
        let usage = Arc::clone(&self.shared.usage);
        // It takes a while where many sites are served, and others are waiting.
        let made = glommio::executor().spawn_blocking(move || json!(usage.answer()));
        made.await
    }

    /// The last requests of a site that ended badly, the newest first.
    async fn failures(&self, site: &str) -> Value {
        let Some(id) = self.site_id(site) else {
            return json!({
                "error": format!("no site {site} is served here"),
                "revision": self.live_revision(),
            });
        };
        let question = Arc::new(Question::new(id, self.shared.workers.len()));
        // As in `usage`: what a worker had heard of when it answers first is in the second answer.
        let _ = self.hear_from_workers().await;
        self.shared.open_question(&question);
        let _ = self.hear_from_workers().await;
        self.shared.close_question(&question);
        let (failures, workers_missing) = question.result();
        let failures = failures
            .iter()
            .filter_map(|failure| serde_json::from_str::<Value>(failure).ok());
        json!({
            "site": site,
            "failures": failures.collect::<Vec<_>>(),
            "workers_missing": workers_missing,
        })
    }

    /// Has a backend drained, or not any more: every pick that begins after the answer heeds it.
    async fn drain(&self, backend: &str, draining: bool) -> Value {
        let answers = self.configuration.drain(backend, draining);
        let answer = RefCell::new(None);
        let answered = self.wait_for(|| {
            let mut answer = answer.borrow_mut();
            *answer = answer.take().or_else(|| answers.try_recv().ok());
            answer.is_some()
        });
        let _ = answered.await;
        match answer.into_inner() {
            Some(Ok(done)) => json!({
                "backend": backend,
                "draining": draining,
                "changed": done.changed,
                "absent": done.absent,
            }),
            Some(Err(NotDrained::NoBackend)) => {
                json!({ "error": format!("no backend {backend} is configured here") })
            }
            Some(Err(NotDrained::Fault(fault))) => json!({ "error": fault }),
            None => json!({ "error": "a revision is still being compiled; ask again" }),
        }
    }

    /// What the responder of this host sees of the others, for those who probe this one.
    fn take_view(&self, asked: &Value) -> Value {
        let view = asked.get("view").cloned().unwrap_or_default();
        match serde_json::from_value::<View>(view) {
            Ok(view) if view.up.len() + view.down.len() <= PROBED_HOSTS_MAX => {
                self.shared.peers.set_view(view);
                json!({})
            }
            Ok(_) => json!({ "error": format!("view: over {PROBED_HOSTS_MAX} hosts") }),
            Err(error) => json!({ "error": format!("view: {error}") }),
        }
    }

    /// The id of the site with this full name; `-/-` is what belongs to no site.
    fn site_id(&self, full_name: &str) -> Option<SiteId> {
        if full_name == "-/-" {
            return Some(NO_SITE);
        }
        let (tenant, name) = full_name.split_once('/')?;
        let routing = self.shared.routing.load();
        let mut sites = routing.snapshot.sites.iter();
        let found = sites.find(|(_, site)| *site.tenant == *tenant && *site.name == *name);
        found.map(|(id, _)| id)
    }

    /// Has every worker publish its numbers; whether all did in time.
    async fn hear_from_workers(&self) -> bool {
        let asked = self.shared.ask_workers(&self.notifiers);
        self.wait_for(|| self.shared.have_answered(&asked)).await
    }

    /// What the plane says of itself; briefly, without what there is one of for each site.
    async fn status(&self, brief: bool) -> Value {
        let answered = self.hear_from_workers().await;
        let facts = Facts {
            ready: answered,
            draining: self.shared.draining.load(Ordering::Acquire),
            uptime: self.started.elapsed(),
            cpus: &self.cpus,
            headroom: &self.readings.borrow().headroom(&self.shared),
            position: &self.configuration.position(),
        };
        if brief {
            status::summary(&self.shared, &facts)
        } else {
            status::report(&self.shared, &facts)
        }
    }

    /// Takes up what was announced of the config log; answers when every worker runs it. What
    /// could not be taken up is told: traffic goes on under the last good revision.
    async fn follow(&self, generation: Option<u64>, length: Option<u64>) -> Value {
        let number = self.configuration.follow(generation, length);
        let read = self.wait_for(|| self.configuration.is_answered(number));
        if !read.await {
            return json!({
                "error": "the revision is still being compiled",
                "revision": self.live_revision(),
            });
        }
        let position = self.configuration.position();
        let live = self.wait_for(|| {
            let mut workers = self.shared.workers.iter();
            workers.all(|it| it.revision.get() >= position.revision || it.ended.get() == 1)
        });
        let late = "not every worker took the revision up in time";
        let fault = match (live.await, position.fault) {
            (_, Some(fault)) => Some(fault),
            (false, None) => Some(late.to_owned()),
            (true, None) => None,
        };
        let mut answer = json!({
            "revision": self.live_revision(),
            "generation": position.generation,
        });
        if let Some(fault) = fault {
            answer["error"] = fault.into();
        }
        answer
    }

    /// What every worker runs, or something newer.
    fn live_revision(&self) -> u64 {
        let workers = self.shared.workers.iter();
        let running = workers.filter(|board| board.ended.get() == 0);
        let newest = self.configuration.position().revision;
        running
            .map(|board| board.revision.get())
            .min()
            .unwrap_or(newest)
    }

    async fn wait_for(&self, done: impl Fn() -> bool) -> bool {
        let begun = Instant::now();
        while !done() {
            if begun.elapsed() > WORKERS_TIMEOUT {
                return false;
            }
            sleep(Duration::from_millis(1)).await;
        }
        true
    }
}

fn listen(socket: &Path) -> Result<UnixListener, String> {
    let fault = |error: &dyn std::fmt::Display| format!("{}: {error}", socket.display());
    match std::fs::remove_file(socket) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(fault(&error)),
    }
    if let Some(directory) = socket.parent() {
        std::fs::create_dir_all(directory).map_err(|error| fault(&error))?;
    }
    let listener = UnixListener::bind(socket).map_err(|error| fault(&error))?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))
        .map_err(|error| fault(&error))?;
    Ok(listener)
}

/// A number of what was asked; none is as good as null.
fn number(asked: &Value, key: &str) -> Result<Option<u64>, String> {
    match asked.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) => Ok(Some(number)),
            None => Err(format!("{key}: not a number: {value}")),
        },
    }
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let available = stream.fill_buf().await.ok()?;
        if available.is_empty() {
            return None;
        }
        let end = available.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..taken]);
        stream.consume(taken);
        if end.is_some() {
            return String::from_utf8(line).ok();
        }
        if line.len() > LOCAL_LINE_BYTES_MAX {
            return None;
        }
    }
}
