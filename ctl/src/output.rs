//! The two streams of a command. A table or a sentence is for people; with
//! `--format json` everything we say is JSON on stdout and stderr is left to
//! what the planes write there.

use std::io::Write;

use serde_json::{Value, json};

use crate::cli::Format;
use crate::event::{Event, listed};
use crate::failure::Failure;

/// Where a command says what it found.
///
/// A write that fails is passed over: a supervisor whose terminal went away
/// goes on serving.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    format: Format,
}

impl Output {
    /// Answers in `format`.
    pub(crate) fn new(format: Format) -> Output {
        Output { format }
    }

    /// The answer of a command, in both forms; only the one that was asked for is made.
    pub(crate) fn answer(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) {
        match self.format {
            Format::Table | Format::Csv => {
                let text = text();
                // A table without rows is nothing, and no empty line.
                if !text.is_empty() {
                    to_stdout(text.trim_end_matches('\n'));
                }
            }
            Format::Json => to_stdout(&json().to_string()),
        }
    }

    /// The answer of a command whose answers are bills: half of one must not pass for all of it.
    ///
    /// # Errors
    /// When it could not be written to its end.
    pub(crate) fn deliver(
        &self,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> String,
        csv: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        let answer = match self.format {
            Format::Table => text(),
            Format::Json => json(),
            Format::Csv => csv(),
        };
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{}", answer.trim_end_matches('\n'))?;
        stdout.flush()
    }

    /// Something for people to know that is not part of the answer; JSON carries it in the answer.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        match self.format {
            Format::Table | Format::Csv => to_stderr(&text()),
            Format::Json => {}
        }
    }

    /// Something that happened while `up` runs. Readiness is what is waited
    /// for, so it alone stands on stdout when people read.
    pub(crate) fn event(&self, event: &Event<'_>) {
        match (self.format, event) {
            (Format::Json, _) => to_stdout(&event.json().to_string()),
            (Format::Table | Format::Csv, Event::Ready { .. }) => to_stdout(&event.text()),
            (Format::Table | Format::Csv, _) => to_stderr(&event.text()),
        }
    }

    /// Why the command ends.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.message.is_empty() {
            // The answer said it all.
            return;
        }
        match self.format {
            Format::Table | Format::Csv => {
                if let Some(problems) = &failure.problems {
                    to_stderr(&problems.to_string());
                }
                to_stderr(&format!("meridianctl: {}", failure.message));
            }
            Format::Json => to_stdout(
                &json!({
                    "error": failure.message,
                    "exit": failure.exit as u8,
                    "problems": failure.problems.as_ref().map(listed).unwrap_or_default(),
                })
                .to_string(),
            ),
        }
    }
}

fn to_stdout(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
