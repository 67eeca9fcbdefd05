//! The rules of the house that no compiler keeps: which crate may know which, where
//! unsafe code may stand, how things are called, and that what is written about the
//! code is still true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use meridian_model::Manifest;
use meridian_model::availability::unavailable;
use toml::{Table, Value};

/// The crates, where they stand, and which others each may know. Nobody else may be known.
const ARROWS: &[(&str, &str, &[&str])] = &[
    ("meridian-model", "dataplane/model", &[]),
    ("meridian-sys", "dataplane/sys", &[]),
    (
        "meridian-follower",
        "dataplane/follower",
        &["meridian-model"],
    ),
    (
        "meridian-dataplane",
        "dataplane",
        &["meridian-follower", "meridian-model", "meridian-sys"],
    ),
    (
        "meridian-dataplane-fuzz",
        "dataplane/fuzz",
        &["meridian-dataplane", "meridian-model"],
    ),
    (
        "meridian-geodns",
        "geodns",
        &["meridian-follower", "meridian-model", "meridian-sys"],
    ),
    (
        "meridian-geodns-fuzz",
        "geodns/fuzz",
        &["meridian-geodns", "meridian-model"],
    ),
    ("meridianctl", "ctl", &["meridian-model"]),
    // The runtime alone, for the bare prototype on it (docs/decisions/0007).
    ("meridian-bench", "bench", &["meridian-sys"]),
];

/// The one crate with unsafe code.
const UNSAFE_CRATE: &str = "dataplane/sys";

/// Workspaces of their own, which have to repeat the lint table.
const FUZZ_CRATES: [&str; 2] = ["dataplane/fuzz", "geodns/fuzz"];

/// Crates that reach the kernel past the standard library, and who may use each.
const KERNEL_CRATES: &[(&str, &[&str])] = &[
    ("io-uring", &["meridian-sys"]),
    ("libc", &["meridian-sys"]),
    ("glommio", &["meridian-dataplane", "meridian-bench"]),
];

/// What code without I/O and without a clock does not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
];

/// Names that say nothing about what is inside.
const STRAY_NAMES: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "misc",
];

/// Where limits stand.
const LIMITS: &[&str] = &[
    "dataplane/model/src/limits.rs",
    "dataplane/sys/src/limits.rs",
    "ctl/src/limits.rs",
];

/// Directories that a build or a run makes.
const MADE: &[&str] = &[
    "target",
    "bench/out",
    "dataplane/fuzz/artifacts",
    "dataplane/fuzz/coverage",
    "geodns/fuzz/artifacts",
    "geodns/fuzz/coverage",
    "geodns/fuzz/out",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate stands in the workspace")
}

/// Every file of the tree by its path from the root, in order; hidden ones but for `.ci` left out.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root()).unwrap();
            let hidden = relative.to_string_lossy().starts_with('.');
            let built = relative.file_name().is_some_and(|name| name == "target")
                || MADE.iter().any(|made| relative == Path::new(made));
            if built || (hidden && !relative.starts_with(".ci")) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(relative.to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn with_extension(extension: &str) -> Vec<PathBuf> {
    let mut found = files();
    found.retain(|path| path.extension().is_some_and(|it| it == extension));
    assert!(!found.is_empty(), "no .{extension} file was found at all");
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cargo_toml(directory: &str) -> Table {
    read(Path::new(directory).join("Cargo.toml"))
        .parse()
        .unwrap_or_else(|error| panic!("{directory}/Cargo.toml: {error}"))
}

/// Fails with every fault, not only with the first.
fn assert_none(rule: &str, faults: &[String]) {
    let listed = faults.iter().fold(String::new(), |mut text, fault| {
        let _ = write!(text, "\n  {fault}");
        text
    });
    assert!(faults.is_empty(), "{rule}:{listed}");
}

/// All dependencies of a crate, of every kind and for every system.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    const KINDS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
    let systems = manifest.get("target").and_then(Value::as_table);
    let tables = systems
        .into_iter()
        .flat_map(|systems| systems.values().filter_map(Value::as_table))
        .chain([manifest]);
    tables
        .flat_map(|table| KINDS.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flat_map(|dependencies| {
            dependencies.iter().map(|(key, value)| {
                let renamed = value.get("package").and_then(Value::as_str);
                renamed.unwrap_or(key).to_string()
            })
        })
        .collect()
}

/// Every way in which crates know each other that `allowed` does not list.
fn arrow_faults(name: &str, manifest: &Table, allowed: &[&str]) -> Vec<String> {
    let known = dependencies(manifest);
    let ours = known.iter().filter(|known| known.starts_with("meridian"));
    ours.filter(|known| !allowed.contains(&known.as_str()))
        .map(|known| format!("{name} -> {known}"))
        .collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let manifests: Vec<PathBuf> = files()
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "Cargo.toml"))
        .collect();
    let listed: BTreeSet<PathBuf> = ARROWS
        .iter()
        .map(|(_, directory, _)| Path::new(directory).join("Cargo.toml"))
        .chain([PathBuf::from("Cargo.toml")])
        .collect();
    assert_eq!(
        manifests.into_iter().collect::<BTreeSet<_>>(),
        listed,
        "the crates of the tree and those of ARROWS"
    );
    let mut faults = Vec::new();
    for (name, directory, allowed) in ARROWS {
        let manifest = cargo_toml(directory);
        assert_eq!(manifest["package"]["name"].as_str(), Some(*name));
        faults.extend(arrow_faults(name, &manifest, allowed));
    }
    assert_none("no crate may know", &faults);
}

#[test]
fn an_arrow_is_seen_wherever_it_hides() {
    for hidden in [
        "[dependencies]\nmeridian-sys.workspace = true",
        "[dev-dependencies]\nmeridian-sys = { path = \"../sys\" }",
        "[build-dependencies]\nmeridian-sys = \"1\"",
        "[target.'cfg(unix)'.dependencies]\nmeridian-sys.workspace = true",
        "[dependencies]\nruntime = { package = \"meridian-sys\", path = \"../sys\" }",
    ] {
        let manifest: Table = hidden.parse().unwrap();
        assert_eq!(arrow_faults("x", &manifest, &[]), ["x -> meridian-sys"]);
        assert!(arrow_faults("x", &manifest, &["meridian-sys"]).is_empty());
    }
}

#[test]
fn only_some_crates_reach_the_kernel_by_themselves() {
    let mut faults = Vec::new();
    for (name, directory, _) in ARROWS {
        let known = dependencies(&cargo_toml(directory));
        for (kernel_crate, users) in KERNEL_CRATES {
            if known.contains(*kernel_crate) && !users.contains(name) {
                faults.push(format!("{name} -> {kernel_crate}"));
            }
        }
    }
    assert_none("no crate may use", &faults);
}

#[test]
fn the_model_does_no_io_and_has_no_clock() {
    let mut faults = Vec::new();
    for path in with_extension("rs") {
        if !path.starts_with("dataplane/model/src") {
            continue;
        }
        for (number, line) in code_lines(&read(&path)) {
            for name in IMPURE.iter().filter(|name| line.contains(**name)) {
                // The one place where threads are: what comes of them does not depend on how many.
                if *name == "std::thread" && path.ends_with("model/src/parallel.rs") {
                    continue;
                }
                faults.push(format!("{}:{number}: {name}", path.display()));
            }
        }
    }
    assert_none("the model is pure", &faults);
}

#[test]
fn every_dependency_is_pinned() {
    let workspace = cargo_toml("");
    let mut faults = Vec::new();
    for (name, value) in workspace["workspace"]["dependencies"].as_table().unwrap() {
        let version = value.as_str().or_else(|| value.get("version")?.as_str());
        let is_ours = value.get("path").is_some() && name.starts_with("meridian-");
        if !is_ours && !version.is_some_and(|version| version.starts_with('=')) {
            faults.push(format!("{name}: {version:?}"));
        }
    }
    // Members take their versions from there, so that there is one of each.
    for (name, directory, _) in ARROWS.iter().filter(|(_, at, _)| !FUZZ_CRATES.contains(at)) {
        let manifest = cargo_toml(directory);
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(kind).and_then(Value::as_table);
            for (key, value) in table.into_iter().flatten() {
                if value.get("workspace").and_then(Value::as_bool) != Some(true) {
                    faults.push(format!("{name}: {key} does not say workspace = true"));
                }
            }
        }
    }
    assert_none("versions are pinned with `=`, once", &faults);
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let workspace = cargo_toml("");
    let lints = &workspace["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let mut faults = Vec::new();
    for (name, directory, _) in ARROWS {
        if *directory == UNSAFE_CRATE || FUZZ_CRATES.contains(directory) {
            continue;
        }
        let manifest = cargo_toml(directory);
        let inherits = manifest.get("lints").and_then(|it| it.get("workspace"));
        if inherits.and_then(Value::as_bool) != Some(true) {
            faults.push(format!("{name}: [lints] does not say workspace = true"));
        }
    }
    for path in with_extension("rs") {
        if path.starts_with(UNSAFE_CRATE) {
            continue;
        }
        for (number, line) in code_lines(&read(&path)) {
            if is_unsafe(line) {
                faults.push(format!("{}:{number}: {}", path.display(), line.trim()));
            }
        }
    }
    assert_none("unsafe code is for dataplane/sys", &faults);
}

/// The lines of a file that are no comments, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    numbered
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

fn is_unsafe(line: &str) -> bool {
    // What stands in quotes is no code; nor is a comment behind the code.
    let code: String = line.split('"').step_by(2).collect();
    let code = code.split("//").next().unwrap_or_default();
    let mut words = code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    let keyword = ["un", "safe"].concat();
    let lint = [&keyword, "_code"].concat();
    let allows = ["allow", "expect", "warn"].map(|level| format!("{level}({lint})"));
    words.any(|word| word == keyword) || allows.iter().any(|it| code.contains(it))
}

#[test]
fn unsafe_code_is_recognised() {
    let keyword = ["un", "safe"].concat();
    for code in [
        " { x() }",
        " impl Send for X {}",
        " fn f() {}",
        "(no_mangle)",
    ] {
        assert!(is_unsafe(&format!("    {keyword}{code}")), "{code}");
    }
    assert!(is_unsafe(&format!("#![allow({keyword}_code)]")));
    assert!(is_unsafe(&format!("    {keyword} {{ f(\"x\") }}")));
    assert!(!is_unsafe("let unsafely = 1;"));
    let quoted = format!("let text = \"{keyword}\"; // {keyword}");
    assert!(!is_unsafe(&quoted));
}

#[test]
fn sys_keeps_the_rest_of_the_lint_table() {
    let workspace = cargo_toml("");
    let own = cargo_toml(UNSAFE_CRATE);
    let mut faults = Vec::new();
    for tool in ["rust", "clippy"] {
        for (lint, level) in workspace["workspace"]["lints"][tool].as_table().unwrap() {
            let kept = own["lints"][tool].get(lint) == Some(level);
            if !kept && lint != "unsafe_code" && level.as_str() != Some("allow") {
                faults.push(format!("{tool}: {lint} = {level}"));
            }
        }
    }
    assert_none("dataplane/sys/Cargo.toml lacks", &faults);
}

#[test]
fn names_say_what_is_inside() {
    let is_stray = |path: &Path| {
        path.components().any(|part| {
            let name = Path::new(part.as_os_str()).file_stem().unwrap_or_default();
            STRAY_NAMES.contains(&name.to_string_lossy().to_lowercase().as_str())
        })
    };
    assert!(is_stray(Path::new("ctl/src/util.rs")) && is_stray(Path::new("ctl/helpers/x.rs")));
    let stray = with_extension("rs");
    let stray: Vec<String> = stray
        .iter()
        .filter(|path| is_stray(path))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("a file is named by a noun of the field", &stray);
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut faults = Vec::new();
    for path in with_extension("rs") {
        let text = read(&path);
        let mut lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("#!["));
        // A fuzz target without docs of its own is four lines that call what has them.
        let is_entry = path.starts_with("dataplane/fuzz/fuzz_targets") && text.lines().count() < 10;
        if !is_entry && !lines.next().is_some_and(|line| line.starts_with("//! ")) {
            faults.push(path.display().to_string());
        }
    }
    assert_none("a file begins with `//!` and what it is for", &faults);
}

/// Marks of unfinished work, put together here so that this file has none.
fn leftovers() -> Vec<String> {
    [
        ["to", "do!"],
        ["unimpl", "emented!"],
        ["db", "g!"],
        ["FIX", "ME"],
        ["TO", "DO"],
        ["XX", "X"],
        ["#[ig", "nore"],
    ]
    .map(|halves| halves.concat())
    .to_vec()
}

fn has_word(line: &str, word: &str) -> bool {
    let mut from = 0;
    while let Some(at) = line[from..].find(word) {
        let before = line[..from + at].chars().next_back();
        let after = line[from + at + word.len()..].chars().next();
        let joins =
            |letter: Option<char>| letter.is_some_and(|it| it.is_alphanumeric() || it == '_');
        // A macro's mark ends with `!`, and an attribute's may be followed by a reason.
        let open_ended = word.ends_with('!') || word.starts_with('#');
        if !joins(before) && (open_ended || !joins(after)) {
            return true;
        }
        from += at + word.len();
    }
    false
}

#[test]
fn nothing_is_left_over() {
    let marks = leftovers();
    let mark = &marks[0];
    assert!(has_word(&format!("    {mark}(\"later\")"), mark));
    assert!(!has_word(&format!("    my_{mark}(\"later\")"), mark));
    let mut faults = Vec::new();
    for path in files() {
        let kind = path.extension().unwrap_or_default();
        let is_script = path.starts_with("scripts") || path.starts_with(".ci");
        if kind != "rs" && kind != "toml" && !is_script {
            continue;
        }
        for (index, line) in read(&path).lines().enumerate() {
            for mark in marks.iter().filter(|mark| has_word(line, mark)) {
                faults.push(format!("{}:{}: {mark}", path.display(), index + 1));
            }
        }
    }
    assert_none("finish it, or say in an issue what is missing", &faults);
}

#[test]
fn every_decision_has_one_number_and_is_listed() {
    let index = read("docs/decisions/README.md");
    let mut faults = Vec::new();
    let mut numbers = BTreeSet::new();
    for path in with_extension("md") {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.parent() != Some(Path::new("docs/decisions")) || name == "README.md" {
            continue;
        }
        let number = name.split('-').next().unwrap_or_default().to_string();
        if number.len() != 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            faults.push(format!("{name}: is not NNNN-title.md"));
        }
        if !read(&path).starts_with(&format!("# {number}: ")) {
            faults.push(format!("{name}: does not begin with `# {number}: `"));
        }
        if index.matches(&format!("({name})")).count() != 1 {
            faults.push(format!("{name}: is not listed once in README.md"));
        }
        if !numbers.insert(number) {
            faults.push(format!("{name}: another decision has this number"));
        }
    }
    assert!(!numbers.is_empty());
    assert_none("docs/decisions", &faults);
}

#[test]
fn links_in_the_documents_lead_somewhere() {
    let mut faults = Vec::new();
    for path in with_extension("md") {
        let directory = path.parent().unwrap();
        for target in link_targets(&read(&path)) {
            let file = target.split('#').next().unwrap_or_default();
            let elsewhere = target.contains("://") || file.is_empty();
            if !elsewhere && !root().join(directory).join(file).exists() {
                faults.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert_none("no such file", &faults);
}

/// What stands in `](...)`.
fn link_targets(text: &str) -> Vec<String> {
    let starts = text.split("](").skip(1);
    starts
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_string())
        .collect()
}

#[test]
fn every_script_can_be_run() {
    let mut faults = Vec::new();
    let mut scripts = 0;
    for path in files() {
        if !path.starts_with("scripts") && !path.starts_with(".ci") {
            continue;
        }
        scripts += 1;
        let mode = std::fs::metadata(root().join(&path)).unwrap().permissions();
        if mode.mode() & 0o111 != 0o111 {
            faults.push(format!("{}: is not executable", path.display()));
        }
        if !read(&path).starts_with("#!") {
            faults.push(format!("{}: does not begin with #!", path.display()));
        }
    }
    assert!(scripts >= 4, "setup, test, demo, .ci/run");
    assert_none("scripts", &faults);
}

#[test]
fn every_limit_is_explained_to_operators() {
    let page = read("docs/operations.md");
    let mut faults = Vec::new();
    for &file in LIMITS {
        let text = read(file);
        let limits = limits_of(&text);
        assert!(!limits.is_empty(), "{file} has no limits");
        for (limit, _) in limits {
            if !page.contains(&format!("`{limit}`")) {
                faults.push(format!("{file}: {limit}"));
            }
        }
    }
    assert_none("docs/operations.md does not name", &faults);
}

/// The words of LIMIT MET, as the code has them.
#[test]
fn everything_that_can_be_met_is_explained_to_operators() {
    let page = read("docs/operations.md");
    let (_, section) = page
        .split_once("## What is refused or cut")
        .expect("docs/operations.md says what is refused");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut faults = Vec::new();
    for (file, function) in [
        ("dataplane/src/http/reject.rs", "fn cause("),
        ("dataplane/src/counters.rs", "fn word("),
        ("dataplane/src/status.rs", "fn limits("),
        ("geodns/src/counters.rs", "fn limits("),
        ("geodns/src/peers/report.rs", "fn limits("),
    ] {
        let words = quoted_words(&read(file), function);
        assert!(words.len() > 2, "{file}: {words:?}");
        for word in words {
            if !section.contains(&format!("`{word}`")) {
                faults.push(format!("{file}: {word}"));
            }
        }
    }
    assert_none("\"What is refused or cut\" does not name", &faults);
}

/// What stands in quotes in a function, but for names of JSON.
fn quoted_words(text: &str, function: &str) -> Vec<String> {
    let (_, body) = text.split_once(function).expect(function);
    let ends = ["\n}\n", "\n    }\n"]
        .iter()
        .filter_map(|end| body.find(end));
    let body = &body[..ends.min().expect("a function ends")];
    let lines = body.lines().filter(|line| !line.contains("json!"));
    let words = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
    words.map(str::to_string).collect()
}

/// Who opens the listeners does not know the other: see docs/decisions/0004.
#[test]
fn limits_of_one_name_are_equal() {
    let mut known: BTreeMap<String, (String, &str)> = BTreeMap::new();
    let mut shared = 0;
    let mut faults = Vec::new();
    for &file in LIMITS {
        let text = read(file);
        for (limit, rest) in limits_of(&text) {
            let here = (rest.to_string(), file);
            match known.get(limit) {
                None => drop(known.insert(limit.to_string(), here)),
                Some((before, elsewhere)) => {
                    shared += 1;
                    if before != rest {
                        faults.push(format!("{limit} of {elsewhere} and of {file}"));
                    }
                }
            }
        }
    }
    assert!(shared > 0, "BACKLOG stands in two files");
    assert_none("the same limit, with two values", &faults);
}

/// The public constants of a file: the name of each, and what stands behind its colon.
fn limits_of(text: &str) -> Vec<(&str, &str)> {
    let of_line = |line| {
        let line: &str = line;
        let public = line.strip_prefix("pub ");
        let public = public.or_else(|| line.strip_prefix("pub(crate) "));
        public?.strip_prefix("const ")?.split_once(':')
    };
    text.lines().filter_map(of_line).collect()
}

#[test]
fn limits_are_found_and_told_apart() {
    let text = "pub const A: u8 = 1;\npub(crate) const B: u16 = 2;\nconst C: u8 = 3;\n";
    assert_eq!(limits_of(text), [("A", " u8 = 1;"), ("B", " u16 = 2;")]);
}

#[test]
fn every_key_that_is_not_available_is_listed() {
    let page = read("docs/manifest.md");
    let (_, listed) = page
        .split_once("## Keys that are not available")
        .expect("docs/manifest.md lists what is missing");
    let file = "dataplane/model/tests/fixtures/every_key.toml";
    let manifest = Manifest::parse(&read(file), file).unwrap();
    let missing = unavailable(&manifest);
    assert!(!missing.is_empty());
    let mut faults = Vec::new();
    for problem in missing {
        let (section, key) = match problem.key.rsplit_once('.') {
            Some((section, key)) => (section, format!("`{key}`")),
            None => (problem.key.as_str(), String::new()),
        };
        let headings = [format!("[{section}]`"), format!("[[{section}]]`")];
        let is_listed = listed.lines().any(|line| {
            headings.iter().any(|heading| line.contains(heading)) && line.contains(&key)
        });
        if !is_listed {
            faults.push(problem.key);
        }
    }
    assert_none("docs/manifest.md does not list", &faults);
}

#[test]
fn every_example_can_be_served() {
    let mut examples = 0;
    for path in with_extension("toml") {
        if !path.starts_with("docs/examples") {
            continue;
        }
        examples += 1;
        let name = path.display().to_string();
        let manifest =
            Manifest::parse(&read(&path), &name).unwrap_or_else(|problems| panic!("{problems}"));
        let missing: Vec<String> = unavailable(&manifest)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_none("an example uses what is not there yet", &missing);
        let (local, mut desired) = manifest.into_parts();
        desired.assign_ids(None);
        meridian_model::compile(&local, &desired, 1)
            .unwrap_or_else(|problems| panic!("{problems}"));
    }
    assert!(examples > 0, "docs/examples has no manifest");
}
