//! The list of paths: metrics, selection of survivors, and where each path's data lies.
//!
//! A path is a lane, 0..live. Its LLRs and left-child bits at every stage lie in rows of shared buffers; which row is said
//! by an index row per stage. When paths fork or die only metrics and index rows move, never LLRs: a stage is rewritten
//! for all live paths, in lane order, before it is read again, which resets its index row.
//!
//! Selection is exact and deterministic: candidates within the threshold of the best are kept; of more than L the L
//! smallest metrics, ties going to candidates that stay with their hard decision before those that flip, then to the
//! lower lane. Survivors are renumbered in that order: first who stay, then who flip, each by lane.

use crate::llr::Metric;
use crate::simd::lanes::{LANES, Lanes, Selection, lane_mask};
use crate::simd::{KernelLlr, Kernels};

/// Stages of the longest code, 0..=24.
const STAGES: usize = 25;

/// The live paths.
pub struct Paths<M: Metric> {
    /// Metrics, the best zero, dead lanes [`Metric::DEAD`].
    pub metric: Lanes<M>,
    /// Live lanes.
    pub live: usize,
    /// The smallest metric with which a flip could not survive.
    bound: M,
    /// Candidates further than this above the best are dropped.
    threshold: M,
    list_size: usize,
    stages: usize,
    /// Row of each path's LLRs, by stage.
    pub alpha: [Selection; STAGES],
    /// Row of each path's left-child bits, by stage.
    pub beta: [Selection; STAGES],
}

/// What a fork did to the lanes.
#[derive(Debug, Clone, Copy)]
pub struct Fork {
    /// The old lane of every new lane.
    pub source: Selection,
    /// The new lanes that flip.
    pub flipped: u32,
}

impl<M: Metric> Paths<M> {
    /// One path, for a list of `list_size` over a code of 2^`log_length` positions.
    pub fn new(list_size: usize, log_length: u32) -> Self {
        let mut paths = Self {
            metric: Lanes([M::DEAD; LANES]),
            live: 1,
            bound: M::THRESHOLD.next(),
            threshold: M::THRESHOLD,
            list_size,
            stages: log_length as usize + 1,
            alpha: [Selection::FIRST; STAGES],
            beta: [Selection::FIRST; STAGES],
        };
        paths.reset();
        paths
    }

    /// Keeps lists of `list_size` within `threshold`, at most [`Metric::THRESHOLD`], over a code of 2^`log_length` positions
    /// after the next [`Paths::reset`].
    pub fn set_attempt(&mut self, list_size: usize, log_length: u32, threshold: M) {
        debug_assert!(threshold <= M::THRESHOLD);
        self.stages = log_length as usize + 1;
        self.list_size = list_size;
        self.threshold = threshold;
    }

    /// Back to one path.
    pub fn reset(&mut self) {
        self.metric = Lanes([M::DEAD; LANES]);
        self.metric.0[0] = M::ZERO;
        self.live = 1;
        self.bound = self.threshold.next();
        self.alpha = [Selection::FIRST; STAGES];
        self.beta = [Selection::FIRST; STAGES];
    }

    /// Whether no candidate of these metrics, all flips, could survive: each is beyond the threshold, or the list is full
    /// and it does not beat the worst path.
    #[inline(always)]
    pub fn none_survives<T, E>(&self, engine: E, candidate: &Lanes<M>) -> bool
    where
        T: KernelLlr<Metric = M>,
        E: Kernels<T>,
    {
        engine.below(candidate, self.bound) == 0
    }

    /// Whether a flip with this metric could survive among paths of which the worst has metric `worst`.
    #[inline(always)]
    pub fn survives(&self, candidate: M, worst: M) -> bool {
        candidate <= self.threshold && (self.live < self.list_size || candidate < worst)
    }

    /// The largest live metric.
    #[inline(always)]
    pub fn worst(&self) -> M {
        let mut worst = M::ZERO;
        for &metric in &self.metric.0[..self.live] {
            worst = if metric > worst { metric } else { worst };
        }
        worst
    }

    /// Replaces the paths by the survivors among the candidates `stay` and `flip`, moving the index rows of `stage` and
    /// above. `None` when every path stays and none flips.
    #[inline(always)]
    pub fn fork<T, E>(&mut self, engine: E, stage: usize, stay: &Lanes<M>, flip: Option<&Lanes<M>>) -> Option<Fork>
    where
        T: KernelLlr<Metric = M>,
        E: Kernels<T>,
    {
        let (best, stays, flips) =
            engine.within_threshold(&stay.0, flip.map(|flip| &flip.0), self.live, self.threshold);
        if flips == 0 && stays == lane_mask(self.live) {
            let (metric, worst) = engine.rebased(stay, best, self.live);
            self.metric = metric;
            self.set_bound(worst);
            return None;
        }
        Some(self.keep::<T, E>(engine, stage, (stay, flip.unwrap_or(stay)), best, (stays, flips)))
    }

    /// As [`Paths::fork`] where every path may stay at no cost and flip at the metric `flip`. `None` when no flip could
    /// survive.
    #[inline(always)]
    pub fn offer<T, E>(&mut self, engine: E, stage: usize, flip: &Lanes<M>) -> Option<Fork>
    where
        T: KernelLlr<Metric = M>,
        E: Kernels<T>,
    {
        let flips = engine.below(flip, self.bound);
        if flips == 0 {
            return None;
        }
        let stay = self.metric;
        Some(self.keep::<T, E>(engine, stage, (&stay, flip), M::ZERO, (lane_mask(self.live), flips)))
    }

    #[inline(always)]
    fn keep<T, E>(
        &mut self,
        engine: E,
        stage: usize,
        (stay, flip): (&Lanes<M>, &Lanes<M>),
        best: M,
        masks: (u32, u32),
    ) -> Fork
    where
        T: KernelLlr<Metric = M>,
        E: Kernels<T>,
    {
        let survivors = engine.survivors(&stay.0, &flip.0, best, masks, self.list_size);
        self.metric = survivors.metric;
        self.live = survivors.live;
        self.set_bound(survivors.worst);
        let fork = Fork { source: survivors.source, flipped: lane_mask(survivors.live) & !lane_mask(survivors.stayed) };
        engine.select_rows(&mut self.alpha[stage..self.stages], &fork.source, self.live);
        engine.select_rows(&mut self.beta[stage..self.stages], &fork.source, self.live);
        fork
    }

    #[inline(always)]
    fn set_bound(&mut self, worst: M) {
        self.bound = if self.live < self.list_size { self.threshold.next() } else { worst };
    }

    /// The live lanes, best metric first, ties by lane.
    pub fn ranking(&self) -> ([u8; LANES], usize) {
        let mut order = Selection::IDENTITY.0;
        for i in 1..self.live {
            let mut j = i;
            while j > 0 && self.metric.0[usize::from(order[j])] < self.metric.0[usize::from(order[j - 1])] {
                order.swap(j, j - 1);
                j -= 1;
            }
        }
        (order, self.live)
    }
}
