//! Gaussian approximation for the binary-input AWGN channel.
//!
//! Every LLR is taken to be Gaussian with variance twice its mean, so a channel is one number, the mean `x`
//! (Chung, Richardson and Urbanke, 2001; for polar codes Trifonov, 2012): `2/σ²` for unit-energy BPSK in noise of variance
//! σ², the sum for a repetition, and for a check the mean `x` with `1 − φ(x) = (1 − φ(a))·(1 − φ(b))`, where
//!
//! ```text
//! φ(x) = 1 − E[tanh(L/2)],  L ~ N(x, 2x)
//! ```
//!
//! It departs from those papers in how φ is computed. Their closed-form fits are a few per cent off for small `x`, which
//! long codes amplify (Dai et al., 2017). Here the odds `φ/(1 − φ)` come from two integrals of positive functions,
//!
//! ```text
//! φ/(1 − φ) = ∫ sech(v)·e^(−v²/x) dv / ∫ sinh(v)·tanh(v)·e^(−v²/x) dv
//! ```
//!
//! as a table in `ln x` with linear interpolation, relative error of `x` below 10⁻⁵. In terms of `y = ln(φ/(1 − φ))` a
//! check is `ln(e^a + e^b + e^(a+b))`, which loses no accuracy at either end.
//!
//! Not covered: the quantised decoder (density evolution does that), channels other than BI-AWGN.

use super::{Channel, polarised};
use crate::error::{Error, Result};
use std::sync::OnceLock;

/// Smallest noise standard deviation designed for.
pub const MIN_SIGMA: f64 = 0.05;
/// Largest noise standard deviation designed for.
pub const MAX_SIGMA: f64 = 20.0;

/// Knots of the table, evenly spaced in `ln x`.
const KNOTS: usize = 8193;
/// Means from here on are perfect: error probability below 10⁻⁵⁶, which `f32` cannot tell from 0.
const LARGEST: f64 = 512.0;
/// Means below this follow the limit `y = ln(2/x)`, with relative error below 10⁻⁸.
const SMALLEST: f64 = 1.0 / 67_108_864.0;

/// Error probability of every position of u under successive cancellation.
///
/// The first `payload_length` positions of x are sent as ±1 in noise of standard deviation `sigma`, the others are known.
///
/// # Errors
/// [`Error::BlockLength`]; [`Error::OutOfRange`] unless `payload_length` is from 1 to `block_length` and `sigma` from
/// [`MIN_SIGMA`] to [`MAX_SIGMA`]; [`Error::Memory`].
pub fn gaussian(block_length: usize, payload_length: usize, sigma: f64) -> Result<Vec<f32>> {
    if !(MIN_SIGMA..=MAX_SIGMA).contains(&sigma) {
        return Err(Error::OutOfRange { what: "sigma", got: sigma, min: MIN_SIGMA, max: MAX_SIGMA });
    }
    polarised(&Mean::new(2.0 / (sigma * sigma)), &Mean(f64::INFINITY), block_length, payload_length, 1)
}

/// Mean of an LLR; infinite for a perfect channel.
#[derive(Clone)]
struct Mean(f64);

impl Mean {
    fn new(mean: f64) -> Self {
        Mean(if mean >= LARGEST { f64::INFINITY } else { mean })
    }
}

impl Channel for Mean {
    fn check(a: &Self, b: &Self) -> Self {
        match (a.0.is_infinite(), b.0.is_infinite()) {
            (true, _) => Mean(b.0),
            (_, true) => Mean(a.0),
            (false, false) => {
                let table = Table::get();
                let (low, high) = (table.log_odds(a.0.max(b.0)), table.log_odds(a.0.min(b.0)));
                // ln(e^low + e^high + e^(low + high)), the larger exponent taken out.
                Mean::new(table.mean(high + libm::log1p(libm::exp(low - high) + libm::exp(low))))
            }
        }
    }

    fn repeat(a: &Self, b: &Self) -> Self {
        Mean::new(a.0 + b.0)
    }

    fn error_probability(&self) -> f64 {
        0.5 * libm::erfc(0.5 * self.0.sqrt())
    }

    /// Perfect, or so poor that no number of repetitions helps.
    fn is_settled(error_probability: f64, positions: usize) -> bool {
        error_probability == 0.0 || (1.0 - 2.0 * error_probability) * (positions as f64) < 1e-3
    }
}

/// `y = ln(φ/(1 − φ))` at the knots, falling.
struct Table {
    first: f64,
    step: f64,
    log_odds: Vec<f64>,
}

impl Table {
    fn get() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let first = libm::log(SMALLEST);
            let step = (libm::log(LARGEST) - first) / (KNOTS - 1) as f64;
            let log_odds = (0..KNOTS).map(|knot| log_odds_of(libm::exp(first + step * knot as f64))).collect();
            Table { first, step, log_odds }
        })
    }

    fn log_odds(&self, mean: f64) -> f64 {
        if mean <= SMALLEST {
            return std::f64::consts::LN_2 - libm::log(mean);
        }
        let place = (libm::log(mean) - self.first) / self.step;
        let knot = (place as usize).min(KNOTS - 2);
        let (left, right) = (self.log_odds[knot], self.log_odds[knot + 1]);
        left + (right - left) * (place - knot as f64)
    }

    fn mean(&self, log_odds: f64) -> f64 {
        if log_odds >= self.log_odds[0] {
            return 2.0 * libm::exp(-log_odds);
        }
        let knot = self.log_odds.partition_point(|y| *y > log_odds).clamp(1, KNOTS - 1) - 1;
        let (left, right) = (self.log_odds[knot], self.log_odds[knot + 1]);
        let place = knot as f64 + (log_odds - left) / (right - left);
        libm::exp(self.first + self.step * place)
    }
}

/// The two integrals by the trapezoidal rule, which converges faster than any power for such functions.
fn log_odds_of(mean: f64) -> f64 {
    // The second integrand is e^(|v| − v²/x) at its largest, around v = x/2; both are scaled by e^(−x/4).
    let width = mean.sqrt();
    let end = 0.5 * mean + 9.0 * width;
    let step = (width * 0.25).min(0.125);
    let mut wrong = 0.5;
    let mut right = 0.0;
    let mut place = 1;
    loop {
        let v = step * f64::from(place);
        if v > end {
            break;
        }
        let decay = libm::exp(-2.0 * v);
        wrong += 2.0 * libm::exp(-v - v * v / mean) / (1.0 + decay);
        let odd = 1.0 - decay;
        let gap = v - 0.5 * mean;
        right += 0.5 * libm::exp(-gap * gap / mean) * odd * odd / (1.0 + decay);
        place += 1;
    }
    libm::log(wrong) - libm::log(right) - 0.25 * mean
}
