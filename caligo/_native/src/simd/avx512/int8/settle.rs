//! The descent of `simd::settle` with every node in one register.

use super::{f256, g256};
use crate::decoder::schedule::NodeKind;
use crate::simd::settle::{Part, Shape, settle_short};
use crate::transform::transform_word;
use std::arch::x86_64::*;

proven! {
    fn f128(a: __m128i, b: __m128i) -> __m128i {
        let (x, y) = (_mm_abs_epi8(a), _mm_abs_epi8(b));
        let low = _mm_min_epu8(x, y);
        let difference = _mm_sub_epi8(_mm_max_epu8(x, y), low);
        let near = _mm_cmple_epu8_mask(difference, _mm_set1_epi8(2));
        let magnitude = _mm_mask_subs_epu8(low, near, low, _mm_set1_epi8(1));
        let negative = _mm_movepi8_mask(_mm_xor_si128(a, b));
        _mm_mask_sub_epi8(magnitude, negative, _mm_setzero_si128(), magnitude)
    }

    fn g128(a: __m128i, b: __m128i, bits: u16) -> __m128i {
        let sum = _mm_mask_subs_epi8(_mm_adds_epi8(b, a), bits, b, a);
        _mm_max_epi8(sum, _mm_set1_epi8(-127))
    }

    /// In every byte the smallest of 16.
    fn smallest128(values: __m128i) -> __m128i {
        let pairs = _mm_min_epu8(values, _mm_srli_epi16::<8>(values));
        let least = _mm_minpos_epu16(_mm_and_si128(pairs, _mm_set1_epi16(0xff)));
        _mm_broadcastb_epi8(least)
    }

    /// Bits of a special node in the bytes of `mask`; the others are zero.
    fn special128(kind: NodeKind, node: __m128i, hard: u16, mask: u16) -> u16 {
        match kind {
            NodeKind::Rate0 => 0,
            NodeKind::Rate1 => hard,
            NodeKind::Repetition => {
                // Bytes offset by 128, and so is every zero outside the node.
                let sums = _mm_sad_epu8(_mm_xor_si128(node, _mm_set1_epi8(-128)), _mm_setzero_si128());
                let sum = _mm_cvtsi128_si64(sums) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums));
                if sum < 16 * 128 { mask } else { 0 }
            }
            NodeKind::ParityCheck if hard.count_ones() & 1 == 0 => hard,
            NodeKind::ParityCheck => {
                let magnitude = _mm_mask_abs_epi8(_mm_set1_epi8(-1), mask, node);
                let at = _mm_cmpeq_epi8_mask(magnitude, smallest128(magnitude));
                hard ^ (at & at.wrapping_neg())
            }
        }
    }

    fn special256(kind: NodeKind, node: __m256i, hard: u32) -> u32 {
        match kind {
            NodeKind::Rate0 => 0,
            NodeKind::Rate1 => hard,
            NodeKind::Repetition => {
                let sums = _mm256_sad_epu8(_mm256_xor_si256(node, _mm256_set1_epi8(-128)), _mm256_setzero_si256());
                let sums = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
                let sum = _mm_cvtsi128_si64(sums) + _mm_cvtsi128_si64(_mm_unpackhi_epi64(sums, sums));
                if sum < 32 * 128 { u32::MAX } else { 0 }
            }
            NodeKind::ParityCheck if hard.count_ones() & 1 == 0 => hard,
            NodeKind::ParityCheck => {
                let magnitude = _mm256_abs_epi8(node);
                let half = _mm_min_epu8(_mm256_castsi256_si128(magnitude), _mm256_extracti128_si256::<1>(magnitude));
                let at = _mm256_cmpeq_epi8_mask(magnitude, _mm256_broadcastb_epi8(smallest128(half)));
                hard ^ (at & at.wrapping_neg())
            }
        }
    }

    fn special512(kind: NodeKind, node: __m512i, hard: u64) -> u64 {
        match kind {
            NodeKind::Rate0 => 0,
            NodeKind::Rate1 => hard,
            NodeKind::Repetition => {
                let sums = _mm512_sad_epu8(_mm512_xor_si512(node, _mm512_set1_epi8(-128)), _mm512_setzero_si512());
                if _mm512_reduce_add_epi64(sums) < 64 * 128 { u64::MAX } else { 0 }
            }
            NodeKind::ParityCheck if hard.count_ones() & 1 == 0 => hard,
            NodeKind::ParityCheck => {
                let magnitude = _mm512_abs_epi8(node);
                let half = _mm256_min_epu8(_mm512_castsi512_si256(magnitude), _mm512_extracti64x4_epi64::<1>(magnitude));
                let quarter = _mm_min_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half));
                let at = _mm512_cmpeq_epi8_mask(magnitude, _mm512_broadcastb_epi8(smallest128(quarter)));
                hard ^ (at & at.wrapping_neg())
            }
        }
    }

    pub fn settle64(node: __m512i, info: u64, shape: Shape) -> u64 {
        let hard = _mm512_movepi8_mask(node);
        let depth = match shape.part(1) {
            Part::Special(kind) => return special512(kind, node, hard),
            Part::Split(depth) => depth,
        };
        let weak = _mm512_cmple_epu8_mask(_mm512_abs_epi8(node), _mm512_set1_epi8(depth as i8));
        if weak == 0 && transform_word(hard, 6) & !info == 0 {
            return hard;
        }
        let (low, high) = (_mm512_castsi512_si256(node), _mm512_extracti64x4_epi64::<1>(node));
        let mut halves = [0u32; 2];
        for side in 0..2 {
            let child = if side == 0 { f256(low, high) } else { g256(low, high, halves[0]) };
            halves[side] = settle32(child, (info >> (32 * side)) as u32, shape, 2 + side as u32);
        }
        u64::from(halves[0] ^ halves[1]) | u64::from(halves[1]) << 32
    }

    fn settle32(node: __m256i, info: u32, shape: Shape, place: u32) -> u32 {
        let hard = _mm256_movepi8_mask(node) as u32;
        let depth = match shape.part(place) {
            Part::Special(kind) => return special256(kind, node, hard),
            Part::Split(depth) => depth,
        };
        let weak = _mm256_cmple_epu8_mask(_mm256_abs_epi8(node), _mm256_set1_epi8(depth as i8));
        if weak == 0 && transform_word(u64::from(hard), 5) as u32 & !info == 0 {
            return hard;
        }
        let (low, high) = (_mm256_castsi256_si128(node), _mm256_extracti128_si256::<1>(node));
        let mut halves = [0u16; 2];
        for side in 0..2 {
            let child = if side == 0 { f128(low, high) } else { g128(low, high, halves[0]) };
            halves[side] = settle16(child, (info >> (16 * side)) as u16, shape, 2 * place + side as u32);
        }
        u32::from(halves[0] ^ halves[1]) | u32::from(halves[1]) << 16
    }

    fn settle16(node: __m128i, info: u16, shape: Shape, place: u32) -> u16 {
        let hard = _mm_movepi8_mask(node);
        let depth = match shape.part(place) {
            Part::Special(kind) => return special128(kind, node, hard, u16::MAX),
            Part::Split(depth) => depth,
        };
        let weak = _mm_cmple_epu8_mask(_mm_abs_epi8(node), _mm_set1_epi8(depth as i8));
        if weak == 0 && transform_word(u64::from(hard), 4) as u16 & !info == 0 {
            return hard;
        }
        let high = _mm_srli_si128::<8>(node);
        let mut halves = [0u16; 2];
        for side in 0..2 {
            let child = if side == 0 { f128(node, high) } else { g128(node, high, halves[0]) };
            let info = (info >> (8 * side)) & 0xff;
            halves[side] = settle_eight(_mm_move_epi64(child), info, shape, 2 * place + side as u32);
        }
        (halves[0] ^ halves[1]) | halves[1] << 8
    }

    /// The node is in the lower eight bytes, the others are zero.
    fn settle_eight(node: __m128i, info: u16, shape: Shape, place: u32) -> u16 {
        let hard = _mm_movepi8_mask(node);
        let depth = match shape.part(place) {
            Part::Special(kind) => return special128(kind, node, hard, 0xff),
            Part::Split(depth) => depth,
        };
        let weak = _mm_mask_cmple_epu8_mask(0xff, _mm_abs_epi8(node), _mm_set1_epi8(depth as i8));
        if weak == 0 && transform_word(u64::from(hard), 3) as u16 & !info == 0 {
            return hard;
        }
        let bytes = _mm_cvtsi128_si64(node).to_le_bytes().map(|byte| byte as i8);
        settle_short(&bytes, u64::from(info)) as u16
    }
}
