//! Response-rate limiting: how many responses a client network gets over UDP, whose senders may be
//! somebody else (DNS.md).
//!
//! A network is a /24 or a /56. Each has a bucket that a second fills; the state of a bucket is the
//! time when it is full again (the generic cell rate algorithm). The table has a fixed length: where
//! more networks ask than it has room for, the one that was quiet longest is forgotten.

use ipnet::IpNet;
use meridian_model::limits::RATE_NETWORKS_MAX;
use meridian_model::local::DnsRate;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Buckets that a network may have its state in.
const WAYS: usize = 4;

/// What a full bucket holds, in nanoseconds of the rate.
const BURST_NS: u64 = 1_000_000_000;

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Send,
    /// The sender is told to ask over TCP, which nobody else can do in his place.
    Slip,
    /// It is not sent.
    Drop,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Tells networks apart that share a place. 0 with a time of 0: empty.
    tag: u32,
    /// Responses that were not sent, of late.
    over: u32,
    /// When it is full, on the worker's clock.
    full_ns: u64,
}

/// The limits of one worker.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    buckets: Box<[[Bucket; WAYS]]>,
    hash_keys: RandomState,
    /// From one response to the next.
    interval_ns: u64,
    slip: u32,
    exempt: Box<[IpNet]>,
}

impl RateLimiter {
    /// The share of one of `workers`: the kernel spreads the ports of a network over them.
    pub(crate) fn new(rate: &DnsRate, workers: usize) -> RateLimiter {
        let per_second = u64::from(rate.responses_per_second).div_ceil(workers as u64);
        RateLimiter {
            buckets: vec![[Bucket::default(); WAYS]; RATE_NETWORKS_MAX / WAYS].into(),
            hash_keys: RandomState::new(),
            interval_ns: BURST_NS / per_second.max(1),
            slip: rate.slip,
            exempt: rate.exempt.clone().into(),
        }
    }

    /// What becomes of a response to `client`, at `now_ns` of the worker's clock.
    pub(crate) fn judge(&mut self, client: IpAddr, now_ns: u64) -> Verdict {
        if self.exempt.iter().any(|network| network.contains(&client)) {
            return Verdict::Send;
        }
        let hash = self.hash_keys.hash_one(network(client));
        let tag = (hash >> 32) as u32;
        let set = &mut self.buckets[hash as usize % (RATE_NETWORKS_MAX / WAYS)];
        let found = set.iter().position(|it| it.tag == tag && it.full_ns > 0);
        let bucket = match found {
            Some(at) => &mut set[at],
            None => {
                let quietest = set.iter_mut().min_by_key(|it| it.full_ns);
                let bucket = quietest.expect("a set is not empty");
                *bucket = Bucket {
                    tag,
                    ..Bucket::default()
                };
                bucket
            }
        };
        let full_ns = bucket.full_ns.max(now_ns) + self.interval_ns;
        if full_ns <= now_ns + BURST_NS {
            bucket.full_ns = full_ns;
            bucket.over = 0;
            return Verdict::Send;
        }
        bucket.over = bucket.over.wrapping_add(1);
        match bucket.over % self.slip {
            0 => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }
}

/// The network of a client, as one number; those of the two families can not be told apart by it
/// where somebody has an address of 0::/8, which nobody has.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8),
        IpAddr::V6(v6) => (v6.to_bits() >> 72) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn limiter(per_second: u32, slip: u32, exempt: &[&str], workers: usize) -> RateLimiter {
        let rate = DnsRate {
            responses_per_second: per_second,
            slip,
            exempt: exempt
                .iter()
                .map(|it| it.parse().expect("a network"))
                .collect(),
        };
        RateLimiter::new(&rate, workers)
    }

    fn count(limiter: &mut RateLimiter, client: &str, now_ns: u64, times: usize) -> [usize; 3] {
        let client = client.parse().expect("an address");
        let mut counts = [0; 3];
        for _ in 0..times {
            counts[limiter.judge(client, now_ns) as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_network_gets_a_second_of_its_rate_at_once_and_then_its_rate() {
        let mut limiter = limiter(100, 2, &[], 1);
        let now = 5_000 * MS;
        assert_eq!(
            count(&mut limiter, "192.0.2.1", now, 300),
            [100, 100, 100],
            "sent, slipped, dropped"
        );
        // Another address of it has no more; another network has.
        assert_eq!(count(&mut limiter, "192.0.2.99", now, 4)[0], 0);
        assert_eq!(count(&mut limiter, "192.0.3.1", now, 4), [4, 0, 0]);
        assert_eq!(count(&mut limiter, "192.0.2.1", now + 500 * MS, 100)[0], 50);
        assert_eq!(
            count(&mut limiter, "192.0.2.1", now + 60_000 * MS, 300)[0],
            100
        );
    }

    #[test]
    fn networks_of_ipv6_are_of_56_bits() {
        let mut limiter = limiter(10, 1, &[], 1);
        let now = 5_000 * MS;
        assert_eq!(count(&mut limiter, "2001:db8:0:1::1", now, 20), [10, 10, 0]);
        assert_eq!(count(&mut limiter, "2001:db8:0:ff::1", now, 20)[0], 0);
        assert_eq!(count(&mut limiter, "2001:db8:0:100::1", now, 20)[0], 10);
        // A mapped address is the one that it maps.
        assert_eq!(count(&mut limiter, "::ffff:192.0.2.1", now, 20)[0], 10);
        assert_eq!(count(&mut limiter, "192.0.2.7", now, 20)[0], 0);
    }

    #[test]
    fn exempt_networks_get_all() {
        let mut limiter = limiter(1, 100, &["10.0.0.0/8"], 1);
        assert_eq!(count(&mut limiter, "10.1.2.3", MS, 500), [500, 0, 0]);
        assert_eq!(count(&mut limiter, "11.1.2.3", MS, 500), [1, 4, 495]);
    }

    #[test]
    fn workers_share_the_rate() {
        let mut limiter = limiter(10, 2, &[], 3);
        assert_eq!(count(&mut limiter, "192.0.2.1", MS, 20)[0], 4);
    }

    #[test]
    fn who_asks_on_is_not_forgotten_for_others() {
        let mut limiter = limiter(10, 2, &[], 1);
        let now = 5_000 * MS;
        assert_eq!(count(&mut limiter, "192.0.2.1", now, 20)[0], 10);
        // As many others as there is room for, a little each.
        for n in 0..RATE_NETWORKS_MAX as u32 {
            let other = std::net::Ipv4Addr::from(0x0a00_0000 + (n << 8));
            limiter.judge(other.into(), now);
        }
        assert_eq!(count(&mut limiter, "192.0.2.1", now, 20)[0], 0);
    }
}
