//! Validated code parameters.
//!
//! Everything a decoder needs to know about a code, checked once: kernels never re-validate. Not here: how an
//! information set is chosen (`design`), or what a block leaks (the Python layer).

use crate::bits::{first_one_from, low_mask, words_for};
use crate::checksum::Check;
use crate::error::{Error, Result};
use crate::memory;
use crate::transform::{MAX_BLOCK_LENGTH, block_log2, split_segments, transform_words};
use std::ops::Range;

/// The list sizes that exist.
pub const LIST_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

/// Positions of the shortest segment: those of a word.
const MIN_SEGMENT_LENGTH: usize = 64;

/// The list sizes a decoder tries on a block, one after the other, until the check is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListSizes {
    /// Bit k: a list of 2^k.
    exponents: u8,
    /// The largest is tried twice.
    twice: bool,
}

/// One try at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Paths at most.
    pub list_size: usize,
    /// No other follows: the threshold on path metrics is the full one. Else it is the narrow one
    /// ([`crate::llr::Metric::narrow_threshold`]).
    pub last: bool,
}

impl ListSizes {
    /// `list_size`, after those of `escalation`.
    ///
    /// # Errors
    /// [`Error::ListSize`] for a size that does not exist; [`Error::Escalation`] unless `escalation` increases strictly and
    /// stays below `list_size`, or ends with it where that is a list.
    pub fn escalating(escalation: &[usize], list_size: usize) -> Result<Self> {
        let twice = list_size > 1 && escalation.last() == Some(&list_size);
        let mut sizes = Self { exponents: 0, twice };
        let mut last = 0;
        for &size in escalation.iter().take(escalation.len() - usize::from(twice)).chain([&list_size]) {
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
        let sizes = LIST_SIZES.into_iter().filter(move |size| self.exponents >> size.trailing_zeros() & 1 == 1);
        sizes.chain(self.twice.then_some(self.largest()))
    }

    /// The tries in their order.
    pub fn attempts(self) -> impl Iterator<Item = Attempt> {
        let last = self.exponents.count_ones() as usize - usize::from(!self.twice);
        self.iter().enumerate().map(move |(index, list_size)| Attempt { list_size, last: index == last })
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
        self.twice || self.exponents.count_ones() > 1
    }
}

/// How a block is cut into segments: runs of equal length of u, each with a check over its own transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    log_length: u32,
    check: Check,
}

impl Segmentation {
    /// Segments of `segment_length` positions of blocks of `block_length`.
    ///
    /// # Errors
    /// [`Error::SegmentLength`] unless it is a power of two from 64 to half the block; [`Error::CheckRequired`].
    pub fn new(block_length: usize, segment_length: usize, check: Check) -> Result<Self> {
        let max = block_length / 2;
        if !segment_length.is_power_of_two() || !(MIN_SEGMENT_LENGTH..=max).contains(&segment_length) {
            return Err(Error::SegmentLength { got: segment_length, min: MIN_SEGMENT_LENGTH, max });
        }
        if check == Check::None {
            return Err(Error::CheckRequired { what: "segment_check" });
        }
        Ok(Self { log_length: segment_length.trailing_zeros(), check })
    }

    /// log2 of the positions of a segment, 6 at least.
    #[must_use]
    pub fn log_length(self) -> u32 {
        self.log_length
    }

    /// Words of a segment.
    #[must_use]
    pub fn words(self) -> usize {
        1 << (self.log_length - 6)
    }

    /// The check of a segment.
    #[must_use]
    pub fn check(self) -> Check {
        self.check
    }

    /// The check values of the segments of a block, which is split into its segment words.
    pub fn check_values(self, block: &mut [u64], values: &mut [u32]) {
        split_segments(block, self.words());
        let bytes = 8 * self.words();
        let of_zero = self.check.value(&vec![0; bytes]);
        for (word, value) in block.chunks_exact(self.words()).zip(values) {
            *value = of_zero ^ self.check.linear_value(word, bytes);
        }
    }
}

/// A run of positions of u that is the subtree of a node of the code tree, and the check of its segment word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First word of its positions.
    start: usize,
    log_length: u32,
    check: Check,
    /// The bits of the check that are disclosed.
    mask: u32,
}

impl Segment {
    /// log2 of its positions, 6 at least.
    #[must_use]
    pub fn log_length(&self) -> u32 {
        self.log_length
    }

    /// The words of its positions in a row of the block.
    #[must_use]
    pub fn words(&self) -> Range<usize> {
        self.start..self.start + (1 << (self.log_length - 6))
    }

    /// Whether bits of its check are disclosed.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.mask != 0
    }

    /// The bits of a check value that are disclosed.
    #[must_use]
    pub fn check_mask(&self) -> u32 {
        self.mask
    }

    /// The linear check value of the words up to this segment's, given that of those before it.
    #[must_use]
    pub fn value_after(&self, before: u32, word: &[u64]) -> u32 {
        self.check.linear_value_after(before, word, 8 * word.len())
    }

    /// The bits of it that are disclosed.
    #[must_use]
    pub fn check_after(&self, before: u32, word: &[u64]) -> u32 {
        if self.mask == 0 { 0 } else { self.value_after(before, word) & self.mask }
    }
}

/// How a block is cut into segments of any lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    log_length: u32,
    segments: Box<[Segment]>,
    /// The check of a segment covers all words up to its own: a wrong one that has its check by chance fails the next.
    cumulative: bool,
}

impl Partition {
    /// The longest check of a segment, bits.
    pub const MAX_CHECK_BITS: u32 = 32;

    /// Segments of these lengths one after the other, and the low bits of CRC-32 over the words up to its own that are the check
    /// of each, 0 for none.
    ///
    /// # Errors
    /// [`Error::BlockLength`] below 64 positions; [`Error::SegmentCut`] for a length that is not a power of two from 64, or
    /// a segment that does not start at a multiple of its length; [`Error::Length`] unless they are the block;
    /// [`Error::OutOfRange`] for a check that is too long.
    pub fn new(block_length: usize, segments: &[(usize, u32)]) -> Result<Self> {
        let log_length = block_log2(block_length)?;
        if block_length < MIN_SEGMENT_LENGTH {
            return Err(Error::BlockLength { got: block_length, min: MIN_SEGMENT_LENGTH, max: MAX_BLOCK_LENGTH });
        }
        let mut start = 0usize;
        let mut cut = Vec::with_capacity(segments.len());
        for (index, &(length, check_bits)) in segments.iter().enumerate() {
            if !length.is_power_of_two() || length < MIN_SEGMENT_LENGTH || !start.is_multiple_of(length) {
                return Err(Error::SegmentCut { index, start, length, min: MIN_SEGMENT_LENGTH });
            }
            if check_bits > Self::MAX_CHECK_BITS {
                let (got, max) = (f64::from(check_bits), f64::from(Self::MAX_CHECK_BITS));
                return Err(Error::OutOfRange { what: "check_bits", got, min: 0.0, max });
            }
            cut.push(Segment {
                start: start / 64,
                log_length: length.trailing_zeros(),
                check: Check::Crc32,
                mask: low_mask(check_bits as usize) as u32,
            });
            start = start.saturating_add(length);
        }
        if start != block_length {
            return Err(Error::Length { what: "segments", expected: block_length, got: start });
        }
        Ok(Self { log_length, segments: cut.into_boxed_slice(), cumulative: true })
    }

    /// log2 of the positions of the block.
    #[must_use]
    pub fn log_length(&self) -> u32 {
        self.log_length
    }

    /// The segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// log2 of the positions of the shortest and of the longest segment.
    #[must_use]
    pub fn log_lengths(&self) -> (u32, u32) {
        let of = || self.segments.iter().map(Segment::log_length);
        (of().min().unwrap_or(self.log_length), of().max().unwrap_or(self.log_length))
    }

    /// Splits a block into its segment words, in place.
    pub fn split(&self, block: &mut [u64]) {
        transform_words(block);
        self.split_transform(block);
    }

    /// Turns the transform of a block into its segment words, in place.
    pub fn split_transform(&self, transform: &mut [u64]) {
        for segment in &self.segments {
            transform_words(&mut transform[segment.words()]);
        }
    }

    /// Whether the check of a segment covers the words before its own.
    #[must_use]
    pub fn is_cumulative(&self) -> bool {
        self.cumulative
    }

    /// The linear check values of the segments of a block that is split, as far as they are disclosed.
    pub fn checks_of<'a>(&'a self, split: &'a [u64]) -> impl Iterator<Item = u32> + 'a {
        self.segments.iter().scan(0, |before, segment| {
            let value = segment.value_after(*before, &split[segment.words()]);
            *before = if self.cumulative { value } else { 0 };
            Some(value & segment.mask)
        })
    }

    /// The check values of the segments of a block, which is split into its segment words.
    pub fn check_values(&self, block: &mut [u64], values: &mut [u32]) {
        self.split(block);
        for (value, check) in values.iter_mut().zip(self.checks_of(block)) {
            *value = check;
        }
    }
}

impl Segmentation {
    /// The segments of a block of 2^`log_length` positions.
    #[must_use]
    pub fn partition(self, log_length: u32) -> Partition {
        let segments = (0..1usize << (log_length - self.log_length)).map(|index| Segment {
            start: index * self.words(),
            log_length: self.log_length,
            check: self.check,
            mask: u32::MAX,
        });
        Partition { log_length, segments: segments.collect(), cumulative: false }
    }
}

/// A polar code in natural order.
#[derive(Debug, Clone)]
pub struct Code {
    log_length: u32,
    info: Vec<u64>,
    shortened: usize,
    check: Check,
    segmentation: Option<Segmentation>,
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
        Ok(Self { log_length, info: info.to_vec(), shortened, check, segmentation: None })
    }

    /// The same code with a check for each segment that has information positions; `segmentation` is one of its length.
    #[must_use]
    pub fn with_segments(mut self, segmentation: Option<Segmentation>) -> Self {
        debug_assert!(segmentation.is_none_or(|cut| cut.log_length < self.log_length));
        self.segmentation = segmentation;
        self
    }

    /// One segment of this code as a code of its own, without shortening or check.
    #[must_use]
    pub fn segment(&self, segment: &Segment) -> Self {
        Self {
            log_length: segment.log_length,
            info: self.info.get(segment.words()).map(<[u64]>::to_vec).unwrap_or_default(),
            shortened: 0,
            check: Check::None,
            segmentation: None,
        }
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

    /// How the block is cut into segments, if it is.
    #[must_use]
    pub fn segmentation(&self) -> Option<Segmentation> {
        self.segmentation
    }

    /// Segments of the block: none if it is not cut.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segmentation.map_or(0, |segmentation| self.block_length() >> segmentation.log_length)
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
        let twice = ListSizes::escalating(&[1, 8], 8).unwrap();
        assert_eq!(twice.iter().collect::<Vec<_>>(), [1, 8, 8]);
        assert_eq!(twice.attempts().map(|attempt| attempt.last).collect::<Vec<_>>(), [false, false, true]);
        assert!(ListSizes::escalating(&[4], 4).unwrap().escalates());
        assert!(matches!(ListSizes::escalating(&[1], 1), Err(Error::Escalation { list_size: 1, .. })));
        for wrong in [&[8, 1][..], &[1, 1], &[8, 8], &[16]] {
            assert!(matches!(ListSizes::escalating(wrong, 8), Err(Error::Escalation { list_size: 8, .. })));
        }
    }

    #[test]
    fn impossible_segments_are_refused_with_fields() {
        for got in [0, 32, 96, 256, 512] {
            let cut = Segmentation::new(256, got, Check::Crc16);
            assert!(matches!(cut, Err(Error::SegmentLength { min: 64, max: 128, .. })));
        }
        assert!(matches!(Segmentation::new(256, 64, Check::None), Err(Error::CheckRequired { .. })));
        let (code, cut) =
            (Code::new(256, &[!0; 4], 0, Check::Crc16).unwrap(), Segmentation::new(256, 64, Check::Crc16));
        assert_eq!((code.segment_count(), code.with_segments(cut.ok()).segment_count()), (0, 4));
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
