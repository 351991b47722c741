//! The counter-based generator of `specs/randomness.md`: Philox4x32-10 (Salmon et al., SC'11) and what is drawn from it.
//!
//! Every number is a function of `(seed, stream, block, index)` and of nothing else: not of the rank, the thread, the
//! order of calls or the CPU. The key is the seed; the counter is `(index, stream, block mod 2³², block / 2³²)`.
//!
//! For simulation only: a party's secrets and verification keys come from the operating system, never from here.
//! Not covered: what the streams are used for.

use crate::bits;
use crate::dispatch::widest;
use crate::error::{Error, Result};

/// Most bits [`random_bits`] draws for one block.
pub const MAX_RANDOM_BITS: usize = 1 << 39;
/// Most bits [`bernoulli_bits`] draws for one block.
pub const MAX_BERNOULLI_BITS: usize = 1 << 34;
/// Most numbers [`standard_normal`] draws for one block.
pub const MAX_NORMALS: usize = 1 << 34;

/// Planes of a Bernoulli comparison: the fixed-point bits of a probability.
const PLANES: u32 = 32;
/// Counters evaluated at a time, side by side.
const LANES: usize = 16;

/// Philox4x32-10 of one counter.
#[inline]
#[must_use]
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox_lanes(counter.map(|word| [word]), key).map(|[word]| word)
}

/// Philox4x32-10 of `W` counters, given and returned word by word.
#[inline(always)]
fn philox_lanes<const W: usize>(counter: [[u32; W]; 4], key: [u32; 2]) -> [[u32; W]; 4] {
    const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
    const WEYL: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        for lane in 0..W {
            let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            c0[lane] = (p1 >> 32) as u32 ^ c1[lane] ^ k0;
            c2[lane] = (p0 >> 32) as u32 ^ c3[lane] ^ k1;
            c1[lane] = p1 as u32;
            c3[lane] = p0 as u32;
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Where a draw comes from: everything but the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The seed of the run.
    pub seed: u64,
    /// What the numbers are for.
    pub stream: u32,
    /// The block they belong to.
    pub block: u64,
}

impl Source {
    #[inline(always)]
    fn outputs<const W: usize>(self, indices: [u32; W]) -> [[u32; W]; 4] {
        let counter = [indices, [self.stream; W], [self.block as u32; W], [(self.block >> 32) as u32; W]];
        philox_lanes(counter, [self.seed as u32, (self.seed >> 32) as u32])
    }
}

/// [`Error::OutOfRange`] unless `count` is at most `max`.
pub(crate) fn check_count(what: &'static str, count: usize, max: usize) -> Result<()> {
    if count <= max { Ok(()) } else { Err(Error::OutOfRange { what, got: count as f64, min: 0.0, max: max as f64 }) }
}

#[inline(always)]
fn lane_words<const W: usize>(outputs: &[[u32; W]; 4], lane: usize) -> [u64; 2] {
    let word = |i: usize| u64::from(outputs[i][lane]);
    [word(0) | word(1) << 32, word(2) | word(3) << 32]
}

/// Fills a row with `bits` fair bits; output `i` of the generator gives bits `128·i` to `128·i + 127`, lowest first.
///
/// # Errors
/// [`Error::Length`] unless `words` is exactly the row; [`Error::OutOfRange`] above [`MAX_RANDOM_BITS`].
pub fn random_bits(source: Source, bits: usize, words: &mut [u64]) -> Result<()> {
    check_count("bits", bits, MAX_RANDOM_BITS)?;
    check_row(bits, words)?;
    fill_random(source, words);
    clear_padding(words, bits);
    Ok(())
}

fn check_row(bits: usize, words: &[u64]) -> Result<()> {
    let expected = bits::words_for(bits);
    if words.len() == expected { Ok(()) } else { Err(Error::Length { what: "words", expected, got: words.len() }) }
}

fn clear_padding(words: &mut [u64], bits: usize) {
    if let (Some(last), used @ 1..) = (words.last_mut(), bits % bits::WORD_BITS) {
        *last &= bits::low_mask(used);
    }
}

widest! {
    fn fill_random(source: Source, words: &mut [u64]) {
        for (chunk, first) in words.chunks_mut(2 * LANES).zip((0usize..).step_by(LANES)) {
            let outputs = source.outputs::<LANES>(std::array::from_fn(|lane| (first + lane) as u32));
            for (lane, pair) in chunk.chunks_mut(2).enumerate() {
                for (word, value) in pair.iter_mut().zip(lane_words(&outputs, lane)) {
                    *word = value;
                }
            }
        }
    }
}

/// Fills a row with `bits` bits, each one with `probability`.
///
/// The probability is rounded to `T / 2³²` (halves up). Bit `128·g + l` is one if the 32-bit number whose bit `31 − k` is
/// bit `l` of generator output `32·g + k` is less than `T`. Planes `k` that cannot change any bit are not computed.
///
/// # Errors
/// [`Error::OutOfRange`] unless `probability` is from 0 to 1, and above [`MAX_BERNOULLI_BITS`]; [`Error::Length`].
pub fn bernoulli_bits(source: Source, bits: usize, probability: f64, words: &mut [u64]) -> Result<()> {
    check_count("bits", bits, MAX_BERNOULLI_BITS)?;
    check_row(bits, words)?;
    if !(0.0..=1.0).contains(&probability) {
        return Err(Error::OutOfRange { what: "probability", got: probability, min: 0.0, max: 1.0 });
    }
    match u32::try_from(fixed_point(probability)) {
        Ok(threshold) => fill_bernoulli(source, threshold, words),
        Err(_) => words.fill(u64::MAX),
    }
    clear_padding(words, bits);
    Ok(())
}

/// `probability · 2³²`, rounded to the nearest integer, halves up.
fn fixed_point(probability: f64) -> u64 {
    let scaled = probability * (1u64 << PLANES) as f64;
    let whole = scaled as u64;
    whole + u64::from(scaled - whole as f64 >= 0.5)
}

widest! {
    fn fill_bernoulli(source: Source, threshold: u32, words: &mut [u64]) {
        let planes = PLANES - threshold.trailing_zeros().min(PLANES);
        for (chunk, first) in words.chunks_mut(2 * LANES).zip((0usize..).step_by(LANES)) {
            let mut below = [[0u32; LANES]; 4];
            let mut equal = [[u32::MAX; LANES]; 4];
            for plane in 0..planes {
                let outputs = source.outputs::<LANES>(std::array::from_fn(|lane| {
                    ((first + lane) as u32).wrapping_mul(PLANES).wrapping_add(plane)
                }));
                let one = 0u32.wrapping_sub((threshold >> (PLANES - 1 - plane)) & 1);
                let mut undecided = 0;
                let lanes = below.as_flattened_mut().iter_mut().zip(equal.as_flattened_mut());
                for ((below, equal), output) in lanes.zip(outputs.as_flattened()) {
                    *below |= *equal & !output & one;
                    *equal &= !(output ^ one);
                    undecided |= *equal;
                }
                if undecided == 0 {
                    break;
                }
            }
            for (lane, pair) in chunk.chunks_mut(2).enumerate() {
                for (word, value) in pair.iter_mut().zip(lane_words(&below, lane)) {
                    *word = value;
                }
            }
        }
    }
}

/// Fills a slice with independent standard normal numbers.
///
/// Number `4·i + j` is the normal quantile of `(w + ½) / 2³²`, `w` being word `j` of generator output `i`: computed in
/// `f64` by algorithm AS 241 (PPND16; Wichura, 1988), then rounded to `f32`. Magnitudes end at 6.34, so tails below
/// 10⁻¹⁰ are not represented.
///
/// # Errors
/// [`Error::OutOfRange`] above [`MAX_NORMALS`].
pub fn standard_normal(source: Source, numbers: &mut [f32]) -> Result<()> {
    check_count("count", numbers.len(), MAX_NORMALS)?;
    fill_normal(source, numbers);
    Ok(())
}

widest! {
    fn fill_normal(source: Source, numbers: &mut [f32]) {
        for (chunk, first) in numbers.chunks_mut(4 * LANES).zip((0usize..).step_by(LANES)) {
            let outputs = source.outputs::<LANES>(std::array::from_fn(|lane| (first + lane) as u32));
            for (lane, four) in chunk.chunks_mut(4).enumerate() {
                for (number, output) in four.iter_mut().zip(&outputs) {
                    *number = normal_quantile((f64::from(output[lane]) + 0.5) / 4_294_967_296.0) as f32;
                }
            }
        }
    }
}

/// The polynomial with these coefficients, highest power first.
#[inline(always)]
fn polynomial(coefficients: [f64; 8], x: f64) -> f64 {
    let mut sum = coefficients[0];
    for coefficient in &coefficients[1..] {
        sum = sum * x + coefficient;
    }
    sum
}

/// Quantile of the standard normal distribution, `0 < probability < 1`; relative error about 10⁻¹⁶ (AS 241, PPND16).
#[inline(always)]
#[must_use]
#[allow(clippy::excessive_precision, reason = "the coefficients as published")]
pub fn normal_quantile(probability: f64) -> f64 {
    let q = probability - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        let numerator = polynomial(
            [
                2.509_080_928_730_122_672_7e3,
                3.343_057_558_358_812_810_5e4,
                6.726_577_092_700_870_085_3e4,
                4.592_195_393_154_987_145_7e4,
                1.373_169_376_550_946_112_5e4,
                1.971_590_950_306_551_442_7e3,
                1.331_416_678_917_843_774_5e2,
                3.387_132_872_796_366_608_0e0,
            ],
            r,
        );
        let denominator = polynomial(
            [
                5.226_495_278_852_854_561_0e3,
                2.872_908_573_572_194_267_4e4,
                3.930_789_580_009_271_061_0e4,
                2.121_379_430_158_659_586_7e4,
                5.394_196_021_424_751_107_7e3,
                6.871_870_074_920_579_083_0e2,
                4.231_333_070_160_091_125_2e1,
                1.0,
            ],
            r,
        );
        return q * numerator / denominator;
    }
    let tail = if q < 0.0 { probability } else { 1.0 - probability };
    let r = (-libm::log(tail)).sqrt();
    let magnitude = if r <= 5.0 {
        let r = r - 1.6;
        polynomial(
            [
                7.745_450_142_783_414_076_40e-4,
                2.272_384_498_926_918_458_33e-2,
                2.417_807_251_774_506_117_70e-1,
                1.270_458_252_452_368_382_58e0,
                3.647_848_324_763_204_605_04e0,
                5.769_497_221_460_691_405_50e0,
                4.630_337_846_156_545_295_90e0,
                1.423_437_110_749_683_577_34e0,
            ],
            r,
        ) / polynomial(
            [
                1.050_750_071_644_416_843_24e-9,
                5.475_938_084_995_344_946_00e-4,
                1.519_866_656_361_645_719_66e-2,
                1.481_039_764_274_800_745_90e-1,
                6.897_673_349_851_000_045_50e-1,
                1.676_384_830_183_803_849_40e0,
                2.053_191_626_637_758_821_87e0,
                1.0,
            ],
            r,
        )
    } else {
        let r = r - 5.0;
        polynomial(
            [
                2.010_334_399_292_288_132_65e-7,
                2.711_555_568_743_487_578_15e-5,
                1.242_660_947_388_078_438_60e-3,
                2.653_218_952_657_612_309_30e-2,
                2.965_605_718_285_048_912_30e-1,
                1.784_826_539_917_291_335_80e0,
                5.463_784_911_164_114_369_90e0,
                6.657_904_643_501_103_777_20e0,
            ],
            r,
        ) / polynomial(
            [
                2.044_263_103_389_939_785_64e-15,
                1.421_511_758_316_445_888_70e-7,
                1.846_318_317_510_054_681_80e-5,
                7.868_691_311_456_132_591_00e-4,
                1.487_536_129_085_061_485_25e-2,
                1.369_298_809_227_358_053_10e-1,
                5.998_322_065_558_879_376_90e-1,
                1.0,
            ],
            r,
        )
    };
    if q < 0.0 { -magnitude } else { magnitude }
}
