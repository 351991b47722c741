//! Subtrees of at most 64 positions under successive cancellation, with their bits in one register.
//!
//! A subtree is descended without a program: what each of its nodes is stands in its [`Shape`], which is compiled once.
//! Special nodes are settled as `specs/rust-polar-crate.md` §5 says. A split node is first asked whether its hard decisions
//! are a word of its code and no LLR below it can become 0. The decisions of its descendants are then these hard decisions:
//! f keeps the product of the signs and takes at most one from a magnitude, g adds magnitudes of one sign, and every special
//! node confirms a word of its own code. So the descent is skipped, and nothing else changes (Sarkis et al. 2014 do this
//! for single-parity-check nodes, whose code needs no look).
//!
//! Not here: larger nodes, and the register form of the same descent (`avx512`).

use super::{KernelLlr, Kernels};
use crate::decoder::schedule::{NodeKind, classify};
use crate::transform::transform_word;

/// Positions of the largest subtree.
pub const SUBTREE: usize = 64;

/// What one node of a subtree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A node that is settled as a whole.
    Special(NodeKind),
    /// A node that is split; an LLR of a larger magnitude than this cannot become 0 below it.
    Split(u8),
}

/// What the nodes of 8 to 64 positions of a subtree are: four bits each, node k's children being nodes 2k and 2k + 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape(u64);

impl Shape {
    /// Nothing known, for what is no subtree.
    pub const NONE: Shape = Shape(0);

    /// The shape of a subtree by its information positions.
    #[must_use]
    pub fn of(info: u64) -> Self {
        let mut shape = 0;
        for place in 1..16u32 {
            let log_nodes = place.ilog2();
            let length = SUBTREE >> log_nodes;
            let start = (place as usize - (1 << log_nodes)) * length;
            let own = (info >> start) & (u64::MAX >> (SUBTREE - length));
            let code = match part_of(own, length) {
                Part::Split(depth) => u64::from(depth),
                Part::Special(NodeKind::Rate0) => 8,
                Part::Special(NodeKind::Repetition) => 9,
                Part::Special(NodeKind::ParityCheck) => 10,
                Part::Special(NodeKind::Rate1) => 11,
            };
            shape |= code << (4 * place);
        }
        Shape(shape)
    }

    /// What node `place` is.
    #[inline(always)]
    #[must_use]
    pub fn part(self, place: u32) -> Part {
        match self.0 >> (4 * place) & 15 {
            8 => Part::Special(NodeKind::Rate0),
            9 => Part::Special(NodeKind::Repetition),
            10 => Part::Special(NodeKind::ParityCheck),
            11 => Part::Special(NodeKind::Rate1),
            depth => Part::Split(depth as u8),
        }
    }
}

/// What a node of `length` positions is, by its information positions.
#[must_use]
pub fn part_of(info: u64, length: usize) -> Part {
    let last = info >> (length - 1) & 1 == 1;
    if let Some(kind) = classify(info.count_ones() as usize, length, info & 1 == 1, last) {
        return Part::Special(kind);
    }
    let half = length / 2;
    let below = |info| match part_of(info, half) {
        Part::Special(_) => 0,
        Part::Split(depth) => depth,
    };
    Part::Split((1 + below(info & (u64::MAX >> (SUBTREE - half)))).max(below(info >> half)))
}

/// The bits of a special node whose hard decisions are `hard`.
#[inline(always)]
fn special<T: KernelLlr, E: Kernels<T>>(engine: E, kind: NodeKind, node: &[T], hard: u64) -> u64 {
    match kind {
        NodeKind::Rate0 => 0,
        NodeKind::Rate1 => hard,
        NodeKind::Repetition => {
            let (zeros, ones) = engine.sums(node);
            if ones < zeros { u64::MAX >> (SUBTREE - node.len()) } else { 0 }
        }
        NodeKind::ParityCheck => repaired(node, hard, || engine.smallest(node)),
    }
}

/// Hard decisions, with the least reliable position, the first of equals, flipped if their parity is odd.
#[inline(always)]
fn repaired<T: KernelLlr>(node: &[T], hard: u64, smallest: impl FnOnce() -> T::Metric) -> u64 {
    if hard.count_ones() & 1 == 0 {
        return hard;
    }
    let smallest = smallest();
    node.iter().position(|llr| llr.magnitude() == smallest).map_or(hard, |position| hard ^ 1 << position)
}

/// Defines the descent of a node of `$size` positions.
macro_rules! settle {
    ($name:ident, $size:literal, $half:literal, $child:ident) => {
        /// Bits of a node of this many positions, node `place` of `shape`.
        #[inline(always)]
        pub fn $name<T: KernelLlr, E: Kernels<T>>(engine: E, node: &[T], info: u64, shape: Shape, place: u32) -> u64 {
            let mut hard = [0];
            engine.signs(node, &mut hard);
            let depth = match shape.part(place) {
                Part::Special(kind) => return special(engine, kind, node, hard[0]),
                Part::Split(depth) => depth,
            };
            let syndrome = transform_word(hard[0], ($size as u32).ilog2());
            if syndrome & !info & (u64::MAX >> (SUBTREE - $size)) == 0 && T::outlasts(engine.smallest(node), depth) {
                return hard[0];
            }
            let mut halves = [0; 2];
            let mut child = [T::default(); $half];
            // One loop body rather than two calls: the descent is inlined once a size.
            for side in 0..2 {
                if side == 0 {
                    engine.left(node, &mut child);
                } else {
                    engine.right(node, &halves[..1], &mut child);
                }
                let info = (info >> (side * $half)) & (u64::MAX >> (SUBTREE - $half));
                halves[side] = $child(engine, &child, info, shape, 2 * place + side as u32);
            }
            (halves[0] ^ halves[1]) | halves[1] << $half
        }
    };
}

/// Bits of a node of at most 32 positions, descended position by position: for what is left below the macro's sizes, and
/// for blocks that are shorter than a subtree.
pub fn settle_short<T: KernelLlr>(node: &[T], info: u64) -> u64 {
    match part_of(info, node.len()) {
        Part::Special(NodeKind::Rate0) => 0,
        Part::Special(NodeKind::Rate1) => T::signs_word(node),
        Part::Special(NodeKind::Repetition) => {
            let (zeros, ones) = T::sums(node);
            if ones < zeros { u64::MAX >> (SUBTREE - node.len()) } else { 0 }
        }
        Part::Special(NodeKind::ParityCheck) => repaired(node, T::signs_word(node), || T::smallest(node)),
        Part::Split(_) => {
            let (low, high) = node.split_at(node.len() / 2);
            let mut child = [T::default(); SUBTREE / 4];
            let child = &mut child[..low.len()];
            for i in 0..low.len() {
                child[i] = low[i].f(high[i]);
            }
            let left = settle_short(child, info & (u64::MAX >> (SUBTREE - low.len())));
            for i in 0..low.len() {
                child[i] = low[i].g(high[i], left >> i & 1 == 1);
            }
            let right = settle_short(child, info >> low.len());
            (left ^ right) | right << low.len()
        }
    }
}

#[inline(always)]
fn settle4<T: KernelLlr, E: Kernels<T>>(_: E, node: &[T], info: u64, _: Shape, _: u32) -> u64 {
    settle_short(node, info)
}

settle!(settle8, 8, 4, settle4);
settle!(settle16, 16, 8, settle8);
settle!(settle32, 32, 16, settle16);
settle!(settle64, 64, 32, settle32);
