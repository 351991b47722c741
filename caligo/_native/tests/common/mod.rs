//! Inputs for the decoder's tests.
#![allow(dead_code, reason = "each test file uses what it needs")]

/// SplitMix64: enough for test inputs.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Information sets: uniformly random, polarised (by weight, with noise, so that every node kind occurs at every size),
/// and extreme.
pub fn information_set(rng: &mut Rng, length: usize) -> Vec<u64> {
    let mut words = vec![0u64; length.div_ceil(64)];
    let style = rng.below(8);
    let threshold = rng.unit();
    let noise = [0.0, 0.0, 0.02, 0.2][rng.below(4) as usize];
    let n = length.trailing_zeros() as f64;
    for index in 0..length {
        let position = index as f64 / length as f64;
        let weight = f64::from((index as u32).count_ones()) / n.max(1.0);
        let one = match style {
            0 => rng.unit() < threshold,
            1 => false,
            2 => true,
            3 => index + 1 == length,
            4 => index != 0,
            _ => 0.5 * weight + 0.5 * position + noise * (rng.unit() - 0.5) > threshold,
        };
        words[index / 64] |= u64::from(one) << (index % 64);
    }
    words
}

/// Clears the positions from `end` on.
pub fn keep_below(words: &mut [u64], end: usize) {
    for (index, word) in words.iter_mut().enumerate() {
        let keep = end.saturating_sub(64 * index).min(64);
        *word &= if keep == 64 { !0 } else { (1u64 << keep) - 1 };
    }
}
