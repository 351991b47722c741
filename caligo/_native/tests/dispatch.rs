//! Every width gives the same bits. (A process of its own: the width is one for the whole process.)

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use caligo_polar::dispatch::{self, Width};
use caligo_polar::random::{self, Source};
use caligo_polar::{design, transform};

type Everything = (Vec<Vec<u64>>, Vec<Vec<u32>>);

/// Something from every function that is compiled for several widths.
fn everything() -> Everything {
    let source = Source { seed: 1, stream: 2, block: 3 };
    let mut words = Vec::new();
    // Around the eight words of the transform's tile, the 32 of a batch of generator outputs, and the cache block.
    for bits in [64, 448, 512, 576, 2048, 4032, 4096, 4160, 1 << 15, 1 << 16, 1 << 17] {
        for probability in [None, Some(0.02), Some(0.3), Some(1e-9)] {
            let mut row = vec![0; bits / 64];
            match probability {
                None => random::random_bits(source, bits, &mut row).unwrap(),
                Some(p) => random::bernoulli_bits(source, bits, p, &mut row).unwrap(),
            }
            if bits.is_power_of_two() {
                transform::polar_transform(&mut row, bits).unwrap();
            }
            words.push(row);
        }
    }
    let mut numbers = vec![vec![0.0; 4099]];
    random::standard_normal(source, &mut numbers[0]).unwrap();
    for qber in [0.005, 0.02, 0.11] {
        numbers.push(design::density_evolution(1 << 12, 1 << 12, qber).unwrap());
        numbers.push(design::density_evolution(1 << 12, 3001, qber).unwrap());
    }
    (words, numbers.iter().map(|row| row.iter().map(|x| x.to_bits()).collect()).collect())
}

#[test]
fn every_width_gives_the_same_bits() {
    assert_eq!(dispatch::limit(Width::Portable), Width::Portable);
    let portable = everything();
    let required = std::env::var("CALIGO_REQUIRE").unwrap_or_default();
    for (width, name) in [(Width::Avx2, "avx2"), (Width::Avx512, "avx512")] {
        if dispatch::limit(width) == width {
            assert!(everything() == portable, "{width:?}");
        } else {
            assert!(
                !required.split(',').any(|feature| feature == name),
                "CALIGO_REQUIRE names {name}, which is missing"
            );
            eprintln!("skipped {width:?}: this CPU does not have it");
        }
    }
}
