//! Memory of a decode: allocated once, aligned to cache lines, wiped when released.

use crate::memory;
use zeroize::{DefaultIsZeroes, Zeroize};

/// One cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl Sealed for u32 {}
    impl Sealed for i8 {}
    impl Sealed for f32 {}
}

/// Element types for which every bit pattern is a value and which have no padding.
pub trait Plain: Copy + DefaultIsZeroes + sealed::Sealed + 'static {}
impl Plain for u64 {}
impl Plain for u32 {}
impl Plain for i8 {}
impl Plain for f32 {}

/// A fixed run of elements that starts on a cache line and is zeroed when dropped.
pub struct AlignedBuffer<T: Plain> {
    lines: Box<[Line]>,
    length: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> AlignedBuffer<T> {
    /// `length` zeroed elements; none where memory is refused, which `memory::watched` tells.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let length = if memory::ask_part(Self::bytes_for(length)) { length } else { 0 };
        let lines = vec![Line([0; 64]); Self::bytes_for(length) / 64].into_boxed_slice();
        Self { lines, length, element: std::marker::PhantomData }
    }

    /// Bytes that [`AlignedBuffer::new`] allocates for `length` elements.
    #[must_use]
    pub const fn bytes_for(length: usize) -> usize {
        (length * size_of::<T>()).div_ceil(64) * 64
    }

    /// Bytes allocated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.len() * 64
    }

    /// The elements.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        debug_assert!(self.length * size_of::<T>() <= self.lines.len() * 64);
        // SAFETY: the lines are initialised memory of at least `length * size_of::<T>()` bytes, aligned to 64 (more than
        // any `Plain` type needs); every bit pattern is a valid `Plain`; the borrow of `self` covers the result.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }

    /// The elements, mutable.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        debug_assert!(self.length * size_of::<T>() <= self.lines.len() * 64);
        // SAFETY: as in `as_slice`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }

    /// The memory of the elements as words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        // SAFETY: the lines are initialised memory of `lines.len() * 64` bytes aligned to 64; every bit pattern is a valid
        // `u64`; the borrow of `self` covers the result.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 8) }
    }

    /// The memory of the elements as words, mutable: whatever is written, it stays a run of elements.
    #[must_use]
    pub fn words_mut(&mut self) -> &mut [u64] {
        // SAFETY: as in `words`, and `self` is borrowed mutably; every bit pattern is a valid `Plain` too.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * 8) }
    }
}

impl<T: Plain> Drop for AlignedBuffer<T> {
    fn drop(&mut self) {
        let words = self.lines.len() * 8;
        // SAFETY: the lines are `words * 8` initialised bytes aligned to 64, viewed as u64 for a quicker wipe.
        let bytes = unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<u64>(), words) };
        bytes.zeroize();
    }
}

impl<T: Plain> std::ops::Deref for AlignedBuffer<T> {
    type Target = [T];
    #[inline(always)]
    fn deref(&self) -> &[T] {
        self.as_slice()
    }
}

impl<T: Plain> std::ops::DerefMut for AlignedBuffer<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        self.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_zeroed_and_as_long_as_asked() {
        for length in [0, 1, 7, 64, 1000] {
            let buffer = AlignedBuffer::<f32>::new(length);
            assert_eq!(buffer.len(), length);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
    }
}
