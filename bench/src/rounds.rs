//! Rounds: every variant once in each, in turning order, so that a machine whose speed drifts
//! treats all alike; a round that others disturbed is repeated.

use std::io::Write;

use serde::Serialize;

use crate::disturbance::too_many_disturbed;
use crate::failure::Failure;

/// How many rounds there are to be.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) rounds: u32,
    /// A trial keeps disturbed rounds and is no result.
    pub(crate) trial: bool,
}

/// A line of samples.jsonl that is judged with its round.
pub(crate) trait Judged: Serialize {
    /// Why it can not stand, when it can not.
    fn disturbance(&self) -> Option<String>;

    /// Whether its round enters the medians, and how the round was disturbed.
    fn judge(&mut self, kept: bool, reason: Option<String>);
}

/// What became of the rounds.
pub(crate) struct Rounds<S> {
    /// All samples in the order in which they were taken, those not kept included.
    pub(crate) samples: Vec<S>,
    pub(crate) disturbed: u32,
    /// Whether the planned number of undisturbed rounds was reached.
    pub(crate) is_result: bool,
}

/// Has `take` take a sample of each of so many variants, by its number, in each round, which is
/// numbered too. Each sample is written to `log` as soon as its round is judged.
pub(crate) fn run<S: Judged>(
    name: &str,
    variants: usize,
    schedule: Schedule,
    log: &mut impl Write,
    mut take: impl FnMut(usize, u32) -> Result<S, Failure>,
) -> Result<Rounds<S>, Failure> {
    let mut rounds = Rounds {
        samples: Vec::new(),
        disturbed: 0,
        is_result: false,
    };
    let (mut attempt, mut kept_rounds) = (0, 0);
    while kept_rounds < schedule.rounds {
        let mut round = Vec::new();
        for turn in 0..variants {
            round.push(take((turn + attempt as usize) % variants, attempt)?);
        }
        let reason = round.iter().find_map(S::disturbance);
        let kept = reason.is_none() || schedule.trial;
        rounds.disturbed += u32::from(reason.is_some());
        kept_rounds += u32::from(kept);
        attempt += 1;
        if let Some(reason) = &reason {
            let what = if kept { "disturbed" } else { "repeated" };
            eprintln!("{name} round {attempt}: {what}: {reason}");
        }
        for sample in &mut round {
            sample.judge(kept, reason.clone());
            let line = serde_json::to_string(sample).map_err(Failure::at("sample"))?;
            writeln!(log, "{line}").map_err(Failure::at("samples.jsonl"))?;
        }
        rounds.samples.append(&mut round);
        if !schedule.trial && too_many_disturbed(rounds.disturbed, schedule.rounds) {
            return Ok(rounds);
        }
    }
    rounds.is_result = !schedule.trial;
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Sample {
        variant: usize,
        attempt: u32,
        is_disturbed: bool,
        kept: bool,
    }

    impl Judged for Sample {
        fn disturbance(&self) -> Option<String> {
            self.is_disturbed.then(|| "noise".to_owned())
        }

        fn judge(&mut self, kept: bool, _: Option<String>) {
            self.kept = kept;
        }
    }

    fn taken(disturbed: &[u32], trial: bool) -> (Rounds<Sample>, String) {
        let mut log = Vec::new();
        let schedule = Schedule { rounds: 3, trial };
        let rounds = run("case", 2, schedule, &mut log, |variant, attempt| {
            Ok(Sample {
                variant,
                attempt,
                is_disturbed: variant == 1 && disturbed.contains(&attempt),
                kept: true,
            })
        });
        (rounds.unwrap(), String::from_utf8(log).unwrap())
    }

    #[test]
    fn a_disturbed_round_is_repeated_whole_and_the_order_turns() {
        let (rounds, log) = taken(&[1], false);
        let order: Vec<usize> = rounds.samples.iter().map(|it| it.variant).collect();
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0]);
        let kept: Vec<bool> = rounds.samples.iter().map(|it| it.kept).collect();
        assert_eq!(kept, [true, true, false, false, true, true, true, true]);
        assert!(rounds.is_result && rounds.disturbed == 1);
        assert_eq!(log.lines().count(), 8);
        assert_eq!(rounds.samples[7].attempt, 3);
    }

    #[test]
    fn too_many_disturbed_rounds_are_no_result_and_a_trial_never_is() {
        let (rounds, _) = taken(&[0, 1, 2], false);
        assert!(!rounds.is_result);
        assert_eq!(rounds.samples.len(), 4, "it is given up early");
        let (rounds, _) = taken(&[0, 1, 2], true);
        assert!(!rounds.is_result && rounds.samples.iter().all(|it| it.kept));
        assert_eq!(rounds.samples.len(), 6);
    }
}
