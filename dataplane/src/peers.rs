//! What this host tells the others of the fleet when they probe it (DESIGN §7): that its proxy serves,
//! what its responder sees of them, and which sites it can not serve.
//!
//! A probe is a request to [`meridian_model::probe::PATH`] with a field that a host of the fleet has signed. Without
//! that it is a request like any other. It belongs to no site and is not counted as one.

mod lost_sites;

pub(crate) use lost_sites::LostSites;

use crate::counters::Counter;
use crate::http::request::{RequestHead, Target};
use crate::shared::{Shared, WorkerBoard};
use arc_swap::ArcSwapOption;
use meridian_model::limits::PROBE_PERIOD_MS;
use meridian_model::name::Name;
use meridian_model::probe::{Answer, FIELD, PATH, Period, ProbeKeys, Question, Report, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(crate) struct Peers {
    host: Name,
    keys: ProbeKeys,
    /// Of this start of the plane.
    incarnation: u64,
    begun: Instant,
    /// What the responder handed over last, and when that was so.
    view: ArcSwapOption<(Instant, View)>,
    load_percent: AtomicU8,
}

/// How often a worker was probed, and how that went.
#[derive(Debug, Default)]
pub(crate) struct ProbeCounters {
    /// Probes that were answered.
    pub(crate) answered: Counter,
    /// Of these, the ones that named no period of late.
    pub(crate) old: Counter,
    /// Fields that no host of the fleet signed.
    pub(crate) forged: Counter,
    /// Probes of another host.
    pub(crate) foreign: Counter,
}

impl Peers {
    /// Of the host `host`, whose fleet has this secret.
    ///
    /// # Errors
    ///
    /// When there are no random bytes.
    pub(crate) fn new(host: Name, secret: &[u8]) -> Result<Peers, String> {
        let random = meridian_sys::process::random_bytes();
        let random = random.map_err(|error| format!("asking for random bytes: {error}"))?;
        Ok(Peers {
            host,
            keys: ProbeKeys::of_secret(secret),
            // 0 is what a host names that knows of none.
            incarnation: u64::from_ne_bytes(random).max(1),
            begun: Instant::now(),
            view: ArcSwapOption::empty(),
            load_percent: AtomicU8::new(0),
        })
    }

    /// The responder of this host sees this now, or did when its age is taken off.
    pub(crate) fn set_view(&self, view: View) {
        let age = Duration::from_millis(view.age_ms);
        if let Some(at) = Instant::now().checked_sub(age) {
            self.view.store(Some(Arc::new((at, view))));
        }
    }

    /// How much of what this host has is used, in hundredths.
    pub(crate) fn set_load(&self, percent: u8) {
        self.load_percent.store(percent, Ordering::Relaxed);
    }

    /// The signed answer to a request that is a probe of this host: what stands in its field, and
    /// its body. `None`: it is a request like any other.
    pub(crate) fn answer(
        &self,
        head: &RequestHead<'_>,
        shared: &Shared,
        board: &WorkerBoard,
    ) -> Option<(String, Vec<u8>)> {
        let field = signed_field(head)?;
        let counters = &board.probes;
        let Some(question) = Question::read(field, &self.keys) else {
            counters.forged.add(1);
            return None;
        };
        if question.to != self.host {
            counters.foreign.add(1);
            return None;
        }
        counters.answered.add(1);
        let period = self.period();
        let is_known = self.is_recent(question.period, period);
        if !is_known {
            counters.old.add(1);
        }
        let report = is_known.then(|| Report {
            revision: board.revision.get(),
            draining: shared.draining.load(Ordering::Acquire),
            load_percent: self.load_percent.load(Ordering::Relaxed),
            view: self.view(),
            sites: shared.lost_sites.since(question.known),
        });
        let answer = Answer {
            host: self.host.clone(),
            incarnation: period.incarnation,
            period: period.number,
            report,
        };
        let body = answer.body();
        Some((self.keys.sign_answer(question.nonce, &body), body))
    }

    fn period(&self) -> Period {
        let passed_ms = self.begun.elapsed().as_millis() as u64;
        Period {
            incarnation: self.incarnation,
            number: passed_ms / PROBE_PERIOD_MS,
        }
    }

    /// A question names the period that it was answered with last: this one, or the one before.
    fn is_recent(&self, named: Period, now: Period) -> bool {
        named.incarnation == now.incarnation
            && (named.number == now.number || named.number.checked_add(1) == Some(now.number))
    }

    fn view(&self) -> Option<View> {
        let held = self.view.load();
        let (at, view) = &**held.as_ref()?;
        Some(View {
            age_ms: at.elapsed().as_millis() as u64,
            ..view.clone()
        })
    }
}

/// What a request for the path of probes is signed with.
fn signed_field<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    if head.target != Target::Origin(PATH.as_bytes()) || !head.framing.is_empty() {
        return None;
    }
    let mut fields = head.fields().iter();
    let field = fields.find(|it| it.name_text.eq_ignore_ascii_case(FIELD.as_bytes()))?;
    Some(field.value)
}
