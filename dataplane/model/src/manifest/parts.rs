//! A long manifest in parts that are read at the same time.
//!
//! A text is cut where a line begins a table of a list of the document, `[[site]]`. Each part but
//! the first then begins with such a table, so that it has no key of the document itself, and two
//! parts that are right by themselves are right one after the other where
//!
//! - the one before ends outside of any string or value: it is whole as a document;
//! - the later ones have nothing but lists, so that no table or key is there twice, and none of a
//!   table that began in the part before;
//! - none of these lists stands in the first part in another form.
//!
//! Where that does not hold, or anything is wrong or not built yet, nothing comes of it, and the
//! text is read as one: what is said of it does not depend on how it is cut.

use toml::de::DeTable;

use super::Manifest;
use super::grammar;
use super::reader::Reader;
use super::references;
use super::written::{Host, Lists, Written};
use crate::parallel;

/// A part is at least so long, but for the last one. A text with no more than that is read as one.
const PART_BYTES: usize = 128 * 1024;

#[derive(Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    first_line: usize,
}

/// Reads a long text in which nothing is wrong.
pub(super) fn parse(text: &str, file: &str) -> Option<Manifest> {
    if text.len() <= PART_BYTES {
        return None;
    }
    let (first, later) = split(text)?;
    let mut lists = Vec::with_capacity(later.len());
    let mut first = read_first(first, file)?;
    parallel::each(
        &later,
        |part| read_later(*part, file),
        |part| {
            lists.push(part.ok_or(())?);
            Ok::<(), ()>(())
        },
    )
    .ok()?;
    let sites = lists.iter().map(|(_, part)| part.sites.len()).sum();
    first.written.sites.reserve_exact(sites);
    for (names, part) in lists {
        if names.iter().any(|name| first.names.contains(name)) {
            return None;
        }
        first.written.extend(part);
    }
    references::hold(&first.written, &first.host, file).then_some(Manifest {
        written: first.written,
        host: first.host,
        not_built: Vec::new(),
    })
}

/// What stands before the first list, and what the document has keys for there.
struct First {
    written: Written,
    host: Host,
    names: Vec<String>,
}

fn read_first(part: Part<'_>, file: &str) -> Option<First> {
    let (document, faults) = DeTable::parse_recoverable(part.text);
    if !faults.is_empty() {
        return None;
    }
    let mut reader = Reader::of_part(part.text, part.first_line, file);
    let (written, host) = grammar::read(&mut reader, document.get_ref());
    let host = host.filter(|_| reader.found_nothing())?;
    Some(First {
        written,
        host,
        names: names(document.get_ref()),
    })
}

fn read_later(part: Part<'_>, file: &str) -> Option<(Vec<String>, Lists)> {
    let (document, faults) = DeTable::parse_recoverable(part.text);
    if !faults.is_empty() {
        return None;
    }
    let mut reader = Reader::of_part(part.text, part.first_line, file);
    let lists = grammar::read_lists(&mut reader, document.get_ref())?;
    reader
        .found_nothing()
        .then(|| (names(document.get_ref()), lists))
}

fn names(document: &DeTable<'_>) -> Vec<String> {
    let keys = document.keys();
    keys.map(|key| key.get_ref().to_string()).collect()
}

/// What stands before the first list, and the parts after it.
fn split(text: &str) -> Option<(Part<'_>, Vec<Part<'_>>)> {
    let begin = next_list(text, 0)?;
    let (first, mut rest) = text.split_at(begin);
    let mut first_line = 1 + lines(first);
    let first = Part {
        text: first,
        first_line: 1,
    };
    let mut later = Vec::new();
    while !rest.is_empty() {
        let end = next_list(rest, PART_BYTES).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        later.push(Part { text, first_line });
        first_line += lines(text);
        rest = after;
    }
    Some((first, later))
}

/// Where the first line at or after `from` stands that begins a table of a list of the document.
fn next_list(text: &str, from: usize) -> Option<usize> {
    let mut from = from;
    while let Some(found) = text
        .as_bytes()
        .get(from..)?
        .windows(3)
        .position(|it| it == b"\n[[")
    {
        let begin = from + found + 1;
        let line = text[begin..].lines().next().unwrap_or_default();
        if !line.contains(['.', '"', '\'']) {
            return Some(begin);
        }
        from = begin;
    }
    None
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    const HEAD: &str = "# the host\n[host]\nname = \"h1\"\nbackend_networks = [\"127.0.0.0/8\"]\n\
                        [listen]\nhttp = [\"127.0.0.1:8080\"]\n";

    /// Long enough for some parts; the last site names what `more` says, and `tail` follows.
    fn text(head: &str, more: &str, tail: &str) -> String {
        let mut text = format!("{head}[[tenant]]\nname = \"t\"\n");
        for number in 0..4000 {
            write!(
                text,
                "[[site]]\ntenant = \"t\"\nname = \"s{number}\"\nhostnames = [\n  \"s{number}.test\",\n]\n\
                 [site.timeouts]\nhead = \"5s\"\n[[site.backend]]\naddress = \"127.0.0.1:9000\"\n"
            )
            .unwrap();
        }
        write!(text, "{more}{tail}").unwrap();
        assert!(text.len() > 3 * PART_BYTES);
        text
    }

    fn whole(text: &str) -> Result<String, String> {
        let read = Manifest::parse_whole(text, Reader::new(text, "h1.toml"));
        let read = read.map(|manifest| format!("{manifest:?}"));
        read.map_err(|problems| problems.to_string())
    }

    #[test]
    fn in_parts_it_is_the_same_to_the_last_line_number() {
        let more = "[[tenant]]\nname = \"u\"\n[[group]]\nname = \"g\"\n";
        let text = text(
            HEAD,
            more,
            "[[site]]\ntenant = \"u\"\nname = \"s\"\nhostnames = [\"u.test\"]\n",
        );
        let in_parts = parse(&text, "h1.toml").expect("nothing is wrong with it");
        assert_eq!(format!("{in_parts:?}"), whole(&text).unwrap());
        let crlf = text.replace('\n', "\r\n");
        let in_parts = parse(&crlf, "h1.toml").expect("nothing is wrong with it");
        assert_eq!(format!("{in_parts:?}"), whole(&crlf).unwrap());
    }

    /// Where the parts would say something else than the whole, they say nothing.
    #[test]
    fn what_is_wrong_or_hangs_together_is_read_as_one() {
        let string = "[[site]]\ntenant = \"t\"\nname = \"m\"\nhostnames = [\"m.test\"]\n\
                      [site.access_log]\nsample = '''\n[[site]]\n'''\n";
        for (head, more, tail) in [
            // A key, a table and a list of another form that stand in another part.
            (HEAD, "[listen]\n", ""),
            (HEAD, "[fleet]\nname = \"f\"\n", ""),
            ("site = []\n", "", ""),
            (HEAD, "[[listen]]\n", ""),
            // Not TOML, in the last part and in the first.
            (HEAD, "[[site]]\ntenant = \n", ""),
            ("[host\n", "", ""),
            // Wrong by itself, twice, and of something that is not there.
            (HEAD, "[[site]]\ntenant = \"t\"\n", ""),
            (HEAD, "[[tenant]]\nname = \"t\"\n", ""),
            (
                HEAD,
                "[[site]]\ntenant = \"x\"\nname = \"x\"\nhostnames = [\"x.test\"]\n",
                "",
            ),
            (
                HEAD,
                "[[site]]\ntenant = \"t\"\nname = \"x\"\nhostnames = [\"s1.test\"]\n",
                "",
            ),
            // A line within a string.
            (HEAD, string, ""),
            (HEAD, "[[sitte]]\n", ""),
        ] {
            let text = text(head, more, tail);
            assert!(parse(&text, "h1.toml").is_none(), "{more}");
            // And what is said is what was always said.
            let said = Manifest::parse(&text, "h1.toml");
            let said = said.map(|manifest| format!("{manifest:?}"));
            assert_eq!(said.map_err(|problems| problems.to_string()), whole(&text));
        }
    }
}
