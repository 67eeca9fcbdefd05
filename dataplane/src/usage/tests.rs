//! Planes that count, are killed, stopped and started again while the clock goes where it wants:
//! what is read back is what was counted, in the slot in which it was counted.

use super::*;
use crate::pages::{PageSet, PageWriter};
use meridian_model::limits::SLOT_SECONDS;
use meridian_model::usage::{
    ClosedSlots, Column, EpochAccount, NO_SITE, SLOT_BYTES, SlotUsage, read_pages, read_slots,
    slot_of, slots_header, sum_pages,
};
use meridian_sys::counting::{Closer, SlotsFile};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

const WORKERS: usize = 3;
const START_SECONDS: u64 = 1_790_000_000;

/// A plane without its network: what it counts with, and the clock that it goes by.
struct Plane {
    usage: Arc<Usage>,
    closer: Closer<COLUMNS>,
    writers: Vec<PageWriter>,
    /// Dropped by a kill, as the kernel does.
    _lock: Option<File>,
}

impl Plane {
    fn start(counters: &Path, number: u8, wall_seconds: u64) -> Plane {
        let epoch = Epoch([number; 16]);
        let open_slot = slot_of(wall_seconds);
        let set = PageSet::create(counters, epoch, WORKERS, open_slot);
        let pages = set.writers.iter().map(PageWriter::pages).collect();
        let usage = Arc::new(Usage::new(epoch, "ams-1", pages, open_slot));
        let path = counters.join(format!("dataplane-{epoch}.slots"));
        let mut file = SlotsFile::new(path, slots_header("dataplane", "ams-1", epoch));
        let _ = file.ensure();
        Plane {
            closer: Closer::new(usage.book(), file),
            usage,
            writers: set.writers,
            _lock: set.lock,
        }
    }
}

type ByKey = BTreeMap<(Epoch, SiteId, u64), Tally>;

/// What an operator reads: the running plane's answer first, then all files.
fn read_back(counters: &Path, plane: Option<&Plane>) -> ByKey {
    let answer = plane.map(|plane| plane.usage.answer());
    let mut accounts: BTreeMap<Epoch, EpochAccount> = BTreeMap::new();
    let mut found = ByKey::new();
    let mut take = |epoch: Epoch, usages: Vec<SlotUsage>| {
        for usage in usages {
            let key = (epoch, usage.site, usage.slot);
            assert_eq!(found.insert(key, usage.tally), None, "told twice: {key:?}");
        }
    };
    for slots in slots_files(counters) {
        let account = accounts.entry(slots.epoch).or_default();
        for closed in &slots.slots {
            take(slots.epoch, account.close(closed));
        }
    }
    if let Some(answer) = &answer {
        let account = accounts.entry(answer.epoch).or_default();
        let rows = answer.sites.iter().map(|row| (row.site, row.now));
        take(answer.epoch, account.leave_open(answer.open_slot, rows));
    }
    for set in fs::read_dir(counters.join("pages")).unwrap() {
        let set = set.unwrap().path();
        let lock = File::open(set.join("lock")).unwrap();
        let alive = answer.as_ref().map(|it| format!("dataplane-{}", it.epoch));
        if set.file_name().and_then(|it| it.to_str()) == alive.as_deref() {
            assert!(lock.try_lock().is_err(), "a living plane holds its lock");
            continue;
        }
        // Until it runs, a program that another test starts has all of our files open.
        let free = |_| {
            std::thread::sleep(Duration::from_millis(1));
            lock.try_lock().is_ok()
        };
        assert!((0..1000).any(free), "a dead plane holds its lock");
        let pages: Vec<_> = (0..WORKERS)
            .map(|worker| read_pages(&fs::read(set.join(format!("w{worker}"))).unwrap()).unwrap())
            .collect();
        let epoch = pages[0].epoch;
        let (open_slot, sums) = sum_pages(&pages);
        let account = accounts.entry(epoch).or_default();
        take(epoch, account.leave_open(open_slot, sums));
    }
    found
}

fn slots_files(counters: &Path) -> Vec<ClosedSlots> {
    let entries = fs::read_dir(counters).unwrap().map(|it| it.unwrap().path());
    let paths = entries.filter(|path| path.extension().is_some_and(|it| it == "slots"));
    paths
        .map(|path| {
            let (slots, fault) = read_slots(&fs::read(path).unwrap()).unwrap();
            assert_eq!(fault, None);
            slots
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    /// A worker counts something of a site.
    Count(usize, u64, usize, u64),
    /// The clock goes on, or back, and the plane looks at it.
    Clock(i64),
    /// Killed between two slots.
    Kill,
    /// Killed over the writing of a slot's end, with this part of it on the disk, in hundredths.
    KillWhileClosing(usize),
    /// Stopped in order.
    Stop,
    /// Somebody reads.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let site = prop_oneof![1_u64..6, 1_u64..300, Just(NO_SITE.0)];
    prop_oneof![
        12 => (0..WORKERS, site, 0..COLUMNS, 0_u64..5000)
            .prop_map(|(worker, site, column, amount)| Step::Count(worker, site, column, amount)),
        4 => (-400_i64..900).prop_map(Step::Clock),
        1 => Just(Step::Kill),
        1 => (0_usize..=100).prop_map(Step::KillWhileClosing),
        1 => Just(Step::Stop),
        2 => Just(Step::Read),
    ]
}

/// What there must be, kept in the plainest way.
#[derive(Default)]
struct Reference {
    counted: ByKey,
    open_slot: u64,
}

impl Reference {
    fn count(&mut self, epoch: Epoch, site: u64, column: usize, amount: u64) {
        let key = (epoch, SiteId(site), self.open_slot);
        self.counted.entry(key).or_default().0[column] += amount;
    }

    /// What was counted in the open slot is told as the next one's.
    fn defer(&mut self, epoch: Epoch) {
        let from = self.open_slot;
        let keys: Vec<_> = (self.counted.keys().copied())
            .filter(|&(of, _, slot)| of == epoch && slot == from)
            .collect();
        for (epoch, site, slot) in keys {
            let moved = self.counted.remove(&(epoch, site, slot)).unwrap();
            self.counted.insert((epoch, site, slot + 1), moved);
        }
    }

    fn check(&self, found: &ByKey) -> Result<(), TestCaseError> {
        let nothing = |tally: &Tally| tally.is_zero();
        let found: ByKey = found
            .iter()
            .map(|(&key, &tally)| (key, tally))
            .filter(|(_, tally)| !nothing(tally))
            .collect();
        let mut wanted = self.counted.clone();
        wanted.retain(|_, tally| !nothing(tally));
        prop_assert_eq!(found, wanted);
        Ok(())
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let directory = tempfile::tempdir().unwrap();
    let counters = directory.path().join("counters");
    let mut wall_seconds = START_SECONDS;
    let mut number = 1;
    let mut plane = Plane::start(&counters, number, wall_seconds);
    let mut reference = Reference {
        open_slot: slot_of(wall_seconds),
        ..Reference::default()
    };
    for step in steps {
        let epoch = Epoch([number; 16]);
        let ended = match step {
            Step::Count(worker, site, column, amount) => {
                let counters = plane.writers[worker].counters(SiteId(site));
                counters.add(Column::ALL[column], amount);
                reference.count(epoch, site, column, amount);
                false
            }
            Step::Clock(seconds) => {
                wall_seconds = wall_seconds.saturating_add_signed(seconds);
                plane.closer.look(slot_of(wall_seconds));
                reference.open_slot = reference.open_slot.max(slot_of(wall_seconds));
                false
            }
            Step::Read => {
                reference.check(&read_back(&counters, Some(&plane)))?;
                false
            }
            Step::Kill => true,
            Step::Stop => {
                plane.closer.end();
                true
            }
            Step::KillWhileClosing(hundredths) => {
                let path = counters.join(format!("dataplane-{epoch}.slots"));
                let before = fs::metadata(&path).unwrap().len();
                plane.closer.end();
                let after = fs::metadata(&path).unwrap().len();
                let kept = before + (after - before) * hundredths as u64 / 100;
                File::options()
                    .write(true)
                    .open(&path)
                    .and_then(|file| file.set_len(kept))
                    .unwrap();
                if kept < after {
                    reference.defer(epoch);
                }
                true
            }
        };
        if ended {
            drop(plane);
            let first = read_back(&counters, None);
            reference.check(&first)?;
            prop_assert_eq!(read_back(&counters, None), first, "reading changes nothing");
            number += 1;
            plane = Plane::start(&counters, number, wall_seconds);
            reference.open_slot = slot_of(wall_seconds);
        }
    }
    reference.check(&read_back(&counters, Some(&plane)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_back_is_what_was_counted(steps in prop::collection::vec(step(), 1..120)) {
        run(steps)?;
    }
}

#[test]
fn a_slot_is_given_once_and_a_file_grows() {
    let directory = tempfile::tempdir().unwrap();
    let mut plane = Plane::start(directory.path(), 1, START_SECONDS);
    for round in 0..3 {
        for site in 1..=1000 {
            plane.writers[0]
                .counters(SiteId(site))
                .add(Column::Requests, site);
        }
        let path = directory
            .path()
            .join("pages")
            .join(format!("dataplane-{}/w0", plane.usage.epoch));
        let pages = read_pages(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(pages.slots.len(), 1000);
        for (place, slot) in pages.slots.iter().enumerate() {
            assert_eq!(slot.site, SiteId(place as u64 + 1));
            assert_eq!(slot.tally[Column::Requests], (round + 1) * slot.site.0);
        }
        // 64, 128, 256 and 512 KiB behind the header: room for 1920 sites.
        assert_eq!(fs::metadata(&path).unwrap().len(), 4096 + 1920 * 512);
    }
    assert_eq!(plane.usage.unbacked(), 0);
}

#[test]
fn what_a_plane_left_that_never_counted_is_swept_out() {
    let directory = tempfile::tempdir().unwrap();
    let left = directory.path().join("pages/new-dataplane-00");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    let plane = Plane::start(directory.path(), 1, START_SECONDS);
    assert!(!left.exists());
    drop(plane);
    // A link that leads nowhere, as after a restart of the host.
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("run/meridian/1");
    let counters = directory.path().join("other");
    fs::create_dir(&counters).unwrap();
    std::os::unix::fs::symlink(&target, counters.join("pages")).unwrap();
    let plane = Plane::start(&counters, 2, START_SECONDS);
    let set = target.join(format!("dataplane-{}", plane.usage.epoch));
    assert!(set.join("w0").exists() && set.join("lock").exists());
}

/// A file system of `bytes`, or `None`, said loudly, where that can not be had.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, bytes: usize) -> Option<SmallDisk> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(at)
            .output();
        if !mounted.is_ok_and(|it| it.status.success()) {
            eprintln!("SKIPPED: mounting a file system takes root");
            return None;
        }
        Some(SmallDisk(at.to_owned()))
    }

    fn fill(&self) {
        let filler = File::create(self.0.join("filler")).unwrap();
        let block = [1; 4096];
        while std::io::Write::write_all(&mut &filler, &block).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_but_by_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(directory.path(), 4 << 20) else {
        return;
    };
    let counters = directory.path().join("counters");
    let mut plane = Plane::start(&counters, 1, START_SECONDS);
    let first = slot_of(START_SECONDS);
    let count = |plane: &mut Plane, sites: u64| {
        for site in 1..=sites {
            plane.writers[1]
                .counters(SiteId(site))
                .add(Column::Requests, 1);
        }
    };
    count(&mut plane, 100);
    disk.fill();
    count(&mut plane, 500);
    assert_eq!(plane.usage.unbacked(), 500 - 64 * 1024 / SLOT_BYTES as u64);
    plane.closer.look(slot_of(START_SECONDS + SLOT_SECONDS));
    assert_eq!(plane.usage.unwritten(), 1);
    assert_eq!(plane.usage.answer().open_slot, first + 1);
    count(&mut plane, 500);
    disk.make_room();
    plane.closer.look(slot_of(START_SECONDS + 2 * SLOT_SECONDS));
    assert_eq!(plane.usage.unwritten(), 1);
    let closed = &slots_files(&counters)[0].slots;
    let usages = EpochAccount::default().close(&closed[0]);
    assert_eq!((closed.len(), usages.len()), (1, 500));
    for usage in usages {
        assert_eq!(usage.slot, first + 1);
        let wanted = if usage.site.0 <= 100 { 3 } else { 2 };
        assert_eq!(usage.tally[Column::Requests], wanted);
    }
    // With room again, slots stand in the file again.
    count(&mut plane, 2000);
    let backed = plane.usage.unbacked();
    count(&mut plane, 2100);
    assert_eq!(plane.usage.unbacked(), backed);
    drop(plane);
    // Without room for a set, all of it stands in memory, and nothing is left of the trying.
    disk.fill();
    let mut plane = Plane::start(&counters, 2, START_SECONDS);
    count(&mut plane, 10);
    assert_eq!(plane.usage.unbacked(), 10);
    assert_eq!(plane.usage.answer().sites.len(), 10);
    let sets = fs::read_dir(counters.join("pages")).unwrap().count();
    assert_eq!(sets, 1);
    disk.make_room();
    plane.closer.end();
    let slots = slots_files(&counters);
    let second = slots.iter().find(|it| it.epoch == Epoch([2; 16])).unwrap();
    assert_eq!(second.slots[0].sites.len(), 10);
}
