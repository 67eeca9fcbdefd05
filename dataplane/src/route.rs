//! Which of a site's routes a request takes.
//!
//! A request's path is brought into one form, the routes compare that, and the backend gets that:
//! what is decided upon is what is served ([`meridian_model::path`]).

use crate::http::forward::{TargetParts, passes_to_backend};
use crate::http::query::has_parameter;
use crate::http::reject::Reject;
use crate::http::request::RequestHead;
use meridian_model::path::{below, is_at, normal_form};
use meridian_model::snapshot::{
    Answer, Base, Location, Match, Outcome, Pair, PathMatch, PathReading, Rewrite, Site,
};

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Routed<'r> {
    /// It goes to a backend, in the way of this place in the site's forwards. What the backend is
    /// asked for, where that may be other than what we were asked for.
    Forward(usize, Option<TargetParts<'r>>),
    /// It is answered here; with what stands in Location.
    Answer(&'r Answer, Option<TargetParts<'r>>),
}

/// Takes a request through the routes of its site. `trusted` is whether the site believes what the
/// client says of others; `room` is for a path that was not in its form.
///
/// # Errors
///
/// [`Reject::Path`] for a path that could be read as another one, where routes look at paths.
#[inline]
pub(crate) fn route<'r>(
    site: &'r Site,
    head: &'r RequestHead<'_>,
    trusted: bool,
    room: &'r mut Vec<u8>,
) -> Result<Routed<'r>, Reject> {
    if site.routes.is_empty() {
        return Ok(Routed::Forward(0, None));
    }
    try_routes(site, head, trusted, room)
}

fn try_routes<'r>(
    site: &'r Site,
    head: &'r RequestHead<'_>,
    trusted: bool,
    room: &'r mut Vec<u8>,
) -> Result<Routed<'r>, Reject> {
    let received = head.target.path();
    let path = match site.paths {
        PathReading::AsReceived => received,
        PathReading::Normal(slashes) => {
            normal_form(received, slashes, room).map_err(|_| Reject::Path)?
        }
    };
    let query = head.target.query();
    let as_asked = TargetParts {
        base: b"",
        rest: path,
        query,
    };
    for route in &site.routes {
        let Some(rest) = match_rest(&route.matching, head, trusted, path, query) else {
            continue;
        };
        return Ok(match &route.outcome {
            Outcome::Forward(place) => {
                let asked = match &site.forwards[*place].rewrite {
                    Rewrite::Kept => as_asked,
                    Rewrite::Prefix(base) => joined(base, rest, query),
                };
                Routed::Forward(*place, Some(asked))
            }
            Outcome::Answer(answer) => {
                let location = match &answer.location {
                    Location::Absent => None,
                    Location::Fixed(to) => Some(TargetParts {
                        base: to,
                        rest: b"",
                        query: b"",
                    }),
                    Location::Kept(base) => Some(joined(base, rest, query)),
                };
                Routed::Answer(answer, location)
            }
        });
    }
    Ok(Routed::Forward(0, Some(as_asked)))
}

fn joined<'r>(base: &'r Base, rest: &'r [u8], query: &'r [u8]) -> TargetParts<'r> {
    TargetParts {
        base: match rest {
            [] => &base.whole,
            _ => &base.stem,
        },
        rest,
        query,
    }
}

/// What is left of the path behind what was matched, when all of `matching` holds: nothing, or
/// what begins with a slash.
fn match_rest<'p>(
    matching: &Match,
    head: &RequestHead<'_>,
    trusted: bool,
    path: &'p [u8],
    query: &[u8],
) -> Option<&'p [u8]> {
    let Match {
        path: wanted,
        methods,
        headers,
        query: parameters,
    } = matching;
    let of_methods = methods.is_empty() || methods.iter().any(|it| **it == *head.method_text);
    if !of_methods {
        return None;
    }
    let rest = match wanted {
        PathMatch::Any => path,
        PathMatch::At(wanted) => is_at(path, wanted).then_some(&b""[..])?,
        PathMatch::Below(prefix) => below(path, prefix)?,
    };
    let holds = headers
        .iter()
        .all(|header| has_field(head, trusted, header))
        && parameters
            .iter()
            .all(|it| has_parameter(query, &it.name, &it.value));
    holds.then_some(rest)
}

/// Whether a field of this name and value goes on to a backend.
fn has_field(head: &RequestHead<'_>, trusted: bool, wanted: &Pair) -> bool {
    let mut fields = head.fields().iter();
    let found = fields.find(|field| {
        field.name_text.eq_ignore_ascii_case(&wanted.name)
            && *field.value == *wanted.value
            && passes_to_backend(field.name, trusted)
    });
    // Whoever names it away names all of its lines: Connection is read once, not for each.
    found.is_some_and(|field| !head.names_away(field))
}

#[cfg(test)]
#[path = "route/tests.rs"]
mod tests;
