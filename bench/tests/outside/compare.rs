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
fn handshakes_requests_and_memory_by_tls_are_those_that_were_meant() {
    let _alone = alone();
    if let Some(name) = ["haproxy", "nginx"]
        .into_iter()
        .find(|it| !is_installed(it))
    {
        println!("SKIPPED: {name} is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = vec!["compare", "--quick", "--variants", "haproxy,nginx"];
    for case in [
        "tls-small-64",
        "tls-full-12",
        "tls-resumed-12",
        "tls-resumed-13",
        "tls-idle",
    ] {
        arguments.extend(["--case", case]);
    }
    arguments.extend(["--out", directory.path().to_str().unwrap()]);
    run_well(&arguments);
    let (_, samples) = samples(directory.path());
    assert_eq!(samples.len(), 5 * 2 * 2);
    for sample in &samples {
        assert_eq!(sample["fault"], Value::Null, "{sample}");
        let case = sample["case"].as_str().unwrap();
        let count = |name: &str| sample["detail"][name].as_u64().unwrap();
        match case {
            "tls-full-12" => assert_eq!(count("resumed"), 0, "{sample}"),
            "tls-resumed-12" | "tls-resumed-13" => {
                assert!(count("full") <= 16 && count("resumed") > 16, "{sample}");
            }
            "tls-idle" => assert!(figure(sample) > 1000.0, "{sample}"),
            _ => assert!(count("responses") > 100, "{sample}"),
        }
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
            &["compare", "--case", "tls-idle", "--variants", "bare-epoll"],
            1,
            "none of these servers",
        ),
        (&["handshakes", "--url", "http://127.0.0.1:9/"], 1, "https"),
        (&["load", "--url", "https://127.0.0.1:9/"], 1, "--trust"),
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
