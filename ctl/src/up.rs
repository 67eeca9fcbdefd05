//! `meridianctl up`: everything on this host, in the foreground.

use std::io::{self, ErrorKind};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{ScopedJoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use meridian_model::availability::unavailable;
use meridian_model::certificate::Digest;
use meridian_model::change::ObjectName;
use meridian_model::config_log::{self, Header};
use meridian_model::desired::{Owner, SiteName};
use meridian_model::limits::DNS_DRAIN_MS;
use meridian_model::{Desired, Local, Manifest, Packed, Problem, Problems, check};

use crate::applied_manifest::{AppliedManifest, stands_alone};
use crate::certificates::directory::CertificateDirectory;
use crate::certificates::files::FileIdentity;
use crate::certificates::keeping::Keeper;
use crate::certificates::reading::{Known, ReadCertificates};
use crate::certificates::{self, authorities, reading};
use crate::change_request::quota_problems;
use crate::cli;
use crate::config_directory::{ConfigDirectory, Found};
use crate::control_socket::{self, ControlSocket, Sockets};
use crate::durable_file::Staged;
use crate::event::Event;
use crate::failure::Failure;
use crate::file_limit;
use crate::fleet_secret;
use crate::geographic_database;
use crate::ledger::{Ledger, NamedSite};
use crate::listeners::Listeners;
use crate::lock::Lock;
use crate::manifest_file;
use crate::memory;
use crate::output::Output;
use crate::plane_life::Plane;
use crate::plane_process::{DATAPLANE, GEODNS, PlaneProcess};
use crate::plane_socket;
use crate::signals::Signals;
use crate::state_directory::StateDirectory;
use crate::store::{State, Store};
use crate::supervisor::Supervisor;
use crate::usage::bookkeeper::Bookkeeper;
use crate::usage::counters_directory::CountersDirectory;
use crate::usage::named_sites;

/// How long changes wait for a plane that begins on what stands.
const SERVING_WITHIN: Duration = Duration::from_secs(2);

/// Certificates that expire soon and are told of one by one.
const EXPIRING_SHOWN: usize = 10;

/// How long the end waits for what was put off until the plane served.
const OPEN_WITHIN: Duration = Duration::from_secs(1);

/// How long a plane of an earlier `up` may take to be gone. It was told to
/// die with its supervisor, and closing 100,000 connections takes a moment.
const EARLIER_PLANE_GONE_WITHIN: Duration = Duration::from_secs(3);

/// Serves the manifest until a signal ends it.
///
/// # Errors
/// Exit 1 when there is nothing to serve or no way to serve it.
pub(crate) fn run(call: &cli::Up, output: Output) -> Result<(), Failure> {
    memory::in_small_pages();
    let state = StateDirectory::resolve(call.state.directory.as_deref())?;
    let text = manifest_file::text(&call.file);

    state.prepare()?;
    let _lock = Lock::take(&state.lock())?;
    let config = ConfigDirectory::new(state.config());
    if let Err(what) = file_limit::raise() {
        output.event(&Event::Warning(what));
    }
    await_earlier_planes(&state)?;
    // Of one that was killed. Where it is missing, DNS is not answered here.
    let _ = std::fs::remove_file(state.geodns_socket());
    let applied = AppliedManifest::new(&state.config(), &call.file);
    let (certificates, is_new) = CertificateDirectory::of(&state)?;
    // With another key nothing opens that was sealed: files are read anew.
    let standing = standing(&config, &applied, &text).filter(|_| !is_new);
    if let Some(local) = standing {
        let listeners = open_listeners(&local)?;
        let served = Served {
            local,
            listeners,
            begun: Begun::Standing(config),
            certificates,
            named_gone: Vec::new(),
        };
        return serve(&state, served, output);
    }
    // On a thread that ends: what it takes is given back then.
    let Settled {
        local,
        listeners,
        state: settled,
        named_gone,
        files,
    } = std::thread::scope(|scope| {
        let settling = scope.spawn(|| {
            let manifest = (text.as_deref())
                .map_err(Problems::clone)
                .and_then(|text| manifest_file::parse(text, &call.file))
                .and_then(only_available);
            let settling = Settling {
                config: &config,
                certificates: &certificates,
                file: &call.file,
                site_ids_used: site_ids_used(&state, output),
                output,
            };
            settling.settle(manifest)
        });
        joined(settling)
    })?;
    let begun = match settled {
        Some(settled) => Begun::Settled {
            config,
            settled: Box::new(settled),
            to_keep: (text.ok().zip(files)).map(|(text, files)| ToKeep {
                applied,
                text,
                files,
            }),
        },
        None => Begun::Standing(config),
    };
    let served = Served {
        local,
        listeners,
        begun,
        certificates,
        named_gone,
    };
    serve(&state, served, output)
}

/// What is served, and how a start came to it.
struct Served {
    local: Local,
    listeners: Opened,
    begun: Begun,
    certificates: CertificateDirectory,
    /// See [`Settled`].
    named_gone: Vec<NamedSite>,
}

/// How a start came to what it serves.
enum Begun {
    /// The directory holds what is served: it need only be opened for changes.
    Standing(ConfigDirectory),
    /// It was found out and written.
    Settled {
        config: ConfigDirectory,
        settled: Box<SettledState>,
        /// For the next start.
        to_keep: Option<ToKeep>,
    },
}

/// A manifest that was applied, with the files that it names.
struct ToKeep {
    applied: AppliedManifest,
    text: String,
    files: Vec<FileIdentity>,
}

/// A state that stands in the directory, as it is at hand.
struct SettledState {
    header: Header,
    /// What the snapshot and the journal lead to.
    revision: u64,
    /// Of the journal; none means that it holds its header alone.
    journal_bytes: Option<u64>,
    desired: Desired,
    /// The state as it is written.
    snapshot: Arc<String>,
}

impl SettledState {
    /// The same as it is kept.
    fn pack(&self) -> State {
        State {
            header: self.header.clone(),
            desired: Packed::new(&self.desired, Arc::clone(&self.snapshot)),
            revision: self.revision,
            journal_bytes: self.journal_bytes,
        }
    }
}

/// The local settings, when the manifest is the one that was applied last and the log is what came
/// of it.
fn standing(
    config: &ConfigDirectory,
    applied: &AppliedManifest,
    text: &Result<String, Problems>,
) -> Option<Local> {
    let text = text.as_ref().ok()?;
    let (local, position) = config.standing()?;
    applied.is(text, &local, &position).then_some(local)
}

/// Serves until a signal ends it.
fn serve(state: &StateDirectory, served: Served, output: Output) -> Result<(), Failure> {
    let Served {
        local,
        listeners,
        begun,
        certificates,
        named_gone,
    } = served;
    fleet_secret::settle(state, &local)?;
    let counters = CountersDirectory::new(state.counters());
    if let Err(error) = counters.prepare() {
        output.event(&Event::Warning(error.to_string()));
    }
    let host = local.host.name.to_string();
    let (bookkeeper, last_fold) = Bookkeeper::start(state.ledger(), counters, host, output)
        .map_err(|error| Failure::input(format!("starting a thread: {error}")))?;
    bookkeeper.name_sites(named_gone);
    let (serving, is_serving) = mpsc::channel();
    let keeper = Keeper::new(certificates);
    let (_control, is_open) = start_control(
        state,
        &local,
        (begun, keeper),
        is_serving,
        &bookkeeper,
        output,
    )?;
    let drain = local.host.timeouts.drain;
    let plane = |name, socket, listeners, drain| {
        let process = PlaneProcess::new(name, state.path(), listeners)?;
        Ok(Plane::new(process, socket, drain, output))
    };
    let dataplane = state.dataplane_socket();
    let mut planes = vec![plane(DATAPLANE, dataplane, listeners.dataplane, drain)?];
    if let Some(listeners) = listeners.geodns {
        let drain = Duration::from_millis(DNS_DRAIN_MS);
        planes.push(plane(GEODNS, state.geodns_socket(), listeners, drain)?);
    }
    let ended = Supervisor {
        planes,
        listen: &local.listen,
        signals: Signals::take()?,
        output,
        bookkeeper,
        serving,
    }
    .run();
    // Sites that were served are to be known by their names.
    let _ = is_open.recv_timeout(OPEN_WITHIN);
    last_fold.wait();
    ended
}

/// Takes changes; and does what can wait until the plane serves. The receiver is cut off when that
/// is done.
fn start_control(
    state: &StateDirectory,
    local: &Local,
    (begun, keeper): (Begun, Keeper),
    is_serving: Receiver<()>,
    bookkeeper: &Bookkeeper,
    output: Output,
) -> Result<(ControlSocket, Receiver<()>), Failure> {
    let socket = state.control_socket();
    let unusable = |error: io::Error| Failure::input(format!("{}: {error}", socket.display()));
    let planes = Sockets {
        dataplane: state.dataplane_socket(),
        geodns: (!local.listen.dns.is_empty()).then(|| state.geodns_socket()),
    };
    let books = bookkeeper.clone();
    let (state, local) = (state.clone(), local.clone());
    let (opening, is_open) = mpsc::channel();
    let open = move || {
        let _opening = opening;
        // A plane that serves soon is worth more than one that can be changed soon.
        let _ = is_serving.recv_timeout(SERVING_WITHIN);
        // On a thread that ends, as in `run`.
        let store = std::thread::scope(|scope| {
            let opening = scope.spawn(|| match begun {
                Begun::Settled {
                    config,
                    settled,
                    to_keep,
                } => open_settled(config, &local, settled, to_keep, &books),
                Begun::Standing(config) => {
                    open_standing(config, &local, &books, site_ids_used(&state, output))
                }
            });
            joined(opening)
        });
        memory::give_back();
        store
            .inspect_err(|failure| {
                let what = format!("{}; no changes are taken", failure.message);
                output.event(&Event::Warning(what));
            })
            .ok()
    };
    let control = control_socket::start(&socket, open, keeper, planes, bookkeeper.clone(), output);
    Ok((control.map_err(unusable)?, is_open))
}

/// The store that goes on from what was just settled; and what else waited until that is served.
fn open_settled(
    config: ConfigDirectory,
    local: &Local,
    settled: Box<SettledState>,
    to_keep: Option<ToKeep>,
    books: &Bookkeeper,
) -> Result<Store, Failure> {
    let at = config.path().display().to_string();
    books.name_sites(named_sites(&settled.desired.sites));
    let store = Store::go_on(config, local.clone(), settled.pack())
        .map_err(|error| Failure::input(format!("{at}: {error}")))?;
    if let Some(ToKeep {
        applied,
        text,
        files,
    }) = to_keep
    {
        match store.position() {
            Some(position) => applied.keep(&text, &files, local, &position),
            None => applied.forget(),
        }
    }
    Ok(store)
}

/// The store that goes on from what the directory holds, which is known to be whole.
fn open_standing(
    config: ConfigDirectory,
    local: &Local,
    books: &Bookkeeper,
    site_ids_used: u64,
) -> Result<Store, Failure> {
    let at = config.path().display().to_string();
    let unusable = |what: &dyn std::fmt::Display| Failure::input(format!("{at}: {what}"));
    let found = config.read().map_err(|error| unusable(&error))?;
    let mut good = found
        .last_good
        .ok_or_else(|| unusable(&"what was just written is not there"))?;
    let used = &mut good.desired.ids.site;
    *used = site_ids_used.max(*used);
    books.name_sites(named_sites(&good.desired.sites));
    Store::open(config, good, local.clone()).map_err(|what| unusable(&what))
}

/// The highest id of a site that was ever billed. A configuration that was lost, or an older one
/// that is served in place of a damaged one, would give it again, to somebody else.
fn site_ids_used(state: &StateDirectory, output: Output) -> u64 {
    let used = Ledger::open_to_read(&state.ledger())
        .and_then(|ledger| ledger.map_or(Ok(0), |ledger| ledger.highest_site()));
    used.unwrap_or_else(|fault| {
        output.event(&Event::Warning(format!("usage: {fault}")));
        0
    })
}

/// Refuses what this version can not do yet: to serve it without would be to
/// serve something else than what was written.
fn only_available(manifest: Manifest) -> Result<Manifest, Problems> {
    Problems::refuse_any(unavailable(&manifest)).map(|()| manifest)
}

/// What a start makes hold what is to be served.
struct Settling<'a> {
    config: &'a ConfigDirectory,
    certificates: &'a CertificateDirectory,
    /// The manifest's.
    file: &'a Path,
    site_ids_used: u64,
    output: Output,
}

/// A manifest with what its certificates hold.
struct Declared {
    local: Local,
    desired: Desired,
    read: ReadCertificates,
}

impl Settling<'_> {
    /// Makes the directory hold what is to be served: the manifest, or else the
    /// last good revision. Returns the local settings that go with it, and their listeners, which
    /// are opened before anything is written: what can not be listened on replaces nothing.
    fn settle(&self, manifest: Result<Manifest, Problems>) -> Result<Settled, Failure> {
        let Settling {
            config,
            site_ids_used,
            output,
            ..
        } = *self;
        let mut found = config
            .read()
            .map_err(|error| Failure::input(format!("{}: {error}", config.path().display())))?;
        for damage in &found.damage {
            output.event(&Event::Warning(format!("damaged and not used: {damage}")));
        }
        if let Some(good) = &mut found.last_good {
            let used = &mut good.desired.ids.site;
            *used = site_ids_used.max(*used);
        }
        let accepted = manifest
            .and_then(|manifest| self.declared(manifest, &found))
            .and_then(|declared| accept(config, &found, declared, site_ids_used));
        let local = match accepted {
            Ok(accepted) => {
                let listeners = open_listeners(&accepted.local)?;
                let alone = stands_alone(&accepted.local, &accepted.desired);
                let files = accepted.read.files.clone().filter(|_| alone);
                match accepted.write(config, self.certificates, &found) {
                    Ok(Written {
                        local,
                        state,
                        named_gone,
                    }) => {
                        return Ok(Settled {
                            local,
                            listeners,
                            state: Some(state),
                            named_gone,
                            files,
                        });
                    }
                    Err(error) => keep_unwritten(config, &found, &error, output)?,
                }
            }
            Err(problems) => keep_refused(config, &found, problems, output)?,
        };
        let listeners = open_listeners(&local)?;
        Ok(Settled {
            local,
            listeners,
            state: None,
            named_gone: Vec::new(),
            files: None,
        })
    }

    /// Reads the certificates of a manifest. What the last good revision knows and has is not looked at
    /// again.
    fn declared(&self, manifest: Manifest, found: &Found) -> Result<Declared, Problems> {
        let last_good = found.last_good.as_ref();
        let certificates = last_good.map_or(&[][..], |good| &good.desired.certificates);
        let known = certificates
            .iter()
            .map(|it| (it.content.digest, it.content.clone()));
        let known: Known = known.collect();
        let kept = |digest: &Digest| known.contains_key(digest) && self.certificates.holds(digest);
        let now = certificates::now();
        let file = self.file.display().to_string();
        let unjudged = reading::read(&manifest, kept);
        let read = unjudged.judge(&manifest, &file, &known, now)?;
        geographic_database::check(&manifest, &file)?;
        let (local, mut desired) = manifest.into_parts();
        read.fill(&mut desired);
        fleet_secret::check(&local, self.file)?;
        let expiring = read.expiring(now);
        for certificate in expiring.iter().take(EXPIRING_SHOWN) {
            self.output.event(&Event::Warning(certificate.clone()));
        }
        if let Some(more @ 1..) = expiring.len().checked_sub(EXPIRING_SHOWN) {
            let what = format!("and {more} more certificates; see meridianctl get certificate");
            self.output.event(&Event::Warning(what));
        }
        for warning in authorities::warnings(&local, &desired) {
            self.output.event(&Event::Warning(warning));
        }
        Ok(Declared {
            local,
            desired,
            read,
        })
    }
}

/// What is served.
struct Settled {
    local: Local,
    listeners: Opened,
    /// Where that was just written or found equal.
    state: Option<SettledState>,
    /// Sites that are gone with the manifest: they may have usage that is not in the ledger yet,
    /// nor their names.
    named_gone: Vec<NamedSite>,
    /// Where it is what comes of the manifest and of these files, and of nothing else.
    files: Option<Vec<FileIdentity>>,
}

/// The sockets of each plane.
struct Opened {
    dataplane: Listeners,
    /// None: the manifest has no address for DNS.
    geodns: Option<Listeners>,
}

fn open_listeners(local: &Local) -> Result<Opened, Failure> {
    let listen = &local.listen;
    if listen.http.is_empty() && listen.https.is_empty() {
        return Err(Failure::input(
            "listen.http: the manifest has no http and no https listener, so there is nothing to \
             start; add one, such as http = [\"0.0.0.0:80\"]",
        ));
    }
    let workers = workers(local);
    let dataplane = Listeners::open(listen, workers)?;
    let dns = &listen.dns;
    let geodns = (!dns.is_empty()).then(|| Listeners::open_dns(dns, workers));
    let geodns = geodns.transpose()?;
    Ok(Opened { dataplane, geodns })
}

/// A manifest that compiles, with the revision that it is or becomes.
struct Accepted {
    local: Local,
    revision: u64,
    desired: Desired,
    /// The generation that holds it, its snapshot, and its files: already on the disk and not
    /// current yet; none when nothing of the desired state changed.
    begun: io::Result<(Header, Arc<String>, Option<Staged>)>,
    named_gone: Vec<NamedSite>,
    read: ReadCertificates,
}

fn accept(
    config: &ConfigDirectory,
    found: &Found,
    declared: Declared,
    site_ids_used: u64,
) -> Result<Accepted, Problems> {
    let Declared {
        local,
        desired: declared,
        read,
    } = declared;
    let last_good = found.last_good.as_ref();
    let mut nothing = Desired::default();
    nothing.ids.site = site_ids_used;
    let before = last_good.map_or(&nothing, |good| &good.desired);
    let owner = Owner::Manifest(local.manifest.clone());
    let change = before
        .change_by_owner(&owner, declared, found.next_revision())
        .map_err(|clashes| clash_problems(&clashes))?;
    quota_problems(before.over_quota(&change))?;
    let unchanged = found.is_whole() && change.is_empty();
    let revision = match last_good {
        Some(good) if unchanged => good.revision,
        _ => change.revision,
    };
    let gone = change.deletes.iter().filter_map(|name| match name {
        ObjectName::Site { tenant, name } => before.site(&SiteName {
            tenant: tenant.clone(),
            site: name.clone(),
        }),
        _ => None,
    });
    let named_gone = named_sites(gone);
    let mut desired = before.clone();
    desired.apply(change);
    let header = match last_good {
        Some(good) if unchanged => Ok(good.header.clone()),
        _ => config.next_header(found, revision),
    };
    let write = |header: Header| {
        let snapshot = config_log::encode(&header, &desired);
        let staged = (!unchanged).then(|| config.stage(&header, &local, &snapshot));
        Ok((header, Arc::new(snapshot), staged.transpose()?))
    };
    // The disk is waited for beside the work.
    let (checked, begun) = std::thread::scope(|scope| {
        let checking = scope.spawn(|| check(&local, &desired));
        let begun = header.and_then(write);
        (joined(checking), begun)
    });
    checked?;
    Ok(Accepted {
        local,
        revision,
        desired,
        begun,
        named_gone,
        read,
    })
}

/// What a thread came to.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// What belongs to another owner, as problems of the manifest.
pub(crate) fn clash_problems(clashes: &[(ObjectName, Owner)]) -> Problems {
    let problems = clashes.iter().map(|(name, owner)| Problem {
        file: String::new(),
        line: None,
        key: name.to_string(),
        what: format!("belongs to {owner}"),
        hint: match owner {
            Owner::Manifest(name) => format!(
                "change it there, use another name, or write manifest = \"{name}\" at the top if this \
                 is that manifest"
            ),
            Owner::Api => "delete it with meridianctl delete, or use another name".to_string(),
        },
    });
    match Problems::refuse_any(problems.collect()) {
        Err(problems) => problems,
        Ok(()) => unreachable!("there is a clash"),
    }
}

/// What a directory says by now.
struct Written {
    local: Local,
    state: SettledState,
    named_gone: Vec<NamedSite>,
}

impl Accepted {
    /// Has the directory say so, and gives what it says.
    fn write(
        self,
        config: &ConfigDirectory,
        certificates: &CertificateDirectory,
        found: &Found,
    ) -> io::Result<Written> {
        // Before anything names them.
        certificates.keep(&self.read.new)?;
        let (header, snapshot, staged) = self.begun?;
        let journal_bytes = match (staged, &found.last_good) {
            (Some(staged), _) => {
                config.begin(staged, header.generation, kept(found))?;
                None
            }
            (None, good) => {
                let good = good.as_ref().expect("nothing differs from what was found");
                if good.local.as_ref() != Some(&self.local) {
                    config.write_local(&self.local)?;
                }
                good.journal_bytes
            }
        };
        let state = SettledState {
            header,
            revision: self.revision,
            journal_bytes,
            desired: self.desired,
            snapshot,
        };
        Ok(Written {
            local: self.local,
            state,
            named_gone: self.named_gone,
        })
    }
}

/// Writes a generation after everything that was found; it is not current yet.
fn stage(
    config: &ConfigDirectory,
    found: &Found,
    revision: u64,
    local: &Local,
    desired: &Desired,
) -> io::Result<(Header, Staged)> {
    let header = config.next_header(found, revision)?;
    let staged = config.stage(&header, local, &config_log::encode(&header, desired))?;
    Ok((header, staged))
}

/// The generation that is not removed with the older ones.
fn kept(found: &Found) -> Option<u64> {
    found.last_good.as_ref().map(|good| good.generation)
}

/// The manifest is right and can not be written: the last good revision goes on.
fn keep_unwritten(
    config: &ConfigDirectory,
    found: &Found,
    error: &io::Error,
    output: Output,
) -> Result<Local, Failure> {
    let remedy = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space on that disk",
        ErrorKind::ReadOnlyFilesystem => "mount that file system for writing",
        _ => "mend that",
    };
    let what = format!(
        "{}: the new revision can not be written: {error}; {remedy} and start again",
        config.path().display()
    );
    match last_good(config, found) {
        Ok((local, revision)) => {
            output.event(&Event::Warning(format!(
                "{what}; the last good revision, {revision}, is served"
            )));
            Ok(local)
        }
        Err(_) => Err(Failure::input(what)),
    }
}

/// The manifest is wrong: the last good revision goes on.
fn keep_refused(
    config: &ConfigDirectory,
    found: &Found,
    problems: Problems,
    output: Output,
) -> Result<Local, Failure> {
    match last_good(config, found) {
        Ok((local, revision)) => {
            let problems = &problems;
            output.event(&Event::ManifestRefused { problems, revision });
            Ok(local)
        }
        Err(why) => Err(Failure::problems(
            problems,
            format!("the manifest is wrong, and there is no earlier revision to serve{why}"),
        )),
    }
}

/// The last good revision, as the plane will find it too.
///
/// # Errors
/// Why there is none, as the end of a sentence.
fn last_good(config: &ConfigDirectory, found: &Found) -> Result<(Local, u64), String> {
    let good = found.last_good.as_ref().ok_or_else(String::new)?;
    let local = good
        .local
        .clone()
        .ok_or(": its local settings are damaged")?;
    let revision = good.revision;
    check(&local, &good.desired)
        .map_err(|problems| format!(": it does not compile either: {problems}"))?;
    if found.is_whole() {
        return Ok((local, revision));
    }
    // Written anew, for a plane may not look behind a damaged snapshot.
    let revision = found.next_revision();
    stage(config, found, revision, &local, &good.desired)
        .and_then(|(header, staged)| config.begin(staged, header.generation, kept(found)))
        .map_err(|error| format!(": it can not be restored: {error}"))?;
    Ok((local, revision))
}

/// Waits until no plane of an earlier `up` holds the ports and the sockets.
fn await_earlier_planes(state: &StateDirectory) -> Result<(), Failure> {
    let deadline = Instant::now() + EARLIER_PLANE_GONE_WITHIN;
    let planes = [
        (DATAPLANE, state.dataplane_socket()),
        (GEODNS, state.geodns_socket()),
    ];
    for (plane, socket) in planes {
        while plane_socket::somebody_listens(&socket) {
            if Instant::now() >= deadline {
                let who = plane_socket::summary(&socket, Duration::from_secs(1))
                    .map_or("its pid is unknown".to_string(), |answer| {
                        format!("pid {}", answer.status.pid)
                    });
                return Err(Failure::input(format!(
                    "a {plane} that was started apart ({who}) serves {}; stop it first, or name \
                     another directory with --state",
                    state.path().display()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// As many as the manifest says, else one for each CPU that we may use.
fn workers(local: &Local) -> usize {
    match local.host.workers {
        Some(workers) => workers as usize,
        None => available_parallelism().map_or(1, usize::from),
    }
}
