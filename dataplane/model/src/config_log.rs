//! The config log: how a host keeps the desired state on its disk (DESIGN §4).
//!
//! Text, one JSON value per line, each behind its checksum:
//!
//! ```text
//! 1c291ca3 {"header":{"format":1,"content":"snapshot","store":"…","revision":7,"generation":2}}
//! 8f3b2d10 {"ids":{"tenant":1,"site":2,"pool":2,"certificate":0}}
//! 0a64c7ee {"tenant":{"id":1,…}}
//! …
//! 5d1e90ab {"end":{"lines":6,"checksum":3735928559}}
//! ```
//!
//! The checksum of a line finds damage within it; the end marker, which counts the
//! lines and has a checksum over all that stands before it, finds lines that are
//! missing, doubled or moved. Nothing is read past it.
//!
//! That is a snapshot; what came after it stands in its [`journal`].

pub mod journal;
mod parts;
mod site_line;

pub use parts::{SitePart, SnapshotParts};

use std::convert::Infallible;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::checked_lines::{append_json, append_line, read_line, split_line};
use crate::desired::{
    Certificate, Desired, Group, IdCounters, Peer, Site, Suspension, Tenant, Zone,
};
use crate::local::Local;
use crate::parallel;

pub use crate::checked_lines::LogFault;

/// The format that this version writes.
pub const FORMAT: u32 = 2;

/// The oldest format that this version reads. In that one a site's line has every key, whether it
/// is set or not.
pub const FORMAT_OLDEST: u32 = 1;

/// Sites that a thread writes at a time.
const SITES_AT_ONCE: usize = 512;

/// More than the end marker is long.
const END_BYTES_MAX: usize = 128;

/// The first line of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`], or an older one.
    pub format: u32,
    /// Which store the state came from.
    pub store: String,
    /// The revision that the file holds.
    pub revision: u64,
    /// G of the file's name, `snapshot.G`.
    pub generation: u64,
}

/// Writes a whole `snapshot.G`.
pub fn encode(header: &Header, desired: &Desired) -> String {
    let Desired {
        ids,
        tenants,
        groups,
        peers,
        zones,
        certificates,
        suspensions,
        sites,
    } = desired;
    let mut writer = Writer::default();
    writer.line(&LineRef::Header(header));
    writer.line(&LineRef::Ids(ids));
    tenants
        .iter()
        .for_each(|tenant| writer.line(&LineRef::Tenant(tenant)));
    groups
        .iter()
        .for_each(|group| writer.line(&LineRef::Group(group)));
    peers
        .iter()
        .for_each(|peer| writer.line(&LineRef::Peer(peer)));
    zones
        .iter()
        .for_each(|zone| writer.line(&LineRef::Zone(zone)));
    certificates
        .iter()
        .for_each(|it| writer.line(&LineRef::Certificate(it)));
    suspensions
        .iter()
        .for_each(|it| writer.line(&LineRef::Suspension(it)));
    writer.sites(sites);
    writer.finish()
}

/// Writes the line of a site, as it stands in a snapshot.
pub fn encode_site(site: &Site) -> Vec<u8> {
    let mut text = Vec::new();
    append_site(&mut text, site);
    text
}

/// Reads the line of a site.
///
/// # Errors
///
/// What is wrong with it; of a file of one line.
pub fn read_site(line: &[u8]) -> Result<Arc<Site>, LogFault> {
    match read_line(1, line.strip_suffix(b"\n").unwrap_or(line))? {
        Line::Site(site) => Ok(site),
        _ => Err(fault(1, "must be a site")),
    }
}

/// Reads a whole `snapshot.G`.
///
/// # Errors
///
/// The first damaged line, with what is wrong with it. Nothing of the file is to be
/// used then.
pub fn decode(bytes: &[u8]) -> Result<(Header, Desired), LogFault> {
    // What is wrong first is told by who reads it from its beginning.
    decode_parts(bytes).or_else(|_| decode_lines(bytes))
}

fn decode_parts(bytes: &[u8]) -> Result<(Header, Desired), LogFault> {
    let SnapshotParts {
        header,
        others: mut desired,
        parts,
        sites,
        checksum: _,
    } = SnapshotParts::new(bytes)?;
    desired.sites.reserve_exact(sites);
    parallel::each(
        &parts,
        |part| part.read(),
        |sites| {
            desired.sites.extend(sites?);
            Ok(())
        },
    )?;
    Ok((header, desired))
}

fn decode_lines(bytes: &[u8]) -> Result<(Header, Desired), LogFault> {
    let mut lines = read_lines(bytes)?.into_iter();
    let header = match lines.next() {
        Some(Line::Header(header)) => header,
        _ => return Err(fault(1, "must be the header of a snapshot")),
    };
    check_format(header.format)?;
    let mut desired = Desired::default();
    match lines.next() {
        Some(Line::Ids(ids)) => desired.ids = ids,
        _ => return Err(fault(2, "must be the id counters")),
    }
    for (index, line) in lines.enumerate() {
        line.put_into(&mut desired)
            .map_err(|()| fault(index + 3, "can not stand here"))?;
    }
    Ok((header, desired))
}

/// Reads the header of a `snapshot.G` from its beginning: the whole need not be there.
///
/// # Errors
///
/// When the first line is damaged.
pub fn decode_header(bytes: &[u8]) -> Result<Header, LogFault> {
    let (line, _) = split_line(bytes).ok_or_else(|| fault(1, "is cut off"))?;
    match read_line(1, line)? {
        Line::Header(header) => check_format(header.format).map(|()| header),
        _ => Err(fault(1, "must be the header of a snapshot")),
    }
}

/// Writes the whole of `config/local`.
pub fn encode_local(local: &Local) -> String {
    let mut writer = Writer::default();
    writer.line(&LineRef::LocalHeader(LocalHeader { format: FORMAT }));
    writer.line(&LineRef::Local(local));
    writer.finish()
}

/// Reads the whole of `config/local`.
///
/// # Errors
///
/// The first damaged line, with what is wrong with it.
pub fn decode_local(bytes: &[u8]) -> Result<Local, LogFault> {
    let mut lines = read_lines(bytes)?.into_iter();
    match lines.next() {
        Some(Line::LocalHeader(LocalHeader { format })) => check_format(format)?,
        _ => return Err(fault(1, "must be the header of local settings")),
    }
    match (lines.next(), lines.next()) {
        (Some(Line::Local(local)), None) => Ok(*local),
        (Some(Line::Local(_)), Some(_)) => Err(fault(3, "can not stand here")),
        _ => Err(fault(2, "must be the local settings")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum LineRef<'a> {
    Header(&'a Header),
    LocalHeader(LocalHeader),
    Ids(&'a IdCounters),
    Tenant(&'a Tenant),
    Group(&'a Group),
    Peer(&'a Peer),
    Zone(&'a Zone),
    Certificate(&'a Certificate),
    Suspension(&'a Suspension),
    Local(&'a Local),
    End(End),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Header(Header),
    LocalHeader(LocalHeader),
    Ids(IdCounters),
    Tenant(Tenant),
    Group(Group),
    Peer(Peer),
    Zone(Zone),
    Certificate(Certificate),
    Suspension(Suspension),
    Site(Arc<Site>),
    Local(Box<Local>),
    End(End),
}

impl Line {
    /// Adds the object that it holds to `desired`; an error where it holds none.
    fn put_into(self, desired: &mut Desired) -> Result<(), ()> {
        match self {
            Line::Tenant(tenant) => desired.tenants.push(tenant),
            Line::Group(group) => desired.groups.push(group),
            Line::Peer(peer) => desired.peers.push(peer),
            Line::Zone(zone) => desired.zones.push(zone),
            Line::Certificate(certificate) => desired.certificates.push(certificate),
            Line::Suspension(suspension) => desired.suspensions.push(suspension),
            Line::Site(site) => desired.sites.push(site),
            Line::Header(_)
            | Line::Ids(_)
            | Line::LocalHeader(_)
            | Line::Local(_)
            | Line::End(_) => return Err(()),
        }
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LocalHeader {
    format: u32,
}

/// The last line: how many there are with it, and the checksum of all before it.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    lines: usize,
    checksum: u32,
}

#[derive(Default)]
struct Writer {
    text: Vec<u8>,
    lines: usize,
}

impl Writer {
    fn line(&mut self, line: &LineRef<'_>) {
        append_line(&mut self.text, |text| append_json(text, line));
        self.lines += 1;
    }

    fn sites(&mut self, sites: &[Arc<Site>]) {
        let parts: Vec<&[Arc<Site>]> = sites.chunks(SITES_AT_ONCE).collect();
        let write = |part: &&[Arc<Site>]| {
            let mut text = Vec::new();
            part.iter().for_each(|site| append_site(&mut text, site));
            text
        };
        let (mut written, mut left) = (0, parts.len());
        let all: Result<(), Infallible> = parallel::each(&parts, write, |text| {
            written += text.len();
            if self.text.capacity() - self.text.len() < text.len() + END_BYTES_MAX {
                // Not doubled again and again, for it may be kept: the others are much like
                // those before them.
                let each = written / (parts.len() - left + 1);
                let others = (left - 1) * (each + each / 16);
                let more = text.len() + others + END_BYTES_MAX;
                self.text.reserve_exact(more);
            }
            self.text.extend_from_slice(&text);
            left -= 1;
            Ok(())
        });
        all.unwrap_or_else(|never| match never {});
        self.lines += sites.len();
    }

    fn finish(mut self) -> String {
        let end = End {
            lines: self.lines + 1,
            checksum: crc32fast::hash(&self.text),
        };
        self.line(&LineRef::End(end));
        String::from_utf8(self.text).expect("JSON is text")
    }
}

fn append_site(text: &mut Vec<u8>, site: &Site) {
    append_line(text, |text| {
        text.extend_from_slice(b"{\"site\":");
        site_line::write_site(text, site);
        text.push(b'}');
    });
}

/// Every line but the end marker, which has been checked.
fn read_lines(bytes: &[u8]) -> Result<Vec<Line>, LogFault> {
    let mut lines = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let number = lines.len() + 1;
        let Some((line, rest)) = split_line(&bytes[offset..]) else {
            return Err(fault(number, "is cut off"));
        };
        let line = read_line(number, line)?;
        let before = &bytes[..offset];
        offset = bytes.len() - rest.len();
        if let Line::End(end) = line {
            check_end(number, end, before)?;
            if offset < bytes.len() {
                return Err(fault(number + 1, "stands after the end marker"));
            }
            return Ok(lines);
        }
        lines.push(line);
    }
    Err(fault(lines.len() + 1, "the end marker is missing"))
}

fn check_end(number: usize, end: End, before: &[u8]) -> Result<(), LogFault> {
    check_end_of(number, end, crc32fast::hash(before))
}

/// An end marker on line `number`, with the checksum of all that stands before it.
fn check_end_of(number: usize, end: End, before: u32) -> Result<(), LogFault> {
    if end.lines != number {
        let what = format!(
            "the end marker says {} lines, and it is line {number}",
            end.lines
        );
        return Err(fault(number, &what));
    }
    if end.checksum != before {
        return Err(fault(
            number,
            "the end marker does not fit the lines before it",
        ));
    }
    Ok(())
}

fn check_format(format: u32) -> Result<(), LogFault> {
    if (FORMAT_OLDEST..=FORMAT).contains(&format) {
        return Ok(());
    }
    let what = format!("has format {format}, and this version reads {FORMAT_OLDEST} to {FORMAT}");
    Err(fault(1, &what))
}

fn fault(line: usize, what: &str) -> LogFault {
    LogFault::new(line, what)
}
