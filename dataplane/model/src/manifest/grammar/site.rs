//! `[[site]]`, without its pools and routes.

use std::time::Duration;

use toml::de::DeValue;

use super::fields::{SITE_REQUEST, SITE_RESPONSE, bytes_of, read_fields};
use super::limits::read_limits;
use super::pool::{read_backend, read_pool};
use super::route::read_route;
use super::timeouts::read_timeouts;
use super::{plain, read_each};
use crate::desired::{
    AccessLog, ClientCertificates, ClientVerification, FieldRules, Hsts, RetryBudget, Steering,
};
use crate::limits::{
    FIELD_CHANGE_BYTES_PER_SITE_MAX, HOSTNAMES_PER_SITE_MAX, HSTS_MAX_AGE_S_MAX,
    POOLS_PER_SITE_MAX, RESPOND_BODY_BYTES_PER_SITE_MAX, RETRY_PERCENT_DEFAULT,
    ROUTE_CONDITIONS_PER_SITE_MAX, ROUTES_PER_SITE_MAX, SITE_NETWORKS_MAX,
};
use crate::manifest::reader::{Located, Reader, Section};
use crate::manifest::values;
use crate::manifest::written::{Outcome, Route, Site};
use crate::name::Malformed;
use crate::path::EncodedSlashes;
use crate::snapshot::TlsVersion;

const STEERING: &[(&str, Steering)] = &[("all", Steering::All), ("geo", Steering::Geo)];

const VERIFICATIONS: &[(&str, ClientVerification)] = &[
    ("required", ClientVerification::Required),
    ("optional", ClientVerification::Optional),
];

const TLS_VERSIONS: &[(&str, TlsVersion)] = &[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];

pub(super) fn read_site(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Site> {
    let tenant = section.require(reader, "tenant", values::name, "tenant = \"acme\"");
    let name = section.require(reader, "name", values::name, "name = \"shop\"");
    let hostnames = section.list(reader, "hostnames", values::hostname);
    let suspended = section.take_or(reader, "suspended", values::flag, (false, "false"));
    let has_certificates = section.contains("certificates");
    let certificates = section.list(reader, "certificates", values::name);
    let minimum_tls = values::word(TLS_VERSIONS);
    let minimum_tls_default = (TlsVersion::V1_2, "\"1.2\"");
    let minimum_tls = section.take_or(reader, "minimum_tls", minimum_tls, minimum_tls_default);
    let clients = section.table(reader, "client_certificates", "site.client_certificates");
    let redirect = section.take_or(reader, "redirect_to_https", values::flag, (false, "false"));
    let hsts = section.table(reader, "hsts", "site.hsts");
    let steering = values::word(STEERING);
    let steering = section.take_or(reader, "steering", steering, (Steering::All, "\"all\""));
    let timeouts = section.table(reader, "timeouts", "site.timeouts");
    let limits = section.table(reader, "limits", "site.limits");
    let trusted_networks = section.list(reader, "trusted_networks", values::network);
    let deny_networks = section.list(reader, "deny_networks", values::network);
    let access_log = section.table(reader, "access_log", "site.access_log");
    let retry = section.table(reader, "retry", "site.retry");
    let pools = section.table_or_tables(reader, "pool", "site.pool");
    let backends = section.tables(reader, "backend", "site.backend");
    let encoded_slashes = (false, "false");
    let encoded_slashes = section.take_or(reader, "encoded_slashes", values::flag, encoded_slashes);
    let request_headers = read_fields(reader, &mut section, "request_headers", &SITE_REQUEST);
    let response_headers = read_fields(reader, &mut section, "response_headers", &SITE_RESPONSE);
    let routes = section.tables(reader, "route", "site.route");
    if !section.contains("hostnames") {
        section.report_missing(reader, "hostnames", "hostnames = [\"shop.example.com\"]");
    }
    let (split, join) = ("split the site", "join neighbours into larger networks");
    let counts = [
        (
            "site.hostnames",
            hostnames.as_ref().map_or(0, Vec::len),
            HOSTNAMES_PER_SITE_MAX,
            split,
        ),
        ("site.pool", pools.len(), POOLS_PER_SITE_MAX, split),
        ("site.route", routes.len(), ROUTES_PER_SITE_MAX, split),
        (
            "site.trusted_networks",
            trusted_networks.as_ref().map_or(0, Vec::len),
            SITE_NETWORKS_MAX,
            join,
        ),
        (
            "site.deny_networks",
            deny_networks.as_ref().map_or(0, Vec::len),
            SITE_NETWORKS_MAX,
            join,
        ),
    ];
    for (key, count, count_max, hint) in counts {
        if count > count_max {
            let what = format!("at most {count_max} (was {count})");
            reader.report(section.line(), key, what, hint);
        }
    }
    let line = section.line();
    section.finish(reader);
    let is_secure = certificates.as_ref().is_none_or(|list| !list.is_empty()) && has_certificates;
    for (key, is_set) in [
        ("site.redirect_to_https", redirect),
        ("site.hsts", hsts.is_some()),
    ] {
        if is_set && !is_secure {
            let hint = "give the site its certificates, or remove the key";
            reader.report(line, key, "the site has no certificates", hint);
        }
    }
    // All of it is read, whatever is wrong with the site itself, to report all of it.
    let clients = clients.and_then(|section| read_client_certificates(reader, section));
    let hsts = hsts.and_then(|section| read_hsts(reader, section));
    let timeouts = read_timeouts(reader, timeouts, "site.timeouts.body");
    let limits = limits.map(|section| read_limits(reader, section));
    let access_log = access_log.map(|section| read_access_log(reader, section));
    let retry = retry.map(|section| read_retry(reader, section));
    let pools = read_each(reader, pools, read_pool);
    let backends = read_each(reader, backends, read_backend);
    let slashes = match encoded_slashes {
        true => EncodedSlashes::Passed,
        false => EncodedSlashes::Refused,
    };
    let routes = routes.into_iter();
    let routes = routes.filter_map(|section| read_route(reader, section, slashes));
    let routes: Vec<Route> = routes.collect();
    check_sums(reader, line, &routes);
    if hsts.is_some() {
        check_hsts_alone(reader, line, &response_headers, &routes);
    }
    Some(Site {
        tenant,
        name,
        hostnames: hostnames.unwrap_or_default(),
        suspended,
        certificates: certificates.unwrap_or_default(),
        minimum_tls,
        client_certificates: clients,
        redirect_to_https: redirect,
        hsts,
        steering,
        timeouts: timeouts.into(),
        limits: limits.unwrap_or_default().into(),
        trusted_networks: plain(trusted_networks),
        deny_networks: plain(deny_networks),
        access_log,
        retry,
        pools,
        backends,
        encoded_slashes,
        request_headers: request_headers.into(),
        response_headers: response_headers.into(),
        routes,
    })
}

/// What all routes of a site take together.
fn check_sums(reader: &mut Reader<'_>, line: Option<u32>, routes: &[Route]) {
    let sum = |of: fn(&Route) -> usize| routes.iter().map(of).sum::<usize>();
    let conditions = sum(|route| route.matching.headers.len() + route.matching.query.len());
    let fields = sum(|route| bytes_of(&route.request_headers) + bytes_of(&route.response_headers));
    let bodies = sum(|route| match &route.outcome {
        Outcome::Respond(respond) => respond.body.len(),
        Outcome::Pool(_) | Outcome::Redirect(_) => 0,
    });
    for (sum, sum_max, what) in [
        (
            conditions,
            ROUTE_CONDITIONS_PER_SITE_MAX,
            "headers and parameters are compared by all routes",
        ),
        (
            fields,
            FIELD_CHANGE_BYTES_PER_SITE_MAX,
            "bytes of fields are set and added by all routes",
        ),
        (
            bodies,
            RESPOND_BODY_BYTES_PER_SITE_MAX,
            "bytes of bodies are in all routes",
        ),
    ] {
        if sum > sum_max {
            let what = format!("{sum} {what}, and {sum_max} may be");
            reader.report(line, "site.route", what, "make it several sites");
        }
    }
}

fn read_client_certificates(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
) -> Option<Located<ClientCertificates>> {
    let example = "authorities = \"clients.pem\"";
    let authorities = section.require(reader, "authorities", values::text, example);
    let default = (ClientVerification::Required, "\"required\"");
    let verify = section.take_or(reader, "verify", values::word(VERIFICATIONS), default);
    let line = section.line().unwrap_or(1);
    section.finish(reader);
    let value = ClientCertificates {
        verify,
        authorities: authorities?.value,
    };
    Some(Located { value, line })
}

/// What `hsts` says is said nowhere else.
fn check_hsts_alone(
    reader: &mut Reader<'_>,
    line: Option<u32>,
    of_site: &FieldRules,
    routes: &[Route],
) {
    let of_routes = routes.iter().map(|route| &route.response_headers);
    let mut all = of_routes
        .chain([of_site])
        .flat_map(|it| it.set.iter().chain(&it.add));
    if all.any(|(name, _)| name.eq_ignore_ascii_case("strict-transport-security")) {
        let what = "response_headers say Strict-Transport-Security, too";
        reader.report(line, "site.hsts", what, "say it here alone, or there alone");
    }
}

/// In seconds, as the field has it (RFC 6797 §6.1.1). None of them has browsers forget it.
fn max_age(value: &DeValue<'_>) -> Result<Duration, Malformed> {
    let duration = values::duration(0, HSTS_MAX_AGE_S_MAX * 1000)(value)?;
    match duration.subsec_nanos() {
        0 => Ok(duration),
        _ => Err(Malformed {
            what: String::from("must be of whole seconds"),
            hint: String::from("write it like \"365d\""),
        }),
    }
}

fn read_hsts(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Hsts> {
    let max_age = section.require(reader, "max_age", max_age, "max_age = \"365d\"");
    let below = section.take_or(reader, "include_subdomains", values::flag, (false, "false"));
    section.finish(reader);
    Some(Hsts {
        max_age: max_age?.value,
        include_subdomains: below,
    })
}

fn read_access_log(reader: &mut Reader<'_>, mut section: Section<'_>) -> AccessLog {
    // One in a million is as good as none, and none is said by leaving the table out.
    let sample = values::number(0.000_001, 1.0);
    let sample = section.take_or(reader, "sample", sample, (1.0, "1"));
    section.finish(reader);
    AccessLog { sample }
}

fn read_retry(reader: &mut Reader<'_>, mut section: Section<'_>) -> RetryBudget {
    let default = (RETRY_PERCENT_DEFAULT, "20");
    let percent = section.take_or(reader, "percent", values::integer(1, 100), default);
    section.finish(reader);
    RetryBudget { percent }
}
