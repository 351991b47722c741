//! Code design: how reliable each synthetic channel is, for a given physical channel.
//!
//! Every design returns one number per position of u, in natural order: the error probability of a successive
//! cancellation decision there, or a pseudo error probability that only orders the positions ([`nr()`],
//! [`polarization_weight()`]). Smaller is more reliable; a code takes the smallest as its information set. Positions that
//! share a value are equally good for every purpose of that design.
//!
//! | design | channel | what is computed |
//! |---|---|---|
//! | [`density_evolution()`] | BSC, or a [`Mixture`] of two | exact evolution of the int8 decoder's own LLR distribution |
//! | [`gaussian()`] | BI-AWGN | Gaussian approximation |
//! | [`nr()`] | none | the 5G NR sequence, N ≤ 1024 |
//! | [`polarization_weight()`] | none | β-expansion, β = 2^(1/4) |
//!
//! **Shortening.** The last `block_length − payload_length` positions of x are known zeros: perfect channels. Those of u
//! are then known zeros too, and have error probability 0 here.
//!
//! **Identical on every CPU.** Only `+ − × ÷ √` in a fixed order, and the `libm` crate; no contraction to fused
//! operations, no system library. Golden digests are in `tests/design.rs`. The branches of the first stages may be shared out
//! between threads: each is computed by itself, so their number changes nothing.
//!
//! Not covered: choosing an information set, caching, the grid of design QBERs (`specs/design-grid.md`).

use crate::error::{Error, Result};
use crate::memory;
use crate::transform;
use std::sync::{Mutex, PoisonError};

mod density_evolution;
mod gaussian;
mod nr;
mod polarization_weight;

pub use density_evolution::{MAX_QBER, MIN_QBER, Mixture, density_evolution, density_evolution_threaded};
pub use gaussian::{MAX_SIGMA, MIN_SIGMA, gaussian};
pub use nr::{MAX_NR_BLOCK_LENGTH, nr};
pub use polarization_weight::polarization_weight;

/// A channel that can be polarised.
trait Channel: Sized + Send + Sync {
    /// The channel of `a ⊕ b`.
    fn check(a: &Self, b: &Self) -> Self;
    /// The channel of `b` once `a ⊕ b` is known.
    fn repeat(a: &Self, b: &Self) -> Self;
    /// Probability that a hard decision is wrong.
    fn error_probability(&self) -> f64;
    /// Whether `positions` uses of a channel with this error probability need no further polarisation.
    fn is_settled(error_probability: f64, positions: usize) -> bool;
    /// The error probabilities of settled positions; `errors` may end before the last of them.
    fn settle(error_probability: f64, _positions: usize, errors: &mut [f32]) {
        errors.fill(error_probability as f32);
    }
}

/// Stages whose branches are shared out between threads.
const SHARED_STAGES: u32 = 6;
/// Shortest block that is worth a thread.
const SHARED_LENGTH: usize = 1 << 12;

/// A branch of a polarisation that is left for later: see [`polarise`].
struct Branch<'a, C> {
    first: C,
    second: C,
    boundary: usize,
    length: usize,
    errors: &'a mut [f32],
}

/// Error probabilities of a block whose first `payload_length` positions see `channel` and whose others see `perfect`, by at
/// most `threads` threads, the caller's included. A thread that the system refuses is done without.
fn polarised<C: Channel + Clone>(
    channel: &C,
    perfect: &C,
    block_length: usize,
    payload_length: usize,
    threads: usize,
) -> Result<Vec<f32>> {
    transform::block_log2(block_length)?;
    if !(1..=block_length).contains(&payload_length) {
        let (got, max) = (payload_length as f64, block_length as f64);
        return Err(Error::OutOfRange { what: "payload_length", got, min: 1.0, max });
    }
    memory::ask(block_length * size_of::<f32>())?;
    let mut errors = vec![0.0; block_length];
    let stages = if threads > 1 && block_length >= SHARED_LENGTH { SHARED_STAGES } else { 0 };
    let mut branches = Vec::new();
    let bytes = size_of::<Branch<'_, C>>() << stages;
    branches.try_reserve_exact(1 << stages).map_err(|_| Error::Memory { bytes })?;
    let whole = &mut errors[..payload_length];
    polarise(channel, perfect, payload_length, block_length, whole, stages, &mut |branch| branches.push(branch));
    let count = threads.min(branches.len());
    let branches = Mutex::new(branches);
    let work = || {
        loop {
            // The guard is gone before the branch is worked on.
            let next = branches.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(Branch { first, second, boundary, length, errors }) = next else { return };
            polarise(&first, &second, boundary, length, errors, 0, &mut |_| {});
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..count {
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    Ok(errors)
}

/// Polarises `length` positions, the first `boundary` of them (1 to `length`) seeing `first` and the others `second`.
///
/// Pairing position i with i + length/2 makes at most two kinds of pair again, with one boundary between them; that is
/// why shortening at most doubles the work. `errors` ends where the shortened positions begin. Branches that are left after
/// `shared` stages, if there are any such stages, go to `later`.
fn polarise<'a, C: Channel + Clone>(
    first: &C,
    second: &C,
    boundary: usize,
    length: usize,
    errors: &'a mut [f32],
    shared: u32,
    later: &mut impl FnMut(Branch<'a, C>),
) {
    if errors.is_empty() {
        return;
    }
    let uniform = boundary == length;
    let error = first.error_probability();
    let other = if uniform { error } else { second.error_probability() };
    if length == 1 || (C::is_settled(error, length) && C::is_settled(other, length)) {
        C::settle(error.max(other), length, errors);
        return;
    }
    let half = length / 2;
    let (low, high) = errors.split_at_mut(half.min(errors.len()));
    // Before the inner boundary one pair of channels meets, after it the other.
    let (before, after, inner) = if uniform {
        ((first, first), None, half)
    } else if boundary > half {
        ((first, first), Some((first, second)), boundary - half)
    } else if boundary == half {
        ((first, second), None, half)
    } else {
        ((first, second), Some((second, second)), boundary)
    };
    for (combine, part) in [(C::check as fn(&C, &C) -> C, low), (C::repeat, high)] {
        let joined = combine(before.0, before.1);
        let (other, inner) = match after {
            None => (joined.clone(), half),
            Some((a, b)) => (combine(a, b), inner),
        };
        match shared {
            1 => later(Branch { first: joined, second: other, boundary: inner, length: half, errors: part }),
            _ => polarise(&joined, &other, inner, half, part, shared.saturating_sub(1), later),
        }
    }
}

/// The values `(N − r)/2N` for the position of rank r = 0 … N−1 (least reliable first): exact in `f32`, all different.
fn by_rank(order: &[u32]) -> Vec<f32> {
    let length = order.len();
    let mut measure = vec![0.0; length];
    for (rank, position) in order.iter().enumerate() {
        measure[*position as usize] = (length - rank) as f32 / (2 * length) as f32;
    }
    measure
}
