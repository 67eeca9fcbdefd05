//! Pure values of Meridian: what an operator declares, what the fleet desires,
//! and the compiled [`snapshot`] that workers read.
//!
//! Nothing here does I/O or reads a clock. Every step is a function from one
//! plain value to the next, and each has tests of its own:
//!
//! ```text
//! text --Manifest::parse--> Manifest --> (Local, Desired) --config_log--> lines --> compile --> Snapshot
//! ```

pub mod address_policy;
pub mod limits;
pub mod snapshot;
