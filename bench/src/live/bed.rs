//! Where everything is and runs, and for how long each step lasts.

use std::path::PathBuf;
use std::time::Duration;

use super::configuration::Sites;
use super::server::Place;
use crate::cores::Cores;

/// What all trials of a case share.
pub(super) struct Bed {
    pub(super) cores: Cores,
    pub(super) bin_dir: PathBuf,
    pub(super) sites: Sites,
    pub(super) steps: Steps,
    /// Processes of the bench: the backends.
    pub(super) own: Vec<u32>,
}

/// How long each step of a trial lasts.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// From the first answer until memory is read: what a server needed for the start alone it has
    /// had time to give back.
    pub(super) settle: Duration,
    /// Load before anything is measured.
    pub(super) warm_up: Duration,
    /// Load during which nothing changes, for what it takes by itself.
    pub(super) quiet: Duration,
    /// Load after a change was seen.
    pub(super) after: Duration,
    /// From one change to the next.
    pub(super) between: Duration,
    /// How long the responses last that are under way at one change.
    pub(super) long_ms: u64,
    /// The same while changes pile up.
    pub(super) pile_long_ms: u64,
}

impl Steps {
    pub(super) const MEASURED: Self = Self {
        settle: Duration::from_secs(4),
        warm_up: Duration::from_secs(1),
        quiet: Duration::from_secs(2),
        after: Duration::from_secs(3),
        between: Duration::from_secs(1),
        long_ms: 1000,
        pile_long_ms: 15_000,
    };
    /// Enough to see that everything works.
    pub(super) const QUICK: Self = Self {
        settle: Duration::from_millis(100),
        warm_up: Duration::from_millis(200),
        quiet: Duration::from_millis(300),
        after: Duration::from_millis(500),
        between: Duration::from_millis(250),
        long_ms: 200,
        pile_long_ms: 600,
    };
}

impl Bed {
    /// Meridian's state directory of one trial; its name is short, for a socket stands within.
    pub(super) fn state(&self, name: &str) -> PathBuf {
        self.sites.directory.join(name)
    }

    pub(super) fn place<'a>(&'a self, cores: &'a [usize], state: PathBuf) -> Place<'a> {
        Place {
            sites: &self.sites,
            bin_dir: &self.bin_dir,
            state,
            cores,
            home: self.cores.load,
        }
    }
}
