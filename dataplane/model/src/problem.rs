//! What is wrong with a configuration, said so that its writer can mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::PROBLEMS_MAX;

/// One thing that is wrong, with the place and a hint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file as its reader named it; empty when the value came from no file.
    pub file: String,
    /// Line in the file, from 1; none when something is missing from all of it.
    pub line: Option<u32>,
    /// Path of the key, such as `site.backend.weight`; empty when the text as a
    /// whole is wrong.
    pub key: String,
    /// What is wrong, with what was seen.
    pub what: String,
    /// How to mend it; may be empty.
    pub hint: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (false, Some(line)) => write!(f, "{}:{line}: ", self.file)?,
            (false, None) => write!(f, "{}: ", self.file)?,
            (true, _) => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one input: at least one [`Problem`], in the order
/// of the lines. At most [`PROBLEMS_MAX`] are kept, the rest are counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problems {
    problems: Vec<Problem>,
    not_shown: usize,
}

impl Problems {
    /// Refuses when there is any problem, and otherwise lets pass.
    ///
    /// # Errors
    ///
    /// The problems, when there are any.
    pub fn refuse_any(mut problems: Vec<Problem>) -> Result<(), Problems> {
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.line.unwrap_or(0));
        let not_shown = problems.len().saturating_sub(PROBLEMS_MAX);
        problems.truncate(PROBLEMS_MAX);
        Err(Problems {
            problems,
            not_shown,
        })
    }

    /// The problems that are kept, in the order of their lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// How many more there were than are kept.
    pub fn not_shown(&self) -> usize {
        self.not_shown
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems {
            problems: vec![problem],
            not_shown: 0,
        }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        if self.not_shown > 0 {
            write!(f, "\nand {} more", self.not_shown)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
