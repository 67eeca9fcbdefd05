//! From samples to figures: medians and paired ratios.

use super::case::Budget;
use super::rounds::CaseRun;
use super::sample::Sample;
use super::variant::Variant;
use crate::median::median;

/// One row of a case's table.
pub(super) struct Row {
    pub(super) variant: Variant,
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
    /// Median over the rounds of this figure divided by the peer's in the same round.
    pub(super) to_haproxy: Option<f64>,
    pub(super) to_nginx: Option<f64>,
    pub(super) responses_per_second: f64,
    pub(super) server_load: f64,
    /// User part of the CPU time, in microseconds for one response.
    pub(super) user_us: f64,
    pub(super) p99_us: Option<f64>,
    /// Resident memory before and after the idle connections, in MiB.
    pub(super) resident_mib: Option<(f64, f64)>,
    pub(super) fault: Option<String>,
}

/// The rows of a case, in the order of its variants.
pub(super) fn rows(run: &CaseRun) -> Vec<Row> {
    run.variants
        .iter()
        .filter_map(|&variant| row(run, variant))
        .collect()
}

/// Whether the budgets of a case were kept, in words, where Meridian was measured.
pub(super) fn verdicts(run: &CaseRun, rows: &[Row]) -> Vec<String> {
    let Some(ours) = rows.iter().find(|row| row.variant == Variant::Ours) else {
        return Vec::new();
    };
    let judge = |budget: &Budget| -> Option<String> {
        let (what, seen, most) = match *budget {
            Budget::Ratio { peer, most } => (
                format!("ratio to {}", peer.name()),
                paired_ratio(run, Variant::Ours, peer)?,
                most,
            ),
            Budget::Figure { most } => (run.case.measure.unit().to_owned(), ours.median, most),
        };
        let held = seen <= most && ours.fault.is_none();
        let word = if held { "held" } else { "missed" };
        Some(format!(
            "budget {word}: {what} {seen:.3}, at most {most:.3}"
        ))
    };
    run.case.budgets.iter().filter_map(judge).collect()
}

fn row(run: &CaseRun, variant: Variant) -> Option<Row> {
    let samples: Vec<&Sample> = kept(run, variant).collect();
    let figures: Vec<f64> = samples.iter().map(|sample| sample.figure).collect();
    let median_of = |value: fn(&Sample) -> f64| {
        median(
            &samples
                .iter()
                .map(|sample| value(sample))
                .collect::<Vec<_>>(),
        )
    };
    let mib = |pointer: &str| {
        let bytes = samples
            .iter()
            .filter_map(|sample| sample.detail.pointer(pointer)?.as_f64());
        median(
            &bytes
                .map(|bytes| bytes / f64::from(1 << 20))
                .collect::<Vec<_>>(),
        )
    };
    Some(Row {
        variant,
        median: median(&figures)?,
        least: figures.iter().copied().fold(f64::INFINITY, f64::min),
        most: figures.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        to_haproxy: paired_ratio(run, variant, Variant::Haproxy),
        to_nginx: paired_ratio(run, variant, Variant::Nginx),
        responses_per_second: median_of(|sample| sample.responses_per_second)?,
        server_load: median_of(|sample| sample.server_load)?,
        user_us: median_of(|sample| sample.server_user_s * 1e6 / sample.responses.max(1) as f64)?,
        p99_us: median(
            &samples
                .iter()
                .filter_map(|sample| sample.p99_us)
                .collect::<Vec<_>>(),
        ),
        resident_mib: mib("/rss_bytes_before").zip(mib("/rss_bytes_after")),
        fault: samples.iter().find_map(|sample| sample.fault.clone()),
    })
}

fn kept(run: &CaseRun, variant: Variant) -> impl Iterator<Item = &Sample> {
    run.rounds
        .samples
        .iter()
        .filter(move |sample| sample.kept && sample.variant == variant)
}

/// Pairs by round, because only figures of one round were taken on the same machine, so to speak.
fn paired_ratio(run: &CaseRun, variant: Variant, peer: Variant) -> Option<f64> {
    let ratios: Vec<f64> = kept(run, variant)
        .filter_map(|sample| {
            let pair = kept(run, peer).find(|other| other.attempt == sample.attempt)?;
            (pair.figure > 0.0).then(|| sample.figure / pair.figure)
        })
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::super::case::CASES;
    use super::*;
    use crate::rounds::Rounds;

    fn sample(attempt: u32, variant: Variant, figure: f64, kept: bool) -> Sample {
        Sample {
            case: "small-64",
            attempt,
            variant,
            kept,
            reason: None,
            fault: None,
            figure,
            elapsed_s: 1.0,
            responses: 1000,
            responses_per_second: 1000.0,
            p99_us: None,
            server_user_s: 0.1,
            server_system_s: 0.4,
            server_load: 0.5,
            others_on_server_core: 0.0,
            others_on_load_core: 0.0,
            detail: serde_json::Value::Null,
        }
    }

    fn small_run() -> CaseRun {
        let mut samples = Vec::new();
        // The machine slows down threefold between rounds: medians drift, paired ratios do not.
        for (attempt, speed, kept) in [
            (0, 1.0, true),
            (1, 9.0, false),
            (2, 2.0, true),
            (3, 3.0, true),
        ] {
            samples.push(sample(attempt, Variant::Ours, 7.0 * speed, kept));
            samples.push(sample(attempt, Variant::Haproxy, 10.0 * speed, kept));
        }
        CaseRun {
            case: CASES[0],
            variants: vec![Variant::Ours, Variant::Haproxy],
            rounds: Rounds {
                samples,
                disturbed: 1,
                is_result: true,
            },
        }
    }

    #[test]
    fn medians_leave_out_repeated_rounds_and_ratios_are_paired() {
        let run = small_run();
        let rows = rows(&run);
        assert_eq!(rows[0].median, 14.0);
        assert_eq!((rows[1].least, rows[1].most), (10.0, 30.0));
        assert!((rows[0].to_haproxy.unwrap() - 0.7).abs() < 1e-9);
        assert_eq!(rows[0].to_nginx, None);
        assert!((rows[0].user_us - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_budget_is_held_only_without_faults() {
        let mut run = small_run();
        let verdict = verdicts(&run, &rows(&run));
        assert_eq!(
            verdict.len(),
            1,
            "nginx was not measured, so its budget is not judged"
        );
        assert!(verdict[0].starts_with("budget held"), "{}", verdict[0]);
        run.rounds.samples[0].fault = Some("Non-2xx or 3xx responses: 3".to_owned());
        assert!(verdicts(&run, &rows(&run))[0].starts_with("budget missed"));
    }
}
