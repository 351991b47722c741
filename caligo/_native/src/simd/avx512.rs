//! AVX-512: 64 LLRs at a time above stage 5, 32 paths at a time below it, selections by byte permutes (VBMI).

use super::{KernelLlr, Kernels, Task};

/// Proof that this CPU has AVX-512 F, BW, DQ, VL, VBMI and VBMI2 beside what AVX2 engines need.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The token, if this CPU has the features.
    #[must_use]
    pub fn new() -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("avx512vbmi2")
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
impl Kernels<i8> for Avx512 {}

impl Kernels<f32> for Avx512 {}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt,lzcnt")]
fn compiled<T: KernelLlr, K: Task<T>>(engine: Avx512, task: K) -> K::Output
where
    Avx512: Kernels<T>,
{
    task.run(engine)
}

impl Avx512 {
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

/// The int8 kernels.
#[cfg(target_arch = "x86_64")]
mod int8 {
    use super::super::avx2::transpose;
    use super::super::frames::{Planes, Row};
    use super::super::frames512 as frames;
    use super::super::lanes::{LANES, LaneBits, LaneSigns, Lanes, NARROW, Selection, Survivors, lane_mask};
    use super::super::settle::Shape;
    use super::super::{KernelLlr, Kernels};
    use super::Avx512;
    use crate::llr::{Llr, Metric};
    use std::arch::x86_64::*;

    /// Functions that may use what the token proves.
    macro_rules! proven {
        ($($item:item)*) => {
            $(
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt,lzcnt")]
                #[inline]
                $item
            )*
        };
    }

    mod settle;

    /// Binary digits of the metrics within the largest threshold; a byte holds them.
    const DIGITS: u32 = u16::THRESHOLD.ilog2() + 1;

    /// The numbers of the candidates of a fork.
    const CANDIDATES: [i8; 64] = {
        let mut numbers = [0; 64];
        let mut number = 0;
        while number < 64 {
            numbers[number] = number as i8;
            number += 1;
        }
        numbers
    };

    mod narrow;

    proven! {
        fn load64(values: &[i8; 64]) -> __m512i {
            // SAFETY: the array is 64 readable bytes.
            unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
        }

        fn store64(out: &mut [i8; 64], value: __m512i) {
            // SAFETY: the array is 64 writable bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), value) }
        }

        fn load32(values: &[i8; 32]) -> __m256i {
            // SAFETY: the array is 32 readable bytes.
            unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
        }

        fn store32(out: &mut [i8; 32], value: __m256i) {
            // SAFETY: the array is 32 writable bytes.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) }
        }

        fn load_selection(selection: &Selection) -> __m256i {
            // SAFETY: the array is 32 readable bytes.
            unsafe { _mm256_loadu_si256(selection.0.as_ptr().cast()) }
        }

        fn store_selection(out: &mut Selection, value: __m256i) {
            // SAFETY: the array is 32 writable bytes.
            unsafe { _mm256_storeu_si256(out.0.as_mut_ptr().cast(), value) }
        }

        fn load_u16(values: &[u16; LANES]) -> __m512i {
            // SAFETY: the array is 64 readable bytes.
            unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
        }

        fn store_u16(out: &mut [u16; LANES], value: __m512i) {
            // SAFETY: the array is 64 writable bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), value) }
        }

        fn load_bits(bits: &LaneBits) -> (__m512i, __m512i) {
            // SAFETY: the array is 128 readable bytes.
            unsafe {
                let low = bits.0.as_ptr();
                (_mm512_loadu_si512(low.cast()), _mm512_loadu_si512(low.add(16).cast()))
            }
        }

        fn store_bits(out: &mut LaneBits, (low, high): (__m512i, __m512i)) {
            // SAFETY: the array is 128 writable bytes.
            unsafe {
                let out = out.0.as_mut_ptr();
                _mm512_storeu_si512(out.cast(), low);
                _mm512_storeu_si512(out.add(16).cast(), high);
            }
        }

        fn f512(a: __m512i, b: __m512i) -> __m512i {
            let (x, y) = (_mm512_abs_epi8(a), _mm512_abs_epi8(b));
            let low = _mm512_min_epu8(x, y);
            let difference = _mm512_sub_epi8(_mm512_max_epu8(x, y), low);
            let near = _mm512_cmple_epu8_mask(difference, _mm512_set1_epi8(2));
            let magnitude = _mm512_mask_subs_epu8(low, near, low, _mm512_set1_epi8(1));
            let negative = _mm512_movepi8_mask(_mm512_xor_si512(a, b));
            _mm512_mask_sub_epi8(magnitude, negative, _mm512_setzero_si512(), magnitude)
        }

        fn f256(a: __m256i, b: __m256i) -> __m256i {
            let (x, y) = (_mm256_abs_epi8(a), _mm256_abs_epi8(b));
            let low = _mm256_min_epu8(x, y);
            let difference = _mm256_sub_epi8(_mm256_max_epu8(x, y), low);
            let near = _mm256_cmple_epu8_mask(difference, _mm256_set1_epi8(2));
            let magnitude = _mm256_mask_subs_epu8(low, near, low, _mm256_set1_epi8(1));
            let negative = _mm256_movepi8_mask(_mm256_xor_si256(a, b));
            _mm256_mask_sub_epi8(magnitude, negative, _mm256_setzero_si256(), magnitude)
        }

        fn g512(a: __m512i, b: __m512i, bits: u64) -> __m512i {
            let sum = _mm512_mask_subs_epi8(_mm512_adds_epi8(b, a), bits, b, a);
            _mm512_max_epi8(sum, _mm512_set1_epi8(-127))
        }

        fn g256(a: __m256i, b: __m256i, bits: u32) -> __m256i {
            let sum = _mm256_mask_subs_epi8(_mm256_adds_epi8(b, a), bits, b, a);
            _mm256_max_epi8(sum, _mm256_set1_epi8(-127))
        }

        fn left(node: &[i8], out: &mut [i8]) {
            let (low, high) = node.split_at(out.len());
            let (low, low_rest) = low.as_chunks::<64>();
            let (high, high_rest) = high.as_chunks::<64>();
            let (out, out_rest) = out.as_chunks_mut::<64>();
            for ((out, a), b) in out.iter_mut().zip(low).zip(high) {
                store64(out, f512(load64(a), load64(b)));
            }
            if let ([a], [b], [out]) =
                (low_rest.as_chunks::<32>().0, high_rest.as_chunks::<32>().0, out_rest.as_chunks_mut::<32>().0)
            {
                store32(out, f256(load32(a), load32(b)));
            } else {
                for ((out, &a), &b) in out_rest.iter_mut().zip(low_rest).zip(high_rest) {
                    *out = a.f(b);
                }
            }
        }

        fn right(node: &[i8], bits: &[u64], out: &mut [i8]) {
            let (low, high) = node.split_at(out.len());
            let (low, low_rest) = low.as_chunks::<64>();
            let (high, high_rest) = high.as_chunks::<64>();
            let (out, out_rest) = out.as_chunks_mut::<64>();
            for (((out, a), b), &word) in out.iter_mut().zip(low).zip(high).zip(bits) {
                store64(out, g512(load64(a), load64(b), word));
            }
            let Some(&word) = bits.first() else { return };
            if let ([a], [b], [out]) =
                (low_rest.as_chunks::<32>().0, high_rest.as_chunks::<32>().0, out_rest.as_chunks_mut::<32>().0)
            {
                store32(out, g256(load32(a), load32(b), word as u32));
            } else {
                for (i, ((out, &a), &b)) in out_rest.iter_mut().zip(low_rest).zip(high_rest).enumerate() {
                    *out = a.g(b, word >> i & 1 == 1);
                }
            }
        }

        fn left_block(low: &[i8; 64], high: &[i8; 64], out: &mut [i8; 64]) {
            store64(out, f512(load64(low), load64(high)));
        }

        fn right_block(low: &[i8; 64], high: &[i8; 64], word: u64, out: &mut [i8; 64]) {
            store64(out, g512(load64(low), load64(high), word));
        }

        fn ternary_block(nonzero: u64, negative: u64, magnitude: i8, out: &mut [i8; 64]) {
            let value = _mm512_maskz_set1_epi8(nonzero, magnitude);
            store64(out, _mm512_mask_sub_epi8(value, negative, _mm512_setzero_si512(), value));
        }

        fn outlast(node: &[i8], depth: u8) -> bool {
            let (chunks, rest) = node.as_chunks::<64>();
            let depth = _mm512_set1_epi8(depth as i8);
            debug_assert!(rest.is_empty());
            chunks.iter().all(|chunk| _mm512_cmple_epu8_mask(_mm512_abs_epi8(load64(chunk)), depth) == 0)
        }

        fn settle(node: &[i8; 64], info: u64, shape: Shape) -> u64 {
            settle::settle64(load64(node), info, shape)
        }

        fn signs(node: &[i8], bits: &mut [u64]) {
            let (chunks, rest) = node.as_chunks::<64>();
            for (word, chunk) in bits.iter_mut().zip(chunks) {
                *word = _mm512_movepi8_mask(load64(chunk));
            }
            if chunks.is_empty() && let Some(word) = bits.first_mut() {
                *word = i8::signs_word(rest);
            }
        }

        fn smallest(node: &[i8]) -> u16 {
            let (chunks, rest) = node.as_chunks::<64>();
            let mut least = _mm512_set1_epi8(-1);
            for chunk in chunks {
                least = _mm512_min_epu8(least, _mm512_abs_epi8(load64(chunk)));
            }
            let half = _mm256_min_epu8(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64::<1>(least));
            let quarter = _mm_min_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
            let pairs = _mm_min_epu8(quarter, _mm_srli_epi16::<8>(quarter));
            let least = _mm_extract_epi16::<0>(_mm_minpos_epu16(_mm_and_si128(pairs, _mm_set1_epi16(0xff)))) as u16;
            rest.iter().fold(least, |least, value| least.min(value.magnitude()))
        }

        fn sums(node: &[i8]) -> (u32, u32) {
            let (chunks, rest) = node.as_chunks::<64>();
            let zero = _mm512_setzero_si512();
            let (mut zeros, mut ones) = (zero, zero);
            for chunk in chunks {
                let value = load64(chunk);
                let positive = _mm512_max_epi8(value, zero);
                let negative = _mm512_max_epi8(_mm512_sub_epi8(zero, value), zero);
                zeros = _mm512_add_epi64(zeros, _mm512_sad_epu8(negative, zero));
                ones = _mm512_add_epi64(ones, _mm512_sad_epu8(positive, zero));
            }
            let (rest_zeros, rest_ones) = i8::sums(rest);
            (
                _mm512_reduce_add_epi64(zeros) as u32 + rest_zeros,
                _mm512_reduce_add_epi64(ones) as u32 + rest_ones,
            )
        }

        fn expand(bits: &[u64], magnitude: i8, out: &mut [i8]) {
            let plus = _mm512_set1_epi8(magnitude);
            let (chunks, rest) = out.as_chunks_mut::<64>();
            for (out, &word) in chunks.iter_mut().zip(bits) {
                store64(out, _mm512_mask_sub_epi8(plus, word, _mm512_setzero_si512(), plus));
            }
            if let Some(&word) = bits.first() {
                for (i, out) in rest.iter_mut().enumerate() {
                    *out = magnitude.negate_if(word >> i & 1 == 1);
                }
            }
        }

        /// The low, or the high, halves of the blocks of paths p and p + 16.
        fn halves(blocks: &[[i8; 64]], slots: &Selection, live: usize, path: usize) -> (__m512i, __m512i) {
            let block = |path: usize| load64(&blocks[usize::from(slots.0[path.min(live - 1) & 31])]);
            let first = block(path);
            let second = if live > 16 { block(path + 16) } else { first };
            (_mm512_shuffle_i64x2::<0x44>(first, second), _mm512_shuffle_i64x2::<0xee>(first, second))
        }

        /// Rows to lanes; vector p holds 32 values of path p, then of path p + 16. Byte unpacking over four levels interleaves
        /// vector p with vector p + 8, so after them each quarter of a vector holds a position of 16 paths.
        fn pairs_to_lanes(mut a: [__m512i; 16], out: &mut [i8]) {
            for _ in 0..4 {
                let mut b = [_mm512_setzero_si512(); 16];
                for i in 0..8 {
                    b[2 * i] = _mm512_unpacklo_epi8(a[i], a[i + 8]);
                    b[2 * i + 1] = _mm512_unpackhi_epi8(a[i], a[i + 8]);
                }
                a = b;
            }
            let out = out.as_chunks_mut::<LANES>().0;
            for i in 0..16 {
                let columns = _mm512_shuffle_i64x2::<0xd8>(a[i], a[i]);
                store32(&mut out[i], _mm512_castsi512_si256(columns));
                store32(&mut out[i + 16], _mm512_extracti64x4_epi64::<1>(columns));
            }
        }

        fn left_to_lanes(blocks: &[[i8; 64]], slots: &Selection, live: usize, out: &mut [i8]) {
            let mut a = [_mm512_setzero_si512(); 16];
            for path in 0..16 {
                if path < 8 || live > 8 {
                    let (low, high) = halves(blocks, slots, live, path);
                    a[path] = f512(low, high);
                }
            }
            pairs_to_lanes(a, out);
        }

        fn right_to_lanes(blocks: &[[i8; 64]], slots: &Selection, bits: &LaneBits, live: usize, out: &mut [i8]) {
            let mut a = [_mm512_setzero_si512(); 16];
            for path in 0..16 {
                if path < 8 || live > 8 {
                    let (low, high) = halves(blocks, slots, live, path);
                    a[path] = g512(low, high, u64::from(bits.0[path]) | u64::from(bits.0[path + 16]) << 32);
                }
            }
            pairs_to_lanes(a, out);
        }

        fn unlike(slots: &Selection, like: usize) -> u32 {
            let slots = load_selection(slots);
            let like = if like == 0 {
                _mm256_broadcastb_epi8(_mm256_castsi256_si128(slots))
            } else {
                _mm256_permutexvar_epi8(_mm256_set1_epi8(like as i8), slots)
            };
            _mm256_cmpneq_epi8_mask(slots, like)
        }

        fn own_slots(own: u32) -> Selection {
            let mut out = Selection::FIRST;
            store_selection(&mut out, _mm256_maskz_mov_epi8(own, load_selection(&Selection::IDENTITY)));
            out
        }

        fn load_words(words: &[u64; 8]) -> __m512i {
            // SAFETY: the array is 64 readable bytes.
            unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
        }

        fn store_words(out: &mut [u64; 8], words: __m512i) {
            // SAFETY: the array is 64 writable bytes.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) }
        }

        fn sign_block(block: &[i8; 64]) -> (u64, u16) {
            (_mm512_movepi8_mask(load64(block)), smallest(block))
        }

        fn join_words(
            left: &[u64; LANES],
            rows: &Selection,
            right: &[u64; LANES],
            live: usize,
            out: &mut [u64; LANES],
        ) -> u32 {
            let left = left.as_chunks::<8>().0;
            let left: [__m512i; 4] = [load_words(&left[0]), load_words(&left[1]), load_words(&left[2]), load_words(&left[3])];
            let rows = load_selection(rows);
            let (low, high) = (_mm256_castsi256_si128(rows), _mm256_extracti128_si256::<1>(rows));
            let rows = [low, _mm_bsrli_si128::<8>(low), high, _mm_bsrli_si128::<8>(high)];
            let (right, out) = (right.as_chunks::<8>().0, out.as_chunks_mut::<8>().0);
            let (mut first, mut mask) = (_mm512_setzero_si512(), 0);
            for i in 0..4 {
                if 8 * i < live {
                    let rows = _mm512_cvtepu8_epi64(rows[i]);
                    let lower = _mm512_permutex2var_epi64(left[0], rows, left[1]);
                    let upper = _mm512_permutex2var_epi64(left[2], rows, left[3]);
                    let in_upper = _mm512_test_epi64_mask(rows, _mm512_set1_epi64(16));
                    let words = _mm512_mask_blend_epi64(in_upper, lower, upper);
                    let words = _mm512_xor_si512(words, load_words(&right[i]));
                    if i == 0 {
                        first = _mm512_broadcastq_epi64(_mm512_castsi512_si128(words));
                    }
                    store_words(&mut out[i], words);
                    mask |= u32::from(_mm512_cmpneq_epi64_mask(words, first)) << (8 * i);
                }
            }
            mask & lane_mask(live)
        }

        fn unlike_words(words: &[u64; LANES], live: usize) -> u32 {
            let first = _mm512_set1_epi64(words[0] as i64);
            let mut mask = 0;
            for (i, words) in words.as_chunks::<8>().0.iter().enumerate() {
                mask |= u32::from(_mm512_cmpneq_epi64_mask(load_words(words), first)) << (8 * i);
            }
            mask & lane_mask(live)
        }

        fn position_mask(bits: (__m512i, __m512i), position: usize) -> u32 {
            let one = _mm512_set1_epi32(1 << position);
            u32::from(_mm512_test_epi32_mask(bits.0, one)) | u32::from(_mm512_test_epi32_mask(bits.1, one)) << 16
        }

        fn right_lanes(node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
            let (low, high) = node.split_at(out.len());
            let bits = load_bits(bits);
            let source = load_selection(source);
            if out.len() == LANES
                && let ([a], [b], [out]) = (low.as_chunks().0, high.as_chunks().0, out.as_chunks_mut().0)
            {
                let (a, b) = (_mm256_permutexvar_epi8(source, load32(a)), _mm256_permutexvar_epi8(source, load32(b)));
                return store32(out, g256(a, b, position_mask(bits, 0)));
            }
            let second = _mm256_or_si256(source, _mm256_set1_epi8(32));
            let source = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(source), second);
            let pairs = out.as_chunks_mut().0.iter_mut().zip(low.as_chunks().0).zip(high.as_chunks().0);
            for (i, ((out, a), b)) in pairs.enumerate() {
                let a = _mm512_permutexvar_epi8(source, load64(a));
                let b = _mm512_permutexvar_epi8(source, load64(b));
                let mask = u64::from(position_mask(bits, 2 * i)) | u64::from(position_mask(bits, 2 * i + 1)) << 32;
                store64(out, g512(a, b, mask));
            }
        }

        fn signs_lanes(node: &[i8]) -> LaneSigns<u16> {
            let mut bits = (_mm512_setzero_si512(), _mm512_setzero_si512());
            let mut least = _mm256_set1_epi8(-1);
            let mut odd = 0;
            for (i, row) in node.as_chunks().0.iter().enumerate() {
                let value = load32(row);
                let negative = _mm256_movepi8_mask(value) as u32;
                let one = _mm512_set1_epi32(1 << i);
                odd ^= negative;
                bits.0 = _mm512_mask_or_epi32(bits.0, negative as u16, bits.0, one);
                bits.1 = _mm512_mask_or_epi32(bits.1, (negative >> 16) as u16, bits.1, one);
                least = _mm256_min_epu8(least, _mm256_abs_epi8(value));
            }
            let mut out = LaneSigns { bits: LaneBits([0; LANES]), smallest: Lanes([0; LANES]), odd };
            store_bits(&mut out.bits, bits);
            store_u16(&mut out.smallest.0, _mm512_cvtepu8_epi16(least));
            out
        }

        fn sums_lanes(node: &[i8]) -> ([u16; LANES], [u16; LANES]) {
            let zero = _mm256_setzero_si256();
            let (mut zeros, mut ones) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            for row in node.as_chunks().0 {
                let value = load32(row);
                let positive = _mm256_max_epi8(value, zero);
                let negative = _mm256_max_epi8(_mm256_sub_epi8(zero, value), zero);
                zeros = _mm512_add_epi16(zeros, _mm512_cvtepu8_epi16(negative));
                ones = _mm512_add_epi16(ones, _mm512_cvtepu8_epi16(positive));
            }
            let mut out = ([0; LANES], [0; LANES]);
            store_u16(&mut out.0, zeros);
            store_u16(&mut out.1, ones);
            out
        }

        fn keys_lanes(node: &[i8], keys: &mut [Lanes<u16>]) {
            for (i, (keys, row)) in keys.iter_mut().zip(node.as_chunks().0).enumerate() {
                let magnitude = _mm512_cvtepu8_epi16(_mm256_abs_epi8(load32(row)));
                let key = _mm512_or_si512(_mm512_slli_epi16::<5>(magnitude), _mm512_set1_epi16(i as i16));
                store_u16(&mut keys.0, key);
            }
        }

        fn next_keys(keys: &[Lanes<u16>], last: &Lanes<u16>) -> Lanes<u16> {
            // Keys up to the last one wrap around to the top.
            let base = _mm512_add_epi16(load_u16(&last.0), _mm512_set1_epi16(1));
            let mut least = _mm512_set1_epi16(-1);
            for row in keys {
                least = _mm512_min_epu16(least, _mm512_sub_epi16(load_u16(&row.0), base));
            }
            stored(_mm512_add_epi16(least, base))
        }

        fn select_keys(row: &Lanes<u16>, source: &Selection) -> Lanes<u16> {
            let mut out = Lanes([0; LANES]);
            let source = _mm512_cvtepu8_epi16(load_selection(source));
            store_u16(&mut out.0, _mm512_permutexvar_epi16(source, load_u16(&row.0)));
            out
        }

        fn select_bits(row: &LaneBits, source: &Selection) -> LaneBits {
            let source = load_selection(source);
            let low = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(source));
            let high = _mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(source));
            let bits = load_bits(row);
            let mut out = LaneBits([0; LANES]);
            let selected = (
                _mm512_permutex2var_epi32(bits.0, low, bits.1),
                _mm512_permutex2var_epi32(bits.0, high, bits.1),
            );
            store_bits(&mut out, selected);
            out
        }

        fn select_selection(row: &Selection, source: &Selection) -> Selection {
            let mut out = Selection::FIRST;
            store_selection(&mut out, _mm256_permutexvar_epi8(load_selection(source), load_selection(row)));
            out
        }

        fn select_mask(mask: u32, source: &Selection) -> u32 {
            let mask = _mm256_movm_epi8(mask);
            _mm256_movepi8_mask(_mm256_permutexvar_epi8(load_selection(source), mask)) as u32
        }

        fn toggle(bits: &LaneBits, flipped: u32, keys: &Lanes<u16>) -> LaneBits {
            let (low, high) = load_bits(bits);
            let position = _mm512_and_si512(load_u16(&keys.0), _mm512_set1_epi16(31));
            let one = _mm512_set1_epi32(1);
            let of_low = _mm512_sllv_epi32(one, _mm512_cvtepu16_epi32(_mm512_castsi512_si256(position)));
            let of_high = _mm512_sllv_epi32(one, _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(position)));
            let mut out = LaneBits([0; LANES]);
            let toggled = (
                _mm512_mask_xor_epi32(low, flipped as u16, low, of_low),
                _mm512_mask_xor_epi32(high, (flipped >> 16) as u16, high, of_high),
            );
            store_bits(&mut out, toggled);
            out
        }

        fn fill(mask: u32, word: u32) -> LaneBits {
            let mut out = LaneBits([0; LANES]);
            let words = (
                _mm512_maskz_set1_epi32(mask as u16, word as i32),
                _mm512_maskz_set1_epi32((mask >> 16) as u16, word as i32),
            );
            store_bits(&mut out, words);
            out
        }

        fn stored(value: __m512i) -> Lanes<u16> {
            let mut out = Lanes([0; LANES]);
            store_u16(&mut out.0, value);
            out
        }

        fn charged(metric: &Lanes<u16>, cost: &Lanes<u16>, mask: u32) -> Lanes<u16> {
            let metric = load_u16(&metric.0);
            stored(_mm512_mask_adds_epu16(metric, mask, metric, load_u16(&cost.0)))
        }

        fn offers(metric: &Lanes<u16>, keys: &Lanes<u16>) -> Lanes<u16> {
            stored(_mm512_adds_epu16(load_u16(&metric.0), _mm512_srli_epi16::<5>(load_u16(&keys.0))))
        }

        fn parity_offers(metric: &Lanes<u16>, keys: &Lanes<u16>, least: &Lanes<u16>, odd: u32) -> Lanes<u16> {
            let flip = _mm512_srli_epi16::<5>(load_u16(&keys.0));
            let least = _mm512_srli_epi16::<5>(load_u16(&least.0));
            let cost = _mm512_mask_subs_epu16(_mm512_add_epi16(flip, least), odd, flip, least);
            stored(_mm512_adds_epu16(load_u16(&metric.0), cost))
        }

        fn cheaper(metric: &Lanes<u16>, zeros: &[u16; LANES], ones: &[u16; LANES]) -> (Lanes<u16>, Lanes<u16>, u32) {
            let (metric, zeros, ones) = (load_u16(&metric.0), load_u16(zeros), load_u16(ones));
            (
                stored(_mm512_adds_epu16(metric, _mm512_min_epu16(zeros, ones))),
                stored(_mm512_adds_epu16(metric, _mm512_max_epu16(zeros, ones))),
                _mm512_cmplt_epu16_mask(ones, zeros),
            )
        }

        fn below(metric: &Lanes<u16>, bound: u16) -> u32 {
            _mm512_cmplt_epu16_mask(load_u16(&metric.0), _mm512_set1_epi16(bound as i16))
        }

        fn rebased(metric: &Lanes<u16>, best: u16, live: usize) -> (Lanes<u16>, u16) {
            let rebased = _mm512_subs_epu16(load_u16(&metric.0), _mm512_set1_epi16(best as i16));
            let dead = _mm512_set1_epi16(-1);
            let worst = largest_u16(_mm512_maskz_mov_epi16(lane_mask(live), rebased));
            (stored(_mm512_mask_mov_epi16(dead, lane_mask(live), rebased)), worst)
        }

        fn largest_u16(value: __m512i) -> u16 {
            !smallest_u16(_mm512_xor_si512(value, _mm512_set1_epi16(-1)))
        }

        fn select_rows(rows: &mut [Selection], source: &Selection) {
            let source = load_selection(source);
            for row in rows {
                let value = load_selection(row);
                store_selection(row, _mm256_permutexvar_epi8(source, value));
            }
        }

        fn smallest_u16(value: __m512i) -> u16 {
            let half = _mm256_min_epu16(_mm512_castsi512_si256(value), _mm512_extracti64x4_epi64::<1>(value));
            let quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
            _mm_extract_epi16::<0>(_mm_minpos_epu16(quarter)) as u16
        }

        fn survivors(
            stay: &[u16; LANES],
            flip: &[u16; LANES],
            best: u16,
            masks: (u32, u32),
            list_size: usize,
        ) -> Survivors<u16> {
            // A byte a candidate, who stays before who flips: beyond the threshold, which a byte exceeds, nobody is asked.
            let base = _mm512_set1_epi16(best as i16);
            let stay = _mm512_cvtusepi16_epi8(_mm512_subs_epu16(load_u16(stay), base));
            let flip = _mm512_cvtusepi16_epi8(_mm512_subs_epu16(load_u16(flip), base));
            let metric = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(stay), flip);
            let candidates = u64::from(masks.0) | u64::from(masks.1) << 32;
            let count = list_size as u32;
            let (mut kept, mut worst) = (candidates, 0);
            let chosen = candidates.count_ones() > count;
            if chosen {
                // Digit by digit: who has a zero where all before were equal is smaller; either they are enough, or they
                // are all in and the others are asked for the rest.
                let (mut room, mut equal) = (count, candidates);
                kept = 0;
                for digit in (0..DIGITS).rev() {
                    let one = _mm512_test_epi8_mask(metric, _mm512_set1_epi8(1 << digit));
                    let zeros = equal & !one;
                    let (smaller, found) = (zeros.count_ones(), kept | zeros);
                    let enough = smaller >= room;
                    equal = if enough { zeros } else { equal & one };
                    kept = if enough { kept } else { found };
                    room = if enough { room } else { room - smaller };
                    worst = if enough { worst } else { worst | 1 << digit };
                }
                kept |= _pdep_u64((1u64 << room) - 1, equal);
            }
            let (stayed, live) = ((kept as u32).count_ones(), kept.count_ones());
            let order = _mm512_castsi512_si256(_mm512_maskz_compress_epi8(kept, load64(&CANDIDATES)));
            let metric = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(_mm512_maskz_compress_epi8(kept, metric)));
            if !chosen {
                worst = largest_u16(metric);
            }
            let mut out = Survivors {
                source: Selection::FIRST,
                metric: stored(_mm512_mask_mov_epi16(_mm512_set1_epi16(-1), lane_mask(live as usize), metric)),
                stayed: stayed as usize,
                live: live as usize,
                worst,
            };
            store_selection(&mut out.source, _mm256_and_si256(order, _mm256_set1_epi8(31)));
            out
        }

        fn within_threshold(
            stay: &[u16; LANES],
            flip: Option<&[u16; LANES]>,
            live: usize,
            threshold: u16,
        ) -> (u16, u32, u32) {
            let (lanes, dead) = (lane_mask(live), _mm512_set1_epi16(-1));
            let stay = _mm512_mask_blend_epi16(lanes, dead, load_u16(stay));
            let flip = flip.map_or(dead, |flip| _mm512_mask_blend_epi16(lanes, dead, load_u16(flip)));
            let best = smallest_u16(_mm512_min_epu16(stay, flip));
            let limit = _mm512_set1_epi16(best.saturating_add(threshold) as i16);
            let flips = _mm512_mask_cmple_epu16_mask(lanes, flip, limit);
            (best, _mm512_mask_cmple_epu16_mask(lanes, stay, limit), flips)
        }
    }

    /// Calls what the token proves.
    macro_rules! call {
        ($($function:ident)::+($($argument:expr),*)) => {
            // SAFETY: `self` is an `Avx512`, which exists only where its `new` found the features of `proven!`.
            unsafe { $($function)::+($($argument),*) }
        };
    }

    impl Kernels<i8> for Avx512 {
        #[inline(always)]
        fn left(self, node: &[i8], out: &mut [i8]) {
            call!(left(node, out))
        }
        #[inline(always)]
        fn right(self, node: &[i8], bits: &[u64], out: &mut [i8]) {
            call!(right(node, bits, out))
        }
        #[inline(always)]
        fn left_block(self, low: &[i8; 64], high: &[i8; 64], out: &mut [i8; 64]) {
            call!(left_block(low, high, out))
        }
        #[inline(always)]
        fn right_block(self, low: &[i8; 64], high: &[i8; 64], word: u64, out: &mut [i8; 64]) {
            call!(right_block(low, high, word, out))
        }
        #[inline(always)]
        fn signs(self, node: &[i8], bits: &mut [u64]) {
            call!(signs(node, bits))
        }
        #[inline(always)]
        fn ternary_block(self, nonzero: u64, negative: u64, magnitude: i8, out: &mut [i8; 64]) {
            call!(ternary_block(nonzero, negative, magnitude, out))
        }
        #[inline(always)]
        fn outlast(self, node: &[i8], depth: u8) -> bool {
            call!(outlast(node, depth))
        }
        #[inline(always)]
        fn settle(self, node: &[i8; 64], info: u64, shape: Shape) -> u64 {
            call!(settle(node, info, shape))
        }
        #[inline(always)]
        fn smallest(self, node: &[i8]) -> u16 {
            call!(smallest(node))
        }
        #[inline(always)]
        fn sums(self, node: &[i8]) -> (u32, u32) {
            call!(sums(node))
        }
        #[inline(always)]
        fn right_signs_frames(self, node: &[Row<i8>], bits: &[u64], out: &mut [u64]) {
            call!(frames::right_signs(node, bits, out))
        }
        #[inline(always)]
        fn expand_frames(self, planes: Planes<'_>, unit: i8, double: i8, out: &mut [Row<i8>]) {
            call!(frames::expand(planes, unit, double, out))
        }
        #[inline(always)]
        fn repair_frames(self, node: &[Row<i8>], bits: &mut [u64], odd: u64) {
            call!(frames::repair(node, bits, odd))
        }
        #[inline(always)]
        fn majority_frames(self, node: &[Row<i8>]) -> u64 {
            call!(frames::majority(node))
        }
        #[inline(always)]
        fn expand(self, bits: &[u64], magnitude: i8, out: &mut [i8]) {
            call!(expand(bits, magnitude, out))
        }
        #[inline(always)]
        fn left_to_lanes<const W: usize>(
            self,
            blocks: &[[i8; 64]],
            slots: &Selection,
            live: usize,
            rows: &mut [[i8; LANES]; LANES],
            out: &mut [i8],
        ) {
            if W != NARROW {
                return call!(left_to_lanes(blocks, slots, live, out));
            }
            for (row, &slot) in rows.iter_mut().zip(&slots.0[..live]) {
                self.left(&blocks[usize::from(slot)], row);
            }
            self.transpose::<W>(rows, live, out);
        }
        #[inline(always)]
        fn right_to_lanes<const W: usize>(
            self,
            blocks: &[[i8; 64]],
            slots: &Selection,
            bits: &LaneBits,
            live: usize,
            rows: &mut [[i8; LANES]; LANES],
            out: &mut [i8],
        ) {
            if W != NARROW {
                return call!(right_to_lanes(blocks, slots, bits, live, out));
            }
            for ((row, &slot), &bits) in rows.iter_mut().zip(&slots.0[..live]).zip(&bits.0) {
                self.right(&blocks[usize::from(slot)], &[u64::from(bits)], row);
            }
            self.transpose::<W>(rows, live, out);
        }
        #[inline(always)]
        fn unlike(self, slots: &Selection, like: usize) -> u32 {
            call!(unlike(slots, like))
        }
        #[inline(always)]
        fn own_slots(self, own: u32) -> Selection {
            call!(own_slots(own))
        }
        #[inline(always)]
        fn sign_block(self, block: &[i8; 64]) -> (u64, u16) {
            call!(sign_block(block))
        }
        #[inline(always)]
        fn sums_blocks<'a>(self, blocks: impl Iterator<Item = &'a [i8; 64]>) -> (u32, u32) {
            let mut total = (0, 0);
            for block in blocks {
                let (zeros, ones) = call!(sums(block));
                total = (total.0 + zeros, total.1 + ones);
            }
            total
        }
        #[inline(always)]
        fn join_words(
            self,
            left: &[u64; LANES],
            rows: &Selection,
            right: &[u64; LANES],
            live: usize,
            out: &mut [u64; LANES],
        ) -> u32 {
            call!(join_words(left, rows, right, live, out))
        }
        #[inline(always)]
        fn unlike_words(self, words: &[u64; LANES], live: usize) -> u32 {
            call!(unlike_words(words, live))
        }
        #[inline(always)]
        fn transpose<const W: usize>(self, rows: &[[i8; LANES]; LANES], live: usize, out: &mut [i8]) {
            if W == NARROW { call!(narrow::transpose(rows, out)) } else { call!(transpose(rows, live, out)) }
        }
        #[inline(always)]
        fn left_lanes<const W: usize>(self, node: &[i8], out: &mut [i8]) {
            if W == NARROW { call!(narrow::left(node, out)) } else { call!(left(node, out)) }
        }
        #[inline(always)]
        fn right_lanes<const W: usize>(self, node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
            if W == NARROW {
                call!(narrow::right(node, source, bits, out))
            } else {
                call!(right_lanes(node, source, bits, out))
            }
        }
        #[inline(always)]
        fn signs_lanes<const W: usize>(self, node: &[i8]) -> LaneSigns<u16> {
            if W == NARROW { call!(narrow::signs(node)) } else { call!(signs_lanes(node)) }
        }
        #[inline(always)]
        fn sums_lanes<const W: usize>(self, node: &[i8]) -> ([u16; LANES], [u16; LANES]) {
            if W == NARROW { call!(narrow::sums(node)) } else { call!(sums_lanes(node)) }
        }
        #[inline(always)]
        fn keys_lanes<const W: usize>(self, node: &[i8], keys: &mut [Lanes<u16>]) {
            if W == NARROW { call!(narrow::keys(node, keys)) } else { call!(keys_lanes(node, keys)) }
        }
        #[inline(always)]
        fn next_keys<const W: usize>(self, keys: &[Lanes<u16>], last: &Lanes<u16>) -> Lanes<u16> {
            if W == NARROW { call!(narrow::next_keys(keys, last)) } else { call!(next_keys(keys, last)) }
        }
        #[inline(always)]
        fn select_selection(self, row: &Selection, source: &Selection) -> Selection {
            call!(select_selection(row, source))
        }
        #[inline(always)]
        fn select_mask(self, mask: u32, source: &Selection) -> u32 {
            call!(select_mask(mask, source))
        }
        #[inline(always)]
        fn toggle(self, bits: &LaneBits, flipped: u32, keys: &Lanes<u16>) -> LaneBits {
            call!(toggle(bits, flipped, keys))
        }
        #[inline(always)]
        fn fill(self, mask: u32, word: u32) -> LaneBits {
            call!(fill(mask, word))
        }
        #[inline(always)]
        fn charged(self, metric: &Lanes<u16>, cost: &Lanes<u16>, mask: u32) -> Lanes<u16> {
            call!(charged(metric, cost, mask))
        }
        #[inline(always)]
        fn offers(self, metric: &Lanes<u16>, keys: &Lanes<u16>) -> Lanes<u16> {
            call!(offers(metric, keys))
        }
        #[inline(always)]
        fn parity_offers(self, metric: &Lanes<u16>, keys: &Lanes<u16>, least: &Lanes<u16>, odd: u32) -> Lanes<u16> {
            call!(parity_offers(metric, keys, least, odd))
        }
        #[inline(always)]
        fn cheaper(
            self,
            metric: &Lanes<u16>,
            zeros: &[u16; LANES],
            ones: &[u16; LANES],
        ) -> (Lanes<u16>, Lanes<u16>, u32) {
            call!(cheaper(metric, zeros, ones))
        }
        #[inline(always)]
        fn below(self, metric: &Lanes<u16>, bound: u16) -> u32 {
            call!(below(metric, bound))
        }
        #[inline(always)]
        fn rebased(self, metric: &Lanes<u16>, best: u16, live: usize) -> (Lanes<u16>, u16) {
            call!(rebased(metric, best, live))
        }
        #[inline(always)]
        fn select_keys(self, row: &Lanes<u16>, source: &Selection) -> Lanes<u16> {
            call!(select_keys(row, source))
        }
        #[inline(always)]
        fn select_bits<const W: usize>(self, row: &LaneBits, source: &Selection) -> LaneBits {
            if W == NARROW { call!(narrow::select_bits(row, source)) } else { call!(select_bits(row, source)) }
        }
        #[inline(always)]
        fn select_rows(self, rows: &mut [Selection], source: &Selection, _live: usize) {
            call!(select_rows(rows, source))
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
            call!(survivors(stay, flip, best, masks, list_size))
        }
        #[inline(always)]
        fn within_threshold(
            self,
            stay: &[u16; LANES],
            flip: Option<&[u16; LANES]>,
            live: usize,
            threshold: u16,
        ) -> (u16, u32, u32) {
            call!(within_threshold(stay, flip, live, threshold))
        }
    }
}
