//! Meridian's DNS responder (DNS.md): the answers of the zones that the hosts are authoritative
//! for, and the program that gives them.
//!
//! ```text
//! octets --Query::read--> Query --Resolution::new--> Resolution --write--> octets
//! ```
//!
//! [`Answerer::answer`] is a pure function of the query, who sent it and when, and one immutable
//! [`State`]: the same for every transport, without I/O and without a clock. [`plane::run`] is the
//! program: workers on the runtime of `sys` that call it for datagrams and for connections.

mod answer;
mod choice;
mod client_subnet;
mod clients;
mod configuration;
mod control;
mod cookie;
mod counters;
mod explaining;
mod geography;
mod gist;
mod health;
mod listeners;
mod message;
mod parse;
mod peers;
pub mod plane;
mod published;
mod query;
mod rate;
mod resolution;
mod revision;
mod seats;
mod state;
mod status;
mod stream;
mod usage;
mod worker;
mod workers;

pub use answer::{Answerer, Asked, Outcome, Transport, Unanswered};
pub use geography::{Decision, Geography, RankingId};
pub use gist::{Gist, Kind};
pub use health::Health;
pub use state::State;
