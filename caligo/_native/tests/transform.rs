//! Laws of the polar transform.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use caligo_polar::error::Error;
use caligo_polar::transform::{self, MAX_BLOCK_LENGTH};
use caligo_polar::{bits, random};
use proptest::prelude::*;

fn noise(seed: u64, block_length: usize) -> Vec<u64> {
    let mut words = vec![0; bits::words_for(block_length)];
    let source = random::Source { seed, stream: 0, block: block_length as u64 };
    random::random_bits(source, block_length, &mut words).unwrap();
    words
}

/// `u · F^{⊗n}`, the matrix written out: entry (j, i) is one where the binary digits of i are among those of j.
fn matrix_product(u: &[u64], block_length: usize) -> Vec<u64> {
    let mut x = vec![0; u.len()];
    for i in 0..block_length {
        let sum = (0..block_length).filter(|j| i & j == i && bits::get(u, *j)).count();
        bits::set(&mut x, i, sum % 2 == 1);
    }
    x
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_transform_is_the_matrix_product(seed in any::<u64>(), log2_length in 1u32..=12) {
        let block_length = 1 << log2_length;
        let u = noise(seed, block_length);
        let mut x = u.clone();
        transform::polar_transform(&mut x, block_length).unwrap();
        prop_assert_eq!(x, matrix_product(&u, block_length));
    }
}

/// Lengths on both sides of the word (64), the register tile (2^9) and the cache block (2^15), and the largest.
#[test]
fn the_transform_is_its_own_inverse_at_every_length() {
    for log2_length in 1..=24 {
        let block_length = 1 << log2_length;
        let u = noise(7, block_length);
        let mut x = u.clone();
        transform::polar_transform(&mut x, block_length).unwrap();
        assert!(x != u || log2_length < 6, "N = 2^{log2_length}");
        transform::polar_transform(&mut x, block_length).unwrap();
        assert_eq!(x, u, "N = 2^{log2_length}");
    }
}

/// One stage at a time, on bits; covers the large stages the matrix is too big for.
#[test]
fn large_blocks_follow_the_butterflies() {
    for log2_length in 13..=19 {
        let block_length = 1usize << log2_length;
        let mut x = noise(9, block_length);
        let mut expected: Vec<bool> = (0..block_length).map(|i| bits::get(&x, i)).collect();
        for stage in 0..log2_length {
            for i in (0..block_length).filter(|i| i & (1 << stage) == 0) {
                expected[i] ^= expected[i | (1 << stage)];
            }
        }
        transform::polar_transform(&mut x, block_length).unwrap();
        assert!((0..block_length).all(|i| bits::get(&x, i) == expected[i]), "N = 2^{log2_length}");
    }
}

#[test]
fn what_is_not_a_block_is_refused() {
    for block_length in [0, 1, 3, 12, MAX_BLOCK_LENGTH + 1, 2 * MAX_BLOCK_LENGTH] {
        assert!(
            matches!(transform::block_log2(block_length), Err(Error::BlockLength { got, .. }) if got == block_length)
        );
    }
    assert!(matches!(transform::polar_transform(&mut [0, 0], 64), Err(Error::Length { expected: 1, got: 2, .. })));
    assert!(matches!(transform::polar_transform(&mut [0b10_0000], 4), Err(Error::StrayBits { position: 5, .. })));
}
