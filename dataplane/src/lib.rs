//! Meridian's data plane: the HTTP proxy of one host.
//!
//! One thread per core, each with a ring, listeners, connections and counters of its own; they
//! share what they only read. The way of a request:
//!
//! ```text
//! worker   accepts, parks idle connections, makes a task at the first byte; accept_queue hands connections to whoever has fewer
//! entrance turns away whom the host denies; proxy_header learns whom a proxy speaks for
//! client   reads and frames the request, finds its site, answers what needs no backend
//! route    finds out which of the site's routes it takes
//! exchange picks a backend, sends the request, passes the response on, retries
//! upload   moves the request's body, download the response's; tunnel what follows a 101
//! upstream pools the connections to one backend; sticky makes the cookies of those who stay with one
//! ```
//!
//! `http` is the wire format and does no I/O; `body` moves payload between framings; `routing`
//! is what a revision compiles to, with the runtime state that outlives it; `configuration` is the
//! thread that follows the config log, `names` the one that resolves backends' names, `health` the one that checks them, `control` the one that keeps the wall clock and answers the
//! local socket, `metrics` those that answer monitoring.

mod accept_queue;
mod access_log;
mod backend_state;
mod balance;
mod body;
pub mod certificate_store;
mod client;
mod configuration;
mod control;
mod counters;
mod departed;
mod download;
mod drains;
mod entrance;
mod exchange;
mod failures;
mod fleet_secret;
mod headroom;
mod health;
pub mod http;
mod limits;
mod listeners;
mod local_sites;
mod metrics;
pub mod names;
mod pages;
mod peers;
pub mod plane;
mod pool_queue;
mod proxy_header;
pub mod proxy_protocol;
mod record;
mod renewal;
mod request_id;
mod revision;
mod route;
mod routing;
mod shared;
mod site;
mod stall;
mod status;
mod sticky;
mod stream;
mod tls;
mod tunnel;
mod upload;
mod upstream;
mod usage;
mod worker;
