//! The vector types of the list decoder: 32 lanes, one per path; and the selection of survivors, portable form.
//!
//! Nodes are interleaved: position i of lane p is value `i * W + p`, W being [`LANES`], or [`NARROW`] for lists that fit.
//! What there is one of per path always has 32 lanes, of which the first `live` count.

use crate::llr::Metric;

/// Lanes of a vector: the largest list.
pub const LANES: usize = 32;

/// Lanes of a position in the nodes of short lists; other nodes have [`LANES`].
pub const NARROW: usize = 8;

/// One value per path; or a row of 32 values of a node.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Lanes<T>(pub [T; LANES]);

impl<T: Copy> Lanes<T> {
    /// `out[p] = self[source[p]]`.
    #[inline(always)]
    #[must_use]
    pub fn select(&self, source: &Selection) -> Self {
        Lanes(std::array::from_fn(|lane| self.0[usize::from(source.0[lane] & 31)]))
    }
}

/// The bits of a node of at most 32 positions, one word per path; bit i is position i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct LaneBits(pub [u32; LANES]);

/// Hard decisions of a node of at most 32 positions.
#[derive(Debug, Clone, Copy)]
pub struct LaneSigns<M> {
    /// The decisions.
    pub bits: LaneBits,
    /// The smallest magnitude of every path.
    pub smallest: Lanes<M>,
    /// The paths whose decisions have odd parity.
    pub odd: u32,
}

/// For every lane, the lane its data comes from (0..32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Selection(pub [u8; LANES]);

impl Selection {
    /// Every lane from itself.
    pub const IDENTITY: Selection = {
        let mut lanes = [0; LANES];
        let mut lane = 0;
        while lane < LANES {
            lanes[lane] = lane as u8;
            lane += 1;
        }
        Selection(lanes)
    };
    /// Every lane from lane 0.
    pub const FIRST: Selection = Selection([0; LANES]);
}

/// The mask of the first `live` lanes.
#[inline(always)]
#[must_use]
pub fn lane_mask(live: usize) -> u32 {
    ((1u64 << live) - 1) as u32
}

/// The paths after a fork, in lane order.
#[derive(Debug, Clone, Copy)]
pub struct Survivors<M> {
    /// The old lane of every new lane.
    pub source: Selection,
    /// Metrics, the best zero; [`Metric::DEAD`] beyond the last.
    pub metric: Lanes<M>,
    /// How many of the first lanes stay; the others flip.
    pub stayed: usize,
    /// Live lanes.
    pub live: usize,
    /// The largest metric.
    pub worst: M,
}

/// The survivors among the candidates `stay` and `flip` of the lanes in `masks`: all of them, or the `list_size` smallest.
#[inline(never)]
pub fn survivors<M: Metric>(
    stay: &[M; LANES],
    flip: &[M; LANES],
    best: M,
    masks: (u32, u32),
    list_size: usize,
) -> Survivors<M> {
    let (stays, flips) = if (masks.0.count_ones() + masks.1.count_ones()) as usize > list_size {
        smallest(stay, flip, best, masks, list_size as u32)
    } else {
        masks
    };
    let mut source = Selection::FIRST;
    let mut metric = Lanes([M::DEAD; LANES]);
    let mut lane = 0;
    let mut worst = M::ZERO;
    for (mut mask, candidate) in [(stays, stay), (flips, flip)] {
        while mask != 0 {
            let from = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            source.0[lane] = from as u8;
            metric.0[lane] = candidate[from].minus(best);
            worst = if metric.0[lane] > worst { metric.0[lane] } else { worst };
            lane += 1;
        }
    }
    Survivors { source, metric, stayed: stays.count_ones() as usize, live: lane, worst }
}

/// The `count` smallest of the candidates in the masks, by bisection on the metric; ties to `stays`, then the lower lane.
fn smallest<M: Metric>(stay: &[M; LANES], flip: &[M; LANES], best: M, masks: (u32, u32), count: u32) -> (u32, u32) {
    let keys = |candidate: &[M; LANES], mask: u32| -> [u32; LANES] {
        std::array::from_fn(|lane| if mask >> lane & 1 == 1 { candidate[lane].key() } else { u32::MAX })
    };
    let (stay, flip) = (keys(stay, masks.0), keys(flip, masks.1));
    let at_most = |key: u32| -> u32 {
        let mut total = 0;
        for lane in 0..LANES {
            total += u32::from(stay[lane] <= key) + u32::from(flip[lane] <= key);
        }
        total
    };
    let (mut low, mut high) = (best.key(), best.plus(M::THRESHOLD).key());
    while low < high {
        let middle = low + (high - low) / 2;
        if at_most(middle) >= count {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let mask = |keys: &[u32; LANES], test: fn(u32, u32) -> bool| -> u32 {
        keys.iter().enumerate().fold(0, |mask, (lane, &key)| mask | u32::from(test(key, low)) << lane)
    };
    let below = (mask(&stay, |key, low| key < low), mask(&flip, |key, low| key < low));
    let mut room = count - below.0.count_ones() - below.1.count_ones();
    let mut ties = u64::from(mask(&stay, |key, low| key == low)) | u64::from(mask(&flip, |key, low| key == low)) << 32;
    let mut taken = 0u64;
    while room > 0 && ties != 0 {
        taken |= ties & ties.wrapping_neg();
        ties &= ties - 1;
        room -= 1;
    }
    (below.0 | taken as u32, below.1 | (taken >> 32) as u32)
}
