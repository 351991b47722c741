//! Nodes of at most 32 positions, settled as a whole for all paths at once.
//!
//! The rules, which `specs/rust-polar-crate.md` §6 states and `naive` restates path by path:
//!
//! - rate-0: a path pays for every negative LLR.
//! - repetition: two candidates a path, the cheaper one staying; ties decide 0.
//! - rate-1 (Hashemi et al. 2016): hard decisions; then up to min(m, L−1) times each path offers to flip its least
//!   reliable position not yet offered. The loop ends as soon as no offer could survive, which loses nothing.
//! - single parity check: an odd path first flips its least reliable position and pays for it; then as rate-1 over the
//!   remaining positions, at most min(m−1, L−1) times, a flip of position k also flipping the least reliable one, so it
//!   costs `m_k + m_0`, or `m_k − m_0` when that one is flipped already.
//!
//! Not here: larger nodes (`list`), which are settled only when no flip could survive.

use super::paths::Paths;
use super::schedule::NodeKind;
use crate::llr::NodeKey;
use crate::simd::lanes::{LANES, LaneBits, LaneSigns, Lanes, Selection, lane_mask};
use crate::simd::{KernelLlr, Kernels};

/// Positions of the largest node.
const POSITIONS: usize = 32;

/// The bits of the node whose LLRs are `node` (W lanes a position) for every path, the paths having forked.
#[inline(always)]
pub fn settle<T: KernelLlr, E: Kernels<T>, const W: usize>(
    engine: E,
    kind: NodeKind,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[T],
) -> LaneBits {
    match kind {
        NodeKind::Rate0 => {
            let (zeros, _) = engine.sums_lanes::<W>(node);
            let stay = engine.charged(&paths.metric, &Lanes(zeros), !0);
            paths.fork::<T, E>(engine, stage, &stay, None);
            LaneBits([0; LANES])
        }
        NodeKind::Repetition => repetition::<T, E, W>(engine, paths, stage, node),
        NodeKind::Rate1 => rate1::<T, E, W>(engine, paths, list_size, stage, node),
        NodeKind::ParityCheck => parity_check::<T, E, W>(engine, paths, list_size, stage, node),
    }
}

#[inline(always)]
fn repetition<T: KernelLlr, E: Kernels<T>, const W: usize>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    stage: usize,
    node: &[T],
) -> LaneBits {
    let (zeros, ones) = engine.sums_lanes::<W>(node);
    let (stay, flip, mut decided) = engine.cheaper(&paths.metric, &zeros, &ones);
    if let Some(fork) = paths.fork::<T, E>(engine, stage, &stay, Some(&flip)) {
        decided = engine.select_mask(decided, &fork.source) ^ fork.flipped;
    }
    engine.fill(decided, ((1u64 << (node.len() / W)) - 1) as u32)
}

/// The keys of a node as the paths found it. Forks do not move them: a path reads the lane of its ancestor.
struct Keys<'a, T: KernelLlr, const W: usize> {
    rows: &'a [Lanes<T::Key>],
    /// The smallest key not yet offered.
    next: Lanes<T::Key>,
    /// The lane of every path's ancestor.
    origin: Selection,
}

impl<'a, T: KernelLlr, const W: usize> Keys<'a, T, W> {
    #[inline(always)]
    fn new<E: Kernels<T>>(engine: E, node: &[T], rows: &'a mut [Lanes<T::Key>; POSITIONS]) -> Self {
        let rows = &mut rows[..node.len().div_ceil(LANES)];
        engine.keys_lanes::<W>(node, rows);
        let next = engine.next_keys::<W>(rows, &Lanes([T::Key::LAST; LANES]));
        Self { rows, next, origin: Selection::IDENTITY }
    }

    /// `keys` of the lanes on entry, as the paths see them.
    #[inline(always)]
    fn of_paths<E: Kernels<T>>(&self, engine: E, keys: &Lanes<T::Key>) -> Lanes<T::Key> {
        engine.select_keys(keys, &self.origin)
    }

    #[inline(always)]
    fn advance<E: Kernels<T>>(&mut self, engine: E) {
        self.next = engine.next_keys::<W>(self.rows, &self.next);
    }
}

#[inline(always)]
fn rate1<T: KernelLlr, E: Kernels<T>, const W: usize>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[T],
) -> LaneBits {
    let LaneSigns { mut bits, smallest, .. } = engine.signs_lanes::<W>(node);
    if paths.none_survives::<T, E>(engine, &engine.charged(&paths.metric, &smallest, !0)) {
        return bits;
    }
    let mut rows = [Lanes([T::Key::LAST; LANES]); POSITIONS];
    let mut keys = Keys::<T, W>::new(engine, node, &mut rows);
    for _ in 0..(node.len() / W).min(list_size - 1) {
        let offered = keys.of_paths(engine, &keys.next);
        let flip = engine.offers(&paths.metric, &offered);
        let Some(fork) = paths.offer::<T, E>(engine, stage, &flip) else { break };
        bits = engine.select_bits::<W>(&bits, &fork.source);
        bits = engine.toggle(&bits, fork.flipped, &engine.select_keys(&offered, &fork.source));
        keys.origin = engine.select_selection(&keys.origin, &fork.source);
        keys.advance(engine);
    }
    bits
}

#[inline(always)]
fn parity_check<T: KernelLlr, E: Kernels<T>, const W: usize>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[T],
) -> LaneBits {
    let LaneSigns { mut bits, smallest, mut odd } = engine.signs_lanes::<W>(node);
    odd &= lane_mask(paths.live);
    if odd == 0 {
        // Every flip costs at least twice the smallest magnitude.
        let least = engine.charged(&engine.charged(&paths.metric, &smallest, !0), &smallest, !0);
        if paths.none_survives::<T, E>(engine, &least) {
            return bits;
        }
    }
    let mut rows = [Lanes([T::Key::LAST; LANES]); POSITIONS];
    let mut keys = Keys::<T, W>::new(engine, node, &mut rows);
    let least = keys.next;
    keys.advance(engine);
    if odd != 0 {
        bits = engine.toggle(&bits, odd, &least);
        let repaired = engine.charged(&paths.metric, &smallest, odd);
        if let Some(fork) = paths.fork::<T, E>(engine, stage, &repaired, None) {
            bits = engine.select_bits::<W>(&bits, &fork.source);
            odd = engine.select_mask(odd, &fork.source);
            keys.origin = fork.source;
        }
    }
    for _ in 0..(node.len() / W - 1).min(list_size - 1) {
        let (offered, cheapest) = (keys.of_paths(engine, &keys.next), keys.of_paths(engine, &least));
        let flip = engine.parity_offers(&paths.metric, &offered, &cheapest, odd);
        let Some(fork) = paths.offer::<T, E>(engine, stage, &flip) else { break };
        bits = engine.select_bits::<W>(&bits, &fork.source);
        bits = engine.toggle(&bits, fork.flipped, &engine.select_keys(&offered, &fork.source));
        bits = engine.toggle(&bits, fork.flipped, &engine.select_keys(&cheapest, &fork.source));
        odd = engine.select_mask(odd, &fork.source) ^ fork.flipped;
        keys.origin = engine.select_selection(&keys.origin, &fork.source);
        keys.advance(engine);
    }
    bits
}
