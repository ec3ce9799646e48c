//! How large the parts are.

/// Every part is kept in memory until the store has confirmed it, so parts are
/// as small as the store's limit on their number allows; but each costs the
/// store an object, and at half this size the whole of it a third more work.
const SMALLEST: u64 = 16 << 20;
/// The largest object of Swift, and the largest part of S3.
const LARGEST: u64 = 5 << 30;
/// Memory for parts that are on their way, unless two of them take more.
const MEMORY: u64 = 128 << 20;

/// Sizes of the parts of one object.
///
/// The first three quarters have one size, chosen so that they hold the
/// estimate. From then on sizes double eight times: a stream that is far
/// longer than anybody expected still fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPlan {
    base: u64,
    max_parts: u64,
}

impl PartPlan {
    /// A plan for about `estimate` bytes (0 when nobody knows) in at most
    /// `max_parts` parts.
    pub fn new(estimate: u64, max_parts: u32) -> Self {
        let max_parts = u64::from(max_parts.max(1));
        let even = estimate.div_ceil((max_parts * 3 / 4).max(1));
        Self {
            // Whole MiB read better in listings.
            base: even.next_multiple_of(1 << 20).clamp(SMALLEST, LARGEST),
            max_parts,
        }
    }

    /// The size of part `number`, counted from 0; `None` after the last.
    pub fn size(&self, number: u32) -> Option<u64> {
        let number = u64::from(number);
        if number >= self.max_parts {
            return None;
        }
        let even = self.max_parts * 3 / 4;
        let doublings = match number.checked_sub(even) {
            None => 0,
            // Eight steps in the last quarter, the first of them at its start.
            Some(beyond) => 1 + beyond * 8 / (self.max_parts - even).max(1),
        };
        Some((self.base << doublings).min(LARGEST))
    }

    /// How many parts of that size may be on their way at once, at most `wanted`.
    pub fn uploads(&self, size: u64, wanted: usize) -> usize {
        let fitting = usize::try_from(MEMORY / size.max(1)).unwrap_or(usize::MAX);
        fitting.clamp(1, wanted.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_backups_have_small_parts() {
        let plan = PartPlan::new(2 << 30, 1000);
        assert_eq!(plan.size(0), Some(16 << 20));
        assert_eq!(plan.size(1000), None);
    }

    proptest! {
        #[test]
        fn the_estimate_fits_and_much_more(estimate in 0u64..4 << 40, max in 1u32..20_000) {
            let plan = PartPlan::new(estimate, max);
            let total: u128 = (0..max).filter_map(|n| plan.size(n)).map(u128::from).sum();
            let most = u128::from(LARGEST) * u128::from(max);
            prop_assert!(total >= u128::from(estimate).min(most));
        }

        #[test]
        fn sizes_never_shrink(estimate in 0u64..4 << 40, max in 2u32..20_000) {
            let plan = PartPlan::new(estimate, max);
            let sizes: Vec<u64> = (0..max).filter_map(|n| plan.size(n)).collect();
            prop_assert_eq!(sizes.len(), max as usize);
            prop_assert!(sizes.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(sizes.iter().all(|size| (SMALLEST..=LARGEST).contains(size)));
        }
    }
}
