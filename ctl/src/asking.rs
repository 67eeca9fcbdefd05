//! Asking the planes of this host: what becomes of a question that nobody answers.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::{Exit, Failure};
use crate::plane_process::{DATAPLANE, GEODNS};
use crate::plane_socket::{self, NoAnswer};
use crate::state_directory::StateDirectory;

/// How often a plane that is being started is looked for.
const START_LOOK: Duration = Duration::from_millis(10);

/// Asks the dataplane of `state` by `ask`. One that died a moment ago is being started again by
/// `up`: while `up` runs, the answer of the next one is waited for, all of it `within` at most.
///
/// # Errors
/// Exit 3 when it does not answer, 4 when this user may not ask.
pub(crate) fn ask_plane<A>(
    state: &StateDirectory,
    within: Duration,
    ask: impl Fn(&Path, Duration) -> Result<A, NoAnswer>,
) -> Result<A, Failure> {
    ask_program(DATAPLANE, &state.dataplane_socket(), state, within, ask)
}

/// Asks the DNS responder in the same way.
///
/// # Errors
/// As [`ask_plane`]; exit 3 when DNS is not answered here.
pub(crate) fn ask_responder<A>(
    state: &StateDirectory,
    within: Duration,
    ask: impl Fn(&Path, Duration) -> Result<A, NoAnswer>,
) -> Result<A, Failure> {
    let socket = state.geodns_socket();
    // `up` removes one that is left over when it has nobody answer DNS.
    if !socket.exists() && plane_socket::somebody_listens(&state.control_socket()) {
        return Err(Failure::new(
            Exit::Unreachable,
            format!(
                "no {GEODNS} runs on {}: the manifest that runs there has no listen.dns, or it is \
                 being started",
                state.path().display()
            ),
        ));
    }
    ask_program(GEODNS, &socket, state, within, ask)
}

fn ask_program<A>(
    program: &str,
    socket: &Path,
    state: &StateDirectory,
    within: Duration,
    ask: impl Fn(&Path, Duration) -> Result<A, NoAnswer>,
) -> Result<A, Failure> {
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let no_answer = match ask(socket, left.max(START_LOOK)) {
            Ok(answer) => return Ok(answer),
            Err(no_answer) => no_answer,
        };
        let is_started_again = matches!(no_answer, NoAnswer::NotRunning)
            && plane_socket::somebody_listens(&state.control_socket());
        if !is_started_again {
            return Err(unreachable(program, &no_answer, state.path(), socket));
        }
        if left.is_zero() {
            return Err(Failure::new(
                Exit::Unreachable,
                format!(
                    "no {program} runs on {} yet: the meridianctl up that runs there is starting \
                     it; what up writes to stderr says why it takes over {} s",
                    state.path().display(),
                    within.as_secs()
                ),
            ));
        }
        std::thread::sleep(START_LOOK);
    }
}

/// What the call ends with when the plane did not answer.
fn unreachable(program: &str, no_answer: &NoAnswer, state: &Path, socket: &Path) -> Failure {
    let (state, socket) = (state.display(), socket.display());
    match no_answer {
        NoAnswer::NotRunning => Failure::new(
            Exit::Unreachable,
            format!(
                "no {program} runs on {state}: start it with `meridianctl up -f FILE --state \
                 {state}`, or name another directory with --state"
            ),
        ),
        NoAnswer::NotAllowed => Failure::new(
            Exit::Refused,
            format!("{socket}: this user may not ask: use the user that runs {program}, or root"),
        ),
        NoAnswer::TooSlow(within) => Failure::new(
            Exit::Unreachable,
            format!(
                "{socket}: {program} did not answer within {} s: it is stopped or hangs",
                within.as_secs()
            ),
        ),
        NoAnswer::OtherProtocol(protocol) => Failure::new(
            Exit::Unreachable,
            format!(
                "{socket}: {program} speaks version {protocol} of the protocol, not {}: use the \
                 meridianctl that was installed with it",
                crate::plane_status::PROTOCOL
            ),
        ),
        NoAnswer::Broken(what) => Failure::new(
            Exit::Unreachable,
            format!("{socket}: what {program} answered is no answer: {what}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_is_exit_4() {
        let exit = |no_answer| {
            unreachable(
                DATAPLANE,
                &no_answer,
                Path::new("/s"),
                Path::new("/s/run/dataplane.sock"),
            )
            .exit
        };
        assert_eq!(exit(NoAnswer::NotAllowed), Exit::Refused);
        for silent in [
            NoAnswer::NotRunning,
            NoAnswer::TooSlow(Duration::from_secs(5)),
            NoAnswer::OtherProtocol(2),
            NoAnswer::Broken(String::new()),
        ] {
            assert_eq!(exit(silent), Exit::Unreachable);
        }
    }
}
