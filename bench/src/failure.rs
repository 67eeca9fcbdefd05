//! Why a command of the bench could not do its work, in words for the person who ran it.

use std::fmt;

/// One sentence that names the input or the place, and what to do where that is known.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// For `map_err`: puts the place before what the system said.
    pub(crate) fn at<E: fmt::Display>(place: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{place}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}
