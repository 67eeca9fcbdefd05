//! Whole fleets on one machine: real `up`s with real planes, which probe each other, and a client that
//! asks each responder for as long as hosts, links and backends fail.
//!
//! Hosts stand at addresses of loopback, or in network namespaces with a link between each two of them, which can
//! be cut. Namespaces need root: without it their tests say so and pass. They are removed at the end; of a
//! run that was killed `ip netns` lists them as `mfleet-*`.
//!
//! The figures of DESIGN §7 are those of a machine that is not busy with other tests: times may be
//! FLEET_SLACK times as long (by default [`watch::SLACK`]).
//!
//! A long run of random faults, which goes on where it was when it is called again
//! ([`random::random_faults`]):
//!
//! ```text
//! FLEET_LOG=fleet.log FLEET_FAULTS=200 FLEET_SLACK=1 cargo test -p meridianctl --test fleet random
//! ```

mod answers;
mod faults;
mod host;
mod place;
mod random;
mod rig;
mod single;
mod watch;
