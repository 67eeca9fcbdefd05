//! The call: what may be typed. Only what exists in this version stands here,
//! so that the help text is true.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Meridian: a load balancer that a provider runs once and all its customers share
#[derive(Debug, Parser)]
#[command(
    name = "meridianctl",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 the input is wrong (the manifest, or what this host offers it); \
2 the call is wrong; 3 the server cannot be reached; 4 refused (not allowed)."
)]
pub(crate) struct Call {
    /// How to answer: tables and sentences for people, or JSON on stdout for scripts
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What may be asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this host in the foreground
    #[command(long_about = "Run everything on this host in the foreground.

Checks the manifest, makes the state directory's configuration equal to it, opens the \
listeners, starts meridian-dataplane and, when every worker serves, prints one line on stdout: \
`ready revision=N http=ADDRESS,...`.

When the manifest is wrong, all its problems are printed and the last good revision is served; \
without one the exit code is 1. A plane that dies is started again at once, then after 0.1, \
0.2 ... 5 seconds; clients wait meanwhile and are not refused. A plane that dies before it was \
first ready ends the command.

SIGTERM or SIGINT: finish the requests under way, then stop; a second one stops now. SIGHUP: \
open logs anew. MERIDIAN_DATAPLANE names the meridian-dataplane to start; without it, the one \
beside meridianctl is.")]
    Up(Up),
    /// Validate a manifest: all problems, not the first
    #[command(long_about = "Validate a manifest: all problems, not the first.

Reads the manifest and compiles it, and changes nothing. Exit code 0 when it is right, 1 with \
all its problems, each with file, line, key and remedy. Keys that are right but not available \
in this version are listed and are no fault here; `up` refuses them.")]
    Check(Check),
    /// Show what the planes of this host run: revision, workers, sites, backends
    Status(Status),
}

/// `meridianctl up`
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// The manifest to serve
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) state: State,
}

/// `meridianctl check`
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The manifest to validate
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `meridianctl status`
#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) state: State,
}

/// Where this host keeps what it knows.
#[derive(Args, Debug)]
pub(crate) struct State {
    /// The state directory [default: /var/lib/meridian as root, else $XDG_STATE_HOME/meridian]
    #[arg(long = "state", value_name = "DIR", env = "MERIDIAN_STATE")]
    pub(crate) directory: Option<PathBuf>,
}

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people; never parse it
    Table,
    /// One JSON value on stdout (`up`: one a line)
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_call_is_consistent() {
        Call::command().debug_assert();
    }
}
