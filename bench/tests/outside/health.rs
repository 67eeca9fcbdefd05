//! Checks of backends in small: that as many are made as were asked for, and what is written.

use std::path::Path;

use crate::house::{alone, bench, run_badly, run_well};
use serde_json::Value;

#[test]
fn checks_are_counted_beside_a_bare_loop_at_the_same_rate() {
    let _alone = alone();
    let bench_path = bench();
    let bin_dir = Path::new(bench_path.get_program()).parent().unwrap();
    if !bin_dir.join("meridianctl").is_file() {
        eprintln!("SKIPPED: meridianctl is not built");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out = out.to_str().unwrap();
    // 1020 backends are in three tenants, the last of them with one site that is not full.
    let printed = run_well(&[
        "health",
        "--quick",
        "--rounds",
        "1",
        "--backends",
        "1020",
        "--interval",
        "1s",
        "--step",
        "1s",
        "--rate",
        "100",
        "--out",
        out,
    ]);
    let text = std::fs::read_to_string(Path::new(out).join("samples.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (machine, samples) = lines.split_first().unwrap();
    assert!(machine["kernel"].is_string(), "{machine}");
    let variants: Vec<&str> = samples
        .iter()
        .map(|it| it["variant"].as_str().unwrap())
        .collect();
    assert_eq!(variants, ["alone", "bare", "checks"]);
    for sample in samples {
        let idle = &sample["idle"];
        let connects = idle["connects"].as_f64().unwrap() / idle["seconds"].as_f64().unwrap();
        let used = |name: &str| idle[name].as_f64().unwrap();
        match sample["variant"].as_str().unwrap() {
            // Others may connect as they like meanwhile: they are counted, too.
            "alone" => assert_eq!(used("loop_cpu_s"), 0.0),
            "bare" => {
                assert!(connects > 200.0, "{sample}");
                assert!(used("loop_cpu_s") > used("checker_cpu_s"), "{sample}");
            }
            _ => {
                assert!(connects > 200.0, "{sample}");
                assert_eq!(sample["checked"]["up"], 1020, "{sample}");
                assert!(used("checker_cpu_s") > 0.0, "{sample}");
                assert!(used("plane_cpu_s") >= used("checker_cpu_s"), "{sample}");
            }
        }
        // A machine that others keep busy may leave some of a second without an answer.
        let loaded = &sample["loaded"];
        let of_all = |name: &str| loaded[name].as_u64().unwrap();
        assert_eq!(of_all("responses") + of_all("failed"), 100, "{sample}");
        assert!(of_all("responses") > 50, "{sample}");
    }
    let report = std::fs::read_to_string(Path::new(out).join("report.md")).unwrap();
    assert!(printed.contains(&report), "{printed}");
    for words in ["| alone |", "| bare loop |", "| checks |", "Budget"] {
        assert!(report.contains(words), "{report}");
    }
}

#[test]
fn a_loop_that_meets_nobody_says_so() {
    let _alone = alone();
    // Nobody listens on the port of discard here.
    let words = run_badly(
        &[
            "connect-loop",
            "--first",
            "127.0.0.1:9",
            "--addresses",
            "2",
            "--interval",
            "10ms",
        ],
        1,
    );
    assert!(words.contains("refused"), "{words}");
}
