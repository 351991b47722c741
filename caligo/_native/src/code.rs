//! Validated code parameters.
//!
//! Everything a decoder needs to know about a code, checked once: kernels never re-validate. Not here: how an
//! information set is chosen (`design`), or what a block leaks (the Python layer).

use crate::bits::{first_one_from, words_for};
use crate::checksum::Check;
use crate::error::{Error, Result};
use crate::memory;
use crate::transform::block_log2;

/// The list sizes that exist.
pub const LIST_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// The list sizes a decoder tries on a block, one after the other, until the check is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSizes {
    /// Bit k: a list of 2^k.
    exponents: u8,
}

impl ListSizes {
    /// `list_size`, after the smaller ones of `escalation`.
    ///
    /// # Errors
    /// [`Error::ListSize`] for a size that does not exist; [`Error::Escalation`] unless `escalation` increases strictly and
    /// stays below `list_size`.
    pub fn escalating(escalation: &[usize], list_size: usize) -> Result<Self> {
        let mut sizes = Self { exponents: 0 };
        let mut last = 0;
        for &size in escalation.iter().chain([&list_size]) {
            if !LIST_SIZES.contains(&size) {
                return Err(Error::ListSize { got: size });
            }
            if size <= last {
                return Err(Error::Escalation { got: escalation.to_vec(), list_size });
            }
            sizes.exponents |= 1 << size.trailing_zeros();
            last = size;
        }
        Ok(sizes)
    }

    /// The sizes in the order they are tried.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        LIST_SIZES.into_iter().filter(move |size| self.exponents >> size.trailing_zeros() & 1 == 1)
    }

    /// The size that is tried first.
    #[must_use]
    pub fn smallest(self) -> usize {
        1 << self.exponents.trailing_zeros()
    }

    /// The size that is tried last.
    #[must_use]
    pub fn largest(self) -> usize {
        1 << self.exponents.ilog2()
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn escalates(self) -> bool {
        self.exponents.count_ones() > 1
    }
}

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
    /// `shortened` is not below the block length; [`Error::StrayBits`] when `info` marks a shortened or missing position;
    /// [`Error::Memory`].
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
        memory::ask(size_of_val(info))?;
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
    fn list_sizes_are_tried_in_increasing_order() {
        let sizes = ListSizes::escalating(&[1, 8], 32).unwrap();
        assert_eq!(sizes.iter().collect::<Vec<_>>(), [1, 8, 32]);
        assert_eq!((sizes.smallest(), sizes.largest(), sizes.escalates()), (1, 32, true));
        assert!(!ListSizes::escalating(&[], 4).unwrap().escalates());
        assert!(matches!(ListSizes::escalating(&[3], 8), Err(Error::ListSize { got: 3 })));
        for wrong in [&[8, 1][..], &[1, 1], &[8], &[16]] {
            assert!(matches!(ListSizes::escalating(wrong, 8), Err(Error::Escalation { list_size: 8, .. })));
        }
    }

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
