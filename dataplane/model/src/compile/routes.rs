//! Routes and changes of fields, from what is desired to bytes that are ready to use.
//!
//! The manifest's grammar has checked what a person wrote. What comes from a log is checked again
//! where it could do harm: a line end in a field, a pool that is not there.

use std::sync::Arc;

use super::site::Compiler;
use crate::desired::{self, FieldRules};
use crate::fields::{self, FieldKind};
use crate::path::EncodedSlashes;
use crate::snapshot::{
    Answer, Base, FieldChange, Forward, HostField, Location, Match, Outcome, Pair, PathMatch,
    PathReading, Rewrite, Route,
};

/// What the routes of a site are compiled to.
pub(super) struct Routes {
    pub(super) paths: PathReading,
    pub(super) routes: Box<[Route]>,
    pub(super) forwards: Arc<[Forward]>,
}

/// The field that `site.hsts` says, and nobody else then.
const HSTS: &str = "strict-transport-security";

/// The forwards of a site that has nothing of its own to say: all go to the default pool. The
/// second is for sites that say how they are asked for by HTTPS.
pub(super) fn plain_forwards() -> [Arc<[Forward]>; 2] {
    let none = FieldRules::default();
    let plain = forward(0, None, [&none, &none], [&none, &none]);
    let mut strict = [plain.clone()];
    drop_hsts(&mut strict);
    [Arc::from([plain]), Arc::from(strict)]
}

/// What backends say of it passes no more, by HTTP neither (RFC 6797 §7.2).
fn drop_hsts(forwards: &mut [Forward]) {
    for forward in forwards {
        let dropped = &mut forward.response_fields.dropped;
        let mut names = std::mem::take(dropped).into_vec();
        names.push(HSTS.as_bytes().into());
        names.sort_unstable();
        names.dedup();
        *dropped = names.into();
    }
}

impl Compiler<'_> {
    pub(super) fn routes(&mut self, site: &desired::Site) -> Routes {
        let (requests, responses) = (&site.request_headers, &site.response_headers);
        for rules in [requests, responses] {
            self.check_fields(site, rules);
        }
        let [plain, strict] = &self.context.plain_forwards;
        let plain = if site.hsts.is_some() { strict } else { plain };
        if site.routes.is_empty() && requests.is_empty() && responses.is_empty() {
            return Routes {
                paths: PathReading::AsReceived,
                routes: Box::default(),
                forwards: Arc::clone(plain),
            };
        }
        let none = FieldRules::default();
        let mut forwards = vec![forward(0, None, [requests, &none], [responses, &none])];
        let routes = site.routes.iter();
        let routes = routes.filter_map(|route| self.route(site, route, &mut forwards));
        let routes: Box<[Route]> = routes.collect();
        if site.hsts.is_some() {
            self.check_hsts_alone(site);
            drop_hsts(&mut forwards);
        }
        Routes {
            paths: path_reading(site),
            routes,
            forwards: forwards.into(),
        }
    }

    fn route(
        &mut self,
        site: &desired::Site,
        route: &desired::Route,
        forwards: &mut Vec<Forward>,
    ) -> Option<Route> {
        let desired::Route {
            matching,
            outcome,
            rewrite_prefix,
            request_headers,
            response_headers,
        } = route;
        for rules in [request_headers, response_headers] {
            self.check_fields(site, rules);
        }
        let responses = [&site.response_headers, response_headers];
        let outcome = match outcome {
            desired::Outcome::Pool(pool) => {
                let Some(place) = site.pools.iter().position(|it| it.name == *pool) else {
                    let what = format!("there is no pool {pool}");
                    self.report(site, "site.route.pool", what);
                    return None;
                };
                let requests = [&site.request_headers, request_headers];
                let rewrite = rewrite_prefix.as_deref();
                let is_path = |text: &str| text.starts_with('/') && !text.contains(' ');
                if let Some(text) = rewrite.filter(|it| !is_path(it) || !fields::is_value(it)) {
                    let what = format!("{text:?} is not a path");
                    self.report(site, "site.route.rewrite_prefix", what);
                }
                let new = forward(place, rewrite, requests, responses);
                // Routes to the same pool mostly go the same way.
                let known = forwards.iter().position(|it| *it == new);
                let place = known.unwrap_or(forwards.len());
                if known.is_none() {
                    forwards.push(new);
                }
                Outcome::Forward(place)
            }
            desired::Outcome::Redirect(redirect) => {
                self.check_line(site, "site.route.redirect.to", &redirect.to);
                self.check_status(site, redirect.status);
                Outcome::Answer(redirect_answer(redirect, responses))
            }
            desired::Outcome::Respond(respond) => {
                let key = "site.route.respond.content_type";
                self.check_line(site, key, &respond.content_type);
                self.check_status(site, respond.status);
                Outcome::Answer(respond_answer(respond, responses))
            }
        };
        Some(Route {
            matching: compile_match(matching),
            outcome,
        })
    }

    fn check_fields(&mut self, site: &desired::Site, rules: &FieldRules) {
        for (name, value) in rules.set.iter().chain(&rules.add) {
            self.check_line(site, name, value);
            let may_be_set = match fields::kind(name) {
                FieldKind::Free | FieldKind::Host => fields::is_token(name),
                FieldKind::Reserved | FieldKind::Lookalike => false,
            };
            if !may_be_set {
                self.report(site, name, String::from("can not be set"));
            }
        }
    }

    /// What a site says by `hsts` it must not say otherwise, too.
    fn check_hsts_alone(&mut self, site: &desired::Site) {
        let routes = site.routes.iter().map(|route| &route.response_headers);
        let site_rules: &FieldRules = &site.response_headers;
        let mut said = (routes.chain([site_rules])).flat_map(|it| it.set.iter().chain(&it.add));
        if said.any(|(name, _)| name.eq_ignore_ascii_case(HSTS)) {
            let what = format!("{HSTS} is said by site.hsts already");
            self.report(site, "site.response_headers", what);
        }
    }

    /// Interim responses are not for a route to give.
    fn check_status(&mut self, site: &desired::Site, status: u16) {
        if !(200..=599).contains(&status) {
            let what = format!("{status} is not the status of an answer");
            self.report(site, "site.route", what);
        }
    }

    /// What would end a line of a head is refused.
    fn check_line(&mut self, site: &desired::Site, key: &str, text: &str) {
        if !fields::is_value(text) {
            let what = format!("{text:?} can not stand in a field");
            self.report(site, key, what);
        }
    }
}

/// Paths matter where a route looks at one, or takes a part of one for something else.
fn path_reading(site: &desired::Site) -> PathReading {
    let looks = site.routes.iter().any(|route| {
        let keeps = match &route.outcome {
            desired::Outcome::Redirect(redirect) => redirect.keep_path,
            desired::Outcome::Pool(_) | desired::Outcome::Respond(_) => false,
        };
        keeps || route.rewrite_prefix.is_some() || path_match(&route.matching) != PathMatch::Any
    });
    match (looks, site.encoded_slashes) {
        (false, _) => PathReading::AsReceived,
        (true, false) => PathReading::Normal(EncodedSlashes::Refused),
        (true, true) => PathReading::Normal(EncodedSlashes::Passed),
    }
}

fn compile_match(matching: &desired::Match) -> Match {
    let desired::Match {
        path: _,
        path_prefix: _,
        methods,
        headers,
        query,
    } = matching;
    let pairs = |texts: &[(String, String)]| {
        let pairs = texts.iter().map(|(name, value)| Pair {
            name: name.as_bytes().into(),
            value: value.as_bytes().into(),
        });
        pairs.collect()
    };
    Match {
        path: path_match(matching),
        methods: methods
            .iter()
            .map(|method| method.as_str().into())
            .collect(),
        headers: pairs(headers),
        query: pairs(query),
    }
}

fn path_match(matching: &desired::Match) -> PathMatch {
    match (&matching.path, matching.path_prefix.as_deref()) {
        (Some(path), _) => PathMatch::At(path.as_bytes().into()),
        // Every path is below the root.
        (None, None | Some("/")) => PathMatch::Any,
        (None, Some(prefix)) => {
            let stem = prefix.strip_suffix('/').unwrap_or(prefix);
            PathMatch::Below(stem.as_bytes().into())
        }
    }
}

/// A way to a pool. Of fields the site's own come first, then the route's.
fn forward(
    pool: usize,
    rewrite: Option<&str>,
    requests: [&FieldRules; 2],
    responses: [&FieldRules; 2],
) -> Forward {
    let is_host = |name: &str| name.eq_ignore_ascii_case("host");
    let hosts = requests.iter().rev().flat_map(|rules| &rules.set);
    let host = hosts.clone().find(|(name, _)| is_host(name));
    Forward {
        pool,
        rewrite: match rewrite {
            None => Rewrite::Kept,
            Some(prefix) => Rewrite::Prefix(base(prefix)),
        },
        host: match host {
            None => HostField::Asked,
            Some((_, value)) => HostField::Fixed(value.as_bytes().into()),
        },
        // Host has a place of its own.
        request_fields: field_change(requests, is_host),
        response_fields: field_change(responses, |_| false),
    }
}

/// Both tables as one change; what the second says of a name stands in place of what the first
/// sets, adds or removes of it, unless it only adds.
fn field_change(tables: [&FieldRules; 2], is_left_out: impl Fn(&str) -> bool) -> FieldChange {
    let [site, route] = tables;
    let overridden = |name: &str| {
        let set = route.set.iter().map(|(name, _)| name);
        let mut names = set.chain(&route.remove);
        names.any(|it| it.eq_ignore_ascii_case(name))
    };
    let of_site = site.set.iter().chain(&site.add);
    let of_site = of_site.filter(|(name, _)| !overridden(name));
    let lines = of_site.chain(&route.set).chain(&route.add);
    let mut added = Vec::new();
    for (name, value) in lines.filter(|(name, _)| !is_left_out(name)) {
        push_line(&mut added, name, value);
    }
    let set = tables.into_iter().flat_map(|rules| &rules.set);
    let removed = tables.into_iter().flat_map(|rules| &rules.remove);
    let names = set.map(|(name, _)| name).chain(removed);
    let names = names.filter(|name| !is_left_out(name));
    let mut dropped: Vec<Box<[u8]>> = names
        .map(|name| name.to_ascii_lowercase().into_bytes().into())
        .collect();
    dropped.sort_unstable();
    dropped.dedup();
    FieldChange {
        dropped: dropped.into(),
        added: added.into(),
    }
}

/// A redirect has no body: who follows it does not read one.
fn redirect_answer(redirect: &desired::Redirect, tables: [&FieldRules; 2]) -> Answer {
    let desired::Redirect {
        to,
        status,
        keep_path,
    } = redirect;
    let change = field_change(tables, |name| name.eq_ignore_ascii_case("location"));
    Answer {
        status: *status,
        location: match keep_path {
            true => Location::Kept(base(to)),
            false => Location::Fixed(to.as_bytes().into()),
        },
        fields: change.added,
        body: Box::default(),
    }
}

fn respond_answer(respond: &desired::Respond, tables: [&FieldRules; 2]) -> Answer {
    let desired::Respond {
        status,
        body,
        content_type,
    } = respond;
    let change = field_change(tables, |_| false);
    let mut fields = Vec::new();
    if !body.is_empty() && !change.drops(b"content-type") {
        push_line(&mut fields, "Content-Type", content_type);
    }
    fields.extend_from_slice(&change.added);
    Answer {
        status: *status,
        location: Location::Absent,
        fields: fields.into(),
        body: body.as_bytes().into(),
    }
}

fn base(whole: &str) -> Base {
    let stem = whole.strip_suffix('/').unwrap_or(whole);
    Base {
        whole: whole.as_bytes().into(),
        stem: stem.as_bytes().into(),
    }
}

fn push_line(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}
