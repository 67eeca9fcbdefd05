//! Meridian's DNS responder (DNS.md): the answers of the zones that the hosts are authoritative
//! for.
//!
//! ```text
//! octets --Query::read--> Query --Resolution::new--> Resolution --write--> octets
//! ```
//!
//! [`Answerer::answer`] is a pure function of the query, who sent it and when, and one immutable
//! [`State`]: the same for every transport, without I/O and without a clock.

mod answer;
mod choice;
mod client_subnet;
mod cookie;
mod geography;
mod health;
mod message;
mod parse;
mod query;
mod resolution;
mod state;

pub use answer::{Answerer, Asked, Outcome, Transport, Unanswered};
pub use geography::{Decision, Geography, RankingId};
pub use health::Health;
pub use state::State;
