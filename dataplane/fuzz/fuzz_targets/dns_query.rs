#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| meridian_dataplane_fuzz::dns_query::check(input));
