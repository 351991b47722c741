//! The portable kernels: safe Rust that any target vectorises with its baseline instructions.

use super::frames::{self, Row};
use super::{KernelLlr, Kernels, Task, ordered_sums};
use crate::llr::{Llr, Metric};

/// The engine every CPU can run.
#[derive(Debug, Clone, Copy)]
pub struct Portable;

impl Kernels<i8> for Portable {}
impl Kernels<f32> for Portable {}

impl Portable {
    /// Runs `task` with the target's baseline instructions.
    #[inline(never)]
    pub fn run<T: KernelLlr, K: Task<T>>(self, task: K) -> K::Output
    where
        Self: Kernels<T>,
    {
        task.run(self)
    }
}

/// Eight bytes, each 0xff where the bit of `byte` is set.
#[inline(always)]
fn spread(byte: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let picked = (byte * ONES) & 0x8040_2010_0804_0201;
    let high = (picked + 0x7f7f_7f7f_7f7f_7f7f) & 0x8080_8080_8080_8080;
    (high >> 7) * 0xff
}

/// The top bits of eight bytes.
#[inline(always)]
fn gather(bytes: u64) -> u64 {
    ((bytes >> 7) & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

impl KernelLlr for i8 {
    dispatch!();

    #[inline(always)]
    fn right_chunk<const M: usize>(low: &[i8; M], high: &[i8; M], word: u64, out: &mut [i8; M]) {
        let mut masks = [0u8; M];
        if M >= 8 {
            for (index, masks) in masks.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *masks = spread(word >> (8 * index) & 0xff).to_le_bytes();
            }
        } else {
            for (index, mask) in masks.iter_mut().enumerate() {
                *mask = ((word >> index & 1) as u8).wrapping_neg();
            }
        }
        for i in 0..M {
            let mask = masks[i] as i8;
            out[i] = high[i].saturating_add((low[i] ^ mask).wrapping_sub(mask)).max(-127);
        }
    }

    #[inline(always)]
    fn ternary_chunk(nonzero: u64, negative: u64, magnitude: i8, out: &mut [i8; 64]) {
        let (mut kept, mut flipped) = ([0u8; 64], [0u8; 64]);
        for index in 0..8 {
            kept[8 * index..][..8].copy_from_slice(&spread(nonzero >> (8 * index) & 0xff).to_le_bytes());
            flipped[8 * index..][..8].copy_from_slice(&spread(negative >> (8 * index) & 0xff).to_le_bytes());
        }
        for i in 0..64 {
            let flip = flipped[i] as i8;
            out[i] = (magnitude ^ flip).wrapping_sub(flip) & kept[i] as i8;
        }
    }

    #[inline(always)]
    fn signs_word(values: &[i8]) -> u64 {
        let mut word = 0;
        if values.len().is_multiple_of(8) {
            for (index, bytes) in values.chunks_exact(8).enumerate() {
                let bytes: [u8; 8] = std::array::from_fn(|i| bytes[i] as u8);
                word |= gather(u64::from_le_bytes(bytes)) << (8 * index);
            }
        } else {
            for (index, &value) in values.iter().enumerate() {
                word |= u64::from(value < 0) << index;
            }
        }
        word
    }

    #[inline(always)]
    fn smallest(node: &[i8]) -> u16 {
        let mut smallest = u8::MAX;
        for &value in node {
            smallest = smallest.min(value.unsigned_abs());
        }
        u16::from(smallest)
    }

    #[inline(always)]
    fn sums(node: &[i8]) -> (u32, u32) {
        let (mut zeros, mut ones) = (0u32, 0u32);
        for chunk in node.chunks(256) {
            // 256 magnitudes of at most 127 fit 16 bits.
            let (mut negative, mut positive) = (0u16, 0u16);
            for &value in chunk {
                negative += value.negative_part();
                positive += value.positive_part();
            }
            zeros += u32::from(negative);
            ones += u32::from(positive);
        }
        (zeros, ones)
    }

    #[inline(always)]
    fn expand_row(one: u64, two: u64, negative: u64, unit: i8, double: i8, out: &mut Row<i8>) {
        let (unit, double) =
            (u64::from(unit as u8) * 0x0101_0101_0101_0101, u64::from(double as u8) * 0x0101_0101_0101_0101);
        for (index, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let spread = |word: u64| spread(word >> (8 * index) & 0xff);
            let sized = ((spread(one) & unit) | (spread(two) & double)).to_le_bytes();
            let masks = spread(negative).to_le_bytes();
            for i in 0..8 {
                out[i] = (sized[i] ^ masks[i]).wrapping_sub(masks[i]) as i8;
            }
        }
    }

    #[inline(always)]
    fn majority<E: Kernels<i8>>(engine: E, node: &[Row<i8>]) -> u64 {
        frames::majority(engine, node)
    }
}

impl KernelLlr for f32 {
    dispatch!();

    #[inline(always)]
    fn right_chunk<const M: usize>(low: &[f32; M], high: &[f32; M], word: u64, out: &mut [f32; M]) {
        for i in 0..M {
            out[i] = low[i].g(high[i], word >> i & 1 == 1);
        }
    }

    #[inline(always)]
    fn ternary_chunk(nonzero: u64, negative: u64, magnitude: f32, out: &mut [f32; 64]) {
        for i in 0..64 {
            let value = magnitude.negate_if(negative >> i & 1 == 1);
            out[i] = if nonzero >> i & 1 == 1 { value } else { 0.0 };
        }
    }

    #[inline(always)]
    fn signs_word(values: &[f32]) -> u64 {
        let mut word = 0;
        for (index, &value) in values.iter().enumerate() {
            word |= u64::from(value.is_negative()) << index;
        }
        word
    }

    #[inline(always)]
    fn smallest(node: &[f32]) -> f32 {
        let mut smallest = f32::DEAD;
        for &value in node {
            let magnitude = value.abs();
            smallest = if magnitude < smallest { magnitude } else { smallest };
        }
        smallest
    }

    #[inline(always)]
    fn sums(node: &[f32]) -> (f32, f32) {
        ordered_sums(node)
    }

    #[inline(always)]
    fn expand_row(one: u64, two: u64, negative: u64, unit: f32, double: f32, out: &mut Row<f32>) {
        for (lane, out) in out.iter_mut().enumerate() {
            let sized = if one >> lane & 1 == 1 { unit } else { 0.0 };
            let sized = if two >> lane & 1 == 1 { double } else { sized };
            *out = sized.negate_if(negative >> lane & 1 == 1);
        }
    }

    #[inline(always)]
    fn majority<E: Kernels<f32>>(_engine: E, node: &[Row<f32>]) -> u64 {
        frames::ordered_majority(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_and_gather_are_inverse_on_every_byte() {
        for byte in 0..256u64 {
            let spread = spread(byte);
            for bit in 0..8 {
                let expected = if byte >> bit & 1 == 1 { 0xff } else { 0 };
                assert_eq!(spread >> (8 * bit) & 0xff, expected);
            }
            assert_eq!(gather(spread), byte);
        }
    }
}
