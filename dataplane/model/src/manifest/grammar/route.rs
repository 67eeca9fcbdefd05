//! `[[site.route]]`.

use toml::de::DeValue;

use super::plain;
use super::pool::token;
use crate::desired::{Match, Redirect, Respond};
use crate::limits::RESPOND_BODY_BYTES_MAX;
use crate::manifest::reader::{Reader, Section};
use crate::manifest::values::{self, malformed};
use crate::manifest::written::{Outcome, Route};
use crate::name::Malformed;

const REDIRECT_STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

pub(super) fn read_route(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Route> {
    let example = "match = { path_prefix = \"/api/\" }";
    if !section.contains("match") {
        section.report_missing(reader, "match", example);
    }
    let matching = section.table(reader, "match", "site.route.match");
    let matching = matching.map(|section| read_match(reader, section));
    let pool = section.take(reader, "pool", values::name);
    let redirect = section.table(reader, "redirect", "site.route.redirect");
    let redirect = redirect.and_then(|section| read_redirect(reader, section));
    let respond = section.table(reader, "respond", "site.route.respond");
    let respond = respond.map(|section| read_respond(reader, section));
    let outcomes = ["pool", "redirect", "respond"];
    let given = outcomes
        .into_iter()
        .filter(|key| section.contains(key))
        .count();
    if given != 1 {
        let what = format!("needs exactly one of pool, redirect, respond (has {given})");
        let hint = if given == 0 {
            "write pool = \"default\""
        } else {
            "make it several routes"
        };
        reader.report(section.line(), "site.route", what, hint);
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
    })
}

fn read_match(reader: &mut Reader<'_>, mut section: Section<'_>) -> Match {
    let path = section.take(reader, "path", path);
    let path_prefix = section.take(reader, "path_prefix", self::path);
    let methods = section.list(reader, "methods", method);
    let headers = section.table(reader, "headers", "site.route.match.headers");
    let query = section.table(reader, "query", "site.route.match.query");
    let (line, keys) = (
        section.line(),
        ["path", "path_prefix", "methods", "headers", "query"],
    );
    if !keys.into_iter().any(|key| section.contains(key)) {
        let hint = "write path_prefix = \"/\" for every request";
        reader.report(line, "site.route.match", "must not be empty", hint);
    }
    section.finish(reader);
    let mut headers = headers
        .map(|headers| headers.texts(reader))
        .unwrap_or_default();
    headers
        .iter_mut()
        .for_each(|(name, _)| name.value.make_ascii_lowercase());
    let query = query.map(|query| query.texts(reader)).unwrap_or_default();
    let unlocated = |texts: Vec<(crate::manifest::reader::Located<String>, String)>| {
        let mut texts: Vec<(String, String)> = texts
            .into_iter()
            .map(|(name, text)| (name.value, text))
            .collect();
        texts.sort_unstable();
        texts
    };
    let mut methods = plain(methods);
    methods.sort_unstable();
    methods.dedup();
    Match {
        path: path.map(|located| located.value),
        path_prefix: path_prefix.map(|located| located.value),
        methods,
        headers: unlocated(headers),
        query: unlocated(query),
    }
}

fn path(value: &DeValue<'_>) -> Result<String, Malformed> {
    let path = values::text(value)?;
    let fits = path.starts_with('/')
        && path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if fits {
        return Ok(path);
    }
    let hint = "write it like \"/api/\", percent-encoded and without a query";
    Err(malformed(format!("{path:?} is not a path"), hint))
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
    section.finish(reader);
    Some(Redirect {
        to: to?.value,
        status,
    })
}

fn location(value: &DeValue<'_>) -> Result<String, Malformed> {
    let text = values::text(value)?;
    let known = ["/", "http://", "https://"]
        .into_iter()
        .any(|start| text.starts_with(start));
    if known && text.bytes().all(|byte| byte.is_ascii_graphic()) {
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
    let status = section.take_or(reader, "status", values::integer(200, 599), (200, "200"));
    let body = section.take_or(reader, "body", respond_body, (String::new(), "none"));
    let plain_text = String::from("text/plain; charset=utf-8");
    let shown = "\"text/plain; charset=utf-8\"";
    let content_type = section.take_or(reader, "content_type", field_value, (plain_text, shown));
    section.finish(reader);
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
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text {
        return Ok(text);
    }
    Err(malformed(
        format!("{text:?} can not stand in a field"),
        "write printable ASCII",
    ))
}
