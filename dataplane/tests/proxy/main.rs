//! The proxy from outside: the real binary between real sockets.

#[path = "../support/mod.rs"]
mod support;

mod backend_tls;
mod balancing;
mod bodies;
mod both_ends;
mod chaos;
mod clauses;
mod connections;
mod crowding;
mod handshakes;
mod health;
mod https;
mod limits;
mod log;
mod metrics;
mod names;
mod probes;
mod programs;
mod queue_changes;
mod queue_order;
mod queueing;
mod revisions;
mod smuggling;
mod spreading;
mod sticky;
mod stopping;
mod tunnels;
mod usage;
mod wire;
