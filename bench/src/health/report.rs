//! The report as Markdown.

use std::fmt::Write;

use super::Options;
use super::rig::Rig;
use super::sample::{Sample, Variant};
use crate::machine::Machine;
use crate::markdown::{figure, preamble, range, ratio, table_line, table_rule};
use crate::median::median;

/// A check may cost so many times what a bare connect and its end do.
const COST_RATIO_MOST: f64 = 1.5;
/// A p99 that is so many times what it is without checks has not moved: rounds without anything
/// beside them differ by as much.
const P99_RATIO_MOST: f64 = 1.2;

const HOW: &str = "## How\n
- CPU: exact time of the threads (schedstat), while no requests came, divided by the connections that were
  opened meanwhile (ActiveOpens of this network namespace). Of checks it is that of the whole plane and its
  supervisor; of the bare loop that of its process. Both ends of a connection are in it: on loopback the
  kernel does the listener's part at the connector's cost.
- The bare loop is `meridian-bench connect-loop`: socket, SO_LINGER of zero, connect, epoll, SO_ERROR, close.
- p99: open loop, counted from the moment a request was due. Ratios are the medians of those within each round.
- What the worker waits is the mean time from when there was something for it until it had its CPU
  (schedstat), while requests came: what whoever shares the core does to it, whatever the machine does.
- Plane, checker and bare loop are on one core; load and backends, which are one listener, on the other.
";

/// The whole report. Writing into a `String` can not fail.
pub(super) fn markdown(
    machine: &Machine,
    rig: &Rig,
    options: &Options,
    samples: &[Sample],
) -> String {
    let trial = options.quick.then_some("disturbed rounds kept");
    let method = format!(
        "{} backends, each checked by connecting every {:?}; {} requests a second. {} rounds, each step {:?}.",
        rig.declared.backends, rig.interval, options.rate, options.rounds, options.step
    );
    let mut text = preamble("Checks of backends", machine, trial, &method);
    let mut line = |words: &str| writeln!(text, "{words}").expect("a String takes all");
    line(&table(samples));
    for verdict in verdicts(samples) {
        line(&format!("{verdict}\n"));
    }
    line(HOW);
    text
}

fn table(samples: &[Sample]) -> String {
    let heading = [
        "beside",
        "connects/s",
        "us CPU/connect",
        "least to most",
        "to bare",
        "of it the checker's",
        "% of a core",
        "p50 us",
        "p99 us",
        "least to most",
        "p99 to alone",
        "us the worker waits",
        "failed",
    ];
    let mut table = table_line(&heading.map(str::to_owned)) + &table_rule(heading.len());
    for variant in Variant::ALL {
        let of = |what: fn(&Sample) -> Option<f64>| values(samples, variant, what);
        let middle = |what| median(&of(what)).map_or("-".to_owned(), figure);
        let failed: u64 = kept(samples, variant).map(|it| it.loaded.failed).sum();
        table.push_str(&table_line(&[
            variant.name().to_owned(),
            middle(|it| Some(it.connects_per_second())),
            middle(Sample::us_per_connect),
            range(&of(Sample::us_per_connect)),
            ratio(paired(
                samples,
                variant,
                Variant::Bare,
                Sample::us_per_connect,
            )),
            middle(Sample::checker_us_per_connect),
            middle(|it| Some(it.us_per_connect()? * it.connects_per_second() / 1e4)),
            middle(|it| Some(it.loaded.p50_us)),
            middle(p99),
            range(&of(p99)),
            ratio(paired(samples, variant, Variant::Alone, p99)),
            middle(|it| Some(it.loaded.worker_waited_us)),
            failed.to_string(),
        ]));
    }
    table
}

/// Whether the budgets were kept, in words.
fn verdicts(samples: &[Sample]) -> Vec<String> {
    if kept(samples, Variant::Checks).next().is_none() {
        return vec!["**No result: too many rounds were disturbed.**".to_owned()];
    }
    let cost = paired(
        samples,
        Variant::Checks,
        Variant::Bare,
        Sample::us_per_connect,
    );
    let moved = paired(samples, Variant::Checks, Variant::Alone, p99);
    let late = kept(samples, Variant::Checks)
        .map(|it| it.checked.late)
        .max();
    let failures = kept(samples, Variant::Checks)
        .map(|it| it.checked.failures)
        .max();
    vec![
        verdict(
            "CPU of a check to that of a bare connect",
            cost,
            COST_RATIO_MOST,
        ),
        verdict_of_p99(moved, &values(samples, Variant::Alone, p99)),
        format!(
            "Of all checks {} began late and {} failed.",
            late.unwrap_or(0),
            failures.unwrap_or(0)
        ),
    ]
}

fn verdict(what: &str, seen: Option<f64>, most: f64) -> String {
    let word = if seen.is_some_and(|seen| seen <= most) {
        "held"
    } else {
        "missed"
    };
    format!("Budget {word}: {what} {}, at most {most}.", ratio(seen))
}

/// A ratio that rounds without checks have among themselves tells nothing.
fn verdict_of_p99(moved: Option<f64>, alone: &[f64]) -> String {
    let what = "p99 with checks to that without";
    let most = alone.iter().copied().reduce(f64::max);
    let by_itself = most.zip(median(alone)).map(|(most, middle)| most / middle);
    let is_open = moved
        .zip(by_itself)
        .is_some_and(|(moved, by_itself)| moved > P99_RATIO_MOST && moved <= by_itself);
    if !is_open {
        return verdict(what, moved, P99_RATIO_MOST);
    }
    format!(
        "Budget open: {what} {}, at most {P99_RATIO_MOST}; but without checks it went from {} us by itself.",
        ratio(moved),
        range(alone)
    )
}

fn p99(sample: &Sample) -> Option<f64> {
    Some(sample.loaded.p99_us)
}

fn kept(samples: &[Sample], variant: Variant) -> impl Iterator<Item = &Sample> {
    samples
        .iter()
        .filter(move |it| it.kept && it.variant == variant)
}

fn values(samples: &[Sample], variant: Variant, what: fn(&Sample) -> Option<f64>) -> Vec<f64> {
    kept(samples, variant).filter_map(what).collect()
}

/// Median of the ratios within each round.
fn paired(
    samples: &[Sample],
    variant: Variant,
    to: Variant,
    what: fn(&Sample) -> Option<f64>,
) -> Option<f64> {
    let ratios = kept(samples, variant).filter_map(|sample| {
        let pair = kept(samples, to).find(|other| other.round == sample.round)?;
        Some(what(sample)? / what(pair)?)
    });
    median(&ratios.collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Checked, Idle, Loaded};
    use super::*;

    fn sample(variant: Variant, round: u32, cpu_s: f64, p99_us: f64) -> Sample {
        let is = |wanted| if variant == wanted { cpu_s } else { 0.0 };
        Sample {
            variant,
            round,
            kept: true,
            reason: None,
            idle: Idle {
                seconds: 2.0,
                connects: 10_000,
                plane_cpu_s: is(Variant::Checks),
                checker_cpu_s: is(Variant::Checks) / 2.0,
                loop_cpu_s: is(Variant::Bare),
            },
            loaded: Loaded {
                connects_per_second: 5000.0,
                responses: 100,
                failed: 0,
                p50_us: 100.0,
                p99_us,
                p999_us: 2.0 * p99_us,
                worker_waited_us: 3.0,
            },
            others: 0.0,
            checked: Checked::default(),
        }
    }

    fn samples(check_cpu_s: f64, check_p99_us: f64) -> Vec<Sample> {
        let round = |round, slower: f64| {
            [
                sample(Variant::Alone, round, 0.0, 200.0 * slower),
                sample(Variant::Bare, round, 0.3 * slower, 200.0 * slower),
                sample(
                    Variant::Checks,
                    round,
                    check_cpu_s * slower,
                    check_p99_us * slower,
                ),
            ]
        };
        // The second round's machine is slower by half, which is in no ratio.
        [round(0, 1.0), round(1, 1.5), round(2, 1.0)].concat()
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        let samples = samples(0.42, 220.0);
        let table = table(&samples);
        let cells = |name: &str| {
            let row = table.lines().find(|row| row.contains(name)).unwrap();
            row.split('|')
                .map(str::trim)
                .map(str::to_owned)
                .collect::<Vec<String>>()
        };
        let checks = cells("| checks");
        assert_eq!(
            checks[2..8],
            ["5000", "42.0", "42.0 to 63.0", "1.40", "21.0", "21.0"]
        );
        assert_eq!(checks[9..12], ["220", "220 to 330", "1.10"]);
        assert_eq!(cells("| alone")[3..6], ["-", "-", "-"]);
    }

    #[test]
    fn budgets_are_held_and_missed() {
        let words = verdicts(&samples(0.42, 220.0)).join("\n");
        assert!(
            words.contains("Budget held: CPU") && words.contains("Budget held: p99"),
            "{words}"
        );
        let words = verdicts(&samples(0.48, 260.0)).join("\n");
        // Without checks the second round's was half as much again as the others'.
        assert!(words.contains("Budget open: p99"), "{words}");
        assert!(words.contains("went from 200 to 300 us"), "{words}");
        let words = verdicts(&samples(0.48, 400.0)).join("\n");
        assert!(
            words.contains("Budget missed: CPU of a check to that of a bare connect 1.60"),
            "{words}"
        );
        assert!(words.contains("Budget missed: p99"), "{words}");
        let mut none = samples(0.42, 220.0);
        none.iter_mut().for_each(|sample| sample.kept = false);
        assert!(verdicts(&none).join("\n").contains("No result"));
    }
}
