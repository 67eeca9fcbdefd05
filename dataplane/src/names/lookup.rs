//! One lookup of a name: a question for each family of addresses, each asked of one name server
//! after the other until one answers.

use super::message::{Answer, Family};
use super::question::{Fault, Progress, Question};
use meridian_model::limits::LOOKUP_ATTEMPTS_MIN;
use rustix::event::PollFd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// See the module.
#[derive(Debug)]
pub(super) struct Lookup {
    host: Arc<str>,
    servers: Arc<[SocketAddr]>,
    /// The server that is asked first.
    first: usize,
    v4: Asking,
    v6: Asking,
    answered_by: Option<usize>,
}

/// What a lookup ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Findings {
    /// Of IPv4.
    pub(super) v4: Outcome,
    /// Of IPv6.
    pub(super) v6: Outcome,
}

/// What the question for one family ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A server answered.
    Answered(Answer),
    /// None did; why the last one did not.
    Failed(Fault),
}

#[derive(Debug)]
enum Asking {
    Waiting {
        family: Family,
        attempt: usize,
        question: Question,
        /// Something may have come.
        is_ready: bool,
        /// Why the attempt before ended.
        last: Option<Fault>,
    },
    Over(Outcome),
}

impl Lookup {
    /// Begins to look `host` up, asking first the server with the index `first`.
    pub(super) fn begin(
        host: &Arc<str>,
        servers: &Arc<[SocketAddr]>,
        first: usize,
        now: Instant,
    ) -> Lookup {
        let ask = |family| Asking::begin(host, servers, first, family, now);
        Lookup {
            v4: ask(Family::V4),
            v6: ask(Family::V6),
            host: Arc::clone(host),
            servers: Arc::clone(servers),
            first,
            answered_by: None,
        }
    }

    /// Adds what is to be waited for.
    pub(super) fn add_interests<'l>(&'l self, interests: &mut Vec<PollFd<'l>>) {
        let waiting = [&self.v4, &self.v6]
            .into_iter()
            .filter_map(Asking::question);
        interests.extend(waiting.map(Question::interest));
    }

    /// When the next server has had its time.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = [&self.v4, &self.v6]
            .into_iter()
            .filter_map(Asking::question);
        waiting.map(Question::deadline).min()
    }

    /// Says for each interest, in the order of [`Lookup::add_interests`], whether it is met.
    pub(super) fn mark_ready(&mut self, met: &mut impl Iterator<Item = bool>) {
        for asking in [&mut self.v4, &mut self.v6] {
            if let Asking::Waiting { is_ready, .. } = asking {
                *is_ready = met.next().unwrap_or(true);
            }
        }
    }

    /// Takes up what came; the findings when both questions are over.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Findings> {
        let Lookup {
            host,
            servers,
            first,
            v4,
            v6,
            answered_by,
        } = self;
        for asking in [&mut *v4, &mut *v6] {
            asking.advance(host, servers, *first, now, answered_by);
        }
        match (v4, v6) {
            (Asking::Over(v4), Asking::Over(v6)) => Some(Findings {
                v4: v4.clone(),
                v6: v6.clone(),
            }),
            _ => None,
        }
    }

    /// Whether a name server has been silent in it.
    pub(super) fn met_silence(&self) -> bool {
        let mut waiting = [&self.v4, &self.v6].into_iter();
        waiting.any(|asking| match asking {
            Asking::Waiting { last, .. } => last.as_ref().is_some_and(|last| last.is_silence),
            Asking::Over(_) => false,
        })
    }

    /// Ends it before every server had its attempts.
    pub(super) fn give_up(self) -> Findings {
        Findings {
            v4: self.v4.give_up(),
            v6: self.v6.give_up(),
        }
    }

    /// The index of a server that answered.
    pub(super) fn answered_by(&self) -> Option<usize> {
        self.answered_by
    }
}

impl Asking {
    fn begin(
        host: &str,
        servers: &[SocketAddr],
        first: usize,
        family: Family,
        now: Instant,
    ) -> Asking {
        Asking::attempt(host, servers, first, family, 0, None, now)
    }

    /// Asks the next server that can be asked; over when each had its attempts. `last` is why the
    /// attempt before ended.
    fn attempt(
        host: &str,
        servers: &[SocketAddr],
        first: usize,
        family: Family,
        from: usize,
        mut last: Option<Fault>,
        now: Instant,
    ) -> Asking {
        let attempts = match servers.len() {
            0 => 0,
            count => count.max(LOOKUP_ATTEMPTS_MIN),
        };
        for attempt in from..attempts {
            let server = servers[(first + attempt) % servers.len()];
            match Question::ask(host, family, server, now) {
                Ok(question) => {
                    return Asking::Waiting {
                        family,
                        attempt,
                        question,
                        is_ready: false,
                        last,
                    };
                }
                Err(fault) => last = Some(fault),
            }
        }
        Asking::Over(failed(last))
    }

    fn give_up(self) -> Outcome {
        match self {
            Asking::Waiting { last, .. } => failed(last),
            Asking::Over(outcome) => outcome,
        }
    }

    fn question(&self) -> Option<&Question> {
        match self {
            Asking::Waiting { question, .. } => Some(question),
            Asking::Over(_) => None,
        }
    }

    fn advance(
        &mut self,
        host: &str,
        servers: &[SocketAddr],
        first: usize,
        now: Instant,
        answered_by: &mut Option<usize>,
    ) {
        let Asking::Waiting {
            family,
            attempt,
            question,
            is_ready,
            last: _,
        } = self
        else {
            return;
        };
        if !*is_ready && now < question.deadline() {
            return;
        }
        *is_ready = false;
        match question.advance(now) {
            Progress::Waiting => {}
            Progress::Answered(answer) => {
                *answered_by = Some((first + *attempt) % servers.len());
                *self = Asking::Over(Outcome::Answered(answer));
            }
            Progress::Failed(fault) => {
                let (family, next) = (*family, *attempt + 1);
                *self = Asking::attempt(host, servers, first, family, next, Some(fault), now);
            }
        }
    }
}

fn failed(last: Option<Fault>) -> Outcome {
    Outcome::Failed(last.unwrap_or_else(|| Fault {
        what: "no name server was asked".to_owned(),
        is_silence: false,
    }))
}
