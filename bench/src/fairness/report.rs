//! The report as Markdown.

use super::Case;
use super::sample::{Sample, Steps};
use crate::compare::variant::Variant;
use crate::machine::Machine;
use crate::markdown::{figure, preamble, range, ratio, table_line, table_rule};
use crate::median::median;
use crate::rounds::Schedule;

/// So many times may the quiet tenant's p50 be what it is compared with.
const RATIO_MOST: f64 = 3.0;

const HOW: &str = "## How\n
- Alone: the quiet tenant through the server, without a flood. Straight: to its backend, during the
  flood. Flooded: through the server, at the same time. Open loop, counted from the moment a request was due.
- The ratio is that of flooded to the larger of alone and straight, within a sample; then the median over rounds.
- The flood is a closed loop of another tenant, with a backend of its own, through the same worker;
  what it got stands beside, for to starve it would be easy. It, the quiet tenant and both backends share one core.
- A round in which others took more than 6 % of either core is repeated and kept in the samples with the
  reason; more than 30 % of such: no result. Every sample is in samples.jsonl.
- HAProxy (nbthread 1) and nginx (one worker) are told as for `compare`, with a second site. Nobody has limits.
";

/// The whole report.
pub(super) fn markdown(
    machine: &Machine,
    cases: &[Case],
    variants: &[Variant],
    schedule: Schedule,
    steps: Steps,
) -> String {
    let trial = (schedule.trial).then_some("few short rounds, disturbed ones kept");
    let method = format!(
        "{} rounds, all servers in each, in turning order; each measurement {:?}, {} requests of the quiet \
         tenant a second, {} connections of the flood.",
        schedule.rounds, steps.measured, steps.rate, steps.connections
    );
    let title = "A quiet tenant beside one that floods";
    let mut text = preamble(title, machine, trial, &method);
    for case in cases {
        text.push_str(&section(case, variants));
    }
    text + HOW
}

fn section(case: &Case, variants: &[Variant]) -> String {
    let samples = &case.rounds.samples;
    let mut text = format!("## {}\n\n", case.flood.words());
    text.push_str(&table(samples, variants));
    let last = samples.iter().map(|it| it.attempt).max();
    text.push_str(&format!(
        "\nRounds: {}, of them disturbed: {}.",
        last.map_or(0, |last| last + 1),
        case.rounds.disturbed
    ));
    if !case.rounds.is_result {
        text.push_str(" **No result.**");
    }
    text.push('\n');
    for &variant in variants {
        let fault = kept(samples, variant).find_map(Sample::fault);
        if let Some(fault) = fault {
            text.push_str(&format!("\n**{}: {fault}.**\n", variant.name()));
        }
    }
    if let Some(verdict) = verdict(samples) {
        text.push_str(&format!("\n{verdict}\n"));
    }
    text.push('\n');
    text
}

fn table(samples: &[Sample], variants: &[Variant]) -> String {
    let heading = [
        "server",
        "alone: us p50",
        "straight",
        "flooded",
        "least to most",
        "ratio",
        "least to most",
        "flooded: us p99",
        "flood: responses/s",
        "flood: MiB/s",
    ];
    let mut table = table_line(&heading.map(str::to_owned)) + &table_rule(heading.len());
    for &variant in variants {
        let of =
            |what: fn(&Sample) -> f64| -> Vec<f64> { kept(samples, variant).map(what).collect() };
        let middle = |what| median(&of(what)).map_or("-".to_owned(), figure);
        table.push_str(&table_line(&[
            variant.name().to_owned(),
            middle(|it| it.alone.p50_us),
            middle(|it| it.straight.p50_us),
            middle(|it| it.flooded.p50_us),
            range(&of(|it| it.flooded.p50_us)),
            ratio(median(&of(Sample::ratio))),
            range(&of(Sample::ratio)),
            middle(|it| it.flooded.p99_us),
            middle(|it| it.flood_responses_per_second),
            middle(|it| it.flood_bytes_per_second / f64::from(1 << 20)),
        ]));
    }
    table
}

/// Whether the budget was kept, in words, where Meridian was measured.
fn verdict(samples: &[Sample]) -> Option<String> {
    let ours: Vec<&Sample> = kept(samples, Variant::Ours).collect();
    let ratios: Vec<f64> = ours.iter().map(|it| it.ratio()).collect();
    let seen = median(&ratios)?;
    let is_held = seen <= RATIO_MOST && ours.iter().all(|it| it.fault().is_none());
    let word = if is_held { "held" } else { "missed" };
    Some(format!(
        "Budget {word}: the quiet tenant's p50 is {seen:.2} times what it is compared with, at most {RATIO_MOST}."
    ))
}

fn kept(samples: &[Sample], variant: Variant) -> impl Iterator<Item = &Sample> {
    let is_wanted = move |it: &&Sample| it.kept && it.variant == variant;
    samples.iter().filter(is_wanted)
}

#[cfg(test)]
mod tests {
    use super::super::flood::Flood;
    use super::super::sample::Waited;
    use super::*;

    fn sample(attempt: u32, alone_us: f64, straight_us: f64, flooded_us: f64) -> Sample {
        let waited = |p50_us| Waited {
            p50_us,
            ..Waited::default()
        };
        Sample {
            flood: Flood::Small,
            attempt,
            variant: Variant::Ours,
            kept: true,
            reason: None,
            alone: waited(alone_us),
            straight: waited(straight_us),
            flooded: waited(flooded_us),
            flood_responses_per_second: 1000.0,
            flood_bytes_per_second: 1e5,
            flood_failed: 0,
            others: 0.0,
        }
    }

    #[test]
    fn the_larger_of_alone_and_straight_is_compared_with() {
        assert_eq!(sample(0, 100.0, 400.0, 800.0).ratio(), 2.0);
        assert_eq!(sample(0, 400.0, 100.0, 800.0).ratio(), 2.0);
    }

    #[test]
    fn a_budget_is_held_by_the_middle_round_and_only_without_faults() {
        let mut samples = vec![
            sample(0, 100.0, 400.0, 1000.0),
            sample(1, 100.0, 400.0, 9000.0),
            sample(2, 100.0, 400.0, 1100.0),
        ];
        let words = verdict(&samples).unwrap();
        assert!(words.starts_with("Budget held"), "{words}");
        assert!(words.contains(" 2.75 times"), "{words}");
        samples[0].flooded.failed = 1;
        assert!(verdict(&samples).unwrap().starts_with("Budget missed"));
        samples[0].kept = false;
        samples[2].kept = false;
        assert!(verdict(&samples).unwrap().contains(" 22.50 times"));
        samples[1].kept = false;
        assert_eq!(verdict(&samples), None);
    }

    #[test]
    fn a_flood_that_was_none_is_a_fault() {
        let mut starved = sample(0, 1.0, 1.0, 1.0);
        assert_eq!(starved.fault(), None);
        starved.flood_responses_per_second = 0.0;
        assert!(starved.fault().is_some());
    }
}
