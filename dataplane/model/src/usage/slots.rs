//! A slots file: what a plane had counted at the end of each slot of time.
//!
//! Lines with checksums, only ever added to:
//!
//! ```text
//! 3d1c55a0 {"slots":{"format":2,"program":"dataplane","host":"ams-1","epoch":"00112233…"}}
//! 8f3b2d10 {"sites":[[1,41,40,0,0,1,3000,90000,7,0,0,0,0,0,3],[2,…]]}
//! 1c291ca3 {"closed":{"slot":5934201}}
//! ```
//!
//! Values are cumulative since the epoch began and stand for the sites that changed since the
//! slot before. A slot counts only with its `closed` line: what stands behind the last one
//! was being written when the plane died, and is no fault.
//!
//! Format 1 had a column less: what it does not have was not counted. Such a file may have been left
//! by the version before.

use serde::{Deserialize, Serialize};

use super::{COLUMNS, COLUMNS_OF_VERSION_1, Epoch, Tally};
use crate::checked_lines::{LogFault, line_of, read_line, split_line};
use crate::limits::SITES_PER_LINE_MAX;
use crate::snapshot::SiteId;

const FORMAT: u32 = 2;

/// What is read besides.
const FORMAT_BEFORE: u32 = 1;

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

/// The first line of a slots file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotsHeader {
    /// The program that counts.
    pub program: String,
    /// The name of its host.
    pub host: String,
    /// Which start of it.
    pub epoch: Epoch,
}

/// The end of a slot of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSlot {
    /// Its number.
    pub slot: u64,
    /// Cumulative values at its end, of sites that changed in it.
    pub sites: Vec<(SiteId, Tally)>,
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
        let rows = sites.iter().map(|&(site, tally)| Row { site, tally });
        text.push_str(&line_of(&Line::Sites(rows.collect())));
    }
    text.push_str(&line_of(&Line::Closed(Closed { slot })));
    text
}

/// Reads the first line of a slots file, without its line end.
///
/// # Errors
///
/// It is not one that this version writes: nothing is known of the rest.
pub fn read_slots_header(line: &[u8]) -> Result<SlotsHeader, LogFault> {
    let Line::Slots(header) = read_line(1, line)? else {
        return Err(LogFault::new(1, "must be the header of a slots file"));
    };
    let Header {
        format,
        program,
        host,
        epoch,
    } = header;
    if ![FORMAT, FORMAT_BEFORE].contains(&format) {
        let what = format!(
            "has format {format}, and this version reads {FORMAT_BEFORE} and {FORMAT} only"
        );
        return Err(LogFault::new(1, what));
    }
    Ok(SlotsHeader {
        program,
        host,
        epoch,
    })
}

/// Reads the lines behind the header, one after the other.
#[derive(Debug)]
pub struct SlotsReader {
    lines: usize,
    last_slot: Option<u64>,
    open: Vec<(SiteId, Tally)>,
}

impl SlotsReader {
    /// Goes on behind a `closed` line or the header: `lines` and the last slot were read.
    pub fn new(lines: usize, last_slot: Option<u64>) -> SlotsReader {
        SlotsReader {
            lines,
            last_slot,
            open: Vec::new(),
        }
    }

    /// Lines that were taken, those before this reader included.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Takes the next line, without its line end, and gives the slot that it closes.
    ///
    /// # Errors
    ///
    /// The line is damaged. The next one can be taken all the same: values are cumulative, so
    /// what this line had of a site is in whatever comes after it.
    pub fn take(&mut self, line: &[u8]) -> Result<Option<ClosedSlot>, LogFault> {
        self.lines += 1;
        match read_line(self.lines, line)? {
            Line::Slots(_) => Err(LogFault::new(self.lines, "can not stand here")),
            Line::Sites(rows) => {
                let rows = rows.into_iter();
                self.open
                    .extend(rows.map(|Row { site, tally }| (site, tally)));
                Ok(None)
            }
            Line::Closed(Closed { slot }) => {
                if let Some(last) = self.last_slot.filter(|&last| last >= slot) {
                    let what = format!("slot {slot} stands behind slot {last}");
                    return Err(LogFault::new(self.lines, what));
                }
                self.last_slot = Some(slot);
                let sites = std::mem::take(&mut self.open);
                Ok(Some(ClosedSlot { slot, sites }))
            }
        }
    }
}

/// Reads a whole slots file. Damage in its middle is told beside all that stands before it, which
/// is as good as ever.
///
/// # Errors
///
/// Its first line is not one that this version writes: nothing is known of the rest.
pub fn read_slots(bytes: &[u8]) -> Result<(ClosedSlots, Option<LogFault>), LogFault> {
    let Some((first, mut rest)) = split_line(bytes) else {
        return Err(LogFault::new(1, "is cut off"));
    };
    let SlotsHeader {
        program,
        host,
        epoch,
    } = read_slots_header(first)?;
    let mut found = ClosedSlots {
        program,
        host,
        epoch,
        slots: Vec::new(),
    };
    let mut reader = SlotsReader::new(1, None);
    while let Some((line, after)) = split_line(rest) {
        rest = after;
        match reader.take(line) {
            Ok(closed) => found.slots.extend(closed),
            Err(fault) => return Ok((found, Some(fault))),
        }
    }
    Ok((found, None))
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Slots(Header),
    Sites(Vec<Row>),
    Closed(Closed),
}

/// A site's id and its columns, as one list of numbers.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
struct Row {
    site: SiteId,
    tally: Tally,
}

impl From<Row> for Vec<u64> {
    fn from(row: Row) -> Vec<u64> {
        std::iter::once(row.site.0).chain(row.tally.0).collect()
    }
}

impl TryFrom<Vec<u64>> for Row {
    type Error = String;

    fn try_from(numbers: Vec<u64>) -> Result<Row, String> {
        match numbers.split_first() {
            Some((&site, columns)) if [COLUMNS, COLUMNS_OF_VERSION_1].contains(&columns.len()) => {
                let mut tally = Tally::default();
                tally.0[..columns.len()].copy_from_slice(columns);
                Ok(Row {
                    site: SiteId(site),
                    tally,
                })
            }
            _ => Err(format!("a site has {} numbers", numbers.len())),
        }
    }
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
    use serde_json::json;

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
    fn a_reader_can_go_on_behind_any_slot_and_behind_damage() {
        let (text, slots) = file(3);
        let lines: Vec<&[u8]> = text.as_bytes().split(|&byte| byte == b'\n').collect();
        assert_eq!(read_slots_header(lines[0]).unwrap().host, "ams-1");
        let closed = |reader: &mut SlotsReader, lines: &[&[u8]]| -> Vec<ClosedSlot> {
            let taken = lines.iter().filter_map(|line| reader.take(line).ok()?);
            taken.collect()
        };
        let mut reader = SlotsReader::new(3, Some(slots[0].slot));
        assert_eq!(closed(&mut reader, &lines[3..6]), slots[1..]);
        assert_eq!(reader.lines(), 6);
        // Without the line that closes the first slot, its sites are in the second.
        let mut reader = SlotsReader::new(1, None);
        let damaged = [lines[1], &lines[2][1..], lines[3]];
        let merged = closed(&mut reader, &damaged);
        assert_eq!((merged[0].slot, &merged[0].sites), (8, &slots[0].sites));
        assert_eq!(merged.len(), 1);
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
        let json = text[9..].trim_end().replace("\"format\":2", "\"format\":3");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let fault = read_slots(line_of(&value).as_bytes()).unwrap_err();
        assert!(fault.to_string().contains("format 3"), "{fault}");
    }

    #[test]
    fn what_the_version_before_left_is_read() {
        let lines = [
            json!({"slots": {"format": 1, "program": "dataplane", "host": "ams-1", "epoch": EPOCH}}),
            json!({"sites": [[7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]]}),
            json!({"closed": {"slot": 9}}),
        ];
        let text: String = lines.iter().map(line_of).collect();
        let (found, fault) = read_slots(text.as_bytes()).unwrap();
        assert_eq!(fault, None);
        let expected = Tally([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0]);
        assert_eq!(found.slots[0].sites, [(SiteId(7), expected)]);
        for wrong in [
            json!([7]),
            json!([]),
            json!([7, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ] {
            let wrong = line_of(&json!({ "sites": [wrong] }));
            let (found, fault) = read_slots((line_of(&lines[0]) + &wrong).as_bytes()).unwrap();
            assert!(found.slots.is_empty() && fault.is_some_and(|it| it.line == 2));
        }
    }
}
