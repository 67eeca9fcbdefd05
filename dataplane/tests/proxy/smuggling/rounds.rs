//! How many random cases are tried, from which seeds, and where it is written down.
//!
//! `SMUGGLING_SEED=N` tries the round of one seed again. `SMUGGLING_LOG=FILE` makes it a long run:
//! rounds follow each other for `SMUGGLING_MINUTES` (60), each seed is a line of FILE when its
//! round has passed, and a later run goes on behind the last. What failed once is kept by proptest
//! in `tests/proxy/smuggling/failures`, and tried first from then on.

use proptest::strategy::Strategy;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngSeed, TestCaseError, TestError, TestRunner,
};
use std::fmt::Debug;
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where proptest keeps what failed; the working directory of a test is its crate's.
const FAILURES: &str = "tests/proxy/smuggling/failures";

/// Tries `cases` random values, or many times that many in a long run. `name` tells the runs of
/// one log apart.
pub(super) fn try_many<S: Strategy>(
    name: &str,
    cases: u32,
    strategy: &S,
    mut check: impl FnMut(S::Value) -> Result<(), String>,
) where
    S::Value: Debug,
{
    let Some(log) = std::env::var_os("SMUGGLING_LOG") else {
        return try_round(name, seed_of_the_day(), cases, strategy, &mut check);
    };
    let minutes = std::env::var("SMUGGLING_MINUTES").ok();
    let minutes = minutes.and_then(|it| it.parse().ok()).unwrap_or(60);
    let ends = Instant::now() + Duration::from_secs(60 * minutes);
    let done = fs::read_to_string(&log).unwrap_or_default();
    let seeds = done.lines().filter_map(|line| {
        let seed = line.strip_prefix(name)?.trim_start().split(' ').next()?;
        seed.parse::<u64>().ok()
    });
    let mut seed = seeds.max().map_or(0, |last| last + 1);
    while Instant::now() < ends {
        try_round(name, seed, cases, strategy, &mut check);
        let file = fs::File::options().append(true).create(true).open(&log);
        file.and_then(|mut file| writeln!(file, "{name} {seed} {cases} cases passed"))
            .expect("the log takes lines");
        seed += 1;
    }
}

fn seed_of_the_day() -> u64 {
    let given = std::env::var("SMUGGLING_SEED").ok();
    given.and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(1, |since| since.as_nanos() as u64)
    })
}

fn try_round<S: Strategy>(
    name: &str,
    seed: u64,
    cases: u32,
    strategy: &S,
    check: &mut impl FnMut(S::Value) -> Result<(), String>,
) where
    S::Value: Debug,
{
    eprintln!("{name}: SMUGGLING_SEED={seed}");
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 300,
        max_shrink_time: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILURES))),
        ..Config::default()
    };
    let check = std::cell::RefCell::new(check);
    let result = TestRunner::new(config).run(strategy, |value| {
        (check.borrow_mut())(value).map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(what, least)) => {
            panic!("{name}, SMUGGLING_SEED={seed}: {what}\nat the least with {least:#?}")
        }
        Err(error) => panic!("{name}, SMUGGLING_SEED={seed}: {error}"),
    }
}
