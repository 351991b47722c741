//! Exact density evolution of the int8 decoder over a binary symmetric channel, or a mixture of two.
//!
//! Errors of real keys are asymmetric: where Bob has a 0 he is wrong more often than where he has a 1, or less often. He
//! sees which of the two channels a position came through, so its LLR has the magnitude of that one, and the distribution of
//! an LLR is the mixture of both: the rest is as for one.
//!
//! The decoder's LLRs take 255 values, so their distribution, given that the all-zero word was sent, is 255 numbers, and
//! one step of the decoder's own rules takes distributions to distributions without approximation: neither Tal–Vardy
//! merging nor a Gaussian is needed. The rules (`llr.rs`, `specs/rust-polar-crate.md`):
//!
//! - channel: `±c`, `c = round(2·ln((1−p)/p))` within 1..=127, or of a mixture one of two magnitudes, by Bob's bit; a
//!   shortened position is `+127`;
//! - check: `sign · (min − [max − min ≤ 2])` of the magnitudes, not below 0;
//! - repetition: the sum, clamped to ±127;
//! - a decision is wrong if the LLR is negative, and half the time if it is 0.
//!
//! **Where it stops.** With error probability `e`, the exact evolution of `m` uses of a channel ends when
//!
//! - `m·e < 10⁻¹¹`: even the worst of the m positions errs with probability at most `m·e`. From here a check takes `e` to
//!   `e·(2 − e)` and a repetition to `e²`, which keeps better positions better; below 10⁻⁴⁶ all are 0;
//! - `(1 − 2e)·m < 10⁻³`: even the best of them is useless. All get `e`.
//!
//! Where two kinds of channel meet (shortening), both must have ended, and the larger `e` is taken. Probabilities below
//! 2⁻¹⁰⁰ are set to 0, and every distribution is scaled to total 1. Sums are of non-negative `f32`, so small tails keep
//! their relative accuracy.
//!
//! Source: Richardson and Urbanke (2001) for density evolution, Mori and Tanaka (2009) for polar codes.

use super::{Channel, polarised};
use crate::dispatch::widest;
use crate::error::{Error, Result};
use crate::llr::Llr;
use std::ops::Range;

/// Smallest QBER designed for.
pub const MIN_QBER: f64 = 1e-6;
/// Largest QBER designed for.
pub const MAX_QBER: f64 = 0.499;

/// Largest LLR magnitude.
const TOP: usize = 127;
/// Values of an LLR, and one that is never taken.
const VALUES: usize = 256;
/// Magnitudes 0 to 127. (Half-open loops over them vectorise; inclusive ones do not.)
const USED: usize = TOP + 1;
/// The same, and zeros beyond for windows to run into.
const MAGNITUDES: usize = 192;
/// Magnitudes this close are corrected by one.
const NEAR: usize = 2;
/// Probabilities below this are zero: 2⁻¹⁰⁰.
const NOTHING: f32 = f32::from_bits((127 - 100) << 23);
/// Coefficients of a convolution that are taken together.
const TILE: usize = 8;

/// A binary symmetric channel that has one crossover probability where Bob receives a 0, and another where he receives a 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture {
    /// Probability of an error where Bob has a 0.
    pub at_zero: f64,
    /// Probability of an error where Bob has a 1.
    pub at_one: f64,
    /// Share of zeros among his bits.
    pub zero_weight: f64,
}

impl From<f64> for Mixture {
    /// The same crossover probability everywhere.
    fn from(qber: f64) -> Self {
        Self { at_zero: qber, at_one: qber, zero_weight: 0.5 }
    }
}

impl Mixture {
    fn density(self) -> Result<Density> {
        for (what, got, min, max) in [
            ("qber", self.at_zero, MIN_QBER, MAX_QBER),
            ("qber", self.at_one, MIN_QBER, MAX_QBER),
            ("zero_weight", self.zero_weight, 0.0, 1.0),
        ] {
            if !(min..=max).contains(&got) {
                return Err(Error::OutOfRange { what, got, min, max });
            }
        }
        let (zero, one) = i8::from_crossovers(self.at_zero, self.at_one);
        // Without rounding where there is one channel only.
        if self.at_zero == self.at_one {
            return Ok(Density::of(&[(zero, 1.0 - self.at_zero), (-zero, self.at_zero)]));
        }
        let (of_zero, of_one) = (self.zero_weight, 1.0 - self.zero_weight);
        Ok(Density::of(&[
            (zero, of_zero * (1.0 - self.at_zero)),
            (-zero, of_zero * self.at_zero),
            (one, of_one * (1.0 - self.at_one)),
            (-one, of_one * self.at_one),
        ]))
    }
}

/// Error probability of every position of u under successive cancellation in int8 arithmetic.
///
/// The first `payload_length` positions of x see `channel`, a BSC with a crossover probability or a [`Mixture`]; the others
/// are known.
///
/// # Errors
/// [`Error::BlockLength`]; [`Error::OutOfRange`] unless `payload_length` is from 1 to `block_length`, the crossover
/// probabilities from [`MIN_QBER`] to [`MAX_QBER`], and the weight from 0 to 1; [`Error::Memory`].
pub fn density_evolution(block_length: usize, payload_length: usize, channel: impl Into<Mixture>) -> Result<Vec<f32>> {
    density_evolution_threaded(block_length, payload_length, channel, 1)
}

/// [`density_evolution`] by at most `threads` threads (0 counts as 1); the result does not depend on their number.
///
/// # Errors
/// As [`density_evolution`].
pub fn density_evolution_threaded(
    block_length: usize,
    payload_length: usize,
    channel: impl Into<Mixture>,
    threads: usize,
) -> Result<Vec<f32>> {
    let channel = channel.into().density()?;
    let perfect = Density::of(&[(i8::CERTAIN, 1.0)]);
    polarised(&channel, &perfect, block_length, payload_length, threads)
}

/// Probability of each LLR; that of `l` is at index `l + 127`.
#[derive(Clone)]
struct Density([f32; VALUES]);

impl Density {
    /// The sum of points, rounded once.
    fn of(points: &[(i8, f64)]) -> Self {
        let mut density = [0.0f64; VALUES];
        for (llr, probability) in points {
            density[(i16::from(*llr) + TOP as i16) as usize] += probability;
        }
        Density(density.map(|p| p as f32))
    }
}

impl Channel for Density {
    fn check(a: &Self, b: &Self) -> Self {
        let mut out = Density([0.0; VALUES]);
        check(&a.0, &b.0, &mut out.0);
        out
    }

    fn repeat(a: &Self, b: &Self) -> Self {
        let mut out = Density([0.0; VALUES]);
        repeat(&a.0, &b.0, &mut out.0);
        out
    }

    fn error_probability(&self) -> f64 {
        let (tiles, rest) = self.0[..TOP].as_chunks::<TILE>();
        let mut wrong = [0.0; TILE];
        for tile in tiles {
            for (sum, p) in wrong.iter_mut().zip(tile) {
                *sum += f64::from(*p);
            }
        }
        for (sum, p) in wrong.iter_mut().zip(rest) {
            *sum += f64::from(*p);
        }
        (wrong.iter().sum::<f64>() + 0.5 * f64::from(self.0[TOP])).min(0.5)
    }

    fn is_settled(error_probability: f64, positions: usize) -> bool {
        let positions = positions as f64;
        positions * error_probability < 1e-11 || (1.0 - 2.0 * error_probability) * positions < 1e-3
    }

    fn settle(error_probability: f64, positions: usize, errors: &mut [f32]) {
        if positions == 1 || error_probability > 0.25 {
            errors.fill(error_probability as f32);
        } else if positions as f64 * error_probability < 1e-46 {
            errors.fill(0.0);
        } else if !errors.is_empty() {
            let half = positions / 2;
            let (low, high) = errors.split_at_mut(half.min(errors.len()));
            Self::settle(error_probability * (2.0 - error_probability), half, low);
            Self::settle(error_probability * error_probability, half, high);
        }
    }
}

#[inline(always)]
fn add_neighbour<const DISTANCE: usize>(sums: &mut [f32; MAGNITUDES]) {
    let before = *sums;
    for m in 0..USED {
        sums[m] = before[m] + before[m + DISTANCE];
    }
}

/// One sign of a density by magnitude (index 0 is left empty), with what the check needs of it.
struct Side {
    own: [f32; MAGNITUDES],
    /// Sum over the next two magnitudes.
    above: [f32; MAGNITUDES],
    /// Sum over all magnitudes further away than that.
    beyond: [f32; MAGNITUDES],
}

impl Side {
    #[inline(always)]
    fn new(own: [f32; MAGNITUDES]) -> Self {
        let mut above = [0.0; MAGNITUDES];
        for m in 0..USED {
            above[m] = own[m + 1] + own[m + 2];
        }
        let mut beyond = [0.0; MAGNITUDES];
        beyond[..USED].copy_from_slice(&own[NEAR + 1..USED + NEAR + 1]);
        // Sums of 2, 4, …, 128 neighbours: the sum of all that follow, in seven steps instead of 127.
        add_neighbour::<1>(&mut beyond);
        add_neighbour::<2>(&mut beyond);
        add_neighbour::<4>(&mut beyond);
        add_neighbour::<8>(&mut beyond);
        add_neighbour::<16>(&mut beyond);
        add_neighbour::<32>(&mut beyond);
        add_neighbour::<64>(&mut beyond);
        Side { own, above, beyond }
    }

    /// Both signs of a density.
    #[inline(always)]
    fn both(density: &[f32; VALUES]) -> [Self; 2] {
        let mut positive = [0.0; MAGNITUDES];
        let mut negative = [0.0; MAGNITUDES];
        for m in 1..USED {
            positive[m] = density[TOP + m];
            negative[m] = density[TOP - m];
        }
        [Side::new(positive), Side::new(negative)]
    }

    /// Probability that the other magnitude is the smaller or equal one, at least three below: by smaller magnitude.
    #[inline(always)]
    fn far(&self, other: &Self, m: usize) -> f32 {
        self.own[m] * other.beyond[m] + other.own[m] * self.beyond[m]
    }

    /// Probability that the magnitudes differ by at most two: by smaller magnitude.
    #[inline(always)]
    fn near(&self, other: &Self, m: usize) -> f32 {
        self.own[m] * (other.own[m] + other.above[m]) + other.own[m] * self.above[m]
    }

    #[inline(always)]
    fn total(&self) -> f32 {
        self.own[1] + self.above[1] + self.beyond[1]
    }
}

widest! {
    /// Density of the check of two LLRs.
    fn check(a: &[f32; VALUES], b: &[f32; VALUES], out: &mut [f32; VALUES]) {
        let [a_positive, a_negative] = Side::both(a);
        let [b_positive, b_negative] = Side::both(b);
        let mut far = [[0.0; MAGNITUDES]; 2];
        let mut near = [[0.0; MAGNITUDES]; 2];
        for m in 0..USED {
            far[0][m] = a_positive.far(&b_positive, m) + a_negative.far(&b_negative, m);
            far[1][m] = a_positive.far(&b_negative, m) + a_negative.far(&b_positive, m);
            near[0][m] = a_positive.near(&b_positive, m) + a_negative.near(&b_negative, m);
            near[1][m] = a_positive.near(&b_negative, m) + a_negative.near(&b_positive, m);
        }
        let nonzero = [&a_positive, &a_negative, &b_positive, &b_negative].map(Side::total);
        out[TOP] = a[TOP] * (b[TOP] + nonzero[2] + nonzero[3])
            + b[TOP] * (nonzero[0] + nonzero[1])
            + near[0][1]
            + near[1][1];
        for m in 1..USED {
            out[TOP + m] = kept(far[0][m] + near[0][m + 1]);
            out[TOP - m] = kept(far[1][m] + near[1][m + 1]);
        }
        normalise(out);
    }
}

/// Scales a density to total 1: squared at every step, a rounding error of the total would grow to per cents.
#[inline(always)]
fn normalise(density: &mut [f32; VALUES]) {
    let mut sums = [0.0f32; 2 * TILE];
    let (tiles, _) = density.as_chunks::<{ 2 * TILE }>();
    for tile in tiles {
        for (sum, p) in sums.iter_mut().zip(tile) {
            *sum += p;
        }
    }
    let scale = 1.0 / sums.iter().sum::<f32>();
    for p in density {
        *p *= scale;
    }
}

/// The tiles from the first to the last that is not all zero, as a range of indices.
#[inline(always)]
fn support(density: &[f32; VALUES]) -> Range<usize> {
    let (tiles, _) = density.as_chunks::<TILE>();
    let used = |tile: &[f32; TILE]| tile.iter().any(|p| *p != 0.0);
    let start = tiles.iter().position(used).unwrap_or(0);
    let end = tiles.iter().rposition(used).map_or(0, |last| last + 1);
    start * TILE..end * TILE
}

#[inline(always)]
fn kept(probability: f32) -> f32 {
    if probability < NOTHING { 0.0 } else { probability }
}

widest! {
    /// Density of the clamped sum of two LLRs.
    fn repeat(a: &[f32; VALUES], b: &[f32; VALUES], out: &mut [f32; VALUES]) {
        // The sum with index k takes a[i] and b[k - i]; only the tiles of a and b that are not all zero take part.
        let taken = support(b);
        let mut padded = [0.0; VALUES + 2 * TILE];
        padded[TILE..TILE + VALUES].copy_from_slice(b);
        let mut sums = [0.0f32; 2 * VALUES + TILE];
        let (tiles, _) = a.as_chunks::<TILE>();
        for (tile, first) in tiles.iter().zip((0..).step_by(TILE)) {
            if tile.iter().all(|p| *p == 0.0) {
                continue;
            }
            let places = taken.start..taken.end + TILE;
            let sources = &padded[places.start..places.end + TILE];
            for (k, sum) in sums[first + places.start..first + places.end].iter_mut().enumerate() {
                let mut total = *sum;
                for (i, p) in tile.iter().enumerate() {
                    total += p * sources[TILE + k - i];
                }
                *sum = total;
            }
        }
        // Index k of a sum stands for k - 254.
        out[0] = kept(sums[..=TOP].iter().sum());
        for (value, sum) in out[1..2 * TOP].iter_mut().zip(&sums[TOP + 1..3 * TOP]) {
            *value = kept(*sum);
        }
        out[2 * TOP] = kept(sums[3 * TOP..].iter().sum());
        normalise(out);
    }
}
