//! How a command ends when it does not end well: an exit code that scripts can
//! rely on, and words that name the fault and the remedy.

use std::process::ExitCode;

use meridian_model::Problems;

/// The exit codes of the command line. Scripts branch on them: a code never
/// changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for was done.
    Done = 0,
    /// The input is wrong: the manifest, or what the host offers it (a port in use, a full disk).
    Input = 1,
    /// The call is wrong: an unknown option, a missing value. clap itself ends with this code.
    Call = 2,
    /// The server or plane that was asked cannot be reached.
    Unreachable = 3,
    /// Refused: this user may not do that, or it is somebody else's.
    Refused = 4,
    /// Accepted, and not live everywhere yet.
    Pending = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code the program ends with.
    pub(crate) exit: Exit,
    /// One sentence or two: what was seen, and the remedy.
    pub(crate) message: String,
    /// The faults of the manifest, when it was the manifest.
    pub(crate) problems: Option<Problems>,
}

impl Failure {
    /// A fault in the input or in what the host offers.
    pub(crate) fn input(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Input, message)
    }

    /// A fault in the call.
    pub(crate) fn call(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Call, message)
    }

    /// A failure that ends the program with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            message: message.into(),
            problems: None,
        }
    }

    /// A manifest with faults; `message` says what follows from them.
    pub(crate) fn problems(problems: Problems, message: impl Into<String>) -> Failure {
        Failure {
            exit: Exit::Input,
            message: message.into(),
            problems: Some(problems),
        }
    }
}
