//! A histogram of latencies with logarithmic buckets.
//!
//! Every power of two is cut into 128 buckets, so a percentile is wrong by less than 1 %
//! whatever its size, and recording costs a shift and an increment. Values up to 2^40 ns
//! (18 minutes) fit; greater ones are counted as that.

/// Buckets per power of two, as a power of two itself.
const SUB_BUCKET_BITS: u32 = 7;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;
/// The greatest value that is told apart, in nanoseconds.
const VALUE_NS_MAX: u64 = (1 << 40) - 1;
const BUCKETS: usize = (((40 - SUB_BUCKET_BITS) as u64 + 1) * SUB_BUCKETS) as usize;

/// Counts of latencies in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    recorded: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            recorded: 0,
            sum_ns: 0,
            max_ns: 0,
        }
    }

    pub(crate) fn record(&mut self, value_ns: u64) {
        self.counts[bucket_of(value_ns)] += 1;
        self.recorded += 1;
        self.sum_ns += u128::from(value_ns);
        self.max_ns = self.max_ns.max(value_ns);
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// Arithmetic mean in nanoseconds; 0 when nothing was recorded.
    pub(crate) fn mean_ns(&self) -> f64 {
        if self.recorded == 0 {
            return 0.0;
        }
        self.sum_ns as f64 / self.recorded as f64
    }

    /// The value that `fraction` (0 to 1) of the records do not exceed, in nanoseconds:
    /// the middle of its bucket, and never more than the greatest record. 0 when nothing was recorded.
    pub(crate) fn percentile_ns(&self, fraction: f64) -> u64 {
        let rank = ((self.recorded as f64 * fraction).ceil() as u64).clamp(1, self.recorded.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_of(bucket).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn bucket_of(value_ns: u64) -> usize {
    let value = value_ns.min(VALUE_NS_MAX);
    if value < SUB_BUCKETS {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BUCKET_BITS;
    // `value >> shift` lies in [SUB_BUCKETS, 2 * SUB_BUCKETS), so the rows follow each other without a gap.
    (u64::from(shift) * SUB_BUCKETS + (value >> shift)) as usize
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 2 * SUB_BUCKETS {
        return bucket;
    }
    let shift = bucket / SUB_BUCKETS - 1;
    let low = (bucket - shift * SUB_BUCKETS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_one_percent_of_its_bucket() {
        let mut value = 1u64;
        while value < VALUE_NS_MAX {
            let middle = middle_of(bucket_of(value));
            let error = middle.abs_diff(value) as f64 / value as f64;
            assert!(error < 0.01, "{value} became {middle}");
            value += 1 + value / 37;
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_of_a_known_ramp() {
        let mut histogram = Histogram::new();
        for microsecond in 1..=1000u64 {
            histogram.record(microsecond * 1000);
        }
        for (fraction, expected_us) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let got_us = histogram.percentile_ns(fraction) as f64 / 1000.0;
            assert!(
                (got_us - expected_us).abs() / expected_us < 0.01,
                "{fraction}: {got_us}"
            );
        }
        assert_eq!(histogram.recorded, 1000);
        assert_eq!(histogram.max_ns(), 1_000_000);
        assert!((histogram.mean_ns() - 500_500.0).abs() < 1.0);
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let histogram = Histogram::new();
        assert_eq!(histogram.percentile_ns(0.5), 0);
        assert_eq!(histogram.mean_ns(), 0.0);
    }
}
