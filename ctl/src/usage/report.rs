//! From usage by slot to the rows of a bill: summed by tenant, site, host and period.

use std::collections::{BTreeMap, HashMap};

use meridian_model::limits::SLOT_SECONDS;
use meridian_model::snapshot::SiteId;
use meridian_model::usage::{Column, NO_SITE, SlotUsage, Tally};

use super::percentile::Percentile95;
use super::time_range::TimeRange;
use crate::cli::By;
use crate::ledger::NamedSite;

/// What stands for a tenant and a site where there is none.
const NOBODY: &str = "-";

/// What stands for the tenant of an id that nobody knows a name for.
const UNKNOWN: &str = "?";

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) tenant: Option<String>,
    pub(crate) site: Option<String>,
    pub(crate) range: TimeRange,
    pub(crate) by: By,
    pub(crate) by_host: bool,
}

/// One line of a bill. The order of the fields is a promise to scripts, as their names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReportRow {
    pub(crate) tenant: String,
    pub(crate) site: String,
    /// Empty when hosts are summed.
    pub(crate) host: String,
    pub(crate) range: TimeRange,
    pub(crate) tally: Tally,
    pub(crate) bandwidth_p95_bps: u64,
}

/// The names of sites, of whatever was ever served.
#[derive(Debug, Default)]
pub(crate) struct SiteNames(HashMap<SiteId, (String, String)>);

impl SiteNames {
    /// Takes names in; a later one of an id holds.
    pub(crate) fn add(&mut self, sites: impl IntoIterator<Item = NamedSite>) {
        let named = |NamedSite { id, tenant, name }| (id, (tenant, name));
        self.0.extend(sites.into_iter().map(named));
    }

    fn of(&self, site: SiteId) -> (String, String) {
        if site == NO_SITE {
            return (NOBODY.to_owned(), NOBODY.to_owned());
        }
        let unknown = || (UNKNOWN.to_owned(), format!("#{}", site.0));
        self.0.get(&site).cloned().unwrap_or_else(unknown)
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant: String,
    site: String,
    host: String,
    range: TimeRange,
}

struct Sum {
    tally: Tally,
    /// The slot that is being added up, with its bytes in and out.
    slot: u64,
    bytes: (u64, u64),
    slots_bytes: Percentile95,
}

/// Adds up usage that comes in the order of its slots.
pub(crate) struct Report<'a> {
    question: &'a Question,
    names: &'a SiteNames,
    /// Whether a site is asked for, and its name.
    asked: HashMap<SiteId, Option<(String, String)>>,
    sums: BTreeMap<Key, Sum>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(question: &'a Question, names: &'a SiteNames) -> Report<'a> {
        Report {
            question,
            names,
            asked: HashMap::new(),
            sums: BTreeMap::new(),
        }
    }

    /// Adds what a slot has of a site on a host. Slots do not go back.
    pub(crate) fn add(&mut self, host: &str, usage: SlotUsage) {
        let SlotUsage { slot, site, tally } = usage;
        let question = self.question;
        let asked = self.asked.entry(site).or_insert_with(|| {
            let (tenant, name) = self.names.of(site);
            let is =
                |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|it| it == is);
            (is(&question.tenant, &tenant) && is(&question.site, &name)).then_some((tenant, name))
        });
        let Some((tenant, name)) = asked.clone() else {
            return;
        };
        let range = match question.by {
            By::Total => question.range,
            By::Hour => question.range.period(slot, 3600),
            By::Day => question.range.period(slot, 86_400),
        };
        let key = Key {
            tenant,
            site: name,
            host: if question.by_host { host } else { "" }.to_owned(),
            range,
        };
        let (first, behind) = range.slots();
        let sum = self.sums.entry(key).or_insert_with(|| Sum {
            tally: Tally::default(),
            slot,
            bytes: (0, 0),
            slots_bytes: Percentile95::new(behind - first),
        });
        sum.add(slot, &tally);
    }

    /// The rows, by tenant, site, host and time.
    pub(crate) fn rows(self) -> Vec<ReportRow> {
        let rows = self.sums.into_iter().map(|(key, mut sum)| {
            let Key {
                tenant,
                site,
                host,
                range,
            } = key;
            sum.end_slot();
            ReportRow {
                tenant,
                site,
                host,
                range,
                tally: sum.tally,
                bandwidth_p95_bps: bits_per_second(sum.slots_bytes.get()),
            }
        });
        rows.collect()
    }
}

impl Sum {
    fn add(&mut self, slot: u64, tally: &Tally) {
        if slot != self.slot {
            debug_assert!(self.slot < slot);
            self.end_slot();
            self.slot = slot;
        }
        self.tally = self.tally.plus(tally);
        let (bytes_in, bytes_out) = self.bytes;
        self.bytes = (
            bytes_in.saturating_add(tally[Column::BytesIn]),
            bytes_out.saturating_add(tally[Column::BytesOut]),
        );
    }

    fn end_slot(&mut self) {
        let (bytes_in, bytes_out) = std::mem::take(&mut self.bytes);
        self.slots_bytes.add(bytes_in.max(bytes_out));
    }
}

/// The mean of a slot of time that has so many bytes.
fn bits_per_second(slot_bytes: u64) -> u64 {
    let bits = u128::from(slot_bytes) * 8;
    u64::try_from(bits / u128::from(SLOT_SECONDS)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::time_range::Time;

    fn question(from: &str, to: &str, by: By) -> Question {
        Question {
            tenant: None,
            site: None,
            range: TimeRange {
                from: Time::parse(from).unwrap(),
                to: Time::parse(to).unwrap(),
            },
            by,
            by_host: false,
        }
    }

    fn slot(text: &str) -> u64 {
        Time::parse(text).unwrap().first_slot()
    }

    fn usage(slot: u64, site: u64, bytes_in: u64, bytes_out: u64) -> SlotUsage {
        let mut tally = Tally::default();
        tally[Column::Requests] = 1;
        tally[Column::BytesIn] = bytes_in;
        tally[Column::BytesOut] = bytes_out;
        SlotUsage {
            slot,
            site: SiteId(site),
            tally,
        }
    }

    fn names() -> SiteNames {
        let mut names = SiteNames::default();
        let named = |id, name: &str| NamedSite {
            id: SiteId(id),
            tenant: "acme".to_owned(),
            name: name.to_owned(),
        };
        // Site 2 was deleted, and came back as 3.
        names.add([named(1, "blog"), named(2, "shop"), named(3, "shop")]);
        names
    }

    /// Of each row: site, host, beginning, requests, percentile.
    fn rows(
        question: &Question,
        usages: &[(&str, SlotUsage)],
    ) -> Vec<(String, String, String, u64, u64)> {
        let names = names();
        let mut report = Report::new(question, &names);
        for &(host, usage) in usages {
            report.add(host, usage);
        }
        let shown = report.rows().into_iter().map(|row| {
            (
                format!("{}/{}", row.tenant, row.site),
                row.host,
                row.range.from.to_string(),
                row.tally[Column::Requests],
                row.bandwidth_p95_bps,
            )
        });
        shown.collect()
    }

    fn row(
        site: &str,
        host: &str,
        from: &str,
        requests: u64,
        p95: u64,
    ) -> (String, String, String, u64, u64) {
        (
            site.to_owned(),
            host.to_owned(),
            from.to_owned(),
            requests,
            p95,
        )
    }

    #[test]
    fn hours_begin_at_the_hour_and_where_the_range_does() {
        let question = question("2026-11-24T10:30:00Z", "2026-11-24T12:30:00Z", By::Hour);
        let first = slot("2026-11-24T10:30:00Z");
        let usages = [
            ("h1", usage(first, 1, 0, 300)),
            ("h1", usage(first + 5, 1, 0, 600)),
            ("h1", usage(first + 6, 1, 3000, 0)),
        ];
        assert_eq!(
            rows(&question, &usages),
            [
                row("acme/blog", "", "2026-11-24T10:30:00Z", 2, 16),
                row("acme/blog", "", "2026-11-24T11:00:00Z", 1, 80),
            ]
        );
    }

    #[test]
    fn ids_of_one_name_are_one_row_and_their_bytes_of_a_slot_one_number() {
        let question = question("2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", By::Total);
        let first = question.range.slots().0;
        let usages = [
            ("h1", usage(first, 2, 3000, 100)),
            ("h1", usage(first, 3, 3000, 200)),
            ("h2", usage(first, 3, 3000, 300)),
            ("h1", usage(first + 1, 3, 10, 600)),
            ("h1", usage(first + 1, u64::MAX, 1, 1)),
            ("h1", usage(first + 1, 77, 1, 1)),
        ];
        let from = "2026-11-24T10:00:00Z";
        assert_eq!(
            rows(&question, &usages),
            [
                row("-/-", "", from, 1, 0),
                row("?/#77", "", from, 1, 0),
                row("acme/shop", "", from, 4, 240),
            ]
        );
        let mut by_host = question.clone();
        by_host.by_host = true;
        by_host.tenant = Some("acme".to_owned());
        assert_eq!(
            rows(&by_host, &usages),
            [
                row("acme/shop", "h1", from, 3, 160),
                row("acme/shop", "h2", from, 1, 80),
            ]
        );
    }

    #[test]
    fn a_day_with_little_traffic_has_a_percentile_of_zero() {
        let question = question("2026-11-01", "2026-12-01", By::Day);
        let first = slot("2026-11-02");
        // 288 slots a day: 14 of them are below 5 %, and 15 are not.
        for (busy, wanted) in [(14, 0), (15, 8)] {
            let usages: Vec<_> = (0..busy)
                .map(|at| ("h1", usage(first + at, 1, 300, 299)))
                .collect();
            let from = "2026-11-02T00:00:00Z";
            assert_eq!(
                rows(&question, &usages),
                [row("acme/blog", "", from, busy, wanted)]
            );
        }
    }

    #[test]
    fn bandwidth_does_not_overflow() {
        assert_eq!(bits_per_second(u64::MAX), 491_913_175_298_921_376);
        assert_eq!(bits_per_second(75), 2);
    }
}
