//! `request_headers` and `response_headers` of a site and of a route.

use crate::desired::FieldRules;
use crate::fields::{self, FieldKind};
use crate::limits::{FIELD_CHANGE_BYTES_MAX, FIELD_CHANGES_MAX};
use crate::manifest::reader::{Located, Reader, Section};
use crate::name::{Hostname, Malformed};

/// Whose fields a table changes, with what its tables are called in problems.
pub(super) struct Table {
    of_requests: bool,
    path: &'static str,
    set: &'static str,
    add: &'static str,
}

pub(super) const SITE_REQUEST: Table = Table {
    of_requests: true,
    path: "site.request_headers",
    set: "site.request_headers.set",
    add: "site.request_headers.add",
};
pub(super) const SITE_RESPONSE: Table = Table {
    of_requests: false,
    path: "site.response_headers",
    set: "site.response_headers.set",
    add: "site.response_headers.add",
};
pub(super) const ROUTE_REQUEST: Table = Table {
    of_requests: true,
    path: "site.route.request_headers",
    set: "site.route.request_headers.set",
    add: "site.route.request_headers.add",
};
pub(super) const ROUTE_RESPONSE: Table = Table {
    of_requests: false,
    path: "site.route.response_headers",
    set: "site.route.response_headers.set",
    add: "site.route.response_headers.add",
};

/// Reads the table at `key` of `parent`.
pub(super) fn read_fields(
    reader: &mut Reader<'_>,
    parent: &mut Section<'_>,
    key: &'static str,
    table: &Table,
) -> FieldRules {
    let Some(mut section) = parent.table(reader, key, table.path) else {
        return FieldRules::default();
    };
    let line = section.line();
    let set = section.table(reader, "set", table.set);
    let add = section.table(reader, "add", table.add);
    let removed = section.list(reader, "remove", super::values::text);
    section.finish(reader);
    let hint = "write a text, or name the field under `remove`";
    let set = set.map(|section| section.texts(reader, hint));
    let add = add.map(|section| section.texts(reader, "write a text, or remove it"));
    let (set, add) = (set.unwrap_or_default(), add.unwrap_or_default());
    let removed: Vec<Located<String>> = removed
        .unwrap_or_default()
        .into_iter()
        .map(|name| Located {
            value: name.value.to_ascii_lowercase(),
            line: name.line,
        })
        .collect();
    for (key, fields, may_be_host) in [
        (table.set, &set, table.of_requests),
        (table.add, &add, false),
    ] {
        for (name, value) in fields {
            check_name(reader, table, key, name, may_be_host);
            check_value(reader, key, name, value);
        }
    }
    let key = format!("{}.remove", table.path);
    for name in &removed {
        check_name(reader, table, &key, name, false);
    }
    let names: Vec<&Located<String>> = set
        .iter()
        .chain(&add)
        .map(|(name, _)| name)
        .chain(&removed)
        .collect();
    check_once(reader, table, &names);
    check_sizes(reader, table, line, &names, &set, &add);
    FieldRules {
        set: by_name(set),
        add: by_name(add),
        remove: {
            let mut names: Vec<String> = removed.into_iter().map(|it| it.value).collect();
            names.sort_unstable();
            names
        },
    }
}

fn by_name(fields: Vec<(Located<String>, String)>) -> Vec<(String, String)> {
    let fields = fields.into_iter().map(|(name, value)| (name.value, value));
    let mut fields: Vec<(String, String)> = fields.collect();
    fields.sort_unstable_by_key(|(name, _)| name.to_ascii_lowercase());
    fields
}

fn check_name(
    reader: &mut Reader<'_>,
    table: &Table,
    key: &str,
    name: &Located<String>,
    may_be_host: bool,
) {
    let (text, line) = (name.value.as_str(), Some(name.line));
    if !fields::is_token(text) {
        let what = format!("{text:?} is not the name of a field");
        return reader.report(line, key, what, "write letters, digits, - and _");
    }
    match fields::kind(text) {
        FieldKind::Free => {}
        FieldKind::Host if may_be_host => {}
        FieldKind::Host if table.of_requests => {
            let what = "a request has exactly one host";
            reader.report(line, key, what, "write it under `set`");
        }
        FieldKind::Host => {
            let what = "host is a field of requests";
            reader.report(line, key, what, "remove it");
        }
        FieldKind::Reserved => {
            let what = format!("{text} is written by the proxy alone");
            let hint = "remove it; see \"Headers\" in docs/manifest.md";
            reader.report(line, key, what, hint);
        }
        FieldKind::Lookalike => {
            let what = format!("{text} could be read as the name of another field");
            let hint = "leave it out; see \"Headers\" in docs/manifest.md";
            reader.report(line, key, what, hint);
        }
    }
}

fn check_value(reader: &mut Reader<'_>, key: &str, name: &Located<String>, value: &str) {
    let path = format!("{key}.{}", name.value);
    if !fields::is_value(value) {
        let what = format!("{value:?} can not stand in a field");
        reader.report(Some(name.line), &path, what, "write printable ASCII");
    } else if fields::kind(&name.value) == FieldKind::Host
        && let Err(wrong) = check_authority(value)
    {
        reader.report(Some(name.line), &path, wrong.what, wrong.hint);
    }
}

/// A host that a backend can be asked for: a name or an address, maybe with a port.
fn check_authority(text: &str) -> Result<(), Malformed> {
    let is_port = |port: &str| {
        port.parse::<u16>()
            .is_ok_and(|number| number.to_string() == port)
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = Hostname::parse(host).is_ok_and(|name| !name.as_str().starts_with('*'));
    if (is_address || is_name) && port.is_none_or(is_port) {
        return Ok(());
    }
    Err(Malformed {
        what: format!("{text:?} is not a host"),
        hint: String::from("write it like \"www.example.com\" or \"www.example.com:8080\""),
    })
}

/// A name that stood in two of the three would mean whichever was done last.
fn check_once(reader: &mut Reader<'_>, table: &Table, names: &[&Located<String>]) {
    let mut seen: Vec<String> = Vec::with_capacity(names.len());
    for name in names {
        let lower = name.value.to_ascii_lowercase();
        if seen.contains(&lower) {
            let what = format!("{lower} is there twice; names have no case");
            let hint = "name each field once, under set, add or remove";
            reader.report(Some(name.line), table.path, what, hint);
        } else {
            seen.push(lower);
        }
    }
}

fn check_sizes(
    reader: &mut Reader<'_>,
    table: &Table,
    line: Option<u32>,
    names: &[&Located<String>],
    set: &[(Located<String>, String)],
    add: &[(Located<String>, String)],
) {
    let bytes: usize = set
        .iter()
        .chain(add)
        .map(|(name, value)| name.value.len() + value.len())
        .sum();
    if names.len() > FIELD_CHANGES_MAX {
        let what = format!("at most {FIELD_CHANGES_MAX} fields (was {})", names.len());
        reader.report(line, table.path, what, "remove some");
    }
    if bytes > FIELD_CHANGE_BYTES_MAX {
        let what = format!("at most {FIELD_CHANGE_BYTES_MAX} bytes in all (was {bytes})");
        reader.report(line, table.path, what, "shorten the values");
    }
}

/// Bytes of the fields that a table adds.
pub(super) fn bytes_of(rules: &FieldRules) -> usize {
    let fields = rules.set.iter().chain(&rules.add);
    fields.map(|(name, value)| name.len() + value.len()).sum()
}
