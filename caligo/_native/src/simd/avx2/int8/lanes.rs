//! Lane kernels: a row of 32 bytes is one vector, one of 32 metrics or keys two, one of 32 words four.
//!
//! What the vectoriser makes of the definitions in `simd` is left to it: sums, and all that only adds and compares.

use super::super::super::lanes::{LANES, LaneBits, LaneSigns, Lanes, NARROW, Selection, Survivors, lane_mask};
use super::{load, load_signed, permute};
use crate::llr::Metric;
use std::arch::x86_64::*;

/// Binary digits of the metrics within the threshold; a byte holds them.
const DIGITS: u32 = u16::THRESHOLD.ilog2() + 1;

/// Functions that may use what the token proves.
macro_rules! proven {
    ($($item:item)*) => {
        $(
            #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
            #[inline]
            $item
        )*
    };
}

proven! {
    fn store(out: &mut [i8; LANES], value: __m256i) {
        // SAFETY: the array is 32 writable bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) }
    }

    fn load_words(words: &[u32; 8]) -> __m256i {
        // SAFETY: the array is 32 readable bytes.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }

    fn store_words(out: &mut [u32; 8], value: __m256i) {
        // SAFETY: the array is 32 writable bytes.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), value) }
    }

    fn load_u16(values: &[u16; LANES]) -> [__m256i; 2] {
        let half = values.as_ptr();
        // SAFETY: the array is twice 32 readable bytes.
        unsafe { [_mm256_loadu_si256(half.cast()), _mm256_loadu_si256(half.add(16).cast())] }
    }

    fn stored(value: [__m256i; 2]) -> Lanes<u16> {
        let mut out = Lanes([0; LANES]);
        let half = out.0.as_mut_ptr();
        // SAFETY: the array is twice 32 writable bytes.
        unsafe {
            _mm256_storeu_si256(half.cast(), value[0]);
            _mm256_storeu_si256(half.add(16).cast(), value[1]);
        }
        out
    }

    fn selection(value: __m256i) -> Selection {
        let mut out = Selection::FIRST;
        // SAFETY: the array is 32 writable bytes.
        unsafe { _mm256_storeu_si256(out.0.as_mut_ptr().cast(), value) };
        out
    }

    /// The low bytes of words that are bytes.
    fn narrowed(words: [__m256i; 2]) -> __m256i {
        _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(words[0], words[1]))
    }

    fn widened(bytes: __m256i) -> [__m256i; 2] {
        [
            _mm256_cvtepu8_epi16(_mm256_castsi256_si128(bytes)),
            _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(bytes)),
        ]
    }

    /// The lanes of all ones.
    fn mask(words: [__m256i; 2]) -> u32 {
        let bytes = _mm256_packs_epi16(words[0], words[1]);
        _mm256_movemask_epi8(_mm256_permute4x64_epi64::<0b11_01_10_00>(bytes)) as u32
    }

    /// All ones in the lanes of `mask`.
    fn spread(mask: u32) -> __m256i {
        let byte = _mm256_set_epi64x(
            0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0
        );
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(mask as i32), byte);
        _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
    }

    fn smallest_u16(values: [__m256i; 2]) -> u16 {
        let half = _mm256_min_epu16(values[0], values[1]);
        let quarter = _mm_min_epu16(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
        _mm_extract_epi16::<0>(_mm_minpos_epu16(quarter)) as u16
    }

    /// Byte unpacking over levels; each interleaves row r with the row half of them further on, so that after as many
    /// levels as double a byte to a column the registers hold columns.
    pub fn transpose(rows: &[[i8; LANES]; LANES], live: usize, out: &mut [i8]) {
        let zero = _mm256_setzero_si256();
        let mut columns = [zero; LANES];
        for half in 0..2 {
            let mut a = [zero; 16];
            for (i, a) in a.iter_mut().enumerate() {
                let path = 16 * half + i;
                if path < live {
                    *a = load_signed(&rows[path]);
                }
            }
            for _ in 0..4 {
                let mut b = [zero; 16];
                for i in 0..8 {
                    b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 8]);
                    b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 8]);
                }
                a = b;
            }
            columns[16 * half..][..16].copy_from_slice(&a);
            if live <= 16 {
                break;
            }
        }
        for (i, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (low, high) = (columns[i % 16], columns[16 + i % 16]);
            let column = if i < 16 {
                _mm256_permute2x128_si256::<0x20>(low, high)
            } else {
                _mm256_permute2x128_si256::<0x31>(low, high)
            };
            store(out, column);
        }
    }

    pub fn transpose_narrow(rows: &[[i8; LANES]; LANES], out: &mut [i8]) {
        let mut a = [_mm256_setzero_si256(); NARROW];
        for (a, row) in a.iter_mut().zip(rows) {
            *a = load_signed(row);
        }
        for _ in 0..3 {
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm256_unpacklo_epi8(a[i], a[i + 4]);
                b[2 * i + 1] = _mm256_unpackhi_epi8(a[i], a[i + 4]);
            }
            a = b;
        }
        for (i, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let (low, high) = (a[2 * i % 8], a[2 * i % 8 + 1]);
            let four = if i < 4 {
                _mm256_permute2x128_si256::<0x20>(low, high)
            } else {
                _mm256_permute2x128_si256::<0x31>(low, high)
            };
            store(out, four);
        }
    }

    fn g(low: __m256i, high: __m256i, negative: __m256i) -> __m256i {
        let low = _mm256_sub_epi8(_mm256_xor_si256(low, negative), negative);
        _mm256_max_epi8(_mm256_adds_epi8(high, low), _mm256_set1_epi8(-127))
    }

    /// Byte `byte` of every lane's word.
    fn byte_of_words(bits: &LaneBits, byte: usize) -> __m256i {
        let shift = _mm_cvtsi32_si128(8 * byte as i32);
        let words = |eight: usize| {
            let words = load_words(&bits.0.as_chunks().0[eight]);
            _mm256_and_si256(_mm256_srl_epi32(words, shift), _mm256_set1_epi32(0xff))
        };
        let low = _mm256_packus_epi32(words(0), words(1));
        let high = _mm256_packus_epi32(words(2), words(3));
        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0))
    }

    pub fn right(node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
        let (low, high) = node.split_at(out.len());
        let (low, high) = (low.as_chunks::<LANES>().0, high.as_chunks::<LANES>().0);
        let source = load(&source.0);
        let moved = _mm256_movemask_epi8(_mm256_cmpeq_epi8(source, load(&Selection::IDENTITY.0))) != -1;
        let mut byte = _mm256_setzero_si256();
        for (i, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            if i % 8 == 0 {
                byte = byte_of_words(bits, i / 8);
            }
            let bit = _mm256_set1_epi8((1u8 << (i % 8)) as i8);
            let negative = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
            let (mut a, mut b) = (load_signed(&low[i]), load_signed(&high[i]));
            if moved {
                (a, b) = (permute(a, source), permute(b, source));
            }
            store(out, g(a, b, negative));
        }
    }

    /// Bits of four positions in eight lanes.
    fn bits_of_four(first: usize) -> __m256i {
        let bit = |position: usize| i64::from_le_bytes([1u8 << (first + position); 8]);
        _mm256_set_epi64x(bit(3), bit(2), bit(1), bit(0))
    }

    /// As [`right`], for nodes of four positions a vector.
    pub fn right_narrow(node: &[i8], source: &Selection, bits: &LaneBits, out: &mut [i8]) {
        let (low, high) = node.split_at(out.len());
        let (low, high) = (low.as_chunks::<LANES>().0, high.as_chunks::<LANES>().0);
        let source = _mm256_broadcastq_epi64(_mm256_castsi256_si128(load(&source.0)));
        let source = _mm256_or_si256(source, _mm256_set_epi64x(0x0808_0808_0808_0808, 0, 0x0808_0808_0808_0808, 0));
        let words = load_words(&bits.0.as_chunks().0[0]);
        for (i, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let shift = _mm_cvtsi32_si128(8 * (i as i32 / 2));
            let byte = _mm256_and_si256(_mm256_srl_epi32(words, shift), _mm256_set1_epi32(0xff));
            let byte = _mm256_packus_epi32(byte, byte);
            let byte = _mm256_packus_epi16(byte, byte);
            let byte = _mm256_permutevar8x32_epi32(byte, _mm256_set_epi32(4, 0, 4, 0, 4, 0, 4, 0));
            let bit = bits_of_four(i % 2 * 4);
            let negative = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
            let (a, b) = (load_signed(&low[i]), load_signed(&high[i]));
            store(out, g(_mm256_shuffle_epi8(a, source), _mm256_shuffle_epi8(b, source), negative));
        }
    }

    pub fn signs(node: &[i8]) -> LaneSigns<u16> {
        let zero = _mm256_setzero_si256();
        let (mut bytes, mut least, mut odd) = ([zero; 4], _mm256_set1_epi8(-1), 0);
        for (byte, rows) in bytes.iter_mut().zip(node.chunks(8 * LANES)) {
            for (i, row) in rows.as_chunks::<LANES>().0.iter().enumerate() {
                let value = load_signed(row);
                odd ^= _mm256_movemask_epi8(value) as u32;
                let negative = _mm256_cmpgt_epi8(zero, value);
                let bit = _mm256_set1_epi8((1u8 << i) as i8);
                *byte = _mm256_or_si256(*byte, _mm256_and_si256(negative, bit));
                least = _mm256_min_epu8(least, _mm256_abs_epi8(value));
            }
        }
        let low = (_mm256_unpacklo_epi8(bytes[0], bytes[1]), _mm256_unpacklo_epi8(bytes[2], bytes[3]));
        let high = (_mm256_unpackhi_epi8(bytes[0], bytes[1]), _mm256_unpackhi_epi8(bytes[2], bytes[3]));
        let fours = [
            (_mm256_unpacklo_epi16(low.0, low.1), _mm256_unpackhi_epi16(low.0, low.1)),
            (_mm256_unpacklo_epi16(high.0, high.1), _mm256_unpackhi_epi16(high.0, high.1)),
        ];
        let mut bits = LaneBits([0; LANES]);
        for (i, out) in bits.0.as_chunks_mut().0.iter_mut().enumerate() {
            let (a, b) = fours[i % 2];
            let eight = if i < 2 {
                _mm256_permute2x128_si256::<0x20>(a, b)
            } else {
                _mm256_permute2x128_si256::<0x31>(a, b)
            };
            store_words(out, eight);
        }
        LaneSigns { bits, smallest: stored(widened(least)), odd }
    }

    /// As [`signs`], for nodes of four positions a vector.
    pub fn signs_narrow(node: &[i8]) -> LaneSigns<u16> {
        let zero = _mm256_setzero_si256();
        let (mut words, mut least, mut odd) = (zero, _mm256_set1_epi8(-1), 0);
        for (byte, rows) in node.chunks(8 * NARROW).enumerate() {
            let mut all = zero;
            for (i, row) in rows.as_chunks::<LANES>().0.iter().enumerate() {
                let value = load_signed(row);
                odd ^= _mm256_movemask_epi8(value) as u32;
                all = _mm256_or_si256(all, _mm256_and_si256(_mm256_cmpgt_epi8(zero, value), bits_of_four(4 * i)));
                least = _mm256_min_epu8(least, _mm256_abs_epi8(value));
            }
            let half = _mm_or_si128(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            let bytes = _mm256_cvtepu8_epi32(_mm_or_si128(half, _mm_srli_si128::<8>(half)));
            words = _mm256_or_si256(words, _mm256_sll_epi32(bytes, _mm_cvtsi32_si128(8 * byte as i32)));
        }
        odd ^= odd >> 16;
        odd ^= odd >> 8;
        let half = _mm_min_epu8(_mm256_castsi256_si128(least), _mm256_extracti128_si256::<1>(least));
        let smallest = _mm_cvtepu8_epi16(_mm_min_epu8(half, _mm_srli_si128::<8>(half)));
        let mut bits = LaneBits([0; LANES]);
        store_words(&mut bits.0.as_chunks_mut().0[0], words);
        LaneSigns { bits, smallest: stored([_mm256_zextsi128_si256(smallest), zero]), odd: odd & 0xff }
    }

    pub fn select_keys(row: &Lanes<u16>, source: &Selection) -> Lanes<u16> {
        let (row, source) = (load_u16(&row.0), load(&source.0));
        let byte = _mm256_set1_epi16(0xff);
        let low = narrowed([_mm256_and_si256(row[0], byte), _mm256_and_si256(row[1], byte)]);
        let high = narrowed([_mm256_srli_epi16::<8>(row[0]), _mm256_srli_epi16::<8>(row[1])]);
        let (low, high) = (permute(low, source), permute(high, source));
        let (first, second) = (_mm256_unpacklo_epi8(low, high), _mm256_unpackhi_epi8(low, high));
        stored([
            _mm256_permute2x128_si256::<0x20>(first, second),
            _mm256_permute2x128_si256::<0x31>(first, second),
        ])
    }

    pub fn select_bits(row: &LaneBits, source: &Selection) -> LaneBits {
        let mut out = LaneBits([0; LANES]);
        let row: [__m256i; 4] = [0, 1, 2, 3].map(|eight| load_words(&row.0.as_chunks().0[eight]));
        for (out, source) in out.0.as_chunks_mut().0.iter_mut().zip(source.0.as_chunks::<8>().0) {
            let source = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*source)));
            let pick = |eight: usize| _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(row[eight], source));
            let odd = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(source));
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<27>(source));
            let low = _mm256_blendv_ps(pick(0), pick(1), odd);
            let high = _mm256_blendv_ps(pick(2), pick(3), odd);
            store_words(out, _mm256_castps_si256(_mm256_blendv_ps(low, high, upper)));
        }
        out
    }

    pub fn select_bits_narrow(row: &LaneBits, source: &Selection) -> LaneBits {
        let source = _mm256_cvtepu8_epi32(_mm256_castsi256_si128(load(&source.0)));
        let mut out = LaneBits([0; LANES]);
        let row = load_words(&row.0.as_chunks().0[0]);
        store_words(&mut out.0.as_chunks_mut().0[0], _mm256_permutevar8x32_epi32(row, source));
        out
    }

    pub fn select_selection(row: &Selection, source: &Selection) -> Selection {
        selection(permute(load(&row.0), load(&source.0)))
    }

    pub fn select_mask(mask: u32, source: &Selection) -> u32 {
        _mm256_movemask_epi8(permute(spread(mask), load(&source.0))) as u32
    }

    /// The lanes whose value is at most `limit`.
    fn at_most(values: [__m256i; 2], limit: u16) -> u32 {
        let (limit, zero) = (_mm256_set1_epi16(limit as i16), _mm256_setzero_si256());
        mask(values.map(|values| _mm256_cmpeq_epi16(_mm256_subs_epu16(values, limit), zero)))
    }

    pub fn below(metric: &Lanes<u16>, bound: u16) -> u32 {
        if bound == 0 { 0 } else { at_most(load_u16(&metric.0), bound - 1) }
    }

    pub fn cheaper(metric: &Lanes<u16>, zeros: &[u16; LANES], ones: &[u16; LANES]) -> (Lanes<u16>, Lanes<u16>, u32) {
        let (metric, zeros, ones) = (load_u16(&metric.0), load_u16(zeros), load_u16(ones));
        let sum = |cost: [__m256i; 2]| stored([0, 1].map(|i| _mm256_adds_epu16(metric[i], cost[i])));
        let stay = [0, 1].map(|i| _mm256_min_epu16(zeros[i], ones[i]));
        let flip = [0, 1].map(|i| _mm256_max_epu16(zeros[i], ones[i]));
        let zeros_cheaper = mask([0, 1].map(|i| _mm256_cmpeq_epi16(stay[i], zeros[i])));
        (sum(stay), sum(flip), !zeros_cheaper)
    }

    pub fn within_threshold(stay: &[u16; LANES], flip: Option<&[u16; LANES]>, live: usize, threshold: u16) -> (u16, u32, u32) {
        let dead = spread(!lane_mask(live));
        let dead = [
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(dead)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(dead)),
        ];
        let alive = |values: &[u16; LANES]| {
            let values = load_u16(values);
            [0, 1].map(|i| _mm256_or_si256(values[i], dead[i]))
        };
        let stay = alive(stay);
        let flip = flip.map_or([_mm256_set1_epi16(-1); 2], alive);
        let best = smallest_u16([0, 1].map(|i| _mm256_min_epu16(stay[i], flip[i])));
        let limit = best.saturating_add(threshold);
        (best, at_most(stay, limit) & lane_mask(live), at_most(flip, limit) & lane_mask(live))
    }

    /// As the AVX-512 form: digit by digit, on a byte a candidate.
    pub fn survivors(
        stay: &[u16; LANES],
        flip: &[u16; LANES],
        best: u16,
        masks: (u32, u32),
        list_size: usize,
    ) -> Survivors<u16> {
        let base = _mm256_set1_epi16(best as i16);
        let byte = _mm256_set1_epi16(0xff);
        let relative = |values: &[u16; LANES]| {
            narrowed(load_u16(values).map(|values| _mm256_min_epu16(_mm256_subs_epu16(values, base), byte)))
        };
        let (stay, flip) = (relative(stay), relative(flip));
        let candidates = u64::from(masks.0) | u64::from(masks.1) << 32;
        let count = list_size as u32;
        let mut kept = candidates;
        if candidates.count_ones() > count {
            let (mut room, mut equal) = (count, candidates);
            kept = 0;
            for digit in (0..DIGITS).rev() {
                let shift = _mm_cvtsi32_si128(7 - digit as i32);
                let ones = |bytes: __m256i| _mm256_movemask_epi8(_mm256_sll_epi16(bytes, shift)) as u32;
                let one = u64::from(ones(stay)) | u64::from(ones(flip)) << 32;
                let zeros = equal & !one;
                let (smaller, found) = (zeros.count_ones(), kept | zeros);
                let enough = smaller >= room;
                equal = if enough { zeros } else { equal & one };
                kept = if enough { kept } else { found };
                room = if enough { room } else { room - smaller };
            }
            kept |= _pdep_u64((1u64 << room) - 1, equal);
        }
        let (stayed, live) = ((kept as u32).count_ones(), kept.count_ones());
        // The numbers of the kept, eight candidates at a time; what is written behind them is overwritten or never read.
        let mut order = [0u8; 2 * LANES + 8];
        let mut end = 0;
        for eight in 0..8 {
            let here = kept >> (8 * eight) & 0xff;
            let bytes = _pdep_u64(here, 0x0101_0101_0101_0101) * 0xff;
            let numbers = 0x0706_0504_0302_0100 + 0x0808_0808_0808_0808 * eight;
            if let Some(out) = order[end..].first_chunk_mut() {
                *out = _pext_u64(numbers, bytes).to_le_bytes();
            }
            end += here.count_ones() as usize;
        }
        let order = order.first_chunk().map_or(base, |order| load(order));
        let alive = spread(lane_mask(live as usize));
        let source = _mm256_and_si256(_mm256_and_si256(order, _mm256_set1_epi8(31)), alive);
        // Bit 5 of a number says that it flips.
        let flips = _mm256_slli_epi16::<2>(order);
        let metric = _mm256_blendv_epi8(permute(stay, source), permute(flip, source), flips);
        let worst = smallest_u16(widened(_mm256_xor_si256(_mm256_and_si256(metric, alive), _mm256_set1_epi8(-1))));
        let dead = _mm256_xor_si256(alive, _mm256_set1_epi8(-1));
        let dead = [
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(dead)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(dead)),
        ];
        let metric = widened(metric);
        Survivors {
            source: selection(source),
            metric: stored([0, 1].map(|i| _mm256_or_si256(metric[i], dead[i]))),
            stayed: stayed as usize,
            live: live as usize,
            worst: 0xff - worst,
        }
    }
}
