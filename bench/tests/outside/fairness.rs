//! A flood in small: what is asked for, what is written, and what is refused.

use std::path::Path;

use crate::house::{alone, bench, is_installed, run_badly, run_well};
use serde_json::Value;

#[test]
fn a_quiet_tenant_is_asked_for_alone_straight_and_beside_each_flood() {
    let _alone = alone();
    let bench_path = bench();
    let bin_dir = Path::new(bench_path.get_program()).parent().unwrap();
    let mut variants = Vec::new();
    if bin_dir.join("meridianctl").is_file() {
        variants.push("ours");
    }
    variants.extend(
        ["haproxy", "nginx"]
            .into_iter()
            .filter(|it| is_installed(it)),
    );
    if variants.is_empty() {
        eprintln!("SKIPPED: neither is meridianctl built nor a peer installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let printed = run_well(&[
        "fairness",
        "--quick",
        "--connections",
        "16",
        "--rate",
        "50",
        "--variants",
        &variants.join(","),
        "--out",
        out.to_str().unwrap(),
    ]);
    let text = std::fs::read_to_string(out.join("samples.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (machine, samples) = lines.split_first().unwrap();
    assert!(machine["kernel"].is_string(), "{machine}");
    let taken: Vec<(&str, &str)> = samples
        .iter()
        .map(|it| {
            (
                it["flood"].as_str().unwrap(),
                it["variant"].as_str().unwrap(),
            )
        })
        .collect();
    let of = |flood| variants.iter().map(move |&variant| (flood, variant));
    let wanted: Vec<(&str, &str)> = ["small", "bodies", "connections"]
        .into_iter()
        .flat_map(of)
        .collect();
    assert_eq!(taken, wanted);
    for sample in samples {
        for name in ["alone", "straight", "flooded"] {
            // A machine that others keep busy may leave some of a second without an answer.
            let seen = &sample[name];
            assert!(seen["requests"].as_u64() > Some(30), "{name}: {sample}");
            assert!(seen["p50_us"].as_f64() > Some(0.0), "{name}: {sample}");
        }
        let per_second = |name: &str| sample[name].as_f64().unwrap();
        let (responses, bytes) = (
            per_second("flood_responses_per_second"),
            per_second("flood_bytes_per_second"),
        );
        assert!(responses > 1.0, "{sample}");
        let body_bytes = match sample["flood"].as_str() {
            Some("bodies") => 1_048_576.0,
            _ => 100.0,
        };
        // What was under way at the end has bytes and is no response.
        assert!(bytes >= responses * body_bytes * 0.999, "{sample}");
        assert_eq!(sample["flood_failed"], 0, "{sample}");
    }
    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(printed.contains(&report), "{printed}");
    let mut words = vec!["A trial", "small requests", "1 MiB bodies"];
    words.extend(variants.iter());
    if variants.contains(&"ours") {
        words.push("Budget");
    }
    for words in words {
        assert!(report.contains(words), "{words}: {report}");
    }
}

#[test]
fn a_server_of_one_backend_can_not_serve_two_tenants() {
    let words = run_badly(&["fairness", "--variants", "bare-ring"], 1);
    assert!(words.contains("--variants bare-ring"), "{words}");
}
