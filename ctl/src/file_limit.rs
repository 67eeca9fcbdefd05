//! How many files this process and its planes may hold open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit on open files to the hard one; the planes inherit it.
/// Every connection is a descriptor, and the usual soft limit of 1024 exists
/// only for programs that still call `select`.
///
/// # Errors
/// Words for the operator; the limit stays as it was.
pub(crate) fn raise() -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let now = limit
            .current
            .map_or("unlimited".to_string(), |n| n.to_string());
        format!("the limit on open files stays at {now}: {error}; raise it with `ulimit -n`")
    })
}
