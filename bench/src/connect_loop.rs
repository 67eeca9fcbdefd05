//! `connect-loop`: the least that a check by connecting can be, for what the checker is measured against.
//!
//! It connects to each of many addresses in turn, waits with epoll until that is done, and resets
//! the connection. It keeps nothing of an address, decides nothing and tells nobody.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};

use crate::failure::Failure;
use crate::file_limit;
use crate::quantity;
use crate::readiness::Readiness;
use crate::slab::Slab;

/// Connections under way at a time; more than that, and nobody answers.
const UNDER_WAY_MAX: usize = 1024;

/// What `connect-loop` was asked to do.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The first address; the others follow it, with the same port.
    #[arg(long)]
    first: SocketAddrV4,
    /// How many addresses there are.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    addresses: u32,
    /// From one connect to an address to the next, such as 2s.
    #[arg(long, value_parser = quantity::duration)]
    interval: Duration,
}

/// The address `number` places behind `first`.
pub(crate) fn address(first: SocketAddrV4, number: u32) -> SocketAddrV4 {
    let ip = Ipv4Addr::from_bits(first.ip().to_bits().wrapping_add(number));
    SocketAddrV4::new(ip, first.port())
}

/// Connects until the process is ended.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    file_limit::raise_to(UNDER_WAY_MAX as u64 + 32)?;
    let mut readiness = Readiness::new().map_err(Failure::at("epoll"))?;
    let mut under_way = Slab::new();
    let mut under_way_count = 0;
    let mut events = Vec::new();
    let between = options.interval.as_secs_f64() / f64::from(options.addresses);
    println!("connecting {:.0} a second", 1.0 / between);
    let begin = Instant::now();
    for turn in 0_u64.. {
        let due = Duration::from_secs_f64(turn as f64 * between);
        while due > begin.elapsed() || under_way_count == UNDER_WAY_MAX {
            let wait = whole_milliseconds(due.saturating_sub(begin.elapsed()));
            readiness
                .wait(Some(wait), &mut events)
                .map_err(Failure::at("epoll"))?;
            for event in &events {
                conclude(under_way.remove(event.token as usize))?;
                under_way_count -= 1;
            }
        }
        let number = (turn % u64::from(options.addresses)) as u32;
        let address = address(options.first, number);
        let stream = begin_to_connect(address).map_err(Failure::at(address))?;
        let token = under_way.insert(stream) as u64;
        under_way_count += 1;
        if let Some(stream) = under_way.get_mut(token as usize) {
            readiness
                .watch(stream, token)
                .map_err(Failure::at("epoll"))?;
        }
    }
    Ok(())
}

/// Rounded up: what is due within one begins together, which takes the fewest wake-ups.
fn whole_milliseconds(wait: Duration) -> Duration {
    Duration::from_millis(wait.as_nanos().div_ceil(1_000_000) as u64)
}

fn begin_to_connect(address: SocketAddrV4) -> rustix::io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    // An orderly close would leave a TIME_WAIT behind each, and the ports would run out.
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match connect(&socket, &SocketAddr::V4(address)) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno),
    }
}

fn conclude(stream: Option<TcpStream>) -> Result<(), Failure> {
    let Some(stream) = stream else { return Ok(()) };
    let error = sockopt::socket_error(&stream).map_err(Failure::at("socket"))?;
    error.map_err(Failure::at("connecting"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_follow_each_other() {
        let first: SocketAddrV4 = "127.1.0.250:80".parse().unwrap();
        assert_eq!(address(first, 0), first);
        assert_eq!(address(first, 6).to_string(), "127.1.1.0:80");
    }

    #[test]
    fn a_wait_never_ends_early() {
        let rounded = |us| whole_milliseconds(Duration::from_micros(us)).as_micros();
        assert_eq!(
            [rounded(0), rounded(1), rounded(1000), rounded(1001)],
            [0, 1000, 1000, 2000]
        );
    }
}
