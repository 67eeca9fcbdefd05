//! The field lines of a head: checked, classified, and kept as offsets.

use meridian_model::limits::{CONNECTION_BYTES_MAX, CONNECTION_OPTIONS_MAX, FIELDS_MAX};

use super::field::{FieldName, NameSet, classify};
use super::list;
use super::syntax::trim;

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

/// Where one line starts and where its name ends; the line ends where the next one
/// starts, and its value is what is between, trimmed. 16 bits hold any offset of a
/// head. A hundred lines are 600 bytes: every byte more is paid for by each request,
/// for the array is filled and moved whole.
#[derive(Clone, Copy)]
struct Line {
    start: u16,
    name_end: u16,
    name: FieldName,
}

const NO_LINE: Line = Line {
    start: 0,
    name_end: 0,
    name: FieldName::Other,
};

const _: () = assert!(size_of::<Line>() == 6);

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
    /// An empty section of `bytes`, a head that ends at `head_bytes` with its empty line.
    ///
    /// # Panics
    ///
    /// When the head is longer than 16 bits can say: a caller limits it.
    #[inline]
    pub(crate) fn new(bytes: &'b [u8], head_bytes: usize) -> Section<'b> {
        Section {
            bytes,
            lines: [NO_LINE; FIELDS_MAX],
            count: 0,
            end: u16::try_from(head_bytes - 2).expect("heads are limited to 32 KiB"),
            present: NameSet::default(),
        }
    }

    /// Keeps what `httparse` found in the bytes. `None` when a line, the start line
    /// included, ends in a bare LF: `httparse` takes it for a line end, others do not.
    ///
    /// # Panics
    ///
    /// When there are more than [`FIELDS_MAX`] headers, or they are no part of the head.
    pub(crate) fn fill(&mut self, headers: &[httparse::Header<'b>]) -> Option<()> {
        assert!(headers.len() <= FIELDS_MAX);
        let bytes = self.bytes;
        let origin = bytes.as_ptr().addr();
        // A value holds no CR, so a CR before the LF is that of the line end.
        let ends_in_crlf = |end: u16| end >= 2 && bytes[usize::from(end) - 2] == b'\r';

        for (line, header) in self.lines.iter_mut().zip(headers) {
            let name_text = header.name.as_bytes();
            let start = name_text.as_ptr().addr() - origin;
            let start = u16::try_from(start).expect("a name lies in its head");
            if !ends_in_crlf(start) {
                return None;
            }
            *line = Line {
                start,
                name_end: start + name_text.len() as u16,
                name: classify(name_text),
            };
            self.present.insert(line.name);
        }
        self.count = headers.len();
        let closed = bytes[usize::from(self.end)] == b'\r' && ends_in_crlf(self.end);
        closed.then_some(())
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
        (0..count)
            .filter(move |&at| self.lines[at].name == name)
            .map(|at| self.field(at).value)
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
        let line = self.lines[at];
        let end = if at + 1 < self.count {
            self.lines[at + 1].start
        } else {
            self.end
        };
        let (start, name_end, end) = (
            usize::from(line.start),
            usize::from(line.name_end),
            usize::from(end),
        );
        Field {
            name: line.name,
            name_text: &self.bytes[start..name_end],
            value: trim(&self.bytes[name_end + 1..end - 2]),
            line: &self.bytes[start..end],
        }
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
    /// Reads all Connection fields. `None` when they hold more than is of use to anybody:
    /// every other field is looked for in all of them.
    /// An option that is no token names no field, and is passed over.
    pub(crate) fn read(section: &Section<'_>) -> Option<ConnectionOptions> {
        let mut options = ConnectionOptions::default();
        let (mut count, mut bytes) = (0, 0);
        for value in section.values(FieldName::Connection) {
            bytes += value.len();
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
        let is_bounded = count <= CONNECTION_OPTIONS_MAX && bytes <= CONNECTION_BYTES_MAX;
        is_bounded.then_some(options)
    }
}

/// Whether a Connection field of `section` names `field_name`.
pub(crate) fn is_named_away(section: &Section<'_>, field_name: &[u8]) -> bool {
    section
        .values(FieldName::Connection)
        .any(|value| list::contains(value, field_name))
}
