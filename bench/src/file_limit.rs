//! The limit on open files, which every held connection counts against.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::Failure;

/// Makes room for `needed` descriptors in this process and in those it starts.
pub(crate) fn raise_to(needed: u64) -> Result<(), Failure> {
    let now = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|files| files >= needed);
    if enough(now.current) {
        return Ok(());
    }
    // An unprivileged process may go up to the hard limit; a privileged one past it.
    let maximum = if enough(now.maximum) {
        now.maximum
    } else {
        Some(needed)
    };
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )
    .map_err(|error| {
        Failure::new(format!(
            "{needed} open files are needed and the hard limit is {}: {error}; \
             raise it (ulimit -Hn {needed} as root) or ask for fewer connections",
            now.maximum.unwrap_or(0)
        ))
    })
}
