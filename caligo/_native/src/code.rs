//! Validated code parameters.
//!
//! Everything a decoder needs to know about a code, checked once: kernels never re-validate. Not here: how an
//! information set is chosen (`design`), or what a block leaks (the Python layer).

use crate::bits::{first_one_from, words_for};
use crate::checksum::Check;
use crate::error::{Error, Result};
use crate::transform::block_log2;

/// The list sizes that exist.
pub const LIST_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// A polar code in natural order.
#[derive(Debug, Clone)]
pub struct Code {
    log_length: u32,
    info: Vec<u64>,
    shortened: usize,
    check: Check,
}

impl Code {
    /// A code of `block_length` bits whose information set is `info` (one bit per index, words, first bit lowest) and
    /// whose last `shortened` positions are known to be zero.
    ///
    /// # Errors
    /// [`Error::BlockLength`]; [`Error::Length`] when `info` has the wrong number of words; [`Error::OutOfRange`] when
    /// `shortened` is not below the block length; [`Error::StrayBits`] when `info` marks a shortened or missing position.
    pub fn new(block_length: usize, info: &[u64], shortened: usize, check: Check) -> Result<Self> {
        let log_length = block_log2(block_length)?;
        if info.len() != words_for(block_length) {
            return Err(Error::Length { what: "info_set", expected: words_for(block_length), got: info.len() });
        }
        if shortened >= block_length {
            return Err(Error::OutOfRange {
                what: "shortened",
                got: shortened as f64,
                min: 0.0,
                max: (block_length - 1) as f64,
            });
        }
        if let Some(position) = first_one_from(info, block_length - shortened) {
            return Err(Error::StrayBits { what: "info_set", position });
        }
        Ok(Self { log_length, info: info.to_vec(), shortened, check })
    }

    /// n = log2 N.
    #[must_use]
    pub fn log_length(&self) -> u32 {
        self.log_length
    }

    /// N, bits.
    #[must_use]
    pub fn block_length(&self) -> usize {
        1 << self.log_length
    }

    /// Key bits in a block.
    #[must_use]
    pub fn payload_length(&self) -> usize {
        self.block_length() - self.shortened
    }

    /// Words of a packed block.
    #[must_use]
    pub fn words(&self) -> usize {
        self.info.len()
    }

    /// The information set, one bit per index.
    #[must_use]
    pub fn info(&self) -> &[u64] {
        &self.info
    }

    /// The check that selects among the list's survivors.
    #[must_use]
    pub fn check(&self) -> Check {
        self.check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_codes_are_refused_with_fields() {
        assert!(matches!(Code::new(12, &[0], 0, Check::None), Err(Error::BlockLength { got: 12, .. })));
        assert!(matches!(Code::new(1, &[0], 0, Check::None), Err(Error::BlockLength { .. })));
        assert!(matches!(Code::new(128, &[0], 0, Check::None), Err(Error::Length { expected: 2, got: 1, .. })));
        assert!(matches!(Code::new(8, &[0x100], 0, Check::None), Err(Error::StrayBits { position: 8, .. })));
        assert!(matches!(Code::new(8, &[0x80], 1, Check::None), Err(Error::StrayBits { position: 7, .. })));
        assert!(matches!(Code::new(8, &[1], 8, Check::None), Err(Error::OutOfRange { .. })));
        assert!(Code::new(8, &[0x40], 1, Check::None).is_ok());
    }
}
