//! Polarisation weight: `W(i) = Σ bₖ·β^k` over the binary digits bₖ of i, β = 2^(1/4) (He et al., 2017).
//!
//! One order for every channel and length, a design without a design point. Weights are numbers `a + b·β + c·β² + d·β³`
//! with integers below 64, which are all different and further apart than the rounding of `f64`, so the order is exact.

use super::by_rank;
use crate::error::Result;
use crate::memory;
use crate::transform;

/// β = 2^(1/4).
const BETA: f64 = 1.189_207_115_002_721;

/// Pseudo error probability of every position: `(N − r)/2N` for the position of rank r (0 is the least reliable).
///
/// # Errors
/// [`crate::error::Error::BlockLength`]; [`crate::error::Error::Memory`].
pub fn polarization_weight(block_length: usize) -> Result<Vec<f32>> {
    let log2_length = transform::block_log2(block_length)?;
    // The two lists of the last round, their order alone, and what is returned.
    memory::ask(block_length * (size_of::<(f64, u32)>() * 3 / 2 + size_of::<u32>() + size_of::<f32>()))?;
    let mut order: Vec<(f64, u32)> = vec![(0.0, 0)];
    for digit in 0..log2_length {
        // The positions with this digit are those without it, shifted; both lists are in order.
        let root = (0..digit % 4).fold(1.0, |power, _| power * BETA);
        let weight = root * f64::from(1u32 << (digit / 4));
        let mut merged = Vec::with_capacity(2 * order.len());
        let mut without = order.iter().copied().peekable();
        for (base, position) in &order {
            let with = (base + weight, position | 1 << digit);
            while let Some(next) = without.next_if(|next| next.0 < with.0) {
                merged.push(next);
            }
            merged.push(with);
        }
        merged.extend(without);
        order = merged;
    }
    let order: Vec<u32> = order.into_iter().map(|(_, position)| position).collect();
    Ok(by_rank(&order))
}
