//! A slots file: what a plane had counted at the end of each slot of time.
//!
//! Lines with checksums, only ever added to:
//!
//! ```text
//! 3d1c55a0 {"slots":{"format":1,"program":"dataplane","host":"ams-1","epoch":"00112233…"}}
//! 8f3b2d10 {"sites":[[1,41,40,0,0,1,3000,90000,7,0,0,0,0,0],[2,…]]}
//! 1c291ca3 {"closed":{"slot":5934201}}
//! ```
//!
//! Values are cumulative since the epoch began and stand for the sites that changed since the
//! slot before. A slot counts only with its `closed` line: what stands behind the last one
//! was being written when the plane died, and is no fault.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{COLUMNS, Epoch, Tally};
use crate::checked_lines::{LogFault, line_of, read_line, split_line};
use crate::limits::SITES_PER_LINE_MAX;
use crate::snapshot::SiteId;

const FORMAT: u32 = 1;

/// What a slots file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSlots {
    /// The program that counted.
    pub program: String,
    /// The name of its host.
    pub host: String,
    /// Which start of it.
    pub epoch: Epoch,
    /// In the order of their numbers, each greater than the one before.
    pub slots: Vec<ClosedSlot>,
}

/// The end of a slot of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSlot {
    /// Its number.
    pub slot: u64,
    /// Cumulative values at its end, of sites that changed in it.
    pub sites: Vec<(SiteId, Tally)>,
}

impl ClosedSlots {
    /// The cumulative values at the end of the last slot, of every site that was ever named.
    pub fn last(&self) -> HashMap<SiteId, Tally> {
        let rows = self.slots.iter().flat_map(|closed| &closed.sites);
        rows.copied().collect()
    }
}

/// The first line of a slots file.
pub fn slots_header(program: &str, host: &str, epoch: Epoch) -> String {
    let header = Header {
        format: FORMAT,
        program: program.to_owned(),
        host: host.to_owned(),
        epoch,
    };
    line_of(&Line::Slots(header))
}

/// The lines that close a slot: the cumulative values of `sites`, which changed since the last.
pub fn closed_slot(slot: u64, sites: &[(SiteId, Tally)]) -> String {
    let mut text = String::new();
    for sites in sites.chunks(SITES_PER_LINE_MAX) {
        let rows = sites.iter().map(|(site, tally)| {
            let mut row = [site.0; 1 + COLUMNS];
            row[1..].copy_from_slice(&tally.0);
            row
        });
        text.push_str(&line_of(&Line::Sites(rows.collect())));
    }
    text.push_str(&line_of(&Line::Closed(Closed { slot })));
    text
}

/// Reads a slots file. Damage in its middle is told beside all that stands before it, which is
/// as good as ever.
///
/// # Errors
///
/// Its first line is not one that this version writes: nothing is known of the rest.
pub fn read_slots(bytes: &[u8]) -> Result<(ClosedSlots, Option<LogFault>), LogFault> {
    let Some((first, mut rest)) = split_line(bytes) else {
        return Err(LogFault::new(1, "is cut off"));
    };
    let Line::Slots(header) = read_line(1, first)? else {
        return Err(LogFault::new(1, "must be the header of a slots file"));
    };
    if header.format != FORMAT {
        let what = format!(
            "has format {}, and this version reads {FORMAT} only",
            header.format
        );
        return Err(LogFault::new(1, what));
    }
    let mut found = ClosedSlots {
        program: header.program,
        host: header.host,
        epoch: header.epoch,
        slots: Vec::new(),
    };
    let mut open = Vec::new();
    let mut number = 1;
    while let Some((line, after)) = split_line(rest) {
        number += 1;
        rest = after;
        if let Err(fault) = take_line(number, line, &mut open, &mut found.slots) {
            return Ok((found, Some(fault)));
        }
    }
    Ok((found, None))
}

fn take_line(
    number: usize,
    line: &[u8],
    open: &mut Vec<(SiteId, Tally)>,
    slots: &mut Vec<ClosedSlot>,
) -> Result<(), LogFault> {
    match read_line(number, line)? {
        Line::Slots(_) => Err(LogFault::new(number, "can not stand here")),
        Line::Sites(rows) => {
            open.extend(rows.into_iter().map(|[site, columns @ ..]| {
                let columns: [u64; COLUMNS] = columns;
                (SiteId(site), Tally(columns))
            }));
            Ok(())
        }
        Line::Closed(Closed { slot }) => {
            if let Some(last) = slots.last().filter(|last| last.slot >= slot) {
                let what = format!("slot {slot} stands behind slot {}", last.slot);
                return Err(LogFault::new(number, what));
            }
            slots.push(ClosedSlot {
                slot,
                sites: std::mem::take(open),
            });
            Ok(())
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Slots(Header),
    Sites(Vec<[u64; 1 + COLUMNS]>),
    Closed(Closed),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    program: String,
    host: String,
    epoch: Epoch,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closed {
    slot: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch([0xa5; 16]);

    fn tally(number: u64) -> Tally {
        Tally(std::array::from_fn(|column| number * 100 + column as u64))
    }

    /// A file whose last slot has this many sites, and what it holds.
    fn file(sites: u64) -> (String, Vec<ClosedSlot>) {
        let many = (1..=sites).map(|id| (SiteId(id), tally(id)));
        let slots = vec![
            ClosedSlot {
                slot: 7,
                sites: vec![(SiteId(1), tally(0)), (SiteId(u64::MAX), tally(9))],
            },
            ClosedSlot {
                slot: 8,
                sites: Vec::new(),
            },
            ClosedSlot {
                slot: 20,
                sites: many.collect(),
            },
        ];
        let mut text = slots_header("dataplane", "ams-1", EPOCH);
        for closed in &slots {
            text.push_str(&closed_slot(closed.slot, &closed.sites));
        }
        (text, slots)
    }

    #[test]
    fn what_was_written_is_read() {
        let (text, slots) = file(2 * SITES_PER_LINE_MAX as u64 + 1);
        let (found, fault) = read_slots(text.as_bytes()).unwrap();
        assert_eq!(fault, None);
        assert_eq!(
            found,
            ClosedSlots {
                program: "dataplane".to_owned(),
                host: "ams-1".to_owned(),
                epoch: EPOCH,
                slots
            }
        );
        assert_eq!(text.lines().count(), 1 + 2 + 1 + 4);
        assert_eq!(found.last()[&SiteId(1)], tally(1));
        assert_eq!(found.last()[&SiteId(u64::MAX)], tally(9));
    }

    #[test]
    fn a_file_cut_anywhere_has_the_slots_that_were_closed() {
        let (text, slots) = file(3);
        let header = text.find('\n').unwrap() + 1;
        let ends: Vec<usize> = text
            .match_indices("{\"closed\"")
            .map(|(at, _)| at + text[at..].find('\n').unwrap() + 1)
            .collect();
        for length in 0..text.len() {
            match read_slots(&text.as_bytes()[..length]) {
                Err(_) => assert!(length < header),
                Ok((found, fault)) => {
                    let closed = ends.iter().filter(|&&end| end <= length).count();
                    assert_eq!((found.slots.as_slice(), fault), (&slots[..closed], None));
                }
            }
        }
    }

    #[test]
    fn damage_is_named_beside_what_is_good_before_it() {
        let (text, slots) = file(3);
        let header = text.find('\n').unwrap();
        for at in header + 1..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let (found, fault) = read_slots(&bytes).unwrap();
            let line = text[..at].lines().count() + usize::from(text[..at].ends_with('\n'));
            // A line end that is gone joins two lines into a damaged one; one that came splits.
            assert_eq!(fault.expect("damage").line, line, "byte {at}");
            let good = text[..at].matches("{\"closed\"").count();
            assert!(found.slots.len() <= good && slots.starts_with(&found.slots));
        }
    }

    #[test]
    fn slots_do_not_go_back() {
        let mut text = slots_header("dataplane", "ams-1", EPOCH);
        text.push_str(&closed_slot(9, &[(SiteId(1), tally(1))]));
        text.push_str(&closed_slot(9, &[(SiteId(1), tally(2))]));
        let (found, fault) = read_slots(text.as_bytes()).unwrap();
        assert_eq!(found.slots.len(), 1);
        assert_eq!(
            fault.unwrap().to_string(),
            "line 5: slot 9 stands behind slot 9"
        );
    }

    #[test]
    fn another_format_is_refused() {
        let text = slots_header("dataplane", "ams-1", EPOCH);
        let json = text[9..].trim_end().replace("\"format\":1", "\"format\":2");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let fault = read_slots(line_of(&value).as_bytes()).unwrap_err();
        assert!(fault.to_string().contains("format 2"), "{fault}");
    }
}
