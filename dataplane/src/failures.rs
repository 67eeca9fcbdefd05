//! The last requests of each site that ended badly.
//!
//! Each worker remembers its own, in memory that only it touches: no lock is taken and nothing is
//! sent anywhere when a request fails. Who wants to know asks the workers ([`Question`]); each
//! copies out what it has of that one site.
//!
//! What is remembered is bounded for each site and for all of them together. Beyond the second
//! bound the site whose last failure is the oldest forgets first, so that a flood on one site
//! costs other sites nothing.

use crate::access_log::Entry;
use meridian_model::limits::{FAILURES_BYTES_MAX, FAILURES_PER_SITE};
use meridian_model::snapshot::SiteId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    sites: HashMap<SiteId, OfSite>,
    /// When each site last failed, by a clock that counts failures.
    by_age: BTreeMap<u64, SiteId>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct OfSite {
    last: u64,
    /// Encoded entries, the oldest first.
    entries: VecDeque<Vec<u8>>,
}

impl Failures {
    /// Remembers a failure of a site. Gives how many of other sites were forgotten for it.
    pub(crate) fn keep(&mut self, site: SiteId, entry: &Entry<'_>) -> u64 {
        let of_site = self.sites.entry(site).or_default();
        self.clock += 1;
        self.by_age.remove(&of_site.last);
        self.by_age.insert(self.clock, site);
        of_site.last = self.clock;
        // What a site forgets is of the size of what it remembers.
        let mut bytes = match of_site.entries.len() >= FAILURES_PER_SITE {
            true => of_site.entries.pop_front().unwrap_or_default(),
            false => Vec::new(),
        };
        self.bytes -= bytes.capacity();
        bytes.clear();
        entry.encode(&mut bytes);
        self.bytes += bytes.capacity();
        of_site.entries.push_back(bytes);
        let mut forgotten = 0;
        while self.bytes > FAILURES_BYTES_MAX && self.forget_oldest() {
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

    /// One failure of the site that last failed the longest time ago.
    fn forget_oldest(&mut self) -> bool {
        let Some((&age, &site)) = self.by_age.first_key_value() else {
            return false;
        };
        let of_site = self.sites.get_mut(&site);
        let entries = of_site.map(|of_site| &mut of_site.entries);
        if let Some(entries) = entries
            && let Some(bytes) = entries.pop_front()
        {
            self.bytes -= bytes.capacity();
            if !entries.is_empty() {
                return true;
            }
        }
        self.by_age.remove(&age);
        self.sites.remove(&site);
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
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.time_us));
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
        assert_eq!(failures.by_age.len(), failures.sites.len());
        assert_eq!(times(&failures, 9_999), [29_997, 29_998, 29_999]);
        assert!(times(&failures, 0).is_empty());
        let held: usize = failures
            .sites
            .values()
            .flat_map(|it| &it.entries)
            .map(Vec::capacity)
            .sum();
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
