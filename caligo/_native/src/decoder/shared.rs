//! Rows that share most of what they hold.
//!
//! Near the root paths hardly differ: after a g every live path has LLRs of its own, but two of them agree in all but a few
//! per cent of their 64-value blocks (0.3 % at stage 20, 18 % at stage 13, measured at QBER 2 %). So a stage from
//! [`LOG_SHARED`] up holds one dense *base* and, for each row, a bitmap of the blocks in which it departs from the base and
//! these blocks, packed in order. Work is done once for the first path and again only where another path's inputs differ
//! from the first's; where they do not, its outputs do not either. Results are those of dense rows, to the bit.
//!
//! LLRs come in blocks of 64, bits in blocks of one word: the same positions.

use super::columns::{Columns, NodeBits, NodeSink};
use super::workspace::{AlignedBuffer, Plain};
use crate::simd::lanes::{LANES, Selection};
use crate::simd::{KernelLlr, Kernels};

/// log2 of the smallest node whose rows are shared: its bitmap fills a word for each half.
pub const LOG_SHARED: usize = 13;

/// Values in a block of LLRs.
pub const BLOCK: usize = 64;

/// The bitmap of a row that is the base: for the longest half-node.
static EMPTY_MAP: [u64; 1 << (24 - 12)] = [0; 1 << (24 - 12)];
static EMPTY_RANKS: [u32; 1 << (24 - 12)] = [0; 1 << (24 - 12)];

/// Rows of blocks of `B` values.
pub struct SharedRows<T: Plain, const B: usize> {
    blocks: usize,
    base: AlignedBuffer<T>,
    /// Room for every block of every row: those of row r start at block `r · blocks`.
    overlay: AlignedBuffer<T>,
    maps: AlignedBuffer<u64>,
    /// Overlay blocks of the row before each word of its map.
    ranks: AlignedBuffer<u32>,
}

/// Rows to read.
pub struct View<'a, T, const B: usize> {
    base: &'a [[T; B]],
    overlay: &'a [[T; B]],
    maps: &'a [u64],
    ranks: &'a [u32],
}

impl<T: Plain, const B: usize> SharedRows<T, B> {
    /// `rows` rows of `blocks` blocks, a multiple of 64; none for no rows.
    pub fn new(rows: usize, blocks: usize) -> Self {
        let blocks = if rows == 0 { 0 } else { blocks };
        Self {
            blocks,
            base: AlignedBuffer::new(blocks * B),
            overlay: AlignedBuffer::new(rows * blocks * B),
            maps: AlignedBuffer::new(rows * blocks / 64),
            ranks: AlignedBuffer::new(rows * blocks / 64),
        }
    }

    /// Bytes that [`SharedRows::new`] allocates.
    pub const fn bytes_for(rows: usize, blocks: usize) -> usize {
        let blocks = if rows == 0 { 0 } else { blocks };
        AlignedBuffer::<T>::bytes_for(blocks * B)
            + AlignedBuffer::<T>::bytes_for(rows * blocks * B)
            + AlignedBuffer::<u64>::bytes_for(rows * blocks / 64)
            + AlignedBuffer::<u32>::bytes_for(rows * blocks / 64)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.base.bytes() + self.overlay.bytes() + self.maps.bytes() + self.ranks.bytes()
    }

    /// The rows, to read.
    #[inline(always)]
    pub fn view(&self) -> View<'_, T, B> {
        View {
            base: self.base.as_chunks().0,
            overlay: self.overlay.as_chunks().0,
            maps: &self.maps,
            ranks: &self.ranks,
        }
    }

    /// Writes rows: the first is the base.
    #[inline(always)]
    fn sink(&mut self) -> SharedSink<'_, T, B> {
        self.maps[..self.blocks / 64].fill(0);
        SharedSink {
            blocks: self.blocks,
            base: self.base.as_chunks_mut().0,
            overlay: self.overlay.as_chunks_mut().0,
            maps: &mut self.maps,
            ranks: &mut self.ranks,
            count: 0,
        }
    }
}

impl<'a, T: Plain, const B: usize> View<'a, T, B> {
    /// One row, not shared, of at most 2^24 values.
    #[inline(always)]
    pub fn dense(row: &'a [T]) -> Self {
        let base = row.as_chunks().0;
        let words = base.len().div_ceil(64);
        View { base, overlay: &[], maps: &EMPTY_MAP[..words], ranks: &EMPTY_RANKS[..words] }
    }

    #[inline(always)]
    fn map(&self, row: usize, word: usize) -> u64 {
        self.maps[row * (self.base.len() / 64) + word]
    }

    /// Block `index` of `row`.
    #[inline(always)]
    pub fn block(&self, row: usize, index: usize) -> &'a [T; B] {
        let word = row * (self.base.len() / 64) + index / 64;
        let (map, bit) = (self.maps[word], 1u64 << (index % 64));
        if map & bit == 0 {
            return &self.base[index];
        }
        let rank = self.ranks[word] as usize + (map & (bit - 1)).count_ones() as usize;
        &self.overlay[row * self.base.len() + rank]
    }

    /// Every block of `row`, in order.
    #[inline(always)]
    pub fn row(&self, row: usize) -> impl Iterator<Item = &'a [T; B]> {
        (0..self.base.len()).map(move |index| self.block(row, index))
    }

    /// A superset of the blocks, of those of one word of the map, in which two rows differ.
    #[inline(always)]
    fn differs(&self, a: usize, b: usize, word: usize) -> u64 {
        if a == b { 0 } else { self.map(a, word) | self.map(b, word) }
    }
}

/// Where the LLRs of a child go.
trait Sink<T, const B: usize> {
    /// Block of the first path.
    fn first(&mut self, index: usize) -> &mut [T; B];
    /// The blocks of another path, in one word of the map, that will be written; the others equal the first path's.
    fn begin(&mut self, path: usize, word: usize, differing: u64);
    /// The next differing block of that path.
    fn next(&mut self, path: usize, index: usize) -> &mut [T; B];
}

struct SharedSink<'a, T, const B: usize> {
    blocks: usize,
    base: &'a mut [[T; B]],
    overlay: &'a mut [[T; B]],
    maps: &'a mut [u64],
    ranks: &'a mut [u32],
    count: usize,
}

impl<T: Copy, const B: usize> Sink<T, B> for SharedSink<'_, T, B> {
    #[inline(always)]
    fn first(&mut self, index: usize) -> &mut [T; B] {
        &mut self.base[index]
    }

    #[inline(always)]
    fn begin(&mut self, path: usize, word: usize, differing: u64) {
        if word == 0 {
            self.count = 0;
        }
        let at = path * (self.blocks / 64) + word;
        self.maps[at] = differing;
        self.ranks[at] = self.count as u32;
    }

    #[inline(always)]
    fn next(&mut self, path: usize, _index: usize) -> &mut [T; B] {
        let at = path * self.blocks + self.count;
        self.count += 1;
        &mut self.overlay[at]
    }
}

impl<T: Copy + PartialEq, const B: usize> SharedSink<'_, T, B> {
    /// Appends the blocks of a word of the map that differ from the base: `candidates` says which may.
    #[inline(always)]
    fn settle(&mut self, path: usize, word: usize, mut candidates: u64, mut value: impl FnMut(usize) -> [T; B]) {
        self.begin(path, word, 0);
        let mut differing = 0;
        while candidates != 0 {
            let bit = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            let block = value(64 * word + bit);
            if block != self.base[64 * word + bit] {
                *self.next(path, 64 * word + bit) = block;
                differing |= 1 << bit;
            }
        }
        self.maps[path * (self.blocks / 64) + word] = differing;
    }
}

impl<T> Sink<T, BLOCK> for NodeSink<'_, T> {
    #[inline(always)]
    fn first(&mut self, index: usize) -> &mut [T; BLOCK] {
        NodeSink::first(self, index)
    }

    #[inline(always)]
    fn begin(&mut self, _path: usize, _word: usize, _differing: u64) {}

    #[inline(always)]
    fn next(&mut self, path: usize, index: usize) -> &mut [T; BLOCK] {
        self.own(path, index)
    }
}

/// Where the bits of a left child come from.
trait Bits {
    fn word(&self, row: usize, index: usize) -> u64;
    fn differs(&self, a: usize, b: usize, word: usize) -> u64;
}

impl Bits for View<'_, u64, 1> {
    #[inline(always)]
    fn word(&self, row: usize, index: usize) -> u64 {
        self.block(row, index)[0]
    }
    #[inline(always)]
    fn differs(&self, a: usize, b: usize, word: usize) -> u64 {
        View::differs(self, a, b, word)
    }
}

/// Bits in columns, and for each row those in which it may differ from the first path's.
struct ColumnBits<'a> {
    bits: NodeBits<'a>,
    unlike: [u64; LANES],
}

impl Bits for ColumnBits<'_> {
    #[inline(always)]
    fn word(&self, row: usize, index: usize) -> u64 {
        self.bits.words[index][row & (LANES - 1)]
    }
    #[inline(always)]
    fn differs(&self, a: usize, _first: usize, _word: usize) -> u64 {
        self.unlike[a & (LANES - 1)]
    }
}

/// For each lane the columns, 64 at most, in whose mask it is.
#[inline(always)]
fn by_lane(masks: impl Iterator<Item = u32>) -> [u64; LANES] {
    let mut columns = [0; LANES];
    for (index, mut mask) in masks.enumerate() {
        while mask != 0 {
            columns[mask.trailing_zeros() as usize] |= 1 << index;
            mask &= mask - 1;
        }
    }
    columns
}

/// No bits: the f-kernel.
struct NoBits;

impl Bits for NoBits {
    #[inline(always)]
    fn word(&self, _row: usize, _index: usize) -> u64 {
        0
    }
    #[inline(always)]
    fn differs(&self, _a: usize, _b: usize, _word: usize) -> u64 {
        0
    }
}

/// A child's LLRs from its parent's.
#[inline(always)]
fn descend<T: KernelLlr>(
    parent: &View<'_, T, BLOCK>,
    rows: &Selection,
    live: usize,
    bits: &impl Bits,
    bit_rows: &Selection,
    sink: &mut impl Sink<T, BLOCK>,
    kernel: impl Fn(&[T; BLOCK], &[T; BLOCK], u64, &mut [T; BLOCK]),
) {
    let half = parent.base.len() / 2;
    let words = half / 64;
    let (first, first_bits) = (usize::from(rows.0[0]), usize::from(bit_rows.0[0]));
    for word in 0..words {
        if parent.map(first, word) | parent.map(first, words + word) == 0 {
            let (low, high) = (&parent.base[64 * word..][..64], &parent.base[half + 64 * word..][..64]);
            for (i, (low, high)) in low.iter().zip(high).enumerate() {
                kernel(low, high, bits.word(first_bits, 64 * word + i), sink.first(64 * word + i));
            }
        } else {
            for i in 64 * word..64 * word + 64 {
                kernel(parent.block(first, i), parent.block(first, half + i), bits.word(first_bits, i), sink.first(i));
            }
        }
    }
    for path in 1..live {
        let (row, bit_row) = (usize::from(rows.0[path]), usize::from(bit_rows.0[path]));
        for word in 0..words {
            let mut differing = parent.differs(row, first, word)
                | parent.differs(row, first, words + word)
                | bits.differs(bit_row, first_bits, word);
            sink.begin(path, word, differing);
            while differing != 0 {
                let i = 64 * word + differing.trailing_zeros() as usize;
                differing &= differing - 1;
                let (low, high) = (parent.block(row, i), parent.block(row, half + i));
                kernel(low, high, bits.word(bit_row, i), sink.next(path, i));
            }
        }
    }
}

/// The shared stages of a list decoder: from [`LOG_SHARED`] to the one below the root.
pub struct SharedStages<T: KernelLlr> {
    alpha: Vec<SharedRows<T, BLOCK>>,
    beta: [Vec<SharedRows<u64, 1>>; 2],
}

impl<T: KernelLlr> SharedStages<T> {
    fn count(log_length: usize) -> usize {
        log_length.saturating_sub(LOG_SHARED)
    }

    /// Stages for codes of 2^`log_length` positions.
    pub fn new(log_length: usize, list_size: usize) -> Self {
        let stages = 0..Self::count(log_length);
        let blocks = |at: usize| 1usize << (LOG_SHARED + at - 6);
        let bits = || stages.clone().map(|at| SharedRows::new(list_size, blocks(at))).collect();
        let beta = [bits(), bits()];
        Self { alpha: stages.clone().map(|at| SharedRows::new(list_size, blocks(at))).collect(), beta }
    }

    /// Bytes that [`SharedStages::new`] allocates.
    pub fn bytes_for(log_length: usize, list_size: usize) -> usize {
        (0..Self::count(log_length))
            .map(|at| {
                let blocks = 1usize << (LOG_SHARED + at - 6);
                SharedRows::<T, BLOCK>::bytes_for(list_size, blocks)
                    + 2 * SharedRows::<u64, 1>::bytes_for(list_size, blocks)
                    + size_of::<SharedRows<T, BLOCK>>()
                    + 2 * size_of::<SharedRows<u64, 1>>()
            })
            .sum()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let rows: usize = self.alpha.iter().map(SharedRows::bytes).sum();
        let bits: usize = self.beta.iter().flatten().map(SharedRows::bytes).sum();
        rows + bits
            + self.alpha.capacity() * size_of::<SharedRows<T, BLOCK>>()
            + (self.beta[0].capacity() + self.beta[1].capacity()) * size_of::<SharedRows<u64, 1>>()
    }

    /// LLRs of the left child of a node of `stage`, or of `root`. Those of a child below the shared stages go to
    /// `columns`.
    #[inline(always)]
    pub fn left<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        root: Option<&[T]>,
        rows: &Selection,
        live: usize,
        columns: &mut Columns<T>,
    ) {
        let kernel = |a: &[T; BLOCK], b: &[T; BLOCK], _: u64, out: &mut [T; BLOCK]| engine.left_block(a, b, out);
        let at = stage - LOG_SHARED;
        let (below, above) = self.alpha.split_at_mut(at);
        let Some(parent) = root.map(View::dense).or_else(|| above.first().map(SharedRows::view)) else { return };
        match below.last_mut() {
            Some(child) => descend(&parent, rows, live, &NoBits, rows, &mut child.sink(), kernel),
            None => descend(&parent, rows, live, &NoBits, rows, &mut columns.sink(LOG_SHARED - 1), kernel),
        }
    }

    /// LLRs of the right child, likewise, given the left child's bits, which are in `columns` below the shared stages.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "two sources, two sinks")]
    pub fn right<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        root: Option<&[T]>,
        rows: &Selection,
        bit_rows: &Selection,
        live: usize,
        columns: &mut Columns<T>,
    ) {
        let kernel =
            |a: &[T; BLOCK], b: &[T; BLOCK], word: u64, out: &mut [T; BLOCK]| engine.right_block(a, b, word, out);
        let at = stage - LOG_SHARED;
        let (below, above) = self.alpha.split_at_mut(at);
        let Some(parent) = root.map(View::dense).or_else(|| above.first().map(SharedRows::view)) else { return };
        match below.last_mut() {
            Some(child) => {
                let bits = self.beta[0][at - 1].view();
                descend(&parent, rows, live, &bits, bit_rows, &mut child.sink(), kernel);
            }
            None => {
                let (bits, mut sink) = columns.bits_and_sink(LOG_SHARED - 1);
                let first = usize::from(bit_rows.0[0]);
                let unlike = by_lane(bits.slots.iter().map(|slots| engine.unlike(slots, first)));
                descend(&parent, rows, live, &ColumnBits { bits, unlike }, bit_rows, &mut sink, kernel);
            }
        }
    }

    /// Bits of a node of `stage` from its children's, which are in `columns` below the shared stages.
    #[inline(always)]
    pub fn combine<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        side: usize,
        rows: &Selection,
        live: usize,
        columns: &Columns<T>,
    ) {
        let at = stage - LOG_SHARED;
        let [left_side, right_side] = &mut self.beta;
        let (target, left_side, right_side) = if side == 0 {
            let (below, above) = left_side.split_at_mut(at);
            (&mut above[0], &*below, right_side.as_slice())
        } else {
            let (below, above) = right_side.split_at_mut(at);
            (&mut above[0], left_side.as_slice(), &*below)
        };
        let half = target.blocks / 2;
        let mut sink = target.sink();
        let first = usize::from(rows.0[0]);
        if at == 0 {
            let (left, right) = (columns.bits(LOG_SHARED - 1, 0), columns.bits(LOG_SHARED - 1, 1));
            for (i, (left, right)) in left.words.iter().zip(right.words).enumerate() {
                sink.base[i] = [left[first] ^ right[0]];
                sink.base[half + i] = [right[0]];
            }
            let left_unlike = by_lane(left.slots.iter().map(|slots| engine.unlike(slots, first)));
            let right_unlike = by_lane(right.slots.iter().map(|slots| engine.unlike(slots, 0)));
            for path in 1..live {
                let row = usize::from(rows.0[path]);
                let candidates = left_unlike[row] | right_unlike[path];
                sink.settle(path, 0, candidates, |i| [left.words[i][row] ^ right.words[i][path]]);
                sink.settle(path, 1, right_unlike[path], |i| [right.words[i - half][path]]);
            }
            return;
        }
        let (left, right) = (left_side[at - 1].view(), right_side[at - 1].view());
        let words = half / 64;
        for word in 0..words {
            let plain = left.map(first, word) == 0;
            for i in 64 * word..64 * word + 64 {
                let bits = right.base[i][0];
                let other = if plain { left.base[i][0] } else { left.block(first, i)[0] };
                sink.base[i] = [other ^ bits];
                sink.base[half + i] = [bits];
            }
        }
        for path in 1..live {
            let row = usize::from(rows.0[path]);
            for word in 0..words {
                let candidates = right.map(path, word) | left.differs(row, first, word);
                sink.settle(path, word, candidates, |i| [left.block(row, i)[0] ^ right.block(path, i)[0]]);
            }
            for word in 0..words {
                sink.settle(path, words + word, right.map(path, word), |i| *right.block(path, i - half));
            }
        }
    }

    /// The bits of a node are all zeros, or all ones for the paths in `ones`.
    #[inline(always)]
    pub fn constant(&mut self, stage: usize, side: usize, ones: u32, live: usize) {
        let mut sink = self.beta[side][stage - LOG_SHARED].sink();
        let value = |path: usize| if ones >> path & 1 == 1 { !0 } else { 0 };
        sink.base.fill([value(0)]);
        for path in 1..live {
            for word in 0..sink.blocks / 64 {
                sink.settle(path, word, if value(path) == value(0) { 0 } else { !0 }, |_| [value(path)]);
            }
        }
    }

    /// Costs of zeros and ones, of the LLRs of a path.
    #[inline(always)]
    pub fn sums<E: Kernels<T>>(&self, engine: E, stage: usize, path: usize) -> (T::Total, T::Total) {
        engine.sums_blocks(self.alpha[stage - LOG_SHARED].view().row(path))
    }

    /// Smallest magnitude of a path's LLRs.
    #[inline(always)]
    pub fn smallest<E: Kernels<T>>(&self, engine: E, stage: usize, path: usize) -> T::Metric {
        engine.smallest_blocks(self.alpha[stage - LOG_SHARED].view().row(path))
    }

    /// Hard decisions of every path. With `even`, stops and returns false if those of some path have odd parity.
    #[inline(always)]
    pub fn signs<E: Kernels<T>>(&mut self, engine: E, stage: usize, side: usize, live: usize, even: bool) -> bool {
        let at = stage - LOG_SHARED;
        let alpha = self.alpha[at].view();
        let mut sink = self.beta[side][at].sink();
        let sign = |block: &[T; BLOCK]| {
            let mut word = [0];
            engine.signs(block, &mut word);
            word
        };
        let mut sum = 0;
        for i in 0..sink.blocks {
            // Rows are in lane order when a node is settled: the first path is the base.
            let word = sign(&alpha.base[i]);
            sum ^= word[0];
            sink.base[i] = word;
        }
        if even && sum.count_ones() & 1 == 1 {
            return false;
        }
        for path in 1..live {
            let mut change = 0;
            for word in 0..sink.blocks / 64 {
                let candidates = alpha.map(path, word);
                let base = &alpha.base;
                sink.settle(path, word, candidates, |i| {
                    let bits = sign(alpha.block(path, i));
                    change ^= bits[0] ^ sign(&base[i])[0];
                    bits
                });
            }
            if even && (sum ^ change).count_ones() & 1 == 1 {
                return false;
            }
        }
        true
    }

    /// Writes out row `row` of the bits of a node of `stage`.
    pub fn bits(&self, stage: usize, side: usize, row: usize, out: &mut [u64]) {
        if let Some(rows) = self.beta[side].get(stage - LOG_SHARED) {
            for (out, block) in out.iter_mut().zip(rows.view().row(row)) {
                *out = block[0];
            }
        }
    }
}
