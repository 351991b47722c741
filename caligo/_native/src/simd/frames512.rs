//! The kernels of blocks side by side for AVX-512: a row of int8 values is one vector.

use super::frames::{Planes, Row};
use std::arch::x86_64::*;

/// Functions that may use what an [`Avx512`](super::Avx512) proves.
macro_rules! proven {
    ($($item:item)*) => {
        $(
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi1,bmi2,popcnt,lzcnt")]
            #[inline]
            $item
        )*
    };
}

proven! {
    fn load(row: &Row<i8>) -> __m512i {
        // SAFETY: the array is 64 readable bytes.
        unsafe { _mm512_loadu_si512(row.as_ptr().cast()) }
    }

    fn store(row: &mut Row<i8>, value: __m512i) {
        // SAFETY: the array is 64 writable bytes.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), value) }
    }

    pub fn right_signs(node: &[Row<i8>], bits: &[u64], out: &mut [u64]) {
        let (low, high) = node.split_at(out.len());
        for (((out, low), high), &word) in out.iter_mut().zip(low).zip(high).zip(bits) {
            let (low, high) = (load(low), load(high));
            *out = _mm512_movepi8_mask(_mm512_mask_subs_epi8(_mm512_adds_epi8(high, low), word, high, low));
        }
    }

    pub fn expand(planes: Planes<'_>, unit: i8, double: i8, out: &mut [Row<i8>]) {
        let (unit, double) = (_mm512_set1_epi8(unit), _mm512_set1_epi8(double));
        for (((row, &one), &two), &negative) in out.iter_mut().zip(planes.one).zip(planes.two).zip(planes.negative) {
            let sized = _mm512_mask_mov_epi8(_mm512_maskz_mov_epi8(one, unit), two, double);
            store(row, _mm512_mask_sub_epi8(sized, negative, _mm512_setzero_si512(), sized));
        }
    }

    pub fn repair(node: &[Row<i8>], bits: &mut [u64], odd: u64) {
        let mut smallest = _mm512_set1_epi8(-1);
        for row in node {
            smallest = _mm512_min_epu8(smallest, _mm512_abs_epi8(load(row)));
        }
        let mut pending = odd;
        for (row, bits) in node.iter().zip(bits) {
            let found = _mm512_mask_cmpeq_epi8_mask(pending, _mm512_abs_epi8(load(row)), smallest);
            *bits ^= found;
            pending ^= found;
            if pending == 0 {
                return;
            }
        }
    }

    pub fn majority(node: &[Row<i8>]) -> u64 {
        let zero = _mm512_setzero_si512();
        let mut totals = [zero; 4];
        // 256 values of at most 127 fit 16 bits.
        for rows in node.chunks(256) {
            let (mut low, mut high) = (zero, zero);
            for row in rows {
                let row = load(row);
                low = _mm512_add_epi16(low, _mm512_cvtepi8_epi16(_mm512_castsi512_si256(row)));
                high = _mm512_add_epi16(high, _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64::<1>(row)));
            }
            for (totals, sums) in totals.as_chunks_mut::<2>().0.iter_mut().zip([low, high]) {
                totals[0] = _mm512_add_epi32(totals[0], _mm512_cvtepi16_epi32(_mm512_castsi512_si256(sums)));
                totals[1] = _mm512_add_epi32(totals[1], _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(sums)));
            }
        }
        totals.iter().rev().fold(0, |word, &sums| word << 16 | u64::from(_mm512_movepi32_mask(sums)))
    }
}
