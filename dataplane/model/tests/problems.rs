//! Every problem of a file is reported at once, each with its line, key and hint. The
//! words are fixed here, because operators and their scripts read them.

use meridian_model::{Manifest, Problems};

fn problems(text: &str) -> Problems {
    let all = Manifest::parse(text, "ams.toml").expect_err("the file is wrong");
    for problem in &all {
        assert!(!problem.hint.is_empty(), "{problem}: and now?");
    }
    all
}

fn check(text: &str, expected: &str) {
    let said = format!("{}\n", problems(text));
    assert_eq!(said, expected, "it said:\n{said}");
}

#[test]
fn around_the_host() {
    check(
        include_str!("golden/problems/everywhere.toml"),
        include_str!("golden/problems/everywhere.txt"),
    );
}

#[test]
fn in_sites() {
    check(
        include_str!("golden/problems/sites.toml"),
        include_str!("golden/problems/sites.txt"),
    );
}

#[test]
fn in_routes_and_fields() {
    check(
        include_str!("golden/problems/routes.toml"),
        include_str!("golden/problems/routes.txt"),
    );
}

#[test]
fn in_geography() {
    check(
        include_str!("golden/problems/geography.toml"),
        include_str!("golden/problems/geography.txt"),
    );
}

#[test]
fn of_more_groups_than_are_ranked() {
    let groups: Vec<String> = (0..257)
        .map(|it| format!("[[group]]\nname = \"g{it}\"\n"))
        .collect();
    let all = problems(&of_site("").replace("[[tenant]]", &(groups.concat() + "[[tenant]]")));
    let said = all.to_string();
    assert!(
        said.contains("group.name: 257 groups; at most 256 can be"),
        "{said}"
    );
}

/// A manifest whose one site has these further lines.
fn of_site(lines: &str) -> String {
    format!(
        "[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\"]\n[[tenant]]\nname = \"acme\"\n\
         [[site]]\ntenant = \"acme\"\nname = \"shop\"\nhostnames = [\"shop.test\"]\n{lines}\n"
    )
}

/// What all routes of a site take in memory and in time has bounds.
#[test]
fn of_routes_beyond_their_limits() {
    let routes = |count: usize, route: &dyn Fn(usize) -> String| {
        let routes: Vec<String> = (0..count).map(route).collect();
        of_site(&format!("route = [{}]", routes.join(", ")))
    };
    let long = "x".repeat(3000);
    let field = |at: usize| format!("x-{at} = \"1\"");
    let fields: Vec<String> = (0..33).map(field).collect();
    let methods: Vec<String> = (0..33).map(|at| format!("\"M{at}\"")).collect();
    for (text, expected) in [
        (
            routes(1001, &|_| {
                String::from("{ match = { path = \"/\" }, respond = {} }")
            }),
            "site.route: at most 1000 (was 1001)",
        ),
        (
            routes(51, &|_| {
                String::from(
                    "{ match = { headers = { a = \"b\" }, query = { c = \"d\" } }, respond = {} }",
                )
            }),
            "102 headers and parameters are compared by all routes, and 100 may be",
        ),
        (
            routes(17, &|_| {
                let body = "x".repeat(64 * 1024);
                format!("{{ match = {{ path = \"/\" }}, respond = {{ body = {body:?} }} }}")
            }),
            "1114112 bytes of bodies are in all routes, and 1048576 may be",
        ),
        (
            routes(22, &|_| {
                format!(
                    "{{ match = {{ path = \"/\" }}, pool = \"default\", request_headers = {{ set = {{ x-a = {long:?} }} }} }}"
                )
            }),
            "66066 bytes of fields are set and added by all routes, and 65536 may be",
        ),
        (
            of_site(&format!(
                "request_headers = {{ set = {{ x-a = {long:?}, x-b = {long:?} }} }}"
            )),
            "site.request_headers: at most 4096 bytes in all (was 6006)",
        ),
        (
            of_site(&format!(
                "response_headers = {{ add = {{ {} }} }}",
                fields.join(", ")
            )),
            "site.response_headers: at most 32 fields (was 33)",
        ),
        (
            routes(1, &|_| {
                format!("{{ match = {{ path = \"/{long}\" }}, respond = {{}} }}")
            }),
            "site.route.match.path: at most 2048 bytes (was 3001)",
        ),
        (
            routes(1, &|_| {
                format!("{{ match = {{ query = {{ a = {long:?} }} }}, respond = {{}} }}")
            }),
            "site.route.match: at most 2048 bytes",
        ),
        (
            routes(1, &|_| {
                format!(
                    "{{ match = {{ methods = [{}] }}, respond = {{}} }}",
                    methods.join(", ")
                )
            }),
            "site.route.match.methods: at most 32 (was 33)",
        ),
    ] {
        let said = problems(&text).to_string();
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
}

/// A browser keeps one cookie of a name for all paths of a site: two pools would take it from each
/// other, and no visitor would stay anywhere.
#[test]
fn in_two_pools_with_one_cookie() {
    let pools = |second: &str| {
        of_site(&format!(
            "pool = [{{ sticky = {{ cookie = \"a\" }} }}, {{ name = \"api\", sticky = {{ cookie = {second:?} }} }}]"
        ))
    };
    let said = problems(&pools("a")).to_string();
    assert!(
        said.contains("site.pool.sticky.cookie: \"a\" is there twice; the first is on line 11"),
        "{said}"
    );
    assert!(Manifest::parse(&pools("A"), "h.toml").is_ok());
}

#[test]
fn in_an_empty_file() {
    check(
        include_str!("golden/problems/nothing.toml"),
        include_str!("golden/problems/nothing.txt"),
    );
}

#[test]
fn of_lists_without_a_listener() {
    check(
        "[host]\nname = \"ams-1\"\n[listen]\nhttp = []\ndns = []\n",
        "ams.toml:3: listen: one listener is required; \
         write [listen] and http = [\"0.0.0.0:80\", \"[::]:80\"]\n",
    );
}

/// Who wrote a listener wrong has written one.
#[test]
fn of_a_listener_that_is_wrong() {
    let wrong = "[host]\nname = \"ams-1\"\n[listen]\nhttp = [\"x\"]\n";
    check(
        wrong,
        "ams.toml:4: listen.http: \"x\" is not an address with a port; \
         write it like \"0.0.0.0:80\" or \"[::]:80\"\n",
    );
    check(
        &wrong.replace("[\"x\"]", "\"0.0.0.0:80\""),
        "ams.toml:4: listen.http: must be a list (was \"0.0.0.0:80\"); put it in [ ]\n",
    );
}

/// Each host would have a secret of its own, and take all others for dead.
#[test]
fn of_probes_without_a_secret() {
    let text = "[host]\nname = \"ams-1\"\n[listen]\nhttp = [\"0.0.0.0:80\"]\n[fleet]\nname = \"f\"\n\
                [[peer]]\nname = \"nyc-1\"\nprobe = \"http://198.51.100.1:80\"\n";
    check(
        text,
        "ams.toml:8: peer.probe: hosts that probe each other sign by fleet.secret, which is missing; \
         write [fleet] and secret = \"fleet.key\", a file that is the same on every host; one is made \
         with: openssl rand -hex 32\n",
    );
    let with_secret = text.replace("[fleet]", "[fleet]\nsecret = \"fleet.key\"");
    assert!(Manifest::parse(&with_secret, "ams.toml").is_ok());
}

#[test]
fn in_shape() {
    check(
        include_str!("golden/problems/wrong_shapes.toml"),
        include_str!("golden/problems/wrong_shapes.txt"),
    );
}

#[test]
fn in_the_toml_itself() {
    check(
        include_str!("golden/problems/not_toml.toml"),
        include_str!("golden/problems/not_toml.txt"),
    );
}

/// TOML has no way to write both; see the decision on pools.
#[test]
fn of_a_table_and_a_list_of_pools() {
    check(
        include_str!("golden/problems/both_pools.toml"),
        include_str!("golden/problems/both_pools.txt"),
    );
}

#[test]
fn beyond_the_thousandth_are_counted() {
    let keys: String = (0..1500)
        .map(|index| format!("key-{index:04} = 1\n"))
        .collect();
    let all = problems(&keys);
    assert_eq!(all.iter().count(), 1000);
    // The missing host and listener come first: they have no line.
    assert_eq!(all.not_shown(), 502);
    assert!(all.to_string().ends_with("\nand 502 more"));
}

#[test]
fn a_problem_carries_its_parts() {
    let text = "[host]\nname = \"h\"\n[listen]\nhttp = [\"127.0.0.1:80\", \"x\"]\n";
    let all = problems(text);
    let problem = all.iter().next().unwrap();
    assert_eq!((problem.file.as_str(), problem.line), ("ams.toml", Some(4)));
    assert_eq!(problem.key, "listen.http");
    assert_eq!(problem.what, "\"x\" is not an address with a port");
    assert_eq!(problem.hint, "write it like \"0.0.0.0:80\" or \"[::]:80\"");
}
