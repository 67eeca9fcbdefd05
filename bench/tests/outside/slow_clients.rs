//! Slow clients in small: that they are there, that the others are served, and what is written.

use std::path::Path;

use crate::house::{alone, bench, run_well};
use serde_json::Value;

fn is_installed(program: &str) -> bool {
    ["/usr/bin", "/usr/local/bin"]
        .iter()
        .any(|directory| Path::new(directory).join(program).is_file())
}

#[test]
fn others_are_served_whatever_slow_clients_do() {
    let _alone = alone();
    let bench_path = bench();
    let bin_dir = Path::new(bench_path.get_program()).parent().unwrap();
    if !is_installed("slowhttptest") || !bin_dir.join("meridianctl").is_file() {
        eprintln!("SKIPPED: slowhttptest is not installed, or meridianctl not built");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("samples.jsonl");
    let printed = run_well(&[
        "slow-clients",
        "--pairs",
        "1",
        "--seconds",
        "1",
        "--slow",
        "100",
        "--rate",
        "100",
        "--samples",
        path.to_str().unwrap(),
    ]);
    let text = std::fs::read_to_string(path).unwrap();
    let samples: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        samples.len(),
        12,
        "four ways, each alone, with slow clients at a bystander and at the proxy"
    );
    for sample in &samples {
        for failure in ["not_2xx", "broken"] {
            assert_eq!(sample[failure], 0, "{sample}");
        }
        // A machine that others keep busy may leave some of a second without an answer.
        let of_all = |name: &str| sample[name].as_u64().unwrap();
        assert_eq!(of_all("responses") + of_all("unanswered"), 100, "{sample}");
        assert!(sample["p99_us"].as_f64().unwrap() > 0.0, "{sample}");
        let slow = sample["slow_connections"].as_u64().unwrap();
        match (sample["slow_clients"] != "nowhere", &sample["mode"]) {
            (false, _) => assert_eq!(slow, 0, "{sample}"),
            // Requests for ranges are answered, so their connections do not last.
            (true, mode) if mode == "range" => {}
            (true, _) => assert!(slow >= 50, "{sample}"),
        }
    }
    let answered = |sample: &&Value| sample["responses"] == 100;
    assert!(samples.iter().filter(answered).count() >= 6, "{text}");
    for mode in ["head", "body", "read", "range"] {
        assert!(printed.contains(mode), "{printed}");
    }
}
