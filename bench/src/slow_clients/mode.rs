//! The ways in which slowhttptest can be slow.

use serde::{Deserialize, Serialize};

/// A way to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// A field every ten seconds, and never the end (slowloris).
    Head,
    /// A body of which a few bytes come now and then.
    Body,
    /// A large answer of which nearly nothing is read.
    Read,
    /// A head with ranges by the hundred.
    Range,
    /// In all these ways at once, with a quarter of the connections each.
    Together,
}

impl Mode {
    pub(super) const ALL: [Mode; 4] = [Mode::Head, Mode::Body, Mode::Read, Mode::Range];

    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Head => "head",
            Mode::Body => "body",
            Mode::Read => "read",
            Mode::Range => "range",
            Mode::Together => "together",
        }
    }

    /// What runs at once.
    pub(super) fn ways(self) -> Vec<Mode> {
        match self {
            Mode::Together => Mode::ALL.to_vec(),
            way => vec![way],
        }
    }

    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Mode::Head => &["-H", "-i", "10", "-x", "24"],
            Mode::Body => &["-B", "-i", "10", "-s", "8192", "-x", "10"],
            Mode::Read => &["-X", "-n", "5", "-z", "32", "-w", "512", "-y", "1024"],
            Mode::Range => &["-R", "-a", "5", "-b", "500", "-t", "GET"],
            Mode::Together => &[],
        }
    }

    /// What they ask for. A large answer keeps a proxy holding on to something.
    pub(super) fn path(self) -> &'static str {
        match self {
            Mode::Read => "/b/4000000",
            Mode::Head | Mode::Body | Mode::Range | Mode::Together => "/b/100",
        }
    }

    /// Whether the connections last as long as the proxy lets them.
    pub(super) fn lasts(self) -> bool {
        self != Mode::Range
    }
}
