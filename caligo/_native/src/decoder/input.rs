//! What a block brings with it: what is refused, and the coset that is decoded.
//!
//! Not here: check values, and who keeps the block.

use crate::bits;
use crate::code::Code;
use crate::error::{Error, Result};
use crate::llr::Llr;
use crate::transform::polar_transform;

/// Finite values, one per position.
pub fn require_llr(code: &Code, llr: &[f32]) -> Result<()> {
    let length = code.block_length();
    if llr.len() != length {
        return Err(Error::Length { what: "llr", expected: length, got: llr.len() });
    }
    if llr.iter().fold(true, |finite, value| finite & value.is_finite()) {
        return Ok(());
    }
    let value = llr.iter().find(|value| !value.is_finite()).copied().unwrap_or(f32::NAN);
    let (min, max) = (f64::from(f32::MIN), f64::from(f32::MAX));
    Err(Error::OutOfRange { what: "llr", got: f64::from(value), min, max })
}

/// As many bytes as a packed block has.
pub fn require_bytes(code: &Code, what: &'static str, got: usize) -> Result<()> {
    let expected = bits::bytes_for(code.block_length());
    if got == expected { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}

/// A packed block whose shortened and missing positions are zero.
pub fn require_block(code: &Code, what: &'static str, block: &[u8]) -> Result<()> {
    require_bytes(code, what, block.len())?;
    let payload = code.payload_length();
    let (whole, rest) = block.split_at(bits::bytes_for(payload));
    bits::check_packed(what, whole, payload)?;
    match (whole.len()..).zip(rest).find(|(_, byte)| **byte != 0) {
        None => Ok(()),
        Some((index, byte)) => Err(Error::StrayBits { what, position: 8 * index + byte.trailing_zeros() as usize }),
    }
}

/// Packed frozen values that are zero on the information set.
pub fn require_frozen(code: &Code, frozen_values: &[u8]) -> Result<()> {
    require_block(code, "frozen_values", frozen_values)?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
    let (words, rest) = frozen_values.as_chunks::<8>();
    let rest = (!rest.is_empty()).then(|| word(rest));
    let stray = words.iter().map(|bytes| u64::from_le_bytes(*bytes)).chain(rest).zip(code.info());
    if stray.clone().fold(0, |any, (value, info)| any | value & info) == 0 {
        return Ok(());
    }
    let position = stray
        .enumerate()
        .find(|(_, (value, info))| value & **info != 0)
        .map_or(0, |(index, (value, info))| index * 64 + (value & info).trailing_zeros() as usize);
    Err(Error::StrayBits { what: "frozen_values", position })
}

/// Fills `offset` with the word that has the error's syndrome, from what was received and what Alice disclosed, and
/// `transformed` with the transform of the sum of both.
pub fn offset(
    code: &Code,
    received: &[u64],
    frozen_values: &[u8],
    transformed: &mut [u64],
    offset: &mut [u64],
) -> Result<()> {
    require_frozen(code, frozen_values)?;
    bits::words_from_bytes(transformed, frozen_values);
    let length = code.block_length();
    offset.copy_from_slice(received);
    polar_transform(offset, length)?;
    for ((offset, frozen), &info) in offset.iter_mut().zip(transformed).zip(code.info()) {
        let u = *offset;
        *offset = (u & !info) ^ *frozen;
        *frozen |= u & info;
    }
    polar_transform(offset, length)
}

/// The signs of soft values, zeros where positions are shortened.
pub fn hard_decisions(code: &Code, llr: &[f32], received: &mut [u64]) {
    received.fill(0);
    for (position, value) in llr[..code.payload_length()].iter().enumerate() {
        received[position / 64] |= u64::from(*value < 0.0) << (position % 64);
    }
}

/// The magnitudes of soft values with the signs of `offset`.
pub fn channel<T: Llr>(llr: &[f32], offset: &[u64], channel: &mut [T]) {
    for (position, (out, value)) in channel.iter_mut().zip(llr).enumerate() {
        *out = T::from_nats(value.abs()).negate_if(bits::get(offset, position));
    }
}
