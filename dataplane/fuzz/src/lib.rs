//! What must hold for any bytes. The fuzz targets call these checks with inputs
//! that libFuzzer invents; the tests of the library call the same checks with the
//! corpus that it left, so that every finding stays found without a nightly compiler.
//!
//! ```sh
//! cargo +nightly fuzz run request_head -- -max_total_time=600
//! ```

pub mod chunked_body;
pub mod name_message;
pub mod proxy_protocol;
pub mod request_head;
pub mod response_head;
