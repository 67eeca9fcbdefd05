//! From samples to figures: medians, worst rounds, paired ratios.

use super::figure::Figure;
use super::rounds::CaseRun;
use super::sample::Sample;
use super::variant::{House, Variant};
use crate::median::median;

/// A variant's figure over the kept rounds: the middle one, or the worst where that counts.
pub(super) fn value(run: &CaseRun, variant: Variant, figure: Figure) -> Option<f64> {
    let values = values(run, variant, figure);
    if figure.counts_worst() {
        return values.into_iter().reduce(f64::max);
    }
    median(&values)
}

pub(super) fn values(run: &CaseRun, variant: Variant, figure: Figure) -> Vec<f64> {
    kept(run, variant)
        .filter_map(|sample| sample.figures.get(&figure).copied())
        .collect()
}

/// Median over the rounds of this figure divided by the peer's in the same round.
pub(super) fn paired_ratio(
    run: &CaseRun,
    variant: Variant,
    peer: Variant,
    figure: Figure,
) -> Option<f64> {
    let ratios: Vec<f64> = kept(run, variant)
        .filter_map(|sample| {
            let pair = kept(run, peer).find(|other| other.attempt == sample.attempt)?;
            let (own, theirs) = (sample.figures.get(&figure)?, pair.figures.get(&figure)?);
            (*theirs > 0.0).then(|| own / theirs)
        })
        .collect();
    median(&ratios)
}

pub(super) fn kept(run: &CaseRun, variant: Variant) -> impl Iterator<Item = &Sample> {
    run.rounds
        .samples
        .iter()
        .filter(move |sample| sample.kept && sample.variant == variant)
}

/// Whether the budgets of a case were kept, in words, for each of Meridian's variants. One that
/// has no figure, such as a change that was never seen everywhere, has missed its budget.
pub(super) fn verdicts(run: &CaseRun) -> Vec<String> {
    let mut verdicts = Vec::new();
    let ours = run.variants.iter().copied();
    for variant in ours.filter(|variant| variant.house() == House::Meridian) {
        if kept(run, variant).next().is_none() {
            continue;
        }
        for budget in run.case.budgets {
            let complete = kept(run, variant).all(|it| it.figures.contains_key(&budget.figure));
            let seen = value(run, variant, budget.figure).filter(|_| complete);
            let held = seen.is_some_and(|seen| seen <= budget.most);
            let word = if held { "held" } else { "missed" };
            let seen = seen.map_or("never reached".to_owned(), |seen| format!("{seen:.1}"));
            verdicts.push(format!(
                "budget {word} by {}: {} {seen}, at most {}",
                variant.name(),
                budget.figure.heading(),
                budget.most
            ));
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::case::CASES;
    use super::*;
    use crate::rounds::Rounds;

    fn sample(attempt: u32, variant: Variant, live_ms: f64, stale: f64, kept: bool) -> Sample {
        Sample {
            case: "change",
            attempt,
            variant,
            kept,
            reason: None,
            fault: None,
            sites: 10,
            workers: 2,
            figures: BTreeMap::from([
                (Figure::LiveMs, live_ms),
                (Figure::Stale, stale),
                (Figure::Failed, 0.0),
            ]),
            others: 0.0,
            detail: serde_json::Value::Null,
        }
    }

    fn run() -> CaseRun {
        let mut samples = Vec::new();
        for (attempt, slow, stale, kept) in [
            (0, 1.0, 0.0, true),
            (1, 9.0, 0.0, false),
            (2, 2.0, 3.0, true),
            (3, 3.0, 0.0, true),
        ] {
            samples.push(sample(attempt, Variant::OursSet, 7.0 * slow, stale, kept));
            samples.push(sample(attempt, Variant::HaproxyApi, 10.0 * slow, 0.0, kept));
        }
        CaseRun {
            case: *CASES.iter().find(|case| case.name == "change").unwrap(),
            variants: vec![Variant::OursSet, Variant::HaproxyApi],
            rounds: Rounds {
                samples,
                disturbed: 1,
                is_result: true,
            },
        }
    }

    #[test]
    fn times_are_medians_and_faults_are_those_of_the_worst_round() {
        let run = run();
        let of_ours = |figure| value(&run, Variant::OursSet, figure);
        assert_eq!(of_ours(Figure::LiveMs), Some(14.0));
        assert_eq!(of_ours(Figure::Stale), Some(3.0));
        let ratio = paired_ratio(&run, Variant::OursSet, Variant::HaproxyApi, Figure::LiveMs);
        assert!((ratio.unwrap() - 0.7).abs() < 1e-9);
    }

    #[test]
    fn one_stale_request_misses_the_budget_and_so_does_what_was_never_seen() {
        let mut run = run();
        let words = verdicts(&run).join("\n");
        assert!(
            words.contains("held by ours-set: ms accepted to live"),
            "{words}"
        );
        assert!(words.contains("missed by ours-set: stale 3.0"), "{words}");
        run.rounds.samples[0].figures.remove(&Figure::LiveMs);
        let words = verdicts(&run).join("\n");
        assert!(words.contains("live never reached"), "{words}");
    }
}
