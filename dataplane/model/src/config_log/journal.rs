//! `journal.G`: the revisions that came after `snapshot.G`, one line each.
//!
//! ```text
//! 1c291ca3 {"journal":{"format":1,"store":"…","revision":7,"generation":2}}
//! 8f3b2d10 {"change":{"revision":8,…}}
//! 0a64c7ee {"change":{"revision":9,…}}
//! 77e0a1b2 {"sealed":{"revision":9,"generation":3}}
//! ```
//!
//! A line is a whole revision, so there is no half of one. The header repeats that of the
//! snapshot, and every revision is one more than the one before, so that a line that is missing,
//! doubled, moved or from another journal is found. A last line without its end is no fault: its
//! writer died over it, and nobody was told of it.

use serde::{Deserialize, Serialize};

use super::{Header, LogFault, check_format, fault};
use crate::change::Change;
use crate::checked_lines::{line_of, read_line, split_line};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum EntryRef<'a> {
    Journal(&'a Header),
    Change(&'a Change),
    Sealed(Sealed),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    Journal(Header),
    Change(Change),
    Sealed(Sealed),
}

/// The last line of a journal that another generation has taken the place of.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    revision: u64,
    generation: u64,
}

/// The first line of the journal that belongs to the snapshot with this header.
pub fn encode_header(header: &Header) -> String {
    line_of(&EntryRef::Journal(header))
}

/// The line of a revision.
pub fn encode_change(change: &Change) -> String {
    line_of(&EntryRef::Change(change))
}

/// The line that ends a journal at `revision`: `generation` has taken its place.
pub fn encode_seal(revision: u64, generation: u64) -> String {
    let sealed = Sealed {
        revision,
        generation,
    };
    line_of(&EntryRef::Sealed(sealed))
}

/// Reads a journal from its beginning, in as many parts as it comes.
#[derive(Clone, Debug)]
pub struct JournalReader {
    header: Header,
    revision: u64,
    lines: usize,
    sealed: Option<u64>,
}

/// What a part of a journal held.
#[derive(Debug)]
pub struct JournalPart {
    /// Revisions, in their order.
    pub changes: Vec<Change>,
    /// Bytes of whole lines that were read and are right. Where it is less than what there was,
    /// the rest is a line without its end, or stands behind `fault`.
    pub bytes: usize,
    /// The first line that is wrong. Nothing from there on counts.
    pub fault: Option<LogFault>,
}

/// The highest revision that any undamaged line of a journal names, whatever stands between: a
/// number that was given out once is not given out again.
pub fn highest_revision(bytes: &[u8]) -> Option<u64> {
    let lines = bytes.split(|&byte| byte == b'\n');
    let revisions = lines.filter_map(|line| match read_line::<Entry>(1, line).ok()? {
        Entry::Journal(header) => Some(header.revision),
        Entry::Change(change) => Some(change.revision),
        Entry::Sealed(sealed) => Some(sealed.revision),
    });
    revisions.max()
}

impl JournalReader {
    /// For the journal of the snapshot with this header.
    pub fn new(header: Header) -> JournalReader {
        JournalReader {
            revision: header.revision,
            header,
            lines: 0,
            sealed: None,
        }
    }

    /// The newest revision that was read.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The generation that has taken this one's place, once that line was read.
    pub fn sealed(&self) -> Option<u64> {
        self.sealed
    }

    /// Reads what follows the bytes that were read before.
    pub fn read(&mut self, bytes: &[u8]) -> JournalPart {
        let mut part = JournalPart {
            changes: Vec::new(),
            bytes: 0,
            fault: None,
        };
        while let Some((line, rest)) = split_line(&bytes[part.bytes..]) {
            match self.line(line) {
                Ok(change) => part.changes.extend(change),
                Err(fault) => {
                    part.fault = Some(fault);
                    return part;
                }
            }
            self.lines += 1;
            part.bytes = bytes.len() - rest.len();
        }
        part
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Change>, LogFault> {
        let number = self.lines + 1;
        let wrong = |what: String| Err(fault(number, &what));
        if self.sealed.is_some() {
            return wrong(String::from("stands behind the seal"));
        }
        match (number, read_line::<Entry>(number, line)?) {
            (1, Entry::Journal(header)) => {
                check_format(header.format)?;
                if header != self.header {
                    return wrong(format!(
                        "belongs to store {}, generation {}, revision {}, and its snapshot to store \
                         {}, generation {}, revision {}",
                        header.store,
                        header.generation,
                        header.revision,
                        self.header.store,
                        self.header.generation,
                        self.header.revision
                    ));
                }
                Ok(None)
            }
            (1, _) => wrong(String::from("must be the header of a journal")),
            (_, Entry::Journal(_)) => wrong(String::from("can not stand here")),
            (_, Entry::Change(change)) => {
                let next = self.revision + 1;
                if change.revision != next {
                    return wrong(format!(
                        "is revision {}, and revision {next} comes here",
                        change.revision
                    ));
                }
                self.revision = next;
                Ok(Some(change))
            }
            (_, Entry::Sealed(Sealed { revision, .. })) if revision != self.revision => {
                wrong(format!(
                    "seals revision {revision}, and {} stands before it",
                    self.revision
                ))
            }
            (_, Entry::Sealed(Sealed { generation, .. })) => {
                self.sealed = Some(generation);
                Ok(None)
            }
        }
    }
}
