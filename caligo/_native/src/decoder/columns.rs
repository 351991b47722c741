//! The middle stages of a list decoder, in columns of 64 positions.
//!
//! A node of 2^s positions, 6 ≤ s ≤ 12, is 2^(s−6) *columns*; in a column every path has a block of 64 LLRs, or a word of
//! bits. Paths agree in many of them: at QBER 2 % and a list of 32, 35 % of the blocks of stage 6 equal the first path's, 63 %
//! at stage 8 and 95 % at stage 12. So a column says, for each path, in which *slot* its block lies: slot 0, the first path's,
//! or the slot of its own number. An f or g on a column is done for the first path and for those whose inputs do not lie in
//! the same slots as the first's; which these are is found for all paths at once, by comparing bytes. Results are those of
//! separate rows, to the bit.
//!
//! Bits are there for all paths, since they are computed as vectors; their slots say who agrees with the first path.
//!
//! Not here: larger nodes, of which few columns differ at all ([`shared`](super::shared)), and smaller ones, one vector a
//! position ([`nodes`](super::nodes)).

use super::shared::LOG_SHARED;
use super::workspace::AlignedBuffer;
use crate::llr::Metric;
use crate::simd::lanes::{LANES, LaneBits, Lanes, Selection, lane_mask};
use crate::simd::{KernelLlr, Kernels};

/// log2 of the positions of a column.
pub const LOG_COLUMN: usize = 6;

/// Positions of a column.
pub const COLUMN: usize = 1 << LOG_COLUMN;

/// The slots of a channel, which all paths share.
static CHANNEL_SLOTS: [Selection; 1 << (LOG_SHARED - 1 - LOG_COLUMN)] =
    [Selection::FIRST; 1 << (LOG_SHARED - 1 - LOG_COLUMN)];

/// The lanes of a mask, ascending.
#[inline(always)]
fn lanes_of(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros() as usize;
        let more = mask != 0;
        mask &= mask.wrapping_sub(1);
        more.then_some(lane)
    })
}

/// Columns of all stages, and one that is not used: those of stage s are `2^(s-6) .. 2^(s-5)`.
fn count(log_length: usize) -> usize {
    match log_length.min(LOG_SHARED) {
        top if top > LOG_COLUMN => 1 << (top - LOG_COLUMN),
        _ => 0,
    }
}

/// Where the columns of a node of `stage` begin, and how many they are.
#[inline(always)]
fn columns(stage: usize) -> usize {
    1 << (stage - LOG_COLUMN)
}

/// LLRs of a node, to read.
struct Node<'a, T> {
    blocks: &'a [[T; COLUMN]],
    stride: usize,
    slots: &'a [Selection],
}

impl<'a, T> Node<'a, T> {
    #[inline(always)]
    fn column(&self, index: usize) -> (&'a [[T; COLUMN]], &'a Selection) {
        (&self.blocks[index * self.stride..][..self.stride], &self.slots[index])
    }

    /// The blocks of a path in order.
    #[inline(always)]
    fn row(&self, path: usize) -> impl Iterator<Item = &'a [T; COLUMN]> + use<'a, T> {
        let columns = self.blocks.chunks_exact(self.stride).zip(self.slots);
        columns.map(move |(blocks, slots)| &blocks[usize::from(slots.0[path])])
    }
}

/// LLRs of a node, to write.
pub struct NodeSink<'a, T> {
    blocks: &'a mut [[T; COLUMN]],
    stride: usize,
    slots: &'a mut [Selection],
}

impl<T> NodeSink<'_, T> {
    /// The first path's block.
    #[inline(always)]
    pub fn first(&mut self, index: usize) -> &mut [T; COLUMN] {
        &mut self.blocks[index * self.stride]
    }

    /// The block of a path that gets one of its own.
    #[inline(always)]
    pub fn own(&mut self, path: usize, index: usize) -> &mut [T; COLUMN] {
        self.slots[index].0[path] = path as u8;
        &mut self.blocks[index * self.stride + path]
    }
}

struct LlrColumns<T: KernelLlr> {
    /// Blocks in a column: one a path, and one so that the first paths' do not compete for the same lines of a cache.
    stride: usize,
    blocks: AlignedBuffer<T>,
    slots: Box<[Selection]>,
}

impl<T: KernelLlr> LlrColumns<T> {
    #[inline(always)]
    fn node(&self, stage: usize) -> Node<'_, T> {
        let (at, stride) = (columns(stage), self.stride);
        let blocks = &self.blocks.as_chunks().0[at * stride..2 * at * stride];
        Node { blocks, stride, slots: &self.slots[at..2 * at] }
    }

    /// A node of `stage`, or the channel `root`, and its child.
    #[inline(always)]
    fn descent<'a>(&'a mut self, stage: usize, root: Option<&'a [T]>) -> (Node<'a, T>, NodeSink<'a, T>) {
        let (at, stride) = (columns(stage), self.stride);
        let (below, above) = self.blocks.as_chunks_mut().0.split_at_mut(at * stride);
        let (slots_below, slots_above) = self.slots.split_at_mut(at);
        let parent = match root {
            Some(channel) => Node { blocks: channel.as_chunks().0, stride: 1, slots: &CHANNEL_SLOTS[..at] },
            None => Node { blocks: &above[..at * stride], stride, slots: &slots_above[..at] },
        };
        let child = NodeSink { blocks: &mut below[at / 2 * stride..], stride, slots: &mut slots_below[at / 2..] };
        (parent, child)
    }
}

/// Bits of a node, to read.
#[derive(Clone, Copy)]
pub struct NodeBits<'a> {
    /// Words by column and path.
    pub words: &'a [[u64; LANES]],
    /// Who agrees with the first path.
    pub slots: &'a [Selection],
}

struct BitColumns {
    words: AlignedBuffer<u64>,
    slots: Box<[Selection]>,
}

impl BitColumns {
    #[inline(always)]
    fn node(&self, stage: usize) -> NodeBits<'_> {
        let at = columns(stage);
        NodeBits { words: &self.words.as_chunks().0[at..2 * at], slots: &self.slots[at..2 * at] }
    }

    #[inline(always)]
    fn node_mut(&mut self, stage: usize) -> (&mut [[u64; LANES]], &mut [Selection]) {
        self.ascent(stage).1
    }

    /// A child of a node of `stage`, and the node.
    #[inline(always)]
    fn ascent(&mut self, stage: usize) -> (NodeBits<'_>, (&mut [[u64; LANES]], &mut [Selection])) {
        let at = columns(stage);
        let (words, words_above) = self.words.as_chunks_mut().0.split_at_mut(at);
        let (slots, slots_above) = self.slots.split_at_mut(at);
        let child = NodeBits { words: &words[at / 2..], slots: &slots[at / 2..] };
        (child, (&mut words_above[..at], &mut slots_above[..at]))
    }
}

/// LLRs and bits of the middle stages.
pub struct Columns<T: KernelLlr> {
    llrs: LlrColumns<T>,
    /// By side.
    bits: [BitColumns; 2],
}

impl<T: KernelLlr> Columns<T> {
    /// Columns for codes of 2^`log_length` positions.
    pub fn new(log_length: usize, list_size: usize) -> Self {
        let (count, stride) = (count(log_length), list_size + 1);
        let slots = || vec![Selection::FIRST; count].into_boxed_slice();
        let bits = || BitColumns { words: AlignedBuffer::new(count * LANES), slots: slots() };
        let blocks = AlignedBuffer::new(count * stride * COLUMN);
        Self { llrs: LlrColumns { stride, blocks, slots: slots() }, bits: [bits(), bits()] }
    }

    /// Bytes that [`Columns::new`] allocates.
    pub fn bytes_for(log_length: usize, list_size: usize) -> usize {
        let count = count(log_length);
        AlignedBuffer::<T>::bytes_for(count * (list_size + 1) * COLUMN)
            + 2 * AlignedBuffer::<u64>::bytes_for(count * LANES)
            + 3 * count * size_of::<Selection>()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        let bits = self.bits.iter().map(|bits| bits.words.bytes() + size_of_val(&*bits.slots));
        self.llrs.blocks.bytes() + size_of_val(&*self.llrs.slots) + bits.sum::<usize>()
    }

    /// LLRs of a node of `stage`, to be written: so far all paths agree.
    #[inline(always)]
    pub fn sink(&mut self, stage: usize) -> NodeSink<'_, T> {
        self.bits_and_sink(stage).1
    }

    /// Bits of a left node of `stage`, and the LLRs of its sibling, likewise.
    #[inline(always)]
    pub fn bits_and_sink(&mut self, stage: usize) -> (NodeBits<'_>, NodeSink<'_, T>) {
        let (at, stride) = (columns(stage), self.llrs.stride);
        let blocks = &mut self.llrs.blocks.as_chunks_mut().0[at * stride..2 * at * stride];
        let slots = &mut self.llrs.slots[at..2 * at];
        slots.fill(Selection::FIRST);
        (self.bits[0].node(stage), NodeSink { blocks, stride, slots })
    }

    /// The only column of a node of 64 positions, or of the channel `root`: blocks and slots.
    #[inline(always)]
    pub fn column<'a>(&'a self, root: Option<&'a [T]>) -> (&'a [[T; COLUMN]], &'a Selection) {
        match root {
            Some(channel) => (channel.as_chunks().0, &CHANNEL_SLOTS[0]),
            None => self.llrs.node(LOG_COLUMN).column(0),
        }
    }

    /// Bits of a node of `stage`.
    #[inline(always)]
    pub fn bits(&self, stage: usize, side: usize) -> NodeBits<'_> {
        self.bits[side].node(stage)
    }

    /// LLRs of the left child of a node of `stage`, or of the channel `root`.
    #[inline(always)]
    pub fn left<E: Kernels<T>>(&mut self, engine: E, stage: usize, root: Option<&[T]>, live: usize) {
        let half = columns(stage) / 2;
        let (parent, child) = self.llrs.descent(stage, root);
        for (at, (out, slots)) in child.blocks.chunks_exact_mut(child.stride).zip(child.slots).enumerate() {
            let ((low, low_slots), (high, high_slots)) = (parent.column(at), parent.column(half + at));
            let own = (engine.unlike(low_slots, 0) | engine.unlike(high_slots, 0)) & lane_mask(live);
            *slots = engine.own_slots(own);
            for path in lanes_of(own | 1) {
                let (low, high) = (&low[usize::from(low_slots.0[path])], &high[usize::from(high_slots.0[path])]);
                engine.left_block(low, high, &mut out[path]);
            }
        }
    }

    /// LLRs of the right child, given the left child's bits: path p reads row `rows[p]` of LLRs and `bit_rows[p]` of bits.
    #[inline(always)]
    pub fn right<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        root: Option<&[T]>,
        (rows, bit_rows): (&Selection, &Selection),
        live: usize,
    ) {
        let half = columns(stage) / 2;
        let bits = self.bits[0].node(stage - 1);
        let (parent, child) = self.llrs.descent(stage, root);
        let columns =
            child.blocks.chunks_exact_mut(child.stride).zip(child.slots).zip(bits.words.iter().zip(bits.slots));
        for (at, ((out, slots), (words, bit_slots))) in columns.enumerate() {
            let ((low, low_slots), (high, high_slots)) = (parent.column(at), parent.column(half + at));
            let (low_slots, high_slots) =
                (engine.select_selection(low_slots, rows), engine.select_selection(high_slots, rows));
            let bit_slots = engine.select_selection(bit_slots, bit_rows);
            let own = engine.unlike(&low_slots, 0) | engine.unlike(&high_slots, 0) | engine.unlike(&bit_slots, 0);
            let own = own & lane_mask(live);
            *slots = engine.own_slots(own);
            for path in lanes_of(own | 1) {
                let (low, high) = (&low[usize::from(low_slots.0[path])], &high[usize::from(high_slots.0[path])]);
                let word = words[usize::from(bit_rows.0[path]) % LANES];
                engine.right_block(low, high, word, &mut out[path]);
            }
        }
    }

    /// Bits of a node of 64 positions from those of its children, in lane order.
    #[inline(always)]
    pub fn combine_lanes<E: Kernels<T>>(
        &mut self,
        engine: E,
        side: usize,
        left: &LaneBits,
        right: &LaneBits,
        live: usize,
    ) {
        let (words, slots) = self.bits[side].node_mut(LOG_COLUMN);
        for lane in 0..LANES {
            words[0][lane] = super::list::joined(left.0[lane], right.0[lane]);
        }
        slots[0] = engine.own_slots(engine.unlike_words(&words[0], live));
    }

    /// Bits of a node of `stage` from those of its children, of which the left one's path p reads row `rows[p]`.
    #[inline(always)]
    pub fn combine<E: Kernels<T>>(&mut self, engine: E, stage: usize, side: usize, rows: &Selection, live: usize) {
        let [left_side, right_side] = &mut self.bits;
        let (left, right, (words, slots)) = if side == 0 {
            let (left, node) = left_side.ascent(stage);
            (left, right_side.node(stage - 1), node)
        } else {
            let (right, node) = right_side.ascent(stage);
            (left_side.node(stage - 1), right, node)
        };
        let half = left.words.len();
        let ((low, high), (low_slots, high_slots)) = (words.split_at_mut(half), slots.split_at_mut(half));
        high.copy_from_slice(right.words);
        high_slots.copy_from_slice(right.slots);
        for (((low, slots), left), right) in low.iter_mut().zip(low_slots).zip(left.words).zip(right.words) {
            *slots = engine.own_slots(engine.join_words(left, rows, right, live, low));
        }
    }

    /// The bits of a node are all zeros, or all ones for the paths in `ones`.
    #[inline(always)]
    pub fn constant<E: Kernels<T>>(&mut self, engine: E, stage: usize, side: usize, ones: u32) {
        let (words, slots) = self.bits[side].node_mut(stage);
        words.fill(std::array::from_fn(|path| if ones >> path & 1 == 1 { !0 } else { 0 }));
        slots.fill(engine.own_slots(if ones & 1 == 1 { !ones } else { ones }));
    }

    /// Costs of zeros and ones, of the LLRs of a path.
    #[inline(always)]
    pub fn sums<E: Kernels<T>>(&self, engine: E, stage: usize, path: usize) -> (T::Total, T::Total) {
        engine.sums_blocks(self.llrs.node(stage).row(path))
    }

    /// Smallest magnitude of a path's LLRs, and whether the number of its negative ones is odd.
    #[inline(always)]
    pub fn smallest<E: Kernels<T>>(&self, engine: E, stage: usize, path: usize) -> (T::Metric, bool) {
        let (mut sum, mut smallest) = (0, T::Metric::DEAD);
        for block in self.llrs.node(stage).row(path) {
            let (word, least) = engine.sign_block(block);
            sum ^= word;
            smallest = if least < smallest { least } else { smallest };
        }
        (smallest, sum.count_ones() & 1 == 1)
    }

    /// Hard decisions of every path; the smallest magnitudes, and the paths whose decisions have odd parity.
    #[inline(always)]
    pub fn signs<E: Kernels<T>>(
        &mut self,
        engine: E,
        stage: usize,
        side: usize,
        live: usize,
    ) -> (Lanes<T::Metric>, u32) {
        let node = self.llrs.node(stage);
        let (words, out_slots) = self.bits[side].node_mut(stage);
        let least = |a: T::Metric, b: T::Metric| if a < b { a } else { b };
        let (mut shared, mut own) = (Lanes([T::Metric::DEAD; LANES]), [T::Metric::DEAD; LANES]);
        let (mut sum, mut changes) = (0, [0; LANES]);
        let columns = node.blocks.chunks_exact(node.stride).zip(node.slots).zip(words.iter_mut().zip(out_slots));
        for ((blocks, slots), (words, out_slots)) in columns {
            let (first, first_smallest) = engine.sign_block(&blocks[0]);
            for path in 0..LANES {
                let here = if slots.0[path] == 0 { first_smallest } else { T::Metric::DEAD };
                shared.0[path] = least(shared.0[path], here);
            }
            sum ^= first;
            words.fill(first);
            let mut unlike = 0;
            for path in lanes_of(engine.unlike(slots, 0) & lane_mask(live)) {
                let (word, smallest) = engine.sign_block(&blocks[path]);
                own[path] = least(own[path], smallest);
                words[path] = word;
                changes[path] ^= word ^ first;
                unlike |= u32::from(word != first) << path;
            }
            *out_slots = engine.own_slots(unlike);
        }
        let mut odd = 0;
        for path in 0..LANES {
            shared.0[path] = least(shared.0[path], own[path]);
            odd |= ((sum ^ changes[path]).count_ones() & 1) << path;
        }
        (shared, odd & lane_mask(live))
    }
}
