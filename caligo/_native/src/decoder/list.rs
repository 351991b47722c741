//! The list decoder: all paths advance together through the program.
//!
//! Each live path has a row of LLRs and a row of packed bits per stage. Stages from 13 up share what their rows have in
//! common ([`shared`](super::shared)), and so, in columns of 64 positions, do those from 6 up ([`columns`](super::columns)).
//! From stage 5 down data is interleaved, one vector holding one position of several paths
//! ([`interleaved`](super::interleaved)). Index rows ([`Paths`]) say whose row is whose, so a fork moves 32 bytes a stage and
//! no LLRs.
//!
//! A stage's LLRs are always written for all live paths before the node below is entered, so a `Left` reads rows in lane
//! order and only a `Right`, which comes after forks in the left subtree, reads through the index row.

use super::columns::Columns;
use super::interleaved::Interleaved;
use super::paths::Paths;
use super::schedule::{Instruction, LOG_LANE_NODE, NodeKind, Operation};
use super::shared::{LOG_SHARED, SharedStages};
use crate::code::Attempt;
use crate::llr::{Metric, Total};
use crate::simd::lanes::{LANES, Lanes, Selection};
use crate::simd::{KernelLlr, Kernels, Task};
use zeroize::Zeroize;

const LANE_STAGE: usize = LOG_LANE_NODE as usize;

/// State of a list decode.
pub struct ListState<T: KernelLlr> {
    log_length: usize,
    list_size: usize,
    /// Stages from [`LOG_SHARED`] to the one below the root.
    shared: SharedStages<T>,
    /// The other stages from 6 up.
    columns: Columns<T>,
    /// The stages from 5 down.
    interleaved: Interleaved<T>,
    /// Rows of stage 5 before they are interleaved.
    rows: Box<[[T; LANES]; LANES]>,
    /// The paths.
    pub paths: Paths<T::Metric>,
}

impl<T: KernelLlr> ListState<T> {
    /// State for codes of 2^`log_length` positions.
    pub fn new(log_length: u32, list_size: usize) -> Self {
        let n = log_length as usize;
        Self {
            log_length: n,
            list_size,
            shared: SharedStages::new(n, list_size),
            columns: Columns::new(n, list_size),
            interleaved: Interleaved::new(list_size),
            rows: Box::new([[T::default(); LANES]; LANES]),
            paths: Paths::new(list_size, log_length),
        }
    }

    /// Decodes blocks of 2^`log_length` positions as `attempt` says from now on, both at most as large as what the state was
    /// made for.
    pub fn set_attempt(&mut self, attempt: Attempt, log_length: u32) {
        let Attempt { list_size, last } = attempt;
        self.log_length = log_length as usize;
        self.list_size = list_size;
        let threshold = if last { T::Metric::THRESHOLD } else { T::Metric::narrow_threshold(log_length) };
        self.paths.set_attempt(list_size, log_length, threshold);
        self.interleaved.set_list_size(list_size);
    }

    /// Bytes that [`ListState::new`] allocates, itself not included.
    pub fn bytes_for(log_length: u32, list_size: usize) -> usize {
        let n = log_length as usize;
        SharedStages::<T>::bytes_for(n, list_size)
            + Columns::<T>::bytes_for(n, list_size)
            + Interleaved::<T>::bytes_for(list_size)
            + size_of::<[[T; LANES]; LANES]>()
    }

    /// Bytes held in buffers.
    pub fn bytes(&self) -> usize {
        self.shared.bytes() + self.columns.bytes() + self.interleaved.bytes() + size_of_val(&*self.rows)
    }

    /// Overwrites the buffers that do not do so themselves when they are dropped.
    fn wipe(&mut self) {
        self.rows.iter_mut().for_each(|row| row.zeroize());
    }

    /// The word of `lane` after a decode, packed.
    pub fn word(&self, lane: usize, out: &mut [u64]) {
        let n = self.log_length;
        if n <= LANE_STAGE {
            out[0] = u64::from(self.interleaved.bits(0, n).0[lane]);
            return;
        }
        let left_row = usize::from(self.paths.beta[n - 1].0[lane]);
        if n == LANE_STAGE + 1 {
            out[0] =
                joined(self.interleaved.bits(0, LANE_STAGE).0[left_row], self.interleaved.bits(1, LANE_STAGE).0[lane]);
            return;
        }
        let half = out.len() / 2;
        if n > LOG_SHARED {
            let (low, high) = out.split_at_mut(half);
            self.shared.bits(n - 1, 0, left_row, low);
            self.shared.bits(n - 1, 1, lane, high);
            for (low, &high) in low.iter_mut().zip(high.iter()) {
                *low ^= high;
            }
            return;
        }
        let (left, right) = (self.columns.bits(n - 1, 0).words, self.columns.bits(n - 1, 1).words);
        let (low, high) = out.split_at_mut(half);
        for (((low, high), left), right) in low.iter_mut().zip(high).zip(left).zip(right) {
            *low = left[left_row] ^ right[lane];
            *high = right[lane];
        }
    }

    /// Leaves in `out` the best path's word, of those that `accept` takes, and what `accept` makes of it; if there is none,
    /// the best path's.
    pub fn pick(&self, out: &mut [u64], mut accept: impl FnMut(&mut [u64]) -> bool) -> bool {
        let (order, live) = self.paths.ranking();
        for &lane in order[..live].iter().chain(&order[..1]) {
            self.word(usize::from(lane), out);
            if accept(out) {
                return true;
            }
        }
        false
    }

    /// The channel, if it is what a node of `stage` reads.
    #[inline(always)]
    fn root<'a>(&self, stage: usize, channel: &'a [T]) -> Option<&'a [T]> {
        (stage == self.log_length).then_some(channel)
    }

    #[inline(always)]
    fn left<E: Kernels<T>>(&mut self, engine: E, stage: usize, channel: &[T]) {
        let live = self.paths.live;
        if stage <= LANE_STAGE {
            self.interleaved.left(engine, stage);
        } else if stage >= LOG_SHARED {
            let rows = self.paths.alpha[stage];
            let root = self.root(stage, channel);
            self.shared.left(engine, stage, root, &rows, live, &mut self.columns);
        } else if stage > LANE_STAGE + 1 {
            self.columns.left(engine, stage, self.root(stage, channel), live);
        } else {
            let (blocks, slots) = self.columns.column(self.root(stage, channel));
            self.interleaved.enter_left(engine, blocks, slots, live, &mut self.rows);
        }
        self.paths.alpha[stage - 1] = Selection::IDENTITY;
    }

    #[inline(always)]
    fn right<E: Kernels<T>>(&mut self, engine: E, stage: usize, channel: &[T]) {
        let live = self.paths.live;
        let (sources, bit_rows) = (self.paths.alpha[stage], self.paths.beta[stage - 1]);
        if stage <= LANE_STAGE {
            self.interleaved.right(engine, stage, &sources);
        } else if stage >= LOG_SHARED {
            let root = self.root(stage, channel);
            self.shared.right(engine, stage, root, &sources, &bit_rows, live, &mut self.columns);
        } else if stage > LANE_STAGE + 1 {
            self.columns.right(engine, stage, self.root(stage, channel), (&sources, &bit_rows), live);
        } else {
            let (blocks, slots) = self.columns.column(self.root(stage, channel));
            let slots = engine.select_selection(slots, &sources);
            self.interleaved.enter_right(engine, blocks, &slots, live, &mut self.rows);
        }
        self.paths.alpha[stage - 1] = Selection::IDENTITY;
    }

    #[inline(always)]
    fn combine<E: Kernels<T>>(&mut self, engine: E, stage: usize, side: usize) {
        let live = self.paths.live;
        let rows = self.paths.beta[stage - 1];
        if stage <= LANE_STAGE {
            self.interleaved.combine(engine, stage, side, &rows);
        } else if stage == self.log_length {
            // The root's words are put together for the paths that are looked at: `word`.
            return;
        } else if stage >= LOG_SHARED {
            self.shared.combine(engine, stage, side, &rows, live, &self.columns);
        } else if stage > LANE_STAGE + 1 {
            self.columns.combine(engine, stage, side, &rows, live);
        } else {
            let left = engine.select_bits::<LANES>(self.interleaved.bits(0, LANE_STAGE), &rows);
            self.columns.combine_lanes(engine, side, &left, self.interleaved.bits(1, LANE_STAGE), live);
        }
        if side == 0 {
            self.paths.beta[stage] = Selection::IDENTITY;
        }
    }

    #[inline(always)]
    fn leaf<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, side: usize) {
        if stage <= LANE_STAGE {
            self.interleaved.settle(engine, kind, &mut self.paths, stage, side);
        } else {
            let ones = match kind {
                NodeKind::Repetition => self.large_repetition(engine, stage),
                _ => {
                    self.large_rate0(engine, stage);
                    0
                }
            };
            if stage >= LOG_SHARED {
                self.shared.constant(stage, side, ones, self.paths.live);
            } else {
                self.columns.constant(engine, stage, side, ones);
            }
        }
        if side == 0 {
            self.paths.beta[stage] = Selection::IDENTITY;
        }
    }

    /// The bits of a left rate-0 node of the only path.
    #[inline(always)]
    fn zeros<E: Kernels<T>>(&mut self, engine: E, stage: usize) {
        if stage <= LANE_STAGE {
            self.interleaved.zeros(stage);
        } else if stage >= LOG_SHARED {
            self.shared.constant(stage, 0, 0, 1);
        } else {
            self.columns.constant(engine, stage, 0, 0);
        }
        self.paths.beta[stage] = Selection::IDENTITY;
    }

    #[inline(always)]
    fn large_sums<E: Kernels<T>>(&self, engine: E, stage: usize) -> [(T::Total, T::Total); LANES] {
        let mut sums = [(T::Total::default(), T::Total::default()); LANES];
        for (path, sums) in sums.iter_mut().enumerate().take(self.paths.live) {
            let metric = T::widen(self.paths.metric.0[path]);
            let (zeros, ones) = if stage >= LOG_SHARED {
                self.shared.sums(engine, stage, path)
            } else {
                self.columns.sums(engine, stage, path)
            };
            *sums = (metric.plus(zeros), metric.plus(ones));
        }
        sums
    }

    #[inline(always)]
    fn large_rate0<E: Kernels<T>>(&mut self, engine: E, stage: usize) {
        let sums = self.large_sums(engine, stage);
        let mut best = sums[0].0;
        for sums in &sums[..self.paths.live] {
            best = if sums.0 < best { sums.0 } else { best };
        }
        let mut stay = Lanes([T::Metric::DEAD; LANES]);
        for path in 0..self.paths.live {
            stay.0[path] = T::narrow(sums[path].0.minus(best));
        }
        self.paths.fork::<T, E>(engine, stage, &stay, None);
    }

    /// The paths that decide ones.
    #[inline(always)]
    fn large_repetition<E: Kernels<T>>(&mut self, engine: E, stage: usize) -> u32 {
        let sums = self.large_sums(engine, stage);
        let cheaper = |(zeros, ones): (T::Total, T::Total)| if ones < zeros { ones } else { zeros };
        let mut best = cheaper(sums[0]);
        for &sums in &sums[..self.paths.live] {
            best = if cheaper(sums) < best { cheaper(sums) } else { best };
        }
        let (mut stay, mut flip) = (Lanes([T::Metric::DEAD; LANES]), Lanes([T::Metric::DEAD; LANES]));
        let mut decided = 0u32;
        for path in 0..self.paths.live {
            let (zeros, ones) = (sums[path].0.minus(best), sums[path].1.minus(best));
            let one = ones < zeros;
            decided |= u32::from(one) << path;
            stay.0[path] = T::narrow(if one { ones } else { zeros });
            flip.0[path] = T::narrow(if one { zeros } else { ones });
        }
        let Some(fork) = self.paths.fork::<T, E>(engine, stage, &stay, Some(&flip)) else { return decided };
        let mut moved = 0;
        for lane in 0..LANES {
            moved |= (decided >> (fork.source.0[lane] & 31) & 1) << lane;
        }
        moved ^ fork.flipped
    }

    /// Whether the large node is settled by hard decisions: no flip of any path could survive (a flip of a parity-check
    /// node takes two positions, and every path must be even).
    #[inline(always)]
    fn try_large<E: Kernels<T>>(&mut self, engine: E, kind: NodeKind, stage: usize, side: usize) -> bool {
        let (worst, live, parity) = (self.paths.worst(), self.paths.live, kind == NodeKind::ParityCheck);
        let survives = |paths: &Paths<T::Metric>, path: usize, smallest: T::Metric| {
            let cost = if parity { smallest.plus(smallest) } else { smallest };
            paths.survives(paths.metric.0[path].plus(cost), worst)
        };
        let settled = if stage >= LOG_SHARED {
            for path in 0..live {
                if survives(&self.paths, path, self.shared.smallest(engine, stage, path)) {
                    return false;
                }
            }
            self.shared.signs(engine, stage, side, live, parity)
        } else {
            // Flips of the best path are the likeliest to survive.
            let best = self.paths.metric.0[..live].iter().position(|&metric| metric == T::Metric::ZERO).unwrap_or(0);
            let (smallest, odd) = self.columns.smallest(engine, stage, best);
            if (parity && odd) || survives(&self.paths, best, smallest) {
                return false;
            }
            let (smallest, odd) = self.columns.signs(engine, stage, side, live);
            !((parity && odd != 0) || (0..live).any(|path| survives(&self.paths, path, smallest.0[path])))
        };
        if settled && side == 0 {
            self.paths.beta[stage] = Selection::IDENTITY;
        }
        settled
    }
}

impl<T: KernelLlr> Drop for ListState<T> {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// The bits of a node of 64 positions from those of its children.
#[inline(always)]
pub(super) fn joined(left: u32, right: u32) -> u64 {
    u64::from(left ^ right) | u64::from(right) << 32
}

/// One list decode.
pub struct ListTask<'a, T: KernelLlr> {
    /// The compiled code.
    pub program: &'a [Instruction],
    /// Where the paths live.
    pub state: &'a mut ListState<T>,
    /// Channel LLRs, natural order.
    pub channel: &'a [T],
}

impl<T: KernelLlr> Task<T> for ListTask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<E: Kernels<T>>(self, engine: E) {
        let Self { program, state, channel } = self;
        state.paths.reset();
        if state.log_length <= LANE_STAGE {
            state.interleaved.start(state.log_length, channel);
        }
        let mut counter = 0;
        while let Some(instruction) = program.get(counter) {
            let (stage, side) = (usize::from(instruction.stage), usize::from(instruction.side));
            counter += 1;
            match instruction.operation {
                Operation::Left => {
                    // A lone path is the best path whatever it pays: its rate-0 children need no LLRs.
                    let next = program.get(counter).map(|next| next.operation);
                    if state.paths.live == 1 && next == Some(Operation::Leaf(NodeKind::Rate0)) {
                        state.zeros(engine, stage - 1);
                        counter += 1;
                    } else {
                        state.left(engine, stage, channel);
                    }
                }
                Operation::Right => state.right(engine, stage, channel),
                Operation::Combine => state.combine(engine, stage, side),
                Operation::Leaf(kind) => state.leaf(engine, kind, stage, side),
                Operation::Try(kind) => {
                    if state.try_large(engine, kind, stage, side) {
                        counter += instruction.skip as usize;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_decode_is_left_in_a_wiped_state() {
        let mut state = ListState::<i8>::new(7, 8);
        state.rows.iter_mut().for_each(|row| *row = [5; LANES]);
        state.wipe();
        assert!(state.rows.iter().all(|row| *row == [0; LANES]));
    }
}
