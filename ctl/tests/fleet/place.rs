//! Where hosts stand: addresses of loopback, or namespaces with links that can be cut.

use std::net::Ipv4Addr;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

/// The network of a fleet. Nothing of it is left when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// The second and third byte of loopback's addresses, or the second of the namespaces'.
    bytes: (u8, u8),
    /// Of the hosts' namespaces, by host; empty: on loopback.
    namespaces: Vec<String>,
}

/// Each test has addresses of its own.
fn next_bytes() -> (u8, u8) {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let process = std::process::id();
    // 127.0 and 127.1 are others'.
    let second = 64 + (process % 128) as u8;
    (second, NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Place {
    /// Addresses of loopback.
    pub(crate) fn loopback() -> Place {
        Place {
            bytes: next_bytes(),
            namespaces: Vec::new(),
        }
    }

    /// A namespace for each of so many hosts, each two of them linked, and each linked with this process;
    /// or why that can not be.
    pub(crate) fn namespaces(hosts: usize) -> Result<Place, String> {
        let (second, third) = next_bytes();
        let names = (0..hosts).map(|host| format!("mfleet-{}-{third}-{host}", std::process::id()));
        let place = Place {
            bytes: (
                second.wrapping_add(third.wrapping_mul(29)) % 128 + 64,
                third,
            ),
            namespaces: names.collect(),
        };
        place.make()?;
        Ok(place)
    }

    fn make(&self) -> Result<(), String> {
        for (host, name) in self.namespaces.iter().enumerate() {
            ip(&["netns", "add", name])?;
            let at_host = |arguments: &[&str]| ip(&[&["-n", name], arguments].concat());
            at_host(&["link", "set", "lo", "up"])?;
            let own = format!("{}/32", self.address(host));
            at_host(&["addr", "add", &own, "dev", "lo"])?;
            // To this process.
            let (outer, inner) = (self.outer(host), "outside");
            ip(&[
                "link", "add", &outer, "type", "veth", "peer", "name", inner, "netns", name,
            ])?;
            let (theirs, ours) = (self.dns(host), self.outside(host));
            ip(&["addr", "add", &format!("{ours}/30"), "dev", &outer])?;
            ip(&["link", "set", &outer, "up"])?;
            at_host(&["addr", "add", &format!("{theirs}/30"), "dev", inner])?;
            at_host(&["link", "set", inner, "up"])?;
        }
        for one in 0..self.namespaces.len() {
            for other in 0..one {
                let (here, there) = (&self.namespaces[one], &self.namespaces[other]);
                let (to_other, to_one) = (format!("to{other}"), format!("to{one}"));
                ip(&[
                    "-n", here, "link", "add", &to_other, "type", "veth", "peer", "name", &to_one,
                    "netns", there,
                ])?;
                self.join(one, other)?;
                self.join(other, one)?;
            }
        }
        Ok(())
    }

    /// Has `host` reach `other` over its end of their link.
    fn join(&self, host: usize, other: usize) -> Result<(), String> {
        let (name, device) = (&self.namespaces[host], format!("to{other}"));
        ip(&["-n", name, "link", "set", &device, "up"])?;
        let (to, from) = (self.address(other), self.address(host));
        ip(&[
            "-n",
            name,
            "route",
            "replace",
            &format!("{to}/32"),
            "dev",
            &device,
            "src",
            &from.to_string(),
        ])
    }

    /// Cuts the link between two hosts.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        let (name, device) = (&self.namespaces[one], format!("to{other}"));
        ip(&["-n", name, "link", "set", &device, "down"]).expect("it is there");
    }

    /// Mends it.
    pub(crate) fn mend(&self, one: usize, other: usize) {
        self.join(one, other).expect("it is there");
    }

    /// Whether links can be cut.
    pub(crate) fn has_links(&self) -> bool {
        !self.namespaces.is_empty()
    }

    /// Where a host serves, and is probed.
    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        let (second, third) = self.bytes;
        match self.has_links() {
            true => Ipv4Addr::new(10, second, 200, host as u8 + 1),
            false => Ipv4Addr::new(127, second, third, host as u8 + 1),
        }
    }

    /// Where its responder is asked from here.
    pub(crate) fn dns(&self, host: usize) -> Ipv4Addr {
        match self.has_links() {
            true => Ipv4Addr::new(10, self.bytes.0, host as u8, 1),
            false => self.address(host),
        }
    }

    /// Where this process can serve it as a backend.
    pub(crate) fn outside(&self, host: usize) -> Ipv4Addr {
        let (second, third) = self.bytes;
        match self.has_links() {
            true => Ipv4Addr::new(10, second, host as u8, 2),
            false => Ipv4Addr::new(127, second, third, 101 + host as u8),
        }
    }

    /// A command that runs where a host stands.
    pub(crate) fn command(&self, host: usize, program: &str) -> Command {
        let Some(name) = self.namespaces.get(host) else {
            return Command::new(program);
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, program]);
        command
    }

    /// The end of a host's link with this process that is here.
    fn outer(&self, host: usize) -> String {
        format!("mf{}-{}-{host}", std::process::id() % 100_000, self.bytes.1)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for (host, name) in self.namespaces.iter().enumerate() {
            let _ = ip(&["link", "del", &self.outer(host)]);
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let Output { status, stderr, .. } = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&stderr).trim()
        )),
    }
}
