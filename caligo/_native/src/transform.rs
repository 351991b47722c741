//! The polar transform: encoder, syndrome and inverse in one.
//!
//! `x = u · F^{⊗n}` over GF(2) with `F = [[1, 0], [1, 1]]`, in natural order (Arıkan, 2009, without his bit reversal).
//! Written out, stage `h = 1, 2, 4, …, N/2` does `x[i] ^= x[i + h]` for every `i` whose bit `h` is clear. The stages
//! commute, so their order is free, and each is its own inverse, so the transform is an involution: Alice's syndrome of
//! `x` is the same function as the encoder of `u`.
//!
//! On packed words the six smallest stages are a shift and a mask inside each word; every other stage is an XOR of
//! words. Large stages run two at a time, top down, so that a block that fits the first-level cache is finished before
//! the next is touched.
//!
//! Not covered: frozen sets, checks, decoding.

use crate::bits;
use crate::dispatch::widest;
use crate::error::{Error, Result};

/// Smallest block length, bits.
pub const MIN_BLOCK_LENGTH: usize = 2;
/// Largest block length, bits.
pub const MAX_BLOCK_LENGTH: usize = 1 << 24;

/// Words of a block that is finished in cache once its larger stages are done: 4 KiB.
const CACHE_WORDS: usize = 512;
/// Words the innermost kernel holds in registers.
const TILE_WORDS: usize = 8;

/// log₂ of a block length.
///
/// # Errors
/// [`Error::BlockLength`] unless it is a power of two from [`MIN_BLOCK_LENGTH`] to [`MAX_BLOCK_LENGTH`].
pub fn block_log2(block_length: usize) -> Result<u32> {
    if block_length.is_power_of_two() && (MIN_BLOCK_LENGTH..=MAX_BLOCK_LENGTH).contains(&block_length) {
        Ok(block_length.trailing_zeros())
    } else {
        Err(Error::BlockLength { got: block_length, min: MIN_BLOCK_LENGTH, max: MAX_BLOCK_LENGTH })
    }
}

/// Transforms one block in place.
///
/// Blocks shorter than a word occupy its lowest bits, and the others must be zero.
///
/// # Errors
/// [`Error::BlockLength`]; [`Error::Length`] unless `words` is exactly the block; [`Error::StrayBits`].
pub fn polar_transform(words: &mut [u64], block_length: usize) -> Result<()> {
    let log2_length = block_log2(block_length)?;
    let expected = bits::words_for(block_length);
    if words.len() != expected {
        return Err(Error::Length { what: "words", expected, got: words.len() });
    }
    if let Some(position) = bits::first_one_from(words, block_length) {
        return Err(Error::StrayBits { what: "words", position });
    }
    match words {
        [word] => *word = transform_word(*word, log2_length),
        _ => transform_words(words),
    }
    Ok(())
}

/// Transforms each aligned group of `2^log2_length` bits of one word; `log2_length` from 0 to 6.
#[inline(always)]
#[must_use]
pub const fn transform_word(mut word: u64, log2_length: u32) -> u64 {
    const LOWER: [u64; 6] = [
        0x5555_5555_5555_5555,
        0x3333_3333_3333_3333,
        0x0f0f_0f0f_0f0f_0f0f,
        0x00ff_00ff_00ff_00ff,
        0x0000_ffff_0000_ffff,
        0x0000_0000_ffff_ffff,
    ];
    let mut stage = 0;
    while stage < 6 && (stage as u32) < log2_length {
        word ^= (word >> (1 << stage)) & LOWER[stage];
        stage += 1;
    }
    word
}

widest! {
    /// Transforms one block of `64 · words.len()` bits in place; the number of words is a power of two (or zero).
    pub fn transform_words(words: &mut [u64]) {
        debug_assert!(words.len().is_power_of_two() || words.is_empty());
        let mut length = words.len();
        while length > CACHE_WORDS {
            length = large_stages(words, length, CACHE_WORDS);
        }
        if length > 0 {
            for block in words.chunks_exact_mut(length) {
                transform_cached(block);
            }
        }
    }
}

widest! {
    /// Does the stages above those of segments of `segment` words, in place: what is left are the segments' own transforms,
    /// one after another. Both numbers of words are powers of two.
    pub fn split_segments(words: &mut [u64], segment: usize) {
        debug_assert!(words.len().is_power_of_two() && segment.is_power_of_two());
        let mut length = words.len();
        while length > segment {
            length = large_stages(words, length, segment);
        }
    }
}

/// Does the topmost stages of every block of `length` words, two if that leaves at least `floor` words; returns the
/// length of the blocks that are left.
#[inline(always)]
fn large_stages(words: &mut [u64], length: usize, floor: usize) -> usize {
    if length >= 4 * floor {
        words.chunks_exact_mut(length).for_each(two_stages);
        length / 4
    } else {
        words.chunks_exact_mut(length).for_each(one_stage);
        length / 2
    }
}

/// All stages of a block that fits the cache.
#[inline(always)]
fn transform_cached(words: &mut [u64]) {
    let mut length = words.len();
    while length > TILE_WORDS {
        length = large_stages(words, length, TILE_WORDS);
    }
    let (tiles, rest) = words.as_chunks_mut::<TILE_WORDS>();
    for tile in tiles {
        transform_tile(tile);
    }
    for stage in [4, 2] {
        if rest.len() >= stage {
            for block in rest.chunks_exact_mut(stage) {
                one_stage(block);
            }
        }
    }
    for word in rest {
        *word = transform_word(*word, 6);
    }
}

/// The nine stages inside eight words.
#[inline(always)]
fn transform_tile(tile: &mut [u64; TILE_WORDS]) {
    let mut t = *tile;
    for word in &mut t {
        *word = transform_word(*word, 6);
    }
    // Each stage as one shuffle and one XOR of the whole tile.
    let upper = [t[4], t[5], t[6], t[7], 0, 0, 0, 0];
    bits::xor_into(&mut t, &upper);
    let upper = [t[2], t[3], 0, 0, t[6], t[7], 0, 0];
    bits::xor_into(&mut t, &upper);
    let upper = [t[1], 0, t[3], 0, t[5], 0, t[7], 0];
    bits::xor_into(&mut t, &upper);
    *tile = t;
}

/// The stage that joins the halves.
#[inline(always)]
fn one_stage(words: &mut [u64]) {
    let (low, high) = words.split_at_mut(words.len() / 2);
    for (l, h) in low.iter_mut().zip(high) {
        *l ^= *h;
    }
}

/// The two stages that join the quarters, in one pass over memory.
#[inline(always)]
fn two_stages(words: &mut [u64]) {
    let quarter = words.len() / 4;
    let (low, high) = words.split_at_mut(2 * quarter);
    let (q0, q1) = low.split_at_mut(quarter);
    let (q2, q3) = high.split_at_mut(quarter);
    for (((a, b), c), d) in q0.iter_mut().zip(q1).zip(q2).zip(q3) {
        *b ^= *d;
        *a ^= *c ^ *b;
        *c ^= *d;
    }
}
