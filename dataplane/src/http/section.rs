//! The field lines of a head: checked, classified, and kept as offsets.

use meridian_model::limits::FIELDS_MAX;

use super::field::{FieldName, NameSet, classify};
use super::list;

/// The fields of one head, in order. Borrowed from the bytes that were parsed.
///
/// Every line is `name ":" OWS value OWS CRLF` with a token as its name and no
/// control character in its value, so a line can be copied as it stands.
#[derive(Clone)]
pub struct Section<'b> {
    bytes: &'b [u8],
    lines: [Line; FIELDS_MAX],
    count: usize,
    /// Where the empty line after the fields begins.
    end: u16,
    present: NameSet,
}

/// Offsets of one line. It ends where the next one starts. 16 bits hold any
/// offset of a head, which keeps a hundred of these in a kilobyte.
#[derive(Clone, Copy)]
struct Line {
    start: u16,
    name_end: u16,
    value_start: u16,
    value_end: u16,
    name: FieldName,
}

const NO_LINE: Line = Line {
    start: 0,
    name_end: 0,
    value_start: 0,
    value_end: 0,
    name: FieldName::Other,
};

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct Field<'b> {
    /// What the name is to us.
    pub name: FieldName,
    /// The name as sent.
    pub name_text: &'b [u8],
    /// The value without the white space around it.
    pub value: &'b [u8],
    /// The whole line as sent, with its CRLF.
    pub line: &'b [u8],
}

impl<'b> Section<'b> {
    /// Keeps what `httparse` found in `bytes`, a head that ends at `head_bytes`
    /// with its empty line. `None` when a line, the start line included, ends
    /// in a bare LF: `httparse` takes it for a line end, others do not.
    ///
    /// # Panics
    ///
    /// When there are more than [`FIELDS_MAX`] headers, or they are no part of
    /// `bytes`, or the head is longer than 16 bits can say: a caller limits all three.
    pub(crate) fn read(
        bytes: &'b [u8],
        headers: &[httparse::Header<'b>],
        head_bytes: usize,
    ) -> Option<Section<'b>> {
        let origin = bytes.as_ptr().addr();
        let offset = |slice: &[u8]| -> u16 {
            u16::try_from(slice.as_ptr().addr() - origin).expect("heads are limited to 32 KiB")
        };
        // A value holds no CR, so a CR before the LF is that of the line end.
        let ends_in_crlf = |end: u16| end >= 2 && bytes[usize::from(end) - 2] == b'\r';

        let end = u16::try_from(head_bytes - 2).expect("heads are limited to 32 KiB");
        let mut section = Section {
            bytes,
            lines: [NO_LINE; FIELDS_MAX],
            count: headers.len(),
            end,
            present: NameSet::default(),
        };
        for (line, header) in section.lines.iter_mut().zip(headers) {
            let name_text = header.name.as_bytes();
            let start = offset(name_text);
            if !ends_in_crlf(start) {
                return None;
            }
            let value_start = offset(header.value);
            *line = Line {
                start,
                name_end: start + name_text.len() as u16,
                value_start,
                value_end: value_start + header.value.len() as u16,
                name: classify(name_text),
            };
            section.present.insert(line.name);
        }
        let closed = bytes[usize::from(end)] == b'\r' && ends_in_crlf(end);
        closed.then_some(section)
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether any field has this name.
    #[must_use]
    pub fn contains(&self, name: FieldName) -> bool {
        self.present.contains(name)
    }

    /// All fields in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = Field<'b>> + '_ {
        (0..self.count).map(|at| self.field(at))
    }

    /// The values of all fields of this name.
    pub fn values(&self, name: FieldName) -> impl Iterator<Item = &'b [u8]> + '_ {
        let count = if self.contains(name) { self.count } else { 0 };
        self.lines[..count]
            .iter()
            .filter(move |line| line.name == name)
            .map(|line| self.value(line))
    }

    /// The value of the only field of this name, or that there are several.
    ///
    /// # Errors
    ///
    /// [`Doubled`] when there is more than one, equal or not.
    pub fn single(&self, name: FieldName) -> Result<Option<&'b [u8]>, Doubled> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Doubled);
        }
        Ok(first)
    }

    /// Appends the lines for which `passes` holds, each run of neighbours in one copy.
    pub(crate) fn copy_lines(&self, out: &mut Vec<u8>, passes: impl Fn(Field<'b>) -> bool) {
        let mut run_start: Option<u16> = None;
        for (at, line) in self.lines[..self.count].iter().enumerate() {
            match (passes(self.field(at)), run_start) {
                (true, None) => run_start = Some(line.start),
                (false, Some(start)) => {
                    out.extend_from_slice(&self.bytes[usize::from(start)..usize::from(line.start)]);
                    run_start = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(start) = run_start {
            out.extend_from_slice(&self.bytes[usize::from(start)..usize::from(self.end)]);
        }
    }

    fn field(&self, at: usize) -> Field<'b> {
        let line = &self.lines[at];
        let end = if at + 1 < self.count {
            self.lines[at + 1].start
        } else {
            self.end
        };
        Field {
            name: line.name,
            name_text: &self.bytes[usize::from(line.start)..usize::from(line.name_end)],
            value: self.value(line),
            line: &self.bytes[usize::from(line.start)..usize::from(end)],
        }
    }

    fn value(&self, line: &Line) -> &'b [u8] {
        &self.bytes[usize::from(line.value_start)..usize::from(line.value_end)]
    }
}

impl core::fmt::Debug for Section<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes);
        formatter
            .debug_list()
            .entries(
                self.iter()
                    .map(|field| (text(field.name_text), text(field.value))),
            )
            .finish()
    }
}

/// A field that may come once came more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubled;

/// What the Connection fields of a head ask for (RFC 9110 §7.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionOptions {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
    /// Any other option: a field to be removed may be named.
    pub names_others: bool,
}

impl ConnectionOptions {
    /// Reads all Connection fields. `None` when they hold more options than a head
    /// may hold fields, which would make removing them slow for us and serves nobody.
    /// An option that is no token names no field, and is passed over.
    pub(crate) fn read(section: &Section<'_>) -> Option<ConnectionOptions> {
        let mut options = ConnectionOptions::default();
        let mut count = 0;
        for value in section.values(FieldName::Connection) {
            for element in list::elements(value) {
                count += 1;
                if element.eq_ignore_ascii_case(b"keep-alive") {
                    options.keep_alive = true;
                } else if element.eq_ignore_ascii_case(b"close") {
                    options.close = true;
                } else if element.eq_ignore_ascii_case(b"upgrade") {
                    options.upgrade = true;
                } else {
                    options.names_others = true;
                }
            }
        }
        (count <= FIELDS_MAX).then_some(options)
    }
}

/// Whether a Connection field of `section` names `field_name`.
pub(crate) fn is_named_away(section: &Section<'_>, field_name: &[u8]) -> bool {
    section
        .values(FieldName::Connection)
        .any(|value| list::contains(value, field_name))
}
