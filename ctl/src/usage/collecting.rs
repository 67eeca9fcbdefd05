//! What was served up to now, for who only looks: the ledger, and what is not in it yet, as
//! folding would take it in.
//!
//! What was counted moves from a plane's memory to its files to the ledger, and is removed from
//! one only when it is in the next. So they are read in this order, and the ledger is held
//! as it is before the files are read to their ends: whatever moves meanwhile is met at least
//! once, and the place where the ledger's reading of a file ended is the place to go on from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use meridian_model::snapshot::SiteId;
use meridian_model::usage::{Answer, Epoch, SlotUsage, Tally, sum_pages};

use super::counters_directory::{CountersDirectory, SlotsFile};
use crate::failure::Failure;
use crate::ledger::{EpochRecord, Ledger};
use crate::plane_socket::{self, NoAnswer};

/// How long a plane may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What the ledger does not have yet.
#[derive(Debug, Default)]
pub(crate) struct Unfolded {
    /// By slot: hosts and what they served.
    pub(crate) by_slot: BTreeMap<u64, Vec<(String, SlotUsage)>>,
    /// What was found amiss, in words.
    pub(crate) faults: Vec<String>,
}

/// What is there of one epoch outside of the ledger.
#[derive(Default)]
struct Outside {
    slots: Option<SlotsFile>,
    /// The open slot and what was counted by then, by the page files and by the plane itself.
    counted: Vec<(u64, BTreeMap<SiteId, Tally>)>,
    host: Option<String>,
}

/// A program that counts: its files, and where it is asked.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) counters: CountersDirectory,
    pub(crate) socket: PathBuf,
}

/// Reads everything, and gives the ledger as it was meanwhile. `host` is whose counters those
/// are of which no file says it.
///
/// # Errors
/// When the ledger or the directory can not be read: without it, less would be told than was
/// served.
pub(crate) fn collect(
    sources: &[Source],
    ledger: &Path,
    host: impl FnOnce() -> String,
) -> Result<(Option<Ledger>, Unfolded), Failure> {
    let mut unfolded = Unfolded::default();
    let mut outside = BTreeMap::new();
    for source in sources {
        read_outside(source, &mut outside, &mut unfolded.faults)?;
    }
    let ledger = Ledger::open_to_read(ledger).map_err(|fault| Failure::input(fault.to_string()))?;
    let mut host = Some(host);
    let mut fallback: Option<String> = None;
    for (epoch, outside) in outside {
        let known = match &ledger {
            Some(ledger) => ledger.epoch(epoch),
            None => Ok(None),
        };
        let known = known.map_err(|fault| Failure::input(fault.to_string()))?;
        if known.as_ref().is_some_and(|record| record.is_finished) {
            continue;
        }
        let header = outside
            .slots
            .as_ref()
            .and_then(|it| it.header().ok().flatten());
        let record = known.unwrap_or_else(|| {
            let said = header.map(|header| header.host).or(outside.host.clone());
            let host = said.unwrap_or_else(|| {
                if let Some(host) = host.take() {
                    fallback = Some(host());
                }
                fallback.clone().unwrap_or_default()
            });
            EpochRecord::new(epoch, host, String::new())
        });
        take_in(outside, record, &mut unfolded);
    }
    Ok((ledger, unfolded))
}

fn read_outside(
    Source { counters, socket }: &Source,
    outside: &mut BTreeMap<Epoch, Outside>,
    faults: &mut Vec<String>,
) -> Result<(), Failure> {
    match plane_socket::usage(socket, ANSWER_WITHIN) {
        Ok(answer) => {
            let Answer {
                epoch,
                host,
                open_slot,
                sites,
            } = answer;
            let counted = sites.into_iter().map(|row| (row.site, row.now)).collect();
            let of = outside.entry(epoch).or_default();
            of.host = Some(host);
            of.counted.push((open_slot, counted));
        }
        Err(NoAnswer::NotRunning) => {}
        Err(other) => faults.push(format!(
            "{}: meridian-{} {other}; its page files were read in its place, which have all that it \
             counted unless `counters_unbacked` of its status says otherwise",
            socket.display(),
            counters.program()
        )),
    }
    let unreadable = |error: std::io::Error| Failure::input(error.to_string());
    let listing = counters.list().map_err(unreadable)?;
    for &epoch in &listing.slots {
        outside.entry(epoch).or_default().slots = counters.open_slots(epoch).map_err(unreadable)?;
    }
    for &epoch in &listing.pages {
        let (pages, page_faults) = counters.read_page_set(epoch);
        faults.extend(page_faults);
        outside
            .entry(epoch)
            .or_default()
            .counted
            .push(sum_pages(&pages));
    }
    Ok(())
}

/// Takes in what is beyond the ledger's `record` of an epoch.
fn take_in(outside: Outside, mut record: EpochRecord, unfolded: &mut Unfolded) {
    let Outside {
        slots,
        counted,
        host: _,
    } = outside;
    let mut usages: Vec<SlotUsage> = Vec::new();
    if let Some(slots) = slots {
        let (from, last_slot) = (record.slots, record.account.last_slot());
        let read = slots.header().and_then(|_| {
            slots.read_on(from, last_slot, |closed, _| {
                usages.extend(record.account.close(&closed));
                Ok::<(), String>(())
            })
        });
        match read {
            Ok(faults) => unfolded.faults.extend(faults),
            Err(fault) => unfolded.faults.push(fault),
        }
    }
    for (open_slot, counted) in counted {
        usages.extend(record.account.leave_open(open_slot, counted));
    }
    for usage in usages {
        let of_slot = unfolded.by_slot.entry(usage.slot).or_default();
        of_slot.push((record.host.clone(), usage));
    }
}
