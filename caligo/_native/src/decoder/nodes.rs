//! Nodes of at most 32 positions, settled as a whole for all paths at once.
//!
//! The rules, which `specs/rust-polar-crate.md` §5 states and `naive` restates path by path:
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
use crate::llr::{Metric, NodeKey};
use crate::simd::lanes::{LANES, LaneBits, LaneSigns, Lanes, lane_mask};
use crate::simd::{KernelLlr, Kernels};

/// Rows of a small node.
const MAX_ROWS: usize = 32;

/// The bits of the node whose LLRs are `node` (one row per position) for every path, the paths having forked.
#[inline(always)]
pub fn settle<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    kind: NodeKind,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[Lanes<T>],
) -> LaneBits {
    match kind {
        NodeKind::Rate0 => {
            let (zeros, _) = engine.sums_lanes(node);
            let stay = total(paths, &Lanes(zeros));
            paths.fork::<T, E>(engine, stage, &stay, None);
            LaneBits([0; LANES])
        }
        NodeKind::Repetition => repetition(engine, paths, stage, node),
        NodeKind::Rate1 => rate1(engine, paths, list_size, stage, node),
        NodeKind::ParityCheck => parity_check(engine, paths, list_size, stage, node),
    }
}

#[inline(always)]
fn total<M: Metric>(paths: &Paths<M>, cost: &Lanes<M>) -> Lanes<M> {
    let mut total = paths.metric;
    for lane in 0..LANES {
        total.0[lane] = total.0[lane].plus(cost.0[lane]);
    }
    total
}

#[inline(always)]
fn repetition<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    stage: usize,
    node: &[Lanes<T>],
) -> LaneBits {
    let (zeros, ones) = engine.sums_lanes(node);
    let (mut stay, mut flip) = (Lanes(zeros), Lanes(ones));
    let mut decided = 0u32;
    for lane in 0..LANES {
        let one = ones[lane] < zeros[lane];
        decided |= u32::from(one) << lane;
        stay.0[lane] = if one { ones[lane] } else { zeros[lane] };
        flip.0[lane] = if one { zeros[lane] } else { ones[lane] };
    }
    let (stay, flip) = (total(paths, &stay), total(paths, &flip));
    if let Some(fork) = paths.fork::<T, E>(engine, stage, &stay, Some(&flip)) {
        let mut moved = 0;
        for lane in 0..LANES {
            moved |= (decided >> (fork.source.0[lane] & 31) & 1) << lane;
        }
        decided = moved ^ fork.flipped;
    }
    let full = full_word(node.len());
    let mut bits = LaneBits([0; LANES]);
    for lane in 0..LANES {
        bits.0[lane] = if decided >> lane & 1 == 1 { full } else { 0 };
    }
    bits
}

#[inline(always)]
fn full_word(length: usize) -> u32 {
    ((1u64 << length) - 1) as u32
}

#[inline(always)]
fn magnitudes<T: KernelLlr>(keys: &Lanes<T::Key>) -> Lanes<T::Metric> {
    let mut out = Lanes([T::Metric::ZERO; LANES]);
    for lane in 0..LANES {
        out.0[lane] = T::key_magnitude(keys.0[lane]);
    }
    out
}

#[inline(always)]
fn one_hot<K: NodeKey>(keys: &Lanes<K>) -> LaneBits {
    let mut out = LaneBits([0; LANES]);
    for lane in 0..LANES {
        out.0[lane] = 1u32 << keys.0[lane].position();
    }
    out
}

#[inline(always)]
fn rate1<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[Lanes<T>],
) -> LaneBits {
    let LaneSigns { mut bits, smallest, .. } = engine.signs_lanes(node);
    if paths.none_survives(&total(paths, &smallest)) {
        return bits;
    }
    let mut keys = [Lanes([T::Key::USED; LANES]); MAX_ROWS];
    let keys = &mut keys[..node.len()];
    engine.keys_lanes(node, keys);
    let mut next = engine.next_keys(keys, &Lanes([T::Key::USED; LANES]));
    for _ in 0..node.len().min(list_size - 1) {
        let flip = total(paths, &magnitudes::<T>(&next));
        if paths.none_survives(&flip) {
            break;
        }
        let mut offered = one_hot(&next);
        next = engine.next_keys(keys, &next);
        let stay = paths.metric;
        if let Some(fork) = paths.fork::<T, E>(engine, stage, &stay, Some(&flip)) {
            for row in keys.iter_mut() {
                *row = engine.select_keys(row, &fork.source);
            }
            next = engine.select_keys(&next, &fork.source);
            bits = engine.select_bits(&bits, &fork.source);
            offered = engine.select_bits(&offered, &fork.source);
            for lane in 0..LANES {
                bits.0[lane] ^= if fork.flipped >> lane & 1 == 1 { offered.0[lane] } else { 0 };
            }
        }
    }
    bits
}

/// The state of a single-parity-check node between forks.
struct Parity<'a, T: KernelLlr> {
    bits: LaneBits,
    keys: &'a mut [Lanes<T::Key>],
    next: Lanes<T::Key>,
    /// The least reliable position of every path, as a bit and as a cost.
    least: LaneBits,
    least_cost: Lanes<T::Metric>,
    /// Paths whose least reliable position is flipped.
    odd: u32,
}

impl<T: KernelLlr> Parity<'_, T> {
    /// Forks; paths that flip do so at `offered` and at their least reliable position.
    #[inline(always)]
    fn fork<E: Kernels<T>>(
        &mut self,
        engine: E,
        paths: &mut Paths<T::Metric>,
        stage: usize,
        stay: &Lanes<T::Metric>,
        flip: Option<(&Lanes<T::Metric>, &LaneBits)>,
    ) {
        let Some(fork) = paths.fork::<T, E>(engine, stage, stay, flip.map(|flip| flip.0)) else { return };
        for row in self.keys.iter_mut() {
            *row = engine.select_keys(row, &fork.source);
        }
        self.next = engine.select_keys(&self.next, &fork.source);
        self.bits = engine.select_bits(&self.bits, &fork.source);
        self.least = engine.select_bits(&self.least, &fork.source);
        self.least_cost = self.least_cost.select(&fork.source);
        let mut odd = 0;
        for lane in 0..LANES {
            odd |= (self.odd >> (fork.source.0[lane] & 31) & 1) << lane;
        }
        self.odd = odd ^ fork.flipped;
        if let Some((_, offered)) = flip {
            let offered = engine.select_bits(offered, &fork.source);
            for lane in 0..LANES {
                let change = offered.0[lane] ^ self.least.0[lane];
                self.bits.0[lane] ^= if fork.flipped >> lane & 1 == 1 { change } else { 0 };
            }
        }
    }
}

#[inline(always)]
fn parity_check<T: KernelLlr, E: Kernels<T>>(
    engine: E,
    paths: &mut Paths<T::Metric>,
    list_size: usize,
    stage: usize,
    node: &[Lanes<T>],
) -> LaneBits {
    let LaneSigns { bits, smallest, odd } = engine.signs_lanes(node);
    if odd & lane_mask(paths.live) == 0 {
        // Every flip costs at least twice the smallest magnitude.
        let least = Lanes(std::array::from_fn(|lane| smallest.0[lane].plus(smallest.0[lane])));
        if paths.none_survives(&total(paths, &least)) {
            return bits;
        }
    }
    let mut keys = [Lanes([T::Key::USED; LANES]); MAX_ROWS];
    let keys = &mut keys[..node.len()];
    engine.keys_lanes(node, keys);
    let least = engine.next_keys(keys, &Lanes([T::Key::USED; LANES]));
    let next = engine.next_keys(keys, &least);
    let mut state = Parity { bits, keys, next, least: one_hot(&least), least_cost: smallest, odd };
    let mut repaired = paths.metric;
    for lane in 0..LANES {
        let odd = odd >> lane & 1 == 1;
        state.bits.0[lane] ^= if odd { state.least.0[lane] } else { 0 };
        let cost = repaired.0[lane].plus(smallest.0[lane]);
        repaired.0[lane] = if odd { cost } else { repaired.0[lane] };
    }
    if state.odd & lane_mask(paths.live) != 0 {
        state.fork(engine, paths, stage, &repaired, None);
    }
    for _ in 0..(node.len() - 1).min(list_size - 1) {
        let mut cost = magnitudes::<T>(&state.next);
        for lane in 0..LANES {
            let (flip, least) = (cost.0[lane], state.least_cost.0[lane]);
            cost.0[lane] = if state.odd >> lane & 1 == 1 { flip.minus(least) } else { flip.plus(least) };
        }
        let flip = total(paths, &cost);
        if paths.none_survives(&flip) {
            break;
        }
        let offered = one_hot(&state.next);
        let used = state.next;
        state.next = engine.next_keys(state.keys, &used);
        let stay = paths.metric;
        state.fork(engine, paths, stage, &stay, Some((&flip, &offered)));
    }
    state.bits
}
