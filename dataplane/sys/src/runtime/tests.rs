//! The runtime against the real kernel, and with faults injected.

use super::*;

/// Faults that a test asks for.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Submit no more than this many bytes with one send.
    pub(super) send_bytes_max: Option<usize>,
    /// Answers to give instead of the kernel's, by kind of operation, first come first served.
    pub(super) results: VecDeque<(Op, i32)>,
}

impl Faults {
    pub(super) fn shorten<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.send_bytes_max.unwrap_or(usize::MAX))]
    }

    pub(super) fn alter(&mut self, completion: Completion) -> Completion {
        let op = Token::unpack(completion.token).op;
        match self.results.front() {
            Some(&(wanted, result)) if wanted == op => {
                self.results.pop_front();
                Completion {
                    result,
                    ..completion
                }
            }
            _ => completion,
        }
    }
}
