//! The kernels of blocks side by side, portable form: a row holds one position of [`FRAMES`] blocks, its bits are one word.
//!
//! f, g and hard decisions need none of their own: a node of m rows is a node of 64·m values whose two halves are those of
//! every block, and the bits of 64 blocks at a position are the word that the g-kernel takes for 64 positions.

use super::{KernelLlr, Kernels};
use crate::llr::{Llr, Total};

/// Blocks side by side: the bits of a word.
pub const FRAMES: usize = 64;

/// Values of a position in all blocks.
pub type Row<T> = [T; FRAMES];

/// Values of some positions by their sizes and signs, a word a position: a value is a *unit* where `one` is set, a *double* where
/// `two` is, else zero, and negative where `negative` is set.
#[derive(Clone, Copy)]
pub struct Planes<'a> {
    /// The blocks whose value is a unit.
    pub one: &'a [u64],
    /// The blocks whose value is a double.
    pub two: &'a [u64],
    /// The blocks whose value is negative, or zero.
    pub negative: &'a [u64],
}

/// Flips, in every block of `odd`, the bit of the position with the smallest magnitude, the first of equals.
#[inline(always)]
pub fn repair<T: KernelLlr, E: Kernels<T>>(engine: E, node: &[Row<T>], bits: &mut [u64], odd: u64) {
    let magnitude = |value: T| value.negate_if(value.is_negative());
    let Some(first) = node.first() else { return };
    let mut smallest = *first;
    for row in node {
        for lane in 0..FRAMES {
            let (least, own) = (magnitude(smallest[lane]), magnitude(row[lane]));
            smallest[lane] = if own < least { own } else { least };
        }
    }
    let mut pending = odd;
    for (row, bits) in node.iter().zip(bits) {
        let mut equal = [T::default(); FRAMES];
        for lane in 0..FRAMES {
            let same = magnitude(row[lane]) == smallest[lane];
            equal[lane] = if same { T::CERTAIN.negate_if(true) } else { T::default() };
        }
        let mut found = [0];
        engine.signs(&equal, &mut found);
        *bits ^= found[0] & pending;
        pending &= !found[0];
        if pending == 0 {
            return;
        }
    }
}

/// The blocks in which ones are cheaper than zeros, in sums of the specified order.
#[inline(always)]
pub fn ordered_majority<T: Llr>(node: &[Row<T>]) -> u64 {
    let partial = if node.len() <= 32 { 1 } else { 16 };
    let mut word = 0;
    for lane in 0..FRAMES {
        let mut sums = [(T::Total::default(), T::Total::default()); 16];
        for (index, row) in node.iter().enumerate() {
            let sum = &mut sums[index % partial];
            sum.0 = sum.0.plus(T::widen(row[lane].negative_part()));
            sum.1 = sum.1.plus(T::widen(row[lane].positive_part()));
        }
        let mut half = partial / 2;
        while half > 0 {
            for index in 0..half {
                sums[index] = (sums[index].0.plus(sums[index + half].0), sums[index].1.plus(sums[index + half].1));
            }
            half /= 2;
        }
        word |= u64::from(sums[0].1 < sums[0].0) << lane;
    }
    word
}

/// The blocks in which the sum of int8 values is negative.
#[inline(always)]
pub fn majority<E: Kernels<i8>>(engine: E, node: &[Row<i8>]) -> u64 {
    let mut totals = [0i32; FRAMES];
    // 256 values of at most 127 fit 16 bits.
    for rows in node.chunks(256) {
        let mut sums = [0i16; FRAMES];
        for row in rows {
            for lane in 0..FRAMES {
                sums[lane] += i16::from(row[lane]);
            }
        }
        for lane in 0..FRAMES {
            totals[lane] += i32::from(sums[lane]);
        }
    }
    let mut signs = [0i8; FRAMES];
    for lane in 0..FRAMES {
        signs[lane] = if totals[lane] < 0 { -1 } else { 0 };
    }
    let mut word = [0];
    engine.signs(&signs, &mut word);
    word[0]
}

/// Words of a row of bits that are transposed at a time.
const TILE_WORDS: usize = 8;
/// Positions in these words.
const TILE: usize = 64 * TILE_WORDS;

type Tile = [[u64; TILE_WORDS]; FRAMES];

/// Swaps rows and bits in each of the eight columns.
#[inline(always)]
fn transpose(tile: &mut Tile) {
    const LOW: [u64; 6] = [
        0x0000_0000_ffff_ffff,
        0x0000_ffff_0000_ffff,
        0x00ff_00ff_00ff_00ff,
        0x0f0f_0f0f_0f0f_0f0f,
        0x3333_3333_3333_3333,
        0x5555_5555_5555_5555,
    ];
    for (step, mask) in LOW.into_iter().enumerate() {
        let distance = 32 >> step;
        for block in tile.chunks_exact_mut(2 * distance) {
            let (low, high) = block.split_at_mut(distance);
            for (low, high) in low.iter_mut().zip(high) {
                for column in 0..TILE_WORDS {
                    let swap = ((low[column] >> distance) ^ high[column]) & mask;
                    high[column] ^= swap;
                    low[column] ^= swap << distance;
                }
            }
        }
    }
}

/// Swaps rows and columns: rotating the twelve bits of (row, column) by one, six times.
#[inline(always)]
pub fn transpose_values<T: Copy>(tile: &mut [Row<T>; FRAMES]) {
    const HALF: usize = FRAMES / 2;
    for _ in 0..6 {
        let old = *tile;
        for (i, rows) in tile.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (low, high) = (&old[i], &old[i + HALF]);
            for k in 0..HALF {
                rows[0][2 * k] = low[k];
                rows[0][2 * k + 1] = high[k];
            }
            for k in 0..HALF {
                rows[1][2 * k] = low[k + HALF];
                rows[1][2 * k + 1] = high[k + HALF];
            }
        }
    }
}

/// Blocks to positions: bit b of `out[i]` is bit i of block b. `blocks` are at most 64 packed blocks of `block_bytes`, one
/// after the other; bits of those that are missing are zero.
#[inline(always)]
pub fn gather(blocks: &[u8], block_bytes: usize, out: &mut [u64]) {
    for (index, out) in out.chunks_mut(TILE).enumerate() {
        let mut tile: Tile = [[0; TILE_WORDS]; FRAMES];
        for (block, row) in blocks.chunks_exact(block_bytes).zip(&mut tile) {
            let bytes = &block[index * TILE / 8..];
            if let Some(bytes) = bytes.first_chunk::<{ TILE / 8 }>() {
                for (word, bytes) in row.iter_mut().zip(bytes.as_chunks::<8>().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
            } else {
                crate::bits::words_from_bytes(&mut row[..bytes.len().div_ceil(8)], bytes);
            }
        }
        transpose(&mut tile);
        if let Some(out) = out.first_chunk_mut::<TILE>() {
            for column in 0..TILE_WORDS {
                for (row, values) in tile.iter().enumerate() {
                    out[64 * column + row] = values[column];
                }
            }
        } else {
            for (position, out) in out.iter_mut().enumerate() {
                *out = tile[position % 64][position / 64];
            }
        }
    }
}

/// Positions to blocks: the inverse of [`gather`].
#[inline(always)]
pub fn scatter(words: &[u64], blocks: &mut [u8], block_bytes: usize) {
    for (index, words) in words.chunks(TILE).enumerate() {
        let mut tile: Tile = [[0; TILE_WORDS]; FRAMES];
        if let Some(words) = words.first_chunk::<TILE>() {
            for column in 0..TILE_WORDS {
                for (row, values) in tile.iter_mut().enumerate() {
                    values[column] = words[64 * column + row];
                }
            }
        } else {
            for (position, word) in words.iter().enumerate() {
                tile[position % 64][position / 64] = *word;
            }
        }
        transpose(&mut tile);
        for (block, row) in blocks.chunks_exact_mut(block_bytes).zip(&tile) {
            let bytes = &mut block[index * TILE / 8..];
            if let Some(bytes) = bytes.first_chunk_mut::<{ TILE / 8 }>() {
                for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(row) {
                    *bytes = word.to_le_bytes();
                }
            } else {
                crate::bits::bytes_from_words(bytes, row);
            }
        }
    }
}

/// The polar transform of all blocks: the number of words is a power of two.
#[inline(always)]
pub fn transform(words: &mut [u64]) {
    let mut length = words.len();
    while length >= 32 {
        // Two stages in one pass over memory.
        for node in words.chunks_exact_mut(length) {
            let (low, high) = node.split_at_mut(length / 2);
            let ((q0, q1), (q2, q3)) = (low.split_at_mut(length / 4), high.split_at_mut(length / 4));
            for (((a, b), c), d) in q0.iter_mut().zip(q1).zip(q2).zip(q3) {
                *b ^= *d;
                *a ^= *c ^ *b;
                *c ^= *d;
            }
        }
        length /= 4;
    }
    if length == 16 {
        for tile in words.as_chunks_mut::<16>().0 {
            let mut t = *tile;
            for i in 0..8 {
                t[i] ^= t[i + 8];
            }
            *tile = t;
        }
        length = 8;
    }
    if length == 8 {
        for tile in words.as_chunks_mut::<8>().0 {
            // Each stage as one shuffle and one XOR of the whole tile.
            let mut t = *tile;
            for pick in [[4, 5, 6, 7, 8, 8, 8, 8], [2, 3, 8, 8, 6, 7, 8, 8], [1, 8, 3, 8, 5, 8, 7, 8]] {
                let source = [t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], 0];
                for i in 0..8 {
                    t[i] ^= source[pick[i]];
                }
            }
            *tile = t;
        }
        return;
    }
    while length > 1 {
        for node in words.chunks_exact_mut(length) {
            let (low, high) = node.split_at_mut(length / 2);
            for (low, high) in low.iter_mut().zip(high) {
                *low ^= *high;
            }
        }
        length /= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::polar_transform;

    #[test]
    fn transposing_swaps_rows_and_columns() {
        let mut tile: [Row<u16>; FRAMES] = std::array::from_fn(|i| std::array::from_fn(|j| (64 * i + j) as u16));
        transpose_values(&mut tile);
        assert!((0..FRAMES).all(|i| (0..FRAMES).all(|j| usize::from(tile[i][j]) == 64 * j + i)));
    }

    #[test]
    fn gathering_transforming_and_scattering_is_transforming_every_block() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for (log_length, count) in [(1, 3), (3, 64), (5, 64), (6, 1), (7, 63), (9, 64), (11, 40)] {
            let length = 1usize << log_length;
            let bytes = length.div_ceil(8);
            let mask = if length < 8 { (1u8 << length) - 1 } else { 0xff };
            let blocks: Vec<u8> = (0..count * bytes).map(|_| next() as u8 & mask).collect();
            let mut words = vec![0; length];
            gather(&blocks, bytes, &mut words);
            transform(&mut words);
            let mut got = vec![0; blocks.len()];
            scatter(&words, &mut got, bytes);
            for (got, block) in got.chunks(bytes).zip(blocks.chunks(bytes)) {
                let mut row = vec![0; length.div_ceil(64)];
                crate::bits::words_from_bytes(&mut row, block);
                polar_transform(&mut row, length).unwrap();
                let mut expected = vec![0; bytes];
                crate::bits::bytes_from_words(&mut expected, &row);
                assert_eq!(got, expected);
            }
        }
    }
}
