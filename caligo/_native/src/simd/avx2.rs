//! The portable kernels compiled for AVX2, and with its intrinsics where the vectoriser sees no vectors: in the lanes.

use super::{KernelLlr, Kernels, Task};

/// Proof that this CPU has AVX2, BMI2, POPCNT and LZCNT.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The token, if this CPU has the features.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
        {
            return Some(Self(()));
        }
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Kernels<i8> for Avx2 {}
impl Kernels<f32> for Avx2 {}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn compiled<T: KernelLlr, K: Task<T>>(engine: Avx2, task: K) -> K::Output
where
    Avx2: Kernels<T>,
{
    task.run(engine)
}

impl Avx2 {
    /// Runs `task` compiled for these features.
    pub fn run<T: KernelLlr, K: Task<T>>(self, task: K) -> K::Output
    where
        Self: Kernels<T>,
    {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token exists only where `new` found these features.
        return unsafe { compiled(self, task) };
        #[cfg(not(target_arch = "x86_64"))]
        task.run(self)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use int8::lanes::transpose;

/// The int8 kernels that need intrinsics.
#[cfg(target_arch = "x86_64")]
mod int8 {
    use super::super::lanes::{LANES, LaneBits, LaneSigns, Lanes, NARROW, Selection, Survivors};
    use super::super::{Kernels, Portable};
    use super::Avx2;
    use std::arch::x86_64::*;

    pub mod lanes;

    /// `bytes[source[i]]`, sources below 32.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn permute(bytes: __m256i, source: __m256i) -> __m256i {
        let low = _mm256_permute2x128_si256::<0x00>(bytes, bytes);
        let high = _mm256_permute2x128_si256::<0x11>(bytes, bytes);
        // Bit 4 of a source becomes the sign that the blend looks at.
        let upper = _mm256_slli_epi16::<3>(source);
        _mm256_blendv_epi8(_mm256_shuffle_epi8(low, source), _mm256_shuffle_epi8(high, source), upper)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load(bytes: &[u8; LANES]) -> __m256i {
        // SAFETY: the array is 32 readable bytes.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn load_signed(bytes: &[i8; 32]) -> __m256i {
        // SAFETY: the array is 32 readable bytes.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn select_rows(rows: &mut [Selection], source: &Selection) {
        let source = load(&source.0);
        for row in rows {
            let value = permute(load(&row.0), source);
            // SAFETY: the array is 32 writable bytes.
            unsafe { _mm256_storeu_si256(row.0.as_mut_ptr().cast(), value) };
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn signs(node: &[i8], bits: &mut [u64]) {
        let (chunks, rest) = node.as_chunks::<64>();
        for (word, chunk) in bits.iter_mut().zip(chunks) {
            let (halves, _) = chunk.as_chunks::<32>();
            *word = halves
                .iter()
                .rev()
                .fold(0, |word, half| word << 32 | u64::from(_mm256_movemask_epi8(load_signed(half)) as u32));
        }
        if chunks.is_empty()
            && let Some(word) = bits.first_mut()
        {
            *word = rest.iter().enumerate().fold(0, |word, (i, &value)| word | u64::from(value < 0) << i);
        }
    }

    /// Calls what the token proves.
    macro_rules! call {
        ($($function:ident)::+($($argument:expr),*)) => {
            // SAFETY: `self` is an `Avx2`, which exists only where its `new` found AVX2 and what else is enabled.
            unsafe { $($function)::+($($argument),*) }
        };
    }

    impl Kernels<i8> for Avx2 {
        #[inline(always)]
        fn signs(self, node: &[i8], bits: &mut [u64]) {
            call!(signs(node, bits))
        }
        #[inline(always)]
        fn transpose<const W: usize>(self, rows: &[[i8; LANES]; LANES], live: usize, out: &mut [i8]) {
            if W == NARROW {
                call!(lanes::transpose_narrow(rows, out))
            } else {
                call!(lanes::transpose(rows, live, out))
            }
        }
        #[inline(always)]
        fn right_lanes<const W: usize>(self, node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
            if W == LANES {
                call!(lanes::right(node, source, bits, out))
            } else if out.len() >= LANES {
                call!(lanes::right_narrow(node, source, bits, out))
            } else {
                Portable.right_lanes::<W>(node, source, bits, out)
            }
        }
        #[inline(always)]
        fn signs_lanes<const W: usize>(self, node: &[i8]) -> LaneSigns<u16> {
            if W == LANES {
                call!(lanes::signs(node))
            } else if node.len() >= LANES {
                call!(lanes::signs_narrow(node))
            } else {
                <Portable as Kernels<i8>>::signs_lanes::<W>(Portable, node)
            }
        }
        #[inline(always)]
        fn select_keys(self, row: &Lanes<u16>, source: &Selection) -> Lanes<u16> {
            call!(lanes::select_keys(row, source))
        }
        #[inline(always)]
        fn select_bits<const W: usize>(self, row: &LaneBits, source: &Selection) -> LaneBits {
            if W == NARROW {
                call!(lanes::select_bits_narrow(row, source))
            } else {
                call!(lanes::select_bits(row, source))
            }
        }
        #[inline(always)]
        fn select_selection(self, row: &Selection, source: &Selection) -> Selection {
            call!(lanes::select_selection(row, source))
        }
        #[inline(always)]
        fn select_mask(self, mask: u32, source: &Selection) -> u32 {
            call!(lanes::select_mask(mask, source))
        }
        #[inline(always)]
        fn below(self, metric: &Lanes<u16>, bound: u16) -> u32 {
            call!(lanes::below(metric, bound))
        }
        #[inline(always)]
        fn cheaper(
            self,
            metric: &Lanes<u16>,
            zeros: &[u16; LANES],
            ones: &[u16; LANES],
        ) -> (Lanes<u16>, Lanes<u16>, u32) {
            call!(lanes::cheaper(metric, zeros, ones))
        }
        #[inline(always)]
        fn survivors(
            self,
            stay: &[u16; LANES],
            flip: &[u16; LANES],
            best: u16,
            masks: (u32, u32),
            list_size: usize,
        ) -> Survivors<u16> {
            call!(lanes::survivors(stay, flip, best, masks, list_size))
        }
        #[inline(always)]
        fn within_threshold(
            self,
            stay: &[u16; LANES],
            flip: Option<&[u16; LANES]>,
            live: usize,
            threshold: u16,
        ) -> (u16, u32, u32) {
            call!(lanes::within_threshold(stay, flip, live, threshold))
        }
        #[inline(always)]
        fn select_rows(self, rows: &mut [Selection], source: &Selection, _live: usize) {
            call!(select_rows(rows, source))
        }
    }
}
