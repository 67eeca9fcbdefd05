//! A snapshot in parts that can be read at the same time: nearly all of it is sites.

use std::sync::Arc;

use super::{Header, Line, LogFault, check_end_of, check_format, fault};
use crate::checked_lines::{read_line, split_line};
use crate::desired::{Desired, Site};

/// A part is at least so long, but for the last one: short enough that all threads end together.
const PART_BYTES: usize = 128 * 1024;

/// A `snapshot.G` whose ends are right, and of which the sites are yet to be read.
#[derive(Debug)]
pub struct SnapshotParts<'a> {
    /// Its first line.
    pub header: Header,
    /// Everything but the sites.
    pub others: Desired,
    /// The sites.
    pub parts: Vec<SitePart<'a>>,
    /// How many lines that is.
    pub sites: usize,
    /// Over all that stands before the end marker.
    pub checksum: u32,
}

/// Lines of sites.
#[derive(Clone, Copy, Debug)]
pub struct SitePart<'a> {
    /// The number of the first.
    line: usize,
    bytes: &'a [u8],
}

impl<'a> SnapshotParts<'a> {
    /// Takes a whole file apart.
    ///
    /// # Errors
    ///
    /// That something is wrong with it; not always the first thing. [`super::decode`] tells that.
    pub fn new(bytes: &'a [u8]) -> Result<SnapshotParts<'a>, LogFault> {
        let Whole {
            body,
            lines,
            checksum,
        } = check_whole(bytes)?;
        let mut number = 1;
        let mut rest = body;
        let mut next = |number: usize| {
            let Some((line, after)) = split_line(rest) else {
                return Ok(None);
            };
            let here = std::mem::replace(&mut rest, after);
            read_line(number, line).map(|line| Some((line, here)))
        };
        let header = match next(number)? {
            Some((Line::Header(header), _)) => header,
            _ => return Err(fault(number, "must be the header of a snapshot")),
        };
        check_format(header.format)?;
        number += 1;
        let mut others = Desired::default();
        match next(number)? {
            Some((Line::Ids(ids), _)) => others.ids = ids,
            _ => return Err(fault(number, "must be the id counters")),
        }
        let sites = loop {
            number += 1;
            match next(number)? {
                None => break &[][..],
                Some((Line::Site(_), here)) => break here,
                Some((line, _)) => line
                    .put_into(&mut others)
                    .map_err(|()| fault(number, "can not stand here"))?,
            }
        };
        let parts = split(sites, number);
        Ok(SnapshotParts {
            header,
            others,
            parts,
            // What stands before the first of them, and the end marker behind the last.
            sites: lines.saturating_sub(number),
            checksum,
        })
    }
}

impl SitePart<'_> {
    /// Reads the sites of a part.
    ///
    /// # Errors
    ///
    /// The first line that is wrong.
    pub fn read(&self) -> Result<Vec<Arc<Site>>, LogFault> {
        let mut sites = Vec::new();
        let mut rest = self.bytes;
        let mut number = self.line;
        while let Some((line, after)) = split_line(rest) {
            match read_line(number, line)? {
                Line::Site(site) => sites.push(site),
                _ => return Err(fault(number, "can not stand here")),
            }
            rest = after;
            number += 1;
        }
        Ok(sites)
    }
}

/// A file that is all there.
struct Whole<'a> {
    /// What stands before the end marker.
    body: &'a [u8],
    /// Of the file.
    lines: usize,
    /// Of the body.
    checksum: u32,
}

/// Checks that a file is all there.
fn check_whole(bytes: &[u8]) -> Result<Whole<'_>, LogFault> {
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let Some(whole) = bytes.strip_suffix(b"\n") else {
        return Err(fault(lines + 1, "is cut off"));
    };
    let start = whole.iter().rposition(|&byte| byte == b'\n');
    let start = start.map_or(0, |end| end + 1);
    let body = &bytes[..start];
    match read_line(lines, &whole[start..])? {
        Line::End(end) => {
            let checksum = crc32fast::hash(body);
            check_end_of(lines, end, checksum)?;
            Ok(Whole {
                body,
                lines,
                checksum,
            })
        }
        _ => Err(fault(lines + 1, "the end marker is missing")),
    }
}

/// Splits lines, of which the first is number `line`.
fn split(mut bytes: &[u8], mut line: usize) -> Vec<SitePart<'_>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let at_least = PART_BYTES.min(bytes.len()) - 1;
        let end = bytes[at_least..].iter().position(|&byte| byte == b'\n');
        let end = end.map_or(bytes.len(), |end| at_least + end + 1);
        let (part, after) = bytes.split_at(end);
        parts.push(SitePart { line, bytes: part });
        line += part.iter().filter(|&&byte| byte == b'\n').count();
        bytes = after;
    }
    parts
}
