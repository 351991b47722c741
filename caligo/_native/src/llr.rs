//! LLR arithmetic and its saturation rules, in one place.
//!
//! An LLR is `ln P(0)/P(1)`: positive means 0, and an LLR of zero decides 0. Two representations:
//!
//! - `i8`, unit half a nat, range −127..=127 (−128 never occurs); path metrics are `u16`.
//! - `f32`, unit one nat; path metrics are `f32`.
//!
//! The formulas below are the written rules of `specs/rust-polar-crate.md` §3; every engine computes exactly these, and
//! vectorised versions live in `simd`. Nothing here knows about lists or codes.
//!
//! Source of the f-kernels: the min-sum of Leroux et al. (2011); `i8` adds a one-step table for the Jacobian correction
//! `ln(1 + e^−d)`. `f32` does without: path metrics are min-sum, and only with a min-sum f is a metric what the word
//! contradicts of the channel. A correction in f alone costs a list decoder at low rates (AWGN, N = 2048, R = 1/2, L = 32:
//! 1.7 times the frame errors); at the rates of reconciliation it gains.

use std::fmt::Debug;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for f32 {}
}

/// A path metric: lower is better, zero is the best live path, [`Metric::DEAD`] marks an unused lane.
pub trait Metric: Copy + PartialOrd + Debug + Default + Send + Sync + 'static {
    /// The metric of the best path.
    const ZERO: Self;
    /// The metric of a lane without a path; compares above every live metric.
    const DEAD: Self;
    /// Candidates further than this above the best candidate are dropped, in the last attempt at a block.
    const THRESHOLD: Self;
    /// The threshold of an attempt that is not the last: n + 4 half-nats for a block of 2^n.
    fn narrow_threshold(log_length: u32) -> Self;
    /// The smallest metric beyond this one.
    fn next(self) -> Self;
    /// Sum, saturating below [`Metric::DEAD`]'s value for `u16`.
    fn plus(self, other: Self) -> Self;
    /// Difference, not below zero.
    fn minus(self, other: Self) -> Self;
    /// A key that orders live metrics as the metrics themselves.
    fn key(self) -> u32;
}

impl Metric for u16 {
    const ZERO: Self = 0;
    const DEAD: Self = u16::MAX;
    const THRESHOLD: Self = 70;
    fn narrow_threshold(log_length: u32) -> Self {
        (log_length + 4) as u16
    }
    #[inline(always)]
    fn next(self) -> Self {
        self + 1
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
    #[inline(always)]
    fn key(self) -> u32 {
        u32::from(self)
    }
}

impl Metric for f32 {
    const ZERO: Self = 0.0;
    const DEAD: Self = f32::INFINITY;
    const THRESHOLD: Self = 35.0;
    fn narrow_threshold(log_length: u32) -> Self {
        (log_length + 4) as f32 / 2.0
    }
    #[inline(always)]
    fn next(self) -> Self {
        self.next_up()
    }
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    fn key(self) -> u32 {
        // Non-negative floats order as their bit patterns.
        self.to_bits()
    }
}

/// A sum of LLR magnitudes over a node of any size.
pub trait Total: Copy + PartialOrd + Debug + Default + Send + Sync + 'static {
    /// Sum.
    fn plus(self, other: Self) -> Self;
    /// Difference; the caller ensures `other <= self`.
    fn minus(self, other: Self) -> Self;
}

impl Total for u32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
}

impl Total for f32 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self - other
    }
}

/// A magnitude with its position in a node of at most 32 values: orders by magnitude, then by position.
pub trait NodeKey: Copy + Ord + Debug + Default + Send + Sync + 'static {
    /// Larger than any key of a real value.
    const LAST: Self;
    /// The position, 0..32.
    fn position(self) -> u32;
    /// Orders keys beginning with the one that follows `key`; those up to `key`, and it, come last.
    fn after(self, key: Self) -> Self;
    /// The key that [`NodeKey::after`] turned into `self`.
    fn following(self, key: Self) -> Self;
}

impl NodeKey for u16 {
    const LAST: Self = u16::MAX;
    #[inline(always)]
    fn position(self) -> u32 {
        u32::from(self & 31)
    }
    #[inline(always)]
    fn after(self, key: Self) -> Self {
        self.wrapping_sub(key).wrapping_sub(1)
    }
    #[inline(always)]
    fn following(self, key: Self) -> Self {
        self.wrapping_add(key).wrapping_add(1)
    }
}

impl NodeKey for u64 {
    const LAST: Self = u64::MAX;
    #[inline(always)]
    fn position(self) -> u32 {
        (self & 31) as u32
    }
    #[inline(always)]
    fn after(self, key: Self) -> Self {
        self.wrapping_sub(key).wrapping_sub(1)
    }
    #[inline(always)]
    fn following(self, key: Self) -> Self {
        self.wrapping_add(key).wrapping_add(1)
    }
}

/// An LLR representation.
pub trait Llr:
    crate::decoder::workspace::Plain + Default + PartialOrd + Debug + Into<f64> + Send + Sync + sealed::Sealed
{
    /// Path metrics over this representation.
    type Metric: Metric;
    /// Sums over whole nodes.
    type Total: Total;
    /// Magnitude and position in one ordered value.
    type Key: NodeKey;
    /// The LLR of a position known to be 0.
    const CERTAIN: Self;
    /// Name used at the boundary.
    const NAME: &'static str;

    /// LLR of `a ⊕ b`.
    fn f(self, other: Self) -> Self;
    /// LLR of `b` given `a ⊕ b = bit`: `other ± self`.
    fn g(self, other: Self, bit: bool) -> Self;
    /// Whether the hard decision is 1.
    fn is_negative(self) -> bool;
    /// Sign flipped when `flip`.
    fn negate_if(self, flip: bool) -> Self;
    /// |LLR| as a metric: the cost of deciding against it.
    fn magnitude(self) -> Self::Metric;
    /// Cost of deciding 0.
    fn negative_part(self) -> Self::Metric;
    /// Cost of deciding 1.
    fn positive_part(self) -> Self::Metric;
    /// A metric as a total.
    fn widen(metric: Self::Metric) -> Self::Total;
    /// A total as a metric, saturating.
    fn narrow(total: Self::Total) -> Self::Metric;
    /// Whether an LLR of this magnitude, met by none that is smaller, cannot become 0 in `depth` f-kernels.
    fn outlasts(magnitude: Self::Metric, depth: u8) -> bool;
    /// Magnitude and position as one key.
    fn node_key(self, position: usize) -> Self::Key;
    /// The magnitude of a key.
    fn key_magnitude(key: Self::Key) -> Self::Metric;
    /// LLR magnitude of a binary symmetric channel with crossover probability `qber` (0 < qber < 0.5).
    fn from_crossover(qber: f64) -> Self;
    /// LLR magnitudes of two such channels that are met side by side.
    fn from_crossovers(first: f64, second: f64) -> (Self, Self) {
        (Self::from_crossover(first), Self::from_crossover(second))
    }
    /// Quantises a finite LLR in nats.
    fn from_nats(llr: f32) -> Self;
    /// The LLR of this value, if there is one.
    fn exactly(value: f32) -> Option<Self>;
    /// LLRs as bytes, little-endian.
    fn to_bytes(llrs: &[Self], bytes: &mut [u8]);
    /// The LLRs of [`Llr::to_bytes`]; whether they are such.
    fn from_bytes(bytes: &[u8], llrs: &mut [Self]) -> bool;
}

/// Difference of two LLRs in nats from which it pays that f tells their int8 magnitudes apart.
const APART_NATS: f64 = 9.0 / 16.0;
/// Magnitudes a < b of which f tells (a, b) from (a, a) are so far apart.
const APART: f64 = 3.0;
/// Units of a nat where magnitudes of half a nat would be nearer.
const FINER: f64 = 8.0 / 3.0;

impl Llr for i8 {
    type Metric = u16;
    type Total = u32;
    type Key = u16;
    const CERTAIN: Self = 127;
    const NAME: &'static str = "int8";

    #[inline(always)]
    fn f(self, other: Self) -> Self {
        let (a, b) = (self.unsigned_abs(), other.unsigned_abs());
        let (low, high) = (a.min(b), a.max(b));
        let magnitude = low.saturating_sub(u8::from(high - low <= 2)) as i8;
        if (self ^ other) < 0 { -magnitude } else { magnitude }
    }
    #[inline(always)]
    fn g(self, other: Self, bit: bool) -> Self {
        other.saturating_add(self.negate_if(bit)).max(-127)
    }
    #[inline(always)]
    fn is_negative(self) -> bool {
        self < 0
    }
    #[inline(always)]
    fn negate_if(self, flip: bool) -> Self {
        let mask = -(flip as i8);
        (self ^ mask).wrapping_sub(mask)
    }
    #[inline(always)]
    fn magnitude(self) -> u16 {
        u16::from(self.unsigned_abs())
    }
    #[inline(always)]
    fn negative_part(self) -> u16 {
        u16::from((self.min(0)).unsigned_abs())
    }
    #[inline(always)]
    fn positive_part(self) -> u16 {
        self.max(0) as u16
    }
    #[inline(always)]
    fn widen(metric: u16) -> u32 {
        u32::from(metric)
    }
    #[inline(always)]
    fn narrow(total: u32) -> u16 {
        total.min(u32::from(u16::MAX)) as u16
    }
    #[inline(always)]
    fn outlasts(magnitude: u16, depth: u8) -> bool {
        magnitude > u16::from(depth)
    }
    #[inline(always)]
    fn node_key(self, position: usize) -> u16 {
        (self.magnitude() << 5) | position as u16
    }
    #[inline(always)]
    fn key_magnitude(key: u16) -> u16 {
        key >> 5
    }
    fn from_crossover(qber: f64) -> Self {
        let units = libm::round(2.0 * libm::log((1.0 - qber) / qber));
        units.clamp(1.0, 127.0) as i8
    }
    fn from_crossovers(first: f64, second: f64) -> (Self, Self) {
        let (a, b) = (Self::from_crossover(first), Self::from_crossover(second));
        let nats = |qber: f64| libm::log((1.0 - qber) / qber);
        let (first, second) = (nats(first), nats(second));
        let difference = (first - second).abs();
        if f64::from(a.abs_diff(b)) >= APART || difference < APART_NATS {
            return (a, b);
        }
        let less = libm::round(FINER * first.min(second)).clamp(1.0, 127.0 - APART);
        let more = (less + libm::round(FINER * difference).max(APART)).min(127.0);
        if first < second { (less as i8, more as i8) } else { (more as i8, less as i8) }
    }
    #[inline(always)]
    #[allow(clippy::manual_clamp, reason = "this clamp makes numbers of NaNs")]
    fn from_nats(llr: f32) -> Self {
        // Half away from zero; exact in f32 for |llr| < 2^22, and larger values clip.
        let scaled = (llr * 2.0).max(-127.0).min(127.0);
        let rounded = scaled + 0.5f32.copysign(scaled);
        // SAFETY: `max` and `min` return a number if one of two is one, so this is a number from -127.5 to 127.5. The checked
        // cast does not vectorise.
        unsafe { rounded.to_int_unchecked::<i32>() as i8 }
    }
    fn exactly(value: f32) -> Option<Self> {
        let llr = value as i8;
        (f32::from(llr) == value && llr != i8::MIN).then_some(llr)
    }
    fn to_bytes(llrs: &[Self], bytes: &mut [u8]) {
        for (byte, llr) in bytes.iter_mut().zip(llrs) {
            *byte = llr.cast_unsigned();
        }
    }
    fn from_bytes(bytes: &[u8], llrs: &mut [Self]) -> bool {
        let mut sound = true;
        for (llr, byte) in llrs.iter_mut().zip(bytes) {
            *llr = byte.cast_signed();
            sound &= *llr != i8::MIN;
        }
        sound
    }
}

impl Llr for f32 {
    type Metric = f32;
    type Total = f32;
    type Key = u64;
    const CERTAIN: Self = 1.0e6;
    const NAME: &'static str = "f32";

    #[inline(always)]
    fn f(self, other: Self) -> Self {
        let (a, b) = (self.abs(), other.abs());
        let magnitude = if a < b { a } else { b };
        f32::from_bits(magnitude.to_bits() | ((self.to_bits() ^ other.to_bits()) & 0x8000_0000))
    }
    #[inline(always)]
    fn g(self, other: Self, bit: bool) -> Self {
        other + self.negate_if(bit)
    }
    #[inline(always)]
    fn is_negative(self) -> bool {
        self < 0.0
    }
    #[inline(always)]
    fn negate_if(self, flip: bool) -> Self {
        f32::from_bits(self.to_bits() ^ (u32::from(flip) << 31))
    }
    #[inline(always)]
    fn magnitude(self) -> f32 {
        self.abs()
    }
    #[inline(always)]
    fn negative_part(self) -> f32 {
        if self < 0.0 { -self } else { 0.0 }
    }
    #[inline(always)]
    fn positive_part(self) -> f32 {
        if self > 0.0 { self } else { 0.0 }
    }
    #[inline(always)]
    fn widen(metric: f32) -> f32 {
        metric
    }
    #[inline(always)]
    fn narrow(total: f32) -> f32 {
        total
    }
    #[inline(always)]
    fn outlasts(magnitude: f32, _depth: u8) -> bool {
        magnitude > 0.0
    }
    #[inline(always)]
    fn node_key(self, position: usize) -> u64 {
        (u64::from(self.abs().to_bits()) << 5) | position as u64
    }
    #[inline(always)]
    fn key_magnitude(key: u64) -> f32 {
        f32::from_bits((key >> 5) as u32)
    }
    fn from_crossover(qber: f64) -> Self {
        // The odds of the smallest numbers there are overflow.
        libm::log((1.0 - qber) / qber).min(f64::from(Self::CERTAIN)) as f32
    }
    #[inline(always)]
    fn from_nats(llr: f32) -> Self {
        llr.clamp(-1.0e6, 1.0e6)
    }
    fn exactly(value: f32) -> Option<Self> {
        (value.abs() <= Self::CERTAIN).then_some(value)
    }
    fn to_bytes(llrs: &[Self], bytes: &mut [u8]) {
        for (bytes, llr) in bytes.as_chunks_mut().0.iter_mut().zip(llrs) {
            *bytes = llr.to_le_bytes();
        }
    }
    fn from_bytes(bytes: &[u8], llrs: &mut [Self]) -> bool {
        let mut sound = true;
        for (llr, bytes) in llrs.iter_mut().zip(bytes.as_chunks().0) {
            *llr = Self::from_le_bytes(*bytes);
            // Not so for a NaN.
            sound &= llr.abs() <= Self::CERTAIN;
        }
        sound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn int8_kernels_stay_in_range_and_follow_the_formula() {
        for a in -127i8..=127 {
            for b in -127i8..=127 {
                let (low, high) = (a.unsigned_abs().min(b.unsigned_abs()), a.unsigned_abs().max(b.unsigned_abs()));
                let mut magnitude = i32::from(low);
                if high - low <= 2 && magnitude > 0 {
                    magnitude -= 1;
                }
                let sign = if (a < 0) != (b < 0) { -1 } else { 1 };
                assert_eq!(i32::from(a.f(b)), sign * magnitude);
                for bit in [false, true] {
                    let sum = i32::from(b) + if bit { -i32::from(a) } else { i32::from(a) };
                    assert_eq!(i32::from(a.g(b, bit)), sum.clamp(-127, 127));
                }
            }
        }
    }

    #[test]
    fn soft_values_quantise_half_away_from_zero_and_clip() {
        for (nats, units) in
            [(0.0, 0), (0.24, 0), (0.25, 1), (-0.25, -1), (0.74, 1), (0.75, 2), (100.0, 127), (-1e9, -127)]
        {
            assert_eq!(i8::from_nats(nats), units);
        }
    }

    #[test]
    fn crossover_magnitudes_are_the_rounded_log_ratio() {
        assert_eq!(i8::from_crossover(0.02), 8);
        assert_eq!(i8::from_crossover(0.11), 4);
        assert_eq!(i8::from_crossover(0.49), 1);
        assert_eq!(i8::from_crossover(1e-30), 127);
        assert_eq!(i8::from_crossover(f64::from_bits(1)), 127);
        assert_eq!(i8::from_crossovers(0.049, 0.024), (8, 11));
        assert_eq!(i8::from_crossovers(0.024, 0.049), (11, 8));
        assert_eq!(i8::from_crossovers(0.025, 0.015), (7, 8));
        assert_eq!(i8::from_crossovers(0.02, 0.002), (8, 12));
        assert_eq!(i8::from_crossovers(0.01, 0.01), (9, 9));
        assert_eq!(i8::from_crossovers(1e-30, 1e-12), (127, 55));
        assert_eq!(f32::from_crossovers(0.02, 0.4).0, 3.891_820_3);
        assert_eq!(f32::from_crossover(0.02), 3.891_820_3);
        assert!(f32::from_crossover(f64::from_bits(1)).is_finite());
        assert!(f32::from_crossover(0.5 - f64::EPSILON) > 0.0);
    }
}
