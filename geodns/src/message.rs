//! Writing a response: names compressed, sets of records whole or not at all.

use crate::query::HEADER_BYTES;
use crate::resolution::{Data, Records};
use meridian_model::zones::{parent, rtype};
use std::net::IpAddr;

/// Names that later ones can point to. More are written out: longer, and as right.
const NAMES_MAX: usize = 64;

/// The farthest place that a pointer can name, and one more (RFC 1035 §4.1.4).
const POINTER_END: usize = 0x4000;

/// Two bits that tell a pointer from a label.
const POINTER: u16 = 0xc000;

/// Octets of a SOA's data behind its two names: the serial and four times.
const SOA_NUMBERS_BYTES: usize = 20;

/// There is no room for all of it, and nothing of it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// A message that is being written: at least a header long.
pub(crate) struct Message<'a> {
    octets: &'a mut [u8],
    length: usize,
    /// Where the names and their ends begin that stand in it uncompressed.
    names: [u16; NAMES_MAX],
    names_count: usize,
}

impl<'a> Message<'a> {
    /// An empty one that grows no longer than `octets`, of which the first are the header's.
    pub(crate) fn new(octets: &'a mut [u8]) -> Message<'a> {
        Message {
            octets,
            length: HEADER_BYTES,
            names: [0; NAMES_MAX],
            names_count: 0,
        }
    }

    /// Goes on behind what was written of it with less room.
    pub(crate) fn skip_to(&mut self, length: usize) {
        self.length = length;
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Writes over the header.
    pub(crate) fn set_header(&mut self, fields: [u16; HEADER_BYTES / 2]) {
        for (at, field) in self.octets.chunks_exact_mut(2).zip(fields) {
            at.copy_from_slice(&field.to_be_bytes());
        }
    }

    /// The question, as it came: `octets` is its name, and its type and class.
    pub(crate) fn question(&mut self, octets: &[u8]) -> Result<(), Full> {
        let (name, numbers) = octets.split_at(octets.len() - 4);
        self.name(name)?;
        self.put(numbers)
    }

    /// All of the records, and how many they are.
    pub(crate) fn records(&mut self, records: &Records<'_>, class: u16) -> Result<u16, Full> {
        let (length, names_count) = (self.length, self.names_count);
        let written = self.try_records(records, class);
        if written.is_err() {
            (self.length, self.names_count) = (length, names_count);
        }
        written
    }

    fn try_records(&mut self, records: &Records<'_>, class: u16) -> Result<u16, Full> {
        let mut count = 0;
        let mut one = |message: &mut Self, data: &dyn Fn(&mut Self) -> Result<(), Full>| {
            count += 1;
            message.record(records, class, data)
        };
        match records.data {
            Data::Stored(set) => {
                for data in &set.data {
                    one(self, &|it| it.data(records.rtype, data))?;
                }
            }
            Data::Soa(set, serial) => {
                for data in &set.data {
                    one(self, &|it| it.soa(data, serial))?;
                }
            }
            Data::Addresses(addresses) => {
                for address in addresses {
                    one(self, &|it| match address {
                        IpAddr::V4(address) => it.put(&address.octets()),
                        IpAddr::V6(address) => it.put(&address.octets()),
                    })?;
                }
            }
            Data::Octets(octets) => one(self, &|it| it.put(octets))?,
            Data::Text(text) => one(self, &|it| it.text(text.as_bytes()))?,
        }
        Ok(count)
    }

    fn record(
        &mut self,
        records: &Records<'_>,
        class: u16,
        data: &dyn Fn(&mut Self) -> Result<(), Full>,
    ) -> Result<(), Full> {
        self.name(records.owner)?;
        self.put(&records.rtype.to_be_bytes())?;
        self.put(&class.to_be_bytes())?;
        self.put(&records.ttl.to_be_bytes())?;
        let length_at = self.length;
        self.put(&[0; 2])?;
        data(self)?;
        let length = (self.length - length_at - 2) as u16;
        self.octets[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Data of a record. Names are compressed in that of the types of RFC 1035, and in no other
    /// (RFC 3597 §4).
    fn data(&mut self, rtype: u16, data: &[u8]) -> Result<(), Full> {
        match rtype {
            rtype::NS | rtype::CNAME => self.name(data),
            rtype::MX if data.len() > 2 => {
                self.put(&data[..2])?;
                self.name(&data[2..])
            }
            _ => self.put(data),
        }
    }

    fn soa(&mut self, data: &[u8], serial: u32) -> Result<(), Full> {
        let (names, numbers) = data.split_at(data.len() - SOA_NUMBERS_BYTES);
        let first = name_length(names);
        self.name(&names[..first])?;
        self.name(&names[first..])?;
        self.put(&serial.to_be_bytes())?;
        self.put(&numbers[4..])
    }

    /// Strings of at most 255 octets each (RFC 1035 §3.3).
    fn text(&mut self, text: &[u8]) -> Result<(), Full> {
        for part in text.chunks(255) {
            self.put(&[part.len() as u8])?;
            self.put(part)?;
        }
        Ok(())
    }

    /// A name: as much as stands there already, whatever its case, is pointed to.
    fn name(&mut self, name: &[u8]) -> Result<(), Full> {
        let mut rest = name;
        while let Some(next) = parent(rest) {
            if let Some(at) = self.find(rest) {
                return self.put(&(POINTER | at).to_be_bytes());
            }
            let at = self.length;
            self.put(&rest[..rest.len() - next.len()])?;
            if at < POINTER_END && self.names_count < NAMES_MAX {
                self.names[self.names_count] = at as u16;
                self.names_count += 1;
            }
            rest = next;
        }
        self.put(&[0])
    }

    fn find(&self, name: &[u8]) -> Option<u16> {
        let names = self.names[..self.names_count].iter().copied();
        names
            .into_iter()
            .find(|at| self.stands_at(name, usize::from(*at)))
    }

    /// Whether the name stands there. Pointers are ours, and lead backwards.
    fn stands_at(&self, name: &[u8], mut at: usize) -> bool {
        let mut rest = name;
        // The name that is being written has no end yet, and what is behind is somebody else's.
        while at < self.length {
            let length = self.octets[at];
            if length >= 0xc0 {
                let pointer = u16::from_be_bytes([length, self.octets[at + 1]]);
                at = usize::from(pointer & !POINTER);
                continue;
            }
            let label = 1 + usize::from(length);
            if rest.len() < label {
                return false;
            }
            if !rest[..label].eq_ignore_ascii_case(&self.octets[at..at + label]) {
                return false;
            }
            if length == 0 {
                return true;
            }
            at += label;
            rest = &rest[label..];
        }
        false
    }

    pub(crate) fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.length + octets.len();
        let room = self.octets.get_mut(self.length..end).ok_or(Full)?;
        room.copy_from_slice(octets);
        self.length = end;
        Ok(())
    }
}

/// How long the name is that `octets` begin with: one of a compiled zone, which is whole.
fn name_length(octets: &[u8]) -> usize {
    let mut at = 0;
    while octets[at] != 0 {
        at += 1 + usize::from(octets[at]);
    }
    at + 1
}
