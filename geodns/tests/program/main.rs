//! The responder as a program: real sockets, real clients, its config log, its end.
//!
//! What answers say is tested in `answers`, where no socket is in the way; here stands what needs
//! one, and that others' programs understand it. Every line of the table of DNS.md is named once, in
//! [`rules`].

#[path = "../support/query.rs"]
mod query;
mod responder;
#[path = "../support/seen.rs"]
mod seen;

#[path = "../../../dataplane/model/tests/geography/writer.rs"]
mod writer;

mod datagrams;
mod geography;
mod life;
mod others;
mod rules;
mod streams;
