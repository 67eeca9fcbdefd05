//! Every problem of a file is reported at once, each with its line, key and hint. The
//! words are fixed here, because operators and their scripts read them.

use meridian_model::{Manifest, Problems};

fn problems(text: &str) -> Problems {
    Manifest::parse(text, "ams.toml").expect_err("the file is wrong")
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
