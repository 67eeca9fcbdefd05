//! Folding: what planes left in STATE/counters goes into the ledger, and only then from there.
//!
//! For each epoch: the slots that were closed; for a dead plane also what it had counted in the
//! slot that it left open; then its page files are removed, then its slots file. Each of these
//! steps is whole on the disk before the next begins and says the same when it is done twice,
//! so a fold may be killed at any moment and another one ends it.

use std::io::{self, ErrorKind};
use std::path::Path;

use meridian_model::usage::{Epoch, SlotUsage, sum_pages};

use super::counters_directory::{CountersDirectory, SlotsFile};
use crate::ledger::{EpochRecord, Ledger, LedgerFault};

/// Rows of the ledger after which a transaction ends, in the middle of a slots file too.
const ROWS_PER_TRANSACTION: usize = 50_000;

/// One fold.
pub(crate) struct Fold<'a> {
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) counters: &'a CountersDirectory,
    /// Whose counters these are where no header says it.
    pub(crate) host: &'a str,
    /// Asked before each step that changes a disk; after a `false` nothing is changed any more.
    pub(crate) go_on: &'a mut dyn FnMut() -> bool,
    /// What was found amiss, in words.
    pub(crate) faults: Vec<String>,
}

/// Why an epoch was not folded to its end.
enum Ended {
    /// It is to be told.
    Fault(String),
    /// `go_on` said so.
    Stopped,
}

impl From<String> for Ended {
    fn from(fault: String) -> Ended {
        Ended::Fault(fault)
    }
}

impl From<LedgerFault> for Ended {
    fn from(fault: LedgerFault) -> Ended {
        Ended::Fault(fault.to_string())
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Ended {
        Ended::Fault(error.to_string())
    }
}

impl Fold<'_> {
    /// Folds everything that is there. What can not be folded is left as it is, and named in
    /// `faults`.
    pub(crate) fn run(&mut self) {
        let listing = match self.counters.list() {
            Ok(listing) => listing,
            Err(error) => return self.faults.push(error.to_string()),
        };
        for &epoch in listing.slots.union(&listing.pages) {
            match self.fold(epoch) {
                Ok(()) => {}
                Err(Ended::Fault(fault)) => self.faults.push(fault),
                Err(Ended::Stopped) => return,
            }
        }
    }

    fn fold(&mut self, epoch: Epoch) -> Result<(), Ended> {
        // First of all: what is read after that is all that there will be.
        let held = self.counters.hold_dead(epoch)?;
        let slots = self.counters.open_slots(epoch)?;
        let mut record = match self.ledger.epoch(epoch)? {
            Some(record) => record,
            None => self.new_record(epoch, slots.as_ref()),
        };
        if !record.is_finished {
            if let Some(slots) = &slots {
                self.take_closed(slots, &mut record)?;
            }
            if held.is_none() || !self.finish(&mut record)? {
                return Ok(());
            }
        }
        self.remove(&record)
    }

    fn new_record(&mut self, epoch: Epoch, slots: Option<&SlotsFile>) -> EpochRecord {
        let header = slots.and_then(|slots| slots.header().ok().flatten());
        match header {
            Some(header) => EpochRecord::new(epoch, header.host, header.program),
            None => EpochRecord::new(
                epoch,
                self.host.to_owned(),
                self.counters.program().to_owned(),
            ),
        }
    }

    /// Takes in the slots that were closed since the last time.
    fn take_closed(&mut self, slots: &SlotsFile, record: &mut EpochRecord) -> Result<(), Ended> {
        if let Err(fault) = slots.header() {
            self.faults.push(fault);
            if !record.is_damaged {
                record.is_damaged = true;
                self.take_in(record, &[])?;
            }
            return Ok(());
        }
        let (from, last_slot) = (record.slots, record.account.last_slot());
        let mut pending: Vec<SlotUsage> = Vec::new();
        let mut reached = from;
        let faults = slots.read_on(from, last_slot, |closed, place| {
            pending.extend(record.account.close(&closed));
            reached = place;
            if pending.len() < ROWS_PER_TRANSACTION {
                return Ok(());
            }
            record.slots = place;
            let rows = std::mem::take(&mut pending);
            self.take_in(record, &rows)
        })?;
        let newly_damaged = !faults.is_empty() && !record.is_damaged;
        record.is_damaged |= newly_damaged;
        self.faults.extend(faults);
        if reached != record.slots || newly_damaged {
            record.slots = reached;
            self.take_in(record, &pending)?;
        }
        Ok(())
    }

    /// Takes in what a dead plane had counted beyond that. Says whether that is all: it is not
    /// while a page file can not be read.
    fn finish(&mut self, record: &mut EpochRecord) -> Result<bool, Ended> {
        let (pages, faults) = self.counters.read_page_set(record.epoch);
        let is_all = faults.is_empty();
        self.faults.extend(faults);
        let (open_slot, sums) = sum_pages(&pages);
        let left = record.account.leave_open(open_slot, sums);
        if is_all || !left.is_empty() {
            record.is_finished = is_all;
            self.take_in(record, &left)?;
        }
        Ok(is_all)
    }

    /// Removes the files of an epoch that is in the ledger. A damaged slots file stays.
    fn remove(&mut self, record: &EpochRecord) -> Result<(), Ended> {
        let set = self.counters.page_set(record.epoch);
        for path in self.counters.page_files(record.epoch) {
            self.remove_one(&path, |path| std::fs::remove_file(path))?;
        }
        // The lock after what it stands for.
        self.remove_one(&set.join("lock"), |path| std::fs::remove_file(path))?;
        self.remove_one(&set, |path| std::fs::remove_dir(path))?;
        let slots = self.counters.slots_file(record.epoch);
        if !record.is_damaged {
            return self.remove_one(&slots, |path| std::fs::remove_file(path));
        }
        if slots.exists() {
            self.faults.push(format!(
                "{}: has damage, and is kept; what it could tell is in the ledger: look at it and \
                 remove it",
                slots.display()
            ));
        }
        Ok(())
    }

    fn remove_one(
        &mut self,
        path: &Path,
        remove: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), Ended> {
        if path.symlink_metadata().is_err() {
            return Ok(());
        }
        self.ask()?;
        match remove(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Ended::Fault(format!("{}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn take_in(&mut self, record: &EpochRecord, usages: &[SlotUsage]) -> Result<(), Ended> {
        self.ask()?;
        Ok(self.ledger.take_in(record, usages)?)
    }

    fn ask(&mut self) -> Result<(), Ended> {
        if (self.go_on)() {
            Ok(())
        } else {
            Err(Ended::Stopped)
        }
    }
}

#[cfg(test)]
#[path = "folding/tests.rs"]
mod tests;
