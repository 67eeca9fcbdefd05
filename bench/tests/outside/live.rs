//! Starts and changes with many sites from outside: what is written, and what is said when it can
//! not be. The sites are few and the steps short, so the figures are none.

use std::collections::BTreeSet;
use std::path::Path;

use crate::house::{alone, is_installed, run_badly, run_well};
use serde_json::Value;

/// Runs those of a case's variants that can run here, and returns the samples. Says what it left out.
fn trial(case: &str, variants: &[&str], out: &Path) -> Vec<Value> {
    let beside = Path::new(env!("CARGO_BIN_EXE_meridian-bench")).parent();
    let is_built = |name: &str| beside.unwrap().join(name).is_file();
    let is_here = |variant: &str| match variant.split('-').next() {
        Some("ours") => is_built("meridianctl") && is_built("meridian-dataplane"),
        Some(program) => is_installed(program),
        None => false,
    };
    let mut here = Vec::new();
    for &variant in variants {
        if is_here(variant) {
            here.push(variant);
        } else {
            println!("SKIPPED: {variant} in {case}: its programs are not here");
        }
    }
    if here.is_empty() {
        return Vec::new();
    }
    let printed = run_well(&[
        "live",
        "--quick",
        "--case",
        case,
        "--variants",
        &here.join(","),
        "--out",
        out.to_str().unwrap(),
    ]);
    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(printed.contains(report.trim_end()), "printed as written");
    assert!(report.contains("no result"), "{report}");
    let text = std::fs::read_to_string(out.join("samples.jsonl")).unwrap();
    let samples: Vec<Value> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for sample in &samples {
        let row = format!("| {} |", sample["variant"].as_str().unwrap());
        assert!(report.contains(&row), "{row} in {report}");
    }
    let plot = std::fs::read_to_string(out.join("plot.svg")).unwrap();
    assert!(plot.starts_with("<svg ") && plot.trim_end().ends_with("</svg>"));
    samples
}

fn figure(sample: &Value, name: &str) -> f64 {
    sample["figures"][name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} in {sample}"))
}

fn is_ours(sample: &Value) -> bool {
    sample["variant"].as_str().unwrap().starts_with("ours")
}

#[test]
fn a_start_is_measured_to_the_first_right_answer() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let samples = trial(
        "start-one-core",
        &["ours", "haproxy", "nginx"],
        directory.path(),
    );
    for sample in &samples {
        assert_eq!(sample["fault"], Value::Null, "{sample}");
        assert_eq!(sample["sites"], 300, "{sample}");
        let first_ms = figure(sample, "first_answer_ms");
        assert!((1.0..60_000.0).contains(&first_ms), "{sample}");
        assert!(figure(sample, "start_cpu_ms") < 60_000.0, "{sample}");
        let memory_bytes = figure(sample, "memory_mib") * f64::from(1 << 20);
        assert!(memory_bytes > 1_000_000.0, "{sample}");
        let per_site = figure(sample, "bytes_per_site");
        assert!((per_site * 300.0 - memory_bytes).abs() < 1.0, "{sample}");
    }
    let ours: BTreeSet<&str> = samples
        .iter()
        .filter(|sample| is_ours(sample))
        .map(|sample| sample["variant"].as_str().unwrap())
        .collect();
    let ways = BTreeSet::from(["ours-first", "ours-again", "ours-killed"]);
    assert!(ours.is_empty() || ours == ways, "{ours:?}");
}

#[test]
fn a_change_under_load_is_seen_by_the_requests_themselves() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let variants = ["ours-set", "ours-apply", "haproxy-api", "nginx-reload"];
    for sample in trial("change", &variants, directory.path()) {
        assert!(figure(&sample, "command_ms") < 60_000.0, "{sample}");
        assert!(figure(&sample, "slowest_ms") > 0.0, "{sample}");
        let (before, peak) = (
            figure(&sample, "memory_before_mib"),
            figure(&sample, "memory_peak_mib"),
        );
        assert!(before > 1.0 && peak >= before / 2.0, "{sample}");
        // Half a second and more of 1000 requests a second.
        let requests = sample["detail"]["requests"].as_f64().unwrap();
        assert!(requests > 500.0, "{sample}");
        if is_ours(&sample) {
            assert_eq!(figure(&sample, "failed"), 0.0, "{sample}");
            assert_eq!(figure(&sample, "stale"), 0.0, "{sample}");
            let seen_ms = figure(&sample, "seen_ms");
            assert!(figure(&sample, "live_ms") <= seen_ms, "{sample}");
            let answer = &sample["detail"]["answer"];
            assert_eq!(answer["changes"].as_array().unwrap().len(), 1, "{sample}");
        }
    }
}

#[test]
fn starts_and_renewals_of_many_certificates_are_measured() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let variants = ["ours-again", "haproxy", "nginx"];
    for sample in trial("certificates", &variants, directory.path()) {
        assert_eq!(sample["fault"], Value::Null, "{sample}");
        let first_ms = figure(&sample, "first_answer_ms");
        assert!((1.0..60_000.0).contains(&first_ms), "{sample}");
        if is_ours(&sample) {
            figure(&sample, "bytes_per_certificate");
        }
    }
    let variants = ["ours-apply", "haproxy-api", "nginx-reload"];
    for sample in trial("renewal", &variants, directory.path()) {
        assert!(figure(&sample, "seen_ms") < 60_000.0, "{sample}");
        assert!(
            sample["detail"]["requests"].as_f64().unwrap() > 500.0,
            "{sample}"
        );
        assert!(
            sample["detail"]["handshakes"].as_f64().unwrap() > 10.0,
            "{sample}"
        );
        if is_ours(&sample) {
            assert_eq!(figure(&sample, "failed"), 0.0, "{sample}");
            assert_eq!(figure(&sample, "stale"), 0.0, "{sample}");
        }
    }
}

#[test]
fn changes_one_after_the_other_pile_up_where_processes_do() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let variants = ["ours-set", "haproxy-reload", "nginx-reload"];
    for sample in trial("pile", &variants, directory.path()) {
        let processes = figure(&sample, "processes_peak");
        match sample["variant"].as_str().unwrap() {
            "ours-set" => {
                assert_eq!(processes, 2.0, "up and one plane: {sample}");
                assert_eq!(figure(&sample, "failed"), 0.0, "{sample}");
            }
            _ => assert!(processes > 2.0, "{sample}"),
        }
    }
}

#[test]
fn wrong_input_is_refused_in_words() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().to_str().unwrap();
    for (arguments, code, words) in [
        (&["live", "--case", "stop"][..], 1, "start-one-core"),
        (&["live", "--variants", "apache"], 2, "haproxy-reload"),
        (&["live", "--sites", "1"], 2, "--sites"),
        (
            &["live", "--case", "start", "--variants", "ours-set"],
            1,
            "none of those",
        ),
        (
            &["live", "--variants", "ours", "--bin-dir", empty],
            1,
            "cargo build --release",
        ),
    ] {
        let errors = run_badly(arguments, code);
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}
