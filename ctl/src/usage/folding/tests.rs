//! Folding stopped after each of its steps, damage, and what a reader sees meanwhile: always the
//! same usage, each request once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use meridian_model::snapshot::SiteId;
use meridian_model::usage::{
    Column, HEADER_OPEN_SLOT_WORD, SLOT_BYTES, Tally, closed_slot, header, slots_header,
};
use proptest::prelude::*;

use super::*;
use crate::usage::collecting::{Source, collect};

/// A state directory with what planes left in it.
struct State {
    directory: tempfile::TempDir,
    counters: CountersDirectory,
}

/// One plane's files, dead unless `lock` holds them.
struct Plane {
    epoch: Epoch,
    /// What is in the slots file: a slot and what its sites had by its end.
    closed: Vec<(u64, Vec<(u64, u64)>)>,
    open_slot: u64,
    /// What each worker's pages have.
    pages: Vec<Vec<(u64, u64)>>,
}

type ByKey = BTreeMap<(Epoch, u64, u64), u64>;

fn tally(requests: u64) -> Tally {
    let mut tally = Tally::default();
    tally[Column::Requests] = requests;
    tally
}

fn page_file(epoch: Epoch, worker: u64, open_slot: u64, sites: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = header(epoch, worker, open_slot).to_vec();
    for &(site, requests) in sites {
        let mut slot = vec![0; SLOT_BYTES];
        slot[..8].copy_from_slice(&site.to_le_bytes());
        slot[8..16].copy_from_slice(&requests.to_le_bytes());
        bytes.extend(slot);
    }
    bytes
}

impl State {
    fn new() -> State {
        let directory = tempfile::tempdir().unwrap();
        let counters = CountersDirectory::new(directory.path().join("counters"));
        fs::create_dir_all(counters.path().join("pages")).unwrap();
        fs::create_dir(directory.path().join("ledger")).unwrap();
        State {
            directory,
            counters,
        }
    }

    fn with(planes: &[Plane]) -> State {
        let state = State::new();
        planes.iter().for_each(|plane| state.write(plane));
        state
    }

    fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger/usage.db")
    }

    fn write(&self, plane: &Plane) {
        let epoch = plane.epoch;
        let set = self.counters.page_set(epoch);
        fs::create_dir_all(&set).unwrap();
        fs::write(set.join("lock"), "").unwrap();
        for (worker, sites) in plane.pages.iter().enumerate() {
            let bytes = page_file(epoch, worker as u64, plane.open_slot, sites);
            fs::write(set.join(format!("w{worker}")), bytes).unwrap();
        }
        let mut text = slots_header("dataplane", "ams-1", epoch);
        for (slot, sites) in &plane.closed {
            let sites: Vec<_> = sites
                .iter()
                .map(|&(site, requests)| (SiteId(site), tally(requests)))
                .collect();
            text.push_str(&closed_slot(*slot, &sites));
        }
        fs::write(self.counters.slots_file(epoch), text).unwrap();
    }

    /// Folds, for `steps` steps at most; gives the faults, and whether that was all.
    fn fold(&self, mut steps: usize) -> (Vec<String>, bool) {
        let mut ledger = Ledger::open(&self.ledger()).unwrap();
        let mut whole = true;
        let mut go_on = || {
            whole &= steps > 0;
            steps = steps.saturating_sub(1);
            whole
        };
        let mut fold = Fold {
            ledger: &mut ledger,
            counters: &self.counters,
            host: "here",
            go_on: &mut go_on,
            faults: Vec::new(),
        };
        fold.run();
        (fold.faults, whole)
    }

    /// What `usage` sees: each row once, by epoch where it is still known.
    fn seen(&self) -> BTreeMap<(u64, u64), u64> {
        let source = Source {
            counters: self.counters.clone(),
            socket: self.directory.path().join("no.sock"),
        };
        let (ledger, unfolded) = collect(&[source], &self.ledger(), || "here".to_owned()).unwrap();
        let mut seen = BTreeMap::new();
        let mut add = |usage: SlotUsage| {
            *seen.entry((usage.slot, usage.site.0)).or_default() += usage.tally[Column::Requests];
        };
        for (_, usage) in unfolded.by_slot.into_values().flatten() {
            add(usage);
        }
        if let Some(ledger) = ledger {
            ledger
                .each_usage(0, u64::MAX, |_, usage| add(usage))
                .unwrap();
        }
        seen
    }

    fn files(&self) -> usize {
        let listing = self.counters.list().unwrap();
        listing.pages.len() + listing.slots.len()
    }
}

/// What was counted, by slot and site.
fn counted(planes: &[Plane]) -> BTreeMap<(u64, u64), u64> {
    let mut by_key = ByKey::new();
    for plane in planes {
        let mut known: BTreeMap<u64, u64> = BTreeMap::new();
        let mut add = |slot: u64, site: u64, now: u64| {
            let before = known.insert(site, now).unwrap_or_default();
            if now > before {
                by_key.insert((plane.epoch, slot, site), now - before);
            }
        };
        for (slot, sites) in &plane.closed {
            sites.iter().for_each(|&(site, now)| add(*slot, site, now));
        }
        let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
        for &(site, requests) in plane.pages.iter().flatten() {
            *sums.entry(site).or_default() += requests;
        }
        for (site, now) in sums {
            add(plane.open_slot, site, now);
        }
    }
    let mut by_slot = BTreeMap::new();
    for ((_, slot, site), requests) in by_key {
        *by_slot.entry((slot, site)).or_default() += requests;
    }
    by_slot
}

/// Two planes after each other, the clock set back by an hour between them, so that both have
/// the same slots; and one that died at once.
fn planes() -> Vec<Plane> {
    vec![
        Plane {
            epoch: Epoch([1; 16]),
            closed: vec![
                (100, vec![(1, 10), (2, 5)]),
                (112, vec![(1, 11)]),
                (113, vec![]),
                (114, vec![(1, 20), (u64::MAX, 3)]),
            ],
            open_slot: 115,
            pages: vec![vec![(1, 12), (2, 5), (u64::MAX, 3)], vec![(1, 9), (7, 2)]],
        },
        Plane {
            epoch: Epoch([2; 16]),
            closed: vec![(103, vec![(1, 1)]), (114, vec![(1, 2), (2, 4)])],
            open_slot: 115,
            pages: vec![vec![(1, 3)], vec![(2, 9)]],
        },
        Plane {
            epoch: Epoch([3; 16]),
            closed: vec![],
            open_slot: 116,
            pages: vec![vec![], vec![]],
        },
    ]
}

#[test]
fn a_fold_that_is_stopped_at_any_step_and_begun_again_counts_everything_once() {
    let counted = counted(&planes());
    let mut stopped_at = 0;
    loop {
        let state = State::with(&planes());
        assert_eq!(state.seen(), counted, "from the files alone");
        let (faults, whole) = state.fold(stopped_at);
        assert_eq!(faults, [""; 0]);
        assert_eq!(state.seen(), counted, "stopped after {stopped_at} steps");
        // Stopped again and again on the way, and each time it is the same.
        for steps in [1, 0, 2, 1] {
            state.fold(steps);
            assert_eq!(
                state.seen(),
                counted,
                "stopped after {stopped_at} and {steps}"
            );
        }
        assert_eq!(state.fold(usize::MAX), (vec![], true));
        assert_eq!((state.seen(), state.files()), (counted.clone(), 0));
        assert_eq!(state.fold(usize::MAX), (vec![], true), "twice is once");
        assert_eq!(state.seen(), counted);
        if whole {
            break;
        }
        stopped_at += 1;
    }
    assert!(stopped_at > 15, "{stopped_at} steps only");
}

#[test]
fn a_live_plane_is_read_through_its_slots_file_and_keeps_its_files() {
    let planes = planes();
    let state = State::with(&planes);
    let lock = File::open(state.counters.page_set(planes[0].epoch).join("lock")).unwrap();
    lock.try_lock().unwrap();
    // One without pages, which a full disk made impossible, holds its slots file.
    fs::remove_dir_all(state.counters.page_set(planes[1].epoch)).unwrap();
    let slots = File::open(state.counters.slots_file(planes[1].epoch)).unwrap();
    slots.try_lock().unwrap();
    assert_eq!(state.fold(usize::MAX), (vec![], true));
    assert_eq!(state.files(), 3, "two of the first, one of the second");
    let in_ledger = |state: &State| {
        let ledger = Ledger::open_to_read(&state.ledger()).unwrap().unwrap();
        let mut requests = 0;
        ledger
            .each_usage(0, u64::MAX, |_, usage| {
                requests += usage.tally[Column::Requests]
            })
            .unwrap();
        requests
    };
    assert_eq!(in_ledger(&state), 28 + 6, "closed slots alone");
    // The plane goes on: what is new of its file is taken in, and at its death the rest.
    let path = state.counters.slots_file(planes[0].epoch);
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str(&closed_slot(115, &[(SiteId(1), tally(21))]));
    fs::write(&path, &text).unwrap();
    state.fold(usize::MAX);
    assert_eq!(in_ledger(&state), 28 + 6 + 1);
    drop((lock, slots));
    state.fold(usize::MAX);
    assert_eq!((in_ledger(&state), state.files()), (28 + 6 + 1 + 2, 0));
}

#[test]
fn a_plane_that_was_killed_over_a_slots_end_loses_nothing_and_doubles_nothing() {
    // The slot is closed on the disk, and the pages do not say so yet.
    let plane = Plane {
        epoch: Epoch([5; 16]),
        closed: vec![(100, vec![(1, 10)])],
        open_slot: 100,
        pages: vec![vec![(1, 14)]],
    };
    let state = State::with(std::slice::from_ref(&plane));
    let wanted = BTreeMap::from([((100, 1), 10), ((101, 1), 4)]);
    assert_eq!(state.seen(), wanted);
    state.fold(usize::MAX);
    assert_eq!((state.seen(), state.files()), (wanted, 0));
}

#[test]
fn what_is_damaged_is_kept_and_named_and_the_rest_is_counted() {
    let planes = planes();
    for damaged_line in 1..=8 {
        let state = State::with(&planes);
        let path = state.counters.slots_file(planes[0].epoch);
        let text = fs::read_to_string(&path).unwrap();
        let lines = text
            .lines()
            .enumerate()
            .map(|(index, line)| match index + 1 {
                number if number == damaged_line => line.replacen('{', "[", 1),
                _ => line.to_owned(),
            });
        let damaged = lines.collect::<Vec<_>>().join("\n") + "\n";
        fs::write(&path, &damaged).unwrap();
        let by_site = |seen: BTreeMap<(u64, u64), u64>| {
            let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
            for ((_, site), requests) in seen {
                *sums.entry(site).or_default() += requests;
            }
            sums
        };
        let wanted = by_site(counted(&planes));
        assert_eq!(by_site(state.seen()), wanted, "line {damaged_line}");
        let place = format!("{}: line {damaged_line}: ", path.display());
        let (faults, _) = state.fold(usize::MAX);
        assert!(faults.iter().any(|it| it.starts_with(&place)), "{faults:?}");
        assert_eq!(by_site(state.seen()), wanted, "line {damaged_line}");
        assert_eq!(state.files(), 1, "the damaged one");
        // Whoever mends it by hand does not have it counted again.
        fs::write(&path, &text).unwrap();
        let (faults, _) = state.fold(usize::MAX);
        assert!(faults[0].contains("has damage, and is kept"), "{faults:?}");
        assert_eq!(by_site(state.seen()), wanted, "line {damaged_line}");
    }
}

#[test]
fn a_damaged_page_file_is_kept_with_its_set_and_the_other_workers_are_counted() {
    let planes = planes();
    let state = State::with(&planes);
    let page = state.counters.page_set(planes[0].epoch).join("w1");
    let whole = fs::read(&page).unwrap();
    let mut bytes = whole.clone();
    bytes[3] ^= 1;
    fs::write(&page, &bytes).unwrap();
    for _ in 0..2 {
        let (faults, _) = state.fold(usize::MAX);
        assert!(
            faults[0].contains("w1: byte 0: not a page file"),
            "{faults:?}"
        );
    }
    assert_eq!(state.files(), 2);
    // Mended, the rest of it is counted too.
    fs::write(&page, &whole).unwrap();
    assert_eq!(state.fold(usize::MAX), (vec![], true));
    let by_site = |site| -> u64 {
        let seen = state.seen();
        seen.iter()
            .filter(|((_, of), _)| *of == site)
            .map(|(_, it)| it)
            .sum()
    };
    assert_eq!((by_site(1), by_site(7)), (21 + 3, 2));
}

#[test]
fn a_page_file_that_was_being_made_has_nothing() {
    let planes = planes();
    for bytes in [vec![], vec![0; 100], vec![0; 8192]] {
        let state = State::with(&planes);
        let set = state.counters.page_set(planes[2].epoch);
        fs::write(set.join("w1"), bytes).unwrap();
        assert_eq!(state.fold(usize::MAX), (vec![], true));
        assert_eq!((state.seen(), state.files()), (counted(&planes), 0));
    }
}

#[test]
fn a_long_file_is_taken_in_piece_by_piece() {
    let sites: Vec<(u64, u64)> = (1..=30_000).map(|site| (site, site)).collect();
    let more: Vec<(u64, u64)> = (1..=30_000).map(|site| (site, site + 1)).collect();
    let plane = Plane {
        epoch: Epoch([9; 16]),
        closed: vec![(1, sites), (2, more.clone()), (3, vec![(4, 6)])],
        open_slot: 4,
        pages: vec![more],
    };
    let state = State::with(std::slice::from_ref(&plane));
    state.fold(1);
    let ledger = Ledger::open_to_read(&state.ledger()).unwrap().unwrap();
    let record = ledger.epoch(plane.epoch).unwrap().unwrap();
    assert_eq!(
        record.account.last_slot(),
        Some(2),
        "two slots are one transaction"
    );
    assert_eq!(record.slots.lines, 1 + 2 * 31);
    drop(ledger);
    let wanted = state.seen();
    state.fold(usize::MAX);
    assert_eq!((state.seen(), state.files()), (wanted.clone(), 0));
    assert_eq!(wanted.len(), 60_001);
    assert_eq!(
        wanted.values().sum::<u64>(),
        30_000 * 30_001 / 2 + 30_000 + 1
    );
}

#[test]
fn the_header_says_which_word_the_open_slot_is() {
    let bytes = page_file(Epoch([1; 16]), 0, 99, &[]);
    assert_eq!(bytes[HEADER_OPEN_SLOT_WORD * 8], 99);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever planes left, and wherever folding is stopped how often.
    #[test]
    fn nothing_is_lost_and_nothing_counted_twice(
        lives in proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec((1..5_u64, 1..50_u64), 0..4), 1..6),
            1..4,
        ),
        stops in proptest::collection::vec(0..6_usize, 0..6),
    ) {
        let planes: Vec<Plane> = lives.iter().enumerate().map(|(number, slots)| {
            let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
            let mut closed = Vec::new();
            for (slot, served) in slots.iter().enumerate() {
                for &(site, requests) in served {
                    *sums.entry(site).or_default() += requests;
                }
                // What the last slot has stands in the pages alone.
                if slot + 1 < slots.len() {
                    let sites = sums.iter().map(|(&site, &now)| (site, now)).collect();
                    closed.push((100 + slot as u64, sites));
                }
            }
            Plane {
                epoch: Epoch([number as u8 + 1; 16]),
                closed,
                open_slot: 99 + slots.len() as u64,
                pages: vec![sums.into_iter().collect()],
            }
        }).collect();
        let state = State::with(&planes);
        let wanted = counted(&planes);
        for steps in stops {
            prop_assert_eq!(state.seen(), wanted.clone());
            state.fold(steps);
        }
        prop_assert_eq!(state.seen(), wanted.clone());
        state.fold(usize::MAX);
        prop_assert_eq!((state.seen(), state.files()), (wanted, 0));
    }
}
