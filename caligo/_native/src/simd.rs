//! Engines: the kernels of the decoders, compiled for what this CPU has.
//!
//! An engine is a token. A value of [`Avx2`] or [`Avx512`] can only be had from `new()`, which asks the CPU, so holding
//! one proves the feature and everything behind it is safe to call. [`EngineName`] is the choice at the boundary, made once
//! per decoder; [`KernelLlr::dispatch`] is the one place that acts on it.
//!
//! The kernels have one definition each, the default methods of [`Kernels`], written so that a compiler vectorises them.
//! A decoder is a [`Task`]: running it compiles the whole of it, kernels included, for the engine's features. An engine
//! overrides a kernel only where it is measurably faster; results are the same to the bit (integers, and floats in a
//! stated order), which the tests hold against `decoder::naive`.

/// The dispatch of a representation: the same few lines for each, since engines are types.
macro_rules! dispatch {
    () => {
        #[inline]
        fn dispatch<K: $crate::simd::Task<Self>>(engine: $crate::simd::EngineName, task: K) -> K::Output {
            use $crate::simd::{Avx2, Avx512, EngineName, Portable};
            match engine {
                EngineName::Avx512 => {
                    if let Some(engine) = Avx512::new() {
                        return engine.run(task);
                    }
                }
                EngineName::Avx2 => {
                    if let Some(engine) = Avx2::new() {
                        return engine.run(task);
                    }
                }
                EngineName::Portable => {}
            }
            Portable.run(task)
        }

        fn decode_single(engine: $crate::simd::EngineName, task: $crate::decoder::single::SingleTask<'_, Self>) {
            Self::dispatch(engine, task);
        }

        fn decode_frames(engine: $crate::simd::EngineName, task: $crate::decoder::frames::FramesTask<'_, Self>) -> u64 {
            Self::dispatch(engine, task)
        }

        fn decode_list(engine: $crate::simd::EngineName, task: $crate::decoder::list::ListTask<'_, Self>) {
            Self::dispatch(engine, task);
        }

        fn descend(engine: $crate::simd::EngineName, task: $crate::decoder::segments::Descend<'_, Self>) {
            Self::dispatch(engine, task);
        }
    };
}

/// Applies a kernel to two halves of a node and its output by arrays of 64 values, or to shorter power-of-two nodes by one
/// array of their length: loops of a known length are vectorised whatever they are inlined into.
macro_rules! by_chunks {
    ($low:expr, $high:expr, $out:expr, |$a:pat_param, $b:pat_param, $o:pat_param, $at:pat_param| $body:expr) => {
        match $out.len() {
            1 => by_chunks!(@arrays 1, $low, $high, $out, |$a, $b, $o, $at| $body),
            2 => by_chunks!(@arrays 2, $low, $high, $out, |$a, $b, $o, $at| $body),
            4 => by_chunks!(@arrays 4, $low, $high, $out, |$a, $b, $o, $at| $body),
            8 => by_chunks!(@arrays 8, $low, $high, $out, |$a, $b, $o, $at| $body),
            16 => by_chunks!(@arrays 16, $low, $high, $out, |$a, $b, $o, $at| $body),
            32 => by_chunks!(@arrays 32, $low, $high, $out, |$a, $b, $o, $at| $body),
            _ => by_chunks!(@arrays 64, $low, $high, $out, |$a, $b, $o, $at| $body),
        }
    };
    (@arrays $length:literal, $low:expr, $high:expr, $out:expr, |$a:pat_param, $b:pat_param, $o:pat_param, $at:pat_param| $body:expr) => {{
        let (low, high) = ($low.as_chunks::<$length>().0, $high.as_chunks::<$length>().0);
        for (at, (($o, $a), $b)) in $out.as_chunks_mut::<$length>().0.iter_mut().zip(low).zip(high).enumerate() {
            let $at = at;
            $body
        }
    }};
}

mod avx2;
mod avx512;
pub mod frames;
#[cfg(target_arch = "x86_64")]
mod frames512;
pub mod lanes;
mod portable;
pub mod settle;

pub use avx2::Avx2;
pub use avx512::Avx512;
pub use portable::Portable;

use crate::decoder::frames::FramesTask;
use crate::decoder::list::ListTask;
use crate::decoder::segments::Descend;
use crate::decoder::single::SingleTask;
use crate::error::{Error, Result};
use crate::llr::{Llr, Metric, NodeKey, Total};
use frames::{Planes, Row};
use lanes::{LANES, LaneBits, LaneSigns, Lanes, Selection, Survivors};
use settle::Shape;

/// Work over one LLR representation, to be compiled for an engine.
pub trait Task<T: KernelLlr> {
    /// What the work returns.
    type Output;
    /// The work; implementations are `#[inline(always)]`.
    fn run<E: Kernels<T>>(self, engine: E) -> Self::Output;
}

/// The kernels over one LLR representation. Slices of nodes have power-of-two lengths; `bits` are packed words, or the low
/// bits of one word for nodes shorter than 64.
pub trait Kernels<T: KernelLlr>: Copy {
    /// `out[i] = f(node[i], node[i + h])` with `h = out.len()`.
    #[inline(always)]
    fn left(self, node: &[T], out: &mut [T]) {
        let (low, high) = node.split_at(out.len());
        by_chunks!(low, high, out, |low, high, out, _at| {
            for i in 0..out.len() {
                out[i] = low[i].f(high[i]);
            }
        });
    }

    /// `out[i] = g(node[i], node[i + h], bits[i])`.
    #[inline(always)]
    fn right(self, node: &[T], bits: &[u64], out: &mut [T]) {
        let (low, high) = node.split_at(out.len());
        by_chunks!(low, high, out, |low, high, out, at| T::right_chunk(low, high, bits[at], out));
    }

    /// The f-kernel on a block.
    #[inline(always)]
    fn left_block(self, low: &[T; 64], high: &[T; 64], out: &mut [T; 64]) {
        for i in 0..64 {
            out[i] = low[i].f(high[i]);
        }
    }

    /// The g-kernel on a block.
    #[inline(always)]
    fn right_block(self, low: &[T; 64], high: &[T; 64], word: u64, out: &mut [T; 64]) {
        T::right_chunk(low, high, word, out);
    }

    /// [`Kernels::smallest`] of a node that comes in blocks.
    #[inline(always)]
    fn smallest_blocks<'a>(self, blocks: impl Iterator<Item = &'a [T; 64]>) -> T::Metric {
        let mut smallest = T::Metric::DEAD;
        for block in blocks {
            let least = self.smallest(block);
            smallest = if least < smallest { least } else { smallest };
        }
        smallest
    }

    /// [`Kernels::sums`] of a node that comes in blocks.
    #[inline(always)]
    fn sums_blocks<'a>(self, blocks: impl Iterator<Item = &'a [T; 64]>) -> (T::Total, T::Total) {
        let mut sums = PartialSums::default();
        for block in blocks {
            sums.add(block);
        }
        sums.fold()
    }

    /// Whether no LLR of a node of at least 64 can become 0 in `depth` f-kernels: see [`Llr::outlasts`].
    #[inline(always)]
    fn outlast(self, node: &[T], depth: u8) -> bool {
        node.as_chunks::<64>().0.iter().all(|chunk| T::outlasts(self.smallest(chunk), depth))
    }

    /// Bits of a subtree of 64 positions under successive cancellation: see [`settle`].
    #[inline(always)]
    fn settle(self, node: &[T; 64], info: u64, shape: Shape) -> u64 {
        settle::settle64(self, node, info, shape, 1)
    }

    /// Hard decisions.
    #[inline(always)]
    fn signs(self, node: &[T], bits: &mut [u64]) {
        for (word, chunk) in bits.iter_mut().zip(node.chunks(64)) {
            *word = T::signs_word(chunk);
        }
    }

    /// Smallest magnitude.
    #[inline(always)]
    fn smallest(self, node: &[T]) -> T::Metric {
        T::smallest(node)
    }

    /// Cost of deciding all zeros, and all ones.
    #[inline(always)]
    fn sums(self, node: &[T]) -> (T::Total, T::Total) {
        T::sums(node)
    }

    /// LLRs of a hard-decision channel: `bits` give the signs of `magnitude`.
    #[inline(always)]
    fn expand(self, bits: &[u64], magnitude: T, out: &mut [T]) {
        for (out, &word) in out.chunks_mut(64).zip(bits) {
            for (index, out) in out.iter_mut().enumerate() {
                *out = magnitude.negate_if(word >> index & 1 == 1);
            }
        }
    }

    /// A block of LLRs of one magnitude: 0 where `nonzero` is clear, negative where `negative` is set.
    #[inline(always)]
    fn ternary_block(self, nonzero: u64, negative: u64, magnitude: T, out: &mut [T; 64]) {
        T::ternary_chunk(nonzero, negative, magnitude, out);
    }

    /// Hard decisions of `g(node[i], node[i + h], bits[i])` for nodes of blocks side by side.
    #[inline(always)]
    fn right_signs_frames(self, node: &[Row<T>], bits: &[u64], out: &mut [u64]) {
        let (low, high) = node.split_at(out.len());
        for (((out, low), high), &word) in out.iter_mut().zip(low).zip(high).zip(bits) {
            let mut row = [T::default(); frames::FRAMES];
            self.right_block(low, high, word, &mut row);
            self.signs(&row, std::slice::from_mut(out));
        }
    }

    /// The values that planes stand for.
    #[inline(always)]
    fn expand_frames(self, planes: Planes<'_>, unit: T, double: T, out: &mut [Row<T>]) {
        for (((row, &one), &two), &negative) in out.iter_mut().zip(planes.one).zip(planes.two).zip(planes.negative) {
            T::expand_row(one, two, negative, unit, double, row);
        }
    }

    /// Flips, in every block of `odd`, the bit of the position with the smallest magnitude, the first of equals.
    #[inline(always)]
    fn repair_frames(self, node: &[Row<T>], bits: &mut [u64], odd: u64) {
        frames::repair(self, node, bits, odd);
    }

    /// The blocks in which ones are cheaper than zeros.
    #[inline(always)]
    fn majority_frames(self, node: &[Row<T>]) -> u64 {
        T::majority(self, node)
    }

    /// Rows of paths to rows of positions: `out[i * W + p] = rows[p][i]` for live paths.
    #[inline(always)]
    fn transpose<const W: usize>(self, rows: &[[T; LANES]; LANES], live: usize, out: &mut [T]) {
        for (path, row) in rows.iter().enumerate().take(live) {
            for (out, &value) in out.as_chunks_mut::<W>().0.iter_mut().zip(row) {
                out[path] = value;
            }
        }
    }

    /// The f-kernel on a block of every path, from rows to lanes: path p reads block `slots[p]`. `rows` is scratch.
    #[inline(always)]
    fn left_to_lanes<const W: usize>(
        self,
        blocks: &[[T; 64]],
        slots: &Selection,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
        out: &mut [T],
    ) {
        for (row, &slot) in rows.iter_mut().zip(&slots.0[..live]) {
            self.left(&blocks[usize::from(slot)], row);
        }
        self.transpose::<W>(rows, live, out);
    }

    /// The g-kernel, likewise; bit i of `bits[p]` belongs to position i.
    #[inline(always)]
    fn right_to_lanes<const W: usize>(
        self,
        blocks: &[[T; 64]],
        slots: &Selection,
        bits: &LaneBits,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
        out: &mut [T],
    ) {
        for ((row, &slot), &bits) in rows.iter_mut().zip(&slots.0[..live]).zip(&bits.0) {
            self.right(&blocks[usize::from(slot)], &[u64::from(bits)], row);
        }
        self.transpose::<W>(rows, live, out);
    }

    /// The lanes whose slot is not that of lane `like`.
    #[inline(always)]
    fn unlike(self, slots: &Selection, like: usize) -> u32 {
        let slot = slots.0[like];
        slots.0.iter().enumerate().fold(0, |mask, (lane, &other)| mask | u32::from(other != slot) << lane)
    }

    /// Slots of their own for the lanes of a mask, slot 0 for the others.
    #[inline(always)]
    fn own_slots(self, own: u32) -> Selection {
        Selection(std::array::from_fn(|lane| if own >> lane & 1 == 1 { lane as u8 } else { 0 }))
    }

    /// Hard decisions of a block, and its smallest magnitude.
    #[inline(always)]
    fn sign_block(self, block: &[T; 64]) -> (u64, T::Metric) {
        let mut word = [0];
        self.signs(block, &mut word);
        (word[0], self.smallest(block))
    }

    /// `out[p] = left[rows[p]] ^ right[p]` for the first `live` lanes; those of them whose word is not that of lane 0.
    #[inline(always)]
    fn join_words(
        self,
        left: &[u64; LANES],
        rows: &Selection,
        right: &[u64; LANES],
        live: usize,
        out: &mut [u64; LANES],
    ) -> u32 {
        for lane in 0..live {
            out[lane] = left[usize::from(rows.0[lane] & 31)] ^ right[lane];
        }
        self.unlike_words(out, live)
    }

    /// Those of the first `live` lanes whose word is not that of lane 0.
    #[inline(always)]
    fn unlike_words(self, words: &[u64; LANES], live: usize) -> u32 {
        let mask = words.iter().enumerate().fold(0, |mask, (lane, &word)| mask | u32::from(word != words[0]) << lane);
        mask & lanes::lane_mask(live)
    }

    /// The f-kernel over all lanes.
    #[inline(always)]
    fn left_lanes<const W: usize>(self, node: &[T], out: &mut [T]) {
        self.left(node, out);
    }

    /// The g-kernel over all lanes, lane p reading column `source[p]` of `node`; bit i of `bits[p]` belongs to position i.
    #[inline(always)]
    fn right_lanes<const W: usize>(self, node: &[T], source: &Selection, bits: &LaneBits, out: &mut [T]) {
        let (low, high) = node.split_at(out.len());
        let halves = low.as_chunks::<W>().0.iter().zip(high.as_chunks::<W>().0);
        for (i, (out, (low, high))) in out.as_chunks_mut::<W>().0.iter_mut().zip(halves).enumerate() {
            let (low, high) = (self.select(low, source), self.select(high, source));
            for lane in 0..W {
                out[lane] = low[lane].g(high[lane], bits.0[lane] >> i & 1 == 1);
            }
        }
    }

    /// `out[p] = row[source[p]]`.
    #[inline(always)]
    fn select<const W: usize>(self, row: &[T; W], source: &Selection) -> [T; W] {
        std::array::from_fn(|lane| row[usize::from(source.0[lane]) % W])
    }

    /// Hard decisions of every lane.
    #[inline(always)]
    fn signs_lanes<const W: usize>(self, node: &[T]) -> LaneSigns<T::Metric> {
        let mut signs = LaneSigns { bits: LaneBits([0; LANES]), smallest: Lanes([T::Metric::DEAD; LANES]), odd: 0 };
        for (i, row) in node.as_chunks::<W>().0.iter().enumerate() {
            for lane in 0..W {
                signs.bits.0[lane] |= u32::from(row[lane].is_negative()) << i;
                let magnitude = row[lane].magnitude();
                let smallest = &mut signs.smallest.0[lane];
                *smallest = if magnitude < *smallest { magnitude } else { *smallest };
            }
        }
        for lane in 0..W {
            signs.odd |= (signs.bits.0[lane].count_ones() & 1) << lane;
        }
        signs
    }

    /// Per lane: cost of deciding all zeros, and all ones.
    #[inline(always)]
    fn sums_lanes<const W: usize>(self, node: &[T]) -> ([T::Metric; LANES], [T::Metric; LANES]) {
        let mut zeros = [T::Metric::ZERO; LANES];
        let mut ones = [T::Metric::ZERO; LANES];
        for row in node.as_chunks::<W>().0 {
            for lane in 0..W {
                zeros[lane] = zeros[lane].plus(row[lane].negative_part());
                ones[lane] = ones[lane].plus(row[lane].positive_part());
            }
        }
        (zeros, ones)
    }

    /// Keys of every position and lane, interleaved as the node; what is left of a row keeps [`NodeKey::LAST`].
    #[inline(always)]
    fn keys_lanes<const W: usize>(self, node: &[T], keys: &mut [Lanes<T::Key>]) {
        let slots = keys.iter_mut().flat_map(|row| row.0.as_chunks_mut::<W>().0);
        for (i, (keys, row)) in slots.zip(node.as_chunks::<W>().0).enumerate() {
            for lane in 0..W {
                keys[lane] = row[lane].node_key(i);
            }
        }
    }

    /// Per lane the smallest of `keys` above `last`; every key is above [`NodeKey::LAST`].
    #[inline(always)]
    fn next_keys<const W: usize>(self, keys: &[Lanes<T::Key>], last: &Lanes<T::Key>) -> Lanes<T::Key> {
        let mut next = Lanes([T::Key::LAST; LANES]);
        for row in keys.iter().flat_map(|row| row.0.as_chunks::<W>().0) {
            for lane in 0..W {
                next.0[lane] = next.0[lane].min(row[lane].after(last.0[lane]));
            }
        }
        for lane in 0..W {
            next.0[lane] = next.0[lane].following(last.0[lane]);
        }
        next
    }

    /// `out[p] = row[source[p]]` for keys.
    #[inline(always)]
    fn select_keys(self, row: &Lanes<T::Key>, source: &Selection) -> Lanes<T::Key> {
        row.select(source)
    }

    /// `out[p] = row[source[p]]` for the bits of small nodes.
    #[inline(always)]
    fn select_bits<const W: usize>(self, row: &LaneBits, source: &Selection) -> LaneBits {
        let mut out = *row;
        for lane in 0..W {
            out.0[lane] = row.0[usize::from(source.0[lane] & 31)];
        }
        out
    }

    /// `out[p] = row[source[p]]` for lanes.
    #[inline(always)]
    fn select_selection(self, row: &Selection, source: &Selection) -> Selection {
        Selection(std::array::from_fn(|lane| row.0[usize::from(source.0[lane] & 31)]))
    }

    /// `out[p] = mask[source[p]]` for a mask of lanes.
    #[inline(always)]
    fn select_mask(self, mask: u32, source: &Selection) -> u32 {
        (0..LANES).fold(0, |out, lane| out | (mask >> (source.0[lane] & 31) & 1) << lane)
    }

    /// Toggles, in the lanes of `flipped`, the bit at the position of the lane's key.
    #[inline(always)]
    fn toggle(self, bits: &LaneBits, flipped: u32, keys: &Lanes<T::Key>) -> LaneBits {
        let mut out = *bits;
        for lane in 0..LANES {
            out.0[lane] ^= (flipped >> lane & 1) << keys.0[lane].position();
        }
        out
    }

    /// `word` in the lanes of `mask`, zero in the others.
    #[inline(always)]
    fn fill(self, mask: u32, word: u32) -> LaneBits {
        LaneBits(std::array::from_fn(|lane| (mask >> lane & 1).wrapping_neg() & word))
    }

    /// `metric + cost`, in the lanes of `mask` alone.
    #[inline(always)]
    fn charged(self, metric: &Lanes<T::Metric>, cost: &Lanes<T::Metric>, mask: u32) -> Lanes<T::Metric> {
        let mut out = *metric;
        for lane in 0..LANES {
            let charged = metric.0[lane].plus(cost.0[lane]);
            out.0[lane] = if mask >> lane & 1 == 1 { charged } else { metric.0[lane] };
        }
        out
    }

    /// Metrics when the positions of `keys` flip.
    #[inline(always)]
    fn offers(self, metric: &Lanes<T::Metric>, keys: &Lanes<T::Key>) -> Lanes<T::Metric> {
        let mut out = *metric;
        for lane in 0..LANES {
            out.0[lane] = metric.0[lane].plus(T::key_magnitude(keys.0[lane]));
        }
        out
    }

    /// Metrics when the positions of `keys` and `least` flip, the latter back again in the lanes of `odd`.
    #[inline(always)]
    fn parity_offers(
        self,
        metric: &Lanes<T::Metric>,
        keys: &Lanes<T::Key>,
        least: &Lanes<T::Key>,
        odd: u32,
    ) -> Lanes<T::Metric> {
        let mut out = *metric;
        for lane in 0..LANES {
            let (flip, least) = (T::key_magnitude(keys.0[lane]), T::key_magnitude(least.0[lane]));
            let cost = if odd >> lane & 1 == 1 { flip.minus(least) } else { flip.plus(least) };
            out.0[lane] = metric.0[lane].plus(cost);
        }
        out
    }

    /// Metrics with the smaller and with the larger of two costs, and where the smaller one is that of `ones` alone.
    #[inline(always)]
    fn cheaper(
        self,
        metric: &Lanes<T::Metric>,
        zeros: &[T::Metric; LANES],
        ones: &[T::Metric; LANES],
    ) -> (Lanes<T::Metric>, Lanes<T::Metric>, u32) {
        let (mut stay, mut flip, mut decided) = (*metric, *metric, 0);
        for lane in 0..LANES {
            let one = ones[lane] < zeros[lane];
            decided |= u32::from(one) << lane;
            stay.0[lane] = metric.0[lane].plus(if one { ones[lane] } else { zeros[lane] });
            flip.0[lane] = metric.0[lane].plus(if one { zeros[lane] } else { ones[lane] });
        }
        (stay, flip, decided)
    }

    /// The lanes whose metric is below `bound`.
    #[inline(always)]
    fn below(self, metric: &Lanes<T::Metric>, bound: T::Metric) -> u32 {
        let mut any = false;
        for lane in 0..LANES {
            any |= metric.0[lane] < bound;
        }
        if !any {
            return 0;
        }
        (0..LANES).fold(0, |mask, lane| mask | u32::from(metric.0[lane] < bound) << lane)
    }

    /// `metric − best` in the first `live` lanes, [`Metric::DEAD`] in the others, and the largest of them.
    #[inline(always)]
    fn rebased(self, metric: &Lanes<T::Metric>, best: T::Metric, live: usize) -> (Lanes<T::Metric>, T::Metric) {
        let mut out = *metric;
        let mut worst = T::Metric::ZERO;
        for lane in 0..LANES {
            let rebased = metric.0[lane].minus(best);
            out.0[lane] = if lane < live { rebased } else { T::Metric::DEAD };
            worst = if lane < live && rebased > worst { rebased } else { worst };
        }
        (out, worst)
    }

    /// Composes index rows: the first `live` entries of every row become `row[source[p]]`.
    #[inline(always)]
    fn select_rows(self, rows: &mut [Selection], source: &Selection, live: usize) {
        for row in rows {
            let old = *row;
            for lane in 0..live {
                row.0[lane] = old.0[usize::from(source.0[lane] & 31)];
            }
        }
    }

    /// The paths after a fork: see [`lanes::survivors`].
    #[inline(always)]
    fn survivors(
        self,
        stay: &[T::Metric; LANES],
        flip: &[T::Metric; LANES],
        best: T::Metric,
        masks: (u32, u32),
        list_size: usize,
    ) -> Survivors<T::Metric> {
        lanes::survivors(stay, flip, best, masks, list_size)
    }

    /// Of the candidates `stay` and (where given) `flip` of the first `live` lanes: the smallest metric, and which are
    /// within `threshold` of it.
    #[inline(always)]
    fn within_threshold(
        self,
        stay: &[T::Metric; LANES],
        flip: Option<&[T::Metric; LANES]>,
        live: usize,
        threshold: T::Metric,
    ) -> (T::Metric, u32, u32) {
        let dead = [T::Metric::DEAD; LANES];
        let (mut stay, mut flip) = (*stay, *flip.unwrap_or(&dead));
        let mut best = T::Metric::DEAD;
        for lane in 0..LANES {
            stay[lane] = if lane < live { stay[lane] } else { T::Metric::DEAD };
            flip[lane] = if lane < live { flip[lane] } else { T::Metric::DEAD };
            let least = if flip[lane] < stay[lane] { flip[lane] } else { stay[lane] };
            best = if least < best { least } else { best };
        }
        let limit = best.plus(threshold);
        let (mut lost, mut won) = (false, false);
        for lane in 0..LANES {
            lost |= lane < live && stay[lane] > limit;
            won |= flip[lane] <= limit;
        }
        if !lost && !won {
            return (best, lanes::lane_mask(live), 0);
        }
        let (mut stays, mut flips) = (0, 0);
        for lane in 0..live {
            stays |= u32::from(stay[lane] <= limit) << lane;
            flips |= u32::from(flip[lane] <= limit) << lane;
        }
        (best, stays, flips)
    }
}

/// An LLR representation with its portable word kernels, on which the engines build.
pub trait KernelLlr: Llr {
    /// Runs `task` compiled for `engine`; an engine that this CPU lacks falls back to the portable one, with the same
    /// result.
    fn dispatch<K: Task<Self>>(engine: EngineName, task: K) -> K::Output;
    /// [`KernelLlr::dispatch`] of a single decode. The decoders are not generic here, so that they are compiled once, in this
    /// crate, and not in each that uses them.
    fn decode_single(engine: EngineName, task: SingleTask<'_, Self>);
    /// [`KernelLlr::dispatch`] of single decodes side by side.
    fn decode_frames(engine: EngineName, task: FramesTask<'_, Self>) -> u64;
    /// [`KernelLlr::dispatch`] of a list decode.
    fn decode_list(engine: EngineName, task: ListTask<'_, Self>);
    /// [`KernelLlr::dispatch`] of the way down to a segment.
    fn descend(engine: EngineName, task: Descend<'_, Self>);

    /// The g-kernel over at most 64 positions.
    fn right_chunk<const M: usize>(low: &[Self; M], high: &[Self; M], word: u64, out: &mut [Self; M]);
    /// [`Kernels::ternary_block`].
    fn ternary_chunk(nonzero: u64, negative: u64, magnitude: Self, out: &mut [Self; 64]);
    /// Signs of at most 64 values.
    fn signs_word(values: &[Self]) -> u64;
    /// Smallest magnitude.
    fn smallest(node: &[Self]) -> Self::Metric;
    /// Sums in the order of the specification.
    fn sums(node: &[Self]) -> (Self::Total, Self::Total);
    /// [`Kernels::expand_frames`] for one position.
    fn expand_row(one: u64, two: u64, negative: u64, unit: Self, double: Self, out: &mut Row<Self>);
    /// [`Kernels::majority_frames`].
    fn majority<E: Kernels<Self>>(engine: E, node: &[Row<Self>]) -> u64;
}

/// The engines by name, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineName {
    /// AVX-512 F, BW, DQ, VL, VBMI and VBMI2, and what AVX2 engines need.
    Avx512,
    /// AVX2, BMI1, BMI2, POPCNT and LZCNT.
    Avx2,
    /// Whatever the target's baseline is.
    Portable,
}

impl EngineName {
    /// All engines, best first.
    pub const ALL: [EngineName; 3] = [EngineName::Avx512, EngineName::Avx2, EngineName::Portable];
    const NAMES: [&'static str; 3] = ["avx512", "avx2", "portable"];

    /// The name at the boundary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EngineName::Avx512 => "avx512",
            EngineName::Avx2 => "avx2",
            EngineName::Portable => "portable",
        }
    }

    /// Whether this CPU can run it.
    #[must_use]
    pub fn available(self) -> bool {
        match self {
            EngineName::Avx512 => Avx512::new().is_some(),
            EngineName::Avx2 => Avx2::new().is_some(),
            EngineName::Portable => true,
        }
    }

    /// The best engine of this CPU.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|engine| engine.available()).unwrap_or(EngineName::Portable)
    }

    /// The engine called `name`, or the best one.
    ///
    /// # Errors
    /// [`Error::UnknownName`]; [`Error::EngineUnavailable`] when this CPU lacks its instructions.
    pub fn choose(name: Option<&str>) -> Result<Self> {
        let Some(name) = name else { return Ok(Self::best()) };
        let engine = Self::ALL.into_iter().find(|engine| engine.name() == name).ok_or_else(|| Error::UnknownName {
            what: "engine",
            got: name.to_owned(),
            known: &Self::NAMES,
        })?;
        if engine.available() { Ok(engine) } else { Err(Error::EngineUnavailable { engine: engine.name() }) }
    }
}

/// Sums of a node of any size: at most 32 values in index order, longer ones in 16 interleaved partial sums that are then
/// folded by halves. For integers the order is immaterial; for floats it is the specification.
#[inline(always)]
pub(crate) fn ordered_sums<T: Llr>(node: &[T]) -> (T::Total, T::Total) {
    if node.len() <= LANES {
        let (mut zeros, mut ones) = (T::Total::default(), T::Total::default());
        for &value in node {
            zeros = zeros.plus(T::widen(value.negative_part()));
            ones = ones.plus(T::widen(value.positive_part()));
        }
        return (zeros, ones);
    }
    let mut sums = PartialSums::default();
    sums.add(node);
    sums.fold()
}

/// Sums of magnitudes of a long node, in the order of the specification.
struct PartialSums<T: Llr> {
    zeros: [T::Total; 16],
    ones: [T::Total; 16],
}

impl<T: Llr> Default for PartialSums<T> {
    fn default() -> Self {
        Self { zeros: [T::Total::default(); 16], ones: [T::Total::default(); 16] }
    }
}

impl<T: Llr> PartialSums<T> {
    /// Adds values whose number is a multiple of 16.
    #[inline(always)]
    fn add(&mut self, values: &[T]) {
        for chunk in values.as_chunks::<16>().0 {
            for i in 0..16 {
                self.zeros[i] = self.zeros[i].plus(T::widen(chunk[i].negative_part()));
                self.ones[i] = self.ones[i].plus(T::widen(chunk[i].positive_part()));
            }
        }
    }

    /// The sums.
    #[inline(always)]
    fn fold(mut self) -> (T::Total, T::Total) {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                self.zeros[i] = self.zeros[i].plus(self.zeros[i + half]);
                self.ones[i] = self.ones[i].plus(self.ones[i + half]);
            }
        }
        (self.zeros[0], self.ones[0])
    }
}
