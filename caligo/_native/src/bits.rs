//! Packed-bit primitives.
//!
//! A row of bits is a slice of 64-bit words: bit `i` is bit `i % 64` of word `i / 64`. On the outside the same row is a
//! slice of bytes, bit `i` being bit `i % 8` of byte `i / 8`; words are the little-endian reading of those bytes, so the
//! two views agree on every machine. Bits past the end of a row are zero.
//!
//! Not covered: ownership, shapes, Python arrays. Functions here take indices their callers have validated; an index
//! outside the slice is a programming error and stops at the slice's own bounds check.

use crate::error::{Error, Result};

/// Bits of one word.
pub const WORD_BITS: usize = 64;

/// Words that hold `bits` bits.
#[inline]
#[must_use]
pub const fn words_for(bits: usize) -> usize {
    bits.div_ceil(WORD_BITS)
}

/// Bytes that hold `bits` bits.
#[inline]
#[must_use]
pub const fn bytes_for(bits: usize) -> usize {
    bits.div_ceil(8)
}

/// A word whose lowest `bits` bits are one; `bits` from 0 to 64.
#[inline]
#[must_use]
pub const fn low_mask(bits: usize) -> u64 {
    if bits >= WORD_BITS { u64::MAX } else { (1 << bits) - 1 }
}

/// Bit `index` of a row.
#[inline]
#[must_use]
pub fn get(words: &[u64], index: usize) -> bool {
    (words[index / WORD_BITS] >> (index % WORD_BITS)) & 1 == 1
}

/// Sets bit `index` of a row to `value`.
#[inline]
pub fn set(words: &mut [u64], index: usize, value: bool) {
    let word = &mut words[index / WORD_BITS];
    let place = index % WORD_BITS;
    *word = (*word & !(1 << place)) | (u64::from(value) << place);
}

/// Inverts bit `index` of a row.
#[inline]
pub fn flip(words: &mut [u64], index: usize) {
    words[index / WORD_BITS] ^= 1 << (index % WORD_BITS);
}

/// `target ^= source`, word by word, over the shorter of the two.
#[inline]
pub fn xor_into(target: &mut [u64], source: &[u64]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t ^= s;
    }
}

/// `target &= source`, word by word, over the shorter of the two.
#[inline]
pub fn and_into(target: &mut [u64], source: &[u64]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t &= s;
    }
}

/// Number of ones in a row.
#[inline]
#[must_use]
pub fn count_ones(words: &[u64]) -> usize {
    words.iter().map(|word| word.count_ones() as usize).sum()
}

/// The `bits` bits (at most 64) that start at bit `start`, lowest first; they may straddle two words.
///
/// Positions past the end of the slice read as zero.
#[inline]
#[must_use]
pub fn extract(words: &[u64], start: usize, bits: usize) -> u64 {
    let (index, shift) = (start / WORD_BITS, start % WORD_BITS);
    let low = words.get(index).copied().unwrap_or(0) >> shift;
    let high = match words.get(index + 1) {
        Some(next) if shift != 0 => next << (WORD_BITS - shift),
        _ => 0,
    };
    (low | high) & low_mask(bits)
}

/// Writes the lowest `bits` bits (at most 64) of `value` at bit `start`; the rest of the row is untouched.
#[inline]
pub fn deposit(words: &mut [u64], start: usize, bits: usize, value: u64) {
    let (index, shift) = (start / WORD_BITS, start % WORD_BITS);
    let mask = low_mask(bits);
    let value = value & mask;
    words[index] = (words[index] & !(mask << shift)) | (value << shift);
    if shift + bits > WORD_BITS {
        let done = WORD_BITS - shift;
        words[index + 1] = (words[index + 1] & !(mask >> done)) | (value >> done);
    }
}

/// Copies `bits` bits of `source` from bit `source_start` to bit `target_start` of `target`, at any alignment.
pub fn copy_bits(target: &mut [u64], target_start: usize, source: &[u64], source_start: usize, bits: usize) {
    let mut done = 0;
    while done < bits {
        let step = (bits - done).min(WORD_BITS);
        deposit(target, target_start + done, step, extract(source, source_start + done, step));
        done += step;
    }
}

/// A row of bytes as the words it is, where the machine lets it be read so.
#[inline]
#[must_use]
pub fn words_of_bytes(bytes: &[u8]) -> Option<&[u64]> {
    // SAFETY: every bit pattern is a `u64`, and `align_to` takes care of alignment and length.
    let (head, words, tail) = unsafe { bytes.align_to::<u64>() };
    (cfg!(target_endian = "little") && head.is_empty() && tail.is_empty()).then_some(words)
}

/// Reads bytes into words; words past the last byte become zero, bytes past the last word are left out.
#[inline]
pub fn words_from_bytes(words: &mut [u64], bytes: &[u8]) {
    let (whole, tail) = bytes.as_chunks::<8>();
    let mut sources = whole.iter();
    let mut last = Some(tail);
    for word in words {
        *word = match sources.next() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => {
                let mut chunk = [0; 8];
                for (place, byte) in chunk.iter_mut().zip(last.take().unwrap_or(&[])) {
                    *place = *byte;
                }
                u64::from_le_bytes(chunk)
            }
        };
    }
}

/// Writes words as bytes, over the shorter of the two.
#[inline]
pub fn bytes_from_words(bytes: &mut [u8], words: &[u64]) {
    for (chunk, word) in bytes.chunks_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
}

/// Position of the first one at or past bit `bits`, if any.
#[must_use]
pub fn first_one_from(words: &[u64], bits: usize) -> Option<usize> {
    let first = bits / WORD_BITS;
    words.iter().enumerate().skip(first).find_map(|(index, word)| {
        let word = if index == first { word & !low_mask(bits % WORD_BITS) } else { *word };
        (word != 0).then(|| index * WORD_BITS + word.trailing_zeros() as usize)
    })
}

/// Position of the first one of `words` where `allowed` has a zero (positions past the end of `allowed` count as zero).
#[must_use]
pub fn first_one_outside(words: &[u64], allowed: &[u64]) -> Option<usize> {
    words.iter().enumerate().find_map(|(index, word)| {
        let stray = word & !allowed.get(index).copied().unwrap_or(0);
        (stray != 0).then(|| index * WORD_BITS + stray.trailing_zeros() as usize)
    })
}

/// Checks that a packed row of `bits` bits has exactly as many bytes as it needs and zeros in its padding.
///
/// # Errors
/// [`Error::Length`], [`Error::StrayBits`].
pub fn check_packed(what: &'static str, bytes: &[u8], bits: usize) -> Result<()> {
    let expected = bytes_for(bits);
    if bytes.len() != expected {
        return Err(Error::Length { what, expected, got: bytes.len() });
    }
    let used = bits % 8;
    match bytes.last() {
        Some(last) if used != 0 && last >> used != 0 => {
            Err(Error::StrayBits { what, position: bits + (last >> used).trailing_zeros() as usize })
        }
        _ => Ok(()),
    }
}
