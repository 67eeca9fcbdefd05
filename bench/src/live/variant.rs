//! What is compared: a server, and a way to start or to change it.

use serde::Serialize;

/// A server and a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Variant {
    /// `meridianctl up -f` on an empty state directory.
    OursFirst,
    /// `meridianctl up -f` of the same manifest on the state that an earlier one left.
    OursAgain,
    /// The data plane alone killed with SIGKILL.
    OursKilled,
    /// `meridianctl set backend`.
    OursSet,
    /// `meridianctl set site`.
    OursSetSite,
    /// `meridianctl apply -f` of the whole manifest.
    OursApply,
    /// HAProxy in master-worker mode, started.
    Haproxy,
    /// HAProxy's runtime API: `set server ... addr`.
    HaproxyApi,
    /// HAProxy's runtime API: `set map`, to a backend that stood ready.
    HaproxyMap,
    /// SIGUSR2 to HAProxy's master, which starts another worker with -sf.
    HaproxyReload,
    /// nginx, started.
    Nginx,
    /// SIGHUP to nginx's master.
    NginxReload,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum House {
    Meridian,
    Haproxy,
    Nginx,
}

impl Variant {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OursFirst => "ours-first",
            Self::OursAgain => "ours-again",
            Self::OursKilled => "ours-killed",
            Self::OursSet => "ours-set",
            Self::OursSetSite => "ours-set-site",
            Self::OursApply => "ours-apply",
            Self::Haproxy => "haproxy",
            Self::HaproxyApi => "haproxy-api",
            Self::HaproxyMap => "haproxy-map",
            Self::HaproxyReload => "haproxy-reload",
            Self::Nginx => "nginx",
            Self::NginxReload => "nginx-reload",
        }
    }

    pub(super) fn house(self) -> House {
        match self {
            Self::OursFirst
            | Self::OursAgain
            | Self::OursKilled
            | Self::OursSet
            | Self::OursSetSite
            | Self::OursApply => House::Meridian,
            Self::Haproxy | Self::HaproxyApi | Self::HaproxyMap | Self::HaproxyReload => {
                House::Haproxy
            }
            Self::Nginx | Self::NginxReload => House::Nginx,
        }
    }

    /// Whether the site that changes belongs to the API, so that `set` may change it.
    pub(super) fn owns_by_api(self) -> bool {
        matches!(self, Self::OursSet | Self::OursSetSite)
    }

    /// Whether the command returns only when the change is live, or says that it does.
    pub(super) fn says_when_live(self) -> bool {
        !matches!(self, Self::HaproxyReload | Self::NginxReload)
    }
}
