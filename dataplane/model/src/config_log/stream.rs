//! Reading a snapshot line by line, for who does not want to hold all of it at once.

use crc32fast::Hasher;

use super::{Header, Line, LogFault, check_format, fault, read_line};
use crate::change::Object;

/// Reads a `snapshot.G`, one line after the other.
#[derive(Debug, Default)]
pub struct SnapshotReader {
    header: Option<Header>,
    lines: usize,
    before: Hasher,
    ended: bool,
}

impl SnapshotReader {
    /// Before the first line.
    pub fn new() -> SnapshotReader {
        SnapshotReader::default()
    }

    /// Takes the next line without its newline; gives the object that it holds, if it holds one.
    ///
    /// # Errors
    ///
    /// What is wrong with it. Nothing of the file is to be used then.
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Object>, LogFault> {
        self.lines += 1;
        let number = self.lines;
        if self.ended {
            return Err(fault(number, "stands after the end marker"));
        }
        let read = read_line(number, line)?;
        let object = match (number, read) {
            (1, Line::Header(header)) => {
                check_format(header.format)?;
                self.header = Some(header);
                None
            }
            (1, _) => return Err(fault(1, "must be the header of a snapshot")),
            (2, Line::Ids(_)) => None,
            (2, _) => return Err(fault(2, "must be the id counters")),
            (_, Line::Tenant(it)) => Some(Object::Tenant(it)),
            (_, Line::Group(it)) => Some(Object::Group(it)),
            (_, Line::Peer(it)) => Some(Object::Peer(it)),
            (_, Line::Zone(it)) => Some(Object::Zone(it)),
            (_, Line::Certificate(it)) => Some(Object::Certificate(it)),
            (_, Line::Site(it)) => Some(Object::Site(it)),
            (_, Line::End(end)) => {
                let before = std::mem::take(&mut self.before).finalize();
                super::check_end_of(number, end, before)?;
                self.ended = true;
                return Ok(None);
            }
            (_, Line::Header(_) | Line::Ids(_) | Line::LocalHeader(_) | Line::Local(_)) => {
                return Err(fault(number, "can not stand here"));
            }
        };
        self.before.update(line);
        self.before.update(b"\n");
        Ok(object)
    }

    /// The end of the file: its header, when all of it was right.
    ///
    /// # Errors
    ///
    /// When the end marker is missing.
    pub fn finish(self) -> Result<Header, LogFault> {
        match self.header {
            Some(header) if self.ended => Ok(header),
            _ => Err(fault(self.lines + 1, "the end marker is missing")),
        }
    }
}
