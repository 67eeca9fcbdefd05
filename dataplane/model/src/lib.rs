//! Pure values of Meridian: what an operator declares, what the fleet desires,
//! and the compiled [`snapshot`] that workers read.
//!
//! Nothing here does I/O or reads a clock. Every step is a function from one
//! plain value to the next, and each has tests of its own:
//!
//! ```text
//! text --Manifest::parse--> Manifest --into_parts--> (Local, Desired)
//!      --config_log--> lines on disk --config_log--> (Local, Desired) --compile--> Snapshot, Zones
//! ```

pub mod address_policy;
pub mod availability;
pub mod certificate;
pub mod change;
mod checked_lines;
pub mod compile;
pub mod config_log;
pub mod desired;
pub mod fields;
pub mod fleet_secret;
pub mod geo;
mod ids;
pub mod limits;
pub mod local;
pub mod location;
pub mod manifest;
pub mod name;
pub mod network_set;
pub mod packed;
mod parallel;
pub mod path;
pub mod probe;
pub mod problem;
mod quantity;
pub mod quota;
pub mod rare;
pub mod sealed_file;
pub mod snapshot;
pub mod suspension;
mod timeout_overrides;
pub mod usage;
pub mod zones;

pub use change::Change;
pub use compile::{Compiled, check, compile};
pub use desired::Desired;
pub use local::Local;
pub use manifest::Manifest;
pub use packed::Packed;
pub use problem::{Problem, Problems};
pub use quantity::duration;
pub use snapshot::Snapshot;
pub use zones::Zones;
