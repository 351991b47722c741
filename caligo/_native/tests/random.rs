//! The generator of `specs/randomness.md`: published vectors, the written definitions, distributions.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use caligo_polar::bits;
use caligo_polar::error::Error;
use caligo_polar::random::{self, Source, philox4x32};
use proptest::prelude::*;

/// `kat_vectors` of Random123 1.14.
#[test]
fn philox_has_its_published_values() {
    let vectors = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, output) in vectors {
        assert_eq!(philox4x32(counter, key), output);
    }
}

/// Generator output `index` as 128 bits.
fn output(source: Source, index: u32) -> u128 {
    let counter = [index, source.stream, source.block as u32, (source.block >> 32) as u32];
    let words = philox4x32(counter, [source.seed as u32, (source.seed >> 32) as u32]);
    words.iter().rev().fold(0, |sum, word| sum << 32 | u128::from(*word))
}

fn drawn(count: usize, fill: impl FnOnce(&mut [u64]) -> caligo_polar::error::Result<()>) -> Vec<u64> {
    let mut words = vec![u64::MAX; bits::words_for(count)];
    fill(&mut words).unwrap();
    assert_eq!(bits::first_one_from(&words, count), None);
    words
}

prop_compose! {
    fn sources()(seed in any::<u64>(), stream in any::<u32>(), block in any::<u64>()) -> Source {
        Source { seed, stream, block }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn random_bits_are_the_outputs_in_order(source in sources(), count in 0usize..5000) {
        let words = drawn(count, |words| random::random_bits(source, count, words));
        for i in 0..count {
            prop_assert_eq!(bits::get(&words, i), (output(source, (i / 128) as u32) >> (i % 128)) & 1 == 1);
        }
    }

    #[test]
    fn bernoulli_bits_compare_planes_with_a_threshold(
        source in sources(), count in 0usize..5000,
        probability in prop_oneof![Just(0.0), Just(1.0), Just(0.5), Just(0.75), 0.0..=1.0f64, 0.0..1e-8f64],
    ) {
        let words = drawn(count, |words| random::bernoulli_bits(source, count, probability, words));
        let threshold = (probability * 4_294_967_296.0).round() as u64;
        for group in 0..count.div_ceil(128) {
            let planes: Vec<u128> = (0..32).map(|k| output(source, (32 * group + k) as u32)).collect();
            for lane in 0..128.min(count - 128 * group) {
                let number = planes.iter().fold(0u64, |sum, plane| sum << 1 | ((plane >> lane) & 1) as u64);
                prop_assert_eq!(bits::get(&words, 128 * group + lane), number < threshold);
            }
        }
    }

    #[test]
    fn normals_are_quantiles_of_the_outputs(source in sources(), count in 0usize..600) {
        let mut numbers = vec![f32::NAN; count];
        random::standard_normal(source, &mut numbers).unwrap();
        for (i, number) in numbers.iter().enumerate() {
            let word = (output(source, (i / 4) as u32) >> (32 * (i % 4))) as u32;
            let expected = random::normal_quantile((f64::from(word) + 0.5) / 4_294_967_296.0) as f32;
            prop_assert_eq!(number.to_bits(), expected.to_bits());
        }
    }
}

/// Quantiles from tables with 15 digits, in each of the three ranges of the algorithm.
#[test]
fn quantiles_have_their_known_values() {
    let known = [
        (0.5, 0.0),
        (0.9, 1.281_551_565_544_600_5),
        (0.975, 1.959_963_984_540_054),
        (0.999, 3.090_232_306_167_813_5),
        (1e-9, -5.997_807_015_007_686),
        (1e-15, -7.941_345_326_170_997),
    ];
    for (probability, quantile) in known {
        let got = random::normal_quantile(probability);
        assert!((got - quantile).abs() <= 2e-15 * (1.0 + quantile.abs()), "{probability}: {got}");
    }
}

/// Four standard errors at two million draws.
#[test]
fn draws_have_the_right_moments() {
    let count = 2_000_000;
    let source = Source { seed: 3, stream: 2, block: 0 };
    let words = drawn(count, |words| random::bernoulli_bits(source, count, 0.02, words));
    assert!(
        (bits::count_ones(&words) as f64 / count as f64 - 0.02).abs() < 4.0 * (0.02f64 * 0.98 / count as f64).sqrt()
    );
    let mut numbers = vec![0.0; count];
    random::standard_normal(source, &mut numbers).unwrap();
    let mean = |power: i32| numbers.iter().map(|x| f64::from(*x).powi(power)).sum::<f64>() / count as f64;
    for (power, moment, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        assert!((mean(power) - moment).abs() < 4.0 * f64::sqrt(variance / count as f64), "moment {power}");
    }
}

#[test]
fn draws_out_of_range_are_refused() {
    let source = Source { seed: 0, stream: 0, block: 0 };
    for probability in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let refused = random::bernoulli_bits(source, 64, probability, &mut [0]);
        assert!(matches!(refused, Err(Error::OutOfRange { what: "probability", .. })));
    }
    assert!(matches!(random::random_bits(source, 65, &mut [0]), Err(Error::Length { expected: 2, .. })));
}
