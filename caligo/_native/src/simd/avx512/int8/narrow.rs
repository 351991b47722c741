//! Lane kernels of short lists: eight paths a position, so a vector holds eight positions, or four positions of keys.
//!
//! Nodes of less than a vector are read into its beginning.

use super::super::super::lanes::{LANES, LaneBits, LaneSigns, Lanes, Selection};
use super::{f512, g512, load_bits, load_selection, load_u16, load64, store_u16, store64, stored};
use std::arch::x86_64::*;

/// A vector of bytes by their number.
macro_rules! vector {
    ($i:ident => $value:expr) => {{
        let mut out = [0i8; 64];
        let mut $i = 0;
        while $i < 64 {
            out[$i] = ($value) as u8 as i8;
            $i += 1;
        }
        out
    }};
}

/// From positions of lanes to lanes of positions, and back.
const TRANSPOSED: [i8; 64] = vector!(i => 8 * (i % 8) + i / 8);
/// The bit of the position.
const POSITION: [i8; 64] = vector!(i => 1 << (i / 8));
/// The first byte of the lane's word.
const WORD: [i8; 64] = vector!(i => 4 * (i % 8));
/// Where the position's lanes begin in their quarter of the vector.
const BEGIN: [i8; 64] = vector!(i => 8 * (i / 8 % 2));

proven! {
    fn load(node: &[i8]) -> __m512i {
        match node.len() {
            8 => {
                // SAFETY: the slice has 8 readable bytes.
                let value = unsafe { _mm_loadl_epi64(node.as_ptr().cast()) };
                _mm512_zextsi128_si512(value)
            }
            16 => {
                // SAFETY: the slice has 16 readable bytes.
                let value = unsafe { _mm_loadu_si128(node.as_ptr().cast()) };
                _mm512_zextsi128_si512(value)
            }
            _ => node.first_chunk::<32>().map_or(_mm512_setzero_si512(), |node| _mm512_zextsi256_si512(super::load32(node))),
        }
    }

    fn store(out: &mut [i8], value: __m512i) {
        match out.len() {
            8 => {
                // SAFETY: the slice has 8 writable bytes.
                unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), _mm512_castsi512_si128(value)) }
            }
            16 => {
                // SAFETY: the slice has 16 writable bytes.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_castsi512_si128(value)) }
            }
            _ => {
                if let Some(out) = out.first_chunk_mut::<32>() {
                    super::store32(out, _mm512_castsi512_si256(value));
                }
            }
        }
    }

    pub fn transpose(rows: &[[i8; LANES]; LANES], out: &mut [i8]) {
        let pair = |path: usize| {
            let (low, high) = (super::load32(&rows[path]), super::load32(&rows[path + 4]));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
        };
        let rows = [pair(0), pair(1), pair(2), pair(3)];
        let bytes = [
            (_mm512_unpacklo_epi8(rows[0], rows[1]), _mm512_unpacklo_epi8(rows[2], rows[3])),
            (_mm512_unpackhi_epi8(rows[0], rows[1]), _mm512_unpackhi_epi8(rows[2], rows[3])),
        ];
        // Four paths of a position lie together, the first four in the lower half, and positions from 16 up in odd quarters.
        let first = _mm512_set_epi32(27, 19, 26, 18, 25, 17, 24, 16, 11, 3, 10, 2, 9, 1, 8, 0);
        let second = _mm512_add_epi32(first, _mm512_set1_epi32(4));
        let (chunks, _) = out.as_chunks_mut::<64>();
        for (half, (low, high)) in bytes.into_iter().enumerate() {
            let fours = (_mm512_unpacklo_epi16(low, high), _mm512_unpackhi_epi16(low, high));
            for (index, chunk) in [(first, half), (second, half + 2)] {
                if let Some(out) = chunks.get_mut(chunk) {
                    store64(out, _mm512_permutex2var_epi32(fours.0, index, fours.1));
                }
            }
        }
    }

    pub fn left(node: &[i8], out: &mut [i8]) {
        let (low, high) = node.split_at(out.len());
        if out.len() < 64 {
            return store(out, f512(load(low), load(high)));
        }
        let chunks = out.as_chunks_mut::<64>().0.iter_mut().zip(low.as_chunks::<64>().0).zip(high.as_chunks::<64>().0);
        for ((out, low), high) in chunks {
            store64(out, f512(load64(low), load64(high)));
        }
    }

    pub fn right(node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
        let (low, high) = node.split_at(out.len());
        let source = _mm512_broadcastq_epi64(_mm256_castsi256_si128(load_selection(source)));
        let source = _mm512_or_si512(source, load64(&BEGIN));
        let (bits, word, position) = (load_bits(bits).0, load64(&WORD), load64(&POSITION));
        let mask = |chunk: usize| {
            let byte = _mm512_or_si512(word, _mm512_set1_epi8(chunk as i8));
            _mm512_test_epi8_mask(_mm512_permutexvar_epi8(byte, bits), position)
        };
        if out.len() < 64 {
            let (low, high) = (_mm512_shuffle_epi8(load(low), source), _mm512_shuffle_epi8(load(high), source));
            return store(out, g512(low, high, mask(0)));
        }
        let chunks = out.as_chunks_mut::<64>().0.iter_mut().zip(low.as_chunks::<64>().0).zip(high.as_chunks::<64>().0);
        for (chunk, ((out, low), high)) in chunks.enumerate() {
            let (low, high) = (_mm512_shuffle_epi8(load64(low), source), _mm512_shuffle_epi8(load64(high), source));
            store64(out, g512(low, high, mask(chunk)));
        }
    }

    fn store_word(out: &mut LaneBits, value: __m256i) {
        // SAFETY: the array is 128 writable bytes.
        unsafe { _mm256_storeu_si256(out.0.as_mut_ptr().cast(), value) }
    }

    /// The bits of lanes from those of a vector of eight positions: byte i has those of lane i.
    fn words(bytes: u64) -> __m256i {
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64))
    }

    pub fn signs(node: &[i8]) -> LaneSigns<u16> {
        let transposed = load64(&TRANSPOSED);
        let by_lane = |value: __m512i| _mm512_movepi8_mask(_mm512_permutexvar_epi8(transposed, value));
        let (bits, mut negative, least);
        if node.len() < 64 {
            let value = load(node);
            negative = _mm512_movepi8_mask(value);
            bits = words(by_lane(value));
            let here = (1u64 << node.len()) - 1;
            least = _mm512_mask_abs_epi8(_mm512_set1_epi8(-1), here, value);
        } else {
            let mut all = _mm256_setzero_si256();
            let mut smallest = _mm512_set1_epi8(-1);
            negative = 0;
            for (chunk, node) in node.as_chunks::<64>().0.iter().enumerate() {
                let value = load64(node);
                negative ^= _mm512_movepi8_mask(value);
                all = _mm256_or_si256(all, _mm256_sll_epi32(words(by_lane(value)), _mm_cvtsi32_si128(8 * chunk as i32)));
                smallest = _mm512_min_epu8(smallest, _mm512_abs_epi8(value));
            }
            (bits, least) = (all, smallest);
        }
        negative ^= negative >> 32;
        negative ^= negative >> 16;
        negative ^= negative >> 8;
        let half = _mm256_min_epu8(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64::<1>(least));
        let quarter = _mm_min_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        let eighth = _mm_min_epu8(quarter, _mm_srli_si128::<8>(quarter));
        let mut out = LaneSigns { bits: LaneBits([0; LANES]), smallest: Lanes([0; LANES]), odd: negative as u32 & 0xff };
        store_word(&mut out.bits, bits);
        store_u16(&mut out.smallest.0, _mm512_zextsi128_si512(_mm_cvtepu8_epi16(eighth)));
        out
    }

    pub fn sums(node: &[i8]) -> ([u16; LANES], [u16; LANES]) {
        let (zero, transposed) = (_mm512_setzero_si512(), load64(&TRANSPOSED));
        let parts = |value: __m512i| {
            let value = _mm512_permutexvar_epi8(transposed, value);
            let positive = _mm512_max_epi8(value, zero);
            let negative = _mm512_max_epi8(_mm512_sub_epi8(zero, value), zero);
            (_mm512_sad_epu8(negative, zero), _mm512_sad_epu8(positive, zero))
        };
        let (mut zeros, mut ones);
        if node.len() < 64 {
            (zeros, ones) = parts(load(node));
        } else {
            (zeros, ones) = (zero, zero);
            for node in node.as_chunks::<64>().0 {
                let (negative, positive) = parts(load64(node));
                zeros = _mm512_add_epi64(zeros, negative);
                ones = _mm512_add_epi64(ones, positive);
            }
        }
        let mut out = ([0; LANES], [0; LANES]);
        store_u16(&mut out.0, _mm512_zextsi128_si512(_mm512_cvtepi64_epi16(zeros)));
        store_u16(&mut out.1, _mm512_zextsi128_si512(_mm512_cvtepi64_epi16(ones)));
        out
    }

    /// The keys of four positions a row; after those of a smaller node comes nothing that is ever next.
    pub fn keys(node: &[i8], keys: &mut [Lanes<u16>]) {
        let one = _mm512_set1_epi16(1);
        let eight = _mm512_setzero_si512();
        let eight = _mm512_mask_set1_epi16(eight, 0xff00_ff00, 1);
        let first = _mm512_mask_add_epi16(eight, 0xffff_0000, eight, _mm512_add_epi16(one, one));
        let key = |bytes: __m256i, row: usize| {
            let magnitude = _mm512_cvtepu8_epi16(_mm256_abs_epi8(bytes));
            let position = _mm512_add_epi16(first, _mm512_set1_epi16(4 * row as i16));
            _mm512_or_si512(_mm512_slli_epi16::<5>(magnitude), position)
        };
        if node.len() < 32 {
            let here = (1u32 << node.len()) - 1;
            let value = key(_mm512_castsi512_si256(load(node)), 0);
            if let Some(keys) = keys.first_mut() {
                store_u16(&mut keys.0, _mm512_mask_mov_epi16(_mm512_set1_epi16(-1), here, value));
            }
            return;
        }
        for (row, (keys, node)) in keys.iter_mut().zip(node.as_chunks::<32>().0).enumerate() {
            store_u16(&mut keys.0, key(super::load32(node), row));
        }
    }

    pub fn next_keys(keys: &[Lanes<u16>], last: &Lanes<u16>) -> Lanes<u16> {
        let last = _mm512_broadcast_i32x4(_mm512_castsi512_si128(load_u16(&last.0)));
        let base = _mm512_add_epi16(last, _mm512_set1_epi16(1));
        let mut least = _mm512_set1_epi16(-1);
        for row in keys {
            least = _mm512_min_epu16(least, _mm512_sub_epi16(load_u16(&row.0), base));
        }
        let half = _mm256_min_epu16(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64::<1>(least));
        let quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        stored(_mm512_zextsi128_si512(_mm_add_epi16(quarter, _mm512_castsi512_si128(base))))
    }

    pub fn select_bits(row: &LaneBits, source: &Selection) -> LaneBits {
        let source = _mm256_cvtepu8_epi32(_mm256_castsi256_si128(load_selection(source)));
        let row = _mm512_castsi512_si256(load_bits(row).0);
        let mut out = LaneBits([0; LANES]);
        store_word(&mut out, _mm256_permutevar8x32_epi32(row, source));
        out
    }
}
