//! What is measured, and how a round's figures become one.

use serde::Serialize;

/// A column of a report; of all of them less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Figure {
    /// From exec, or from the kill, to the last byte of the first right answer.
    FirstAnswerMs,
    /// CPU time of all processes of the server until then.
    StartCpuMs,
    /// Proportional memory of all processes of the server.
    MemoryMib,
    /// The same for each site, what an empty server needs included.
    BytesPerSite,
    /// What certificates that nobody asked for add to that, each.
    BytesPerCertificate,
    /// From the moment the command was given until every later request met the new state.
    SeenMs,
    /// The same from the moment the server says that it accepted; the peers do not say.
    LiveMs,
    /// Until the command returned.
    CommandMs,
    /// Requests without a whole 2xx response, and connections refused.
    Failed,
    /// Requests begun after the change was live that the old backend answered.
    Stale,
    /// The slowest short request while the change was made.
    SlowestMs,
    /// CPU time of server and command beyond what the load takes in such a time.
    ChangeCpuMs,
    MemoryBeforeMib,
    MemoryPeakMib,
    /// Processes of the server at the same time.
    ProcessesPeak,
}

impl Figure {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::FirstAnswerMs => "ms to first answer",
            Self::StartCpuMs => "ms CPU",
            Self::MemoryMib => "MiB",
            Self::BytesPerSite => "bytes/site",
            Self::BytesPerCertificate => "bytes/unused certificate",
            Self::SeenMs => "ms command to seen",
            Self::LiveMs => "ms accepted to live",
            Self::CommandMs => "ms of the command",
            Self::Failed => "failed",
            Self::Stale => "stale",
            Self::SlowestMs => "ms slowest",
            Self::ChangeCpuMs => "ms CPU",
            Self::MemoryBeforeMib => "MiB before",
            Self::MemoryPeakMib => "MiB peak",
            Self::ProcessesPeak => "processes",
        }
    }

    /// Of a change: one that has none was never seen everywhere.
    pub(super) fn is_awaited(self) -> bool {
        matches!(self, Self::SeenMs | Self::LiveMs)
    }

    /// A fault in one round is a fault: of these the worst round counts, not the middle one.
    pub(super) fn counts_worst(self) -> bool {
        matches!(self, Self::Failed | Self::Stale | Self::ProcessesPeak)
    }
}
