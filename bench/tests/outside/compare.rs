//! The comparison from outside: what it writes, and what it says when it can not.

use std::collections::BTreeSet;
use std::path::Path;

use crate::house::{alone, is_installed, run_badly, run_well};
use serde_json::Value;

/// The lines of samples.jsonl behind the first, which describes the machine.
fn samples(out: &Path) -> (Value, Vec<Value>) {
    let text = std::fs::read_to_string(out.join("samples.jsonl")).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let machine = lines.next().unwrap();
    (machine, lines.collect())
}

fn figure(sample: &Value) -> f64 {
    sample["figure"].as_f64().unwrap()
}

#[test]
fn latency_and_memory_of_prototypes_without_programs_of_others() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let out_text = out.to_str().unwrap();
    let printed = run_well(&[
        "compare",
        "--quick",
        "--case",
        "p50-5000",
        "--case",
        "idle",
        "--variants",
        "bare-epoll,direct",
        "--out",
        out_text,
    ]);
    let (machine, samples) = samples(&out);
    assert!(machine["kernel"].as_str().unwrap().starts_with("Linux "));
    assert_ne!(machine["server_core"], machine["load_core"]);
    assert_ne!(machine["congestion_control"], "");

    let of_case = |case: &str| {
        samples
            .iter()
            .filter(|sample| sample["case"] == case)
            .cloned()
            .collect::<Vec<_>>()
    };
    let latency = of_case("p50-5000");
    assert_eq!(latency.len(), 4, "two rounds of two servers");
    for sample in &latency {
        assert!((5.0..1_000_000.0).contains(&figure(sample)), "{sample}");
        assert_eq!(sample["detail"]["requests_due"], 5000, "{sample}");
    }
    let order: Vec<&str> = latency
        .iter()
        .map(|sample| sample["variant"].as_str().unwrap())
        .collect();
    assert_eq!(
        order,
        ["bare-epoll", "direct", "direct", "bare-epoll"],
        "the order turns from round to round"
    );
    let idle = of_case("idle");
    assert_eq!(idle.len(), 2, "direct has no memory to ask for");
    for sample in &idle {
        assert!((0.0..10_000.0).contains(&figure(sample)), "{sample}");
    }

    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    assert!(
        printed.contains(report.trim_end()),
        "what is printed is what is written"
    );
    assert!(
        report.contains("no result") && report.contains("| bare-epoll |"),
        "{report}"
    );
    let plot = std::fs::read_to_string(out.join("plot.svg")).unwrap();
    assert!(plot.starts_with("<svg ") && plot.trim_end().ends_with("</svg>"));
    assert_eq!(
        plot.matches("<circle").count(),
        samples.len(),
        "a dot for each sample"
    );
}

#[test]
fn peers_are_compared_or_what_is_missing_is_named() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let arguments = [
        "compare",
        "--quick",
        "--case",
        "small-64",
        "--variants",
        "haproxy,nginx,bare-epoll",
        "--out",
        out,
    ];
    let missing: Vec<&str> = ["haproxy", "nginx", "wrk"]
        .into_iter()
        .filter(|name| !is_installed(name))
        .collect();
    if !missing.is_empty() {
        let errors = run_badly(&arguments, 1);
        for name in missing {
            assert!(
                errors.contains(&format!("apt-get install {name}")),
                "{errors}"
            );
        }
        return;
    }
    run_well(&arguments);
    let (machine, samples) = samples(directory.path());
    assert!(
        machine["versions"].to_string().contains("HAProxy"),
        "{machine}"
    );
    let seen: BTreeSet<&str> = samples
        .iter()
        .map(|sample| sample["variant"].as_str().unwrap())
        .collect();
    assert_eq!(seen, BTreeSet::from(["bare-epoll", "haproxy", "nginx"]));
    for sample in &samples {
        assert_eq!(sample["fault"], Value::Null, "{sample}");
        let responses = sample["responses"].as_f64().unwrap();
        assert!(responses > 500.0, "{sample}");
        let cpu_s =
            sample["server_user_s"].as_f64().unwrap() + sample["server_system_s"].as_f64().unwrap();
        assert!(
            (figure(sample) - cpu_s * 1e6 / responses).abs() < 0.01,
            "{sample}"
        );
        assert!((0.5..5_000.0).contains(&figure(sample)), "{sample}");
        assert!(
            sample["server_load"].as_f64().unwrap() <= 1.1,
            "one core: {sample}"
        );
    }
}

#[test]
fn another_program_can_stand_in_for_ours() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let stand_in = format!(
        "{} bare-proxy --engine epoll --listen {{listen}} --backend {{backend}}",
        env!("CARGO_BIN_EXE_meridian-bench")
    );
    run_well(&[
        "compare",
        "--quick",
        "--case",
        "p50-5000",
        "--variants",
        "ours",
        "--ours-cmd",
        &stand_in,
        "--out",
        directory.path().to_str().unwrap(),
    ]);
    let (machine, samples) = samples(directory.path());
    assert!(
        machine["versions"].to_string().contains("ours is: "),
        "{machine}"
    );
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0]["variant"], "ours");
}

#[test]
fn wrong_input_is_refused_in_words() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().to_str().unwrap();
    for (arguments, code, words) in [
        (&["compare", "--case", "large"][..], 1, "small-64"),
        (&["compare", "--rounds", "0"], 2, "--rounds"),
        (&["compare", "--variants", "apache"], 2, "haproxy"),
        (
            &[
                "compare",
                "--case",
                "idle",
                "--variants",
                "ours",
                "--bin-dir",
                empty,
            ],
            1,
            "cargo build --release",
        ),
        (
            &[
                "compare",
                "--case",
                "idle",
                "--variants",
                "bare-epoll",
                "--server-core",
                "4000",
            ],
            2,
            "--server-core",
        ),
        (
            &[
                "compare",
                "--case",
                "idle",
                "--variants",
                "bare-epoll",
                "--server-core",
                "1000",
            ],
            1,
            "core 1000",
        ),
        (
            &[
                "compare",
                "--case",
                "idle",
                "--variants",
                "ours",
                "--ours-cmd",
                "/nonexistent/proxy",
                "--out",
                empty,
                "--quick",
            ],
            1,
            "/nonexistent/proxy",
        ),
        (
            &[
                "compare",
                "--case",
                "idle",
                "--variants",
                "ours",
                "--ours-cmd",
                "false",
                "--out",
                empty,
                "--quick",
            ],
            1,
            "ended with",
        ),
    ] {
        let errors = run_badly(arguments, code);
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}
