//! The last requests of each site that ended badly.
//!
//! Each worker remembers its own, in memory that only it touches: no lock is taken and nothing is
//! sent anywhere when a request fails. Who wants to know asks the workers ([`Question`]); each
//! copies out what it has of that one site.
//!
//! What is remembered is bounded for each site and for all of them together. Beyond the second
//! bound the site that holds the most forgets first, so that who makes many requests fail, on one
//! site or on many, takes nothing from those that hold less.

use crate::access_log::Entry;
use meridian_model::limits::{FAILURES_BYTES_MAX, FAILURES_PER_SITE};
use meridian_model::snapshot::SiteId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    sites: HashMap<SiteId, OfSite>,
    by_weight: BTreeMap<Weight, SiteId>,
    /// Counts failures.
    clock: u64,
    bytes: usize,
}

/// What a site's failures take, and when the site last failed: of those that take as much, the
/// one that failed the longest time ago is the heaviest.
type Weight = (usize, Reverse<u64>);

#[derive(Debug, Default)]
struct OfSite {
    last: u64,
    bytes: usize,
    /// Encoded entries, the oldest first.
    entries: VecDeque<Vec<u8>>,
}

impl OfSite {
    fn weight(&self) -> Weight {
        (self.bytes, Reverse(self.last))
    }

    fn take_oldest(&mut self) -> Vec<u8> {
        let oldest = self.entries.pop_front().unwrap_or_default();
        self.bytes -= oldest.capacity();
        oldest
    }
}

impl Failures {
    /// Remembers a failure of a site. Gives how many were forgotten for want of room.
    pub(crate) fn keep(&mut self, site: SiteId, entry: &Entry<'_>) -> u64 {
        let of_site = self.sites.entry(site).or_default();
        self.by_weight.remove(&of_site.weight());
        self.bytes -= of_site.bytes;
        self.clock += 1;
        of_site.last = self.clock;
        // What a site forgets is of the size of what it remembers.
        let mut bytes = match of_site.entries.len() >= FAILURES_PER_SITE {
            true => of_site.take_oldest(),
            false => Vec::new(),
        };
        bytes.clear();
        entry.encode(&mut bytes);
        // Else long paths would go on to weigh when they are forgotten.
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        of_site.bytes += bytes.capacity();
        of_site.entries.push_back(bytes);
        self.bytes += of_site.bytes;
        self.by_weight.insert(of_site.weight(), site);
        let mut forgotten = 0;
        while self.bytes > FAILURES_BYTES_MAX && self.forget_one() {
            forgotten += 1;
        }
        forgotten
    }

    /// What is remembered of a site.
    fn of(&self, site: SiteId) -> Vec<Vec<u8>> {
        let of_site = self.sites.get(&site);
        of_site.map_or_else(Vec::new, |of_site| {
            of_site.entries.iter().cloned().collect()
        })
    }

    /// The oldest failure of the site that holds the most.
    fn forget_one(&mut self) -> bool {
        let heaviest = self.by_weight.pop_last();
        let Some((_, site)) = heaviest else {
            return false;
        };
        if let Some(of_site) = self.sites.get_mut(&site) {
            self.bytes -= of_site.take_oldest().capacity();
            if of_site.entries.is_empty() {
                self.sites.remove(&site);
            } else {
                self.by_weight.insert(of_site.weight(), site);
            }
        }
        true
    }
}

/// A question to every worker for what it remembers of one site.
#[derive(Debug)]
pub(crate) struct Question {
    site: SiteId,
    /// By worker; none until it answered.
    answers: Mutex<Vec<Option<Vec<Vec<u8>>>>>,
}

impl Question {
    /// A question that nobody has answered yet.
    pub(crate) fn new(site: SiteId, workers: usize) -> Question {
        Question {
            site,
            answers: Mutex::new(vec![None; workers]),
        }
    }

    /// Worker `worker` answers, the first time that it is asked.
    pub(crate) fn answer(&self, worker: usize, failures: &Failures) {
        if let Some(answer @ None) = self.answers().get_mut(worker) {
            *answer = Some(failures.of(self.site));
        }
    }

    /// What the workers answered, the newest first, as JSON objects; and how many did not.
    pub(crate) fn result(&self) -> (Vec<String>, usize) {
        let answers = self.answers();
        let missing = answers.iter().filter(|answer| answer.is_none()).count();
        let encoded = answers.iter().flatten().flatten();
        let mut entries: Vec<Entry<'_>> = encoded.filter_map(|it| Entry::decode(it)).collect();
        entries.sort_by_key(|entry| Reverse(entry.time_us));
        entries.truncate(FAILURES_PER_SITE);
        let texts = entries.iter().map(|entry| {
            let mut json = Vec::new();
            entry.write_json(&mut json);
            String::from_utf8(json).unwrap_or_default()
        });
        (texts.collect(), missing)
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Option<Vec<Vec<u8>>>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::CutTexts;
    use crate::counters::Cause;

    fn entry(time_us: u64, path: &[u8]) -> Entry<'_> {
        Entry {
            time_us,
            request_id: b"id",
            tenant: b"acme",
            site: b"shop",
            revision: 1,
            worker: 0,
            client: None,
            method: b"GET",
            host: b"shop.test",
            path,
            status: Some(502),
            cause: Cause::at(0),
            pool: b"default",
            backend: b"b1",
            tries: 1,
            reused: false,
            queue_us: None,
            connect_us: None,
            first_byte_us: None,
            total_us: 1,
            bytes_in: 1,
            bytes_out: 1,
            cut: CutTexts::default(),
            tls: None,
        }
    }

    fn times(failures: &Failures, site: u64) -> Vec<u64> {
        let entries = failures.of(SiteId(site));
        let decoded = entries
            .iter()
            .map(|it| Entry::decode(it).expect("whole").time_us);
        decoded.collect()
    }

    #[test]
    fn a_site_keeps_its_last_hundred() {
        let mut failures = Failures::default();
        for time in 0..250 {
            assert_eq!(failures.keep(SiteId(1), &entry(time, b"/")), 0);
        }
        assert_eq!(times(&failures, 1), (150..250).collect::<Vec<_>>());
        assert!(times(&failures, 2).is_empty());
    }

    #[test]
    fn a_flood_on_one_site_leaves_the_others_alone() {
        let mut failures = Failures::default();
        failures.keep(SiteId(1), &entry(1, b"/"));
        let path = vec![b'x'; 1024];
        for time in 0..100_000 {
            assert_eq!(failures.keep(SiteId(2), &entry(time, &path)), 0);
        }
        assert_eq!(times(&failures, 1), [1]);
        assert!(failures.bytes < FAILURES_BYTES_MAX / 10);
    }

    #[test]
    fn a_flood_over_many_sites_takes_from_those_that_hold_the_most() {
        let mut failures = Failures::default();
        for time in 0..100 {
            failures.keep(SiteId(1), &entry(time, b"/"));
        }
        failures.keep(SiteId(2), &entry(1, b"/"));
        let path = vec![b'x'; 1024];
        let mut forgotten = 0;
        for turn in 0..10_000 {
            forgotten += failures.keep(SiteId(10 + turn % 40), &entry(turn, &path));
        }
        assert!(forgotten > 0);
        assert_eq!(times(&failures, 1), (0..100).collect::<Vec<_>>());
        assert_eq!(times(&failures, 2), [1]);
        // They share what is left.
        let kept: Vec<usize> = (10..50).map(|site| times(&failures, site).len()).collect();
        let (least, most) = (kept.iter().min(), kept.iter().max());
        assert!(least.is_some_and(|&least| least > 20), "{kept:?}");
        assert!(least.zip(most).is_some_and(|(a, b)| b - a <= 1), "{kept:?}");
    }

    #[test]
    fn long_paths_weigh_no_more_when_they_are_forgotten() {
        let mut failures = Failures::default();
        let path = vec![b'x'; 1024];
        for time in 0..100 {
            failures.keep(SiteId(1), &entry(time, &path));
        }
        let heavy = failures.bytes;
        for time in 0..100 {
            failures.keep(SiteId(1), &entry(time, b"/"));
        }
        assert!(failures.bytes < heavy / 2, "{} of {heavy}", failures.bytes);
    }

    #[test]
    fn many_failing_sites_stay_within_the_bound_and_the_newest_are_there() {
        let mut failures = Failures::default();
        let path = vec![b'x'; 1024];
        let mut forgotten = 0;
        for turn in 0..30_000_u64 {
            forgotten += failures.keep(SiteId(turn / 3), &entry(turn, &path));
            assert!(failures.bytes <= FAILURES_BYTES_MAX);
        }
        let kept: usize = failures.sites.values().map(|it| it.entries.len()).sum();
        assert_eq!(kept as u64 + forgotten, 30_000);
        assert_eq!(failures.by_weight.len(), failures.sites.len());
        assert_eq!(times(&failures, 9_999).last(), Some(&29_999));
        assert!(times(&failures, 0).is_empty());
        for of_site in failures.sites.values() {
            let held: usize = of_site.entries.iter().map(Vec::capacity).sum();
            assert_eq!(held, of_site.bytes);
        }
        let held: usize = failures.sites.values().map(|it| it.bytes).sum();
        assert_eq!(held, failures.bytes);
    }

    #[test]
    fn answers_of_workers_are_one_list_with_the_newest_first() {
        let mut workers = [Failures::default(), Failures::default()];
        for time in 0..160 {
            workers[(time % 2) as usize].keep(SiteId(1), &entry(time, b"/"));
        }
        let question = Question::new(SiteId(1), 3);
        for _ in 0..2 {
            question.answer(0, &workers[0]);
            question.answer(1, &workers[1]);
        }
        let (texts, missing) = question.result();
        assert_eq!((texts.len(), missing), (100, 1));
        assert!(
            texts[0].starts_with(r#"{"time":"1970-01-01T00:00:00.000159Z""#),
            "{}",
            texts[0]
        );
    }
}
