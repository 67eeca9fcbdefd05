//! The check with inputs that libFuzzer invents. Each input is many queries: how many were answered is
//! written to the file that DNS_QUERY_COUNT names, once a second.

#![no_main]

use libfuzzer_sys::fuzz_target;
use meridian_geodns_fuzz::dns_query;
use std::time::Duration;

fuzz_target!(
    init: count_into_file(),
    |input: &[u8]| dns_query::check(input)
);

fn count_into_file() {
    let Some(path) = std::env::var_os("DNS_QUERY_COUNT") else {
        return;
    };
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            // Who looks for it sees when it stays as it is.
            let _ = std::fs::write(&path, format!("{}\n", dns_query::queries()));
        }
    });
}
