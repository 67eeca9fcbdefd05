//! The manifests: one site that requests go to, and many whose backends are checked or are not.

use std::fmt::Write;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::connect_loop;

/// The name that requests carry in their Host field.
pub(super) const HOSTNAME: &str = "bench.example.com";
const BACKENDS_PER_SITE: u32 = 50;
const SITES_PER_TENANT: u32 = 10;

/// What is declared.
pub(super) struct Declared {
    pub(super) listen: SocketAddr,
    /// Where requests go; it is not checked.
    pub(super) serving: SocketAddr,
    /// The first that is checked; the others follow it.
    pub(super) first: SocketAddrV4,
    pub(super) backends: u32,
}

impl Declared {
    /// The manifest, with checks that far apart, or without any.
    pub(super) fn manifest(&self, interval: Option<Duration>) -> String {
        let pool = interval.map_or_else(String::new, |interval| {
            let interval = interval.as_millis();
            format!(
                "pool = {{ health = {{ kind = \"tcp\", interval = \"{interval}ms\", timeout = \"{interval}ms\" }} }}\n"
            )
        });
        let (listen, serving) = (self.listen, self.serving);
        let mut text = format!(
            "[host]
name = \"bench\"
workers = 1
backend_networks = [\"127.0.0.0/8\"]

[listen]
http = [\"{listen}\"]

[[tenant]]
name = \"bench\"

[[site]]
tenant = \"bench\"
name = \"web\"
hostnames = [\"{HOSTNAME}\"]

[[site.backend]]
name = \"b1\"
address = \"{serving}\"
"
        );
        for number in 0..self.backends {
            let site = number / BACKENDS_PER_SITE;
            let tenant = site / SITES_PER_TENANT;
            let address = connect_loop::address(self.first, number);
            let mut put = |words: std::fmt::Arguments<'_>| {
                text.write_fmt(words).expect("a String takes all");
            };
            if number % (BACKENDS_PER_SITE * SITES_PER_TENANT) == 0 {
                put(format_args!("\n[[tenant]]\nname = \"t{tenant}\"\n"));
            }
            if number % BACKENDS_PER_SITE == 0 {
                put(format_args!(
                    "\n[[site]]\ntenant = \"t{tenant}\"\nname = \"s{site}\"\nhostnames = [\"s{site}.{HOSTNAME}\"]\n{pool}"
                ));
            }
            put(format_args!("[[site.backend]]\naddress = \"{address}\"\n"));
        }
        text
    }
}
