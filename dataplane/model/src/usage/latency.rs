//! The buckets of a latency histogram: two to an octave, from 64 us on.
//!
//! Bucket 0 has what took less than 64 us; the next ones begin at 64, 96, 128, 192, 256 us and
//! so on; the last one, from 537 s on, has no upper end. A quantile read from it is wrong by
//! half of itself at most.

/// Number of buckets.
pub const BUCKETS: usize = 48;

/// Half of where bucket 1 begins: what all later beginnings are multiples of, in nanoseconds.
const STEP_NS: u64 = 32_000;

/// The bucket of a time, in nanoseconds.
pub fn bucket_of(ns: u64) -> usize {
    let steps = ns / STEP_NS;
    if steps < 2 {
        return 0;
    }
    let octave = steps.ilog2() - 1;
    let upper_half = (steps >> octave & 1) as usize;
    (1 + 2 * octave as usize + upper_half).min(BUCKETS - 1)
}

/// The shortest time of a bucket, in nanoseconds. Buckets past the last have the last's.
pub fn lower_bound_ns(bucket: usize) -> u64 {
    let Some(halves) = bucket.min(BUCKETS - 1).checked_sub(1) else {
        return 0;
    };
    ((2 + (halves as u64 & 1)) * STEP_NS) << (halves / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_where_they_say() {
        assert_eq!(lower_bound_ns(0), 0);
        assert_eq!(
            [1, 2, 3, 4, 5].map(lower_bound_ns),
            [64_000, 96_000, 128_000, 192_000, 256_000]
        );
        for bucket in 1..BUCKETS {
            let first_ns = lower_bound_ns(bucket);
            assert_eq!(bucket_of(first_ns), bucket);
            assert_eq!(bucket_of(first_ns - 1), bucket - 1);
        }
    }

    #[test]
    fn every_time_has_a_bucket() {
        assert_eq!(bucket_of(0), 0);
        assert_eq!(bucket_of(63_999), 0);
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(lower_bound_ns(BUCKETS - 1), 64_000 << 23);
        assert_eq!(lower_bound_ns(usize::MAX), 64_000 << 23);
    }
}
