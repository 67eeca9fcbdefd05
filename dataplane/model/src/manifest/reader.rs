//! Walks a TOML document and remembers everything that is wrong with it.

use std::cell::Cell;

use strsim::damerau_levenshtein;
use toml::de::{DeTable, DeValue};

use super::values;
use crate::availability;
use crate::name::Malformed;
use crate::problem::{Problem, Problems};

/// How far from one line the next one that is asked for mostly is.
const LINES_NEAR: usize = 16;

/// So many keys most tables are asked for at most.
const KEYS_ASKED: usize = 24;

/// A value and the line that it was read from.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: u32,
}

/// What was found in one file so far.
pub(super) struct Reader<'t> {
    file: &'t str,
    /// The line of the text's beginning.
    first_line: usize,
    line_starts: Vec<usize>,
    /// The line that was asked for last, from 0: the next one is near.
    near: Cell<usize>,
    problems: Vec<Problem>,
    not_built: Vec<Problem>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &str, file: &'t str) -> Reader<'t> {
        Reader::of_part(text, 1, file)
    }

    /// Reads a part of a file that begins on line `first_line`.
    pub(super) fn of_part(text: &str, first_line: usize, file: &'t str) -> Reader<'t> {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let line_starts = std::iter::once(0).chain(newlines.map(|(at, _)| at + 1));
        Reader {
            file,
            first_line,
            line_starts: line_starts.collect(),
            near: Cell::new(0),
            problems: Vec::new(),
            not_built: Vec::new(),
        }
    }

    /// The line, from 1, in which the byte at `offset` stands.
    pub(super) fn line_at(&self, offset: usize) -> u32 {
        let mut line = self.near.get();
        let begins = |line: usize| self.line_starts.get(line).is_none_or(|&it| offset < it);
        // A few lines on or back, else from the middle.
        for _ in 0..LINES_NEAR {
            match (begins(line), begins(line + 1)) {
                (true, _) => line = line.saturating_sub(1),
                (false, true) => break,
                (false, false) => line += 1,
            }
        }
        if begins(line) || !begins(line + 1) {
            line = self.line_starts.partition_point(|&it| it <= offset) - 1;
        }
        self.near.set(line);
        u32::try_from(self.first_line + line).unwrap_or(u32::MAX)
    }

    pub(super) fn report(
        &mut self,
        line: Option<u32>,
        key: &str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let problem = self.problem(line, key, what.into(), hint.into());
        self.problems.push(problem);
    }

    pub(super) fn into_problems(self) -> Problems {
        let refusal = Problems::refuse_any(self.problems);
        refusal.expect_err("only called once a problem was reported")
    }

    /// The problems, and the uses of what is not built yet.
    pub(super) fn into_parts(self) -> (Vec<Problem>, Vec<Problem>) {
        (self.problems, self.not_built)
    }

    /// What was found is nothing: no problem, and nothing that is not built yet.
    pub(super) fn found_nothing(&self) -> bool {
        self.problems.is_empty() && self.not_built.is_empty()
    }

    fn note_use(&mut self, section: &Section<'_>, key: &str, line: u32) {
        if availability::is_built(section.path, key) {
            return;
        }
        let what = String::from("not available in this version");
        let key = section.key_path(key);
        let problem = self.problem(Some(line), &key, what, String::from("leave it out"));
        self.not_built.push(problem);
    }

    fn problem(&self, line: Option<u32>, key: &str, what: String, hint: String) -> Problem {
        Problem {
            file: self.file.to_owned(),
            line,
            key: key.to_owned(),
            what,
            hint,
        }
    }
}

/// One table of the document. Keys are taken from it by name; those that nobody asked
/// for are unknown, which [`Section::finish`] reports.
pub(super) struct Section<'t> {
    path: &'static str,
    line: Option<u32>,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// The document itself.
    pub(super) fn root(table: &'t DeTable<'t>) -> Section<'t> {
        Section {
            path: "",
            line: None,
            table,
            asked: Vec::new(),
        }
    }

    /// The line where the table begins; none for the document.
    pub(super) fn line(&self) -> Option<u32> {
        self.line
    }

    /// The value of `key`; none when it is absent or wrong, the latter reported.
    pub(super) fn take<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Malformed>,
    ) -> Option<Located<T>> {
        let hint = || String::from("mend it, or remove the line");
        self.take_hinted(reader, key, hint, read)
    }

    /// The value of `key`, or `default`, which a hint calls `shown`.
    pub(super) fn take_or<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Malformed>,
        (default, shown): (T, &str),
    ) -> T {
        let hint = || format!("remove the line for the default of {shown}");
        let taken = self.take_hinted(reader, key, hint, read);
        taken.map_or(default, |located| located.value)
    }

    /// The value of `key`, which must be there; `example` is how it could look.
    pub(super) fn require<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Malformed>,
        example: &str,
    ) -> Option<Located<T>> {
        if !self.table.contains_key(key) {
            self.report_missing(reader, key, example);
        }
        self.take_hinted(reader, key, || format!("write it like {example}"), read)
    }

    /// The items of the list at `key`; wrong ones are reported and left out.
    pub(super) fn list<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Malformed>,
    ) -> Option<Vec<Located<T>>> {
        let (value, line) = self.entry(reader, key)?;
        let Some(items) = value.as_array() else {
            let what = format!("must be a list (was {})", values::shown(value));
            reader.report(Some(line), &self.key_path(key), what, "put it in [ ]");
            return None;
        };
        let mut read_items = Vec::with_capacity(items.len());
        for item in items.iter() {
            let line = reader.line_at(item.span().start);
            match read(item.get_ref()) {
                Ok(value) => read_items.push(Located { value, line }),
                Err(wrong) => {
                    let hint =
                        wrong.hint_or(|| String::from("mend it, or remove it from the list"));
                    reader.report(Some(line), &self.key_path(key), wrong.what, hint);
                }
            }
        }
        Some(read_items)
    }

    /// The table at `key`, called `path` in problems.
    pub(super) fn table(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        path: &'static str,
    ) -> Option<Section<'t>> {
        let (value, line) = self.entry(reader, key)?;
        let Some(table) = value.as_table() else {
            let what = format!("must be a table (was {})", values::shown(value));
            reader.report(
                Some(line),
                &self.key_path(key),
                what,
                "write it as { key = value }",
            );
            return None;
        };
        Some(Section::nested(path, line, table))
    }

    /// The tables of the list at `key`, each called `path` in problems.
    pub(super) fn tables(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        path: &'static str,
    ) -> Vec<Section<'t>> {
        let Some((value, line)) = self.entry(reader, key) else {
            return Vec::new();
        };
        self.tables_of(reader, value, line, path)
    }

    /// The tables at `key`: a list of them, or a single one in place of a list of one.
    pub(super) fn table_or_tables(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        path: &'static str,
    ) -> Vec<Section<'t>> {
        match self.entry(reader, key) {
            None => Vec::new(),
            Some((DeValue::Table(table), line)) => vec![Section::nested(path, line, table)],
            Some((value, line)) => self.tables_of(reader, value, line, path),
        }
    }

    /// Every key with its text, for tables whose keys are the operator's own; `hint` is for what is
    /// no text, or empty.
    pub(super) fn texts(
        self,
        reader: &mut Reader<'_>,
        hint: &str,
    ) -> Vec<(Located<String>, String)> {
        let mut texts = Vec::new();
        for (key, value) in self.table.iter() {
            let line = reader.line_at(key.span().start);
            let name = key.get_ref().as_ref().to_owned();
            match values::text(value.get_ref()) {
                Ok(text) => texts.push((Located { value: name, line }, text)),
                Err(wrong) => {
                    let path = format!("{}.{name}", self.path);
                    let hint = wrong.hint_or(|| hint.to_owned());
                    reader.report(Some(line), &path, wrong.what, hint);
                }
            }
        }
        texts
    }

    /// Its keys, of which each is a list of tables of its own.
    pub(super) fn has_lists_only(&self) -> bool {
        self.table
            .values()
            .all(|value| value.get_ref().as_array().is_some())
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether `key` is there and no empty list.
    pub(super) fn lists_any(&self, key: &str) -> bool {
        let value = self.table.get(key).map(|value| value.get_ref());
        value.is_some_and(|value| value.as_array().is_none_or(|items| !items.is_empty()))
    }

    pub(super) fn report_missing(&self, reader: &mut Reader<'_>, key: &str, example: &str) {
        let hint = format!("write {example}");
        reader.report(self.line, &self.key_path(key), "required", hint);
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.asked.contains(&name) {
                continue;
            }
            let line = reader.line_at(key.span().start);
            let hint = match closest(name, self.asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            reader.report(Some(line), &self.key_path(name), "unknown key", hint);
        }
    }

    fn nested(path: &'static str, line: u32, table: &'t DeTable<'t>) -> Section<'t> {
        Section {
            path,
            line: Some(line),
            table,
            asked: Vec::with_capacity(KEYS_ASKED),
        }
    }

    fn entry(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
    ) -> Option<(&'t DeValue<'t>, u32)> {
        self.asked.push(key);
        let (found, value) = self.table.get_key_value(key)?;
        let line = reader.line_at(found.span().start);
        reader.note_use(self, key, line);
        Some((value.get_ref(), line))
    }

    fn take_hinted<T>(
        &mut self,
        reader: &mut Reader<'_>,
        key: &'static str,
        hint: impl Fn() -> String,
        read: impl Fn(&DeValue<'_>) -> Result<T, Malformed>,
    ) -> Option<Located<T>> {
        let (value, line) = self.entry(reader, key)?;
        match read(value) {
            Ok(value) => Some(Located { value, line }),
            Err(wrong) => {
                let hint = wrong.hint_or(hint);
                reader.report(Some(line), &self.key_path(key), wrong.what, hint);
                None
            }
        }
    }

    fn tables_of(
        &self,
        reader: &mut Reader<'_>,
        value: &'t DeValue<'t>,
        line: u32,
        path: &'static str,
    ) -> Vec<Section<'t>> {
        let hint = || format!("begin each with a line [[{path}]]");
        let Some(items) = value.as_array() else {
            let what = format!("must be a list of tables (was {})", values::shown(value));
            reader.report(Some(line), path, what, hint());
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(items.len());
        for item in items.iter() {
            let line = reader.line_at(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => sections.push(Section::nested(path, line, table)),
                other => {
                    let what = format!("must be a table (was {})", values::shown(other));
                    reader.report(Some(line), path, what, hint());
                }
            }
        }
        sections
    }

    pub(super) fn key_path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The one of `known` that `name` was probably meant to be.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is still a slip; more is another word.
    let distance_max = (name.len() / 3).clamp(1, 3);
    let candidates = known.map(|known| (damerau_levenshtein(name, known), known));
    let near = candidates.filter(|(distance, _)| *distance <= distance_max);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
