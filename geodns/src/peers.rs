//! The health of the hosts of the fleet (DESIGN §7): every one is probed through its real listener,
//! what others see is heard, and who is down is left out of the answers.
//!
//! ```text
//! prober    a thread for each host: one question each interval; ask: over one connection
//! fleet     what is seen and heard, and who is withdrawn: no I/O, no clock; opinion: of one host
//! standing  who is withdrawn and which sites hosts can not serve, as answers take it
//! view      what is seen, handed to this host's proxy
//! report    what is told of all that
//! ```

mod ask;
mod fleet;
mod opinion;
mod prober;
mod report;
mod standing;
mod view;

pub(crate) use standing::Standing;

use crate::published::Published;
use ask::Failure;
use fleet::{Change, Fleet, Heard, HostName, Rules, Time};
use meridian_model::limits::{HOST_LINES_WAITING_MAX, PROBED_HOSTS_MAX};
use meridian_model::name::Name;
use meridian_model::probe::{Answer, ProbeKeys, SiteChanges};
use meridian_model::zones::Host;
use meridian_model::{Local, local};
use opinion::Sight;
use prober::{Probed, Prober, Target};
use report::Row;
use serde_json::Value;
use standing::SiteNames;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use view::OwnView;

/// How often it is looked whether there are other hosts, at least.
const TICK: Duration = Duration::from_millis(100);

/// A view is handed over so many times in an interval, for it is good for three of them at who hears
/// of it once in each.
const VIEWS_PER_INTERVAL: u32 = 4;

/// Asks the thread.
#[derive(Debug, Clone)]
pub(crate) struct Peers(mpsc::Sender<Message>);

#[derive(Debug)]
enum Message {
    Probed(Box<Probed>),
    Report(mpsc::SyncSender<Value>),
}

impl Peers {
    /// Starts to probe the hosts of what is published, and to publish who is down.
    pub(crate) fn start(
        state: &Path,
        local: &Local,
        secret: &[u8],
        published: Arc<Published>,
    ) -> Result<Peers, String> {
        let failed = |error: std::io::Error| format!("starting the thread of the peers: {error}");
        let (messages, receiver) = mpsc::channel();
        let views = view::start(state.join("run").join("dataplane.sock")).map_err(failed)?;
        let lines = tell_lines().map_err(failed)?;
        let how = local.probe;
        let rules = Rules {
            interval: how.interval,
            rise: how.rise,
            fall: how.fall,
        };
        let mut thread = Thread {
            begun: Instant::now(),
            own: local.host.name.clone(),
            how,
            keys: ProbeKeys::of_secret(secret),
            fleet: Fleet::new(rules, local.host.name.shared()),
            was_isolated: false,
            published,
            messages: messages.clone(),
            hosts: Arc::new([]),
            probers: BTreeMap::new(),
            lost: BTreeMap::new(),
            rows: BTreeMap::new(),
            counts: Counts::default(),
            is_dirty: false,
            views,
            view: (Duration::ZERO, OwnView::default()),
            lines,
        };
        std::thread::Builder::new()
            .name("peers".to_owned())
            .spawn(move || thread.run(&receiver))
            .map_err(failed)?;
        Ok(Peers(messages))
    }

    /// What is known of every host; none: not within `within`.
    pub(crate) fn report(&self, within: Duration) -> Option<Value> {
        let (answer, answers) = mpsc::sync_channel(1);
        self.0.send(Message::Report(answer)).ok()?;
        answers.recv_timeout(within).ok()
    }
}

/// What is counted of all hosts.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Hosts beyond the limit, now.
    not_probed: u64,
    /// Probes that were not made, for this host lacked something.
    without_resources: u64,
    /// Answers that no host of the fleet gave.
    forged: u64,
}

struct Thread {
    begun: Instant,
    own: Name,
    how: local::Probe,
    keys: ProbeKeys,
    fleet: Fleet,
    was_isolated: bool,
    published: Arc<Published>,
    /// For the probers.
    messages: mpsc::Sender<Message>,
    hosts: Arc<[Host]>,
    probers: BTreeMap<HostName, Prober>,
    /// The sites that each host can not serve.
    lost: BTreeMap<HostName, Arc<SiteNames>>,
    rows: BTreeMap<HostName, Row>,
    counts: Counts,
    /// What answers are to know is other than what was published.
    is_dirty: bool,
    views: mpsc::Sender<(Instant, OwnView)>,
    /// The last that was handed over, and when.
    view: (Time, OwnView),
    lines: mpsc::SyncSender<String>,
}

impl Thread {
    /// As long as the process lives.
    fn run(&mut self, messages: &mpsc::Receiver<Message>) {
        loop {
            self.take_up_hosts();
            let first = messages.recv_timeout(self.wait());
            for message in first.into_iter().chain(messages.try_iter()) {
                self.take(message);
            }
            self.decide();
            if std::mem::take(&mut self.is_dirty) {
                self.publish();
            }
            self.hand_view_over();
        }
    }

    fn now(&self) -> Time {
        self.begun.elapsed()
    }

    /// Until there is something to do though nobody says anything.
    fn wait(&self) -> Duration {
        let now = self.now();
        let view_due = self.view.0 + self.how.interval / VIEWS_PER_INTERVAL;
        let due = self.fleet.due(now).into_iter().chain([view_due]).min();
        let wait = due.map_or(TICK, |due| due.saturating_sub(now));
        wait.clamp(Duration::from_millis(1), TICK)
    }

    /// Probes who is in the fleet by now.
    fn take_up_hosts(&mut self) {
        let hosts = Arc::clone(&self.published.state().zones.hosts);
        if Arc::ptr_eq(&hosts, &self.hosts) {
            return;
        }
        let own = self.own.as_str();
        // This one is probed whoever else is not.
        let (this, others): (Vec<&Host>, Vec<&Host>) =
            hosts.iter().partition(|host| *host.name == *own);
        let mut before = std::mem::take(&mut self.probers);
        self.counts.not_probed = 0;
        for host in this.into_iter().chain(others) {
            let Some(address) = host.probe else { continue };
            let kept = before.remove(&host.name);
            let prober = match kept.filter(|it| it.address == address) {
                Some(prober) => Some(prober),
                None if self.probers.len() >= PROBED_HOSTS_MAX => None,
                None => self.prober(host, address),
            };
            match prober {
                Some(prober) => {
                    self.probers.insert(Arc::clone(&host.name), prober);
                }
                None => self.counts.not_probed += 1,
            }
        }
        let probers = &self.probers;
        let is_probed = |host: &Host| probers.contains_key(&host.name);
        let named = hosts.iter();
        let named = named.map(|host| (Arc::clone(&host.name), is_probed(host)));
        self.fleet.set_hosts(named);
        self.rows = hosts
            .iter()
            .map(|host| {
                let row = self.rows.remove(&host.name).unwrap_or_default();
                (Arc::clone(&host.name), row)
            })
            .collect();
        self.lost.retain(|name, _| probers.contains_key(name));
        self.hosts = hosts;
        self.is_dirty = true;
    }

    fn prober(&self, host: &Host, address: SocketAddr) -> Option<Prober> {
        let target = Target {
            from: self.own.clone(),
            to: Name::parse(&host.name).ok()?,
            address,
            how: self.how,
            keys: self.keys.clone(),
        };
        let messages = self.messages.clone();
        let started = Prober::start(target, move |probed| {
            messages.send(Message::Probed(Box::new(probed))).is_ok()
        });
        started
            .map_err(|error| self.tell(format!("{} is not probed: {error}", host.name)))
            .ok()
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Probed(probed) => self.probed(*probed),
            Message::Report(answer) => {
                // Who asked may have gone.
                let _ = answer.try_send(self.report());
            }
        }
    }

    fn probed(&mut self, probed: Probed) {
        let Probed {
            host,
            asked_at,
            took,
            is_rest,
            outcome,
        } = probed;
        // The last word of one that was ended.
        let (Some(row), true) = (self.rows.get_mut(&host), self.probers.contains_key(&host)) else {
            return;
        };
        match &outcome {
            Err(Failure::Resources(_)) => {
                self.counts.without_resources += 1;
                return;
            }
            Err(Failure::Forged) => self.counts.forged += 1,
            _ => {}
        }
        if !is_rest {
            row.probed(&outcome, took);
            self.fleet.probed(&host, outcome.is_ok());
        }
        if let Ok(answer) = outcome {
            self.answered(&host, asked_at, answer);
        }
    }

    fn answered(&mut self, host: &HostName, asked_at: Instant, answer: Answer) {
        let Some(report) = answer.report else {
            return;
        };
        if let Some(row) = self.rows.get_mut(host) {
            row.incarnation = Some(answer.incarnation);
            row.revision = Some(report.revision);
            row.load_percent = Some(report.load_percent);
        }
        if let Some(view) = report.view {
            // It was so when it was asked, or earlier.
            let asked_at = asked_at.saturating_duration_since(self.begun);
            let age = Duration::from_millis(view.age_ms);
            let down = view.down.iter().map(Name::shared).collect();
            if let Some(at) = asked_at.checked_sub(age) {
                self.fleet.heard(host, Heard { at, down });
            }
        }
        self.is_dirty |= self.take_up_sites(host, report.sites);
    }

    /// Whether that changes anything.
    fn take_up_sites(&mut self, host: &HostName, changes: SiteChanges) -> bool {
        let SiteChanges {
            list: _,
            from,
            to: _,
            newest: _,
            lost,
            back,
        } = changes;
        let is_empty = !self.lost.contains_key(host);
        if lost.is_empty() && (is_empty || (from > 0 && back.is_empty())) {
            return false;
        }
        let names = self.lost.entry(Arc::clone(host)).or_default();
        if from == 0 {
            *names = Arc::default();
        }
        let set = Arc::make_mut(names);
        set.extend(lost.into_iter().map(String::into_boxed_str));
        for site in &back {
            set.remove(site.as_str());
        }
        if set.is_empty() {
            self.lost.remove(host);
        }
        true
    }

    fn decide(&mut self) {
        let now = self.now();
        let changes = self.fleet.decide(now);
        let is_isolated = self.fleet.is_isolated();
        if std::mem::replace(&mut self.was_isolated, is_isolated) != is_isolated {
            self.tell(match is_isolated {
                true => "no other host answers: this responder may be cut off".to_owned(),
                false => "other hosts answer again".to_owned(),
            });
        }
        for Change {
            host,
            is_withdrawn,
            why,
        } in changes
        {
            self.is_dirty = true;
            if let Some(row) = self.rows.get_mut(&host) {
                row.changed(why, is_withdrawn);
                let word = if is_withdrawn { "down" } else { "up" };
                let line = format!("host {host} is {word}: {}", row.reason);
                self.tell(line);
            }
        }
    }

    fn publish(&self) {
        let withdrawn = self.hosts.iter().map(|host| &host.name);
        let withdrawn = withdrawn.filter(|name| self.fleet.is_withdrawn(name));
        self.published.set_standing(Standing {
            withdrawn: withdrawn.cloned().collect(),
            lost: self.lost.clone(),
        });
    }

    fn hand_view_over(&mut self) {
        let now = self.now();
        let names = |sight| self.fleet.seen(sight).map(|it| it.to_string()).collect();
        let view = OwnView {
            up: names(Sight::Up),
            down: names(Sight::Down),
        };
        let due = self.view.0 + self.how.interval / VIEWS_PER_INTERVAL;
        if now < due && view == self.view.1 {
            return;
        }
        // The thread lives as long as this one.
        let _ = self.views.send((Instant::now(), view.clone()));
        self.view = (now, view);
    }

    fn tell(&self, line: String) {
        // Whoever reads stderr may have stopped to: what it does not take is left out.
        let _ = self.lines.try_send(line);
    }
}

/// A thread that writes lines to stderr, and may wait there.
fn tell_lines() -> std::io::Result<mpsc::SyncSender<String>> {
    let (sender, lines) = mpsc::sync_channel::<String>(HOST_LINES_WAITING_MAX);
    std::thread::Builder::new()
        .name("lines".to_owned())
        .spawn(move || {
            for line in lines {
                let _ = writeln!(std::io::stderr(), "meridian-geodns: {line}");
            }
        })?;
    Ok(sender)
}
