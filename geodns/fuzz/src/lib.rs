//! What must hold for any octets that are asked of the responder. The fuzz target calls this check with
//! inputs that libFuzzer invents; the tests of the library call it with the corpus that it left.
//!
//! ```sh
//! scripts/fuzz --seconds 300 --log dns_query.log
//! ```

pub mod dns_query;
