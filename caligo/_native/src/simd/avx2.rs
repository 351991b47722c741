//! The portable kernels compiled for AVX2, with its byte permutes.

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

/// The int8 kernels that need byte permutes.
#[cfg(target_arch = "x86_64")]
mod int8 {
    use super::super::Kernels;
    use super::super::lanes::{LANES, NARROW, Selection};
    use super::Avx2;
    use std::arch::x86_64::*;

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
    fn select(row: &[i8; LANES], source: &Selection) -> [i8; LANES] {
        let mut out = [0; LANES];
        let value = permute(load_signed(row), load(&source.0));
        // SAFETY: the array is 32 writable bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) };
        out
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn select_narrow(row: &[i8; NARROW], source: &Selection) -> [i8; NARROW] {
        let row = _mm_cvtsi64_si128(i64::from_le_bytes(row.map(|value| value as u8)));
        let value = _mm_shuffle_epi8(row, _mm256_castsi256_si128(load(&source.0)));
        _mm_cvtsi128_si64(value).to_le_bytes().map(|byte| byte as i8)
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

    impl Kernels<i8> for Avx2 {
        #[inline(always)]
        fn signs(self, node: &[i8], bits: &mut [u64]) {
            // SAFETY: `self` exists only where AVX2 was found.
            unsafe { signs(node, bits) }
        }
        #[inline(always)]
        fn select<const W: usize>(self, row: &[i8; W], source: &Selection) -> [i8; W] {
            let mut out = *row;
            if let (Some(row), Some(out)) = (row.first_chunk(), out.first_chunk_mut()) {
                // SAFETY: `self` exists only where AVX2 was found.
                *out = unsafe { select(row, source) };
            } else if let (Some(row), Some(out)) = (row.first_chunk(), out.first_chunk_mut()) {
                // SAFETY: as above.
                *out = unsafe { select_narrow(row, source) };
            }
            out
        }
        #[inline(always)]
        fn select_rows(self, rows: &mut [Selection], source: &Selection, _live: usize) {
            // SAFETY: `self` exists only where AVX2 was found.
            unsafe { select_rows(rows, source) }
        }
    }
}
