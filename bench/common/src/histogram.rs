//! Log-linear histogram: 128 steps per power of two, under 0.8 % error, constant memory.

const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;

/// Counts values and computes quantiles.
#[derive(Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; (65 - STEP_BITS as usize) * STEPS], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one value.
    pub fn add(&mut self, value: u64) {
        self.buckets[Self::bucket(value)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// Number of values counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact maximum.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The quantile `q` (0 to 1) of all values; 0 without values.
    pub fn quantile(&self, q: f64) -> u64 {
        let wanted = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= wanted {
                return Self::middle(bucket).min(self.max);
            }
        }
        self.max
    }

    fn bucket(value: u64) -> usize {
        if value < STEPS as u64 {
            return value as usize;
        }
        let shift = 63 - value.leading_zeros() - STEP_BITS;
        ((shift as usize + 1) << STEP_BITS) + ((value >> shift) as usize - STEPS)
    }

    fn middle(bucket: usize) -> u64 {
        if bucket < STEPS {
            return bucket as u64;
        }
        let shift = (bucket >> STEP_BITS) - 1;
        ((((bucket & (STEPS - 1)) + STEPS) as u64) << shift) | ((1 << shift) / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_percent() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.add(value);
        }
        for q in [0.01, 0.5, 0.99, 0.999] {
            let (got, exact) = (histogram.quantile(q) as f64, q * 100_000.0);
            assert!((got / exact - 1.0).abs() < 0.01, "{q}: {got} for {exact}");
        }
        assert_eq!(histogram.max(), 100_000);
        assert_eq!(histogram.quantile(1.0), 100_000);
    }

    #[test]
    fn extremes_have_a_bucket() {
        let mut histogram = Histogram::default();
        histogram.add(0);
        histogram.add(u64::MAX);
        assert_eq!(histogram.quantile(0.5), 0);
        assert_eq!(histogram.count(), 2);
    }
}
