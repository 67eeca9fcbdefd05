//! What is wrong with a certificate's files, said so that their owner can mend it.

use meridian_model::Problem;

/// One of the two files of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The certificates.
    Chain,
    /// The private key.
    Key,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// With which of them.
    pub(crate) part: Part,
    /// What was seen.
    pub(crate) what: String,
    /// What to do.
    pub(crate) hint: String,
}

impl Fault {
    /// As a problem of the files of a call.
    pub(crate) fn of_files(self, chain: &str, key: &str) -> Problem {
        let Fault { part, what, hint } = self;
        let (name, file) = match part {
            Part::Chain => ("chain", chain),
            Part::Key => ("key", key),
        };
        Problem {
            file: file.to_string(),
            line: None,
            key: name.to_string(),
            what,
            hint,
        }
    }

    /// Of the chain.
    pub(crate) fn of_chain(what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault {
            part: Part::Chain,
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// Of the key.
    pub(crate) fn of_key(what: impl Into<String>, hint: impl Into<String>) -> Fault {
        Fault {
            part: Part::Key,
            what: what.into(),
            hint: hint.into(),
        }
    }
}
