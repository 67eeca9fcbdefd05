//! `[[site.route]]`.

use toml::de::DeValue;

use super::fields::{ROUTE_REQUEST, ROUTE_RESPONSE, read_fields};
use super::plain;
use super::pool::token;
use crate::desired::{FieldRules, Match, Redirect, Respond};
use crate::fields::{self, FieldKind};
use crate::limits::{METHODS_PER_ROUTE_MAX, RESPOND_BODY_BYTES_MAX, ROUTE_TEXT_BYTES_MAX};
use crate::manifest::reader::{Located, Reader, Section};
use crate::manifest::values::{self, malformed};
use crate::manifest::written::{Outcome, Route};
use crate::name::Malformed;
use crate::path::{EncodedSlashes, PathFault, normal_form};

const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// For a value that can not be compared with.
const COMPARED: &str = "write the text that a request has there, or remove it";

/// Statuses whose answers have no content (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
const WITHOUT_CONTENT: [u16; 3] = [204, 205, 304];

pub(super) fn read_route(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    slashes: EncodedSlashes,
) -> Option<Route> {
    let example = "match = { path_prefix = \"/api/\" }";
    if !section.contains("match") {
        section.report_missing(reader, "match", example);
    }
    let matching = section.table(reader, "match", "site.route.match");
    let matching = matching.map(|section| read_match(reader, section, slashes));
    let pool = section.take(reader, "pool", values::name);
    let redirect = section.table(reader, "redirect", "site.route.redirect");
    let redirect = redirect.and_then(|section| read_redirect(reader, section));
    let respond = section.table(reader, "respond", "site.route.respond");
    let respond = respond.map(|section| read_respond(reader, section));
    let rewrite_prefix = section.take(reader, "rewrite_prefix", path_of(slashes));
    let request_headers = read_fields(reader, &mut section, "request_headers", &ROUTE_REQUEST);
    let response_headers = read_fields(reader, &mut section, "response_headers", &ROUTE_RESPONSE);
    check_outcomes(reader, &section);
    let to_backend = [
        ("rewrite_prefix", rewrite_prefix.is_some()),
        ("request_headers", request_headers != FieldRules::default()),
    ];
    for (key, _) in to_backend
        .into_iter()
        .filter(|(_, given)| *given && !section.contains("pool"))
    {
        let what = "only a route to a pool has a request to change";
        let key = format!("site.route.{key}");
        reader.report(section.line(), &key, what, "remove it");
    }
    let has_prefix = matching.as_ref().is_none_or(|it| it.path_prefix.is_some());
    if let Some(Located { line, .. }) = rewrite_prefix.as_ref().filter(|_| !has_prefix) {
        let what = "there is no prefix to put it in place of";
        let hint = "write match = { path_prefix = \"/api/\" }";
        reader.report(Some(*line), "site.route.rewrite_prefix", what, hint);
    }
    section.finish(reader);
    let outcome = match (pool, redirect, respond) {
        (Some(pool), ..) => Outcome::Pool(pool),
        (None, Some(redirect), _) => Outcome::Redirect(redirect),
        (None, None, respond) => Outcome::Respond(respond?),
    };
    Some(Route {
        matching: matching?,
        outcome,
        rewrite_prefix: rewrite_prefix.map(|located| located.value),
        request_headers,
        response_headers,
    })
}

fn check_outcomes(reader: &mut Reader<'_>, section: &Section<'_>) {
    let outcomes = ["pool", "redirect", "respond"].into_iter();
    let given = outcomes.filter(|key| section.contains(key)).count();
    if given != 1 {
        let what = format!("needs exactly one of pool, redirect, respond (has {given})");
        let hint = if given == 0 {
            "write pool = \"default\""
        } else {
            "make it several routes"
        };
        reader.report(section.line(), "site.route", what, hint);
    }
}

fn read_match(reader: &mut Reader<'_>, mut section: Section<'_>, slashes: EncodedSlashes) -> Match {
    let path = section.take(reader, "path", path_of(slashes));
    let path_prefix = section.take(reader, "path_prefix", path_of(slashes));
    let methods = section.list(reader, "methods", method);
    let headers = section.table(reader, "headers", "site.route.match.headers");
    let query = section.table(reader, "query", "site.route.match.query");
    let line = section.line();
    let keys = ["path", "path_prefix", "methods", "headers", "query"];
    if !keys.into_iter().any(|key| section.contains(key)) {
        let hint = "write path_prefix = \"/\" for every request";
        reader.report(line, "site.route.match", "must not be empty", hint);
    }
    if section.contains("path") && section.contains("path_prefix") {
        let what = "a path is either given whole or by its prefix";
        reader.report(line, "site.route.match", what, "remove path or path_prefix");
    }
    section.finish(reader);
    let mut headers = headers
        .map(|headers| headers.texts(reader, COMPARED))
        .unwrap_or_default();
    for (name, value) in &mut headers {
        name.value.make_ascii_lowercase();
        check_header(reader, name, value);
    }
    let query = query
        .map(|query| query.texts(reader, COMPARED))
        .unwrap_or_default();
    for (name, value) in headers.iter().chain(&query) {
        if name.value.len() + value.len() > ROUTE_TEXT_BYTES_MAX {
            let what = format!("at most {ROUTE_TEXT_BYTES_MAX} bytes");
            let hint = "compare a shorter value";
            reader.report(Some(name.line), "site.route.match", what, hint);
        }
    }
    let mut methods = plain(methods);
    methods.sort_unstable();
    methods.dedup();
    if methods.len() > METHODS_PER_ROUTE_MAX {
        let what = format!("at most {METHODS_PER_ROUTE_MAX} (was {})", methods.len());
        let hint = "make it several routes, or leave `methods` out for all of them";
        reader.report(line, "site.route.match.methods", what, hint);
    }
    Match {
        path: path.map(|located| located.value),
        path_prefix: path_prefix.map(|located| located.value),
        methods,
        headers: by_name(headers),
        query: by_name(query),
    }
}

fn by_name(texts: Vec<(Located<String>, String)>) -> Vec<(String, String)> {
    let texts = texts.into_iter().map(|(name, text)| (name.value, text));
    let mut texts: Vec<(String, String)> = texts.collect();
    texts.sort_unstable();
    texts
}

/// A header that can be compared: one that a backend gets as the client sent it.
fn check_header(reader: &mut Reader<'_>, name: &Located<String>, value: &str) {
    let key = format!("site.route.match.headers.{}", name.value);
    let line = Some(name.line);
    if !fields::is_token(&name.value) {
        let what = "this is not the name of a field";
        return reader.report(line, &key, what, "write letters, digits, - and _");
    }
    match fields::kind(&name.value) {
        FieldKind::Free => {}
        FieldKind::Host => {
            let hint = "make it a [[site]] with this hostname";
            reader.report(line, &key, "a route can not ask for a host", hint);
        }
        FieldKind::Reserved | FieldKind::Lookalike => {
            let what = "no backend gets this as the client sent it";
            reader.report(line, &key, what, "compare another field");
        }
    }
    if !fields::is_value(value) {
        let what = format!("{value:?} can not stand in a field");
        reader.report(line, &key, what, "write printable ASCII");
    }
}

/// A path in the form that paths have when they are compared.
fn path_of(slashes: EncodedSlashes) -> impl Fn(&DeValue<'_>) -> Result<String, Malformed> {
    move |value| {
        let path = values::text(value)?;
        let is_path_byte = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
        if !path.starts_with('/') || !path.bytes().all(is_path_byte) {
            let hint = "write it like \"/api/\", percent-encoded and without a query";
            return Err(malformed(format!("{path:?} is not a path"), hint));
        }
        if path.len() > ROUTE_TEXT_BYTES_MAX {
            let what = format!("at most {ROUTE_TEXT_BYTES_MAX} bytes (was {})", path.len());
            return Err(malformed(what, "write a shorter path"));
        }
        if path.contains(';') {
            let what = format!("{path:?} has parameters, which are passed over");
            return Err(malformed(what, "leave out what begins with ;"));
        }
        let mut room = Vec::new();
        match normal_form(path.as_bytes(), slashes, &mut room) {
            Ok(form) if form == path.as_bytes() => Ok(path),
            Ok(form) => {
                let hint = format!("write {:?}", String::from_utf8_lossy(form));
                let what = format!("{path:?} is not in the form in which paths are compared");
                Err(malformed(what, hint))
            }
            Err(fault) => {
                let hint = match fault {
                    PathFault::EncodedSlash => "write encoded_slashes = true in the [[site]]",
                    _ => "no request with such a path comes this far",
                };
                Err(malformed(format!("{path:?} has {fault}"), hint))
            }
        }
    }
}

fn method(value: &DeValue<'_>) -> Result<String, Malformed> {
    let method = token(value)?;
    if method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        let hint = format!("write {:?}", method.to_ascii_uppercase());
        return Err(malformed(
            format!("{method:?} is not a method: case matters"),
            hint,
        ));
    }
    Ok(method)
}

fn read_redirect(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Redirect> {
    let to = section.require(reader, "to", location, "to = \"https://www.example.com/\"");
    let status = section.take_or(reader, "status", redirect_status, (302, "302"));
    let keep_path = section.take_or(reader, "keep_path", values::flag, (false, "false"));
    section.finish(reader);
    let to = to?;
    if keep_path && to.value.contains(['?', '#']) {
        let what = format!("{:?} leaves no place for the path that is kept", to.value);
        let hint = "end it with a path, or remove keep_path";
        reader.report(Some(to.line), "site.route.redirect.to", what, hint);
    }
    Some(Redirect {
        to: to.value,
        status,
        keep_path,
    })
}

fn location(value: &DeValue<'_>) -> Result<String, Malformed> {
    let text = values::text(value)?;
    let authority = ["http://", "https://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme));
    let known = match authority {
        Some(rest) => rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '['),
        // Browsers take // and /\ at the start for another host.
        None => text.starts_with('/') && !text.starts_with("//"),
    };
    let fits = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if known && fits && text.len() <= ROUTE_TEXT_BYTES_MAX {
        return Ok(text);
    }
    let hint = "write a path or a URL of http or https, percent-encoded";
    Err(malformed(
        format!("{text:?} can not be redirected to"),
        hint,
    ))
}

fn redirect_status(value: &DeValue<'_>) -> Result<u16, Malformed> {
    let status = values::integer(0u16, u16::MAX)(value).ok();
    status
        .filter(|status| REDIRECT_STATUSES.contains(status))
        .ok_or_else(|| {
            let what = format!(
                "must be 301, 302, 303, 307 or 308 (was {})",
                values::shown(value)
            );
            malformed(what, "")
        })
}

fn read_respond(reader: &mut Reader<'_>, mut section: Section<'_>) -> Respond {
    let line = section.line();
    let status = section.take_or(reader, "status", values::integer(200, 599), (200, "200"));
    let body = section.take_or(reader, "body", respond_body, (String::new(), "none"));
    let plain_text = String::from("text/plain; charset=utf-8");
    let shown = "\"text/plain; charset=utf-8\"";
    let content_type = section.take_or(reader, "content_type", field_value, (plain_text, shown));
    section.finish(reader);
    if WITHOUT_CONTENT.contains(&status) && !body.is_empty() {
        let what = format!("an answer with status {status} has no body");
        reader.report(line, "site.route.respond.body", what, "remove it");
    }
    Respond {
        status,
        body,
        content_type,
    }
}

fn respond_body(value: &DeValue<'_>) -> Result<String, Malformed> {
    let body = values::text_or_empty(value)?;
    if body.len() <= RESPOND_BODY_BYTES_MAX {
        return Ok(body);
    }
    let what = format!(
        "at most {RESPOND_BODY_BYTES_MAX} bytes (was {})",
        body.len()
    );
    Err(malformed(what, "serve it from a backend"))
}

/// What may stand in a field without changing where it ends.
fn field_value(value: &DeValue<'_>) -> Result<String, Malformed> {
    let text = values::text(value)?;
    if fields::is_value(&text) && text.len() <= ROUTE_TEXT_BYTES_MAX {
        return Ok(text);
    }
    Err(malformed(
        format!("{text:?} can not stand in a field"),
        "write printable ASCII",
    ))
}
