//! The vector types of the list decoder: 32 lanes, one per path.

/// Lanes of a vector: the largest list.
pub const LANES: usize = 32;

/// One value per path. Rows of bytes lie side by side, so two make one 64-byte vector.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(32))]
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
