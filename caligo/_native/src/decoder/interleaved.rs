//! The stages from 5 down, where one vector holds the same position of several paths.
//!
//! The LLRs of a node are interleaved, as [`lanes`](crate::simd::lanes) says: lists of at most [`NARROW`] paths have as
//! many values a position, so that their nodes are a quarter as long. Its bits are one word per path. What a fork does to
//! either is said by index rows, which the caller keeps.

use super::nodes;
use super::paths::Paths;
use super::schedule::{LOG_LANE_NODE, NodeKind};
use super::workspace::AlignedBuffer;
use crate::simd::lanes::{LANES, LaneBits, NARROW, Selection};
use crate::simd::{KernelLlr, Kernels};
use zeroize::Zeroize;

const STAGES: usize = LOG_LANE_NODE as usize + 1;

/// LLRs and bits of these stages.
pub struct Interleaved<T: KernelLlr> {
    list_size: usize,
    /// The values of stage s are `W << s .. 2 * W << s`.
    alpha: AlignedBuffer<T>,
    /// Bits by side and stage.
    beta: [[LaneBits; STAGES]; 2],
}

/// Calls a function of the number of lanes with the one that this list has.
macro_rules! by_width {
    ($self:ident.$function:ident::<E, W>($($argument:expr),*)) => {
        if $self.list_size <= NARROW {
            $self.$function::<E, NARROW>($($argument),*)
        } else {
            $self.$function::<E, LANES>($($argument),*)
        }
    };
}

impl<T: KernelLlr> Interleaved<T> {
    /// For lists of `list_size`.
    pub fn new(list_size: usize) -> Self {
        Self {
            list_size,
            alpha: AlignedBuffer::new(Self::values(list_size)),
            beta: [[LaneBits([0; LANES]); STAGES]; 2],
        }
    }

    /// Serves lists of `list_size` from now on, at most the size it was made for.
    pub fn set_list_size(&mut self, list_size: usize) {
        self.list_size = list_size;
    }

    fn width(list_size: usize) -> usize {
        if list_size <= NARROW { NARROW } else { LANES }
    }

    fn values(list_size: usize) -> usize {
        Self::width(list_size) << STAGES
    }

    /// Bytes that [`Interleaved::new`] allocates, itself not included.
    pub fn bytes_for(list_size: usize) -> usize {
        AlignedBuffer::<T>::bytes_for(Self::values(list_size))
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.alpha.bytes()
    }

    /// The bits of a node of `stage`.
    #[inline(always)]
    pub fn bits(&self, side: usize, stage: usize) -> &LaneBits {
        &self.beta[side][stage]
    }

    /// The LLRs of the only path of a code of 2^`stage` positions.
    #[inline(always)]
    pub fn start(&mut self, stage: usize, channel: &[T]) {
        let width = Self::width(self.list_size);
        for (row, &llr) in self.alpha[width << stage..].chunks_exact_mut(width).zip(channel) {
            row.fill(T::default());
            row[0] = llr;
        }
    }

    /// LLRs of the largest node, the left child of a block of every path: path p reads block `slots[p]`. `rows` is scratch.
    #[inline(always)]
    pub fn enter_left<E: Kernels<T>>(
        &mut self,
        engine: E,
        blocks: &[[T; 64]],
        slots: &Selection,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
    ) {
        by_width!(self.enter_left_lanes::<E, W>(engine, blocks, slots, live, rows));
    }

    #[inline(always)]
    fn enter_left_lanes<E: Kernels<T>, const W: usize>(
        &mut self,
        engine: E,
        blocks: &[[T; 64]],
        slots: &Selection,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
    ) {
        engine.left_to_lanes::<W>(blocks, slots, live, rows, &mut self.alpha[W << (STAGES - 1)..]);
    }

    /// The right child, likewise, given the left one's bits.
    #[inline(always)]
    pub fn enter_right<E: Kernels<T>>(
        &mut self,
        engine: E,
        blocks: &[[T; 64]],
        slots: &Selection,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
    ) {
        by_width!(self.enter_right_lanes::<E, W>(engine, blocks, slots, live, rows));
    }

    #[inline(always)]
    fn enter_right_lanes<E: Kernels<T>, const W: usize>(
        &mut self,
        engine: E,
        blocks: &[[T; 64]],
        slots: &Selection,
        live: usize,
        rows: &mut [[T; LANES]; LANES],
    ) {
        let bits = &self.beta[0][STAGES - 1];
        engine.right_to_lanes::<W>(blocks, slots, bits, live, rows, &mut self.alpha[W << (STAGES - 1)..]);
    }

    /// LLRs of the left child of a node of `stage`.
    #[inline(always)]
    pub fn left<E: Kernels<T>>(&mut self, engine: E, stage: usize) {
        by_width!(self.left_lanes::<E, W>(engine, stage));
    }

    #[inline(always)]
    fn left_lanes<E: Kernels<T>, const W: usize>(&mut self, engine: E, stage: usize) {
        let (below, node) = self.alpha.split_at_mut(W << stage);
        engine.left_lanes::<W>(&node[..W << stage], &mut below[W << (stage - 1)..]);
    }

    /// LLRs of the right child, paths reading the columns `sources` and the left child's bits.
    #[inline(always)]
    pub fn right<E: Kernels<T>>(&mut self, engine: E, stage: usize, sources: &Selection) {
        by_width!(self.right_lanes::<E, W>(engine, stage, sources));
    }

    #[inline(always)]
    fn right_lanes<E: Kernels<T>, const W: usize>(&mut self, engine: E, stage: usize, sources: &Selection) {
        let (below, node) = self.alpha.split_at_mut(W << stage);
        let bits = &self.beta[0][stage - 1];
        engine.right_lanes::<W>(&node[..W << stage], sources, bits, &mut below[W << (stage - 1)..]);
    }

    /// Bits of a node of `stage` from its children's, the left one's in the lanes that `rows` says.
    #[inline(always)]
    pub fn combine<E: Kernels<T>>(&mut self, engine: E, stage: usize, side: usize, rows: &Selection) {
        by_width!(self.combine_lanes::<E, W>(engine, stage, side, rows));
    }

    #[inline(always)]
    fn combine_lanes<E: Kernels<T>, const W: usize>(&mut self, engine: E, stage: usize, side: usize, rows: &Selection) {
        let left = engine.select_bits::<W>(&self.beta[0][stage - 1], rows);
        let right = self.beta[1][stage - 1];
        let out = &mut self.beta[side][stage];
        for lane in 0..W {
            out.0[lane] = (left.0[lane] ^ right.0[lane]) | right.0[lane] << (1 << (stage - 1));
        }
    }

    /// Settles a node of `stage`, the paths forking.
    #[inline(always)]
    pub fn settle<E: Kernels<T>>(
        &mut self,
        engine: E,
        kind: NodeKind,
        paths: &mut Paths<T::Metric>,
        stage: usize,
        side: usize,
    ) {
        by_width!(self.settle_lanes::<E, W>(engine, kind, paths, stage, side));
    }

    #[inline(always)]
    fn settle_lanes<E: Kernels<T>, const W: usize>(
        &mut self,
        engine: E,
        kind: NodeKind,
        paths: &mut Paths<T::Metric>,
        stage: usize,
        side: usize,
    ) {
        let node = &self.alpha[W << stage..][..W << stage];
        self.beta[side][stage] = nodes::settle::<T, E, W>(engine, kind, paths, self.list_size, stage, node);
    }

    /// The bits of a left rate-0 node of the only path.
    #[inline(always)]
    pub fn zeros(&mut self, stage: usize) {
        self.beta[0][stage].0[0] = 0;
    }

    fn wipe(&mut self) {
        self.beta.iter_mut().flatten().for_each(|bits| bits.0.zeroize());
    }
}

impl<T: KernelLlr> Drop for Interleaved<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_bits_are_left_in_a_wiped_state() {
        let mut state = Interleaved::<i8>::new(8);
        state.beta = [[LaneBits([7; LANES]); STAGES]; 2];
        state.wipe();
        assert!(state.beta.iter().flatten().all(|bits| bits.0 == [0; LANES]));
    }
}
