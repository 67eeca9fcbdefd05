//! Routes against a reference that is written for reading: strings, splitting, one rule a line.

use super::*;
use crate::http::request::{self, Parsed};
use meridian_model::{Manifest, compile};
use proptest::prelude::*;
use std::sync::Arc;

/// A route of the reference.
#[derive(Clone, Debug, Default)]
struct Written {
    path: Option<String>,
    path_prefix: Option<String>,
    methods: Vec<String>,
    header: Option<(String, String)>,
    query: Option<(String, String)>,
}

/// A request as it is written.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    named_away: Option<String>,
}

impl Written {
    fn toml(&self, pool: usize) -> String {
        let mut parts = Vec::new();
        if let Some(path) = &self.path {
            parts.push(format!("path = {path:?}"));
        }
        if let Some(prefix) = &self.path_prefix {
            parts.push(format!("path_prefix = {prefix:?}"));
        }
        if !self.methods.is_empty() || parts.is_empty() {
            parts.push(format!("methods = {:?}", self.methods));
        }
        if let Some((name, value)) = &self.header {
            parts.push(format!("headers = {{ {name} = {value:?} }}"));
        }
        if let Some((name, value)) = &self.query {
            parts.push(format!("query = {{ {name} = {value:?} }}"));
        }
        format!(
            "{{ match = {{ {} }}, pool = \"p{pool}\" }}",
            parts.join(", ")
        )
    }

    fn matches(&self, asked: &Asked) -> bool {
        let segments = |path: &str| -> Vec<String> {
            let path = path.trim_start_matches('/');
            path.split('/').map(str::to_owned).collect()
        };
        let of_path = self.path.as_ref().is_none_or(|path| *path == asked.path);
        let of_prefix = self.path_prefix.as_ref().is_none_or(|prefix| {
            let prefix = segments(prefix.trim_end_matches('/'));
            prefix == [""] || segments(&asked.path).starts_with(&prefix)
        });
        let of_method = self.methods.is_empty() || self.methods.contains(&asked.method);
        let of_header = self.header.as_ref().is_none_or(|(name, value)| {
            let is_named_away = asked.named_away.as_ref() == Some(name);
            let mut headers = asked.headers.iter();
            !is_named_away && headers.any(|it| it.0 == *name && it.1 == *value)
        });
        let of_query = self.query.as_ref().is_none_or(|(name, value)| {
            asked
                .query
                .split('&')
                .any(|it| it == format!("{name}={value}"))
        });
        of_path && of_prefix && of_method && of_header && of_query
    }
}

impl Asked {
    fn text(&self) -> String {
        let mut text = format!(
            "{} {}?{} HTTP/1.1\r\nHost: shop.test\r\n",
            self.method, self.path, self.query
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{}:  {value} \r\n", name.to_ascii_uppercase()));
        }
        if let Some(name) = &self.named_away {
            text.push_str(&format!("Connection: {name}\r\n"));
        }
        text + "\r\n"
    }
}

/// The site of a manifest that has these keys of `[[site]]`.
fn site(keys: &str) -> Arc<Site> {
    let text = format!(
        "[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n[[tenant]]\nname = \"acme\"\n\
         [[site]]\ntenant = \"acme\"\nname = \"shop\"\nhostnames = [\"shop.test\"]\n{keys}\n"
    );
    let manifest = Manifest::parse(&text, "test").unwrap_or_else(|all| panic!("{all}\n{text}"));
    let (local, mut desired) = manifest.into_parts();
    desired.assign_ids(None);
    let snapshot = compile(&local, &desired, 1).unwrap_or_else(|all| panic!("{all}"));
    Arc::clone(snapshot.hostnames.find(b"shop.test").expect("it is there"))
}

/// What happens, in words: the pool and the target, or the status and the Location.
fn routed(site: &Site, request: &str) -> String {
    routed_from(site, false, request)
}

fn routed_from(site: &Site, trusted: bool, request: &str) -> String {
    let head = match request::parse(request.as_bytes()) {
        Ok(Parsed::Complete(head)) => head,
        other => panic!("{other:?} of {request:?}"),
    };
    let shown = |parts: TargetParts<'_>| {
        let bytes = [parts.base, parts.rest, parts.query].concat();
        String::from_utf8(bytes).expect("text")
    };
    let mut room = Vec::new();
    match route(site, &head, trusted, &mut room) {
        Err(reject) => reject.cause().to_owned(),
        Ok(Routed::Forward(place, target)) => {
            let pool = &site.pools[site.forwards[place].pool].name;
            format!("{pool} {}", target.map_or_else(String::new, shown))
        }
        Ok(Routed::Answer(answer, location)) => {
            let location = location.map_or_else(String::new, shown);
            format!("{} {location}", answer.status)
        }
    }
}

fn get(site: &Site, target: &str) -> String {
    routed(
        site,
        &format!("GET {target} HTTP/1.1\r\nHost: shop.test\r\n\r\n"),
    )
}

fn words(all: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(all).prop_map(str::to_owned)
}

fn pair() -> impl Strategy<Value = (String, String)> {
    (words(&["x-a", "x-b"]), words(&["0", "1"]))
}

fn path() -> impl Strategy<Value = String> {
    words(&[
        "/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/a/bc", "/a/b/c", "/b", "/b/a", "/A",
    ])
}

fn written() -> impl Strategy<Value = Written> {
    let place = prop_oneof![
        Just((None, None)),
        path().prop_map(|path| (Some(path), None)),
        path().prop_map(|path| (None, Some(path))),
    ];
    let methods = prop::collection::vec(words(&["GET", "PUT"]), 0..2);
    let (header, query) = (prop::option::of(pair()), prop::option::of(pair()));
    (place, methods, header, query).prop_map(|((path, path_prefix), methods, header, query)| {
        Written {
            path,
            path_prefix,
            methods,
            header,
            query,
        }
    })
}

fn asked() -> impl Strategy<Value = Asked> {
    let query = prop::collection::vec(pair(), 0..3).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join("&")
    });
    let headers = prop::collection::vec(pair(), 0..3);
    let named_away = prop::option::weighted(0.2, words(&["x-a", "x-b"]));
    (words(&["GET", "PUT"]), path(), query, headers, named_away).prop_map(
        |(method, path, query, headers, named_away)| Asked {
            method,
            path,
            query,
            headers,
            named_away,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_first_route_that_matches_wins(
        routes in prop::collection::vec(written(), 1..6),
        requests in prop::collection::vec(asked(), 1..8),
    ) {
        let pools: Vec<String> = (0..routes.len()).map(|it| format!("{{ name = \"p{it}\" }}")).collect();
        let lines: Vec<String> = routes.iter().enumerate().map(|(it, route)| route.toml(it)).collect();
        let site = site(&format!("pool = [{}]\nroute = [{}]", pools.join(", "), lines.join(", ")));
        for asked in &requests {
            let first = routes.iter().position(|route| route.matches(asked));
            let pool = first.map_or_else(|| "default".to_owned(), |it| format!("p{it}"));
            let expected = format!("{pool} {}?{}", asked.path, asked.query);
            prop_assert_eq!(routed(&site, &asked.text()), expected, "{:?} of {:?}", asked, routes);
        }
    }
}

#[test]
fn a_rest_is_put_behind_what_stands_in_place_of_the_prefix() {
    let site = site(
        "pool = [{ name = \"api\" }]\n\
         route = [\
         { match = { path_prefix = \"/strip/\" }, pool = \"api\", rewrite_prefix = \"/\" },\
         { match = { path_prefix = \"/swap\" }, pool = \"api\", rewrite_prefix = \"/v2/\" },\
         { match = { path_prefix = \"/bare\" }, pool = \"api\", rewrite_prefix = \"/v2\" },\
         { match = { path_prefix = \"/old/\" }, redirect = { to = \"https://new.test/n/\", keep_path = true } },\
         { match = { path_prefix = \"/go\" }, redirect = { to = \"/\", keep_path = true, status = 301 } },\
         { match = { path = \"/one\" }, redirect = { to = \"/two\", keep_path = true } },\
         { match = { path = \"/fixed\" }, redirect = { to = \"/two?x=1\" } },\
         { match = { methods = [\"DELETE\"] }, respond = { status = 403 } },\
         { match = { path_prefix = \"/\", query = { all = \"1\" } }, pool = \"api\", rewrite_prefix = \"/below/\" }]",
    );
    for (target, expected) in [
        ("/strip/a/b?c", "api /a/b?c"),
        ("/strip/", "api /"),
        ("/strip", "api /"),
        ("/strip?q", "api /?q"),
        ("/strip;v=1/a;w", "api /a;w"),
        ("/stripes", "default /stripes"),
        ("/swap/a", "api /v2/a"),
        ("/swap/", "api /v2/"),
        ("/swap", "api /v2/"),
        ("/bare", "api /v2"),
        ("/bare//a", "api /v2/a"),
        ("/old/x?y=z", "302 https://new.test/n/x?y=z"),
        ("/old?y", "302 https://new.test/n/?y"),
        ("/go//evil.example/x", "301 /evil.example/x"),
        ("/go", "301 /"),
        ("/go?//evil.example", "301 /?//evil.example"),
        ("/go/%2e%2e/x", "bad_path"),
        ("/go/\\evil.example", "bad_path"),
        ("/one?q", "302 /two?q"),
        ("/one/", "default /one/"),
        ("/fixed?q", "302 /two?x=1"),
        ("/any?all=1", "api /below/any?all=1"),
        ("/?all=1", "api /below/?all=1"),
        ("http://shop.test?all=1", "api /below/?all=1"),
        ("http://shop.test", "default /"),
    ] {
        assert_eq!(get(&site, target), expected, "{target}");
    }
    let delete = "DELETE /strip/x HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    assert_eq!(
        routed(&site, delete),
        "api /x",
        "the order is that of the file"
    );
    let delete = "DELETE /x HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    assert_eq!(routed(&site, delete), "403 ");
}

#[test]
fn paths_are_left_alone_where_no_route_looks_at_them() {
    let hostile = "/a/..//%2f%2e%zz\\x";
    let plain = site("");
    assert_eq!(get(&plain, hostile), "default ");
    let by_method = site("route = [{ match = { methods = [\"PUT\"] }, respond = {} }]");
    assert_eq!(get(&by_method, hostile), format!("default {hostile}"));
    let for_all = site("route = [{ match = { path_prefix = \"/\" }, redirect = { to = \"/x\" } }]");
    assert_eq!(get(&for_all, hostile), "302 /x");
    let by_path = site("route = [{ match = { path = \"/elsewhere\" }, respond = {} }]");
    assert_eq!(get(&by_path, hostile), "bad_path");
    assert_eq!(get(&by_path, "//%61?//%61"), "default /a?//%61");
    assert_eq!(get(&by_path, "/a%2Fb"), "bad_path");
    let with_slashes = site(
        "encoded_slashes = true\n\
         route = [{ match = { path_prefix = \"/a%2Fb\" }, respond = { status = 403 } }]",
    );
    assert_eq!(get(&with_slashes, "/a%2fb/c"), "403 ");
    assert_eq!(get(&with_slashes, "/a/b/c"), "default /a/b/c");
    assert_eq!(get(&with_slashes, "/a/..%2fb"), "bad_path");
}

/// What a client may only say of others when it is trusted decides nothing when it is not.
#[test]
fn a_field_that_no_backend_gets_holds_for_no_route() {
    let names = [
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "forwarded-for",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-forwarded",
        "x-original-forwarded-for",
    ];
    for name in names {
        let site = site(&format!(
            "route = [{{ match = {{ headers = {{ {name} = \"10.0.0.1\" }} }}, respond = {{ status = 403 }} }}]"
        ));
        let request = format!("GET / HTTP/1.1\r\nHost: shop.test\r\n{name}: 10.0.0.1\r\n\r\n");
        assert_eq!(routed_from(&site, false, &request), "default /", "{name}");
        assert_eq!(routed_from(&site, true, &request), "403 ", "{name}");
    }
}
